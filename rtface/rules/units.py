"""Units of signals: what may be added, compared, or refused."""

from __future__ import annotations

import math
from typing import NamedTuple


class Unit(NamedTuple):
    """Powers of px, s, rad, sd (standard deviations) and grey (grey levels)."""

    px: int = 0
    s: int = 0
    rad: int = 0
    sd: int = 0
    grey: int = 0

    def times(self, other: Unit) -> Unit:
        """Return the unit of a product."""
        return Unit(*(a + b for a, b in zip(self, other, strict=True)))

    def over(self, other: Unit) -> Unit:
        """Return the unit of a quotient."""
        return Unit(*(a - b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        """Return it as it is written in a rig file: ``px/s``; ``no unit`` for a pure number."""
        above = [_power(name, n) for name, n in self._asdict().items() if n > 0]
        below = [_power(name, -n) for name, n in self._asdict().items() if n < 0]
        if not above and not below:
            return "no unit"
        return "/".join([" ".join(above) or "1", *below])


def _power(name: str, n: int) -> str:
    return name if n == 1 else f"{name}{n}"


ONE, PX, PX2, S = Unit(), Unit(px=1), Unit(px=2), Unit(s=1)
RAD, SD, GREY = Unit(rad=1), Unit(sd=1), Unit(grey=1)
#: what may stand behind a number, and how many of its unit that is; each also with ``/s``
WRITTEN = {
    "px2": (1.0, PX2),
    "px": (1.0, PX),
    "us": (1e-6, S),
    "ms": (1e-3, S),
    "s": (1.0, S),
    "rad": (1.0, RAD),
    "deg": (math.pi / 180, RAD),
    "sd": (1.0, SD),
    "grey": (1.0, GREY),
}
