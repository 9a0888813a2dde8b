"""Tables of what ``_accuracy.py`` measured, and the page that they stand in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _accuracy import PARTS, AtRest, Judged, pick

from rtface.train import measures, predictions
from rtface.train.data import FOLDS, KEYPOINTS
from rtface.train.predictions import Predicted

#: keypoints on a smooth outline
OUTLINE = ("nose(top)", "nose(tip)", "nose(bottom)", "mouth", "lowerlip", "eye(top)", "eye(bottom)")
CERTAINTY = "What a score above 0.9 is worth"
Rows = list[dict[str, Any]]


def tables(judged: Judged) -> dict[str, Rows]:
    """Return the tables by title."""
    return {
        "Facemap's mouse, second video": _video(judged),
        "The Schroeder lab's animals, each left out": _animals(judged),
        "Across and along the outline": _outline(judged),
        CERTAINTY: _certainty(judged),
        "At rest, as if at 500 frames/s": at_rest(judged.rest),
    }


def of_part(values: np.ndarray, part: str, middle: Callable[..., Any]) -> float:
    """Return the mean over a part's labelled keypoints of a middle of (N, K) distances."""
    columns = [KEYPOINTS.index(name) for name in PARTS[part]]
    columns = [k for k in columns if np.isfinite(values[:, k]).any()]
    return float(np.mean([middle(values[:, k]) for k in columns])) if columns else float("nan")


def _video(judged: Judged) -> Rows:
    """Return mean px on the stills of the second video, of every fold's network."""
    errors, places = [], []
    for one in judged.folds:
        chosen = one.of(video=True)
        truth = one.said.truth[chosen]
        errors.append(measures.distances(one.said.found[chosen], truth))
        places.append(one.said.found[chosen])
    error = np.mean(errors, 0)
    learned = measures.distances(judged.learned.found, judged.learned.truth)
    averaged = measures.distances(np.mean(places, 0), truth)
    flat = measures.distances(np.broadcast_to(judged.constant, truth.shape), truth)
    rows: Rows = []
    for part in PARTS:
        if part == "pupil":
            continue
        mean = measures.bootstrap(
            lambda at, part=part: of_part(error[at], part, np.nanmean), len(truth)
        )
        row: dict[str, Any] = {
            "part": part,
            "stills": len(truth),
            "mean px (95 %)": str(mean),
            "each network": ", ".join(f"{of_part(e, part, np.nanmean):.1f}" for e in errors),
            "networks averaged px": of_part(averaged, part, np.nanmean),
            "stills it learned px": of_part(learned, part, np.nanmean),
            "constant px": of_part(flat, part, np.nanmean),
        }
        rows.append(row)
    return rows


def _outline(judged: Judged) -> Rows:
    """Return how far the first network is off across and along the outlines, on both videos."""
    first = judged.folds[0]
    said = (judged.learned, pick(first.said, first.of(video=True)))
    rows: Rows = []
    for name in OUTLINE:
        k = KEYPOINTS.index(name)
        row: dict[str, Any] = {"keypoint": name}
        for title, one, across in zip(
            ("learned", "second video"), said, judged.outlines, strict=True
        ):
            error, way = one.found[:, k, :2] - one.truth[:, k], across[:, k]
            row[f"{title}: across, median px"] = float(np.nanmedian(np.abs((error * way).sum(-1))))
            turned = way[:, ::-1] * [1, -1]
            row[f"{title}: along, median px"] = float(
                np.nanmedian(np.abs((error * turned).sum(-1)))
            )
        rows.append(row)
    return rows


def _animals(judged: Judged) -> Rows:
    """Return one row per animal that was left out, and one for all."""
    rows: Rows = []
    for fold, animal in [(None, "all"), *((f, a) for f in judged.folds for a in FOLDS[f.fold])]:
        parts = judged.folds if fold is None else [fold]
        said = predictions.joined([pick(one.said, one.of(video=False)) for one in parts])
        if fold is not None:
            said = pick(said, said.groups == animal)
        if len(said.face) == 0:
            continue
        rows.append(animal_row(animal, said))
    return rows


def animal_row(name: str, said: Predicted) -> dict[str, Any]:
    """Return what stands in a table of animals."""
    error = measures.distances(said.found, said.truth)
    pupil = measures.pupil_error(said.found, said.truth, KEYPOINTS)
    return {
        "animal": name,
        "stills": len(said.face),
        "face found %": 100 * float(said.face.mean()),
        "eyelids median px": of_part(error, "eye", np.nanmedian),
        "nose median px": float(np.nanmedian(error[:, KEYPOINTS.index("nose(tip)")])),
        "pupil points median px": of_part(error, "pupil", np.nanmedian),
        "pupil centre median px": pupil.centre_px,
        "pupil diameter r": f"{pupil.diameter_r:.2f}",
    }


def _certainty(judged: Judged) -> Rows:
    rows: Rows = []
    for name, video in (("schroeder_face", False), ("facemap_g7c1, second video", True)):
        said = predictions.joined([pick(one.said, one.of(video)) for one in judged.folds])
        rows.append(certain_row(name, said))
    return rows


def certain_row(name: str, said: Predicted) -> dict[str, Any]:
    """Return how many points are right, and whether their scores tell which."""
    told = measures.certainty(said.found, said.truth, KEYPOINTS)
    return {
        "set": name,
        "points": told.n,
        "within 5 % of the eye's width, %": 100 * told.right,
        "score above 0.9, %": 100 * told.sure,
        "of those within 5 %, %": 100 * told.sure_and_right,
    }


def at_rest(rest: Mapping[str, AtRest]) -> Rows:
    """Return a row per clip, part and network."""
    rows: Rows = []
    for clip, networks in rest.items():
        for part, names in PARTS.items():
            for network, still in networks.items():
                those = [still[KEYPOINTS.index(name)] for name in names]
                rows.append(
                    {
                        "clip": Path(clip).parts[0],
                        "part": part,
                        "network": network,
                        "jitter px": f"{np.mean([s.jitter_px for s in those]):.2f}",
                        "median speed px/s": float(np.mean([s.speed_px_s for s in those])),
                        "jumps per minute": float(np.mean([s.jumps_per_min for s in those])),
                    }
                )
    return rows


def put(tables: dict[str, Rows], page: Path) -> None:
    """Replace the tables of a page: ``<!-- table: TITLE -->`` and ``<!-- end -->``."""
    text = page.read_text(encoding="utf-8")
    for title, rows in tables.items():
        start = re.escape(f"<!-- table: {title} -->")
        text, n = re.subn(
            rf"({start}\n).*?(<!-- end -->)",
            lambda found, rows=rows: f"{found[1]}\n{markdown(rows)}\n\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
        if n != 1:
            raise SystemExit(f"{page}: has {n} places for the table '{title}', must have one")
    page.write_text(text, encoding="utf-8")


def markdown(rows: Rows) -> str:
    """Return rows of dictionaries as one table."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    right = ["---" if isinstance(rows[0].get(key), str) else "--:" for key in keys]
    lines = ["| " + " | ".join(keys) + " |", "|" + "|".join(right) + "|"]
    for row in rows:
        cells = (f"{v:.1f}" if isinstance(v, float) else str(v) for v in map(row.get, keys))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
