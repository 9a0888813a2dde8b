"""A network of one's own: a network that exists, tuned to labelled pictures of one's own mouse.

It learns the pictures it is given, and synthetic faces among them: what nobody labelled is not
forgotten. Pictures that were held out judge it, beside the network it started from.
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rtface.engine.bundle import Bundle
from rtface.train import data, export, fit, pictures
from rtface.train.bank import Bank, banks_by_size, renamed
from rtface.train.judge import Judged, Judges, judge, kept_scoring
from rtface.train.labels import Labelled, frames, stills
from rtface.train.lesson import Lesson
from rtface.train.mirror import mirror_of
from rtface.train.network import Network
from rtface.train.predictions import Finder
from rtface.train.tune_card import tune_card
from rtface.types import Float32Array, UInt8Image, UserError

#: synthetic animals, moments of each, and their part of the pictures that are learned
ANIMALS, MOMENTS, SYNTHETIC = 60, 5, 0.3
#: pictures per step and the highest learning rate: at three times that the first steps of a short
#: run do harm
BATCH, RATE = 16, 3e-4
#: steps when neither steps nor minutes are asked for; about 2 minutes on two slow cores
STEPS = 400
#: steps that are timed to know how many fit into minutes; how often held-out pictures are looked at
TIMED, LOOKS = 12, 10
#: says what is being done, how much of it is done (0 to 1), and the loss (NaN: there is none)
Report = Callable[[str, float, float], None]


class Plan(NamedTuple):
    """How long to learn: ``minutes``, if there are any, else ``steps``; the seed of the views."""

    steps: int = STEPS
    minutes: float | None = None
    seed: int = 0


class Curves(NamedTuple):
    """What was seen on the way.

    Attributes
    ----------
    loss : list of float
        Running mean, step by step.
    checks : list of (int, float)
        Step and mean error on held-out pictures, px.
    """

    loss: list[float]
    checks: list[tuple[int, float]]


class Tuned(NamedTuple):
    """What came of it; ``judged`` is None where nothing was held out."""

    folder: Path
    steps: int
    curves: Curves
    judged: Judged | None


def check_out(out: Path) -> None:
    """Raise UserError if a bundle cannot be written to ``out``; before hours of work, not after."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not empty; name a new folder with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-"):
            pass
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from None


def tune(start: Bundle, task: Lesson, plan: Plan, out: Path, report: Report) -> Tuned:
    """Tune ``start`` and write the bundle ``out``, with its pictures and card.

    Parameters
    ----------
    start : Bundle
        Of rtface's recipe.
    task : Lesson
    plan : Plan
    out : Path
        New or empty.
    report : callable
        Gets what is being done, how much of it is done, and the loss.

    Raises
    ------
    UserError
        ``out`` or ``start`` will not do, matplotlib is missing, or a picture cannot be read.
    """
    check_out(out)
    pictures.check()
    network = export.read_network(start.folder / "model.onnx", start.names, task.names)
    finder = Finder(start)
    report("reading pictures", 0.0, float("nan"))
    banks, shares, shapes = _banks(task, finder)
    torch.manual_seed(plan.seed)
    fit.freeze_norms(network)
    schedule = fit.Schedule(plan.steps, BATCH, RATE, seed=plan.seed)
    if plan.minutes is not None:
        steps = _steps_in(plan.minutes, network, banks, shares, schedule)
        schedule = schedule._replace(steps=steps)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as folder:
        judges = _judges(start, task, finder, shapes, Path(folder))
        network, curves = _fit(network, banks, shares, schedule, judges, report)
        judged = None
        scoring = kept_scoring(start)
        if judges:
            report("judging", 0.0, float("nan"))
            judged = judge(network, scoring, judges, Path(folder))
            scoring = judged.scoring
        training = {
            **task.about,
            "started_from": {"name": start.name, "sha256": start.sha256},
            "recipe": "tuned",
            **schedule._asdict(),
            "synthetic_part": SYNTHETIC,
            "synthetic_animals": ANIMALS,
            "torch": str(torch.__version__),
        }
        drawn = Path(folder) / "pictures"
        drawn.mkdir()
        pictures.draw_curves(drawn / "curves.png", curves.loss, curves.checks)
        if judges and judged:
            pictures.draw_worst(drawn, judges.stills, judged.said, task.names)
        card = tune_card(out.name, start, task.names, training, judged, task.how, task.source)
        scores = {"held_out": {task.source: judged.about()}} if judged else {}
        export.write_bundle(network, out, out.name, training, scores, scoring, task.names, card)
        os.replace(drawn, out / "pictures")
    report("done", 1.0, float("nan"))
    return Tuned(out, schedule.steps, curves, judged)


def _banks(task: Lesson, finder: Finder) -> tuple[list[Bank], list[float], np.ndarray]:
    """Return what is learned from, one bank per size of picture and one of synthetic faces.

    Also which part of the pictures comes from each, and (height, width) of every labelled one.
    """
    groups = Counter(one.group for one in task.train)
    weights = [groups[one.group] ** -0.5 for one in task.train]
    shapes = []

    def read_all() -> Iterator[tuple[UInt8Image, Float32Array, Float32Array]]:
        for seen in faces(task.train, task.names, finder):
            shapes.append(seen[0].shape)
            yield seen

    mirror = mirror_of(task.names)
    own = [bank._replace(mirror=mirror) for bank in banks_by_size(read_all(), weights)]
    drawn = [float(bank.weights.sum()) for bank in own]
    shares = [(1 - SYNTHETIC) * one / sum(drawn) for one in drawn]
    synthetic = data.synthetic_bank(data.FIRST_TRAINING_SEED, ANIMALS, MOMENTS)
    banks = [*own, renamed(synthetic, data.KEYPOINTS, task.names)]
    return banks, [*shares, SYNTHETIC], np.array(shapes)


def faces(
    labelled: Sequence[Labelled], names: Sequence[str], finder: Finder
) -> Iterator[tuple[UInt8Image, Float32Array, Float32Array]]:
    """Yield every picture, its keypoints and its face (``data.face_of``).

    Labels of eye and nose say where the face is; else the network that finds faces; else the
    picture before of the same group; else the rectangle of what is labelled.
    """
    before: dict[str, Float32Array] = {}
    for one, (image, points) in zip(labelled, frames(labelled), strict=True):
        face = data.anchored_face(points, names)
        if face is None:
            pose = finder(image)
            if pose.face and pose.crop:
                face = data.face_in(pose.crop)
        if face is None:
            face = before.get(one.group, data.face_of(points, names))
        before[one.group] = face
        yield image, points, face


def _judges(
    start: Bundle, task: Lesson, finder: Finder, known_shapes: np.ndarray, folder: Path
) -> Judges | None:
    if not task.held:
        return None
    files = stills(task.held, folder / "held")
    seen = list(faces([Labelled(*still) for still in files], task.names, finder))
    return Judges(
        start,
        task.names,
        files,
        np.array([image.shape for image, _, _ in seen]),
        [data.box_of(face) for _, _, face in seen],
        np.stack([one.points for one in task.train]),
        known_shapes,
        task.how,
    )


def _fit(
    network: Network,
    banks: Sequence[Bank],
    shares: Sequence[float],
    schedule: fit.Schedule,
    judges: Judges | None,
    report: Report,
) -> tuple[Network, Curves]:
    curves = Curves([], [])
    every = max(1, schedule.steps // LOOKS)

    def told(step: int, value: float) -> None:
        curves.loss.append(value)
        report("learning", step / schedule.steps, value)

    def watch(step: int, average: nn.Module) -> None:
        if judges and (step % every == 0 or step == schedule.steps):
            curves.checks.append((step, judges.error(average)))

    if judges:
        curves.checks.append((0, judges.error(network)))
    return fit.fit(network, fit.loss, banks, shares, schedule, told, watch), curves


def _steps_in(
    minutes: float,
    network: Network,
    banks: Sequence[Bank],
    shares: Sequence[float],
    schedule: fit.Schedule,
) -> int:
    """Return how many steps fit into some minutes on this machine, as busy as it is."""
    times: list[float] = []
    fit.fit(
        copy.deepcopy(network),
        fit.loss,
        banks,
        shares,
        schedule._replace(steps=TIMED),
        lambda step, value: times.append(time.monotonic()),
    )
    each = (times[-1] - times[TIMED // 3]) / (len(times) - 1 - TIMED // 3)
    return max(1, round(60 * minutes / max(each, 1e-3)))
