"""Whether a session is whole: every record, every frame of the video, every count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.session import layout
from rtface.session.events import is_growing, read_events
from rtface.session.layout import Status
from rtface.session.records import Column, RecordFile, Records
from rtface.session.video import count_frames
from rtface.types import UserError

CHUNK = 4096
#: told after each piece of work: which file
Progress = Callable[[str], None]


class Finding(NamedTuple):
    """Something that is not as it should be: in which file, and what."""

    file: str
    what: str


def record_files(about: layout.About) -> Iterator[tuple[str, str, tuple[Column, ...]]]:
    """Yield (name, kind, columns) of every record file that a session has."""
    yield layout.CLOCK, "clock", layout.CLOCK_COLUMNS
    for name, camera in about.cameras.items():
        columns = layout.result_columns(len(camera.keypoints))
        yield layout.results_name(name), "results", columns
        yield layout.frames_name(name), "frames", layout.FRAME_COLUMNS


def chunks(file: RecordFile) -> Iterator[Records]:
    """Yield all records of an undamaged file, some thousands at a time."""
    for start in range(0, len(file), CHUNK):
        yield file[start : start + CHUNK]


def count_camera(folder: Path, camera: str) -> dict[str, int]:
    """Return the counts that stand in ``ended``, counted from undamaged files."""
    status = np.zeros(len(Status), np.int64)
    lost, last, n_frames, n_results = 0, None, 0, 0
    with RecordFile(folder / layout.frames_name(camera)) as frames:
        for chunk in chunks(frames):
            n_frames += len(chunk)
            known = chunk["status"].clip(0, len(Status) - 1)
            status += np.bincount(known, minlength=len(Status))
    with RecordFile(folder / layout.results_name(camera)) as results:
        for chunk in chunks(results):
            n_results += len(chunk)
            seq = chunk["seq"]
            steps = np.diff(seq if last is None else np.concatenate([[last], seq]))
            lost += int((steps - 1).sum())
            last = seq[-1]
    kinds = {s.name.lower(): int(status[s]) for s in Status if status[s]}
    return {"frames": n_frames, **kinds, "results": n_results, "results_lost": lost}


def verify(folder: Path, progress: Progress = lambda _: None) -> list[Finding]:
    """Return all that is wrong with a session; nothing if it is whole.

    Reads every record; counts the frames of the video without decoding them.

    Raises
    ------
    UserError
        There is no session, or its ``session.json`` cannot be used.
    """
    about = layout.read_about(folder)
    found: list[Finding] = []
    for name, _, _ in record_files(about):
        progress(name)
        found += _verify_records(folder / name)
    found += _verify_events(folder)
    if found:  # what the records say cannot be relied on
        return found
    for camera in about.cameras:
        progress(layout.frames_name(camera))
        found += _verify_order(folder, camera)
        for part, (wanted, path) in sorted(expected_parts(folder, camera).items()):
            progress(path.name)
            if (n := count_frames(path)) < wanted:
                found.append(Finding(path.name, f"part {part} holds {n} of {wanted} frames"))
    found += _verify_counts(folder, about)
    return found


def _verify_records(path: Path) -> Iterator[Finding]:
    try:
        file = RecordFile(path)
    except UserError as error:
        yield Finding(path.name, str(error).removeprefix(f"{path}: "))
        return
    with file:
        if bad := file.damaged():
            yield Finding(path.name, f"{len(bad)} damaged records, the first is number {bad[0]}")
        if torn := file.torn_bytes():
            yield Finding(path.name, f"{torn} bytes of a record that was not finished")


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
    elif not any(event.kind == "ended" for event in events):
        yield Finding(path.name, "recording broke off: the event 'ended' is missing")


def _verify_order(folder: Path, camera: str) -> Iterator[Finding]:
    for name, key, steps_of_one in (
        (layout.frames_name(camera), "frame_seq", True),
        (layout.results_name(camera), "frame_seq", False),
    ):
        last = None
        with RecordFile(folder / name) as file:
            for chunk in chunks(file):
                values = chunk[key] if last is None else np.concatenate([[last], chunk[key]])
                steps = np.diff(values)
                if (steps < 1).any() or (steps_of_one and (steps != 1).any()):
                    yield Finding(name, f"{key} does not go on from record to record")
                    break
                last = values[-1]


def expected_parts(folder: Path, camera: str) -> dict[int, tuple[int, Path]]:
    """Return how many frames each part of the video should have, by the records, and its path."""
    wanted: dict[int, int] = {}
    with RecordFile(folder / layout.frames_name(camera)) as file:
        for chunk in chunks(file):
            held = chunk[chunk["status"] == Status.IN_VIDEO]
            for part in np.unique(held["video_part"]).tolist():
                last = int(held["video_index"][held["video_part"] == part].max())
                wanted[part] = max(wanted.get(part, 0), last + 1)
    return {part: (n, folder / layout.video_name(camera, part)) for part, n in wanted.items()}


def _verify_counts(folder: Path, about: layout.About) -> Iterator[Finding]:
    ended = [e for e in read_events(folder / layout.EVENTS)[0] if e.kind == "ended"]
    told: dict[str, Any] = ended[-1].fields.get("cameras", {}) if ended else {}
    for camera in about.cameras:
        said = {k: v for k, v in told.get(camera, {}).items() if k != "waiting"}
        counted = count_camera(folder, camera)
        if said != counted:
            yield Finding(layout.EVENTS, f"{camera}: 'ended' says {said}, the files {counted}")
