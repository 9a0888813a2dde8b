"""Which bundles there are, what stands in them, and whether one gives here what it gave there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.engine import make_engine
from rtface.engine.bundle import DEFAULT, Bundle, load_bundle
from rtface.types import UserError

#: rounds over the reference frames that are timed, after one that is not
ROUNDS = 10


class Entry(NamedTuple):
    """A folder with a ``model.json``: its bundle, or the line that says what is wrong with it."""

    folder: Path
    bundle: Bundle | None
    fault: str = ""


class Verified(NamedTuple):
    """What the reference frames gave on this machine.

    Attributes
    ----------
    frames : int
        Reference frames.
    shift_px : float
        Largest shift of a keypoint from where it was when the bundle was made, px of the input.
    score_change : float
        Largest change of a score.
    ms_per_frame : float
        Median time of one inference, ms.
    """

    frames: int
    shift_px: float
    score_change: float
    ms_per_frame: float


def models_dir() -> Path:
    """Return where bundles are kept: ``RTFACE_MODELS``, else a folder in the user's home."""
    named = os.environ.get("RTFACE_MODELS")
    return Path(named) if named else Path.home() / ".rtface" / "models"


def list_bundles(folders: Sequence[Path] = ()) -> list[Entry]:
    """Return the shipped bundle, those in ``models_dir()``, and those at or in ``folders``.

    Raises
    ------
    UserError
        One of ``folders`` is none.
    """
    places = [DEFAULT, *_within(models_dir())]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        places += [folder] if (folder / "model.json").exists() else _within(folder)
    found = []
    for place in dict.fromkeys(place.resolve() for place in places):
        try:
            found.append(Entry(place, load_bundle(place)))
        except UserError as error:
            found.append(Entry(place, None, str(error)))
    return found


def _within(folder: Path) -> list[Path]:
    try:
        return sorted(one.parent for one in folder.glob("*/model.json"))
    except OSError:
        return []


def card(bundle: Bundle) -> list[tuple[str, str]]:
    """Return (what, text) of a bundle's essentials, as its model.json tells them."""
    about = bundle.about
    height, width = bundle.input_shape
    training = about.get("training")
    lines = [
        ("name", bundle.name),
        ("folder", str(bundle.folder)),
        ("keypoints", f"{len(bundle.names)}: {', '.join(bundle.names)}"),
        ("input", f"{width}x{height} px, {bundle.input_dtype}; {_normalised(bundle)}"),
        ("sha256", bundle.sha256),
        ("licence", str(about.get("licence", "not said"))),
        ("training", _told(training) if training else "not said"),
    ]
    if bundle.crop:
        lines.insert(4, ("crop", ", ".join(f"{k} {v:g}" for k, v in bundle.crop._asdict().items())))
    if scores := about.get("scores"):
        lines += [(f"score, {what}", text) for what, text in _scores(scores)]
    if (bundle.folder / "MODEL_CARD.md").exists():
        lines.append(("more", str(bundle.folder / "MODEL_CARD.md")))
    return lines


def _normalised(bundle: Bundle) -> str:
    if bundle.normalisation == "facemap":
        return "Facemap's way: percentiles 1 and 99 of the frame, padded to a square"
    return "percentiles 1 and 99 of its crop"


def _told(training: Any) -> str:
    """Return what is flat in an account of training, in one line."""
    if not isinstance(training, dict):
        return str(training)
    flat = {k: v for k, v in training.items() if isinstance(v, (str, int, float))}
    flat |= {
        k: ",".join(map(str, v))
        for k, v in training.items()
        if isinstance(v, list) and len(v) < 8 and all(isinstance(i, (str, int, float)) for i in v)
    }
    return ", ".join(f"{k} {v}" for k, v in flat.items()) or json.dumps(training)[:200]


def _scores(scores: Any) -> list[tuple[str, str]]:
    """Return (source, median and mean error) of each table of scores in a card."""
    found: list[tuple[str, str]] = []
    if not isinstance(scores, dict):
        return found
    for group, tables in scores.items():
        if isinstance(tables, list):  # of the shipped network: tables as docs/accuracy.md has them
            found += _of_table(str(group), [row for row in tables if isinstance(row, dict)])
        for source, table in tables.items() if isinstance(tables, dict) else ():
            rows = table.get("rows") if isinstance(table, dict) else None
            if not isinstance(rows, list) or not rows:
                continue
            errors = [
                float(row["error_px"])
                for row in rows
                if isinstance(row, dict) and isinstance(row.get("error_px"), (int, float))
            ]
            if errors:
                text = f"mean error {np.median(errors):.1f} px (median of {len(errors)} rows)"
                found.append((f"{source} ({str(group).replace('_', ' ')})", text))
    return found


def _of_table(title: str, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return a table as one line: the first column, and the first that is in px."""
    told = []
    for row in rows:
        label = next(iter(row.values()), "")
        px = next((key for key in row if " px" in key), None)
        if px:
            value = row[px]
            told.append(f"{label} {value:.1f}" if isinstance(value, float) else f"{label} {value}")
    columns = {key for row in rows for key in row if " px" in key}
    first = next((key for key in (rows[0] if rows else {}) if key in columns), "")
    return [(title, f"{first}: {', '.join(told)}")] if told else []


def verify(
    path: str | Path,
    runtime: str = "onnxruntime",
    threads: int = 1,
    precision: str | None = None,
) -> Verified:
    """Run a bundle's reference frames on this machine.

    Raises
    ------
    UserError
        A file is missing, altered or of the wrong shape, the runtime cannot load it, weights are
        not finite, or keypoints moved further than allowed; one line that names the file.
    """
    bundle = load_bundle(path)
    _check_weights(bundle)
    engine = make_engine(bundle, runtime, threads, precision)
    images, scales, shifts, expected = bundle.reference()
    took, shift, change = [], 0.0, 0.0
    for turn in range(ROUNDS + 1):
        for image, scale, offset, keypoints in zip(images, scales, shifts, expected, strict=True):
            start = time.perf_counter()
            found = engine.infer(image, float(scale), float(offset))
            took.append(time.perf_counter() - start)
            if turn:
                continue
            moved = np.abs(found - keypoints).max(0)
            shift, change = max(shift, *moved[:2].tolist()), max(change, float(moved[2]))
    timed = took[len(images) :]
    return Verified(len(images), shift, change, float(np.median(timed)) * 1e3)


def _check_weights(bundle: Bundle) -> None:
    """Look for weights that are not finite, where onnx is installed to look with.

    A rectifier can turn what is not a number into zero, so answers alone do not always show it.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        return
    path = bundle.folder / "model.onnx"
    try:
        graph = onnx.load_from_string(bundle.onnx).graph
    except Exception:  # noqa: BLE001 - whatever onnx raises: the runtime says what is wrong
        return
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(
                f"{path}: {tensor.name}: has weights that are not finite numbers; "
                "export the bundle again"
            )
