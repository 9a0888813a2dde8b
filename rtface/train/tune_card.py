"""The model card of a network that somebody tuned: short, and only what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtface.engine.bundle import Bundle
from rtface.train.judge import Judged

_HEAD = """\
# Model card: {name}

{start} (sha256 {sha256}), tuned with `rtface {command}`. {n} keypoints: {names}.

- learned from {learned_from} pictures{groups} and synthetic faces
- {steps} steps of {batch}, learning rate {rate:g}, seed {seed}, torch {torch}
- input, crop and normalisation as of the network it started from
- the weights come from your data and from the network it started from, whose licence holds on:
  {licence}
"""
_WEAK = """\
## What to keep in mind

- It was made for the pictures it learned from; look at pictures of another rig or animal before you
  believe it there.
- What is right here is what {source} say, their habits and slips included.
- Keypoints without labels rest on the network before and on synthetic faces; nobody measured them.
"""


def tune_card(
    name: str,
    start: Bundle,
    names: Sequence[str],
    training: Mapping[str, Any],
    judged: Judged | None,
    how: str,
    source: str,
) -> str:
    """Return ``MODEL_CARD.md``.

    Parameters
    ----------
    name : str
    start : Bundle
        What it was tuned from.
    names : sequence of str
        Its keypoints.
    training : mapping
        As it stands in ``model.json``.
    judged : Judged or None
        None: nothing was held out.
    how : str
        How the held-out pictures were chosen.
    source : str
        Whose labels.
    """
    groups = training.get("groups", [])
    told: dict[str, Any] = {
        **training,
        "name": name,
        "start": start.name,
        "sha256": start.sha256[:12],
        "command": "distill" if "teacher" in training else "train",
        "n": len(names),
        "names": ", ".join(names),
        "groups": f" of {len(groups)} groups" if len(groups) > 1 else "",
        "licence": start.about.get("licence", "not said"),
    }
    head = _HEAD.format(**told)
    return "\n".join([head, _verdict(judged, how), _WEAK.format(source=source)])


def _verdict(judged: Judged | None, how: str) -> str:
    if judged is None:
        return (
            "## How far off it is\n\nNobody knows: every picture was learned from. Train once "
            "without `--all` to see.\n"
        )
    before, after = judged.faces
    lines = [
        "## How far off it is on what it never saw",
        "",
        f"Held out: {how}. A face was found in {100 * after:.0f} % of them ({100 * before:.0f} % "
        "before). px of the picture; *constant* always says the mean label.",
        "",
        "| keypoint | n | mean | median | mean before | median before | constant |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = ("error_px", "median_px", "start_px", "start_median_px", "constant_px")
    for row in judged.rows:
        numbers = " | ".join("-" if row[k] != row[k] else f"{row[k]:.1f}" for k in keys)
        lines.append(f"| {row['name']} | {row['n']} | {numbers} |")
    scores = (
        "Scores were fitted to these pictures"
        if judged.refitted
        else "Scores mean what they meant before; these pictures did not change that"
    )
    return "\n".join([*lines, "", f"{scores}. `pictures/` shows curves and the worst of them.", ""])
