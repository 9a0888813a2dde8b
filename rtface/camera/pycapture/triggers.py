"""Triggers, strobes and the direction of pins, as features of a camera."""

from __future__ import annotations

import contextlib

from rtface.camera.pycapture.faults import Fc2error
from rtface.camera.pycapture.features import Features
from rtface.camera.pycapture.values import (
    StrobeControl,
    StrobeInfo,
    TriggerMode,
    TriggerModeInfo,
    filled,
)

#: the source that is no pin
SOFTWARE = 7
#: by pulse width, and overlapped with the readout; 0 is the standard one
BULB, OVERLAPPED = 1, 14
_US_PER_MS = 1000.0
#: what setTriggerMode writes; the switch is put back last
_TRIGGER = ("TriggerSource", "TriggerActivation", "ExposureMode", "TriggerOverlap", "TriggerMode")


def _bits(numbers: list[int]) -> int:
    return sum(1 << 31 - number for number in numbers)


def _pins(names: tuple[str, ...]) -> list[int]:
    ends = [name.removeprefix("Line") for name in names if name.startswith("Line")]
    return [int(end) for end in ends if end.isdigit() and int(end) < SOFTWARE]


def get_trigger_info(features: Features) -> TriggerModeInfo:
    """Return which triggers there are."""
    if not features.find("TriggerMode"):
        return TriggerModeInfo()
    sources = features.choices("TriggerSource")
    software = "Software" in sources
    modes = [0]
    if "TriggerWidth" in features.choices("ExposureMode"):
        modes.append(BULB)
    if "ReadOut" in features.choices("TriggerOverlap"):
        modes.append(OVERLAPPED)
    return TriggerModeInfo(
        present=True,
        readOutSupported=True,
        onOffSupported=True,
        polaritySupported=features.find("TriggerActivation") is not None,
        valueReadable=False,
        sourceMask=_bits(_pins(sources) + [SOFTWARE] * software),
        softwareTriggerSupported=software,
        modeMask=_bits(modes),
    )


def get_trigger(features: Features) -> TriggerMode:
    """Return the trigger as it stands."""
    features.need("getTriggerMode", "TriggerMode")
    features.write_if("FrameStart", "TriggerSelector")
    source = features.text("TriggerSource")
    mode = 0
    if features.text("ExposureMode") == "TriggerWidth":
        mode = BULB
    elif features.text("TriggerOverlap") == "ReadOut":
        mode = OVERLAPPED
    return TriggerMode(
        onOff=features.text("TriggerMode") == "On",
        polarity=int(features.text("TriggerActivation") == "RisingEdge"),
        source=next(iter(_pins((source,))), SOFTWARE),
        mode=mode,
        parameter=0,
    )


def set_trigger(features: Features, wanted: TriggerMode) -> None:
    """Set what ``wanted`` does not leave open; what is refused changes nothing."""
    told = filled(wanted, get_trigger(features))
    if told.mode not in (0, BULB, OVERLAPPED):
        raise Fc2error(f"trigger mode {told.mode}: GenICam cameras have 0, 1 and 14")
    before = {name: features.text(name) for name in _TRIGGER if features.find(name)}
    try:
        _write_trigger(features, told)
    except Fc2error:
        for name, value in before.items():
            with contextlib.suppress(Fc2error):
                features.write(name, value)
        raise


def _write_trigger(features: Features, told: TriggerMode) -> None:
    features.write("TriggerMode", "Off")  # some take the rest only then
    if not told.onOff:
        return
    features.write("TriggerSource", "Software" if told.source == SOFTWARE else f"Line{told.source}")
    if told.source != SOFTWARE:
        edge = "RisingEdge" if told.polarity else "FallingEdge"
        features.write(features.need("polarity", "TriggerActivation"), edge)
    if told.mode == BULB:
        features.write(features.need("trigger mode 1", "ExposureMode"), "TriggerWidth")
    else:
        features.write_if("Timed", "ExposureMode")
    if told.mode == OVERLAPPED:
        features.write(features.need("trigger mode 14", "TriggerOverlap"), "ReadOut")
    elif "Off" in features.choices("TriggerOverlap"):
        features.write("TriggerOverlap", "Off")
    features.write("TriggerMode", "On")


def fire(features: Features) -> None:
    """Expose once."""
    features.execute(features.need("fireSoftwareTrigger", "TriggerSoftware"))


def trigger_ready(features: Features) -> bool:
    """Whether the camera waits for a trigger; True where it does not say."""
    if "FrameTriggerWait" not in features.choices("AcquisitionStatusSelector"):
        return True
    features.write("AcquisitionStatusSelector", "FrameTriggerWait")
    return bool(features.read("AcquisitionStatus"))


def _select(features: Features, call: str, pin: int | None) -> None:
    line = f"Line{pin}"
    if line not in features.choices("LineSelector"):
        raise Fc2error(f"{call}: the camera has no pin {pin} ({line})")
    features.write("LineSelector", line)


def get_strobe_info(features: Features, pin: int) -> StrobeInfo:
    """Return what a pin can do."""
    if f"Line{pin}" not in features.choices("LineSelector"):
        return StrobeInfo(pin)
    features.write("LineSelector", f"Line{pin}")
    if "ExposureActive" not in features.choices("LineSource"):
        return StrobeInfo(pin)
    name = features.find("StrobeDuration")
    low, high = features.limits(name) if name else (0.0, 0.0)
    inverter = features.find("LineInverter") is not None
    return StrobeInfo(pin, True, True, True, inverter, low / _US_PER_MS, high / _US_PER_MS)


def get_strobe(features: Features, pin: int) -> StrobeControl:
    """Return a pin's strobe as it stands."""
    _select(features, "getStrobe", pin)
    on = features.text("LineSource") == "ExposureActive"
    on = on and features.text("LineMode") in ("", "Output")
    if name := features.find("StrobeEnabled"):
        on = on and bool(features.read(name))
    return StrobeControl(
        source=pin,
        onOff=on,
        polarity=int(not features.number("LineInverter")),
        delay=features.number("StrobeDelay") / _US_PER_MS,
        duration=features.number("StrobeDuration") / _US_PER_MS,
    )


def set_strobe(features: Features, wanted: StrobeControl) -> None:
    """Set what ``wanted`` does not leave open; it has to name the pin."""
    if wanted.source is None:
        raise Fc2error("setStrobe: source has to name the pin")
    told = filled(wanted, get_strobe(features, wanted.source))
    times = (("StrobeDelay", told.delay), ("StrobeDuration", told.duration))
    for name, value in times:
        if value and not features.find(name):
            raise Fc2error(f"setStrobe: the camera has no {name}; its strobe is the exposure")
    if told.onOff:
        _direct(features, "Output")
        features.write(features.need("setStrobe", "LineSource"), "ExposureActive")
    elif not features.find("StrobeEnabled"):
        features.write(features.need("setStrobe", "LineSource"), "Off")
    features.write_if(bool(told.onOff), "StrobeEnabled")
    if bool(told.polarity) == bool(features.number("LineInverter")):
        features.write(features.need("polarity", "LineInverter"), not told.polarity)
    for name, value in times:
        features.write_if(float(value or 0) * _US_PER_MS, name)


def get_direction(features: Features, pin: int) -> int:
    """Return 1 if a pin is an output, else 0."""
    _select(features, "getGPIOPinDirection", pin)
    return int(features.text("LineMode") == "Output")


def set_direction(features: Features, pin: int, direction: int) -> None:
    """Make a pin an output (1) or an input (0)."""
    _select(features, "setGPIOPinDirection", pin)
    features.need("setGPIOPinDirection", "LineMode")
    _direct(features, "Output" if direction else "Input")


def _direct(features: Features, mode: str) -> None:
    """Make the selected pin an input or output; many pins are made for one of both."""
    if features.text("LineMode") in ("", mode):
        return
    try:
        features.write("LineMode", mode)
    except Fc2error:
        line = features.text("LineSelector")
        raise Fc2error(f"{line} cannot be an {mode.lower()}: the camera has it fixed") from None
