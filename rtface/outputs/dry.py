"""No line at all: what would have fired is recorded as ever."""

from __future__ import annotations

import time

from rtface.outputs import LineEvent, Pulse


class DryOutput:
    """Takes pulses and does nothing; see ``Output``."""

    fail_safe = True
    up = True

    def __init__(self, name: str) -> None:
        self.name = name

    def fire(self, pulse: Pulse) -> int | None:
        """Do nothing."""
        return time.perf_counter_ns()

    def idle(self) -> None:
        """Do nothing."""

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Nothing happens."""
        return []

    def close(self) -> None:
        """Do nothing."""
