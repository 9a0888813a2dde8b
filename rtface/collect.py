"""Frames of a running camera, kept binned, for masks to be fitted to."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from rtface.motion.binning import Binner
from rtface.rings import FrameRingReader
from rtface.types import Float32Array

#: for binned frames, bytes; with what fitting needs it stays below 1 GB
BUDGET = 200 << 20
#: frames without a gap that are kept together where not all fit
STRETCH = 100
_TURN_S = 0.005

#: binned frames (h, w) of exposures that follow each other
Stretch = list[Float32Array]


class Collector:
    """Takes frames until it has seen enough. Belongs to one thread.

    Where the time asked for is too long for the memory allowed, it keeps stretches of ``STRETCH``
    frames that are spread evenly over it.

    Parameters
    ----------
    frames : FrameRingReader
    seconds : float
        How much to look at.
    bin_px : int

    Attributes
    ----------
    stretches : list of list of ndarray (h, w) float32
    """

    def __init__(self, frames: FrameRingReader, seconds: float, bin_px: int) -> None:
        info = frames.info
        self._frames = frames
        self._binner = Binner(info.height, info.width, bin_px, info.dtype)
        self.wanted = max(2, round(seconds * info.rate_hz))
        room = max(2, BUDGET // (4 * self._binner.shape[0] * self._binner.shape[1]))
        self._keep, self._every = self.wanted, self.wanted
        if self.wanted > room:
            self._keep = min(STRETCH, room)
            self._every = -(-self.wanted // max(1, room // self._keep))
        self.seen = 0
        self.stretches: list[Stretch] = []
        self._first = self._next = frames.ring.head + 1
        self._before: tuple[int, int] | None = None

    def turn(self) -> bool:
        """Take what has come; False once enough was seen."""
        ring = self._frames.ring
        self._next = max(self._next, ring.oldest)
        while self._next <= ring.head and self.seen < self.wanted:
            self._take(self._next)
            self._next += 1
            self.seen = self._next - self._first
        return self.seen < self.wanted

    def _take(self, seq: int) -> None:
        taken = self._frames.take(seq) if (seq - self._first) % self._every < self._keep else None
        if taken is None:  # not wanted, or gone before it was read
            self._before = None
            return
        record, image = taken
        if self._before != (record.segment, record.frame_id - 1):
            self.stretches.append([])
        self._before = record.segment, record.frame_id
        binned = np.empty(self._binner.shape, np.float32)
        self._binner(image, binned)
        self.stretches[-1].append(binned)


def collect(
    collector: Collector,
    stop_asked: Callable[[], bool],
    on_progress: Callable[[int, int], None] = lambda _seen, _wanted: None,
    closed: Callable[[], bool] = lambda: False,
) -> bool:
    """Let a collector see enough; False if ``stop_asked`` or ``closed`` came first."""
    while collector.turn():
        if stop_asked() or closed():
            return False
        on_progress(collector.seen, collector.wanted)
        time.sleep(_TURN_S)
    on_progress(collector.seen, collector.wanted)
    return True
