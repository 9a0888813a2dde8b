"""How far a bundle's keypoints are from labels: real stills and procedural faces, one table.

Beside every error stand two predictors that never look at a picture: the training pictures' mean
label, and the mean label of each judged animal itself (which has seen the answers). The column
``seen`` says whether the weights were trained on the pictures they are judged by here.

Needs the extra ``train`` and, for the real stills, the folder of recordings (``RTFACE_DATA``).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import _report

from rtface.engine.bundle import load_bundle
from rtface.train import judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every fifth picture, eight faces")
    parser.add_argument("--out", type=Path, default=_report.ROOT / "bench" / "out")
    parser.add_argument("--bundle", default="default", help="'default' or a bundle's folder")
    default = Path(os.environ.get("RTFACE_DATA", _report.ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of real recordings")
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)
    data = args.data if args.data.is_dir() else None
    scores = judge(bundle.folder, data, quick=args.quick)
    training: dict[str, Any] = bundle.about.get("training", {})
    rows = [
        {"set": name, "seen": _seen(score["groups"], training.get(name)), **row}
        for name, score in scores.items()
        if name != "minute"
        for row in score["rows"]
    ]
    _report.table(f"{bundle.name}, trained on: {training.get('recipe', 'unknown')}", rows)
    minute = scores["minute"]
    print(f"median error over a synthetic minute: {minute['overall_median_eye_pct']} % of the eye")
    if data is None:
        print(f"no real recordings in {args.data}: set RTFACE_DATA or --data to judge by them")
    _report.write(
        "accuracy",
        args,
        {"bundle": bundle.sha256, "training": training, "rows": rows, "minute": minute},
    )


def _seen(judged_by: list[Any], trained_on: list[Any] | None) -> str:
    """Say whether any of the judged animals or videos was among the training ones."""
    if trained_on is None:
        return "unknown"
    both = set(judged_by) & set(trained_on)
    return "no" if not both else "yes" if both == set(judged_by) else "partly"


if __name__ == "__main__":
    main()
