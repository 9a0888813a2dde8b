"""Training of the network that rtface ships; needs the extra ``train`` (torch).

Nothing outside this package imports torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.train import data, evaluate, export, fit
from rtface.types import UserError

__all__ = ["train"]

#: part of the real pictures in a batch that comes from Facemap's stills
_FACEMAP_SHARE = 0.6


def train(
    data_dir: Path,
    out_dir: Path,
    minutes: float = 25.0,
    holdout: bool = False,
    seed: int = 0,
    synthetic_fraction: float = 0.4,
    n_faces: int = 900,
    name: str = "mouse-face-side",
    threads: int = 1,
    holdout_bundle: Path | None = None,
    start: Path | None = None,
) -> dict[str, Any]:
    """Fit a network, judge it and write a model bundle; return its scores (see ``judge``).

    Parameters
    ----------
    data_dir : Path
        Folder with ``facemap_g7c1`` and ``schroeder_face``.
    out_dir : Path
        The bundle's folder; existing files of a bundle are replaced.
    minutes : float
        Time for fitting alone; reading and drawing come before, judging after.
    holdout : bool
        Leave out one video and four animals and judge by them. Otherwise everything is trained
        on, and the scores on real pictures say how well it is remembered, not how well it works.
    seed : int
        Of the weights and the views.
    synthetic_fraction : float
        Part of every batch that is procedural, 0 to 1.
    n_faces : int
        Procedural animals to draw, from seed 1000 on.
    name : str
        The model's name in ``model.json``.
    threads : int
        CPU threads for each of the two things that run side by side: learning from one batch
        and drawing the next.
    holdout_bundle : Path, optional
        A bundle that this recipe made with ``holdout``: its scores are copied into this one, as
        the only ones that say what to expect from a new animal.
    start : Path, optional
        A bundle of this recipe to train further, with smaller steps and milder views.
    """
    if not minutes > 0 or not 0 <= synthetic_fraction <= 1:
        raise UserError("minutes must be above 0 and the synthetic fraction from 0 to 1")
    torch.set_num_threads(threads)
    begun = None if start is None else load_bundle(start)
    for bundle in (begun if holdout else None, holdout_bundle and load_bundle(holdout_bundle)):
        if bundle and not _held_out(bundle.about):
            raise UserError(
                f"{bundle.folder}: was trained on what has to be held out; see --holdout"
            )
    network = None if begun is None else export.read_network(begun.folder / "model.onnx")
    facemap = data.read_facemap(data_dir)
    schroeder = data.read_schroeder(data_dir)
    seen = [data.split(stills)[0] if holdout else stills for stills in (facemap, schroeder)]
    real = 1 - synthetic_fraction
    shares = (real * _FACEMAP_SHARE, real * (1 - _FACEMAP_SHARE), synthetic_fraction)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("reading and drawing", total=1.0)
        banks = [data.stills_bank(stills) for stills in seen]
        banks.append(data.synthetic_bank(data.FIRST_TRAINING_SEED, n_faces))

        def report(done: float, step: int, value: float) -> None:
            text = f"step {step}, loss {value:.3f}"
            progress.update(task, completed=done, description=text)

        network, steps = fit.fit(banks, shares, minutes, seed, report, network)
    training = {
        "recipe": "held out" if holdout else "all",
        "minutes": minutes,
        "steps": steps,
        "batch": fit.BATCH,
        "learning_rate": fit.LEARNING_RATE if begun is None else fit.FURTHER_RATE,
        "seed": seed,
        "torch": str(torch.__version__),
        "threads": threads,
        "synthetic_fraction": synthetic_fraction,
        "synthetic": [data.FIRST_TRAINING_SEED, data.FIRST_TRAINING_SEED + n_faces - 1],
        "facemap_g7c1": sorted({still.group for still in seen[0]}),
        "schroeder_face": sorted({still.group for still in seen[1]}),
        "stills": [len(stills) for stills in seen],
        "keypoints": len(data.KEYPOINTS),
    }
    if begun is not None:
        training["started_from"] = begun.about["training"]
    export.write_bundle(network, out_dir, name, training, {})
    scores = {"these_weights": judge(out_dir, data_dir)}
    if holdout_bundle is not None:
        about = load_bundle(holdout_bundle).about
        scores["held_out_recipe"] = {
            "training": about["training"],
            **about["scores"]["these_weights"],
        }
    export.write_bundle(network, out_dir, name, training, scores)
    return scores


def _held_out(about: dict[str, Any]) -> bool:
    """Whether a bundle, and all it was trained further from, never saw what is held out."""
    training = about.get("training")
    while training:
        if training.get("recipe") != "held out":
            return False
        training = training.get("started_from")
    return "these_weights" in about.get("scores", {})


def judge(bundle_dir: Path, data_dir: Path | None, quick: bool = False) -> dict[str, Any]:
    """Return a bundle's errors on the held-out real stills and on demonstration faces.

    Whether the stills were held out from these weights stands in the bundle's ``training``.

    Parameters
    ----------
    bundle_dir : Path
    data_dir : Path or None
        Folder with the real stills; None judges by procedural faces alone.
    quick : bool
        Every fifth still and eight faces only.

    Returns
    -------
    dict
        Per set: ``groups`` (videos, animals or seeds judged by) and ``rows`` (``evaluate.Row``).
        ``minute``: the median error of whole synthetic minutes, % of the eye's width.
    """
    engine = make_engine(load_bundle(bundle_dir), "onnxruntime")
    scores: dict[str, Any] = {}
    real = {"facemap_g7c1": data.read_facemap, "schroeder_face": data.read_schroeder}
    for source, read in real.items():
        if data_dir is None:
            break
        known, held = data.split(read(data_dir))
        held = held[:: 5 if quick else 1]
        constant = evaluate.mean_label(evaluate.judged(known).truth)
        found = evaluate.predict(engine, held)
        rows = evaluate.table(found, evaluate.judged(held), constant, engine.names)
        scores[source] = _score(sorted({still.group for still in held}), rows)
    seeds = range(8 if quick else 40)
    rows = evaluate.synthetic_table(engine, seeds, range(1000, 1040))
    scores["synthetic"] = _score(list(seeds), rows)
    minutes = {seed: evaluate.minute(engine, seed) for seed in range(2 if quick else 10)}
    scores["minute"] = {
        "seeds": list(minutes),
        "median_eye_pct": [round(float(np.median(m)), 2) for m in minutes.values()],
        "overall_median_eye_pct": round(
            float(np.median(np.concatenate(list(minutes.values())))), 2
        ),
    }
    return scores


def _score(groups: list[Any], rows: list[evaluate.Row]) -> dict[str, Any]:
    rounded = [
        {k: round(v, 2) if isinstance(v, float) else v for k, v in row._asdict().items()}
        for row in rows
    ]
    return {"groups": groups, "rows": rounded}
