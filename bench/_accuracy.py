"""What ``accuracy.py`` and ``anchor.py`` judge networks by."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import _report
import cv2
import numpy as np
import torch

from rtface.camera.video import read_frames
from rtface.engine import make_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.pose import PoseEstimator, find_face, finder_for
from rtface.train import data, evaluate, measures, pictures, predictions, recipe
from rtface.train.data import HELD_OUT_VIDEO, KEYPOINTS, Still, split
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
#: widths of the eye from there to the nose: 3.0 to 3.5 in the labelled animals
MUZZLE_IN_EYES = 3.2


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every script that trains and judges needs to be told."""
    made = _report.parser(doc)
    default = Path(os.environ.get("RTFACE_DATA", _report.ROOT.parent / "shared" / "data"))
    made.add_argument("--data", type=Path, default=default, help="folder of real recordings")
    made.add_argument("--work", type=Path, default=_report.ROOT / "bench" / "out" / "networks")
    made.add_argument("--doc", type=Path, help="page whose marked tables are replaced")
    return made


def workshop(args: argparse.Namespace, report: recipe.Report) -> tuple[Workshop, Path]:
    """Return what makes the networks, and the folder that they are kept in."""
    work = args.work / "quick" if args.quick else args.work
    which = recipe.QUICK if args.quick else recipe.Recipe()
    return Workshop(work, args.data, which, report), work


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


#: by network, how still each keypoint is
AtRest = dict[str, list[measures.Stillness]]


class Judged(NamedTuple):
    """Everything the tables are made of."""

    folds: list[Fold]
    constant: np.ndarray  # (K, 2): the mean label of Facemap's first video
    learned: Predicted  # what the first network says of the stills of it that it was trained on
    outlines: list[np.ndarray]  # (N, K, 2) across the outline: of ``learned``, of the 2nd video
    rest: dict[str, AtRest]  # by clip
    scoring: Scoring


def judge(shop: Workshop, folds: Sequence[int], every: int = 1) -> Judged:
    """Make the networks that are missing and let them look at what they never saw.

    With ``every`` above 1 at a part of it only.
    """
    done = [_fold(shop, fold, every) for fold in folds]
    seen = split(shop.facemap, folds[0])[0][::every]
    judging = [still for still in done[0].stills if still.group == HELD_OUT_VIDEO]
    scorings = [_scoring([one for one in done if one is not left] or done) for left in done]
    scored = [_rescore(one, scoring) for one, scoring in zip(done, scorings, strict=True)]
    flat = evaluate.mean_label(np.stack([still.points for still in seen]))
    first = load_bundle(shop.bundle(folds[0]))
    learned = predictions.predict(first, seen)
    outlines = [_across(stills) for stills in (seen, judging)]
    rest = {name: at_rest("rtface", first, shop.data_dir / name, {}, every) for name in CLIPS}
    return Judged(scored, flat, learned, outlines, rest, _scoring(done))


def _across(stills: Sequence[Still]) -> np.ndarray:
    """Return (N, K, 2): the direction in which the picture changes most at each label."""
    found = np.full((len(stills), len(KEYPOINTS), 2), np.nan)
    for way, still in zip(found, stills, strict=True):
        soft = cv2.GaussianBlur(data.read_gray(still.path).astype(np.float32), (0, 0), 4.0)
        slope = np.stack(np.gradient(soft)[::-1], -1)
        for k in np.flatnonzero(np.isfinite(still.points).all(1)):
            x, y = still.points[k].round().astype(int).clip(0, np.array(soft.shape[::-1]) - 1)
            way[k] = slope[y, x] / max(1e-6, float(np.hypot(*slope[y, x])))
    return found


def at_rest(
    name: str, bundle: Bundle, clip: Path, others: Mapping[str, Engine], every: int
) -> AtRest:
    """Return how still a network's keypoints are in the quiet half of a clip, and others'."""
    images = np.stack(list(read_frames(clip)))
    images = images[: max(10, len(images) // every)]
    engine = make_engine(bundle, "onnxruntime")
    finder = finder_for(bundle.crop, engine, images.shape[1:])
    found = [
        find_face(PoseEstimator(engine, images.shape[1:], finder=finder), i) for i in images[:9]
    ]
    box = BBox(*(int(v) for v in np.median([box for _, box in found], 0)))
    engines: dict[str, Engine] = {name: engine, **others}
    quiet = measures.quiet_steps(images.astype(np.float32))
    # one width for all networks: of a shut eye each says another
    eye_width = float(data.face_in(box)[2]) / MUZZLE_IN_EYES
    still = {}
    for each, one in engines.items():
        estimate = PoseEstimator(one, images.shape[1:], bbox=box)
        track = np.stack([estimate(image).keypoints for image in images])
        still[each] = measures.stillness(track, quiet, eye_width, RATE_HZ)
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


def pick(said: Predicted, which: np.ndarray) -> Predicted:
    """Return what is said of some of the stills."""
    return Predicted(
        said.found[which],
        said.truth[which],
        said.face[which],
        [box for box, yes in zip(said.boxes, which, strict=True) if yes],
        said.groups[which],
        said.recordings[which],
    )


def draw(judged: Judged, folder: Path) -> None:
    """Draw the stills on which each network is furthest off, of animals and of the video apart."""
    for one in judged.folds:
        for name, video in (("animals", False), ("video", True)):
            which = one.of(video)
            out = folder / f"fold{one.fold}" / name
            out.mkdir(parents=True, exist_ok=True)
            stills = [still for still, yes in zip(one.stills, which, strict=True) if yes]
            pictures.draw_worst(out, stills, pick(one.said, which), KEYPOINTS)
