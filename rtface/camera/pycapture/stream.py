"""Images out of a connected camera: started, waited for, copied, counted."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import Any

import numpy as np

from rtface.camera.gentl import (
    POLL_MS,
    Answers,
    BufferInfo,
    BufferTime,
    count_incomplete,
    errors,
    underruns,
)
from rtface.camera.ids import IdCounter
from rtface.camera.pixels import Bytes
from rtface.camera.pycapture.constants import FORMATS, GRAB_MODE
from rtface.camera.pycapture.embedded import Embedded, Told, words
from rtface.camera.pycapture.faults import Damaged, Fc2error, as_fc2error
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

    Others may stop it meanwhile: stopping takes away the buffers, so it waits for what is being
    fetched.

    Parameters
    ----------
    acquirer : ImageAcquirer
        Of harvesters.
    features : Features
    """

    def __init__(self, acquirer: Any, features: Features) -> None:
        self._acquirer, self._features = acquirer, features
        self._errors = errors()
        self._told = BufferInfo()
        self._clock = DeviceClock(features.nodes)
        self._answers = Answers(acquirer, features.nodes)
        self.embedded = Embedded(features)
        self.running = False
        self._lock = threading.Lock()  # held while a buffer is out
        self._incomplete = 0
        self._reset()
        count_incomplete(acquirer, self._count_damaged)

    def _reset(self) -> None:
        self._ids, self._missing, self._seen = IdCounter(), 0, self._incomplete
        self._damaged_before = self._incomplete
        self._underruns_before = underruns(self._acquirer)
        self._asked, self._gone = -math.inf, False

    def _count_damaged(self) -> None:
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
        self._buffer_time = BufferTime(self._clock)
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
        """End capturing, also while another thread waits for an image."""
        self.running = False
        with self._lock, as_fc2error(*self._errors, RuntimeError):
            self._acquirer.stop()

    def wait(self, timeout_s: float | None) -> Image | None:
        """Return the next image; None once it was stopped.

        Raises
        ------
        Damaged
            It arrived damaged.
        Fc2error
            None came in time, or the camera does not answer.
        """
        begun = time.monotonic()
        while True:
            left_s = SLICE_S if timeout_s is None else timeout_s - (time.monotonic() - begun)
            with self._lock:
                if not self.running:
                    return None
                buffer = self._fetch(min(max(left_s, 0.0), SLICE_S))
                if buffer is not None:
                    return self._take(buffer)
                gone = self._is_gone()
            if timeout_s is not None and time.monotonic() - begun >= timeout_s:
                why = "; the camera does not answer" if gone else ""
                raise Fc2error(f"timeout: no image within {1000 * timeout_s:g} ms{why}")
            if gone:
                raise Fc2error("the camera does not answer: it is gone")

    def _is_gone(self) -> bool:
        """Whether the device does not answer; it is asked every ``ASK_EVERY_S`` at most."""
        now = time.monotonic()
        if now - self._asked >= ASK_EVERY_S:
            self._asked, self._gone = now, not self._answers()
        return self._gone

    def _fetch(self, timeout_s: float) -> Any:
        """Return a raw buffer, or None; raises if one came damaged."""
        # the library looks at the time only between two polls, and 0 would be for ever
        acquirer, poll_ms = self._acquirer, max(1, min(POLL_MS, int(1000 * timeout_s)))
        acquirer.timeout_period_on_update_event_data_call = poll_ms
        with as_fc2error(*self._errors):
            buffer = acquirer.try_fetch(timeout=max(timeout_s, 0.001), is_raw=True)
            while buffer is not None and self._newest and self._waiting():
                newer = acquirer.try_fetch(timeout=POLL_MS / 1000, is_raw=True)
                if newer is None:
                    break
                buffer.parent.queue_buffer(buffer)
                buffer = newer
        if buffer is None and self._incomplete > self._damaged_before:
            self._damaged_before = self._incomplete
            raise Damaged
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
        stride = self._line + self._told(buffer, "padding_x", 0)
        whole_bytes = self._rows * stride
        if self._told(buffer, "size_filled", whole_bytes) < whole_bytes:
            self._count_damaged()
            self._damaged_before = self._incomplete
            raise Damaged
        lines = np.frombuffer(buffer.raw_buffer, np.uint8, whole_bytes)
        whole = lines.reshape(self._rows, stride)[:, : self._line]
        return np.array(whole, order="C").reshape(-1)

    def _frame_id(self, buffer: Any) -> int:
        counted = self.embedded.chunk("frameCounter")
        return int(buffer.frame_id) if counted is None else counted

    def _time(self, buffer: Any) -> int | None:
        ticks = self.embedded.chunk("timestamp")
        return self._buffer_time(buffer) if ticks is None else self._clock.to_ns(ticks)

    def stats(self) -> CameraStats:
        """Return what went wrong since ``start``."""
        damaged = self._incomplete - self._seen
        return CameraStats(
            imageDropped=max(0, self._missing - damaged),
            imageCorrupt=damaged,
            imageDriverDropped=max(0, underruns(self._acquirer) - self._underruns_before),
            temperature=self._features.number("DeviceTemperature"),
        )
