"""Properties of the picture: which features they are, and what their fields ask of those."""

from __future__ import annotations

import math
from typing import NamedTuple

from rtface.camera.pycapture.constants import PROPERTY_TYPE, property_name
from rtface.camera.pycapture.faults import Fc2error
from rtface.camera.pycapture.features import Features
from rtface.camera.pycapture.values import Property, PropertyInfo
from rtface.camera.sfnc import DELAY, EXPOSURE, GAIN, RATE, RATE_ENABLE

Names = tuple[str, ...]


class Feature(NamedTuple):
    """Where a property is in GenICam.

    Attributes
    ----------
    value, auto, enable : tuple of str
        Names of the features, the standard one first.
    unit : str
        Of absValue.
    factor : float
        Units of the feature in one unit of absValue.
    """

    value: Names
    auto: Names = ()
    enable: Names = ()
    unit: str = ""
    factor: float = 1.0


_FEATURES = {
    PROPERTY_TYPE.BRIGHTNESS: Feature(("BlackLevel",), ("BlackLevelAuto",), (), "%"),
    PROPERTY_TYPE.AUTO_EXPOSURE: Feature(
        ("AutoExposureEVCompensation", "pgrExposureCompensation"),
        ("pgrExposureCompensationAuto",),
        (),
        "EV",
    ),
    PROPERTY_TYPE.SHARPNESS: Feature(
        ("Sharpness",), ("SharpnessAuto",), ("SharpnessEnable", "SharpnessEnabled")
    ),
    PROPERTY_TYPE.WHITE_BALANCE: Feature((), ("BalanceWhiteAuto",)),
    PROPERTY_TYPE.HUE: Feature(("Hue",), ("HueAuto",), ("HueEnable", "HueEnabled"), "deg"),
    PROPERTY_TYPE.SATURATION: Feature(
        ("Saturation",), ("SaturationAuto",), ("SaturationEnable", "SaturationEnabled"), "%"
    ),
    PROPERTY_TYPE.GAMMA: Feature(("Gamma",), (), ("GammaEnable", "GammaEnabled")),
    PROPERTY_TYPE.SHUTTER: Feature(EXPOSURE, ("ExposureAuto",), (), "ms", 1e3),
    PROPERTY_TYPE.GAIN: Feature(GAIN, ("GainAuto",), (), "dB"),
    PROPERTY_TYPE.TRIGGER_DELAY: Feature(DELAY, (), ("TriggerDelayEnabled",), "s", 1e6),
    PROPERTY_TYPE.FRAME_RATE: Feature(RATE, ("AcquisitionFrameRateAuto",), RATE_ENABLE, "Hz"),
    PROPERTY_TYPE.TEMPERATURE: Feature(("DeviceTemperature",), (), (), "C"),
}


class _Found(NamedTuple):
    """The same in one camera: names that it knows, or None."""

    kind: int
    value: str | None
    auto: str | None
    enable: str | None
    unit: str
    factor: float


def _find(features: Features, kind: int | None) -> _Found | None:
    told = _FEATURES.get(kind) if kind is not None else None
    if told is None or kind is None:
        return None
    value, auto = features.find(*told.value), features.find(*told.auto)
    if value is None and auto is None:
        return None
    return _Found(kind, value, auto, features.find(*told.enable), told.unit, told.factor)


def get_property(features: Features, kind: int) -> Property:
    """Return a property as it stands; ``present`` is False if the camera has none such."""
    found = _find(features, kind)
    if found is None:
        return Property(kind, False, False, False, False, False, 0, 0, 0.0)
    value = features.number(found.value) / found.factor if found.value else 0.0
    auto = features.text(found.auto) if found.auto else ""
    on = bool(features.read(found.enable)) if found.enable else True
    if kind == PROPERTY_TYPE.TRIGGER_DELAY and not found.enable:
        on = value > 0
    automatic = auto == "Continuous"
    if kind == PROPERTY_TYPE.FRAME_RATE and not found.auto:
        automatic = not on
    return Property(
        kind, True, found.value is not None, auto == "Once", on, automatic, 0, 0, value
    )  # fmt: skip


def get_property_info(features: Features, kind: int) -> PropertyInfo:
    """Return what a property can do."""
    found = _find(features, kind)
    if found is None:
        return PropertyInfo(kind)
    modes = features.choices(found.auto) if found.auto else ()
    free_rate = kind == PROPERTY_TYPE.FRAME_RATE and found.enable is not None
    manual = found.value is not None and kind != PROPERTY_TYPE.TEMPERATURE
    low, high = features.limits(found.value) if manual and found.value else (0.0, 0.0)
    return PropertyInfo(
        kind,
        present=True,
        autoSupported="Continuous" in modes or free_rate,
        manualSupported=manual,
        onOffSupported=found.enable is not None or kind == PROPERTY_TYPE.TRIGGER_DELAY,
        onePushSupported="Once" in modes,
        absValSupported=found.value is not None,
        readOutSupported=True,
        absMin=low / found.factor,
        absMax=high / found.factor,
        unitAbbr=found.unit,
    )


def set_property(features: Features, wanted: Property) -> None:
    """Set what ``wanted`` does not leave open.

    A value means: switched on and not automatic, unless it is said otherwise.
    """
    name = property_name(wanted.type)
    found = _find(features, wanted.type)
    if found is None:
        if _only_off(wanted):
            return
        raise Fc2error(f"{name}: the camera has no such property")
    registers = wanted.absControl is False or wanted.absValue is None
    if registers and (wanted.valueA or wanted.valueB):
        raise Fc2error(f"{name}: GenICam has no register values; use absControl and absValue")
    if wanted.onOff is False:
        _switch_off(features, found, name)
    elif wanted.onePush or wanted.autoManualMode:
        _automatic(features, found, name, bool(wanted.onePush))
    else:
        _manual(features, found, name, wanted)


def _only_off(wanted: Property) -> bool:
    """Whether this asks for nothing but that the camera leaves something alone."""
    idle = not wanted.absValue and not wanted.onePush and not wanted.autoManualMode
    off = wanted.onOff is False
    return off or (idle and not wanted.onOff and wanted.autoManualMode is False)


def _switch_off(features: Features, found: _Found, name: str) -> None:
    if found.enable:
        features.write(found.enable, False)
    elif found.kind == PROPERTY_TYPE.TRIGGER_DELAY and found.value:
        features.write(found.value, 0.0)
    elif found.auto and found.kind not in (PROPERTY_TYPE.SHUTTER, PROPERTY_TYPE.GAIN):
        features.write(found.auto, "Off")
    else:
        raise Fc2error(f"{name}: the camera cannot switch it off")


def _automatic(features: Features, found: _Found, name: str, once: bool) -> None:
    if found.auto:
        features.write(found.auto, "Once" if once else "Continuous")
    elif found.kind == PROPERTY_TYPE.FRAME_RATE and found.enable and not once:
        features.write(found.enable, False)  # the camera goes as fast as it can
    else:
        raise Fc2error(f"{name}: the camera has no automatic mode for it")


def _manual(features: Features, found: _Found, name: str, wanted: Property) -> None:
    manual = wanted.autoManualMode is False or wanted.absValue is not None
    if manual and found.auto:
        features.write(found.auto, "Off")
    if found.enable and (wanted.onOff or wanted.absValue is not None):
        features.write(found.enable, True)
    if wanted.absValue is None:
        return
    if found.value is None or found.kind == PROPERTY_TYPE.TEMPERATURE:
        raise Fc2error(f"{name}: the camera takes no value for it")
    low, high = features.limits(found.value)
    value = float(wanted.absValue) * found.factor
    within = min(max(value, low), high)
    # what a script has read and sets again is not refused for its last bit
    if not math.isclose(value, within, rel_tol=1e-9):
        raise Fc2error(
            f"{name} cannot be {wanted.absValue:g} {found.unit}; "
            f"the camera takes {low / found.factor:g} to {high / found.factor:g}"
        )
    features.write(found.value, within)
