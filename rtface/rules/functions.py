"""What expressions compute of a frame: each returns a reader, ``Sight -> float``.

NaN is what is not known; a result that is not finite is made NaN by whoever compares it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from rtface.rules import zones
from rtface.rules.filters import MAX_GAP_S, NAN, Exponential, Kalman
from rtface.types import NO_SIGNALS, Float32Array, Ledger, Pose, Signals


class Sight:
    """What readers see of one frame; one object, filled anew for each.

    Attributes
    ----------
    t_s : float
        Midpoint of the exposure, s of the host's clock.
    points : list of [x, y, score]
        Of the keypoints; px, 0 to 1.
    signals : mapping of str to ndarray
    shut : bool
        The eye is shut, or no pupil is seen.
    learn : bool
        False: our own light, or another sudden one, is in the picture. Values are computed and
        nothing remembers them.
    frame : (Ledger, Pose, Signals), optional
        All of it, for users' functions.
    """

    __slots__ = ("frame", "learn", "points", "shut", "signals", "t_s")

    def __init__(self) -> None:
        self.t_s = NAN
        self.points: list[list[float]] = []
        self.signals: Mapping[str, Float32Array] = NO_SIGNALS
        self.shut = False
        self.learn = True
        self.frame: tuple[Ledger, Pose, Signals] | None = None


Read = Callable[[Sight], float]


class Stateful(Protocol):
    """A reader that remembers frames."""

    def read(self, sight: Sight) -> float:
        """Return the value in this frame; once per frame."""

    def reset(self) -> None:
        """Forget all frames."""


def coordinate(row: int, column: int, min_score: float) -> Read:
    """Return what reads x (column 0) or y (1), px; NaN below a score."""

    def read(sight: Sight) -> float:
        point = sight.points[row]
        return point[column] if point[2] >= min_score else NAN

    return read


def score(row: int) -> Read:
    """Return what reads the score."""
    return lambda sight: sight.points[row][2]


def element(signal: str, place: int, eye_open: bool) -> Read:
    """Return what reads one number of a signal; NaN with the eye shut if that spoils it."""
    if eye_open:
        return lambda sight: NAN if sight.shut else float(sight.signals[signal][place])
    return lambda sight: float(sight.signals[signal][place])


def distance(a: int, b: int, min_score: float) -> Read:
    """Return what reads the distance of two keypoints, px."""

    def read(sight: Sight) -> float:
        one, two = sight.points[a], sight.points[b]
        if not (one[2] >= min_score and two[2] >= min_score):
            return NAN
        return math.hypot(one[0] - two[0], one[1] - two[1])

    return read


def angle(a: int, b: int, c: int, min_score: float) -> Read:
    """Return what reads the angle at ``b`` between ``a`` and ``c``, 0 to pi."""

    def read(sight: Sight) -> float:
        one, corner, two = sight.points[a], sight.points[b], sight.points[c]
        if not (one[2] >= min_score and corner[2] >= min_score and two[2] >= min_score):
            return NAN
        ax, ay, bx, by = (
            one[0] - corner[0],
            one[1] - corner[1],
            two[0] - corner[0],
            two[1] - corner[1],
        )
        if (ax == 0 and ay == 0) or (bx == 0 and by == 0):
            return NAN
        return abs(math.atan2(ax * by - ay * bx, ax * bx + ay * by))

    return read


def depth(row: int, corners: Sequence[zones.Corner], min_score: float) -> Read:
    """Return what reads how deep a keypoint is in a zone, px."""

    def read(sight: Sight) -> float:
        x, y, likely = sight.points[row]
        return zones.depth(corners, x, y) if likely >= min_score else NAN

    return read


class Speed:
    """Distance from the last known place over the time between the exposures, px/s."""

    def __init__(self, row: int, min_score: float) -> None:
        self._row, self._min_score = row, min_score
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._t_s = self._x = self._y = NAN

    def read(self, sight: Sight) -> float:
        """Return the speed; NaN after a gap."""
        x, y, likely = sight.points[self._row]
        if not likely >= self._min_score or x != x or y != y:
            return NAN
        dt = sight.t_s - self._t_s
        speed = math.hypot(x - self._x, y - self._y) / dt if 0 < dt <= MAX_GAP_S else NAN
        if sight.learn:
            self._t_s, self._x, self._y = sight.t_s, x, y
        return speed


class Azimuth:
    """How far forward whiskers point, 0 to pi.

    The mean over the whiskers of the angle at ``base`` between the way to the whisker's point and
    the face's axis from the nose to the eye: 0 points backwards along it, pi forwards. The head is
    fixed, so base and axis are followed slowly: neither a sniff nor a lick is a whisk.

    Parameters
    ----------
    base, nose, eye : int
        Rows of keypoints.
    whiskers : sequence of int
    min_score : float
    """

    #: time constant of base and axis, s
    SLOW_S = 2.0

    def __init__(
        self, base: int, whiskers: Sequence[int], nose: int, eye: int, min_score: float
    ) -> None:
        self._rows, self._whiskers = (base, nose, eye), tuple(whiskers)
        self._min_score = min_score
        self._slow = [Exponential(self.SLOW_S) for _ in range(4)]
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._known = False
        for one in self._slow:
            one.reset()

    def read(self, sight: Sight) -> float:
        """Return the azimuth."""
        angles = self.angles(sight)
        return sum(angles) / len(angles) if angles else NAN

    def angles(self, sight: Sight) -> list[float]:
        """Return that of each whisker; none where a point is not known. Once per frame."""
        points = sight.points
        if not all(points[row][2] >= self._min_score for row in (*self._rows, *self._whiskers)):
            return []
        base, nose, eye = (points[row] for row in self._rows)
        now = (base[0], base[1], eye[0] - nose[0], eye[1] - nose[1])
        if sight.learn:
            for one, value in zip(self._slow, now, strict=True):
                one.update(sight.t_s, value)
            self._known = True
        if not self._known:
            return []
        x, y, back_x, back_y = self.axis
        angles = []
        for row in self._whiskers:
            dx, dy = points[row][0] - x, points[row][1] - y
            angles.append(abs(math.atan2(dx * back_y - dy * back_x, dx * back_x + dy * back_y)))
        return angles

    @property
    def axis(self) -> tuple[float, float, float, float]:
        """The base, and the way from nose to eye, as they are followed: x, y, x, y, px."""
        x, y, back_x, back_y = (one.x for one in self._slow)
        return x, y, back_x, back_y


class Rate:
    """Change per s, from the last known value."""

    def __init__(self, of: Read) -> None:
        self._of = of
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._t_s = self._x = NAN

    def read(self, sight: Sight) -> float:
        """Return the rate; NaN after a gap."""
        x = self._of(sight)
        if not math.isfinite(x):
            return NAN
        dt = sight.t_s - self._t_s
        rate = (x - self._x) / dt if 0 < dt <= MAX_GAP_S else NAN
        if sight.learn:
            self._t_s, self._x = sight.t_s, x
        return rate


class Causal(Protocol):
    """A filter of ``rtface.rules.filters`` that takes one sample after the other."""

    def reset(self) -> None:
        """Forget everything."""

    def peek(self, t_s: float, z: float) -> float:
        """Return what is said of a sample without learning from it."""

    def update(self, t_s: float, z: float) -> float:
        """Return what is said of a sample, and learn from it."""


class Filtered:
    """What a filter makes of a signal; light that was switched teaches it nothing."""

    def __init__(self, of: Read, by: Causal) -> None:
        self._of, self._filter = of, by

    def reset(self) -> None:
        """Forget all frames."""
        self._filter.reset()

    def read(self, sight: Sight) -> float:
        """Return the filtered value."""
        x = self._of(sight)
        if not math.isfinite(x):
            return NAN
        return (self._filter.update if sight.learn else self._filter.peek)(sight.t_s, x)


class Forecast:
    """Where it will be ``ahead_s`` after the exposure; see ``Kalman``."""

    def __init__(self, of: Read, ahead_s: float, period_s: float, follow_s: float) -> None:
        self._of, self._ahead_s, self._filter = of, ahead_s, Kalman(period_s, follow_s)

    def reset(self) -> None:
        """Forget all frames."""
        self._filter.reset()

    def read(self, sight: Sight) -> float:
        """Return the forecast."""
        x = self._of(sight)
        if not math.isfinite(x):
            return NAN
        if sight.learn:
            self._filter.update(sight.t_s, x)
        return self._filter.forecast_at(sight.t_s + self._ahead_s)
