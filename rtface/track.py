"""The tracker process: newest frame in, one result out, on the rings and on the wire."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from rtface import __version__, child, wire
from rtface.ages import AgeHistogram
from rtface.config import Rig, parse_rig
from rtface.engine import make_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.null import NullEngine, NullEstimator
from rtface.exposure import Exposed, FrameTimer, Timing
from rtface.face import FaceFinder
from rtface.facemap_pose import FacemapEstimator, facemap_estimator
from rtface.percentiles import Normaliser
from rtface.platform import SLEPT_NS, Wake, suspended_ns
from rtface.pose import PoseEstimator, finder_for
from rtface.publish import Publisher
from rtface.ring import CLOSED, RUNNING
from rtface.rings import FrameRingReader, ResultRingWriter
from rtface.signals import Stage, motion_stage
from rtface.timing import timing_of
from rtface.types import (
    CAUSES,
    BBox,
    CameraInfo,
    Engine,
    Flag,
    Float32Array,
    Frame,
    Image,
    Ledger,
    Lost,
    Pose,
    Result,
    Signals,
    Stamp,
    UserError,
)

REPORT_EVERY_NS = 1_000_000_000
IDLE_WAKE_S = 0.05


class Tracker:
    """Turns frames into poses with a ledger. Sees no socket and no ring; its clock is given.

    Parameters
    ----------
    estimator : callable
        Gets an image and how many frame periods have passed since the one before.
    timing : Timing
    clock : callable
    motion, pupil : Stage, optional
        What else is computed of every frame.

    Attributes
    ----------
    tracked : int
        Frames that were tracked.
    skipped : int
        Frames passed over for newer ones.
    timer : FrameTimer
        Finds when frames were exposed.
    """

    def __init__(
        self,
        estimator: Callable[[Image, int], Pose],
        timing: Timing,
        clock: Callable[[], int] = time.perf_counter_ns,
        motion: Stage | None = None,
        pupil: Stage | None = None,
    ) -> None:
        self._estimate = estimator
        self._motion, self._pupil = motion, pupil
        self._signals: dict[str, Float32Array] = {}
        for stage in (motion, pupil):
            self._signals |= stage.signals if stage else {}
        self._period_ns = timing.period_ns
        self.timer = FrameTimer(timing)
        self._clock = clock
        self._next_seq = 0
        self._lost = Lost()
        self._segment: int | None = None
        self._frame_id = self._exposure_ns = self._exposure_err_ns = 0
        self.tracked = 0
        self.skipped = 0

    def __call__(self, frame: Frame) -> tuple[Ledger, Pose, Signals]:
        """Track one frame; every frame between the last one and this is counted as skipped.

        The signals are overwritten by the next call.
        """
        t_read_ns = self._clock()
        passed_over = frame.frame_seq - self._next_seq
        lost = sum(frame.lost) - sum(self._lost)
        pose = self._estimate(frame.image, 1 + passed_over + lost)
        t_infer_ns = self._clock()
        stamp = frame.stamp
        exposed = self.timer(stamp)
        flags = exposed.flags
        if not pose.face:
            flags |= Flag.NO_FACE.value
        if passed_over:
            flags |= Flag.SKIPPED.value
        if stamp.segment != self._segment:
            flags |= Flag.FIRST.value
        if frame.lost != self._lost:
            flags |= _gap_flags(self._lost, frame.lost)
        consecutive = self._right_before(stamp, exposed)
        self._segment, self._lost = stamp.segment, frame.lost
        self._next_seq = frame.frame_seq + 1
        self.skipped += passed_over
        self.tracked += 1
        t_motion_ns = t_pupil_ns = t_infer_ns
        if self._motion:
            flags |= self._motion(frame.image, pose, consecutive)
            t_motion_ns = t_pupil_ns = self._clock()
        if self._pupil:
            flags |= self._pupil(frame.image, pose, consecutive)
            t_pupil_ns = self._clock()
        t_done_ns = self._clock()
        if t_done_ns - stamp.t_host_ns > self._period_ns:
            flags |= Flag.PAST_FRAME_BUDGET.value
        ledger = Ledger(
            frame.frame_seq,
            stamp.segment,
            stamp.frame_id,
            stamp.t_camera_ns,
            stamp.t_host_ns,
            t_read_ns,
            t_infer_ns,
            t_motion_ns,
            t_pupil_ns,
            t_pupil_ns,  # no rules yet: that stage takes no time
            t_done_ns,
            exposed.exposure_ns,
            exposed.exposure_err_ns,
            exposed.time_source,
            sum(frame.lost),
            self.skipped,
            flags,
        )
        return ledger, pose, self._signals

    def _right_before(self, stamp: Stamp, exposed: Exposed) -> bool:
        """Return whether the last tracked frame was the exposure right before this one.

        Ids that follow each other are not enough: a camera that waits for triggers counts on.
        """
        apart_ns = exposed.exposure_ns - self._exposure_ns
        within_ns = self._period_ns // 2 + exposed.exposure_err_ns + self._exposure_err_ns
        follows = stamp.segment == self._segment and stamp.frame_id == self._frame_id + 1
        self._frame_id = stamp.frame_id
        self._exposure_ns, self._exposure_err_ns = exposed.exposure_ns, exposed.exposure_err_ns
        return follows and abs(apart_ns - self._period_ns) <= within_ns

    def finish(self, n_frames: int) -> None:
        """Count what came after the last tracked frame of ``n_frames`` as skipped."""
        self.skipped += n_frames - self._next_seq
        self._next_seq = n_frames


def _gap_flags(before: Lost, now: Lost) -> int:
    """Return the flags of a result after frames that acquisition never got, with the causes."""
    flags = Flag.CAMERA_GAP.value
    for cause, old, new in zip(CAUSES, before, now, strict=True):
        if new > old:
            flags |= cause.value
    return flags


def face_mode(rig: Rig, camera: str, bundle: Bundle) -> str:
    """Return how the part of the frame to track is chosen: ``bbox``, ``follow``, ``hold``, ``off``.

    A network that was trained on whole frames gets them, whatever ``face`` says.
    """
    section = rig.camera[camera]
    if section.bbox:
        return "bbox"
    return section.face if bundle.crop else "off"


def estimator_for(
    rig: Rig, camera: str, bundle: Bundle, engine: Engine, info: CameraInfo
) -> PoseEstimator | FacemapEstimator | NullEstimator:
    """Return what turns frames of this camera into poses; UserError if its bbox does not fit."""
    section = rig.camera[camera]
    bbox = BBox(*section.bbox) if section.bbox else None
    if bbox and not bbox.fits(info.height, info.width):
        raise UserError(
            f"camera.{camera}.bbox: {list(bbox)} reaches beyond the frame of "
            f"{info.width}x{info.height} px; make it smaller"
        )
    whole = BBox(0, 0, info.width, info.height)
    if isinstance(engine, NullEngine):
        return NullEstimator(engine, bbox or whole)
    shape, mode = (info.height, info.width), face_mode(rig, camera, bundle)
    if made := facemap_estimator(bundle.normalisation, engine, shape, bbox):
        return made
    finder = finder_for(bundle.crop, engine, shape, mode, bbox, info.rate_hz)
    frames = max(1.0, section.normalise_s * info.rate_hz)
    normaliser = Normaliser(section.normalise, frames)
    return PoseEstimator(engine, shape, info.bits, bbox, finder, normaliser)


def describe(
    rig: Rig,
    camera: str,
    session: str,
    bundle: Bundle,
    info: CameraInfo,
    motion: Stage | None = None,
) -> dict[str, Any]:
    """Return the fields of ``meta.<camera>.``: what is needed to decode and interpret."""
    lengths = dict(motion.lengths) if motion else {}
    return {
        "session": session,
        "rtface": __version__,
        "rig": rig.name,
        "camera": {"name": camera, "kind": rig.camera[camera].kind, **info._asdict()},
        "keypoints": list(bundle.names),
        "skeleton": [list(edge) for edge in bundle.skeleton],
        "face": face_mode(rig, camera, bundle),
        "model": {"name": bundle.name, "sha256": bundle.sha256, "runtime": rig.engine.runtime},
        "units": {"keypoints": "px of the full frame, x right, y down, centres at integers"},
        "clock": "perf_counter_ns of the machine that runs rtface",
        "signals": lengths,
        "motion": motion and motion.about(),
        "topics": [
            wire.pose_topic(camera),
            wire.fast_topic(camera),
            *wire.signal_topics(camera, lengths),
        ],
    }


def run(line: child.Line) -> None:
    """Track one camera until its ring closes or the supervisor says stop."""
    job = line.job
    rig, camera = parse_rig(job["rig"], "rig"), job["camera"]
    bundle = load_bundle(rig.engine.bundle)
    engine = make_engine(bundle, rig.engine.runtime, rig.engine.threads)
    frames = _wait_for_ring(camera, job["session"], line)
    if frames is None:
        return
    info = frames.info
    estimator = estimator_for(rig, camera, bundle, engine, info)
    motion = motion_stage(rig.camera[camera].motion, camera, info)
    tracker = Tracker(estimator, timing_of(rig, camera, info), motion=motion)
    meta = describe(rig, camera, job["session"], bundle, info, motion)
    lengths = meta["signals"]
    publisher = Publisher(
        camera, job["session"], meta, rig.stream.host, rig.data_port(camera), lengths
    )
    try:
        results = ResultRingWriter(
            camera, len(bundle.names), rig.ring.results_s, info.rate_hz, meta, lengths
        )
        try:
            results.ring.set_state(RUNNING)
            line.report("ready", model=bundle.name, runtime=rig.engine.runtime)
            _loop(line, frames, tracker, estimator.finder, results, publisher, Wake(job["wake"]))
        finally:
            results.close()
    finally:
        publisher.close()
        frames.close()


def _wait_for_ring(camera: str, session: str, line: child.Line) -> FrameRingReader | None:
    """Return the ring of this run; the supervisor decides how long that may take."""
    while not line.stopping:
        with contextlib.suppress(FileNotFoundError):
            frames = FrameRingReader(camera)
            if frames.session == session:
                return frames
            frames.close()  # left by a run that is just ending
        time.sleep(0.01)
    return None


def _loop(
    line: child.Line,
    frames: FrameRingReader,
    tracker: Tracker,
    finder: FaceFinder | None,
    results: ResultRingWriter,
    publisher: Publisher,
    wake: Wake,
) -> None:
    total, recent = AgeHistogram(), AgeHistogram()
    last = -1
    report_due_ns = time.perf_counter_ns() + REPORT_EVERY_NS
    cpu_start = time.process_time()
    asleep_ns = suspended_ns()

    def counts() -> dict[str, Any]:
        return {
            "tracked": tracker.tracked,
            "skipped": tracker.skipped,
            "laps": frames.ring.laps,
            "subscribers": publisher.subscribers,
            "cpu_s": time.process_time() - cpu_start,
            "face": finder and finder.about(),
            "clock": {**tracker.timer.state(), "suspended_s": suspended_ns() * 1e-9},
        }

    child.quiet_memory()
    while not line.stopping:
        # read the state before looking for frames: a ring closed after that look has no more
        closed = frames.ring.state == CLOSED
        frame = frames.newest(last)
        if frame is not None:
            ledger, pose, signals = tracker(frame)
            last = frame.frame_seq
            seq = results.write(ledger, pose, signals)
            publisher.send(Result(seq, ledger, pose, signals))
            age_ns = ledger.t_done_ns - ledger.t_host_ns
            total.add(age_ns)
            recent.add(age_ns)
        elif closed:
            break
        publisher.tend()
        now = time.perf_counter_ns()
        if now >= report_due_ns:
            report_due_ns = now + REPORT_EVERY_NS
            results.ring.beat()
            if suspended_ns() - asleep_ns > SLEPT_NS:  # device clocks went on, or did not
                asleep_ns = suspended_ns()
                tracker.timer.restart()
            line.report("counts", **counts(), age=recent.summary(), n=recent.n)
            recent.clear()
        if frame is None:
            wake.wait(IDLE_WAKE_S)  # last: nothing stands between the wake and the frame
    tracker.finish(frames.ring.head + 1)
    line.report("counts", **counts(), total_age=total.summary())
    line.report("done")


if __name__ == "__main__":
    child.main(run)
