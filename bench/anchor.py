"""A network with the layers, targets and loss of Facemap's, judged as rtface's are, one command.

Trained from nothing on the pictures that a fold's network gets (an hour or two; kept in --work),
without the second video and the fold's animals, which judge it beside that fold's network. It
looks through the crop that the shipped network finds, which saw everything and stands beside as
what labels allow. Prints tables and puts them into --doc.

The weights, ``anchor0.pt``, have Facemap's names and shapes for 16 keypoints; ``rtface model import
--names`` takes them (Facemap itself expects 15). They learned crops of 192x256 px. Needs the extra
``train`` and the folder of recordings (``RTFACE_DATA``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _accuracy
import _accuracy_tables as pages
import _report
import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rtface.engine.bundle import load_bundle
from rtface.train import evaluate, fit, fmnet, measures, predictions
from rtface.train.data import FOLDS, HELD_OUT_VIDEO, KEYPOINTS, Still, split, stills_bank
from rtface.train.network import Network, decode
from rtface.train.predictions import Predicted
from rtface.types import UserError

FOLD = 0
NAME = "Facemap's shape"
#: to one's own mouse: mild views of the first video alone
OWN = fit.Schedule(500, batch=8, rate=8e-4, strength=0.3, seed=5)


class Judge:
    """What both say of pictures."""

    def __init__(self, network: fmnet.FMnet) -> None:
        self.bundle = load_bundle("default")
        self.engine = predictions.TorchEngine(network, fmnet.decode, KEYPOINTS)

    def __call__(self, stills: list[Still]) -> tuple[Predicted, Predicted]:
        """Return what the shipped network says, and what the other does through the same boxes."""
        ours = predictions.predict(self.bundle, stills)
        return ours, ours._replace(found=predictions.through(self.engine, stills, ours.boxes))


def video(judge: Judge, stills: list[Still], constant: np.ndarray) -> pages.Rows:
    """Return mean px on the second video, part by part."""
    ours, theirs = judge(stills)
    flat = np.broadcast_to(constant, ours.truth.shape)
    errors = [measures.distances(found, ours.truth) for found in (ours.found, theirs.found, flat)]
    rows: pages.Rows = []
    for part in _accuracy.PARTS:
        if part == "pupil":  # nobody labelled it there
            continue
        found = [
            measures.bootstrap(
                lambda at, error=error, part=part: pages.of_part(error[at], part, np.nanmean),
                len(stills),
            )
            for error in errors
        ]
        shipped, theirs_px, constant_px = found
        rows.append(
            {
                "part": part,
                "stills": len(stills),
                f"{NAME}, px (95 %)": str(theirs_px),
                "shipped, which learned them, px (95 %)": str(shipped),
                "constant px": constant_px.value,
            }
        )
    return rows


def animals(judge: Judge, own: Network, stills: list[Still]) -> pages.Rows:
    """Return how it and rtface's network of the fold do on the animals that neither ever saw.

    Both look through the boxes of the shipped network, which knows them.
    """
    _, theirs = judge(stills)
    engine = predictions.TorchEngine(own, decode, KEYPOINTS)
    ours = theirs._replace(found=predictions.through(engine, stills, theirs.boxes))
    rows: pages.Rows = []
    for animal in ("all", *FOLDS[FOLD]):
        those = np.full(len(stills), True) if animal == "all" else theirs.groups == animal
        for name, said in (("rtface", ours), (NAME, theirs)):
            if those.any():
                row = pages.animal_row(animal, _accuracy.pick(said, those))
                del row["face found %"]  # of the shipped network
                rows.append({"animal": animal, "network": name} | row)
    return rows


def learned(said: dict[str, Predicted]) -> pages.Rows:
    """Return how many of the labels that the shipped network learned it gives again."""
    rows: pages.Rows = []
    for name, one in said.items():
        row = pages.certain_row(name, one)
        # its scores are no chances
        rows.append({key: row[key] for key in row if "score" not in key and "those" not in key})
    return rows


def main() -> None:
    parser = _accuracy.parser(__doc__)
    parser.add_argument(
        "--own", type=Path, help="also fit it to the first video alone, and write its weights here"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)  # learning and drawing run side by side
    try:
        run(args)
    except UserError as error:
        raise SystemExit(f"anchor: {error}") from None


def run(args: argparse.Namespace) -> None:
    every = 14 if args.quick else 1
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as progress:
        bar = progress.add_task(NAME, total=1.0)

        def report(what: str, done: float, value: float) -> None:
            progress.update(bar, completed=done, description=f"{what}, loss {value:.2f}")

        shop, _ = _accuracy.workshop(args, report)
        judge = Judge(shop.anchor(FOLD))
        known, left_out = split(shop.facemap, FOLD)
        if args.own:
            schedule = OWN._replace(steps=2) if args.quick else OWN
            bank = stills_bank(known)
            torch.save(
                fit.fit(
                    shop.anchor(FOLD),
                    fmnet.loss,
                    [bank],
                    (1.0,),
                    schedule,
                    lambda step, value: report("own mouse", step / schedule.steps, value),
                ).state_dict(),
                args.own,
            )
    stills = [still for still in left_out if still.group == HELD_OUT_VIDEO][::every]
    constant = evaluate.mean_label(np.stack([still.points for still in known]))
    rest = {
        clip: _accuracy.at_rest(
            "shipped", judge.bundle, shop.data_dir / clip, {NAME: judge.engine}, every
        )
        for clip in _accuracy.CLIPS
    }
    mice, mouse = (
        predictions.predict(judge.bundle, seen[::every]) for seen in (shop.schroeder, known)
    )
    tables = {
        f"{NAME}, second video": video(judge, stills, constant),
        f"{NAME}, animals left out": animals(
            judge, shop.network(FOLD), split(shop.schroeder, FOLD)[1][::every]
        ),
        f"{NAME}, at rest": pages.at_rest(rest),
        "Animals that the shipped network learned": [pages.animal_row("all", mice)],
        "Labels that the shipped network learned": learned(
            {"schroeder_face": mice, "facemap_g7c1, first video": mouse}
        ),
    }
    for title, rows in tables.items():
        _report.table(title, rows)
    _report.write("anchor", args, {"tables": tables})
    if args.doc:
        pages.put(tables, args.doc)
        print(f"written: {args.doc}")


if __name__ == "__main__":
    main()
