"""Sessions from rings: begun, ended in order, and the disk watched. Sees no supervisor."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from rtface import __version__
from rtface.beside import Beside
from rtface.config import RecordSection, Rig
from rtface.event_ring import EventRingReader
from rtface.ring import CLOSED
from rtface.rings import FrameRingReader, ResultRingReader
from rtface.session import layout
from rtface.session.video import VideoWriter, sync
from rtface.session.writer import CameraWriter, SessionWriter, this_machine

SECOND_NS = 1_000_000_000
#: how long results of the last frame are waited for, s
RESULTS_WAIT_S = 1.0
#: without a supervisor there is this long to write what is still in the rings, s
GRACE_S = 5.0
#: half of that has passed: stamps alone from here on, so that the session is closed in time
HURRY_NS = int(GRACE_S / 2 * SECOND_NS)
SYNC_WAIT_S = 1.0
MEGABYTE = 1 << 20

Rings = dict[str, tuple[FrameRingReader, ResultRingReader]]


class Begin(NamedTuple):
    """What a session is called."""

    subject: str = ""
    name: str = ""


class Recorder:
    """Starts and ends sessions and keeps watch over the disk. Belongs to one thread.

    Parameters
    ----------
    rings : dict
        Frame and result ring of every camera.
    events : dict
        The event ring of every camera that has rules.
    root : Path
        Where sessions' folders are made.
    """

    def __init__(
        self,
        rig: Rig,
        run: str,
        root: Path,
        rings: Rings,
        events: Mapping[str, EventRingReader] = MappingProxyType({}),
    ) -> None:
        metas = {name: results.ring.description for name, (_, results) in rings.items()}
        self._beside = Beside(rig, metas, events)
        self._rig, self._run, self._root, self._rings = rig, run, root, rings
        self._settings: RecordSection = rig.record
        self._session: SessionWriter | None = None
        self._ending_ns: int | None = None
        self._ending_why = ""
        self._due_ns = 0
        self._warned = False
        self._free_before = sys.maxsize
        self._syncer = ThreadPoolExecutor(1, "fsync")
        self._syncing: Future[None] | None = None
        #: why recording cannot go on, for the status
        self.fault: str | None = None
        self.last_counts: dict[str, Any] = {}
        self.folder: Path | None = None
        #: sessions closed so far
        self.n_sessions = 0

    @property
    def recording(self) -> bool:
        """Whether a session is open and takes in frames."""
        return self._session is not None and self._ending_ns is None

    @property
    def ending(self) -> bool:
        """Whether a session is waiting for its last frames and results."""
        return self._ending_ns is not None

    def begin(self, order: Begin, t_host_ns: int) -> None:
        """Start a session with the first frame delivered at ``t_host_ns`` or later."""
        if self._session is not None:
            return
        if self._free() < self._settings.stop_free_mb * MEGABYTE:
            self.fault = self._full()
            return
        unix_ns = time.time_ns() - (time.perf_counter_ns() - t_host_ns)
        name = layout.folder_name(unix_ns, order.subject, order.name)
        try:
            folder = _new_folder(self._root, name)
            about = self._about(order, t_host_ns, unix_ns)
            told = {"session": about.session, "recording": about.recording}
            writers = {
                camera: self._writer(folder, camera, {**told, "camera": camera}, t_host_ns)
                for camera in self._rings
            }
            self._session = SessionWriter(folder, about, writers)
        except OSError as error:
            self.fault = f"{self._root}: cannot record there ({error.strerror or error})"
            return
        self.folder, self.fault, self._warned, self._due_ns = folder, None, False, 0
        with self._disk():
            self._beside.begin(self._session, t_host_ns)

    def _about(self, order: Begin, t_host_ns: int, unix_ns: int) -> layout.About:
        rig = self._rig.model_dump(mode="json")
        return layout.About(
            format=layout.FORMAT,
            rtface=__version__,
            session=self._run,
            recording=secrets.token_hex(8),
            subject=order.subject,
            name=order.name,
            **this_machine(),
            began_host_ns=t_host_ns,
            began_unix_ns=unix_ns,
            rig=rig,
            rig_sha256=layout.digest(rig),
            cameras={
                name: layout.CameraAbout(
                    **frames.info._asdict(),
                    video=self._settings.video,
                    meta=self._beside.meta(name, results.ring.description),
                )
                for name, (frames, results) in self._rings.items()
            },
        )

    def _writer(
        self, folder: Path, camera: str, told: dict[str, Any], t_host_ns: int
    ) -> CameraWriter:
        frames, results = self._rings[camera]
        settings = self._settings
        video = None
        if settings.video != "none":
            video = VideoWriter(
                folder, camera, frames.info, settings.video, settings.quality, settings.part_s
            )
        first = first_frame(frames, t_host_ns)
        results.skip_to(first_result(results, first))
        return CameraWriter(folder, camera, (frames, results), video, told, first)

    def end(self, why: str, t_host_ns: int) -> None:
        """Take in no frame delivered at ``t_host_ns`` or later; ``turn`` then closes."""
        if self._session is None or self._ending_ns is not None:
            return
        self._ending_ns, self._ending_why = time.perf_counter_ns(), why
        for name, writer in self._session.cameras.items():
            writer.end_with(first_frame(self._rings[name][0], t_host_ns) - 1)

    def hold_at(self, frame_seq: int | None) -> None:
        """Let the first camera's session take no frame after this one, until told again."""
        if self._session is not None:
            next(iter(self._session.cameras.values())).not_beyond = frame_seq

    def annotate(self, text: str, t_host_ns: int) -> None:
        """Put a remark into the open session's events."""
        if self._session is not None:
            with self._disk():
                self._session.event("annotation", t_host_ns, text=text)

    def exposure(self, order: dict[str, Any], t_host_ns: int) -> None:
        """Note that a camera exposes for another time, in this session and in those to come."""
        with self._disk():
            self._beside.exposure(self._session, order, t_host_ns)

    def masks(self, order: dict[str, Any], t_host_ns: int) -> None:
        """Keep masks that were made in the run, in this session and in those to come."""
        with self._disk():
            self._beside.masks(self._session, order["camera"], order, t_host_ns)

    def turn(self) -> bool:
        """Do what there is to do; False if that was nothing."""
        session = self._session
        if session is None:
            self._beside.take(None)
            return False
        busy = False
        with self._disk():
            busy = session.turn()
            self._beside.take(session)
            now = time.perf_counter_ns()
            if now >= self._due_ns:
                self._due_ns = now + SECOND_NS
                session.pair_clocks()
                self._watch_disk(session)
                self._sync(session)
            if self._ending_ns is not None and self._all_in(session, now - self._ending_ns):
                self._close(self._ending_why)
        return busy

    def _all_in(self, session: SessionWriter, waited_ns: int) -> bool:
        """Whether nothing more is to be expected of the session that is ending."""
        done = True
        for name, writer in session.cameras.items():
            results_end = self._rings[name][1].ring.state == CLOSED
            late = results_end or waited_ns > RESULTS_WAIT_S * SECOND_NS
            done &= writer.complete or (writer.frames_taken and late)
        return done

    def finish(self, orphaned: bool) -> None:
        """End the open session with all that is in the rings, and return once it is closed."""
        deadline = time.perf_counter_ns() + int(0.5 * SECOND_NS)
        while orphaned and self._session and time.perf_counter_ns() < deadline:
            # the others have noticed too and are ending: their last results are still coming
            rings = [ring for pair in self._rings.values() for ring in pair]
            if all(ring.ring.state == CLOSED for ring in rings):
                break
            if not self.turn():
                time.sleep(0.005)
        self.hold_at(None)
        self.end("supervisor gone" if orphaned else "stopped", sys.maxsize)
        began_ns = time.perf_counter_ns()
        while (session := self._session) is not None:
            writers = session.cameras.values()
            for writer in writers:
                writer.hurry = time.perf_counter_ns() - began_ns > HURRY_NS
            if not self.turn() and all(writer.frames_taken for writer in writers):
                break  # nobody is left who would write another result
        self._close("supervisor gone" if orphaned else "stopped")
        self._syncer.shutdown()

    def _close(self, why: str) -> None:
        session = self._session
        if session is None:
            return
        if self._syncing is not None:
            # its descriptors are about to be closed; a disk that hangs is not waited for for ever
            with contextlib.suppress(OSError, TimeoutError):
                self._syncing.result(SYNC_WAIT_S)
        with contextlib.suppress(OSError):  # said again, or not, when it is closed
            self._beside.take(session, last=True)
        self._session, self._ending_ns, self._syncing = None, None, None
        self.last_counts = session.counts()
        try:
            session.close(why)
        except OSError as error:
            self.fault = self.fault or _write_fault(session.folder, error)
        sync(session.folder)
        self.last_counts = session.counts()
        self.n_sessions += 1

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """End the session in order if the disk refuses to take any more."""
        try:
            yield
        except OSError as error:
            session = self._session
            if session is not None:
                self.fault = _write_fault(session.folder, error)
                self._close("disk error")

    def _free(self) -> int:
        """Return the bytes that are free; as before where a disk (of a network) does not say now.

        Whether it takes what is written is seen by writing.
        """
        with contextlib.suppress(OSError):
            self._free_before = shutil.disk_usage(self._root).free
        return self._free_before

    def _full(self) -> str:
        return (
            f"{self._root}: less than record.stop_free_mb = {self._settings.stop_free_mb} MB are "
            "free: recording stopped, the stream goes on; make room and start again"
        )

    def _watch_disk(self, session: SessionWriter) -> None:
        free = self._free()
        if free < self._settings.stop_free_mb * MEGABYTE:
            if self._ending_ns is None:
                self.fault = self._full()
                self.end("disk full", sys.maxsize)
        elif free < self._settings.warn_free_mb * MEGABYTE and not self._warned:
            self._warned = True
            session.event("disk_low", free_bytes=free)

    def _sync(self, session: SessionWriter) -> None:
        """Have the disk keep what was written, in another thread; never two at a time."""
        if self._syncing is None or self._syncing.done():
            self._syncing = self._syncer.submit(_sync_all, *session.open_files())

    def counts(self) -> dict[str, Any]:
        """Return what the status says about recording."""
        session = self._session
        free = self._free()
        return {
            "state": "recording" if self.recording else "ending" if session else "waiting",
            "folder": str(self.folder) if self.folder else None,
            "seconds": (time.perf_counter_ns() - session.began_ns) / 1e9 if session else 0.0,
            "sessions": self.n_sessions,
            "free_mb": free // MEGABYTE,
            "disk_low": free < self._settings.warn_free_mb * MEGABYTE,
            "fault": self.fault,
            "cameras": session.counts() if session else self.last_counts,
            "events_lost": self._beside.lost,
        }


def _write_fault(folder: Path, error: OSError) -> str:
    return f"{folder}: cannot be written ({error.strerror or error}); the stream goes on"


def _new_folder(root: Path, name: str) -> Path:
    """Make a folder that was not there, with a number behind its name if need be."""
    for number in range(1, 1000):
        folder = root / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise FileExistsError(0, f"there are 1000 sessions called {name}")


def _sync_all(descriptors: list[int], paths: list[Path]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # the next write says what is wrong
            os.fsync(descriptor)
    for path in paths:
        sync(path)


def first_frame(frames: FrameRingReader, t_host_ns: int) -> int:
    """Return the first ``frame_seq`` in the ring that was delivered at ``t_host_ns`` or later."""
    seq = frames.ring.head
    while seq >= frames.ring.oldest:
        record = frames.record(seq)
        if record is None or record.t_host_ns < t_host_ns:
            break
        seq -= 1
    return seq + 1


def first_result(results: ResultRingReader, frame_seq: int) -> int:
    """Return the first result in the ring that is of ``frame_seq`` or a later frame."""
    seq = results.ring.head
    while seq >= results.ring.oldest:
        result = results.read(seq)
        if result is None or result.ledger.frame_seq < frame_seq:
            break
        seq -= 1
    return seq + 1
