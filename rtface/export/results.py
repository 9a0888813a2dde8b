"""Results of a camera read piece by piece, and the time of every frame: what exporters share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.ring import NONE_WORD
from rtface.session import CameraSession, Session, layout
from rtface.session.records import RecordFile, Records, expect
from rtface.types import UserError

Int64Array = npt.NDArray[np.int64]


@contextlib.contextmanager
def results_file(folder: Path, camera: CameraSession, filled: bool) -> Iterator[RecordFile]:
    """Open the results of a run, or those that ``rtface replay --recompute --fill`` wrote.

    Raises
    ------
    UserError
        There are no filled results, or the file is not one of this camera.
    """
    path = folder / (f"{camera.name}.filled.rec" if filled else layout.results_name(camera.name))
    if filled and not path.is_file():
        raise UserError(
            f"{path}: is not there; 'rtface replay {folder} --recompute --fill' makes it"
        )
    with RecordFile(path) as file:
        expect(file, [c for c in camera.results.columns if c.name != "crop"])
        yield file


class Times(NamedTuple):
    """When the frames of a camera were exposed.

    Attributes
    ----------
    first : int
        ``frame_seq`` of the first; the others follow without gaps.
    exposure_ns : ndarray (N,) int64
        Midpoints in the rig's clock, ns: the tracker's where a frame was tracked, else by the
        camera's clock between the tracked ones around it; where that cannot be, its delivery less
        what lay between the two for those. -2^63: not known.
    """

    first: int
    exposure_ns: Int64Array

    def of(self, records: Records) -> Int64Array:
        """Return the times (M,) of results: their own, or those of frames that were filled in."""
        at = np.clip(records["frame_seq"] - self.first, 0, len(self.exposure_ns) - 1)
        return np.where(records["seq"] >= 0, records["exposure_ns"], self.exposure_ns[at])


def times_of(frames: RecordFile, results: RecordFile) -> Times:
    """Return the times of all frames; 60 bytes of memory for each while it works."""
    n = len(frames)
    if not n:
        return Times(0, np.zeros(0, np.int64))
    first = int(frames[0:1]["frame_seq"][0])
    host, camera, segment, exposure = np.full((4, n), NONE_WORD, np.int64)
    at = 0
    for rows in frames.chunks():
        part = slice(at, at + len(rows))
        host[part], camera[part] = rows["t_host_ns"], rows["t_camera_ns"]
        segment[part] = rows["segment"]
        at += len(rows)
    for rows in results.chunks():
        own = rows[(rows["seq"] >= 0) & (rows["frame_seq"] - first < n)]
        exposure[own["frame_seq"] - first] = own["exposure_ns"]
    delivered = host != NONE_WORD
    known = exposure != NONE_WORD
    without = np.flatnonzero(delivered & ~known)
    both = np.flatnonzero(delivered & known)
    if not (both.size and without.size):
        exposure[without] = host[without]
        return Times(first, exposure)
    exposure[without] = _between(without, both, host, exposure)
    # a frame is passed over when something stood still, and then its delivery is late
    timed = np.flatnonzero(delivered & known & (camera != NONE_WORD))
    here = np.searchsorted(timed, without)
    inside = (here > 0) & (here < len(timed)) & (camera[without] != NONE_WORD)
    own, here = without[inside], here[inside]
    same = (segment[timed[here - 1]] == segment[own]) & (segment[timed[here]] == segment[own])
    exposure[own[same]] = _between(own[same], timed, camera, exposure)
    return Times(first, exposure)


def _between(at: Int64Array, seen: Int64Array, clock: Int64Array, times: Int64Array) -> Int64Array:
    """Return times of frames by a clock, whose lead over them is known of others and drifts."""
    if not len(at):
        return at
    lead = clock[seen] - times[seen]
    drift = np.interp(at, seen, (lead - lead[0]).astype(float))  # small: floats hold it to 1 ns
    found: Int64Array = clock[at] - lead[0] - drift.astype(np.int64)
    return found


def by_frame(frames: RecordFile, results: RecordFile) -> Iterator[tuple[Records, Records]]:
    """Yield frames, some at a time, and the results of those; both grow by ``frame_seq``."""
    pieces = results.chunks()
    waiting = next(pieces, None)
    for start in range(0, len(frames), results.chunk):
        rows = frames[start : start + results.chunk]
        last = rows["frame_seq"][-1]
        found = []
        while waiting is not None:
            here = int(np.searchsorted(waiting["frame_seq"], last, side="right"))
            found.append(waiting[:here])
            waiting = waiting[here:]
            if len(waiting):
                break
            waiting = next(pieces, None)
        yield rows, np.concatenate(found) if found else results[0:0]


@contextlib.contextmanager
def put_in_place(
    path: Path, remedy: str = "check the folder and the space there"
) -> Iterator[Path]:
    """Give a file to write beside ``path``, which it becomes when all went well.

    Raises
    ------
    UserError
        The disk refuses.
    """
    # the ending stays: libraries look at it
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{path}: cannot be written ({why}); {remedy}") from None


def camera_of(session: Session, name: str) -> CameraSession:
    """Return a camera of a session; UserError if it has none of that name."""
    if name not in session.cameras:
        has = ", ".join(session.cameras)
        raise UserError(f"{session.path}: has no camera '{name}', only {has}")
    return session.cameras[name]
