"""The pupil by the network's own four points: a second estimate, independent of grey levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rtface.types import Pose

NAMES = ("pupil(front)", "pupil(back)", "pupil(top)", "pupil(bottom)")
#: lower scores are not compared
SURE = 0.25
#: farther apart than this, in radii and px, or areas different by this factor: they disagree
APART, APART_PX, FACTOR = 0.4, 3.0, 2.0


class Points(NamedTuple):
    """Area, px2, of the ellipse whose axes end in the points; its centre, px of the frame; score.

    The score is the lowest of the four.
    """

    area: float
    x: float
    y: float
    score: float


#: nothing is known
NO_POINTS = Points(math.nan, math.nan, math.nan, 0.0)


def rows_of(names: Sequence[str]) -> list[int]:
    """Return which keypoints are the pupil's, as ``NAMES``; none if one is missing."""
    return [names.index(name) for name in NAMES] if all(n in names for n in NAMES) else []


def by_points(pose: Pose, rows: list[int]) -> Points:
    """Return what four keypoints say of the pupil.

    Parameters
    ----------
    pose : Pose
    rows : list of int
        From ``rows_of``.
    """
    if not rows:
        return NO_POINTS
    front, back, top, bottom = pose.keypoints[rows].tolist()
    across = math.hypot(front[0] - back[0], front[1] - back[1])
    along = math.hypot(top[0] - bottom[0], top[1] - bottom[1])
    return Points(
        math.pi / 4 * across * along,
        (front[0] + back[0] + top[0] + bottom[0]) / 4,
        (front[1] + back[1] + top[1] + bottom[1]) / 4,
        min(front[2], back[2], top[2], bottom[2]),
    )


def disagree(points: Points, area: float, x: float, y: float) -> bool:
    """Return whether a pupil of that area, px2, at that place is another one than the points'.

    False where either is not known.
    """
    if not (points.score > SURE and area > 0 and points.area > 0):
        return False
    off = math.hypot(points.x - x, points.y - y)
    near = max(APART * math.sqrt(area / math.pi), APART_PX)
    return not (off <= near and 1 / FACTOR <= points.area / area <= FACTOR)
