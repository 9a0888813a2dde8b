"""The pupil by its edge: where brightness steps along rays from inside, and the outline of that.

What a Gaussian of all dark pixels cannot do: reflections, lids and dark fur that hide a part of the
outline only leave rays out; and a level in the middle of the step is found anew in every frame, so
that light may change.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.pupil.fit import Float64Array, Mask
from rtface.types import Float32Array

RAYS, SAMPLES = 48, 30
#: rays run from, to; in radii of the first guess
NEAREST, FARTHEST = 0.35, 1.7
#: samples on each side of an edge that tell where in between it lies
_SIDE = 3
#: ridge on the elliptic part of the outline, in rays: a round pupil where little of it is seen
_ROUND = 4.0
#: rays further from the outline than this part of the radius, and px, do not agree with it
_AGREE, _AGREE_PX = 0.06, 0.6
_TURNS = 2
#: rays that must agree, and px of the smallest radius
_FEWEST, _LEAST_PX = RAYS // 5, 1.5
#: samples beside a glint that its halo may reach
_HALO = 2


class Edge(NamedTuple):
    """The outline found in one ROI, in its px (x right, y down, pixel centres at integers).

    Attributes
    ----------
    area, x, y : float
        Area inside it, px2, and its centre.
    long, short, angle : float
        Semi-axes, px, of the ellipse of the same second moments; rad from x to y.
    score : float
        0 to 1: the share of rays that agree, less where the step drowns in noise.
    inside, outside : float
        Grey levels on both sides of the edge.
    """

    area: float
    x: float
    y: float
    long: float
    short: float
    angle: float
    score: float
    inside: float
    outside: float


#: nothing was found
_NAN = math.nan
NO_EDGE = Edge(_NAN, _NAN, _NAN, _NAN, _NAN, _NAN, 0.0, _NAN, _NAN)

_ANGLES = np.arange(RAYS) * (2 * np.pi / RAYS)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_STEP = (FARTHEST - NEAREST) / (SAMPLES - 1)
_RADII = np.linspace(NEAREST, FARTHEST, SAMPLES)
_UNIT_X = np.ascontiguousarray(_COS[:, None] * _RADII, np.float32)
_UNIT_Y = np.ascontiguousarray(_SIN[:, None] * _RADII, np.float32)
#: an outline is r(angle) = parameters . base
_BASE = np.stack([np.ones(RAYS), _COS, _SIN, np.cos(2 * _ANGLES), np.sin(2 * _ANGLES)])
_BASE_T = np.ascontiguousarray(_BASE.T)
_RIDGE = np.diag([0.0, 0.0, 0.0, _ROUND, _ROUND])
#: integrals over an outline: of r^3 for the centre, of r^4 for the second moments
_FIRST = np.stack([_COS, _SIN], 1) * (2 * np.pi / RAYS / 3)
_SECOND = np.stack([_COS * _COS, _SIN * _SIN, _COS * _SIN], 1) * (2 * np.pi / RAYS / 4)
_ROWS = (np.arange(RAYS) * SAMPLES)[:, None]
_WINDOW = np.arange(1 - _SIDE, _SIDE + 1)
#: samples that surely are inside, and outside, if the guess is about right
_CORE = int(np.searchsorted(_RADII, 0.65))
_RIM = int(np.searchsorted(_RADII, 1.35))


def sample(image: Float32Array, x: Float32Array, y: Float32Array) -> Float32Array:
    """Return ``image`` (H, W) float32, C-contiguous, at places inside of it, bilinear."""
    width = image.shape[1]
    column, row = x.astype(np.int32), y.astype(np.int32)
    right, down = x - column, y - row
    row *= width
    row += column
    flat = image.reshape(-1)
    above, below = _between(flat, row, right), _between(flat[width:], row, right)
    below -= above
    below *= down
    above += below
    return above


def _between(flat: Float32Array, at: npt.NDArray[np.int32], right: Float32Array) -> Float32Array:
    level = flat.take(at)
    step = flat[1:].take(at)
    step -= level
    step *= right
    level += step
    return level


def find_edge(
    image: Float32Array, hidden: Mask, x: float, y: float, radius: float, sign: int, noise: float
) -> Edge:
    """Return the outline about a first guess.

    Parameters
    ----------
    image : ndarray (h, w) float32
        The ROI, grey levels, C-contiguous.
    hidden : ndarray (h, w) bool
        Pixels that are not looked at, such as those beyond the lids.
    x, y, radius : float
        The guess, px; right within about a third of the radius.
    sign : int
        1 for a pupil darker than its surroundings, -1 for a brighter one.
    noise : float
        Standard deviation of a pixel, grey levels.
    """
    height, width = image.shape
    if not (radius >= _LEAST_PX and 1 <= x < width - 2 and 1 <= y < height - 2):
        return NO_EDGE
    px, py = _UNIT_X * np.float32(radius), _UNIT_Y * np.float32(radius)
    px += np.float32(x)
    py += np.float32(y)
    reach = FARTHEST * radius
    if reach <= min(x, y, width - 1.5 - x, height - 1.5 - y):
        seen = None
    else:
        seen = (px >= 0) & (py >= 0)
        seen &= px < width - 1
        seen &= py < height - 1
        np.clip(px, 0, width - 1.01, out=px)
        np.clip(py, 0, height - 1.01, out=py)
    level = sample(image, px, py)
    px += np.float32(0.5)
    py += np.float32(0.5)
    at = py.astype(np.int32)
    at *= width
    at += px.astype(np.int32)
    dark = hidden.reshape(-1).take(at)
    seen = ~dark if seen is None else seen & ~dark
    inside = _middle(level[:, :_CORE][seen[:, :_CORE]])
    outside = _middle(level[:, _RIM:][seen[:, _RIM:]])
    contrast = sign * (outside - inside)
    if not contrast > 0:
        return NO_EDGE
    if sign > 0:
        # brighter than the iris by so much: a glint with its halo, or fur
        glare = level > outside + max(0.75 * contrast, 4 * noise)
        if glare.any():
            for i in range(_HALO):
                glare[:, i + 1 :] |= glare[:, : -i - 1].copy()
                glare[:, : -i - 1] |= glare[:, i + 1 :].copy()
            seen &= ~glare
    # share of a sample that is pupil
    level -= np.float32(outside)
    level *= np.float32(1 / (inside - outside))
    radii, clear = _crossings(level, seen)
    if np.count_nonzero(clear) < _FEWEST:
        return NO_EDGE._replace(inside=inside, outside=outside)
    # noise moves edges
    slack = max(_AGREE * radius, _AGREE_PX, _STEP * radius * noise / contrast)
    outline, agree = _outline(radii * radius, clear, slack)
    if agree < _FEWEST or outline.min() <= 0:
        return NO_EDGE._replace(inside=inside, outside=outside)
    certain = min(1.0, contrast / max(2 * noise, 1e-6))
    return _ellipse(outline, x, y)._replace(
        score=float(agree / RAYS * certain), inside=inside, outside=outside
    )


def _middle(levels: Float32Array) -> float:
    """Return the median; NaN of nothing."""
    n = len(levels)
    return float(np.partition(levels, n // 2)[n // 2]) if n else math.nan


def _crossings(fill: Float32Array, seen: Mask) -> tuple[Float64Array, Mask]:
    """Return where each ray leaves the pupil, in radii of the guess, and whether it is seen."""
    # the step that explains the whole ray best, which noise moves least
    step = fill - np.float32(0.5)
    step *= seen
    last = np.add.accumulate(step, axis=1).argmax(1)
    found = (last >= _SIDE) & (last < SAMPLES - _SIDE - 1)
    last[~found] = _SIDE
    at = _WINDOW + last[:, None]
    at += _ROWS
    near = fill.reshape(-1).take(at)
    np.clip(near, 0, 1, out=near)
    amount = near.sum(1)
    found &= seen.reshape(-1).take(at).all(1)
    found &= np.abs(amount - _SIDE) < 0.6 * _SIDE
    return NEAREST + _STEP * (last + amount + (0.5 - _SIDE)), found


def _outline(radii: Float64Array, clear: Mask, slack: float) -> tuple[Float64Array, int]:
    """Fit r(angle) to the rays that are clear, again and again without those that disagree.

    Returns it (RAYS,) and how many rays agree.
    """
    middle = np.partition(radii[clear], np.count_nonzero(clear) // 2)
    fitted = middle[len(middle) // 2]
    for turn in range(_TURNS):
        off = radii - fitted
        off *= 1 / (slack * (3.0, 1.3)[turn])
        off *= off
        np.subtract(1, off, out=off)
        agree = clear & (off > 0)
        if np.count_nonzero(agree) < _FEWEST:  # through so few there is no curve
            return np.full(RAYS, middle[len(middle) // 2]), int(np.count_nonzero(agree))
        off *= off
        off *= agree
        weighted = _BASE * off
        fitted = np.linalg.solve(weighted @ _BASE_T + _RIDGE, weighted @ radii) @ _BASE
    return fitted, int(np.count_nonzero(agree))


def _ellipse(r: Float64Array, x: float, y: float) -> Edge:
    """Return area, centre and axes of the outline r(angle) about (x, y), without approximation."""
    power = r * r
    area = float(power.sum()) * math.pi / RAYS
    power *= r
    dx, dy = (power @ _FIRST / area).tolist()
    power *= r
    xx, yy, xy = (power @ _SECOND / area).tolist()
    xx, yy, xy = xx - dx * dx, yy - dy * dy, xy - dx * dy
    middle, spread = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    return Edge(
        area,
        x + dx,
        y + dy,
        2 * math.sqrt(middle + spread),
        2 * math.sqrt(max(middle - spread, 0.0)),
        0.5 * math.atan2(2 * xy, xx - yy),
        0.0,
        math.nan,
        math.nan,
    )
