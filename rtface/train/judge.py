"""What a tuned network is worth: on pictures it never saw, beside what it started from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from rtface.engine.bundle import Bundle, load_bundle
from rtface.train import evaluate, export, measures, predictions
from rtface.train.choose import constant_predictor, evenly
from rtface.train.data import Still
from rtface.train.network import Network, decode
from rtface.train.predictions import Predicted
from rtface.train.score import RIGHT_WITHIN, Scoring, fit_scoring
from rtface.types import BBox, Float32Array

#: labelled keypoints of held-out pictures that a new scoring needs
ENOUGH = 100
#: held-out pictures that are looked at on the way
LOOKED_AT = 40


class Judges(NamedTuple):
    """Pictures that judge.

    Attributes
    ----------
    start : Bundle
        The network that was there before.
    names : tuple of str
        Keypoints of the labels.
    stills : list of Still
    shapes : ndarray (N, 2)
        Their height and width, px.
    boxes : list of BBox
        The crops that their faces ask for.
    known, known_shapes : ndarray (M, K, 2), (M, 2)
        Labels and sizes of the pictures that are learned from, for the constant predictor.
    how : str
        How they were chosen.
    """

    start: Bundle
    names: tuple[str, ...]
    stills: list[Still]
    shapes: np.ndarray
    boxes: list[BBox]
    known: Float32Array
    known_shapes: np.ndarray
    how: str

    @property
    def truth(self) -> Float32Array:
        """(N, K, 2) labels, px."""
        return np.stack([still.points for still in self.stills])

    def error(self, network: nn.Module) -> float:
        """Return the mean error, px, on some of the pictures through their own crops.

        Of keypoints that the start knew, if any is labelled: the others begin anywhere.
        """
        some = evenly(len(self.stills), LOOKED_AT)
        engine = predictions.TorchEngine(network, decode, self.names)
        shown = [self.stills[i] for i in some]
        found = predictions.through(engine, shown, [self.boxes[i] for i in some])
        distances = measures.distances(found, self.truth[some])
        known = distances[:, [name in self.start.names for name in self.names]]
        return float(np.nanmean(known if np.isfinite(known).any() else distances))


class Judged(NamedTuple):
    """The verdict.

    Attributes
    ----------
    rows : list of dict
        One per labelled keypoint, then one per part of the face: ``name``, ``n``; ``error_px`` and
        ``median_px`` of the tuned network, ``start_px`` and ``start_median_px`` of the one before,
        ``constant_px``, ``error_eye_pct``. NaN where there is none.
    said : Predicted
        What the tuned network says.
    faces : (float, float)
        Part of the pictures in which a face was found, before and after.
    scoring : Scoring
    refitted : bool
        Whether the scoring was made of these pictures.
    how : str
    """

    rows: list[dict[str, Any]]
    said: Predicted
    faces: tuple[float, float]
    scoring: Scoring
    refitted: bool
    how: str

    def about(self) -> dict[str, Any]:
        """Return what stands in ``model.json``: numbers that JSON knows."""
        rows = [{key: _number(value) for key, value in row.items()} for row in self.rows]
        before, after = self.faces
        return {
            "how": self.how,
            "pictures": len(self.said.face),
            "faces_found": {"start": before, "tuned": after},
            "scoring_of_these": self.refitted,
            "rows": rows,
        }


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value


def kept_scoring(start: Bundle) -> Scoring:
    """Return the scoring of a bundle; bare peaks if it has none."""
    told = start.about.get("score")
    if isinstance(told, dict) and {"spread", *told} == set(Scoring._fields):
        return Scoring(**{name: float(value) for name, value in told.items()})
    return Scoring()


def judge(network: Network, scoring: Scoring, judges: Judges, folder: Path) -> Judged:
    """Let held-out pictures judge a tuned network and the one it was before.

    Both go the whole way of a live frame. With labels enough the scoring is fitted anew; it is
    kept only if faces are found as often with it.

    Parameters
    ----------
    network : Network
    scoring : Scoring
        Of the network before.
    judges : Judges
    folder : Path
        For bundles that are thrown away.
    """
    truth, names = judges.truth, judges.names
    before = predictions.predict(judges.start, judges.stills)
    old = _columns(before.found, judges.start.names, names)

    def say(name: str, scoring: Scoring) -> Predicted:
        export.write_bundle(network, folder / name, name, {}, {}, scoring, names)
        return predictions.predict(load_bundle(folder / name), judges.stills)

    said, refitted = say("carried", scoring), False
    fitted = _fitted(network, judges, said)
    if fitted:
        again = say("fitted", fitted)
        if again.face.mean() >= said.face.mean():
            said, scoring, refitted = again, fitted, True
    flat = constant_predictor(judges.known, judges.known_shapes, judges.shapes)
    recordings = [still.recording for still in judges.stills]
    new_rows = evaluate.table(said.found, truth, recordings, flat, names)
    old_rows = {row.name: row for row in evaluate.table(old, truth, recordings, flat, names)}
    rows = [
        {
            "name": row.name,
            "n": row.n,
            "error_px": row.error_px,
            "median_px": row.median_px,
            "start_px": old_rows[row.name].error_px,
            "start_median_px": old_rows[row.name].median_px,
            "constant_px": row.constant_px,
            "error_eye_pct": row.error_eye_pct,
        }
        for row in new_rows
    ]
    faces = float(before.face.mean()), float(said.face.mean())
    return Judged(rows, said, faces, scoring, refitted, judges.how)


def _columns(found: Float32Array, names: Sequence[str], wanted: Sequence[str]) -> Float32Array:
    """Return (N, K, 3) in the order of ``wanted``, NaN for what is not there."""
    out = np.full((len(found), len(wanted), 3), np.nan, np.float32)
    for column, name in enumerate(wanted):
        if name in names:
            out[:, column] = found[:, names.index(name)]
    return out


def _fitted(network: Network, judges: Judges, said: Predicted) -> Scoring | None:
    """Return the scoring that held-out pictures ask for; None if they are too few or alike."""
    truth = judges.truth
    known = np.isfinite(truth).all(-1)
    if known.sum() < ENOUGH:
        return None
    width = measures.eye_widths(truth, judges.names)
    width = np.where(np.isfinite(width), width, measures.eye_widths(said.found, judges.names))
    right = measures.distances(said.found, truth) <= RIGHT_WITHIN * width[:, None]
    if right[known].all() or not right[known].any():
        return None
    engine = predictions.TorchEngine(network, decode, judges.names)
    peaks, spreads = predictions.peaks_and_spreads(engine, judges.stills, said.boxes)
    weight = np.ones(int(known.sum()), np.float32)
    fitted = fit_scoring(peaks[known], spreads[known], right[known], weight)
    return fitted if fitted.by_peak > 0 >= fitted.by_spread else None
