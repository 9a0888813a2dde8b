"""The pupil by its edge: where brightness steps along rays from inside, and the outline of that.

What a Gaussian of all dark pixels cannot do: reflections, lids and dark fur that hide a part of the
outline only leave rays out; and a level in the middle of the step is found anew in every frame, so
that light may change.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rtface.pupil.fit import Float64Array, Mask
from rtface.types import Float32Array, Image

RAYS, SAMPLES = 64, 36
#: rays run from, to; in radii of the first guess
NEAREST, FARTHEST = 0.3, 1.75
#: samples on each side of an edge that tell where in between it lies
_SIDE = 3
#: ridge on the elliptic part of the outline, in rays: a round pupil where little of it is seen
_ROUND = 3.0
#: rays further from the outline than this part of the radius, and px, do not agree with it
_AGREE, _AGREE_PX = 0.06, 0.6
_TURNS = 4


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
NO_EDGE = Edge(*([math.nan] * 6), 0.0, math.nan, math.nan)

_ANGLES = np.arange(RAYS) * (2 * np.pi / RAYS)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_STEP = (FARTHEST - NEAREST) / (SAMPLES - 1)
_RADII = np.linspace(NEAREST, FARTHEST, SAMPLES)
_UNIT_X = np.ascontiguousarray(_COS[:, None] * _RADII, np.float32)
_UNIT_Y = np.ascontiguousarray(_SIN[:, None] * _RADII, np.float32)
#: an outline is r(angle) = base . parameters
_BASE = np.stack([np.ones(RAYS), _COS, _SIN, np.cos(2 * _ANGLES), np.sin(2 * _ANGLES)], 1)
_RIDGE = np.diag([0.0, 0.0, 0.0, _ROUND, _ROUND])
_COLUMNS = np.arange(SAMPLES)
_ROWS = np.arange(RAYS)
#: samples that surely are inside, and outside, if the guess is about right
_CORE = int(np.searchsorted(_RADII, 0.65))
_RIM = int(np.searchsorted(_RADII, 1.35))


def sample(image: Image, x: Float32Array, y: Float32Array) -> Float32Array:
    """Return ``image`` (H, W) at places inside of it, bilinear; float32."""
    width = image.shape[1]
    column, row = x.astype(np.int32), y.astype(np.int32)
    right, down = x - column, y - row
    at = row * width
    at += column
    flat = image.reshape(-1)
    above = flat.take(at).astype(np.float32)
    above += right * (flat.take(at + 1) - above)
    at += width
    below = flat.take(at).astype(np.float32)
    below += right * (flat.take(at + 1) - below)
    below -= above
    below *= down
    above += below
    return above


def find_edge(
    image: Image, hidden: Mask, x: float, y: float, radius: float, sign: int, noise: float
) -> Edge:
    """Return the outline about a first guess.

    Parameters
    ----------
    image : ndarray (h, w) uint8 or uint16
        The ROI, C-contiguous.
    hidden : ndarray (h, w) bool
        Pixels that are not looked at: beyond the lids, reflections.
    x, y, radius : float
        The guess, px; right within about a third of the radius.
    sign : int
        1 for a pupil darker than its surroundings, -1 for a brighter one.
    noise : float
        Standard deviation of a pixel, grey levels.
    """
    height, width = image.shape
    if not (radius >= 1.5 and 1 <= x < width - 2 and 1 <= y < height - 2):
        return NO_EDGE
    px, py = _UNIT_X * np.float32(radius), _UNIT_Y * np.float32(radius)
    px += np.float32(x)
    py += np.float32(y)
    beyond = (px < 0) | (py < 0) | (px >= width - 1) | (py >= height - 1)
    np.clip(px, 0, width - 1.01, out=px)
    np.clip(py, 0, height - 1.01, out=py)
    level = sample(image, px, py)
    at = (py + np.float32(0.5)).astype(np.int32)
    at *= width
    at += (px + np.float32(0.5)).astype(np.int32)
    beyond |= hidden.reshape(-1).take(at)
    seen = ~beyond
    inside = _middle(level[:, :_CORE][seen[:, :_CORE]])
    outside = _middle(level[:, _RIM:][seen[:, _RIM:]])
    contrast = sign * (outside - inside)
    if not contrast > 0:
        return NO_EDGE
    # share of a sample that is pupil
    fill = (outside - level) / np.float32(outside - inside)
    radii, agree = _crossings(fill, seen)
    return _outline(radii * radius, agree, x, y, radius, contrast, noise, inside, outside)


def _middle(levels: Float32Array) -> float:
    """Return the median; NaN of nothing."""
    n = len(levels)
    return float(np.partition(levels, n // 2)[n // 2]) if n else math.nan


def _crossings(fill: Float32Array, seen: Mask) -> tuple[Float64Array, Mask]:
    """Return where each ray leaves the pupil, in radii of the guess, and whether it is seen."""
    # the step that explains the whole ray best, which noise moves least
    step = fill - np.float32(0.5)
    step *= seen
    total = np.cumsum(step, axis=1)
    last = total.argmax(1)
    found = (last >= 1) & (last < SAMPLES - 2)
    low = np.maximum(last - _SIDE + 1, 0)
    high = np.minimum(last + _SIDE, SAMPLES - 1)
    filled = np.concatenate([np.zeros((RAYS, 1), np.float32), np.cumsum(fill.clip(0, 1), 1)], 1)
    count = np.concatenate([np.zeros((RAYS, 1), np.int16), np.cumsum(seen, 1, np.int16)], 1)
    amount = filled[_ROWS, high + 1] - filled[_ROWS, low]
    whole = count[_ROWS, high + 1] - count[_ROWS, low] == high + 1 - low
    within = high + 1 - low
    clear = (amount > 0.2 * within) & (amount < 0.8 * within)
    return NEAREST + _STEP * (low + amount - 0.5), found & whole & clear


def _outline(
    radii: Float64Array,
    seen: Mask,
    x: float,
    y: float,
    radius: float,
    contrast: float,
    noise: float,
    inside: float,
    outside: float,
) -> Edge:
    """Fit r(angle) to the rays that are seen, again and again without those that do not agree."""
    weight = seen.astype(np.float64)
    fitted = np.empty(0)
    # noise may move edges by more than the least that is agreed on
    slack = max(_AGREE * radius, _AGREE_PX, 0.5 * _STEP * radius * 2 * noise / contrast)
    for turn in range(_TURNS):
        if np.count_nonzero(weight) < RAYS // 5:
            return NO_EDGE._replace(inside=inside, outside=outside)
        weighted = _BASE.T * weight
        if turn == 0:  # lids and glints make it smaller: begin with a median circle
            fitted = np.full(RAYS, float(np.median(radii[seen])))
        else:
            fitted = _BASE @ np.linalg.solve(weighted @ _BASE + _RIDGE, weighted @ radii)
        off = (radii - fitted) / (slack * (3.0, 2.0, 1.5, 1.0)[turn])
        weight = np.where(seen & (np.abs(off) < 1), (1 - off * off) ** 2, 0.0)
    if fitted.min() <= 0:
        return NO_EDGE._replace(inside=inside, outside=outside)
    good = np.count_nonzero(weight) / RAYS
    certain = min(1.0, contrast / max(2 * noise, 1e-6))
    return _ellipse(fitted, x, y)._replace(
        score=float(good * certain), inside=inside, outside=outside
    )


def _ellipse(r: Float64Array, x: float, y: float) -> Edge:
    """Return area, centre and axes of the outline r(angle) about (x, y); all integrals exact."""
    r2 = r * r
    area = float(r2.sum()) * math.pi / RAYS
    third = r2 * r * (2 * math.pi / RAYS / 3)
    dx, dy = float(third @ _COS) / area, float(third @ _SIN) / area
    fourth = r2 * r2 * (2 * math.pi / RAYS / 4)
    xx = float(fourth @ (_COS * _COS)) / area - dx * dx
    yy = float(fourth @ (_SIN * _SIN)) / area - dy * dy
    xy = float(fourth @ (_COS * _SIN)) / area - dx * dy
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
