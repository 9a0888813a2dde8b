"""Whether a session is whole: every record, every frame of the video, every count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.session import layout, packets
from rtface.session.events import is_growing, last_ended, read_events
from rtface.session.layout import Status
from rtface.session.records import Column, RecordFile, expect
from rtface.types import UserError

#: told after each piece of work: which file
Progress = Callable[[str], None]


class Finding(NamedTuple):
    """Something that is not as it should be: in which file, and what."""

    file: str
    what: str


def record_files(about: layout.About) -> Iterator[tuple[str, dict[str, Any], tuple[Column, ...]]]:
    """Yield (name, what its header says, columns) of every record file that a session has."""
    told = {"session": about.session, "recording": about.recording}
    yield layout.CLOCK, {"kind": "clock", **told}, layout.CLOCK_COLUMNS
    for name, camera in about.cameras.items():
        columns = layout.result_columns(len(camera.keypoints), about.format, camera.signals)
        yield layout.results_name(name), {"kind": "results", **told, "camera": name}, columns
        frames = {"kind": "frames", **told, "camera": name}
        yield layout.frames_name(name), frames, layout.FRAME_COLUMNS


def expect_of(file: RecordFile, told: dict[str, Any], columns: tuple[Column, ...]) -> None:
    """Raise UserError unless a file is that of this session and has these columns."""
    expect(file, columns)
    for key, value in told.items():
        if file.about.get(key) != value:
            raise UserError(
                f"{file.path}: belongs to another session: its {key} is {file.about.get(key)!r}, "
                f"not {value!r}; put the right file back"
            )


def count_camera(folder: Path, camera: str) -> dict[str, int]:
    """Return the counts that stand in ``ended``, counted from undamaged files."""
    status = np.zeros(len(Status), np.int64)
    lost, last, n_frames, n_results = 0, None, 0, 0
    with RecordFile(folder / layout.frames_name(camera)) as frames:
        for chunk in frames.chunks():
            n_frames += len(chunk)
            known = chunk["status"].clip(0, len(Status) - 1)
            status += np.bincount(known, minlength=len(Status))
    with RecordFile(folder / layout.results_name(camera)) as results:
        for chunk in results.chunks():
            n_results += len(chunk)
            seq = chunk["seq"]
            steps = np.diff(seq if last is None else np.concatenate([[last], seq]))
            lost += int((steps - 1).sum())
            last = seq[-1]
    kinds = {s.name.lower(): int(status[s]) for s in Status if status[s]}
    return {"frames": n_frames, **kinds, "results": n_results, "results_lost": lost}


def verify(folder: Path, progress: Progress = lambda _: None) -> list[Finding]:
    """Return all that is wrong with a session; nothing if it is whole.

    Reads every record, and compares every packet of the video with the checksum that its record
    keeps; decodes nothing.

    Raises
    ------
    UserError
        There is no session, or its ``session.json`` cannot be used.
    """
    about = layout.read_about(folder)
    found: list[Finding] = []
    for name, told, columns in record_files(about):
        progress(name)
        found += _verify_records(folder / name, told, columns)
    found += _verify_events(folder)
    if found:  # what the records say cannot be relied on
        return found
    for camera in about.cameras:
        progress(layout.frames_name(camera))
        found += _verify_order(folder, camera)
        if found:
            return found
        for path, wanted in layout.parts_of(folder, camera):
            progress(path.name)
            n = sum(
                packets.usable(
                    layout.places_of(wanted), packets.scan(path, about.cameras[camera].shape)
                )
            )
            if n < len(wanted):
                found.append(Finding(path.name, f"{len(wanted) - n} frames are damaged or missing"))
    found += _verify_counts(folder, about)
    return found


def _verify_records(
    path: Path, told: dict[str, Any], columns: tuple[Column, ...]
) -> Iterator[Finding]:
    try:
        with RecordFile(path) as file:
            expect_of(file, told, columns)
            if bad := file.damaged():
                what = f"{len(bad)} damaged records, the first is number {bad[0]}"
                yield Finding(path.name, what)
            if torn := file.torn_bytes():
                yield Finding(path.name, f"{torn} bytes of a record that was not finished")
    except UserError as error:
        yield Finding(path.name, str(error).removeprefix(f"{path}: "))


def _verify_events(folder: Path) -> Iterator[Finding]:
    path = folder / layout.EVENTS
    try:
        events, damaged = read_events(path)
    except UserError as error:
        yield Finding(path.name, str(error).removeprefix(f"{path}: "))
        return
    if damaged:
        yield Finding(path.name, f"{damaged} damaged lines")
    if is_growing(path):
        yield Finding(path.name, "is still being recorded")
    elif last_ended(events) is None:
        yield Finding(path.name, "recording broke off: the event 'ended' is missing")


def _verify_order(folder: Path, camera: str) -> Iterator[Finding]:
    """Whether frames and results follow each other, and results are of frames that are there."""
    ends: dict[str, tuple[int, int]] = {}
    for name, gaps in ((layout.frames_name(camera), False), (layout.results_name(camera), True)):
        last = None
        with RecordFile(folder / name) as file:
            for chunk in file.chunks():
                seq = chunk["frame_seq"]
                steps = np.diff(seq if last is None else np.concatenate([[last], seq]))
                if (steps < 1).any() or (not gaps and (steps != 1).any()):
                    yield Finding(name, "frame_seq does not go on from record to record")
                    return
                first = ends.get(name, (int(seq[0]), 0))[0]
                last = int(seq[-1])
                ends[name] = first, last
    frames, results = (ends.get(f(camera)) for f in (layout.frames_name, layout.results_name))
    if results and not (frames and frames[0] <= results[0] <= results[1] <= frames[1]):
        yield Finding(layout.results_name(camera), "holds results of frames that have no record")


def _verify_counts(folder: Path, about: layout.About) -> Iterator[Finding]:
    ended = last_ended(read_events(folder / layout.EVENTS)[0])
    told = ended.fields.get("cameras") if ended else None
    for camera in about.cameras:
        said = told.get(camera) if isinstance(told, dict) else None
        counted = count_camera(folder, camera)
        if said != counted:
            yield Finding(layout.EVENTS, f"{camera}: 'ended' says {said}, the files {counted}")
