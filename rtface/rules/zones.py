"""Polygons in the picture, and how deep a point is inside."""

from __future__ import annotations

import math
from collections.abc import Sequence

Corner = tuple[float, float]


def box_corners(left: float, top: float, width: float, height: float) -> list[Corner]:
    """Return the corners of a rectangle, px."""
    right, bottom = left + width, top + height
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def depth(corners: Sequence[Corner], x: float, y: float) -> float:
    """Return the distance to the nearest edge, px: above 0 inside, below 0 outside.

    Inside is where a ray crosses the edges an odd number of times. NaN in, NaN out.
    """
    if x != x or y != y:
        return math.nan
    nearest, inside = math.inf, False
    ax, ay = corners[-1]
    for bx, by in corners:
        dx, dy = bx - ax, by - ay
        length2 = dx * dx + dy * dy
        along = ((x - ax) * dx + (y - ay) * dy) / length2 if length2 else 0.0
        along = min(1.0, max(0.0, along))
        nearest = min(nearest, math.hypot(x - ax - along * dx, y - ay - along * dy))
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * dx:
            inside = not inside
        ax, ay = bx, by
    return nearest if inside else -nearest
