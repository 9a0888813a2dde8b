"""When a camera without hardware behind it delivers its frames."""

from __future__ import annotations

import time
from collections.abc import Callable

NS_PER_S = 1_000_000_000


class Pacer:
    """Hands out frame ids at absolute deadlines, as a free-running camera would.

    Frame ``i`` is due at ``t0 + (i + 1) * period_ns``, where ``t0`` is the call of ``start``; an
    error in one frame never adds to the next. A frame that nobody asked for until more than one
    period after its deadline is lost: its id is passed over and counted, so what is delivered is
    never old. Belongs to one thread; does no I/O but the injected clock and sleep.

    Parameters
    ----------
    period_ns : int
        Time between two frames, ns; at least 1.
    clock : callable
        Returns the time in ns (``perf_counter_ns``).
    sleep : callable
        Sleeps for that many seconds; may return early or late.

    Attributes
    ----------
    id : int
        The id that ``next`` returns next, unless its time passes before.
    late : int
        Ids passed over so far.
    """

    def __init__(
        self,
        period_ns: int,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if period_ns < 1:
            raise ValueError(f"a period of {period_ns} ns is shorter than 1 ns")
        self.period_ns = period_ns
        self.id = 0
        self.late = 0
        self._clock, self._sleep = clock, sleep
        self._t0: int | None = None

    @property
    def produced(self) -> int:
        """Frames made so far: those that ``next`` returned plus ``late``."""
        return self.id

    def start(self) -> None:
        """Set ``t0`` to now: frame 0 is due one period later."""
        self._t0 = self._clock()

    @property
    def t0_ns(self) -> int:
        """When ``start`` was called; RuntimeError before."""
        if self._t0 is None:
            raise RuntimeError("not started")
        return self._t0

    def deadline_ns(self, frame_id: int) -> int:
        """Return when frame ``frame_id`` is due, ns after ``t0``: the camera's own clock."""
        return (frame_id + 1) * self.period_ns

    def skip_late(self) -> int:
        """Pass over the ids whose time is gone by more than a period; return ns since ``t0``.

        ``next`` does this by itself; call it when work has to be done for the id beforehand.
        """
        if self._t0 is None:
            raise RuntimeError("next frame asked for before start()")
        now = self._clock() - self._t0
        # the first id whose deadline is at most one period ago: ceil(now / period) - 2
        first = -(-now // self.period_ns) - 2
        if first > self.id:
            self.late += first - self.id
            self.id = first
        return now

    def next(self, timeout_s: float) -> int | None:
        """Wait for the next frame's deadline and return its id; None after ``timeout_s``.

        Sleeps, never spins. A frame that is due is returned even when ``timeout_s`` is 0. Raises
        RuntimeError before ``start``.
        """
        now = self.skip_late()
        give_up = now + round(timeout_s * NS_PER_S)
        while now < (due := self.deadline_ns(self.id)):
            if now >= give_up:
                return None
            self._sleep((min(due, give_up) - now) / NS_PER_S)
            now = self.skip_late()  # the sleep itself may have been too long
        frame_id = self.id
        self.id += 1
        return frame_id
