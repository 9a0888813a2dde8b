"""Results as tables, one row each: CSV, which everything reads, and Parquet, which is quick."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.export.results import Times, camera_of, put_in_place, results_file, times_of
from rtface.session import CameraSession, Session, layout
from rtface.session.records import Records
from rtface.types import BBox, UserError

Array = npt.NDArray[Any]
#: told rows done and their number
Progress = Callable[[int, int], None]
#: signals with so many columns that they are asked for, and their unit
COMPONENTS = ("motion", "movie")
#: rows of a table that are in memory at a time, at most
_ROWS = 20_000


class Field(NamedTuple):
    """A column: its name, its unit, and how it is taken out of records (M,)."""

    name: str
    unit: str
    take: Callable[[Records], Array]


def fields(
    session: Session, camera: CameraSession, times: Times, components: bool = False
) -> list[Field]:
    """Return the columns of a camera's table.

    ``seq`` and the ledger (int64), ``exposure_unix_ns`` (int64), x, y and score of each keypoint
    (float32), the crop (int32), motion energy, running and pupil (float32), and, if asked for,
    components (float32).
    """
    columns = {column.name: column for column in camera.results.columns}
    plain = [c for c in columns.values() if not c.shape]
    found = [Field(c.name, c.unit, column(c.name)) for c in plain]
    found.append(
        Field(
            "exposure_unix_ns",
            "ns since 1970, UTC",
            lambda rows: session.unix_ns(times.of(rows)),
        )
    )
    for k, name in enumerate(camera.names):
        for axis, (letter, unit) in enumerate((("x", "px"), ("y", "px"), ("score", "0 to 1"))):
            found.append(Field(f"{name}_{letter}", unit, part("keypoints", k, axis)))
    if "crop" in columns:
        for axis, letter in enumerate(BBox._fields):
            found.append(Field(f"crop_{letter}", "px", part("crop", axis)))
    for prefix, key, words in layout.told_columns(camera.about):
        for i, word in enumerate(words):
            unit = columns[key].unit if key != "pupil" else pupil_unit(word)
            found.append(Field(f"{prefix}{word}", unit, part(key, i)))
    for key in COMPONENTS if components else ():
        for i in range(camera.about.signals.get(key, 0)):
            found.append(Field(f"{key}_{i}", "grey levels", part(key, i)))
    return found


def pupil_unit(field: str) -> str:
    """Return the unit of one of the pupil's numbers."""
    ending = field.rpartition("_")[2]
    units = {"px2": "px^2", "px": "px", "rad": "rad", "blink": "grey levels"}
    return units.get(ending, "grey levels" if field == "saturation" else "0 to 1")


def column(name: str) -> Callable[[Records], Array]:
    """Return what takes a column out of records."""
    return lambda rows: rows[name]


def part(name: str, *at: Any) -> Callable[[Records], Array]:
    """Return what takes a part of a column out of records, by indices of its own axes."""

    def take(rows: Records) -> Array:
        found: Array = rows[name][(slice(None), *at)]
        return found

    return take


def _pieces(
    session: Session, name: str, components: bool, filled: bool, on_progress: Progress
) -> Iterator[tuple[list[Field], list[Array]]]:
    """Yield the columns and their values, some rows at a time; the first time without rows."""
    camera = camera_of(session, name)
    with results_file(session.path, camera, filled) as results:
        told = fields(session, camera, times_of(camera.frames, results), components)
        n, done = len(results), 0
        yield told, [field.take(results[0:0]) for field in told]
        step = min(results.chunk, _ROWS)
        for start in range(0, n, step):
            rows = results[start : start + step]
            yield told, [field.take(rows) for field in told]
            done += len(rows)
            on_progress(done, n)


def export_csv(
    session: Session,
    camera: str,
    path: Path,
    components: bool = False,
    filled: bool = False,
    on_progress: Progress = lambda _done, _total: None,
) -> int:
    """Write results as CSV, one row each; return how many.

    Numbers have as many digits as give back the same bits (float32: 9); what is not known is
    ``nan``. What is there is replaced when all is written. From any thread.

    Parameters
    ----------
    session : Session
    camera : str
    path : Path
    components : bool
        Also motion and movie components, hundreds of columns.
    filled : bool
        Take the results that ``rtface replay --recompute --fill`` wrote.
    on_progress : callable
        Told rows done and their number.

    Raises
    ------
    UserError
        No such camera, damaged records, or the disk refuses.
    """
    n = 0
    with put_in_place(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        line = ""
        for told, values in _pieces(session, camera, components, filled, on_progress):
            if not line:
                csv.writer(file, lineterminator="\n").writerow(field.name for field in told)
                line = ",".join("%.9g" if v.dtype.kind == "f" else "%d" for v in values) + "\n"
            n += len(values[0])
            rows = zip(*(column.tolist() for column in values), strict=True)
            file.writelines(line % row for row in rows)
    return n


def export_parquet(
    session: Session,
    camera: str,
    path: Path,
    components: bool = False,
    filled: bool = False,
    on_progress: Progress = lambda _done, _total: None,
) -> int:
    """Write results as Parquet, one row each; return how many.

    The same bits as recorded; units are in the metadata of the columns. Otherwise as
    ``export_csv``.

    Raises
    ------
    UserError
        As ``export_csv``, or pyarrow is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError("Parquet needs pyarrow; pip install 'rtface[export]'") from None
    n, writer = 0, None
    with put_in_place(path) as part:
        try:
            for told, values in _pieces(session, camera, components, filled, on_progress):
                if writer is None:
                    schema = pyarrow.schema(_arrow_fields(pyarrow, told, values))
                    writer = parquet.ParquetWriter(part, schema)
                arrays = [pyarrow.array(np.ascontiguousarray(value)) for value in values]
                if len(values[0]):
                    writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
                n += len(values[0])
        finally:
            if writer is not None:
                writer.close()
    return n


def _arrow_fields(pyarrow: Any, told: Sequence[Field], values: Sequence[Array]) -> list[Any]:
    return [
        pyarrow.field(
            field.name,
            pyarrow.from_numpy_dtype(value.dtype),
            metadata={"unit": field.unit} if field.unit else None,
        )
        for field, value in zip(told, values, strict=True)
    ]
