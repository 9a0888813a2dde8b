"""Writing one session: the records, events and video of all its cameras, from their rings."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtface.ring import NONE_WORD
from rtface.rings import FrameRecord, FrameRingReader, ResultRingReader
from rtface.session import layout
from rtface.session.events import Event, EventWriter
from rtface.session.layout import FRAME_COLUMNS, FRAME_ROW, Status
from rtface.session.records import RecordWriter
from rtface.session.video import Placed, VideoWriter

#: frames taken in one turn, so that orders and other cameras are not kept waiting
FRAMES_PER_TURN = 20
RESULTS_PER_TURN = 500
#: once this part of the ring is waiting, only stamps are kept until that part is
BEHIND, CAUGHT_UP = 0.75, 0.25


class CameraWriter:
    """Records one camera into a session's folder. Belongs to one thread.

    Every frame gets a record. When the recorder is late by three quarters of the ring it keeps
    stamps without pixels until only a quarter is waiting: one gap instead of many.

    Parameters
    ----------
    first : int
        The first ``frame_seq`` to record.
    """

    def __init__(
        self,
        folder: Path,
        camera: str,
        rings: tuple[FrameRingReader, ResultRingReader],
        video: VideoWriter | None,
        about: dict[str, Any],
        first: int,
    ) -> None:
        self._frames, self._results = rings
        self._video = video
        self._room = self._frames.ring.n_slots - 2
        self._behind = False
        self.first = self._next = first
        #: the last frame to record, once that is known
        self.last: int | None = None
        #: a frame that is not to be passed yet: whether the next is wanted is not known
        self.not_beyond: int | None = None
        #: the newest frame whose result was recorded or passed over
        self.tracked_to = first - 1
        self.n_results = 0
        self.by_status = dict.fromkeys(Status, 0)
        #: results between two recorded ones that were gone from the ring
        self.results_lost = 0
        self._last_seq: int | None = None
        #: keep stamps alone from now on: there is little time left
        self.hurry = False
        self._frame_file = RecordWriter(
            folder / layout.frames_name(camera), "frames", about, FRAME_COLUMNS
        )
        self._result_file = RecordWriter(
            folder / layout.results_name(camera),
            "results",
            about,
            layout.result_columns(self._results.n_keypoints, lengths=self._results.signal_lengths),
        )

    def turn(self) -> bool:
        """Record what has come; whether there was anything."""
        done = self._take_frames() + self._take_results()
        # stamps before pixels: a frame in the video is always known
        self._frame_file.flush()
        self._result_file.flush()
        if self._video:
            self._video.flush()
        return done > 0

    def end_with(self, frame_seq: int) -> None:
        """Take nothing after this frame, or after what was taken already."""
        self.last = max(frame_seq, self._next - 1)

    def _take_frames(self) -> int:
        head = self._frames.ring.head
        for limit in (self.last, self.not_beyond):
            head = head if limit is None else min(head, limit)
        waiting = head - self._next + 1
        self._behind = waiting > (CAUGHT_UP if self._behind else BEHIND) * self._room
        at_most = FRAMES_PER_TURN * 10 if self._behind else FRAMES_PER_TURN
        stop = min(self._next + at_most, head + 1)
        began = self._next
        for seq in range(began, stop):
            self._take_frame(seq)
            self._next = seq + 1
        return self._next - began

    def _take_frame(self, seq: int) -> None:
        status, placed = Status.NO_VIDEO, Placed(-1, -1, -1)
        record: FrameRecord | None
        if self._video is None or self._behind or self.hurry:
            record = self._frames.record(seq)
            status = Status.BEHIND if self._video else Status.NO_VIDEO
        elif taken := self._frames.take(seq):
            record, image = taken
            placed = self._video.encode(image, record.t_host_ns)
            status = Status.IN_VIDEO
        else:
            record = None
        words: list[int] = [NONE_WORD] * len(FrameRecord._fields)
        if record is None:
            status = Status.OVERWRITTEN
        else:
            words = list(record)
        self._frame_file.append(FRAME_ROW.pack(seq, *words, *placed, status))
        self.by_status[status] += 1

    def _take_results(self) -> int:
        done = 0
        results = self._results.new(RESULTS_PER_TURN)
        for result in results:
            seq, ledger = result.seq, result.ledger
            if ledger.frame_seq < self.first:
                done += 1
                continue
            if ledger.frame_seq >= self._next:  # its frame comes first
                self._results.skip_to(seq)
                if self.last is not None and ledger.frame_seq > self.last:
                    self.tracked_to = self.last
                return done
            done += 1
            if self._last_seq is not None:
                self.results_lost += seq - self._last_seq - 1
            self._last_seq = seq
            self._result_file.append(layout.pack_result(result))
            self.n_results += 1
            self.tracked_to = ledger.frame_seq
        return done

    @property
    def complete(self) -> bool:
        """Whether every frame and result up to ``last`` was taken."""
        return self.last is not None and self.frames_taken and self.tracked_to >= self.last

    @property
    def frames_taken(self) -> bool:
        """Whether every frame up to ``last`` was taken."""
        return self.last is not None and self._next > self.last

    def counts(self) -> dict[str, Any]:
        """Return what was recorded so far."""
        return {
            "frames": self._next - self.first,
            **{status.name.lower(): n for status, n in self.by_status.items() if n},
            "results": self.n_results,
            "results_lost": self.results_lost,
            "waiting": self._frames.ring.head - self._next + 1,
        }

    def descriptors(self) -> Iterator[int]:
        """Yield the descriptors of the record files."""
        yield self._frame_file.fileno()
        yield self._result_file.fileno()

    def video_path(self) -> Path | None:
        """Return the part being written, if there is a video."""
        return self._video.path() if self._video else None

    def close(self) -> None:
        """Close the files; raises OSError after having tried each."""
        with contextlib.ExitStack() as stack:
            for file in (self._frame_file, self._result_file):
                stack.callback(file.close)
                stack.callback(os.fsync, file.fileno())
            if self._video:
                stack.callback(self._video.close)
            stack.callback(self._result_file.flush)
            stack.callback(self._frame_file.flush)


def write_about(folder: Path, about: layout.About) -> None:
    """Write ``session.json`` whole or not at all."""
    part = folder / (layout.ABOUT + ".part")
    with part.open("xb") as file:
        file.write(layout.encode_about(about))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / layout.ABOUT)


class SessionWriter:
    """Records all cameras of a run into one folder. Belongs to one thread.

    Raises
    ------
    OSError
        From any method that writes: the disk refused.
    """

    def __init__(self, folder: Path, about: layout.About, cameras: dict[str, CameraWriter]) -> None:
        self.folder = folder
        self.cameras = cameras
        self.began_ns = about.began_host_ns
        told = {"session": about.session, "recording": about.recording}
        self._events = EventWriter(folder / layout.EVENTS)
        write_about(folder, about)  # from here on it is a session, and the lock says it grows
        self._clock = RecordWriter(folder / layout.CLOCK, "clock", told, layout.CLOCK_COLUMNS)
        self.event("began", about.began_host_ns)
        self.pair_clocks()

    def event(self, kind: str, t_host_ns: int | None = None, **fields: Any) -> None:
        """Append an event, of now unless said otherwise."""
        when = time.perf_counter_ns() if t_host_ns is None else t_host_ns
        self._events.write(Event(kind, when, fields))

    def pair_clocks(self) -> None:
        """Append a reading of both clocks of the machine."""
        before = time.perf_counter_ns()
        unix = time.time_ns()
        after = time.perf_counter_ns()
        self._clock.append(layout.CLOCK_ROW.pack((before + after) // 2, unix, after - before))
        self._clock.flush()

    def turn(self) -> bool:
        """Record what has come; whether there was anything."""
        busy = [camera.turn() for camera in self.cameras.values()]
        return any(busy)

    def counts(self) -> dict[str, Any]:
        """Return what was recorded so far, by camera."""
        return {name: camera.counts() for name, camera in self.cameras.items()}

    def final_counts(self) -> dict[str, Any]:
        """Return the counts that stand in ``ended``, by camera."""
        counts = self.counts()
        for one in counts.values():
            del one["waiting"]
        return counts

    def open_files(self) -> tuple[list[int], list[Path]]:
        """Return the descriptors and paths of what is being written."""
        descriptors = [self._events.fileno(), self._clock.fileno()]
        for camera in self.cameras.values():
            descriptors += camera.descriptors()
        paths = [camera.video_path() for camera in self.cameras.values()]
        return descriptors, [path for path in paths if path]

    def close(self, why: str) -> None:
        """Close everything and write ``ended`` last; raises OSError after having tried each."""
        with contextlib.ExitStack() as stack:
            for file in (self._events, self._clock):
                stack.callback(file.close)
                stack.callback(os.fsync, file.fileno())
            stack.callback(lambda: self.event("ended", why=why, cameras=self.final_counts()))
            for camera in self.cameras.values():
                stack.callback(camera.close)


def this_machine() -> dict[str, str]:
    """Return the host's name and its boot id, which says whether two times can be compared."""
    from rtface import platform

    return {"host": socket.gethostname(), "boot_id": platform.boot_id().hex()}
