"""What goes into the session of a video."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from rtface import __version__
from rtface.config import Rig
from rtface.engine import Started
from rtface.engine.bundle import Bundle
from rtface.estimator import describe
from rtface.many.plan import Job
from rtface.ring import NONE_WORD
from rtface.rings import FrameRecord
from rtface.session import layout
from rtface.session.layout import CLOCK_ROW, FRAME_ROW, Status
from rtface.session.records import RecordWriter
from rtface.stages.make import Stages
from rtface.types import CameraInfo, Frame, Result

_NO_PLACE = (-1, -1, -1)


class RecordsWriter:
    """Appends frames and their results. Belongs to one thread.

    Raises
    ------
    OSError
        From every method: the disk refused.
    """

    def __init__(self, folder: Path, about: layout.About, camera: str) -> None:
        told = {"session": about.session, "recording": about.recording, "camera": camera}
        recorded = about.cameras[camera]
        self._frames = RecordWriter(
            folder / layout.frames_name(camera), "frames", told, layout.FRAME_COLUMNS
        )
        self._results = RecordWriter(
            folder / layout.results_name(camera),
            "results",
            told,
            layout.result_columns(len(recorded.keypoints), lengths=recorded.signals),
        )
        self._bits = recorded.bits
        #: frames taken
        self.n = 0

    def add(self, frame: Frame, result: Result) -> None:
        """Take a frame and its result; its pixels stay where they are."""
        stamp = frame.stamp
        row = FrameRecord(
            stamp.segment,
            stamp.frame_id,
            NONE_WORD,
            stamp.t_host_ns,
            NONE_WORD,
            NONE_WORD,
            self._bits,
            *(0, 0, 0),
            *frame.lost,
            0,
        )
        self._frames.append(FRAME_ROW.pack(frame.frame_seq, *row, *_NO_PLACE, Status.NO_VIDEO))
        self._results.append(layout.pack_result(result))
        self.n += 1

    def flush(self) -> None:
        """Hand what was taken to the operating system."""
        self._frames.flush()
        self._results.flush()

    def close(self) -> None:
        """Have the disk keep it, and close."""
        for file in (self._frames, self._results):
            os.fsync(file.fileno())
            file.close()


def meta_of(
    job: Job, rig: Rig, bundle: Bundle, info: CameraInfo, started: Started, stages: Stages
) -> dict[str, Any]:
    """Return what the stream would say of itself, and which file it is of (``source``)."""
    path = Path(job.video)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        **describe(rig, job.camera, job.recording, bundle, info, started, stages),
        "clock": "ns since the first frame of the file, by its frame rate",
        "source": {"file": job.video, "bytes": path.stat().st_size, "sha256": sha256},
    }


def about_of(job: Job, info: CameraInfo, meta: dict[str, Any]) -> layout.About:
    """Return ``session.json``: began when the file was last changed, which is all that is known."""
    return layout.About(
        format=layout.FORMAT,
        rtface=__version__,
        session=job.recording,
        recording=job.recording,
        name=Path(job.video).stem[:200],
        boot_id=job.recording,  # its times go with those of no other session
        began_host_ns=0,
        began_unix_ns=max(0, Path(job.video).stat().st_mtime_ns),
        rig=job.rig,
        rig_sha256=layout.digest(job.rig),
        cameras={job.camera: layout.CameraAbout(**info._asdict(), video="none", meta=meta)},
    )


def write_clock(folder: Path, about: layout.About, ended_ns: int) -> None:
    """Write ``clock.rec``: both clocks at the first frame and at the last."""
    told = {"session": about.session, "recording": about.recording}
    clock = RecordWriter(folder / layout.CLOCK, "clock", told, layout.CLOCK_COLUMNS)
    for t_ns in (0, ended_ns):
        clock.append(CLOCK_ROW.pack(t_ns, about.began_unix_ns + t_ns, 0))
    clock.flush()
    os.fsync(clock.fileno())
    clock.close()
