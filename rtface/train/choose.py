"""Which pictures judge, which differ most, and what one says who never looks. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtface.types import Float32Array, Image

#: part of the pictures that judge
HELD_OUT = 0.2
#: columns of a thumbnail
THUMB = 24


class Split(NamedTuple):
    """Which pictures are learned from and which judge.

    Attributes
    ----------
    train, held : list of int
        Indices; none is in both.
    how : str
        In words, for people.
    """

    train: list[int]
    held: list[int]
    how: str


def hold_out(groups: Sequence[str], seed: int = 0, part: float = HELD_OUT) -> Split:
    """Return a split by group: whole groups judge, or the end of the only one.

    Pictures of one video resemble each other, so a network that saw some of them does not show on
    the others what it is worth elsewhere. About ``part`` of the groups judge, never one that holds
    more than half of all pictures.

    Parameters
    ----------
    groups : sequence of str
        The group (video, folder) of each picture; those of one group in their order of time.
    seed : int
        Says which groups.
    part : float

    Raises
    ------
    ValueError
        There are fewer than two pictures.
    """
    n = len(groups)
    if n < 2:
        raise ValueError("one picture cannot be learned from and judge")
    sizes = Counter(groups)
    names = sorted(sizes)
    if len(names) == 1:
        held = list(range(n - max(1, round(part * n)), n))
        how = (
            f"the last {len(held)} of the {n} pictures, all of {names[0]}: other videos were not "
            "there to judge by, and on them the network may be further off"
        )
        return Split(list(range(held[0])), held, how)
    order = np.random.default_rng(seed).permutation(len(names))
    small = [names[i] for i in order if sizes[names[i]] * 2 <= n]
    out = set(small[: max(1, round(part * len(names)))])
    held = [i for i in range(n) if groups[i] in out]
    kept = [i for i in range(n) if groups[i] not in out]
    how = f"{len(held)} pictures of {len(out)} of the {len(names)} groups: {', '.join(sorted(out))}"
    return Split(kept, held, how)


def constant_predictor(points: Float32Array, shapes: np.ndarray, asked: np.ndarray) -> Float32Array:
    """Return what one who never looks says: where each keypoint is on average.

    Averages are parts of the picture's height and width, so pictures of any size count.

    Parameters
    ----------
    points : ndarray (N, K, 2)
        Labels that may be known, px; NaN for none.
    shapes : ndarray (N, 2)
        (height, width) of their pictures, px.
    asked : ndarray (M, 2)
        (height, width) of the pictures to say it of.

    Returns
    -------
    ndarray (M, K, 2)
        px; NaN for keypoints that no picture has.
    """
    parts = points / shapes[:, None, ::-1]
    known = np.isfinite(parts)
    total = np.where(known, parts, 0).sum(0)
    mean = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
    return np.asarray(mean * asked[:, None, ::-1], np.float32)


def thumbnail(image: Image) -> Float32Array:
    """Return a small picture as a vector without its light: mean 0, standard deviation 1."""
    side = max(1, image.shape[1] // THUMB)
    tall = min(side, image.shape[0])
    height, width = image.shape[0] // tall, image.shape[1] // side
    blocks = image[: height * tall, : width * side].reshape(height, tall, width, side)
    small = blocks.mean((1, 3), dtype=np.float32).ravel()
    return np.asarray((small - small.mean()) / max(float(small.std()), 1e-6), np.float32)


def most_different(vectors: Float32Array, n: int) -> list[int]:
    """Return which ``n`` of the vectors (N, D) to take, in ascending order.

    The first is nearest to the mean of all; each of the others is the one furthest from those
    taken so far. With n of N or more all are taken.
    """
    if n >= len(vectors):
        return list(range(len(vectors)))
    if n < 1:
        return []
    away = np.linalg.norm(vectors - vectors.mean(0), axis=1)
    taken = [int(away.argmin())]
    nearest = np.full(len(vectors), np.inf)
    for _ in range(n - 1):
        np.minimum(nearest, np.linalg.norm(vectors - vectors[taken[-1]], axis=1), out=nearest)
        taken.append(int(nearest.argmax()))
    return sorted(taken)


def evenly(n: int, wanted: int) -> list[int]:
    """Return ``wanted`` of n indices, evenly spread; all if there are no more."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, wanted))}) if n else []
