"""Regions of the sensor and pixel formats. GenICam has one mode of its own: MODE_0."""

from __future__ import annotations

from rtface.camera.pycapture.constants import FORMATS, MODE, RAW_OF_GRAY, format_name
from rtface.camera.pycapture.faults import Fc2error
from rtface.camera.pycapture.features import Features
from rtface.camera.pycapture.values import Format7ImageSettings, Format7Info, Format7PacketInfo


def _formats(features: Features) -> dict[int, str]:
    """Return the camera's formats: PyCapture2's number and GenICam's name."""
    there: dict[int, str] = {}
    offered = features.choices("PixelFormat")
    for name, (number, _) in FORMATS.items():
        if name in offered and number:
            there.setdefault(number, name)
    for raw, gray in RAW_OF_GRAY.items():
        if raw not in there and gray in there:
            there[raw] = there[gray]
    return there


def _format(features: Features, number: int) -> str | None:
    """Return which format a number means, None if the camera has none such.

    The current one's number means the current one: 0 stands for all that PyCapture2 has not.
    """
    now = features.text("PixelFormat")
    return now if FORMATS.get(now, (0, 0))[0] == number else _formats(features).get(number)


def _largest(features: Features, size: str, offset: str) -> int:
    """Return the greatest size of the region, wherever it is now, px."""
    if told := features.number(f"{size}Max"):
        return int(told)
    return int(features.limits(size)[1] + features.number(offset))


def _step(features: Features, name: str) -> int:
    return features.step(name) if features.find(name) else 1


def get_info(features: Features, mode: int) -> Format7Info:
    """Return which regions there are."""
    n_bytes = int(features.number("PayloadSize"))
    return Format7Info(
        mode,
        maxWidth=_largest(features, "Width", "OffsetX"),
        maxHeight=_largest(features, "Height", "OffsetY"),
        offsetHStepSize=_step(features, "OffsetX"),
        offsetVStepSize=_step(features, "OffsetY"),
        imageHStepSize=_step(features, "Width"),
        imageVStepSize=_step(features, "Height"),
        pixelFormatBitField=sum(n for n in _formats(features) if n & n - 1 == 0),
        packetSize=n_bytes,
        minPacketSize=n_bytes,
        maxPacketSize=n_bytes,
    )


def get_settings(features: Features) -> Format7ImageSettings:
    """Return the region and format as they stand."""
    number, _ = FORMATS.get(features.text("PixelFormat"), (0, 0))
    return Format7ImageSettings(
        MODE.MODE_0,
        int(features.number("OffsetX")),
        int(features.number("OffsetY")),
        int(features.number("Width")),
        int(features.number("Height")),
        number,
    )


def _fault(features: Features, wanted: Format7ImageSettings) -> str | None:
    """Return why a region cannot be had, None if it can."""
    if wanted.mode != MODE.MODE_0:
        return f"GenICam cameras have MODE_0 alone, not {wanted.mode}; binning is a feature of them"
    if _format(features, wanted.pixelFormat) is None:
        names = ", ".join(map(format_name, _formats(features)))
        return f"the camera has no {format_name(wanted.pixelFormat)}; it has {names}"
    for size, offset, length, start in (
        ("Width", "OffsetX", wanted.width, wanted.offsetX),
        ("Height", "OffsetY", wanted.height, wanted.offsetY),
    ):
        least = int(features.limits(size)[0])
        most, step = _largest(features, size, offset), _step(features, size)
        if not least <= length <= most or (length - least) % step:
            return f"{size} cannot be {length}; it takes {least} to {most} in steps of {step}"
        step = _step(features, offset)
        room = most - length if features.find(offset) else 0
        if not 0 <= start <= room or start % step:
            return f"{offset} cannot be {start}; it takes 0 to {room} in steps of {step}"
    return None


def validate(features: Features, wanted: Format7ImageSettings) -> tuple[Format7PacketInfo, bool]:
    """Return the bytes of an image, and whether the camera can do it."""
    if _fault(features, wanted):
        return Format7PacketInfo(), False
    _, bits = FORMATS.get(_format(features, wanted.pixelFormat) or "", (0, 0))
    n_bytes = wanted.height * (wanted.width * bits // 8)
    return Format7PacketInfo(n_bytes, n_bytes, n_bytes), True


def configure(features: Features, wanted: Format7ImageSettings) -> None:
    """Set region and format."""
    if fault := _fault(features, wanted):
        raise Fc2error(f"Format7: {fault}")
    name = _format(features, wanted.pixelFormat)
    if name is not None and name != features.text("PixelFormat"):
        features.write("PixelFormat", name)
    # to the corner first: there every size fits
    features.write_if(0, "OffsetX")
    features.write_if(0, "OffsetY")
    features.write("Width", wanted.width)
    features.write("Height", wanted.height)
    features.write_if(wanted.offsetX, "OffsetX")
    features.write_if(wanted.offsetY, "OffsetY")
