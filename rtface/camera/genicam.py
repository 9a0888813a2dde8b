"""GenICam cameras through their vendor's GenTL producer and harvesters."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from rtface.camera.device import Buffer, DeviceCamera, LinkLost
from rtface.camera.gentl import Answers, Producers, errors, library, lost, names_of
from rtface.camera.nodes import GenicamNodes
from rtface.camera.pixels import reader
from rtface.camera.producers import find_producers
from rtface.camera.sensor import choose, n_buffers, set_up
from rtface.camera.sfnc import NodeRefused, find
from rtface.camera.timestamps import DeviceClock
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
        self._gone_or_none: tuple[type[Exception], ...] = (*self._errors, IndexError)
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
        self._chunks = frozenset(section.chunks)
        self.info, self._pixels = set_up(self.nodes, section, name)
        self._fit_padding(0)
        self._answers = Answers(self._acquirer, self.nodes)
        self._clock = DeviceClock(self.nodes)
        self._time_field: str | None = ""  # found with the first buffer
        self._acquirer.add_callback(
            self._acquirer.Events.INCOMPLETE_BUFFER, _count_incomplete(self)
        )

    def start(self) -> None:
        """Arm the camera; LinkLost."""
        try:
            self._acquirer.start()
        except self._errors as error:
            raise lost(error) from None

    def fetch(self, timeout_s: float) -> Buffer | None:
        """Return the oldest frame; None after ``timeout_s``, or if it was damaged."""
        try:
            buffer = self._acquirer.try_fetch(timeout=timeout_s, is_raw=True)
            if buffer is None:
                return None
            self._buffer = buffer
            if buffer.padding_x != self._padding:
                self._fit_padding(buffer.padding_x)
            if buffer.size_filled < self._n_bytes:
                self.incomplete += 1
                self.requeue()
                return None
            return Buffer(
                self._chunk("FrameID", buffer.frame_id),
                self._time(buffer),
                round(1000 * self._chunk("ExposureTime", 0)),
                self._chunk("LineStatusAll", 0),
                buffer.raw_buffer,
            )
        except self._errors as error:
            raise lost(error) from None

    def _fit_padding(self, padding: int) -> None:
        self._padding = padding
        size = self.info.width, self.info.height
        self._read = reader(self._pixels, *size, padding)
        self._n_bytes = self._pixels.n_bytes(*size, padding)

    def _time(self, buffer: Any) -> int | None:
        if "Timestamp" in self._chunks:
            return self._clock.to_ns(self._map.ChunkTimestamp.value)
        if self._time_field == "":
            self._time_field = self._find_time_field(buffer)
        if self._time_field is None:
            return None
        ticks = int(getattr(buffer, self._time_field))
        return ticks if self._time_field == "timestamp_ns" else self._clock.to_ns(ticks)

    def _find_time_field(self, buffer: Any) -> str | None:
        """Return the field with a buffer's time; 0 is what producers without one put there."""
        for field in ("timestamp_ns", "timestamp"):
            with contextlib.suppress(*self._errors):
                if getattr(buffer, field):
                    return field
        return None

    def _chunk(self, name: str, otherwise: Any) -> Any:
        """Return what came along with the frame that was fetched last."""
        if name not in self._chunks:
            return otherwise
        names = ("ChunkFrameID", "ChunkFrameCounter") if name == "FrameID" else (f"Chunk{name}",)
        return getattr(self._map, find(self.nodes, names) or names[0]).value

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
        try:
            return int(self._acquirer.data_streams[0].num_underrun)
        except self._gone_or_none:
            return 0

    def latch(self) -> tuple[int, int, int] | None:
        """Read both clocks together."""
        try:
            return self._clock.latch()
        except NodeRefused as error:
            raise LinkLost(str(error)) from None

    def alive(self) -> bool:
        """Whether the device itself answers."""
        return self._answers()

    def trigger(self) -> None:
        """Expose once."""
        try:
            self.nodes.execute("TriggerSoftware")
        except NodeRefused as error:
            raise LinkLost(str(error)) from None

    def close(self) -> None:
        """Free everything; a device that is gone refuses each step, and each is tried."""
        acquirer, self._acquirer = self._acquirer, None
        if acquirer is not None:
            for step in (acquirer.stop, acquirer.destroy):
                with contextlib.suppress(*self._errors, RuntimeError):
                    step()
        self._producers.close()


def _count_incomplete(link: GenicamLink) -> Any:
    class Count(library().Callback):  # type: ignore[misc]  # the library has no types
        def emit(self, context: object = None) -> None:
            link.incomplete += 1

    return Count()
