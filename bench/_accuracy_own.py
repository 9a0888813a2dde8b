"""What tuning to labelled pictures of one's own mouse buys, on an animal that was left out.

One animal was filmed in four sessions. The network that never saw it is tuned to some pictures of
the first three and judged by the fourth.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _accuracy_tables import Rows

from rtface.engine.bundle import load_bundle
from rtface.train import tune
from rtface.train.data import KEYPOINTS, Still
from rtface.train.labels import Labelled
from rtface.train.lesson import Lesson
from rtface.train.recipe import Workshop

ANIMAL, FOLD = "FG003", 0
#: labelled pictures that are learned from
PICTURES = (10, 50)
PARTS = {"nose median px": "nose(tip)", "eyelids median px": "eye", "pupil median px": "pupil"}


def own_mouse(shop: Workshop, quick: bool) -> Rows:
    """Return a row for the network before, and one per number of pictures."""
    stills = [still for still in shop.schroeder if still.group == ANIMAL]
    sessions = sorted({still.recording for still in stills})
    known = [still for still in stills if still.recording != sessions[-1]]
    held = [still for still in stills if still.recording == sessions[-1]]
    start = load_bundle(shop.bundle(FOLD))
    rows: Rows = []
    for n in PICTURES:
        shown = [known[i] for i in np.linspace(0, len(known) - 1, n).round().astype(int)]
        about = {"learned_from": n, "groups": sessions[:-1], "held_out": sessions[-1:]}
        task = Lesson(
            KEYPOINTS,
            [_labelled(still) for still in shown],
            [_labelled(still) for still in held],
            "the last session",
            "labels by hand",
            about,
        )
        plan = tune.Plan(2 if quick else tune.STEPS)
        with tempfile.TemporaryDirectory() as folder:
            made = tune.tune(start, task, plan, Path(folder) / "own", lambda *_: None)
        assert made.judged is not None
        told = {row["name"]: row for row in made.judged.rows}
        if not rows:
            rows.append(_row("none: as it was", len(held), told, "start_median_px"))
        rows.append(_row(f"{n} of three sessions", len(held), told, "median_px"))
    return rows


def _labelled(still: Still) -> Labelled:
    return Labelled(still.path, still.points, still.recording, still.recording)


def _row(name: str, judged_by: int, told: dict[str, Any], key: str) -> dict[str, Any]:
    errors = {title: float(told[part][key]) for title, part in PARTS.items()}
    return {"pictures it was tuned to": name, "judged by": judged_by, **errors}
