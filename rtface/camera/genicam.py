"""GenICam cameras through their vendor's GenTL producer and harvesters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtface.camera.device import Buffer, DeviceCamera, taken
from rtface.camera.gentl import (
    Answers,
    BufferInfo,
    BufferTime,
    Producers,
    count_incomplete,
    errors,
    free,
    lost,
    names_of,
    underruns,
)
from rtface.camera.nodes import GenicamNodes
from rtface.camera.pixels import reader
from rtface.camera.producers import find_producers
from rtface.camera.sensor import choose, n_buffers, set_up
from rtface.camera.sfnc import chunk_features, find
from rtface.camera_config import GenicamSection
from rtface.types import Image, UserError


def open_genicam(name: str, section: GenicamSection) -> DeviceCamera:
    """Return a GenICam camera set up as the rig file says, ready to start.

    Raises
    ------
    UserError
        The library, the producer or the camera is missing, several would do, or it does not take a
        setting; names the key and the remedy.
    """
    try:
        producers = find_producers(section.producer)
    except UserError as error:
        raise UserError(f"camera.{name}.producer: {error}") from None
    return DeviceCamera(name, section, lambda: GenicamLink(name, section, producers))


class GenicamLink:
    """An opened GenICam camera; a ``Link`` of ``rtface.camera.device``."""

    def __init__(self, name: str, section: GenicamSection, paths: list[Path]) -> None:
        self._errors = errors()
        self._key = f"camera.{name}.chunks"
        self.incomplete = 0
        self._buffer: Any = None
        self._acquirer: Any = None
        self._producers = Producers(paths)
        try:
            seen = [(names_of(info), info) for info in self._producers.devices()]
            device = choose(seen, section, name)
            chunks = bool(section.chunks)
            self._acquirer = self._producers.open(device, n_buffers(section), chunks)
            self._set_up(name, section)
        except BaseException:
            self.close()
            raise

    def _set_up(self, name: str, section: GenicamSection) -> None:
        self._map = self._acquirer.remote_device.node_map
        self.nodes = GenicamNodes(self._map, self._errors)
        self._answers = Answers(self._acquirer, self.nodes)
        self.info, self._pixels, self._clock = set_up(self.nodes, section, name, self.alive)
        self._fit_padding(0)
        self._time = BufferTime(self._clock)
        self._told = BufferInfo()
        # where each chunk is read, found with the first frame
        self._chunks: dict[str, str | None] = dict.fromkeys(section.chunks)
        count_incomplete(self._acquirer, self._damaged)

    def _damaged(self) -> None:
        self.incomplete += 1

    def start(self) -> None:
        """Arm the camera; LinkLost."""
        try:
            self._acquirer.start()
        except self._errors as error:
            raise lost(error) from None

    def fetch(self, timeout_s: float) -> Buffer | None:
        """Return the oldest frame; None after ``timeout_s``, or if it was damaged.

        Raises
        ------
        LinkLost
        UserError
            With the first frame: a chunk that the rig file names did not come.
        """
        try:
            buffer = self._acquirer.try_fetch(timeout=timeout_s, is_raw=True)
            if buffer is None:
                return None
            self._buffer = buffer
            padding = self._told(buffer, "padding_x", 0)
            if padding != self._padding:
                self._fit_padding(padding)
            if self._told(buffer, "size_filled", self._n_bytes) < self._n_bytes:
                self._damaged()
                self.requeue()
                return None
            stamp = self._chunk("Timestamp")
            frame_id = self._chunk("FrameID")
            return Buffer(
                buffer.frame_id if frame_id is None else frame_id,
                self._time(buffer) if stamp is None else self._clock.to_ns(stamp),
                round(1000 * (self._chunk("ExposureTime") or 0)),
                self._chunk("LineStatusAll") or 0,
                buffer.raw_buffer,
            )
        except self._errors as error:
            raise lost(error) from None

    def _fit_padding(self, padding: int) -> None:
        self._padding = padding
        size = self.info.width, self.info.height
        self._read = reader(self._pixels, *size, padding)
        self._n_bytes = self._pixels.n_bytes(*size, padding)

    def _chunk(self, name: str) -> Any:
        """Return what came along with the frame fetched last; None if it was not asked for."""
        if name not in self._chunks:
            return None
        feature = self._chunks[name]
        if feature is None:
            feature = find(self.nodes, chunk_features(name))
            if feature is None:
                raise UserError(
                    f"{self._key}: {name} was switched on and does not come; leave it out"
                )
            self._chunks[name] = feature
        return getattr(self._map, feature).value

    def copy(self, buffer: Buffer, out: Image) -> None:
        """Write the image into ``out``."""
        self._read(buffer.data, out)

    def requeue(self) -> None:
        """Give the buffer back."""
        try:
            self._buffer.parent.queue_buffer(self._buffer)
        except self._errors as error:
            raise lost(error) from None

    def underruns(self) -> int:
        """Return the driver's count of frames without a free buffer; 0 where it has none."""
        return underruns(self._acquirer)

    def latch(self) -> tuple[int, int, int] | None:
        """Read both clocks together; None where the camera has no such feature, or not now."""
        return taken(self, self._clock.latch)

    def alive(self) -> bool:
        """Whether the device itself answers."""
        return self._answers()

    def trigger(self) -> None:
        """Expose once; what the camera does not take now is a missed trigger."""
        taken(self, lambda: self.nodes.execute("TriggerSoftware"))

    def close(self) -> None:
        """Free everything, also of a device that is gone."""
        acquirer, self._acquirer = self._acquirer, None
        if acquirer is not None:
            free(acquirer)
        self._producers.close()
