"""When rules must not fire any more though frames come: the clock, overload. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from rtface.rules.layout import Stage
from rtface.rules_config import LoopSection
from rtface.types import Ledger, TimeSource

#: exposure times that were fitted, and are those of delivery for so long, are of a lost clock
STALE_NS = 2_000_000_000


class Guard:
    """Says why everything has to be disarmed. Takes every tracked frame, in order.

    Parameters
    ----------
    loop : LoopSection
    oldest_ns : mapping of Stage to int
        The strictest ``max_age_ms`` of the rules that are decided after a stage.
    """

    def __init__(self, loop: LoopSection, oldest_ns: Mapping[Stage, int]) -> None:
        self._err_ms = loop.clock_err_ms
        self._n, self._max_skipped = loop.overload_frames, loop.max_skipped
        self._oldest_ns = tuple(oldest_ns.get(stage) for stage in Stage)
        self._segment = -1
        self._begin(-1)

    def _begin(self, segment: int) -> None:
        self._segment = segment
        self._fitted = False
        self._lost_ns: int | None = None  # since when exposure times are those of delivery
        self._old = 0
        self._tracked: deque[int] = deque()
        self._first = -1

    def before(self, ledger: Ledger) -> str:
        """Return what is wrong with the clock of a frame, before it is decided; or nothing."""
        if ledger.segment != self._segment:
            self._begin(ledger.segment)
        if ledger.time_source != TimeSource.DELIVERY:
            self._fitted, self._lost_ns = True, None
        elif self._lost_ns is None:
            self._lost_ns = ledger.t_host_ns
        if self._err_ms is not None and ledger.exposure_err_ns > self._err_ms * 1e6:
            return (
                f"exposure times may be wrong by {ledger.exposure_err_ns / 1e6:.1f} ms, more than "
                f"clock_err_ms = {self._err_ms:g}"
            )
        lost_ns = self._lost_ns
        if self._fitted and lost_ns is not None and ledger.t_host_ns - lost_ns > STALE_NS:
            return "the clock of exposures is lost"
        return ""

    def after(self, ledger: Ledger) -> str:
        """Return how this machine is overloaded, after a frame was decided; or nothing."""
        times = ledger.t_infer_ns, ledger.t_motion_ns, ledger.t_pupil_ns
        old = any(
            oldest is not None and t_ns - ledger.exposure_ns > oldest
            for t_ns, oldest in zip(times, self._oldest_ns, strict=True)
        )
        self._old = self._old + 1 if old else 0
        if self._first < 0:
            self._first = ledger.frame_seq
        since = ledger.frame_seq - self._n
        self._tracked.append(ledger.frame_seq)
        while self._tracked[0] <= since:
            self._tracked.popleft()
        if self._old >= self._n:
            return f"overload: {self._n} frames in a row were older than max_age_ms allows"
        skipped = 1 - len(self._tracked) / self._n
        if since >= self._first and skipped > self._max_skipped:
            return (
                f"overload: {skipped:.0%} of {self._n} frames were passed over, more than "
                f"max_skipped = {self._max_skipped:g}"
            )
        return ""

    def rest(self) -> None:
        """Judge overload anew from here on: rules were armed."""
        self._old, self._first = 0, -1
        self._tracked.clear()
