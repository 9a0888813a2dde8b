"""What a camera tells with each image, and how it is written into the image's first pixels.

Each field that is on is 4 bytes, most significant first, from the first pixel on and without gaps,
in the order of ``EMBEDDED``. GenICam sends all this beside the image (chunks); here it is put where
scripts look for it:

timestamp
    7 bits of s, 13 of 125 us, 12 of 1/24.576 MHz: the device's clock, 0 again every 128 s.
frameCounter
    The camera's own count of frames, its lowest 32 bits.
GPIOPinState
    The most significant bit is pin 0, the next ones pins 1 to 3.
ROIPosition
    16 bits of OffsetX, 16 bits of OffsetY, px.

Gain, shutter, brightness, exposure, white balance and strobe pattern are values of a camera's
registers, which GenICam does not tell: they are not available.
"""

from __future__ import annotations

from typing import NamedTuple

from rtface.camera.embedded import CYCLES, OFFSETS, WORD_BYTES
from rtface.camera.pycapture.faults import Fc2error
from rtface.camera.pycapture.features import Features
from rtface.camera.pycapture.values import EMBEDDED, EmbeddedFields, EmbeddedImageInfo
from rtface.camera.sfnc import CHUNK_NAMES
from rtface.clock import CYCLE_WRAP_NS, SECOND_NS

#: the chunk of a field, by the standard's name
_CHUNKS = {"timestamp": "Timestamp", "frameCounter": "FrameID", "GPIOPinState": "LineStatusAll"}


class Told(NamedTuple):
    """What a camera tells with an image.

    Attributes
    ----------
    frame_id : int
    t_ns : int or None
        The device's clock, ns.
    lines : int
        Bit n: pin n was high.
    offset_x, offset_y : int
        px.
    """

    frame_id: int
    t_ns: int | None
    lines: int
    offset_x: int
    offset_y: int


def cycle_time(t_ns: int) -> tuple[int, int, int]:
    """Return s (0 to 127), cycles of 125 us and offset in 1/24.576 MHz of a time in ns."""
    seconds, rest = divmod(t_ns % CYCLE_WRAP_NS, SECOND_NS)
    cycles, left = divmod(rest * CYCLES, SECOND_NS)
    return seconds, cycles, left * OFFSETS // SECOND_NS


def words(told: Told, on: tuple[str, ...]) -> bytes:
    """Return what stands in the first pixels if the fields ``on`` are switched on."""
    seconds, cycles, offset = cycle_time(told.t_ns or 0)
    values = {
        "timestamp": seconds << 25 | cycles << 12 | offset,
        "frameCounter": told.frame_id & 0xFFFFFFFF,
        "GPIOPinState": sum((told.lines >> pin & 1) << 31 - pin for pin in range(4)),
        "ROIPosition": (told.offset_x & 0xFFFF) << 16 | told.offset_y & 0xFFFF,
    }
    return b"".join(values[name].to_bytes(WORD_BYTES, "big") for name in EMBEDDED if name in on)


class Embedded:
    """Which fields are on in one connected camera, and which chunks bring them."""

    def __init__(self, features: Features) -> None:
        self._features = features
        there = features.choices("ChunkSelector")
        #: name of a field's chunk, if the camera has one
        self._chunk_of = {
            field: next((name for name in CHUNK_NAMES.get(chunk, (chunk,)) if name in there), None)
            for field, chunk in _CHUNKS.items()
        }
        self.on: tuple[str, ...] = ()

    def info(self) -> EmbeddedImageInfo:
        """Return what can stand in the first pixels, and what does."""
        find = self._features.find
        clock = find("TimestampLatch", "TimestampControlLatch", "GevTimestampControlLatch")
        there = {
            "timestamp": bool(self._chunk_of["timestamp"] or clock),
            "frameCounter": True,
            "GPIOPinState": self._chunk_of["GPIOPinState"] is not None,
            "ROIPosition": find("OffsetX") is not None,
        }
        return EmbeddedImageInfo(
            EmbeddedFields(**{name: there.get(name, False) for name in EMBEDDED}),
            EmbeddedFields(**{name: name in self.on for name in EMBEDDED}),
        )

    def set(self, wanted: EmbeddedFields) -> None:
        """Switch fields, and their chunks; None leaves one as it is."""
        available = self.info().available
        on = set(self.on)
        for name in EMBEDDED:
            switch = getattr(wanted, name)
            if switch and not getattr(available, name):
                raise Fc2error(f"setEmbeddedImageInfo: {name} is not available from this camera")
            if switch is not None:
                (on.add if switch else on.discard)(name)
        chunks = {self._chunk_of[name]: name in on for name in _CHUNKS if self._chunk_of[name]}
        if chunks:
            self._features.write("ChunkModeActive", True)  # some select only then
            for chunk, switch in chunks.items():
                self._features.write("ChunkSelector", str(chunk))
                self._features.write("ChunkEnable", switch)
            self._features.write("ChunkModeActive", any(chunks.values()))
        self.on = tuple(name for name in EMBEDDED if name in on)

    def chunk(self, field: str) -> int | None:
        """Return what came along with the image that was fetched last; None if nothing did."""
        name = self._chunk_of[field]
        if name is None or field not in self.on:
            return None
        return int(self._features.read(f"Chunk{name}"))
