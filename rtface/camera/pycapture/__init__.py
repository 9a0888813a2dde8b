"""PyCapture2's calls for GenICam cameras, so that scripts written for Point Grey's SDK run on.

``import rtface.camera.pycapture as PyCapture2``. Documented in docs/pycapture.md.
"""

from __future__ import annotations

from typing import NoReturn

from rtface.camera.pycapture.bus import BusManager, Guid
from rtface.camera.pycapture.camera import Camera
from rtface.camera.pycapture.constants import (
    BAYER_FORMAT,
    GRAB_MODE,
    GRAB_TIMEOUT,
    IMAGE_FILE_FORMAT,
    INTERFACE_TYPE,
    MODE,
    PIXEL_FORMAT,
    PROPERTY_TYPE,
)
from rtface.camera.pycapture.faults import Fc2error, not_offered
from rtface.camera.pycapture.image import Image, TimeStamp
from rtface.camera.pycapture.values import (
    CameraInfo,
    CameraStats,
    Config,
    EmbeddedImageInfo,
    Format7ImageSettings,
    Format7Info,
    Format7PacketInfo,
    GigEImageSettings,
    Property,
    PropertyInfo,
    StrobeControl,
    StrobeInfo,
    TriggerMode,
    TriggerModeInfo,
)

#: GigE Vision cameras have the same calls here
GigECamera = Camera


class AVIRecorder:
    """Not offered: raises ``Fc2error``."""

    def __init__(self) -> None:
        raise Fc2error("AVIRecorder is not offered; write videos with PyAV, or use 'rtface run'")


def getLibraryVersion() -> tuple[int, int, int, int]:
    """Return the version of PyCapture2 whose calls these are."""
    return 2, 13, 0, 0


def __getattr__(name: str) -> NoReturn:
    """Raise ``Fc2error`` with the remedy for what PyCapture2 has and this has not."""
    raise not_offered(name)


__all__ = [
    "BAYER_FORMAT",
    "GRAB_MODE",
    "GRAB_TIMEOUT",
    "IMAGE_FILE_FORMAT",
    "INTERFACE_TYPE",
    "MODE",
    "PIXEL_FORMAT",
    "PROPERTY_TYPE",
    "AVIRecorder",
    "BusManager",
    "Camera",
    "CameraInfo",
    "CameraStats",
    "Config",
    "EmbeddedImageInfo",
    "Fc2error",
    "Format7ImageSettings",
    "Format7Info",
    "Format7PacketInfo",
    "GigECamera",
    "GigEImageSettings",
    "Guid",
    "Image",
    "Property",
    "PropertyInfo",
    "StrobeControl",
    "StrobeInfo",
    "TimeStamp",
    "TriggerMode",
    "TriggerModeInfo",
    "getLibraryVersion",
]
