"""How far a network's keypoints are from the labels, beside a predictor that never looks.

Errors go the whole way that a live frame goes: full picture, ``PoseEstimator``, px of the full
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtface.camera.face import Face
from rtface.pose import PoseEstimator
from rtface.train.data import Still, read_gray
from rtface.types import Engine, Float32Array, UInt8Image

#: keypoints that are reported together
PARTS = {
    "nose, mouth, lip": ("nose(top)", "nose(tip)", "nose(bottom)", "mouth", "lowerlip"),
    "eye": ("eye(top)", "eye(front)", "eye(bottom)", "eye(back)"),
    "pupil": ("pupil(top)", "pupil(front)", "pupil(bottom)", "pupil(back)"),
    "whiskers": ("whisker(I)", "whisker(II)", "whisker(III)"),
}


class Row(NamedTuple):
    """One keypoint, or one part of ``PARTS``, on one set.

    Attributes
    ----------
    name : str
    n : int
        Pictures in which it is labelled.
    error_px, median_px : float
        Mean and median distance to the label, px of the full picture.
    constant_px : float
        Mean distance for a predictor that always says the training pictures' mean label.
    own_mean_px : float
        The same for one that was told the mean label of each judged recording: what is left
        is the face's own motion. It has seen the answers, the network has not.
    error_eye_pct, constant_eye_pct : float
        ``error_px`` and ``constant_px`` in % of the picture's eye width (front to back corner),
        over the pictures in which that is labelled.
    """

    name: str
    n: int
    error_px: float
    median_px: float
    constant_px: float
    own_mean_px: float
    error_eye_pct: float
    constant_eye_pct: float


class Judged(NamedTuple):
    """What there is to judge by: labels (N, K, 2) in px, NaN for none, and each one's recording."""

    truth: Float32Array
    groups: Sequence[object]


def judged(stills: Sequence[Still]) -> Judged:
    """Return the labels of pictures and the recording of each."""
    return Judged(np.stack([s.points for s in stills]), [s.recording for s in stills])


def predict(engine: Engine, stills: Sequence[Still]) -> Float32Array:
    """Return keypoints (N, K, 3) of pictures on disk: x, y in px of the picture, and the score."""
    return np.stack([_predict(engine, read_gray(still.path)) for still in stills])


def mean_label(points: Float32Array) -> Float32Array:
    """Return the mean (K, 2) of labels (N, K, 2), NaN where there is none."""
    known = np.isfinite(points)
    total = np.where(known, points, 0).sum(0)
    return np.asarray(np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan))


def table(
    found: Float32Array, by: Judged, constant: Float32Array, names: Sequence[str]
) -> list[Row]:
    """Return one row per labelled keypoint, then one per part of ``PARTS``.

    In a part every keypoint counts alike, however often it is labelled.

    Parameters
    ----------
    found : ndarray (N, K, 2 or more)
        Predicted x, y in px.
    by : Judged
    constant : ndarray (K, 2)
        What the constant predictor says, px.
    names : sequence of str
        Keypoints in their order.
    """
    truth = by.truth
    own = np.empty_like(truth)
    for group in set(by.groups):
        members = [g == group for g in by.groups]
        own[members] = mean_label(truth[members])
    error, flat, still = (
        np.linalg.norm(guess[..., :2] - truth, axis=-1) for guess in (found, constant, own)
    )
    front, back = names.index("eye(front)"), names.index("eye(back)")
    eye = np.linalg.norm(truth[:, front] - truth[:, back], axis=-1)[:, None] / 100
    rows = []
    for name, parts in {**{n: (n,) for n in names}, **PARTS}.items():
        columns = [k for k in map(names.index, parts) if np.isfinite(truth[:, k]).any()]
        if not columns:
            continue

        def each(
            measure: Float32Array, columns: list[int] = columns, middle: bool = False
        ) -> float:
            pick = np.nanmedian if middle else np.nanmean
            return float(np.mean([pick(measure[:, k]) for k in columns]))

        rows.append(
            Row(
                name,
                n=int(np.isfinite(truth[:, columns, 0]).any(1).sum()),
                error_px=each(error),
                median_px=each(error, middle=True),
                constant_px=each(flat),
                own_mean_px=each(still),
                error_eye_pct=each(error / eye),
                constant_eye_pct=each(flat / eye),
            )
        )
    return rows


def synthetic_table(engine: Engine, seeds: Sequence[int], train_seeds: Sequence[int]) -> list[Row]:
    """Return the table for procedural faces of 640x480, three phases each.

    The constant predictor says the mean of ``train_seeds``' faces.
    """
    found, truth = [], []
    shown = [(seed, phase) for seed in seeds for phase in (0.1, 0.45, 0.8)]
    for seed, phase in shown:
        image, points = Face(seed, 480, 640).render(phase)
        found.append(_predict(engine, image))
        truth.append(points)
    constant = np.mean([Face(seed, 480, 640).points(0.1) for seed in train_seeds], axis=0)
    by = Judged(np.stack(truth), [seed for seed, _ in shown])
    return table(np.stack(found), by, constant, engine.names)


def _predict(engine: Engine, image: UInt8Image) -> Float32Array:
    height, width = image.shape
    pose = PoseEstimator(engine, (height, width))(image)
    return np.concatenate([pose.xy, pose.score[:, None]], 1)
