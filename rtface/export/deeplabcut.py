"""Keypoints as DeepLabCut writes them: a CSV with three lines of header, or a table in HDF5.

One row per frame of the video. Columns are scorer, bodyparts (keypoints) and coords: x, y (px, from
the upper left corner) and likelihood (0 to 1).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rtface.export.results import by_frame, camera_of, put_in_place, results_file
from rtface.export.take import placed
from rtface.session import CameraSession, Session
from rtface.session.layout import Status
from rtface.types import Float32Array, UserError

#: under which DeepLabCut keeps its table
KEY = "df_with_missing"
_COORDS = ("x", "y", "likelihood")


def export_deeplabcut(
    session: Session,
    camera: str,
    path: Path,
    filled: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Write keypoints as DeepLabCut's file; return its number of rows.

    Rows are the frames that are in the video, in its order; all frames where there is none.
    Frames that were not tracked are NaN, NaN, 0. What is there is replaced when all is written.

    Parameters
    ----------
    session : Session
    camera : str
    path : Path
        Ends in ``.csv`` or ``.h5``; the second needs pandas and tables.
    filled : bool
        Take the results that ``rtface replay --recompute --fill`` wrote.
    on_progress : callable
        Told frames done and their number.

    Raises
    ------
    UserError
        Another ending, no such camera, damaged records, a missing library, or the disk refuses.
    """
    recording = camera_of(session, camera)
    write = {".csv": _write_csv, ".h5": _write_h5}.get(path.suffix.lower())
    if write is None:
        raise UserError(f"{path}: DeepLabCut's files end in .csv or .h5; name it so")
    with put_in_place(path) as part:
        return write(part, recording, _pieces(session, recording, filled, on_progress))


def scorer(camera: CameraSession) -> str:
    """Return what made the keypoints, as the first line of the header says it."""
    return f"rtface_{camera.about.meta.get('model', {}).get('name', 'unknown')}"


def _pieces(
    session: Session,
    camera: CameraSession,
    filled: bool,
    on_progress: Callable[[int, int], None],
) -> Iterator[Float32Array]:
    """Yield keypoints (M, K, 3) of the frames of the video, some at a time."""
    with_video = any((rows["status"] == Status.IN_VIDEO).any() for rows in camera.frames.chunks())
    done, total = 0, len(camera.frames)
    with results_file(session.path, camera, filled) as results:
        for frames, found in by_frame(camera.frames, results):
            done += len(frames)
            if with_video:
                frames = frames[frames["status"] == Status.IN_VIDEO]
            yield placed(frames["frame_seq"], [found], len(camera.names))[0]
            on_progress(done, total)


def _write_csv(path: Path, camera: CameraSession, pieces: Iterator[Float32Array]) -> int:
    n, columns = 0, 3 * len(camera.names)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["scorer", *[scorer(camera)] * columns])
        writer.writerow(["bodyparts", *(name for name in camera.names for _ in _COORDS)])
        writer.writerow(["coords", *_COORDS * len(camera.names)])
        line = "%d," + ",".join(["%.9g"] * columns) + "\n"
        for keypoints in pieces:
            rows = keypoints.reshape(len(keypoints), columns).tolist()
            for row in rows:
                # nothing between two commas, as pandas writes what is not known
                file.write((line % (n, *row)).replace("nan", ""))
                n += 1
    return n


def _write_h5(path: Path, camera: CameraSession, pieces: Iterator[Float32Array]) -> int:
    try:
        import pandas
        import tables as _tables  # noqa: F401 - pandas says it in many lines
    except ImportError:
        raise UserError(
            "DeepLabCut's HDF5 needs pandas and tables; pip install 'rtface[export]', or name a "
            ".csv"
        ) from None
    columns = pandas.MultiIndex.from_product(
        [[scorer(camera)], camera.names, _COORDS], names=["scorer", "bodyparts", "coords"]
    )
    n = 0

    def table(keypoints: Float32Array) -> Any:
        flat = keypoints.reshape(len(keypoints), -1)
        return pandas.DataFrame(flat, np.arange(n, n + len(flat)), columns)

    with pandas.HDFStore(path, "w") as store:
        for keypoints in pieces:
            if len(keypoints):
                store.append(KEY, table(keypoints), format="table")
                n += len(keypoints)
        if not n:
            store.append(KEY, table(np.zeros((0, len(camera.names), 3), np.float32)))
    return n
