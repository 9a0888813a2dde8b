"""The one exception of PyCapture2, and how every other fault becomes one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rtface.camera.device import LinkLost
from rtface.camera.sfnc import NodeRefused
from rtface.types import UserError


class Fc2error(Exception):
    """The camera or its driver did not do what was asked; the message is one line."""


class Damaged(Fc2error):
    """An image came with a part of it missing; the next one may be whole."""

    def __init__(self) -> None:
        super().__init__("an image arrived damaged: a part of it is missing")


#: what PyCapture2 has and this has not: use instead
_REMEDIES = {
    "VIDEO_MODE": "use setFormat7Configuration for size and format",
    "FRAMERATE": "use setProperty(type=PROPERTY_TYPE.FRAME_RATE, absValue=...)",
    "startSyncCapture": "give the cameras one trigger line (setTriggerMode) and call startCapture "
    "on each",
    "registerCallback": "call getNumOfCameras() to look for cameras; a camera that is gone is an "
    "Fc2error of retrieveBuffer",
}
_REMEDIES["BUS_CALLBACK_TYPE"] = _REMEDIES["registerCallback"]


def not_offered(name: str) -> Exception:
    """Return what to raise for a name of PyCapture2's; AttributeError for one that is none."""
    if name in _REMEDIES:
        return Fc2error(f"{name} is not offered; {_REMEDIES[name]}")
    return AttributeError(f"module 'rtface.camera.pycapture' has no attribute {name!r}")


@contextlib.contextmanager
def as_fc2error(*more: type[Exception]) -> Iterator[None]:
    """Turn faults of rtface's cameras, and the types named, into an ``Fc2error`` of one line."""
    faults: tuple[type[Exception], ...] = (LinkLost, NodeRefused, UserError, *more)
    try:
        yield
    except faults as error:
        raise Fc2error(" ".join(str(error).split()) or type(error).__name__) from None
