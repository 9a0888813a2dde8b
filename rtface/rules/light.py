"""Which frames show a light that was switched, ours or another's. Pure."""

from __future__ import annotations

import math
from collections import deque

from rtface.types import Image

#: every so manieth pixel in each direction makes the brightness
STEP = 8


def brightness(image: Image) -> float:
    """Return the mean grey value of every 8th pixel of every 8th row, (H, W) uint8 or uint16."""
    return float(image[::STEP, ::STEP].mean())


class LightGate:
    """Tells frames whose exposure, or that of the frame before, a light may have changed.

    Parameters
    ----------
    period_ns, exposure_ns : int
        Of the frames; exposure time, at most.
    line : int or None
        Input line that is high while a light is on.
    step : float
        A frame this part brighter or darker than the one before shows a switch.
    """

    def __init__(self, period_ns: int, exposure_ns: int, line: int | None, step: float) -> None:
        self._half_ns = exposure_ns // 2
        self._back_ns = period_ns + exposure_ns // 2
        self._line = line
        self._step = step
        self._ours: deque[tuple[int, int]] = deque(maxlen=256)
        self._brightness = math.nan
        self._after = False

    def lit(self, from_ns: int, to_ns: int) -> None:
        """Note that our light may be on between two times of the host's clock, ns."""
        self._ours.append((from_ns, to_ns))

    def __call__(self, exposed_ns: int, err_ns: int, lines: int, brightness: float) -> str:
        """Return why this frame fires nothing, or an empty text. Once per frame, in order."""
        first, last = exposed_ns - self._back_ns - err_ns, exposed_ns + self._half_ns + err_ns
        while self._ours and self._ours[0][1] < first:
            self._ours.popleft()
        why = ""
        for from_ns, to_ns in self._ours:
            if from_ns <= last and to_ns >= first:
                why = "our own light"
                break
        changed = ""
        if self._line is not None and lines >> self._line & 1:
            changed = "light line"
        before = self._brightness
        if abs(brightness - before) > self._step * max(before, 1.0):  # False for NaN
            changed = changed or "brightness step"
        if brightness == brightness:
            self._brightness = brightness
        if not why:
            why = changed or ("after a light" if self._after else "")
        self._after = bool(changed)
        return why
