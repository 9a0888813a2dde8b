"""Compiled expressions: what reads a value, and what is known of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rtface.rules.functions import Read, Sight, Stateful
from rtface.rules.layout import Layout, Stage
from rtface.rules.units import Unit
from rtface.rules.zones import Corner

#: why azimuth and phase are refused where nobody says whether whiskers are tracked well
NOBODY_LOOKED = "needs whiskers that are tracked well, and nobody looked"


@dataclass(frozen=True, slots=True)
class Signal:
    """A compiled expression.

    Attributes
    ----------
    read : callable
        Gets a ``Sight`` and returns a float; once per frame, in order.
    unit : Unit
    low, high : float
        It is never outside.
    stage : Stage
        After which stage of the frame it exists.
    delay_s : float
        How far it lags behind what it describes, slow changes, s; below 0 for a forecast.
    points : frozenset of int
        Rows of the keypoints it is made of.
    parts : tuple of Stateful
        What remembers frames.
    basis : bool
        Whether motion components are in it: other masks make it another signal.
    value : float or None
        Of a constant.
    """

    read: Read
    unit: Unit
    low: float = -math.inf
    high: float = math.inf
    stage: Stage = Stage.POSE
    delay_s: float = 0.0
    points: frozenset[int] = frozenset()
    parts: tuple[Stateful, ...] = ()
    basis: bool = False
    value: float | None = None

    def reset(self) -> None:
        """Forget all frames."""
        for part in self.parts:
            part.reset()


@dataclass(frozen=True, slots=True)
class Known:
    """What an expression may name.

    Attributes
    ----------
    keypoints : sequence of str
    layout : Layout
        Signals of the frame.
    named : mapping of str to str
        Expressions of the rig file by their names.
    zones : mapping of str to sequence of (float, float)
        Corners, px.
    period_s : float
        Of the frames, nominal.
    min_score : float
        A keypoint below it is not known.
    no_whisking : str
        Why azimuth and phase are refused, or empty.
    """

    keypoints: Sequence[str]
    layout: Layout
    named: Mapping[str, str] = field(default_factory=dict)
    zones: Mapping[str, Sequence[Corner]] = field(default_factory=dict)
    period_s: float = 0.01
    min_score: float = 0.0
    no_whisking: str = NOBODY_LOOKED


class Test(NamedTuple):
    """A compiled comparison: ``sign * value > sign * threshold``."""

    signal: Signal
    sign: int
    threshold: float


def constant(value: float, unit: Unit) -> Signal:
    """Return the signal that never changes."""
    return Signal(lambda _sight: value, unit, value, value, value=value)


Operation = tuple[
    Callable[[Sequence[Read]], Read], Callable[[Sequence[tuple[float, float]]], tuple[float, float]]
]


def joined(operation: Operation, inner: Sequence[Signal], unit: Unit) -> Signal:
    """Return the signal that an operator makes of signals."""
    join, bound = operation
    read = join([one.read for one in inner])
    low, high = bound([(one.low, one.high) for one in inner])
    if all(one.value is not None for one in inner):
        return constant(read(Sight()), unit)
    changing = [one for one in inner if one.value is None]
    return Signal(
        read,
        unit,
        low,
        high,
        max(one.stage for one in inner),
        max(one.delay_s for one in changing),
        frozenset().union(*(one.points for one in inner)),
        tuple(part for one in inner for part in one.parts),
        any(one.basis for one in inner),
    )
