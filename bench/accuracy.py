"""How far keypoints are from labels on animals and videos that were left out, one command.

Trains what is not trained yet (hours on two cores; everything is kept in --work and can be
interrupted): a network per fold, and with --ship the one that saw everything. Judges them, prints
tables, draws the worst stills, and puts the tables into --doc. A network of Facemap's shape is
judged by ``anchor.py``.

Needs the extra ``train`` and the folder of recordings (``RTFACE_DATA``).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import _accuracy
import _accuracy_own
import _accuracy_tables as pages
import _report
import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rtface.train import card, data, export
from rtface.train.score import PEAKS
from rtface.types import UserError


def main() -> None:
    parser = _accuracy.parser(__doc__)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3], help="which")
    parser.add_argument("--ship", type=Path, help="also write the bundle to be shipped, here")
    parser.add_argument("--ship-fold", type=int, help="of a fold's network, not of everything")
    parser.add_argument("--peaks", action="store_true", help="ship scores that are bare peaks")
    args = parser.parse_args()
    torch.set_num_threads(1)  # learning and drawing run side by side
    try:
        run(args)
    except UserError as error:
        raise SystemExit(f"accuracy: {error}") from None


def run(args: argparse.Namespace) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: float, value: float) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=1.0)
            progress.update(tasks[what], completed=done, description=f"{what}, loss {value:.2f}")

        shop, work = _accuracy.workshop(args, report)
        folds = [0] if args.quick else args.folds
        judged = _accuracy.judge(shop, folds, 14 if args.quick else 1)
        _accuracy.draw(judged, work / "worst")
        own = None
        if _accuracy_own.FOLD in folds:
            own = _accuracy_own.own_mouse(shop, args.quick)
        if args.ship:
            network = shop.network(args.ship_fold)
    tables = pages.tables(judged)
    if own:
        tables["Tuned to an animal it never saw"] = own
    for title, rows in tables.items():
        _report.table(title, rows)
    print(f"the worst stills of each network: {work / 'worst'}")
    results: dict[str, Any] = {"scoring": judged.scoring._asdict(), "tables": tables}
    if args.ship:
        training = shop.about(args.ship_fold)
        scoring = PEAKS if args.peaks else judged.scoring
        texts = {
            title: pages.markdown(rows)
            for title, rows in tables.items()
            if scoring is not PEAKS or title != pages.CERTAINTY
        }
        text = card.model_card(training, data.KEYPOINTS, texts, scoring)
        export.write_bundle(
            network, args.ship, "mouse-face-side", training, tables, scoring, card=text
        )
        print(f"written: {args.ship}")
    _report.write("accuracy", args, results)
    if args.doc:
        pages.put(tables, args.doc)
        print(f"written: {args.doc}")


if __name__ == "__main__":
    main()
