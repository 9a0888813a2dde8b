"""Labels of a DeepLabCut project: ``CollectedData_<scorer>.csv`` or ``.h5``, one animal."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtface.camera.anatomy import KEYPOINTS
from rtface.train.labels.names import match_names
from rtface.train.labels.pictures import Labelled
from rtface.train.labels.validate import validated
from rtface.types import Float32Array, UserError

_ROWS = ("scorer", "bodyparts", "coords")


class _Table(NamedTuple):
    """What both forms hold: (bodypart, coordinate) of every column, paths and values."""

    columns: list[tuple[str, str]]
    pictures: list[tuple[str, ...]]
    values: np.ndarray


def read_csv(
    path: Path, names: Sequence[str] = KEYPOINTS, given: Mapping[str, str] | None = None
) -> list[Labelled]:
    """Return the labelled pictures of a ``CollectedData_<scorer>.csv``; see ``read_labels``."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is not a CSV file in UTF-8 ({error}); save it so") from error
    return _labelled(path, _csv_table(path, rows), names, given)


def read_h5(
    path: Path, names: Sequence[str] = KEYPOINTS, given: Mapping[str, str] | None = None
) -> list[Labelled]:
    """Return the labelled pictures of a ``CollectedData_<scorer>.h5``; see ``read_labels``.

    Needs the extra ``labels``. pandas believes what such a file says, down to pickled objects:
    read only files whose origin is known, or the CSV file beside it.
    """
    try:
        import pandas as pd
        import tables  # noqa: F401 - pandas would say it in four lines
    except ImportError:
        raise UserError(
            f"{path}: reading HDF5 files of DeepLabCut needs pandas and tables; "
            "pip install 'rtface[labels]', or use the CSV file beside it"
        ) from None
    try:
        frame = pd.read_hdf(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    # pandas and tables raise what they like for a damaged file
    except Exception as error:
        raise UserError(
            f"{path}: is not an HDF5 file that DeepLabCut wrote ({_one_line(error)}); use the CSV "
            "file beside it"
        ) from error
    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"{path}: holds no table; is it a CollectedData_*.h5 of DeepLabCut?")
    head = [tuple(map(str, column)) for column in map(_as_tuple, frame.columns)]
    columns = _columns(path, [str(n) for n in frame.columns.names], head)
    pictures = [tuple(map(str, _as_tuple(index))) for index in frame.index]
    try:
        values = frame.to_numpy(np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{path}: holds coordinates that are not numbers; correct them") from None
    return _labelled(path, _Table(columns, pictures, values), names, given)


def project_files(folder: Path) -> list[Path]:
    """Return the files of labels in a project, one per folder of pictures; CSV before H5."""
    root = folder / "labeled-data" if (folder / "labeled-data").is_dir() else folder
    found: dict[Path, Path] = {}
    for pattern in ("CollectedData_*.csv", "CollectedData_*.h5"):
        for path in sorted([*root.glob(pattern), *root.glob(f"*/{pattern}")]):
            here = found.setdefault(path.parent, path)
            if here.stem != path.stem:
                raise UserError(
                    f"{path.parent}: has labels of two scorers, {here.name} and {path.name}; "
                    "name one of the files"
                )
    return sorted(found.values())


def _csv_table(path: Path, rows: list[list[str]]) -> _Table:
    n_rows = 4 if len(rows) > 1 and rows[1][:1] == ["individuals"] else 3
    head = rows[:n_rows]
    # DeepLabCut splits the path into three columns since 2.2
    n_index = 1
    if len(head) == n_rows and all(row[1:3] == ["", ""] for row in head):
        n_index = 3
    width = max((len(row) for row in head), default=0)
    turned = list(zip(*(row[n_index:] for row in head), strict=False))
    columns = _columns(path, [row[0] if row else "" for row in head], turned)
    pictures, values = [], []
    for number, row in enumerate(rows[n_rows:], n_rows + 1):
        if not any(row):
            continue
        if len(row) != width:
            raise UserError(
                f"{path}: line {number} has {len(row)} cells and the header {width}; correct it"
            )
        pictures.append(tuple(row[:n_index]))
        values.append([_number(path, number, text) for text in row[n_index:]])
    return _Table(columns, pictures, np.array(values, float).reshape(len(values), len(columns)))


def _columns(
    path: Path, header: Sequence[str], columns: Sequence[tuple[str, ...]]
) -> list[tuple[str, str]]:
    """Return (bodypart, coordinate) of every column, or say what is wrong with the header."""
    if "individuals" in header:
        raise UserError(
            f"{path}: is of a project with several animals (header row 'individuals'), and rtface "
            "tracks one face; keep one animal's columns and remove that row"
        )
    if tuple(header) != _ROWS:
        why = "; it was saved with semicolons" if header and ";" in header[0] else ""
        raise UserError(
            f"{path}: wrong header: the rows must be {', '.join(_ROWS)}, they are "
            f"{', '.join(h[:20] or '(empty)' for h in header) or '(none)'}{why}; use DeepLabCut's "
            "CollectedData file as it wrote it"
        )
    if any(column[2] == "likelihood" for column in columns):
        raise UserError(
            f"{path}: has a likelihood: it holds what a network found, not labels; "
            "use CollectedData_<scorer>"
        )
    if len(scorers := {column[0] for column in columns}) > 1:
        raise UserError(
            f"{path}: has labels of {len(scorers)} scorers ({', '.join(sorted(scorers))}); "
            "keep one's columns"
        )
    pairs = [column[1:] for column in columns]
    for part in dict.fromkeys(pair[0] for pair in pairs):
        has = [coordinate for name, coordinate in pairs if name == part]
        if sorted(has) != ["x", "y"]:
            raise UserError(
                f"{path}: wrong header: {part!r} has the columns {', '.join(has)} instead of x, y; "
                "correct them"
            )
    return [(name, coordinate) for name, coordinate in pairs]


def _labelled(
    path: Path, table: _Table, names: Sequence[str], given: Mapping[str, str] | None
) -> list[Labelled]:
    parts = list(dict.fromkeys(name for name, _ in table.columns))
    ours = match_names(path, parts, given)
    points = np.full((len(table.pictures), len(names), 2), np.nan, np.float32)
    for part, name in zip(parts, ours, strict=True):
        if name in names:
            for axis, letter in enumerate("xy"):
                column = table.columns.index((part, letter))
                points[:, names.index(name), axis] = table.values[:, column]
    labelled = []
    for words, xy in zip(table.pictures, points, strict=True):
        picture = _picture(path, words)
        folder = picture.parent.name
        labelled.append(Labelled(picture, _own(xy), folder, folder))
    return validated(path, labelled, names)


def _picture(source: Path, words: Sequence[str]) -> Path:
    """Return where a picture is, or, if it is nowhere, where it should be.

    Its path is relative to the project's folder; the file of labels lies in
    ``labeled-data/<video>`` or, merged, deeper in the project. A project is often copied without
    its structure: then the picture may lie beside the file, if the folder is the right one.
    """
    parts = [part for word in words for part in re.split(r"[\\/]", word) if part]
    if not parts:
        raise UserError(f"{source}: a line names no picture; correct its first column")
    here = source.resolve().parent
    guesses = [folder.joinpath(*parts) for folder in (here, *here.parents)]
    if words[0][:1] == "/":
        guesses.insert(0, Path("/", *parts))
    if len(parts) == 1 or parts[-2] == here.name:
        guesses.append(here / parts[-1])
    else:
        guesses.append(here / parts[-2] / parts[-1])
    expected = here.parents[1] if len(here.parents) > 1 else here
    return next((g for g in guesses if g.is_file()), expected.joinpath(*parts))


def _number(path: Path, line: int, text: str) -> float:
    text = text.strip()
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(f"{path}: line {line} has {text!r} where a coordinate belongs; correct it")
    return value


def _own(xy: Float32Array) -> Float32Array:
    return np.array(xy, np.float32)


def _as_tuple(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def _one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
