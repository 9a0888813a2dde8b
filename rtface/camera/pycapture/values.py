"""The records that PyCapture2 hands over and takes. None in one that is taken: leave as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from rtface.camera.pycapture.constants import GRAB_MODE, GRAB_TIMEOUT, INTERFACE_TYPE, MODE

Record = TypeVar("Record")


def asked(kind: type[Record], given: Record | None, keywords: Mapping[str, Any]) -> Record:
    """Return what a call was given: a record, keywords of one, or a record and keywords."""
    return kind(**keywords) if given is None else replace(given, **keywords)  # type: ignore[type-var]


def filled(wanted: Record, otherwise: Record) -> Record:
    """Return ``wanted`` with what it leaves open taken from ``otherwise``."""
    names = [f.name for f in fields(wanted) if getattr(wanted, f.name) is None]  # type: ignore[arg-type]
    return replace(wanted, **{name: getattr(otherwise, name) for name in names})  # type: ignore[type-var]


@dataclass
class Config:
    """How images are grabbed; grabTimeout in ms, -1 waits for ever."""

    numBuffers: int | None = None
    grabMode: int | None = None
    grabTimeout: int | None = None
    numImageNotifications: int | None = None
    minNumImageNotifications: int | None = None
    highPerformanceRetrieveBuffer: bool | None = None
    isochBusSpeed: int | None = None
    asyncBusSpeed: int | None = None
    bandwidthAllocation: int | None = None
    registerTimeoutRetries: int | None = None
    registerTimeout: int | None = None


def default_config() -> Config:
    """Return how images are grabbed unless a script says otherwise."""
    return Config(
        10, GRAB_MODE.DROP_FRAMES, GRAB_TIMEOUT.INFINITE, 1, 1, False, 0, 0, 0, 0, 0
    )  # fmt: skip


@dataclass
class Property:
    """A property of the picture; absValue in the unit given at ``PROPERTY_TYPE``."""

    type: int | None = None
    present: bool | None = None
    absControl: bool | None = None
    onePush: bool | None = None
    onOff: bool | None = None
    autoManualMode: bool | None = None
    valueA: int | None = None
    valueB: int | None = None
    absValue: float | None = None


@dataclass
class PropertyInfo:
    """What a property can do; absMin, absMax in unitAbbr. There are no register values."""

    type: int
    present: bool = False
    autoSupported: bool = False
    manualSupported: bool = False
    onOffSupported: bool = False
    onePushSupported: bool = False
    absValSupported: bool = False
    readOutSupported: bool = False
    min: int = 0
    max: int = 0
    absMin: float = 0.0
    absMax: float = 0.0
    unitAbbr: str = ""


@dataclass
class TriggerMode:
    """What starts an exposure: source is the pin, 7 is software; polarity 1 is a rising edge."""

    onOff: bool | None = None
    polarity: int | None = None
    source: int | None = None
    mode: int | None = None
    parameter: int | None = None


@dataclass
class TriggerModeInfo:
    """Which triggers there are: bit 31 - n of a mask stands for source or mode n."""

    present: bool = False
    readOutSupported: bool = False
    onOffSupported: bool = False
    polaritySupported: bool = False
    valueReadable: bool = False
    sourceMask: int = 0
    softwareTriggerSupported: bool = False
    modeMask: int = 0


@dataclass
class StrobeControl:
    """A pin that is on while the camera exposes; polarity 1 is high, delay and duration in ms."""

    source: int | None = None
    onOff: bool | None = None
    polarity: int | None = None
    delay: float | None = None
    duration: float | None = None


@dataclass
class StrobeInfo:
    """What a pin can do; minValue and maxValue of delay and duration in ms."""

    source: int
    present: bool = False
    readOutSupported: bool = False
    onOffSupported: bool = False
    polaritySupported: bool = False
    minValue: float = 0.0
    maxValue: float = 0.0


@dataclass
class EmbeddedFields:
    """One truth value for each thing that can stand in the first pixels."""

    timestamp: bool | None = None
    gain: bool | None = None
    shutter: bool | None = None
    brightness: bool | None = None
    exposure: bool | None = None
    whiteBalance: bool | None = None
    frameCounter: bool | None = None
    strobePattern: bool | None = None
    GPIOPinState: bool | None = None
    ROIPosition: bool | None = None


#: in the order in which they stand there
EMBEDDED = tuple(f.name for f in fields(EmbeddedFields))


@dataclass
class EmbeddedImageInfo:
    """What can stand in the first pixels, and what does."""

    available: EmbeddedFields = field(default_factory=EmbeddedFields)
    onOff: EmbeddedFields = field(default_factory=EmbeddedFields)


@dataclass
class Format7ImageSettings:
    """A region of the sensor in px, and how its pixels lie in memory."""

    mode: int = MODE.MODE_0
    offsetX: int = 0
    offsetY: int = 0
    width: int = 0
    height: int = 0
    pixelFormat: int = 0


@dataclass
class GigEImageSettings:
    """The same without a mode; None leaves a value as it is."""

    offsetX: int | None = None
    offsetY: int | None = None
    width: int | None = None
    height: int | None = None
    pixelFormat: int | None = None


@dataclass
class Format7PacketInfo:
    """Bytes of a packet: FireWire's. Here an image is one packet."""

    recommendedBytesPerPacket: int = 0
    maxBytesPerPacket: int = 0
    unitBytesPerPacket: int = 0


@dataclass
class Format7Info:
    """Which regions there are: sizes and steps in px, formats as bits of ``PIXEL_FORMAT``."""

    mode: int = MODE.MODE_0
    maxWidth: int = 0
    maxHeight: int = 0
    offsetHStepSize: int = 1
    offsetVStepSize: int = 1
    imageHStepSize: int = 1
    imageVStepSize: int = 1
    pixelFormatBitField: int = 0
    vendorPixelFormatBitField: int = 0
    packetSize: int = 0
    minPacketSize: int = 0
    maxPacketSize: int = 0
    percentage: float = 100.0


@dataclass
class CameraInfo:
    """Who a camera is. What GenICam does not tell is empty or 0."""

    serialNumber: int | str = 0
    modelName: str = ""
    vendorName: str = ""
    sensorInfo: str = ""
    sensorResolution: str = ""
    firmwareVersion: str = ""
    firmwareBuildTime: str = ""
    interfaceType: int = INTERFACE_TYPE.UNKNOWN
    isColorCamera: bool = False
    driverName: str = ""
    userDefinedName: str = ""


@dataclass
class CameraStats:
    """What went wrong since startCapture, in images; temperature in degrees Celsius."""

    imageDropped: int = 0
    imageCorrupt: int = 0
    imageDriverDropped: int = 0
    temperature: float = 0.0
