"""A simulated light that a synthetic camera sees: on and off at known times of the host's clock.

The light is a small file: how often it was switched, and when, in ``perf_counter_ns``. One program
switches it, cameras in other processes read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtface.types import UserError

#: switches that are remembered
KEPT = 256
_WORDS = 1 + KEPT


class LightSwitch:
    """Switches a simulated light. Belongs to one thread; one switch per light.

    ``delay_ns`` passes from the command to the light, as in a real line.
    """

    def __init__(
        self, path: Path, delay_ns: int = 0, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        np.zeros(_WORDS, "<i8").tofile(path)
        self._words = np.memmap(path, "<i8", "r+")
        self._delay_ns, self._clock = delay_ns, clock

    def set(self, on: bool) -> int:
        """Switch it on or off; return when that was ordered, ``perf_counter_ns``."""
        n, now = int(self._words[0]), self._clock()
        if bool(n % 2) != on:
            self._words[1 + n % KEPT] = now + self._delay_ns
            self._words[0] = n + 1  # last: a reader that sees the count sees the time
        return now

    def close(self) -> None:
        """Switch it off."""
        self.set(False)


class SeenLight:
    """What a camera sees of a simulated light."""

    def __init__(self, path: Path) -> None:
        try:
            self._words = np.memmap(path, "<i8", "r", shape=(_WORDS,))
        except (OSError, ValueError):
            raise UserError(
                f"{path}: is not a simulated light; calibration/latency.py makes one"
            ) from None

    def fraction(self, start_ns: int, stop_ns: int) -> float:
        """Return for which part of the time from ``start_ns`` to ``stop_ns`` it was on."""
        n = int(self._words[0])
        lit, later = 0, stop_ns
        # backwards from the newest switch: before it the light was what it is not now
        for i in range(n - 1, max(-1, n - KEPT), -1):
            at = min(later, max(start_ns, int(self._words[1 + i % KEPT])))
            if i % 2 == 0:  # the switch number i turned it on
                lit += later - at
            later = at
            if later <= start_ns:
                break
        return lit / (stop_ns - start_ns)
