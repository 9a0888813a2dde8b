"""Making a session whole again after a crash, a power cut or a bad disk.

What cannot be used is set aside, never thrown away: a file that is replaced is kept as
``<name>.damaged``. What is gone is put on record: a frame keeps its place and loses its pixels.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rtface.ring import NONE_WORD
from rtface.session import layout, packets
from rtface.session.events import (
    Event,
    EventWriter,
    encode_event,
    is_growing,
    last_ended,
    read_events,
)
from rtface.session.layout import FRAME_COLUMNS, FRAME_ROW, Status
from rtface.session.records import (
    CHUNK_BYTES,
    HEADER_BYTES,
    Column,
    RecordFile,
    decode_header,
    encode_header,
    intact,
    row_dtype,
    seal,
)
from rtface.session.verify import Progress, count_camera, expect_of, record_files
from rtface.types import UserError

#: frames without a record that are put on record, in all; more is a file of nonsense
MOST_MISSING = 1_000_000


def repair(folder: Path, progress: Progress = lambda _: None) -> list[str]:
    """Repair a session in place and return what was done, one line each; nothing if it was whole.

    May be repeated; what was not touched keeps its bytes.

    Raises
    ------
    UserError
        There is no session, it is still being recorded, a file is of another session, or the disk
        refuses.
    """
    about = layout.read_about(folder)
    if is_growing(folder / layout.EVENTS):
        raise UserError(f"{folder}: is still being recorded; stop that first")
    done: list[str] = []
    try:
        for name, told, columns in record_files(about):
            progress(name)
            done += _repair_records(folder / name, told, columns)
        for camera in about.cameras:
            progress(camera)
            shape = about.cameras[camera].shape
            done += _repair_frames(folder, camera, shape)
            done += _repair_parts(folder, camera, shape)
        done += _repair_events(folder, about, done)
    except OSError as error:
        raise UserError(f"{folder}: cannot be repaired ({error.strerror or error})") from None
    finally:
        for left in folder.glob("*.part"):
            left.unlink(missing_ok=True)
    return done


def _set_aside(path: Path) -> None:
    """Keep what is about to be replaced, under the first free name."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copy2(path, aside)


def _replace(path: Path, pieces: Iterable[bytes]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        _set_aside(path)
    os.replace(part, path)


def _repair_records(path: Path, told: dict[str, Any], columns: tuple[Column, ...]) -> Iterator[str]:
    """Cut off a torn end, drop damaged records, and write a new header where it is damaged."""
    size = row_dtype(columns).itemsize
    header = encode_header(columns=columns, **_split(told))
    head = b""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    try:
        decode_header(head)
        sound = True
    except ValueError:
        sound = False
    if sound:
        with RecordFile(path) as file_:
            expect_of(file_, told, columns)  # another session's records are no damage
            if row_dtype(file_.columns).itemsize != size:
                raise UserError(f"{path}: has more columns than this rtface knows; use its own")
    n_good = n_bad = tail = 0
    if path.exists():
        for raw in _pieces(path, size):
            good = intact(raw, size)
            n_good += int(good.sum())
            n_bad += int((~good).sum())
        tail = max(0, path.stat().st_size - HEADER_BYTES) % size
    if sound and not n_bad and not tail:
        return

    def kept() -> Iterator[bytes]:
        yield head if sound else header
        for raw in _pieces(path, size) if path.exists() else ():
            good = intact(raw, size)
            yield b"".join(raw[i * size : (i + 1) * size] for i in np.flatnonzero(good))

    _replace(path, kept())
    if not sound:
        yield f"{path.name}: wrote a new header, {n_good} records were good"
    if n_bad or tail:
        yield f"{path.name}: set {n_bad} damaged records and {tail} torn bytes aside"


def _split(told: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in told.items() if key != "kind"}
    return {"kind": told["kind"], "about": rest}


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while raw := file.read(max(1, CHUNK_BYTES // size) * size):
            yield raw


def _repair_parts(folder: Path, camera: str, shape: tuple[int, int]) -> Iterator[str]:
    """Give video files that broke off an index and a length, if nothing is lost by it."""
    for path, _ in layout.parts_of(folder, camera):
        found = packets.scan(path, shape)
        if not found or packets.has_length(path):
            continue
        part = path.with_name(f"{path.name}.part")
        packets.rewrite(path, part)
        if packets.scan(part, shape) == found:
            _set_aside(path)
            os.replace(part, path)
            yield f"{path.name}: broke off; wrote an index for its {len(found)} frames"


def _repair_frames(folder: Path, camera: str, shape: tuple[int, int]) -> Iterator[str]:
    """Give every frame a record, and mark those whose pixels cannot be had from the video."""
    path = folder / layout.frames_name(camera)
    gone: set[int] = set()
    for video, rows in layout.parts_of(folder, camera):
        good = packets.usable(layout.places_of(rows), packets.scan(video, shape))
        gone |= set(rows["frame_seq"][~np.array(good, bool)].tolist())
    seqs = _result_seqs(folder, camera)
    with RecordFile(path) as file:
        rows_ = _Rows(file, gone, seqs)
        for _ in rows_:
            pass
        if rows_.missing or gone:
            told = {k: v for k, v in file.about.items() if k not in ("version", "kind", "columns")}
            header = encode_header("frames", told, FRAME_COLUMNS)
            _replace(path, chain([header], _Rows(file, gone, seqs)))
            yield (
                f"{path.name}: {rows_.missing} frames have no record, {len(gone)} are not in the "
                "video: now on record"
            )


def _result_seqs(folder: Path, camera: str) -> tuple[int, int] | None:
    """Return the first and last frame that has a result, None without any."""
    with RecordFile(folder / layout.results_name(camera)) as results:
        n = len(results)
        if not n:
            return None
        return int(results[:1]["frame_seq"][0]), int(results[n - 1 :]["frame_seq"][0])


class _Rows:
    """The records of a frames file as they should be: every frame from the first to the last."""

    def __init__(self, file: RecordFile, gone: set[int], results: tuple[int, int] | None) -> None:
        self._file, self._gone, self._results = file, gone, results
        self.missing = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield every record, also of frames that had none."""
        last = self._results[0] - 1 if self._results else None
        for chunk in self._file.chunks():
            values: list[list[int]] = chunk.tolist()
            for row in values:
                seq, status = row[0], row[-2]
                if last is not None:
                    yield from self._between(last + 1, seq)
                last = seq
                if seq in self._gone and status == Status.IN_VIDEO:
                    status = int(Status.NOT_WRITTEN)
                yield seal(FRAME_ROW.pack(*row[:-2], status))
        if self._results and last is not None:
            yield from self._between(last + 1, self._results[1] + 1)

    def _between(self, start: int, stop: int) -> Iterator[bytes]:
        if stop - start + self.missing > MOST_MISSING:
            raise UserError(
                f"{self._file.path}: {stop - start} frames are missing before {stop}, which no "
                "recorder leaves out; the file cannot be repaired"
            )
        for seq in range(start, stop):
            self.missing += 1
            words = [NONE_WORD] * (len(FRAME_COLUMNS) - 5)
            yield seal(FRAME_ROW.pack(seq, *words, -1, -1, -1, Status.NOT_WRITTEN))


def _repair_events(folder: Path, about: layout.About, done: list[str]) -> Iterator[str]:
    """Drop damaged lines, and close the session with counts that are true."""
    path = folder / layout.EVENTS
    events, damaged = read_events(path) if path.exists() else ([], 0)
    if damaged:
        _replace(path, map(encode_event, events))
        yield f"{path.name}: set {damaged} damaged lines aside"
    counts = {camera: count_camera(folder, camera) for camera in about.cameras}
    ended = last_ended(events)
    if ended and ended.fields.get("cameras") == counts:
        return
    writer = EventWriter(path)
    now = time.perf_counter_ns()
    fields = {"done": done[:50], "repaired_unix_ns": time.time_ns()}
    writer.write(Event("repaired", now, fields))
    why = "repaired" if ended else "broken off"
    writer.write(Event("ended", now, {"why": why, "cameras": counts}))
    os.fsync(writer.fileno())
    writer.close()
    yield f"{path.name}: wrote the event that closes the session"
