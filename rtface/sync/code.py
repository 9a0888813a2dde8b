"""What a generator of coded triggers sends, and barcodes. The firmware does the same sums.

Pure. In every stretch of 5 s one trigger, at a pseudo-random place, comes a quarter of a period
late, or is left out. Late is better: no frame is missing, so motion energy has no hole.
``docs/examples/arduino/rtface_strobe`` counts with the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rtface.sync.grid import Floats

#: one trigger of each so many seconds carries the code
STRETCH_S = 5
#: by how much it is late, in periods
LATE = 0.25
#: a barcode: a long start, then bits, the lowest first; every so many seconds
BARCODE_START_S, BARCODE_BIT_S, BARCODE_BITS, BARCODE_EVERY_S = 0.1, 0.05, 32, 10.0


def shuffled(x: int) -> int:
    """Return the next number of a pseudo-random series of 32 bits; never 0 from one that is not.

    Marsaglia, Xorshift RNGs, J. Stat. Softw. 8(14), 2003: shifts 13, 17, 5.
    """
    x ^= x << 13 & 0xFFFFFFFF
    x ^= x >> 17
    return x ^ (x << 5 & 0xFFFFFFFF)


def seed_of(boot: int) -> int:
    """Return where the series begins after the generator was switched on for the n-th time."""
    return (boot * 2654435761 + 1) & 0xFFFFFFFF or 1


def places(rate_hz: float, boot: int) -> Iterator[int]:
    """Yield, stretch by stretch, which trigger carries the code (0 is the first of the stretch).

    Never the first or the last of a stretch, so that two are never neighbours.
    """
    n = round(rate_hz * STRETCH_S)
    x = seed_of(boot)
    while True:
        x = shuffled(x)
        yield 1 + x % (n - 2)


def triggers(rate_hz: float, duration_s: float, boot: int, leave_out: bool = False) -> Floats:
    """Return (N,) times of the triggers, s since the first.

    Parameters
    ----------
    leave_out : bool
        Leave the marked triggers out instead of sending them late.
    """
    n = round(rate_hz * STRETCH_S)
    total = int(duration_s * rate_hz)
    t = np.arange(total) / rate_hz
    code = places(rate_hz, boot)
    marked = np.array([start + next(code) for start in range(0, total, n)], np.int64)
    marked = marked[marked < total]
    if leave_out:
        return np.delete(t, marked)
    t[marked] += LATE / rate_hz
    return t


class Levels(NamedTuple):
    """When a line goes up and down: (N,) and (M,) float64, s."""

    rising_s: Floats
    falling_s: Floats


def barcode(value: int, t_s: float = 0.0) -> Levels:
    """Return the edges of one barcode that begins at ``t_s``: start high, one bit low, 32 bits."""
    bits = [value >> i & 1 for i in range(BARCODE_BITS)]
    levels = [1] * round(BARCODE_START_S / BARCODE_BIT_S) + [0, *bits, 0]
    steps = np.diff(levels, prepend=0)
    at: Floats = t_s + BARCODE_BIT_S * np.arange(len(levels), dtype=np.float64)
    return Levels(at[steps > 0], at[steps < 0])


def barcodes(duration_s: float, first: int) -> Levels:
    """Return the edges of barcodes, one every 10 s: ``first``, and what ``shuffled`` makes of it.

    Numbers that count up would look alike.
    """
    all_of, value = [], first
    for i in range(int(duration_s // BARCODE_EVERY_S) + 1):
        all_of.append(barcode(value, i * BARCODE_EVERY_S))
        value = shuffled(value)
    return Levels(*(np.concatenate(edges) for edges in zip(*all_of, strict=True)))
