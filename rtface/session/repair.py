"""Making a session whole again after a crash, a power cut or a bad disk.

What cannot be used is set aside, never thrown away: a file that changes is kept as
``<name>.damaged``. What is gone is put on record: a frame keeps its place and loses its pixels.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from rtface.ring import NONE_WORD
from rtface.session import layout
from rtface.session.events import Event, EventWriter, encode_event, is_growing, read_events
from rtface.session.layout import FRAME_COLUMNS, FRAME_ROW, Status
from rtface.session.records import (
    HEADER_BYTES,
    Column,
    RecordFile,
    decode_header,
    encode_header,
    intact,
    row_dtype,
    seal,
)
from rtface.session.verify import Progress, chunks, count_camera, expected_parts, record_files
from rtface.session.video import count_frames, rewrite
from rtface.types import UserError

_PIECE = 4096
#: frames in a row that may be missing before the file is taken for nonsense
MOST_MISSING = 1_000_000


def repair(folder: Path, progress: Progress = lambda _: None) -> list[str]:
    """Repair a session in place and return what was done, one line each; nothing if it was whole.

    May be repeated; what was not touched keeps its bytes.

    Raises
    ------
    UserError
        There is no session, it is still being recorded, or the disk refuses.
    """
    about = layout.read_about(folder)
    if is_growing(folder / layout.EVENTS):
        raise UserError(f"{folder}: is still being recorded; stop that first")
    done: list[str] = []
    told = {"session": about.session, "recording": about.recording}
    try:
        for name, kind, columns in record_files(about):
            progress(name)
            done += _repair_records(folder / name, kind, told, columns)
        for camera in about.cameras:
            progress(camera)
            done += _repair_parts(folder, camera)
            done += _repair_frames(folder, camera)
        done += _repair_events(folder, about, done)
    except OSError as error:
        raise UserError(f"{folder}: cannot be repaired ({error.strerror or error})") from None
    return done


def _set_aside(path: Path) -> None:
    """Keep what is about to be replaced, under the first free name."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    os.link(path, aside)


def _replace(path: Path, pieces: Iterator[bytes]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        _set_aside(path)
    os.replace(part, path)


def _repair_records(
    path: Path, kind: str, told: dict[str, str], columns: tuple[Column, ...]
) -> Iterator[str]:
    """Cut off a torn end, drop damaged records, and write a new header where it is damaged."""
    size = row_dtype(columns).itemsize
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except FileNotFoundError:
        head = b""
    try:
        about, found = decode_header(head)
        sound = about["kind"] == kind and row_dtype(found).itemsize == size
    except (ValueError, KeyError):
        sound = False
    n_good = n_bad = tail = 0
    if path.exists():
        for raw in _pieces(path, size):
            good = intact(raw, size)
            n_good += int(good.sum())
            n_bad += int((~good).sum())
        tail = max(0, path.stat().st_size - HEADER_BYTES) % size
    if sound and not n_bad and not tail:
        return
    header = head if sound else encode_header(kind, dict(told), columns)

    def kept() -> Iterator[bytes]:
        yield header
        for raw in _pieces(path, size) if path.exists() else ():
            good = intact(raw, size)
            yield b"".join(raw[i * size : (i + 1) * size] for i in np.flatnonzero(good))

    _replace(path, kept())
    if not sound:
        yield f"{path.name}: wrote a new header, {n_good} records were good"
    if n_bad or tail:
        yield f"{path.name}: set {n_bad} damaged records and {tail} torn bytes aside"


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while raw := file.read(_PIECE * size):
            yield raw


def _repair_parts(folder: Path, camera: str) -> Iterator[str]:
    """Give video files that broke off an index and a length."""
    for wanted, path in expected_parts(folder, camera).values():
        n = count_frames(path)
        if 0 < n < wanted:
            part = path.with_name(f"{path.name}.part")
            rewrite(path, part)
            if count_frames(part) == n:
                _set_aside(path)
                os.replace(part, path)
                yield f"{path.name}: broke off, {n} frames are in it"
            else:
                part.unlink()


def _repair_frames(folder: Path, camera: str) -> Iterator[str]:
    """Give every frame a record, and mark those that are not in the video."""
    path = folder / layout.frames_name(camera)
    held = {p: count_frames(at) for p, (_, at) in expected_parts(folder, camera).items()}
    with RecordFile(path) as file:
        rows = _Rows(file, held)
        for _ in rows:
            pass
        missing, absent = rows.missing, rows.absent
        if missing or absent:
            header = encode_header("frames", _told(file), FRAME_COLUMNS)
            _replace(path, chain([header], _Rows(file, held)))
            yield (
                f"{path.name}: {missing} frames have no record, {absent} are not in the video: "
                "now on record"
            )


class _Rows:
    """The records of a frames file as they should be, and what was wrong with them."""

    def __init__(self, file: RecordFile, held: dict[int, int]) -> None:
        self._file, self._held = file, held
        self.missing = self.absent = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield every record, also of frames that had none."""
        last: int | None = None
        for chunk in chunks(self._file):
            values: list[list[int]] = chunk.tolist()
            for row in values:
                if last is not None and not last < row[0] <= last + MOST_MISSING:
                    raise UserError(
                        f"{self._file.path}: frame_seq goes from {last} to {row[0]}, which no "
                        "recorder writes; the file cannot be repaired"
                    )
                yield from self._before(row[0], last)
                last = row[0]
                part, index, status = row[-4:-1]
                if status == Status.IN_VIDEO and index >= self._held.get(part, 0):
                    self.absent += 1
                    status = Status.NOT_WRITTEN
                yield seal(FRAME_ROW.pack(*row[:-2], status))

    def _before(self, seq: int, last: int | None) -> Iterator[bytes]:
        for gone in range(seq if last is None else last + 1, seq):
            self.missing += 1
            words = [NONE_WORD] * (len(FRAME_COLUMNS) - 4)
            yield seal(FRAME_ROW.pack(gone, *words, -1, -1, Status.NOT_WRITTEN))


def _told(file: RecordFile) -> dict[str, str]:
    return {k: v for k, v in file.about.items() if k not in ("version", "kind", "columns")}


def _repair_events(folder: Path, about: layout.About, done: list[str]) -> Iterator[str]:
    """Drop damaged lines and write the event that closes the session."""
    path = folder / layout.EVENTS
    events, damaged = read_events(path) if path.exists() else ([], 0)
    if damaged:
        _replace(path, map(encode_event, events))
        yield f"{path.name}: set {damaged} damaged lines aside"
    ended = any(event.kind == "ended" for event in events)
    if ended and not done and not damaged:
        return
    counts = {camera: count_camera(folder, camera) for camera in about.cameras}
    why = "repaired" if ended else "broken off"
    writer = EventWriter(path)
    now = time.perf_counter_ns()
    fields = {"done": done[:50], "repaired_unix_ns": time.time_ns()}
    writer.write(Event("repaired", now, fields))
    writer.write(Event("ended", now, {"why": why, "cameras": counts}))
    os.fsync(writer.fileno())
    writer.close()
    if not ended:
        yield f"{path.name}: wrote the event that closes the session"
