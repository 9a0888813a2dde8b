"""How far a network's keypoints are from the labels, beside a predictor that never looks.

Errors go the whole way that a live frame goes: full picture, the face is looked for,
``PoseEstimator``, px of the full picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtface.camera.script import PERIOD_S
from rtface.camera.synthetic import SyntheticCamera
from rtface.engine import make_engine
from rtface.engine.bundle import Bundle
from rtface.pose import PoseEstimator, finder_for
from rtface.train.data import FRAME_SHAPE, synthetic_frames
from rtface.train.predictions import Finder
from rtface.types import Float32Array

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


def mean_label(points: Float32Array) -> Float32Array:
    """Return the mean (K, 2) of labels (N, K, 2), NaN where there is none."""
    known = np.isfinite(points)
    total = np.where(known, points, 0).sum(0)
    return np.asarray(np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan))


def table(
    found: Float32Array,
    truth: Float32Array,
    recordings: Sequence[object],
    constant: Float32Array,
    names: Sequence[str],
) -> list[Row]:
    """Return one row per labelled keypoint, then one per part of ``PARTS``.

    In a part every keypoint counts alike, however often it is labelled.

    Parameters
    ----------
    found : ndarray (N, K, 2 or more)
        Predicted x, y in px.
    truth : ndarray (N, K, 2)
        Labels in px, NaN for none.
    recordings : sequence of N
        Which recording each picture is of.
    constant : ndarray (K, 2) or (N, K, 2)
        What the constant predictor says, px.
    names : sequence of str
        Keypoints in their order.
    """
    own = np.empty_like(truth)
    for recording in set(recordings):
        members = [one == recording for one in recordings]
        own[members] = mean_label(truth[members])
    error, flat, still = (
        np.linalg.norm(guess[..., :2] - truth, axis=-1) for guess in (found, constant, own)
    )
    front, back = names.index("eye(front)"), names.index("eye(back)")
    eye = np.linalg.norm(truth[:, front] - truth[:, back], axis=-1)[:, None] / 100
    rows = []
    for name, parts in {**{n: (n,) for n in names}, **PARTS}.items():
        columns = [names.index(part) for part in parts if part in names]
        columns = [k for k in columns if np.isfinite(truth[:, k]).any()]
        if not columns:
            continue

        def each(
            measure: Float32Array, columns: list[int] = columns, middle: bool = False
        ) -> float:
            pick = np.nanmedian if middle else np.nanmean
            some = [measure[:, k] for k in columns if np.isfinite(measure[:, k]).any()]
            return float(np.mean([pick(one) for one in some])) if some else float("nan")

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


def synthetic_table(bundle: Bundle, seeds: Sequence[int], train_seeds: Sequence[int]) -> list[Row]:
    """Return the table for synthetic faces, eight moments of each one's minute.

    The constant predictor says the mean of ``train_seeds``' faces.
    """
    finder = Finder(bundle)
    found, truth, groups = [], [], []
    for seed in seeds:
        for image, points in synthetic_frames(seed, np.linspace(0, PERIOD_S, 8, endpoint=False)):
            found.append(finder(image).keypoints)
            truth.append(points)
            groups.append(seed)
    others = [points for seed in train_seeds for _, points in synthetic_frames(seed, [0.0])]
    constant = mean_label(np.stack(others))
    return table(np.stack(found), np.stack(truth), groups, constant, bundle.names)


def minute(bundle: Bundle, seed: int, rate_hz: float = 10.0) -> Float32Array:
    """Return the errors (N, K) in % of the eye's width over one synthetic mouse's whole minute.

    Frames are those of the camera that ``rtface demo`` runs, noise and all nuisances included.
    Points that something hides count like all others.
    """
    height, width = FRAME_SHAPE
    now_ns = 0

    def sleep(seconds: float) -> None:
        nonlocal now_ns
        now_ns += max(1, round(seconds * 1e9))

    camera = SyntheticCamera(width, height, rate_hz, seed, clock=lambda: now_ns, sleep=sleep)
    camera.start()
    engine = make_engine(bundle, "onnxruntime")
    finder = finder_for(bundle.crop, engine, FRAME_SHAPE, rate_hz=rate_hz)
    estimate = PoseEstimator(engine, FRAME_SHAPE, finder=finder)
    columns = [camera.known.names.index(name) for name in bundle.names]
    image = np.empty(FRAME_SHAPE, np.uint8)
    errors = []
    for _ in range(round(PERIOD_S * rate_hz)):
        stamp = camera.fill(image, 1.0)
        assert stamp is not None
        found = estimate(image).xy
        errors.append(np.hypot(*(found - camera.known.points(stamp.frame_id)[columns]).T))
    return np.asarray(errors, np.float32) * np.float32(100 / camera.known.eye_width_px)
