"""The model card: what a network was made from and how far off it is, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rtface.train.score import PEAKS, Scoring

_INTRO = """\
# Model card: mouse-face-side

Finds {n} keypoints of a mouse's face seen from the side, one grey picture at a time: twelve of
Facemap's (in its order, without nose(r), nosebridge and paw, which nobody labelled) and four on the
pupil. Made by `python bench/accuracy.py --ship`, which also wrote this page.

| | |
|---|---|
| input | 256x192 uint8: a crop about the face, found by rtface ([how](../../../docs/face.md)) |
| normalisation | 1st percentile of the crop to 0, 99th to 1 |
| output | x, y in px of the input and a score from 0 to 1, decoded inside the network's file |
| score | {score} |
| network | 8x8/4 patch stem, dense 3x3 convolutions; heat map, offsets and spread at stride 8 |
| licence | BSD-3-Clause (code and weights) |

## What it is for

Following the nose, mouth, eye, pupil and whisker pad of one head-fixed mouse, side view, infrared,
and as a start for a network of your own rig. Check it on frames of your own rig before a result
depends on it. It is not made for views from above or below, for several animals, or for close-ups
of the eye.
"""

_CREDITS = """\
## Data and credits

- `facemap_g7c1` (MIT): stills of Facemap's demo recording, one awake head-fixed mouse. Footage of
  the Stringer and Pachitariu labs; stills and labels from AnnaStuckert/ViT_facemap. Rows in which
  the labeller slipped by one point are left out.
- `schroeder_face` (MIT): stills of 16 head-fixed mice, one of them facing right. Footage and labels
  of the Schroeder lab, from sorenorm/facemap.
- synthetic faces (BSD-3-Clause): rendered by `rtface.camera.face`, exact labels, seeds from 1000
  on; those below 1000 are kept for demos and tests.

No frame of these recordings is in this repository, nothing under GPL was trained on, and no
pretrained weights were used. Facemap: Syeda et al. 2024, Nature Neuroscience.
"""

_WEAK = """\
## Known weaknesses

- Nose top and bottom, mouth, lower lip and whiskers were labelled on one mouse only; on any other
  animal they rest on synthetic faces and on that mouse. Nobody measured them there, and their
  scores there are those of the points that were measured.
- nose(tip) of the Schroeder stills is another lab's "nose"; the two are close, not the same.
- whisker(II) is bimodal in the labels (two whiskers were confused). All whisker points are places
  on the pad; the network does not follow single whiskers.
- A shut eye, visible light, a paw or spout before the face, or a close-up of the eye: the score
  falls and the points lie where they may.
- Labels were placed by hand, by one person per set; where an eyelid ends is a matter of taste, and
  what two people would differ by was not measured.
"""


def model_card(
    training: Mapping[str, Any],
    names: Sequence[str],
    tables: Mapping[str, str],
    scoring: Scoring,
) -> str:
    """Return ``MODEL_CARD.md``.

    Parameters
    ----------
    training : mapping
        What the weights saw, of ``Workshop.about``.
    names : sequence of str
        The keypoints.
    tables : mapping
        Text by title, in their order.
    scoring : Scoring
        What the scores are made of.
    """
    score = (
        "the heat map's peak, not a chance"
        if scoring == PEAKS
        else "the chance that the point is within 5 % of the eye's width of its place"
    )
    parts = [_INTRO.format(n=len(names), score=score), _saw(training), _left_out(training["fold"])]
    parts += [f"### {title}\n\n{text}" for title, text in tables.items()]
    return "\n\n".join(part.strip() for part in [*parts, _CREDITS, _WEAK]) + "\n"


def _left_out(fold: int | None) -> str:
    beside = (
        "What stands beside, and how it was measured: "
        "[docs/accuracy.md](../../../docs/accuracy.md)."
    )
    if fold is not None:
        return (
            "## How far off it is on what it never saw\n\n"
            "These very weights, on one video and on a quarter of the animals, which they never "
            f"saw. {beside}"
        )
    return (
        "## How far off it is on what it never saw\n\n"
        "Of networks made by the same recipe, each without one video and a quarter of the animals. "
        f"The shipped weights saw those too, and their own figures on them would flatter. {beside}"
    )


def _saw(training: Mapping[str, Any]) -> str:
    first, last = training["synthetic"]
    shared, together, milder = (training[stage] for stage in ("shared", "together", "last"))
    return (
        "## What the weights saw\n\n"
        f"- {training['stills'][0]} stills of {', '.join(training['facemap_g7c1'])}\n"
        f"- {training['stills'][1]} stills of the animals {', '.join(training['schroeder_face'])}\n"
        f"- synthetic faces of the seeds {first} to {last}\n"
        f"- {shared['steps']} steps of {shared['batch']} pictures without the animals, then "
        f"{together['steps']} and {milder['steps']} steps of {together['batch']} of all (torch "
        f"{training['torch']})"
    )
