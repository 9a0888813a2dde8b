"""Rigs, frames and traces that tests of the closed loop share."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtface.pupil.record import FIELDS
from rtface.rules import Decision, Rules, layout_of
from rtface.rules_config import ClosedLoop
from rtface.types import Float32Array, Ledger, Pose, Signals

NAMES = ("nose(tip)", "eye(back)", "eye(front)", "whisker(II)", "left ear")
ABOUT = {
    "motion": {
        "areas": [
            {"name": "full", "motion": 5, "movie": 0},
            {"name": "roi1", "motion": 3, "movie": 2},
        ]
    },
    "running": {"fields": ["dy", "dx", "dy_whole", "dx_whole"]},
    "pupil": {"fields": list(FIELDS)},
}
LAYOUT = layout_of(ABOUT)
START_NS = 10**12
PERIOD_NS = 10_000_000


def rig(when: str = "nose(tip).x > 100 px", signals: dict[str, str] | None = None, **rule: Any):
    """Return a rig of one rule on one dry line."""
    if "python" not in rule:
        rule["when"] = when
    return loop({"puff": {"output": "laser", **rule}}, signals)


def loop(rules: dict[str, Any], signals: dict[str, str] | None = None, **tables: Any) -> ClosedLoop:
    named = {name: {"expr": expr} for name, expr in (signals or {}).items()}
    tables = {"output": {"laser": {"kind": "dry", "light": False}}, **tables}
    return ClosedLoop.model_validate({"signal": named, "rule": rules, **tables})


def make(loop: ClosedLoop, period_s: float = 0.01, **options: Any) -> Rules:
    options = {"seed": 1, "exposure_s": 0.002, **options}
    return Rules(loop, "cam1", ["cam1"], NAMES, LAYOUT, period_s=period_s, **options)


def keypoints(x: float, score: float = 0.9) -> Float32Array:
    """Return five points; the first is at (x, 50)."""
    points = np.array([[10 * i, 50, 0.9] for i in range(len(NAMES))], np.float32)
    points[0] = x, 50, score
    return points


def ledger(
    i: int, period_ns: int = PERIOD_NS, age_ns: int = 3_000_000, flags: int = 0, segment: int = 0
) -> Ledger:
    """Return the ledger of frame ``i``: ``age_ns`` from the exposure to every stage."""
    exposed = START_NS + i * period_ns
    t = exposed + age_ns
    return Ledger(i, segment, i, None, t, t, t, t, t, t, t, exposed, 1000, 1, 0, 0, flags)


def run(
    rules: Rules,
    xs: Any,
    score: Any = 0.9,
    signals: Signals | None = None,
    arm: bool = True,
    period_ns: int = PERIOD_NS,
    age_ns: int = 3_000_000,
    **seen: Any,
) -> list[Decision]:
    """Show frames in which the nose is at ``xs``; return what was decided."""
    if arm:
        rules.arm(START_NS, "test")
    decided = []
    scores = np.broadcast_to(score, len(xs))
    for i, x in enumerate(xs):
        one = ledger(i, period_ns, age_ns)
        each = {key: value[i] for key, value in seen.items()}
        pose = Pose(keypoints(x, float(scores[i])))
        decided += rules(one, pose, signals or {}, one.t_pupil_ns, **each)
    return decided


def fired(decisions: list[Decision]) -> list[int]:
    """Return the frames in which something fired."""
    return [one.frame_seq for one in decisions if one.outcome == "fired"]
