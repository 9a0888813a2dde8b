"""Images out of a connected camera: started, waited for, copied, counted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rtface.camera.gentl import POLL_MS, Answers, errors, library
from rtface.camera.ids import IdCounter
from rtface.camera.pixels import Bytes
from rtface.camera.pycapture.constants import FORMATS, GRAB_MODE
from rtface.camera.pycapture.embedded import Embedded, Told, words
from rtface.camera.pycapture.faults import Fc2error, as_fc2error
from rtface.camera.pycapture.features import Features
from rtface.camera.pycapture.image import Image
from rtface.camera.pycapture.values import CameraStats, Config
from rtface.camera.timestamps import DeviceClock

#: a wait is cut into pieces so long, after which somebody may end it, s
SLICE_S = 0.2
#: a camera that sends nothing is asked whether it is there this often, s
ASK_EVERY_S = 1.0


class Stream:
    """The stream of one connected camera. One thread may wait for images at a time.

    Parameters
    ----------
    acquirer : ImageAcquirer
        Of harvesters.
    features : Features
    """

    def __init__(self, acquirer: Any, features: Features) -> None:
        self._acquirer, self._features = acquirer, features
        self._errors = errors()
        self._clock = DeviceClock(features.nodes)
        self._answers = Answers(acquirer, features.nodes)
        self.embedded = Embedded(features)
        self.running = False
        self._incomplete = 0
        self._reset()
        acquirer.add_callback(acquirer.Events.INCOMPLETE_BUFFER, _count_incomplete(self))

    def _reset(self) -> None:
        self._ids, self._missing, self._seen = IdCounter(), 0, self._incomplete
        self._damaged_before = self._incomplete

    def damaged(self) -> None:
        """Count an image that did not arrive whole."""
        self._incomplete += 1

    def start(self, config: Config) -> None:
        """Begin to capture, with the region and format as they stand."""
        features = self._features
        self._name = features.text("PixelFormat")
        if self._name not in FORMATS:
            raise Fc2error(
                f"startCapture: PixelFormat {self._name} is none of PyCapture2's; "
                "choose one with setFormat7Configuration"
            )
        self._rows, self._cols = (int(features.number(size)) for size in ("Height", "Width"))
        self._line = self._cols * FORMATS[self._name][1] // 8
        self._corner = int(features.number("OffsetX")), int(features.number("OffsetY"))
        self._time_field: str | None = ""  # found with the first image
        self._reset()
        with as_fc2error(*self._errors):
            self._newest = config.grabMode == GRAB_MODE.DROP_FRAMES
            self._handling("NewestOnly" if self._newest else "OldestFirst")
            least = self._acquirer.min_num_buffers
            self._acquirer.num_buffers = max(int(config.numBuffers or 0), least)
            self._acquirer.start()
        self.running = True

    def _handling(self, mode: str) -> None:
        """Say which image the driver hands over first; without that feature they are drained."""
        own = Features(self._acquirer.data_streams[0].node_map, self._errors)
        if mode in own.choices("StreamBufferHandlingMode"):
            own.write("StreamBufferHandlingMode", mode)
            self._newest = False

    def stop(self) -> None:
        """End capturing."""
        self.running = False
        with as_fc2error(*self._errors, RuntimeError):
            self._acquirer.stop()

    def wait(self, timeout_s: float | None, ended: Callable[[], bool]) -> Image | None:
        """Return the next image; None once ``ended``.

        Raises
        ------
        Fc2error
            None came in time, it was damaged, or the camera does not answer.
        """
        begun = asked = time.monotonic()
        while not ended():
            left_s = SLICE_S if timeout_s is None else timeout_s - (time.monotonic() - begun)
            buffer = self._fetch(min(max(left_s, 0.0), SLICE_S))
            if buffer is not None:
                return self._take(buffer)
            now = time.monotonic()
            if timeout_s is not None and now - begun >= timeout_s:
                gone = "" if self.answers() else "; the camera does not answer"
                raise Fc2error(f"timeout: no image within {1000 * timeout_s:g} ms{gone}")
            if now - asked >= ASK_EVERY_S:
                asked = now
                if not self.answers():
                    raise Fc2error("the camera does not answer: it is gone")
        return None

    def answers(self) -> bool:
        """Whether the device itself answers."""
        return self._answers()

    def _fetch(self, timeout_s: float) -> Any:
        """Return a raw buffer, or None; raises if one came damaged."""
        # the library looks at the time only between two polls, and 0 would be for ever
        acquirer, poll_ms = self._acquirer, max(1, min(POLL_MS, int(1000 * timeout_s)))
        acquirer.timeout_period_on_update_event_data_call = poll_ms
        with as_fc2error(*self._errors):
            buffer = acquirer.try_fetch(timeout=max(timeout_s, 0.001), is_raw=True)
            while buffer is not None and self._newest and self._waiting():
                newer = acquirer.try_fetch(timeout=0.001, is_raw=True)
                if newer is None:
                    break
                buffer.parent.queue_buffer(buffer)
                buffer = newer
        if buffer is None and self._incomplete > self._damaged_before:
            self._damaged_before = self._incomplete
            raise Fc2error("an image arrived damaged: a part of it is missing")
        return buffer

    def _waiting(self) -> int:
        """Return how many images wait; 0 where the driver does not say."""
        with contextlib.suppress(*self._errors):
            return int(self._acquirer.data_streams[0].num_awaiting_delivery)
        return 0

    def _take(self, buffer: Any) -> Image:
        """Copy the image out of the buffer and give that back."""
        with as_fc2error(*self._errors):
            try:
                data = self._copy(buffer)
                frame_id = self._frame_id(buffer)
                t_ns = self._time(buffer)
                lines = self.embedded.chunk("GPIOPinState") or 0
            finally:
                buffer.parent.queue_buffer(buffer)
        self._missing += (self._ids.step(frame_id) or 1) - 1
        head = words(Told(frame_id, t_ns, lines, *self._corner), self.embedded.on)
        data[: len(head)] = np.frombuffer(head, np.uint8)[: data.size]
        return Image(data, self._rows, self._cols, self._name, t_ns)

    def _copy(self, buffer: Any) -> Bytes:
        stride = self._line + int(buffer.padding_x)
        if buffer.size_filled < self._rows * stride:
            self.damaged()
            self._damaged_before = self._incomplete
            raise Fc2error("an image arrived damaged: a part of it is missing")
        lines = np.frombuffer(buffer.raw_buffer, np.uint8, self._rows * stride)
        whole = lines.reshape(self._rows, stride)[:, : self._line]
        return np.array(whole, order="C").reshape(-1)

    def _frame_id(self, buffer: Any) -> int:
        counted = self.embedded.chunk("frameCounter")
        return int(buffer.frame_id) if counted is None else counted

    def _time(self, buffer: Any) -> int | None:
        ticks = self.embedded.chunk("timestamp")
        if ticks is not None:
            return self._clock.to_ns(ticks)
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

    def stats(self) -> CameraStats:
        """Return what went wrong since ``start``."""
        underruns = 0
        with contextlib.suppress(*self._errors, IndexError):
            underruns = int(self._acquirer.data_streams[0].num_underrun)
        damaged = self._incomplete - self._seen
        return CameraStats(
            imageDropped=max(0, self._missing - damaged),
            imageCorrupt=damaged,
            imageDriverDropped=underruns,
            temperature=self._features.number("DeviceTemperature"),
        )


def _count_incomplete(stream: Stream) -> Any:
    class Count(library().Callback):  # type: ignore[misc]  # the library has no types
        def emit(self, context: object = None) -> None:
            stream.damaged()

    return Count()
