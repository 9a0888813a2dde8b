"""Masks rounded to 8 bits so that components change least."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rtface.types import Float32Array

#: the largest 8-bit number that is used, of either sign
MOST = 127
#: variances, of the last component's: of each bin by itself, of all bins together (light)
_NOISE, _LIGHT = 0.25, 100.0
#: bytes of masks that are worked on at once
_AT_ONCE = 4 << 20


def round_masks(
    masks: Float32Array, sd: Float32Array, run: int
) -> tuple[npt.NDArray[np.int8], Float32Array]:
    """Return masks as whole numbers and factors: masks are their product but for rounding.

    Bins are rounded one after the other, and what a bin's rounding adds to components is taken
    from the bins of its run that come after and move with it: Hassibi and Stork's surgeon (NIPS
    1992), as used by Frantar et al. (GPTQ, arXiv 2210.17323). How bins move together follows from
    the masks and the components' standard deviations; noise of single bins and flicker of the
    light are added.

    Parameters
    ----------
    masks : ndarray (P, C) float32
    sd : ndarray (C,) float32
        Standard deviations of the components, in any unit; all equal where one is NaN or 0.
    run : int
        Bins that share one factor per component.

    Returns
    -------
    numbers : ndarray (runs, ``run``, C) int8
        -127 to 127; 0 after the last bin.
    factors : ndarray (runs, C) float32
    """
    pixels, n = masks.shape
    runs = -(-pixels // run)
    if not (np.isfinite(sd) & (sd > 0)).all():
        sd = np.ones_like(sd)
    length = np.linalg.norm(masks, axis=0)
    # Facemap's masks are not always of unit length: their components are longer by the same factor
    scale = np.divide(sd, length * sd[-1], out=np.zeros_like(sd), where=length > 0)
    numbers = np.zeros((runs, run, n), np.int8)
    factors = np.empty((runs, n), np.float32)
    step = max(1, _AT_ONCE // (4 * run * n))
    for first in range(0, runs, step):
        last = min(first + step, runs)
        part = np.zeros(((last - first) * run, n), np.float32)
        found = masks[first * run : last * run]
        part[: len(found)] = found
        numbers[first:last], factors[first:last] = _rounded(part.reshape(-1, run, n), scale)
    return numbers, factors


def _rounded(part: Float32Array, scale: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Round runs (R, ``run``, C), which are overwritten."""
    run = part.shape[1]
    factors = np.abs(part).max(1) / np.float32(MOST)
    factors[factors == 0] = 1
    together = part * scale
    covariance = (together @ together.transpose(0, 2, 1)).astype(np.float64) + _LIGHT
    covariance[:, range(run), range(run)] += _NOISE
    # how the bins after should move when one is moved, and by how much less the components then do
    upper = np.linalg.cholesky(np.linalg.inv(covariance)).transpose(0, 2, 1).astype(np.float32)
    part /= factors[:, None]
    numbers = np.empty_like(part)
    for i in range(run):
        numbers[:, i] = np.clip(np.rint(part[:, i]), -MOST, MOST)
        off = (part[:, i] - numbers[:, i]) / upper[:, i, i, None]
        part[:, i + 1 :] -= upper[:, i, i + 1 :, None] * off[:, None]
    return numbers, factors
