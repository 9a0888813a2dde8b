"""A session of a video: every frame tracked, nothing in it that depends on when or where."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from rtface.camera.video import probe
from rtface.config import Rig, parse_rig
from rtface.engine import Started, start_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.estimator import estimator_for
from rtface.many.frames import VideoFrames, fitted_masks
from rtface.many.plan import Job, Outcome
from rtface.many.write import RecordsWriter, about_of, meta_of, write_clock
from rtface.motion.masks import save_masks
from rtface.offline import look_ahead
from rtface.pose import PoseEstimator
from rtface.session import layout
from rtface.session.events import Event, EventWriter, is_growing, last_ended, read_events
from rtface.session.video import sync
from rtface.session.writer import write_about
from rtface.stages.make import Stages, make_stages
from rtface.timing import timing_of
from rtface.tracker import Tracker
from rtface.types import CameraInfo, Flag, Result, UserError

#: told after every frame how many of the video are done
Progress = Callable[[int], None]
#: frames between two writes
_CHUNK = 200
#: how long a worker whose program died may take to notice, s
_LET_GO_S = 3.0
_WHOLE, _BROKE_OFF = "end of the file", "the file broke off"


def done_before(job: Job) -> Outcome | None:
    """Return what is known of a session that is there already; None if there is none.

    Raises
    ------
    UserError
        It is not the session that would be made now.
    """
    folder = Path(job.folder)
    if not folder.exists():
        return None
    if layout.read_about(folder).recording != job.recording:
        raise UserError(
            f"{folder}: was made with another network or rig file; name another --sessions, or "
            "remove it"
        )
    events = read_events(folder / layout.EVENTS)[0]
    ended = last_ended(events)
    if ended is None:
        raise UserError(f"{folder}: is not whole; remove it, and it is made again")
    told = [event.fields["text"] for event in events if event.kind == "annotation"]
    fault = told[-1] if ended.fields["why"] == _BROKE_OFF else ""
    frames = ended.fields["cameras"][job.camera]["frames"]
    return Outcome(job.video, job.folder, frames, fault, True)


def track_video(job: Job, on_progress: Progress = lambda _done: None) -> Outcome:
    """Track every frame of a video into a session, or return what is there already.

    Written into a folder beside it, which becomes the session when it is whole; one that another
    run left is made anew. The same job gives the same bytes, on every machine whose runtime
    rounds alike. Belongs to one thread; one video at a time in a process.

    Raises
    ------
    UserError
        The video cannot be tracked, or its session not be written; one line says why.
    """
    if (before := done_before(job)) is not None:
        return before
    folder = Path(job.folder)
    part = folder.with_name(f".{folder.name}.part")
    try:
        _clear(part)
        part.mkdir(parents=True)
        try:
            outcome = _track(job, part, on_progress)
        except UserError:  # trying again would end the same way
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync(part)
        os.replace(part, folder)
        sync(folder.parent)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return outcome


def _clear(part: Path) -> None:
    """Remove what a run that was killed left; UserError if it is still being written."""
    until = time.monotonic() + _LET_GO_S
    while is_growing(part / layout.EVENTS):
        if time.monotonic() > until:
            raise UserError(f"{part}: is being written by another program; wait for it, or end it")
        time.sleep(0.1)
    if part.exists():
        shutil.rmtree(part)


@lru_cache(maxsize=1)
def _network(
    bundle: str, runtime: str, threads: int, precision: str | None, gpu: int | None
) -> tuple[Bundle, Started]:
    """Return a network that is ready; kept for the next video."""
    found = load_bundle(bundle)
    return found, start_engine(found, runtime, threads, precision, gpu)


def _track(job: Job, part: Path, on_progress: Progress) -> Outcome:
    with ExitStack() as stack:
        # first of all: its lock says that this folder is being written
        events = EventWriter(part / layout.EVENTS)
        stack.callback(events.close)
        rig = parse_rig(job.rig, job.video)
        engine = rig.engine
        bundle, started = _network(
            engine.bundle, engine.runtime, engine.threads, engine.precision, engine.gpu
        )
        info = _info(job, rig)
        estimator = estimator_for(rig, job.camera, bundle, started.engine, info)
        if isinstance(estimator, PoseEstimator):
            look_ahead(estimator, job.video, info.rate_hz)
        stages, note = _stages(job, rig, bundle, info, part)
        about = about_of(job, info, meta_of(job, rig, bundle, info, started, stages))
        writer = RecordsWriter(part, about, job.camera)
        stack.callback(writer.close)
        frames = VideoFrames(job.video, info.rate_hz)
        tracker = Tracker(
            estimator,
            timing_of(rig, job.camera, info),
            clock=lambda: frames.now_ns,
            motion=stages.moving,
            pupil=stages.pupil,
            neural=stages.neural,
        )
        for frame in frames:
            ledger, pose, signals = tracker(frame)
            ledger = ledger._replace(flags=ledger.flags | Flag.OFFLINE.value)
            writer.add(frame, Result(frame.frame_seq, ledger, pose, signals))
            if writer.n % _CHUNK == 0:
                writer.flush()
            on_progress(writer.n)
        writer.flush()
        n, ended_ns = writer.n, frames.now_ns
        write_clock(part, about, ended_ns)
        write_about(part, about)
        events.write(Event("began", 0, {}))
        if note:
            events.write(Event("annotation", 0, {"text": note}))
        if frames.fault:
            events.write(Event("annotation", ended_ns, {"text": frames.fault}))
        counts = {"frames": n, "no_video": n, "results": n, "results_lost": 0}
        why = _BROKE_OFF if frames.fault else _WHOLE
        events.write(Event("ended", ended_ns, {"why": why, "cameras": {job.camera: counts}}))
        os.fsync(events.fileno())
    return Outcome(job.video, job.folder, n, frames.fault, note=note)


def _info(job: Job, rig: Rig) -> CameraInfo:
    """Return what the frames of the video look like; UserError if it has no rate."""
    info = probe(job.video)
    rate_hz = getattr(rig.camera[job.camera], "rate_hz", None) or info.rate_hz
    if rate_hz <= 0:
        raise UserError(
            f'{job.video}: has no frame rate of its own; give one in --rig (kind = "video", '
            "rate_hz)"
        )
    return info._replace(rate_hz=rate_hz)


def _stages(job: Job, rig: Rig, bundle: Bundle, info: CameraInfo, part: Path) -> tuple[Stages, str]:
    """Return the stages, and what differs from what was asked for.

    Their masks go into the session, without which components mean nothing.
    """
    section, note = rig.camera[job.camera], ""
    if section.motion is not None:
        path = part / layout.masks_name(job.camera)
        motion = section.motion
        if motion.masks is None:
            masks, note = fitted_masks(job.video, motion, info)
            if masks:
                save_masks(path, masks)
                motion = motion.model_copy(update={"masks": str(path), "check": False})
        else:
            shutil.copyfile(motion.masks, path)
        section = section.model_copy(update={"motion": motion})
    return make_stages(section, job.camera, bundle.names, info), note
