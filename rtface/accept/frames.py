"""Frames of a run while it goes on: their times, a part of their picture, their input lines."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.ring import NONE_WORD
from rtface.rings import FrameRingReader, ResultRingReader
from rtface.types import UserError

Array = npt.NDArray[Any]


class Frames(NamedTuple):
    """What was collected of each frame that has a result; (N,) each.

    ``grey`` is the mean of the part that was looked at, NaN where no part was; ``lines`` are the
    bits of the input lines, ``frame_seq`` its number, ``source`` a ``TimeSource``.
    """

    frame_seq: Array
    device_ns: Array
    host_ns: Array
    done_ns: Array
    exposure_ns: Array
    err_ns: Array
    source: Array
    lines: Array
    grey: Array

    def settled(self, warm_up_s: float) -> Frames:
        """Return those whose times were found as most are, after a while, and that were seen.

        Raises
        ------
        UserError
            There is none.
        """
        if len(self.host_ns):
            warm = self.host_ns > self.host_ns[0] + int(1e9 * warm_up_s)
            if warm.any():
                usual = int(np.bincount(self.source[warm]).argmax())
                kept = warm & (self.source == usual) & np.isfinite(self.grey)
                if kept.any():
                    return Frames(*(column[kept] for column in self))
        raise UserError("no frame came")


class Collector:
    """Reads both rings of a camera while its rig runs. Belongs to one thread.

    Parameters
    ----------
    camera : str
    box : (left, top, width, height), optional
        Whose mean grey value is taken, px.
    """

    def __init__(self, camera: str, box: tuple[int, int, int, int] | None) -> None:
        self._camera, self._box = camera, box
        self._frames: FrameRingReader | None = None
        self._results: ResultRingReader | None = None
        self._next = 0
        self._seen: dict[int, tuple[int, float]] = {}
        self._rows: list[tuple[int, ...]] = []

    def begin(self, _: object = None) -> None:
        """Open the rings of a run that has started."""
        self._frames = FrameRingReader(self._camera)
        self._results = ResultRingReader(self._camera)

    def turn(self, _: object = None) -> None:
        """Take in what has come since."""
        if self._frames is None or self._results is None:
            return
        while self._box and self._next <= self._frames.ring.head:
            self._next = max(self._next, self._frames.ring.oldest)
            if (frame := self._frames.read(self._next)) is not None:
                left, top, width, height = self._box
                part = frame.image[top : top + height, left : left + width]
                self._seen[self._next] = frame.stamp.line_status, float(part.mean())
            self._next += 1
        for result in self._results.new():
            one = result.ledger
            device_ns = NONE_WORD if one.t_camera_ns is None else one.t_camera_ns
            times = (device_ns, one.t_host_ns, one.t_done_ns, one.exposure_ns, one.exposure_err_ns)
            self._rows.append((one.frame_seq, *times, one.time_source))

    def close(self) -> None:
        """Unmap the rings; may be called twice."""
        for ring in (self._frames, self._results):
            if ring is not None:
                ring.close()
        self._frames = self._results = None

    def frames(self) -> Frames:
        """Return what was collected."""
        rows = np.array(self._rows, np.int64).reshape(-1, 7)
        seen = [self._seen.get(int(seq), (0, np.nan)) for seq in rows[:, 0]]
        lines = np.array([line for line, _ in seen], np.int64)
        grey = np.array([grey for _, grey in seen], float)
        seq, device, host, done, exposure, err, source = rows.T
        return Frames(seq, device, host, done, exposure, err, source, lines, grey)


def percentiles_us(ns: Array) -> dict[str, float]:
    """Return p50, p99 and max in us."""
    p50, p99 = np.percentile(ns, [50, 99])
    named = {"p50": p50, "p99": p99, "max": ns.max()}
    return {name: round(float(value) / 1e3, 1) for name, value in named.items()}
