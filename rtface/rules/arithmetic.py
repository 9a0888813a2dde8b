"""Operators of expressions: how readers are joined, and what becomes of their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rtface.rules.filters import NAN
from rtface.rules.functions import Read, Sight

_Bounds = Sequence[tuple[float, float]]


def _add(of: Sequence[Read]) -> Read:
    a, b = of
    return lambda sight: a(sight) + b(sight)


def _subtract(of: Sequence[Read]) -> Read:
    a, b = of
    return lambda sight: a(sight) - b(sight)


def _multiply(of: Sequence[Read]) -> Read:
    a, b = of
    return lambda sight: a(sight) * b(sight)


def _divide(of: Sequence[Read]) -> Read:
    a, b = of

    def read(sight: Sight) -> float:
        above, below = a(sight), b(sight)
        return above / below if below else NAN

    return read


def _negate(of: Sequence[Read]) -> Read:
    (a,) = of
    return lambda sight: -a(sight)


def _abs(of: Sequence[Read]) -> Read:
    (a,) = of
    return lambda sight: abs(a(sight))


def _extreme(pick: Callable[[list[float]], float]) -> Callable[[Sequence[Read]], Read]:
    def join(of: Sequence[Read]) -> Read:
        def read(sight: Sight) -> float:
            values = [one(sight) for one in of]  # all of them: each has to see every frame
            return NAN if any(value != value for value in values) else pick(values)

        return read

    return join


def _safe(low: float, high: float) -> tuple[float, float]:
    return (-math.inf if low != low else low), (math.inf if high != high else high)


def _bound_product(bounds: _Bounds) -> tuple[float, float]:
    (a, b), (c, d) = bounds
    corners = [a * c, a * d, b * c, b * d]
    if any(corner != corner for corner in corners):  # 0 times infinity
        return (0.0, math.inf) if min(a, c) >= 0 else (-math.inf, math.inf)
    return min(corners), max(corners)


def _bound_quotient(bounds: _Bounds) -> tuple[float, float]:
    (a, b), (c, d) = bounds
    if c == d and c != 0:
        return _bound_product([(a, b), (1 / c, 1 / c)])
    return (0.0, math.inf) if min(a, c) >= 0 else (-math.inf, math.inf)


#: operators: how readers are joined, and what becomes of their bounds
ARITHMETIC: dict[
    str,
    tuple[Callable[[Sequence[Read]], Read], Callable[[_Bounds], tuple[float, float]]],
] = {
    "+": (_add, lambda b: _safe(b[0][0] + b[1][0], b[0][1] + b[1][1])),
    "-": (_subtract, lambda b: _safe(b[0][0] - b[1][1], b[0][1] - b[1][0])),
    "*": (_multiply, _bound_product),
    "/": (_divide, _bound_quotient),
    "neg": (_negate, lambda b: (-b[0][1], -b[0][0])),
    "abs": (
        _abs,
        lambda b: (
            0.0 if b[0][0] <= 0 <= b[0][1] else min(abs(b[0][0]), abs(b[0][1])),
            max(abs(b[0][0]), abs(b[0][1])),
        ),
    ),
    "min": (_extreme(min), lambda b: (min(lo for lo, _ in b), min(hi for _, hi in b))),
    "max": (_extreme(max), lambda b: (max(lo for lo, _ in b), max(hi for _, hi in b))),
}
