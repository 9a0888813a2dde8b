"""Finds a pupil of which nothing is known: dark or bright, small or large."""

from __future__ import annotations

import numpy as np

from rtface.pupil.edge import NO_EDGE, Edge, find_edge
from rtface.pupil.fit import Mask
from rtface.types import Float32Array

#: radii that are tried, of the radius of a circle as large as the eye's mask; small ones first:
#: the outline of the eye is an edge too
_RADII = (0.14, 0.26, 0.48)
#: smaller ones, dark and bright, in the same radii, are dirt and reflections
LEAST = {1: 0.06, -1: 0.22}
#: a find as good as this ends the search
_ENOUGH = 0.6
#: side of the square whose mean is darkest or brightest, in the same radii
_SQUARE = {1: 0.22, -1: 0.4}
#: of the histogram that tells two classes of pixels apart
_BINS = 64
#: of all pixels of the eye, so many may be reflections
_GLINTS = 0.07


def search(image: Float32Array, mask: Mask, sign: int, noise: float) -> Edge:
    """Return the best outline there is, or ``NO_EDGE``. Takes about a millisecond.

    Parameters
    ----------
    image : ndarray (h, w) float32
        The ROI, C-contiguous.
    mask : ndarray (h, w) bool
        The eye.
    sign : int
        1 for a pupil darker than its surroundings, -1 for a brighter one.
    noise : float
        Standard deviation of a pixel, grey levels.
    """
    size = float(np.sqrt(np.count_nonzero(mask) / np.pi))
    pixels = image[mask]
    most = int((1 - _GLINTS) * (len(pixels) - 1))
    capped = np.minimum(image, np.partition(pixels, most)[most])
    guesses = [_by_classes(capped, mask, sign)]
    if (square := _by_squares(capped, mask, sign, size)) is not None:
        guesses += [(*square, radius * size) for radius in _RADII]
    hidden = ~mask
    best = NO_EDGE
    for x, y, r in guesses:
        for _ in range(2):  # again from where it was found: then all of it is in reach
            edge = find_edge(image, hidden, x, y, r, sign, noise)
            if not edge.area > 0:
                break
            x, y, r = edge.x, edge.y, float(np.sqrt(edge.area / np.pi))
        if edge.score > best.score and r >= LEAST[sign] * size:
            best = edge
        if best.score >= _ENOUGH:
            break
    return best


def _by_classes(image: Float32Array, mask: Mask, sign: int) -> tuple[float, float, float]:
    """Return middle and radius of what is darker, or brighter, than Otsu's threshold."""
    pixels = image[mask]
    counts, edges = np.histogram(pixels, _BINS)
    levels = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * levels)
    above = len(pixels) - below
    # between-class variance, but for a constant factor
    between = (sums[-1] * below / len(pixels) - sums[:-1]) ** 2 / np.maximum(below * above, 1)
    threshold = edges[1 + int(between.argmax())]
    row, column = np.nonzero((sign * (image - threshold) < 0) & mask)
    if not len(row):
        return 0.0, 0.0, 0.0
    return float(np.median(column)), float(np.median(row)), float(np.sqrt(len(row) / np.pi))


def _by_squares(
    image: Float32Array, mask: Mask, sign: int, size: float
) -> tuple[float, float] | None:
    """Return the middle (x, y) of the square whose mean is darkest, or brightest."""
    side = max(3, round(_SQUARE[sign] * size))
    whole = _squares(mask, side) >= 0.95 * side * side
    if not whole.any():
        return None
    sums = _squares(np.where(mask, image, 0), side)
    at = int(np.where(whole, -sign * sums, -np.inf).argmax())
    row, column = divmod(at, sums.shape[1])
    return column + (side - 1) / 2, row + (side - 1) / 2


def _squares(image: np.ndarray, side: int) -> np.ndarray:
    """Return sums over all squares of ``side`` px, by their upper left corners."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    np.cumsum(np.cumsum(image, axis=0, dtype=np.float64), axis=1, out=total[1:, 1:])
    return np.asarray(
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )


def noise_of(image: Float32Array, mask: Mask) -> float:
    """Return the standard deviation of a pixel's noise, grey levels, at least 0.5.

    From differences between neighbours in the mask; half of them may be edges or hairs.
    """
    across = np.abs(image[::2, 1:] - image[::2, :-1])[mask[::2, 1:] & mask[::2, :-1]]
    if not len(across):
        return 0.5
    # the median of |difference| is 0.954 standard deviations
    return max(0.5, float(np.median(across)) / 0.954)
