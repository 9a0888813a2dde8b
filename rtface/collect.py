"""Frames of a running camera, kept binned, for masks to be fitted to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rtface.motion.binning import Binner, binned_shape
from rtface.rings import FrameRingReader
from rtface.types import CameraInfo, Float32Array

#: for binned frames, bytes; with what fitting needs it stays below 1 GB
BUDGET = 200 << 20
#: frames without a gap that are kept together where not all fit
STRETCH = 100
_TURN_S = 0.005

#: binned frames (h, w) of exposures that follow each other
Stretch = list[Float32Array]


class Sampling(NamedTuple):
    """Which frames are kept: of ``wanted``, the first ``keep`` of every ``every``."""

    wanted: int
    keep: int
    every: int

    @property
    def differences(self) -> int:
        """How many pairs of frames that follow each other are kept, if none is lost."""
        whole, rest = divmod(self.wanted, self.every)
        return whole * (self.keep - 1) + max(0, min(rest, self.keep) - 1)


def sampling(info: CameraInfo, seconds: float, bin_px: int) -> Sampling:
    """Return which frames of a camera are kept of so many seconds, for what memory allows."""
    rows, columns = binned_shape(info.height, info.width, bin_px)
    wanted = max(2, round(seconds * info.rate_hz))
    room = max(2, BUDGET // (4 * rows * columns))
    if wanted <= room:
        return Sampling(wanted, wanted, wanted)
    stretches = max(1, room // STRETCH)
    return Sampling(wanted, room // stretches, -(-wanted // stretches))


class Collector:
    """Takes frames until it has seen enough. Belongs to one thread.

    Where the time asked for is too long for the memory allowed, it keeps stretches of ``STRETCH``
    frames, or a few more, that are spread evenly over it.

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
        self.wanted, self._keep, self._every = sampling(info, seconds, bin_px)
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
