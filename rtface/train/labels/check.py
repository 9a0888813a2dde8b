"""Labels that are possible and hardly true: left for right, and slips of the hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rtface.camera.anatomy import KEYPOINTS
from rtface.train.data import Still
from rtface.train.labels.pictures import Labelled
from rtface.types import Float32Array

#: (a, b, c): a is nearer to c than b is, in any mouse seen from the side
_NEARER = (
    ("eye(front)", "eye(back)", "nose(tip)"),
    ("pupil(front)", "pupil(back)", "nose(tip)"),
    ("eye(bottom)", "eye(top)", "mouth"),
    ("eye(bottom)", "eye(top)", "lowerlip"),
    ("pupil(bottom)", "pupil(top)", "mouth"),
    ("pupil(bottom)", "pupil(top)", "lowerlip"),
    ("nose(bottom)", "nose(top)", "mouth"),
    ("nose(bottom)", "nose(top)", "lowerlip"),
)
#: goes where it likes
_FREE = ("paw",)
#: keypoints that a point is compared with, and pictures of a recording that this needs
_NEIGHBOURS, _PICTURES = 3, 8
#: a point is suspicious so many median absolute deviations away, and at least so many px
_LIMIT_MAD, _LEAST_PX = 6.0, 3.0


class Suspicion(NamedTuple):
    """A label to look at again: in which picture, which keypoint, and why."""

    where: str
    keypoint: str
    why: str


def check_labels(
    labelled: Sequence[Labelled | Still], names: Sequence[str] = KEYPOINTS
) -> list[Suspicion]:
    """Return labels that look wrong, as a person would see them; none of them need be.

    Two rules: what belongs nearer to the nose or mouth must be nearer (front and back or top and
    bottom are exchanged otherwise); and a point stands to its nearest neighbours as it does in
    the other pictures of its recording, within 6 median absolute deviations.

    Parameters
    ----------
    labelled : sequence of Labelled or Still
    names : sequence of str
        Keypoints in the order of ``points``.
    """
    if not labelled:
        return []
    points = np.stack([one.points for one in labelled]).astype(np.float64)
    where = [one.where if isinstance(one, Labelled) else str(one.path) for one in labelled]
    found = [*_exchanged(points, where, names)]
    recordings: dict[str, list[int]] = {}
    for i, one in enumerate(labelled):
        recordings.setdefault(one.recording, []).append(i)
    for members in recordings.values():
        found += _slips(points[members], [where[i] for i in members], names)
    return found


def _exchanged(
    points: np.ndarray, where: Sequence[str], names: Sequence[str]
) -> Iterator[Suspicion]:
    said: set[tuple[int, str]] = set()
    for near, far, place in _NEARER:
        if not {near, far, place} <= set(names):
            continue
        a, b, c = (points[:, names.index(name)] for name in (near, far, place))
        # NaN compares as False: only what is labelled is judged
        for i in np.flatnonzero(_distance(a, c) > _distance(b, c)).tolist():
            if (i, near) not in said:
                said.add((i, near))
                why = f"farther from {place} than {far}: are the two exchanged?"
                yield Suspicion(where[i], near, why)


def _slips(points: np.ndarray, where: Sequence[str], names: Sequence[str]) -> Iterator[Suspicion]:
    """Compare every point of one recording (N, K, 2) with what its neighbours let expect."""
    n, k = points.shape[:2]
    between = np.full((k, k), np.inf)
    for i in range(k):
        gaps = _distance(points, points[:, i, None])
        for j in np.flatnonzero(np.isfinite(gaps).sum(0) >= max(_PICTURES, n // 2)).tolist():
            if i != j and names[j] not in _FREE:
                between[i, j] = np.nanmedian(gaps[:, j])
    for i in range(k):
        near = [j for j in np.argsort(between[i])[:_NEIGHBOURS] if np.isfinite(between[i, j])]
        if names[i] in _FREE or not near:
            continue
        apart = points[:, i, None] - points[:, near]  # (N, neighbours, 2)
        usual = np.nanmedian(apart, 0)
        off = _distance(apart, usual)
        mad = np.nanmedian(off, 0)
        # off against most of its neighbours: it moved, not one of them
        far = np.where(np.isnan(off), np.nan, off > np.maximum(_LIMIT_MAD * mad, _LEAST_PX))
        known = np.isfinite(far).sum(1)
        votes = np.nansum(far, 1)
        for row in np.flatnonzero((known > 0) & (votes > known / 2)).tolist():
            distance = float(np.nanmedian(off[row]))
            yield Suspicion(
                where[row],
                names[i],
                f"{distance:.0f} px from where its neighbours are in the other pictures "
                f"(usually {float(np.nanmedian(mad)):.1f})",
            )


def _distance(a: np.ndarray | Float32Array, b: np.ndarray | Float32Array) -> np.ndarray:
    return np.asarray(np.linalg.norm(a - b, axis=-1))
