"""How often and how long a rule may fire. Pure; times are those of decisions, ns."""

from __future__ import annotations

from collections import deque

from rtface.rules_config import RuleSection

SECOND_NS = 1_000_000_000
DUTY_WINDOW_NS = 10 * SECOND_NS


class Limits:
    """Refractory time, rate, duty and number of fires of one rule; shams count as fires.

    Times must not run backwards: one that does is taken as the latest there was.
    """

    def __init__(self, rule: RuleSection) -> None:
        self._refractory_ns = round(rule.refractory_ms * 1e6)
        self._pulse_ns = round(rule.pulse_ms * 1e6)
        self._per_s, self._most = rule.max_per_s, rule.max_fires
        # with a whole pulse counted when it starts, so many pulses may start in a window
        self._in_window = int(rule.max_duty * DUTY_WINDOW_NS) // self._pulse_ns
        self._second: deque[int] = deque()
        self._window: deque[int] = deque()
        self._last_ns: int | None = None
        self.fires = 0

    def forbid(self, now_ns: int) -> str:
        """Return which limit forbids to fire now, or an empty text."""
        last = self._last_ns
        if last is None:
            return ""
        now_ns = max(now_ns, last)
        if now_ns - last < max(self._refractory_ns, self._pulse_ns):
            return "refractory"
        while self._second and self._second[0] <= now_ns - SECOND_NS:
            self._second.popleft()
        # a pulse that began a whole pulse before the window is wholly outside
        while self._window and self._window[0] <= now_ns - DUTY_WINDOW_NS - self._pulse_ns:
            self._window.popleft()
        if self.fires >= self._most:
            return "session cap"
        if len(self._second) >= self._per_s:
            return "rate"
        return "duty" if len(self._window) >= self._in_window else ""

    def fire(self, now_ns: int) -> None:
        """Count one."""
        now_ns = max(now_ns, self._last_ns or now_ns)
        self._last_ns = now_ns
        self._second.append(now_ns)
        self._window.append(now_ns)
        self.fires += 1
