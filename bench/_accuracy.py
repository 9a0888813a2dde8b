"""What ``accuracy.py`` judges networks by, and its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rtface.camera.video import read_frames
from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.pose import PoseEstimator, find_face, finder_for
from rtface.train import evaluate, fmnet, measures, predictions
from rtface.train.data import FOLDS, HELD_OUT_VIDEO, KEYPOINTS, Still, split
from rtface.train.network import decode
from rtface.train.predictions import Predicted
from rtface.train.recipe import Workshop
from rtface.train.score import Scoring, fit_scoring
from rtface.types import BBox, Engine

#: keypoints that are reported together, and what the issue asks of them is written about
PARTS = {
    "nose": ("nose(top)", "nose(tip)", "nose(bottom)"),
    "mouth and lip": ("mouth", "lowerlip"),
    "eye": ("eye(top)", "eye(front)", "eye(bottom)", "eye(back)"),
    "pupil": measures.PUPIL,
    "whiskers": ("whisker(I)", "whisker(II)", "whisker(III)"),
}
#: consecutive frames of animals that mostly rest, and the rate that figures per second are for
CLIPS = ("headfixed_side/face_960x720_333frames.mp4", "facemap_g7c1/cam1_G7c1_1_1second.avi")
RATE_HZ = 500.0
CERTAINTY = "What a score above 0.9 is worth"
Rows = list[dict[str, Any]]


class Fold(NamedTuple):
    """One network, and what it says of what it never saw.

    ``peaks`` and ``spreads`` are (N, K), of the stills in their order.
    """

    fold: int
    stills: list[Still]
    said: Predicted
    peaks: np.ndarray
    spreads: np.ndarray

    def of(self, video: bool) -> np.ndarray:
        """Return which stills are of Facemap's second video, or of animals."""
        return (self.said.groups == HELD_OUT_VIDEO) == video


class Judged(NamedTuple):
    """Everything the tables are made of."""

    folds: list[Fold]
    anchor: dict[int, np.ndarray]  # keypoints of the same stills through the same boxes
    constant: np.ndarray  # (K, 2): the mean label of Facemap's first video
    rest: dict[str, dict[str, list[measures.Stillness]]]  # clip, network: each keypoint's
    scoring: Scoring


def judge(shop: Workshop, folds: int, anchor: bool, every: int = 1) -> Judged:
    """Make the networks that are missing and let them look at what they never saw.

    With ``every`` above 1 at a part of it only.
    """
    done = [_fold(shop, fold, every) for fold in range(folds)]
    other: dict[int, np.ndarray] = {}
    if anchor:
        engine = predictions.TorchEngine(shop.anchor(0), fmnet.decode, KEYPOINTS)
        other[0] = predictions.through(engine, done[0].stills, done[0].said.boxes)
    seen = [still.points for still in split(shop.facemap, 0)[0]]
    scorings = [_scoring([one for one in done if one is not left] or done) for left in done]
    scored = [_rescore(one, scoring) for one, scoring in zip(done, scorings, strict=True)]
    flat = evaluate.mean_label(np.stack(seen))
    rest = {name: _rest(shop, shop.data_dir / name, anchor, every) for name in CLIPS}
    return Judged(scored, other, flat, rest, _scoring(done))


def _rest(
    shop: Workshop, clip: Path, anchor: bool, every: int
) -> dict[str, list[measures.Stillness]]:
    """Return how still each network's keypoints are in the quiet half of a clip."""
    images = np.stack(list(read_frames(clip)))
    images = images[: max(10, len(images) // every)]
    bundle = load_bundle(shop.bundle(0))
    engine = make_engine(bundle, "onnxruntime")
    finder = finder_for(bundle.crop, engine, images.shape[1:])
    found = [
        find_face(PoseEstimator(engine, images.shape[1:], finder=finder), i) for i in images[:9]
    ]
    box = BBox(*(int(v) for v in np.median([box for _, box in found], 0)))
    engines: dict[str, Engine] = {"rtface": engine}
    if anchor:
        engines["Facemap's shape"] = predictions.TorchEngine(
            shop.anchor(0), fmnet.decode, KEYPOINTS
        )
    quiet = measures.quiet_steps(images.astype(np.float32))
    still = {}
    for name, one in engines.items():
        estimate = PoseEstimator(one, images.shape[1:], bbox=box)
        track = np.stack([estimate(image).keypoints for image in images])
        width = float(np.median(measures.eye_widths(track, KEYPOINTS)))
        still[name] = measures.stillness(track, quiet, width, RATE_HZ)
    return still


def _fold(shop: Workshop, fold: int, every: int) -> Fold:
    stills = [still for each in (shop.schroeder, shop.facemap) for still in split(each, fold)[1]]
    stills = stills[::every]
    said = predictions.predict(load_bundle(shop.bundle(fold)), stills)
    engine = predictions.TorchEngine(shop.network(fold), decode, KEYPOINTS)
    return Fold(fold, stills, said, *predictions.peaks_and_spreads(engine, stills, said.boxes))


def _scoring(folds: Sequence[Fold]) -> Scoring:
    """Return the scoring that folds ask for; each data set counts alike."""
    columns = []
    for one in folds:
        known = np.isfinite(one.said.truth).all(-1)
        right = measures.right(one.said.found, one.said.truth, KEYPOINTS)
        for video in (False, True):
            chosen = known & one.of(video)[:, None]
            weight = np.full(chosen.sum(), 1 / max(1, chosen.sum()) / (len(folds) if video else 1))
            columns.append((one.peaks[chosen], one.spreads[chosen], right[chosen], weight))
    peak, spread, right, weight = (np.concatenate(each) for each in zip(*columns, strict=True))
    return fit_scoring(peak, spread, right, weight * len(weight) / weight.sum())


def _rescore(one: Fold, scoring: Scoring) -> Fold:
    """Return a fold whose scores are those of a scoring that has not seen it."""
    found = one.said.found.copy()
    found[..., 2] = scoring.of(torch.from_numpy(one.peaks), torch.from_numpy(one.spreads)).numpy()
    return one._replace(said=one.said._replace(found=found))


def tables(judged: Judged) -> dict[str, Rows]:
    """Return the tables by title."""
    return {
        "Facemap's mouse, second video": _video(judged),
        "The Schroeder lab's animals, each left out": _animals(judged),
        CERTAINTY: _certainty(judged),
        "At rest, as if at 500 frames/s": _at_rest(judged),
    }


def _part(values: np.ndarray, part: str, middle: Callable[..., Any]) -> float:
    """Return the mean over a part's labelled keypoints of a middle of (N, K) distances."""
    columns = [KEYPOINTS.index(name) for name in PARTS[part]]
    columns = [k for k in columns if np.isfinite(values[:, k]).any()]
    return float(np.mean([middle(values[:, k]) for k in columns])) if columns else float("nan")


def _video(judged: Judged) -> Rows:
    """Return mean px on the stills of the second video, of every fold's network."""
    errors, face = [], []
    for one in judged.folds:
        chosen = one.of(video=True)
        truth = one.said.truth[chosen]
        errors.append(measures.distances(one.said.found[chosen], truth))
        face.append(one.said.face[chosen])
    error = np.mean(errors, 0)
    flat = measures.distances(np.broadcast_to(judged.constant, truth.shape), truth)
    first = judged.folds[0].of(video=True)
    other = judged.anchor.get(0)
    rows: Rows = []
    for part in PARTS:
        if part == "pupil":
            continue
        mean = measures.bootstrap(
            lambda at, part=part: _part(error[at], part, np.nanmean), len(truth)
        )
        row: dict[str, Any] = {
            "part": part,
            "stills": len(truth),
            "mean px (95 %)": str(mean),
            "each network": ", ".join(f"{_part(e, part, np.nanmean):.1f}" for e in errors),
            "constant px": _part(flat, part, np.nanmean),
        }
        if other is not None:
            apart = measures.distances(other[first], truth)
            row["first network px"] = _part(errors[0], part, np.nanmean)
            row["Facemap's shape px"] = _part(apart, part, np.nanmean)
        rows.append(row)
    return rows


def _animals(judged: Judged) -> Rows:
    """Return one row per animal that was left out, and one for all."""
    rows: Rows = []
    for fold, animal in [(None, "all"), *((f, a) for f in judged.folds for a in FOLDS[f.fold])]:
        parts = judged.folds if fold is None else [fold]
        said = predictions.joined([_pick(one.said, one.of(video=False)) for one in parts])
        if fold is not None:
            said = _pick(said, said.groups == animal)
        if len(said.face) == 0:
            continue
        rows.append(_animal_row(animal, said))
    if 0 in judged.anchor:
        rows += _beside_anchor(judged)
    return rows


def _beside_anchor(judged: Judged) -> Rows:
    """Return the first fold's animals for our network and for Facemap's shape."""
    one = judged.folds[0]
    other = one.said._replace(found=judged.anchor[0])
    return [
        _animal_row("fold 0", _pick(one.said, one.of(video=False))),
        _animal_row("fold 0, Facemap's shape", _pick(other, one.of(video=False))),
    ]


def _animal_row(name: str, said: Predicted) -> dict[str, Any]:
    error = measures.distances(said.found, said.truth)
    pupil = measures.pupil_error(said.found, said.truth, KEYPOINTS)
    return {
        "animal": name,
        "stills": len(said.face),
        "face found %": 100 * float(said.face.mean()),
        "eyelids median px": _part(error, "eye", np.nanmedian),
        "nose median px": float(np.nanmedian(error[:, KEYPOINTS.index("nose(tip)")])),
        "pupil points median px": _part(error, "pupil", np.nanmedian),
        "pupil centre median px": pupil.centre_px,
        "pupil diameter r": f"{pupil.diameter_r:.2f}",
    }


def _certainty(judged: Judged) -> Rows:
    rows: Rows = []
    for name, video in (("schroeder_face", False), ("facemap_g7c1, second video", True)):
        said = predictions.joined([_pick(one.said, one.of(video)) for one in judged.folds])
        told = measures.certainty(said.found, said.truth, KEYPOINTS)
        rows.append(
            {
                "set": name,
                "points": told.n,
                "within 5 % of the eye's width, %": 100 * told.right,
                "score above 0.9, %": 100 * told.sure,
                "of those within 5 %, %": 100 * told.sure_and_right,
            }
        )
    return rows


def _at_rest(judged: Judged) -> Rows:
    rows: Rows = []
    for clip, networks in judged.rest.items():
        for part, names in PARTS.items():
            for network, still in networks.items():
                those = [still[KEYPOINTS.index(name)] for name in names]
                rows.append(
                    {
                        "clip": Path(clip).parts[0],
                        "part": part,
                        "network": network,
                        "jitter px": f"{np.mean([s.jitter_px for s in those]):.2f}",
                        "median speed px/s": float(np.mean([s.speed_px_s for s in those])),
                        "jumps per minute": float(np.mean([s.jumps_per_min for s in those])),
                    }
                )
    return rows


def _pick(said: Predicted, which: np.ndarray) -> Predicted:
    return Predicted(
        said.found[which],
        said.truth[which],
        said.face[which],
        [box for box, yes in zip(said.boxes, which, strict=True) if yes],
        said.groups[which],
        said.recordings[which],
    )


def put(tables: dict[str, Rows], page: Path) -> None:
    """Replace the tables of a page: ``<!-- table: TITLE -->`` and ``<!-- end -->``."""
    text = page.read_text(encoding="utf-8")
    for title, rows in tables.items():
        start = re.escape(f"<!-- table: {title} -->")
        text, n = re.subn(
            rf"({start}\n).*?(<!-- end -->)",
            lambda found, rows=rows: f"{found[1]}\n{markdown(rows)}\n\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
        if n != 1:
            raise SystemExit(f"{page}: has {n} places for the table '{title}', must have one")
    page.write_text(text, encoding="utf-8")


def markdown(rows: Rows) -> str:
    """Return rows of dictionaries as one table."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    right = ["---" if isinstance(rows[0].get(key), str) else "--:" for key in keys]
    lines = ["| " + " | ".join(keys) + " |", "|" + "|".join(right) + "|"]
    for row in rows:
        cells = (f"{v:.1f}" if isinstance(v, float) else str(v) for v in map(row.get, keys))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
