"""Soft drawing on float32 pixel grids: the few strokes a procedural face needs, in numpy only.

Grey levels are 0 to 255, pixel centres lie at integers, ``x`` runs right and ``y`` runs down.
"""

from __future__ import annotations

import numpy as np

from rtface.types import Float32Array


def soft(distance: Float32Array, edge: float = 1.0) -> Float32Array:
    """Return the cover (0 to 1) of a shape from its signed distance, inside positive.

    Both are in the same unit (px, or a fraction of something); ``edge`` is the width over which
    the cover rises from 0 to 1 about the outline.
    """
    cover = distance * np.float32(1.0 / edge)
    cover += np.float32(0.5)
    return np.clip(cover, 0.0, 1.0, out=cover)


def blend(image: Float32Array, level: float | Float32Array, cover: Float32Array) -> None:
    """Mix ``level`` into ``image`` in place by ``cover``."""
    image += cover * (level - image)


def sample(image: Float32Array, x: Float32Array, y: Float32Array) -> Float32Array:
    """Return ``image`` (H, W) at float positions, bilinear, clamped at the border."""
    height, width = image.shape
    x = np.clip(x, 0, width - 1.001)
    y = np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x_frac, y_frac = x - left, y - top
    at = top * width + left
    flat = np.ascontiguousarray(image).ravel()
    upper = flat[at]
    upper += x_frac * (flat[at + 1] - upper)
    lower = flat[at + width]
    lower += x_frac * (flat[at + width + 1] - lower)
    lower -= upper
    lower *= y_frac
    upper += lower
    return np.asarray(upper, np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Float32Array:
    """Return a field (H, W) of smooth blobs, about ``cells`` across, of mean 0 and deviation 1."""
    height, width = shape
    coarse = rng.standard_normal((max(2, cells * height // width) + 2, cells + 2))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    field = sample(
        coarse.astype(np.float32),
        x * np.float32((coarse.shape[1] - 1.01) / width),
        y * np.float32((coarse.shape[0] - 1.01) / height),
    )
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def streaks(rng: np.random.Generator, size: int, length: int) -> Float32Array:
    """Return a tile (size, size) of hair-like streaks along x, mean 0 and deviation 1; it wraps."""
    noise = rng.standard_normal((size, size))
    spectrum = np.fft.fft2(noise)
    along = np.fft.fftfreq(size)[None, :] * length
    across = np.fft.fftfreq(size)[:, None] * 1.5
    hair = np.fft.ifft2(spectrum * np.exp(-2.0 * (along**2 + across**2))).real
    return np.asarray((hair - hair.mean()) / hair.std(), np.float32)


def stroke(image: Float32Array, xy: Float32Array, cover: Float32Array, contrast: float) -> None:
    """Draw a thin curve in place: brighter than a dark ground, darker than a bright one.

    Parameters
    ----------
    image : ndarray (H, W) float32
    xy : ndarray (N, 2) float32
        Points of the curve, px, at most about half a pixel apart.
    cover : ndarray (N,) float32
        How much of each point's pixel the curve covers, 0 to 1.
    contrast : float
        Grey levels between the curve and the ground at full cover.
    """
    height, width = image.shape
    inside = (xy[:, 0] >= 0) & (xy[:, 0] < width - 1) & (xy[:, 1] >= 0) & (xy[:, 1] < height - 1)
    xy, cover = xy[inside], cover[inside]
    corner = xy.astype(np.int32)
    frac = xy - corner
    ink = np.zeros(height * width, np.float32)  # calloc: only touched pages cost anything
    touched = []
    for dy in (0, 1):
        for dx in (0, 1):
            at = (corner[:, 1] + dy) * width + corner[:, 0] + dx
            weight = np.abs(1 - dx - frac[:, 0]) * np.abs(1 - dy - frac[:, 1])
            np.maximum.at(ink, at, weight * cover)
            touched.append(at)
    where = np.unique(np.concatenate(touched))
    flat = image.reshape(-1)
    ground = flat[where]
    sign = np.where(ground > 110, -1.0, 1.0).astype(np.float32)
    flat[where] = ground + sign * np.float32(contrast) * ink[where]
