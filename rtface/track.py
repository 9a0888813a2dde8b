"""The tracker process: newest frame in, one result out, on the rings and on the wire."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

from rtface import __version__, child, wire
from rtface.ages import AgeHistogram
from rtface.config import Rig, parse_rig
from rtface.cores import take_fast_cores
from rtface.engine import Started, start_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.keepwarm import KeepWarm
from rtface.engine.null import NullEngine, NullEstimator
from rtface.event_ring import EventRingWriter
from rtface.face import FaceFinder
from rtface.facemap_pose import FacemapEstimator, facemap_estimator
from rtface.loop import Loop
from rtface.motion.masks import load_masks
from rtface.percentiles import Normaliser
from rtface.platform import SLEPT_NS, Wake, suspended_ns
from rtface.pose import PoseEstimator, finder_for
from rtface.publish import Publisher
from rtface.realtime import take_realtime
from rtface.ring import CLOSED, RUNNING
from rtface.rings import FrameRingReader, ResultRingWriter
from rtface.rules.gate import about_whiskers
from rtface.rules_config import rules_of
from rtface.stages.make import Stages, make_stages
from rtface.stages.motion import MotionStage
from rtface.timing import timing_of
from rtface.tracker import Tracker
from rtface.types import (
    SIGNAL_NAMES,
    BBox,
    CameraInfo,
    Engine,
    Flag,
    Ledger,
    Result,
    UserError,
)

REPORT_EVERY_NS = 1_000_000_000
IDLE_WAKE_S = 0.05
#: at the end, how long lines have to say that they are off, s
LAST_WORDS_S = 0.05


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
        if section.normalise != "per frame":
            raise UserError(
                f"camera.{camera}.normalise: '{section.normalise}' is not for a network of "
                "Facemap's, which is normalised as Facemap does; leave it out"
            )
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
    started: Started,
    stages: Stages,
    loop: Loop | None = None,
) -> dict[str, Any]:
    """Return the fields of ``meta.<camera>.``: what is needed to decode and interpret."""
    found = stages.lengths | (loop.lengths if loop else {})
    lengths = {name: found[name] for name in SIGNAL_NAMES if name in found}
    return {
        "session": session,
        "rtface": __version__,
        "rig": rig.name,
        "camera": {"name": camera, "kind": rig.camera[camera].kind, **info._asdict()},
        "keypoints": list(bundle.names),
        "skeleton": [list(edge) for edge in bundle.skeleton],
        "face": face_mode(rig, camera, bundle),
        "model": model_of(bundle, started),
        "units": {"keypoints": "px of the full frame, x right, y down, centres at integers"},
        "clock": "perf_counter_ns of the machine that runs rtface",
        "signals": lengths,
        **stages.about(),
        "whiskers": about_whiskers(
            camera, rig.camera[camera].whiskers, bundle.sha256, bundle.names
        ),
        "rules": loop and loop.about(),
        "topics": [
            wire.pose_topic(camera),
            wire.fast_topic(camera),
            *wire.signal_topics(camera, lengths),
            *([wire.trigger_topic(camera)] if loop else []),
        ],
    }


def model_of(bundle: Bundle, started: Started) -> dict[str, str]:
    """Return what ``meta.`` says of the network; ``chosen`` only where ``auto`` chose."""
    told = {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "runtime": started.runtime,
        "precision": started.precision,
    }
    return told | ({"chosen": started.why} if started.why else {})


def run(line: child.Line) -> None:
    """Track one camera until its ring closes or the supervisor says stop."""
    job = line.job
    rig, camera = parse_rig(job["rig"], "rig"), job["camera"]
    bundle = load_bundle(rig.engine.bundle)
    section = rig.engine
    if section.fast_cores:  # before the runtime starts its threads
        take_fast_cores(rig.busy_threads)
    started = start_engine(bundle, section.runtime, section.threads, section.precision, section.gpu)
    frames = child.frames_of(line, camera)
    if frames is None:
        return
    info = frames.info
    estimator = estimator_for(rig, camera, bundle, started.engine, info)
    stages = make_stages(rig.camera[camera], camera, bundle.names, info)
    loop = None
    if rules_of(rig, camera):
        loop = Loop(rig, camera, bundle.names, info, stages, not job.get("armed"), bundle.sha256)
    with closing(loop) if loop else nullcontext():
        _track(line, rig, camera, bundle, started, estimator, frames, stages, loop)


def _track(
    line: child.Line,
    rig: Rig,
    camera: str,
    bundle: Bundle,
    started: Started,
    estimator: PoseEstimator | FacemapEstimator | NullEstimator,
    frames: FrameRingReader,
    stages: Stages,
    loop: Loop | None,
) -> None:
    """Open the rings and ports that results go to, and track."""
    info, session = frames.info, line.job["session"]
    tracker = Tracker(
        estimator,
        timing_of(rig, camera, info),
        motion=stages.moving,
        pupil=stages.pupil,
        neural=stages.neural,
        before=frames.before,
        loop=loop,
        aside=stages.heavy,
    )
    meta = describe(rig, camera, session, bundle, info, started, stages, loop)
    lengths = meta["signals"]
    # the texts of many rules do not fit a ring's description; the rig file has them
    kept = {**meta, "rules": loop and {"seed": loop.seed, "dry": loop.dry}}
    with ExitStack() as stack:
        stack.callback(frames.close)
        publisher = stack.enter_context(
            closing(
                Publisher(camera, session, meta, rig.stream.host, rig.data_port(camera), lengths)
            )
        )
        events = stack.enter_context(closing(EventRingWriter(camera, session))) if loop else None
        results = stack.enter_context(
            closing(
                ResultRingWriter(
                    camera, len(bundle.names), rig.ring.results_s, info.rate_hz, kept, lengths
                )
            )
        )
        take_realtime(rig.engine.priority)
        results.ring.set_state(RUNNING)
        line.report("ready", model=bundle.name, runtime=started.label)
        if stages.motion and stages.motion.note:
            line.report("note", text=f"camera {camera}: {stages.motion.note}")
        section = rig.camera[camera].motion
        masks_file = section.masks if section else None
        between = _Between(line, stages.motion, loop, publisher, events, meta, info, masks_file)
        wake = Wake(line.job["wake"])
        keep_warm = getattr(started.engine, "keep_warm", None)  # of GPUs
        warmth = KeepWarm(keep_warm, rig.engine.keep_warm_ms)
        _loop(line, frames, tracker, estimator.finder, results, publisher, between, wake, warmth)


class _Between:
    """What the tracker's loop does between frames: orders, masks that came, events of the rules."""

    def __init__(
        self,
        line: child.Line,
        motion: MotionStage | None,
        loop: Loop | None,
        publisher: Publisher,
        events: EventRingWriter | None,
        meta: dict[str, Any],
        info: CameraInfo,
        masks_file: str | None,
    ) -> None:
        self._line, self._motion, self._loop = line, motion, loop
        self._publisher, self._events, self._meta = publisher, events, meta
        self._shape = info.height, info.width
        # with the first frame that is good enough: before, silence is no fault
        self._arming = bool(line.job.get("armed"))
        self._orders = 0  # to arm or disarm, heard
        #: where the masks lie
        self._path: str | None = masks_file

    def state(self) -> dict[str, Any]:
        """Return what the status says: the masks' identity, the rules."""
        motion = self._meta["motion"]
        return {
            "masks": motion["masks"] if motion else None,
            "masks_file": self._path,
            "loop": self._loop and self._rules(self._loop),
        }

    def _rules(self, loop: Loop) -> dict[str, Any]:
        state = loop.state()
        arms_itself = self._arming or state["arms_itself"]
        return {**state, "arms_itself": arms_itself, "orders": self._orders}

    def tend(self) -> None:
        """Do what was ordered, tell what happened; never waits."""
        if order := self._line.order():
            if order["cmd"] == "masks":
                # in another thread: the file is large and frames go on
                self._path = order["path"]
                threading.Thread(target=self._load, daemon=True).start()
            elif self._loop:
                if order["cmd"] != "camera":  # armed or disarmed by somebody since
                    self._arming = False
                    self._orders += 1
                self._loop.obey(order)
                self._line.report("loop", loop=self._rules(self._loop))
        self.tell()

    def tell(self) -> None:
        """Look after rules and lines, and tell what happened."""
        for event in self._loop.tend() if self._loop else ():
            self._publisher.send_event(event)
            if self._events:
                self._events.write(event)

    def arm(self, ledger: Ledger) -> None:
        """Let rules fire from the start of the run on, if they shall, once the clock is good."""
        if self._arming and self._loop and self._loop.may_arm(ledger):
            self._arming = False
            self._loop.obey({"cmd": "arm", "why": "at the start of the run"})

    def disarm(self, why: str) -> None:
        """Let nothing fire any more."""
        self._arming = False
        if self._loop:
            self._loop.obey({"cmd": "disarm", "why": why})

    def finish(self) -> None:
        """End the closed loop in order: what lines still say is told, too."""
        if self._loop:
            self.disarm("the run ended")
            until = time.monotonic() + LAST_WORDS_S
            while time.monotonic() < until:
                self.tell()
                time.sleep(0.001)

    def _load(self) -> None:
        assert self._motion is not None
        try:
            self._motion.replace(load_masks(Path(str(self._path)), self._shape))
        except UserError as error:
            self._line.report("note", text=f"no motion components: {error}")

    def announce(self, ledger: Ledger) -> None:
        """Tell subscribers and the supervisor of the masks that begin with this frame."""
        assert self._motion is not None
        self._meta["motion"] = self._motion.about()
        self._publisher.set_meta(self._meta)
        identity = self._meta["motion"]["masks"]
        told = {"identity": identity, "frame_seq": ledger.frame_seq, "path": self._path}
        self._line.report("masks", **told)


def _loop(
    line: child.Line,
    frames: FrameRingReader,
    tracker: Tracker,
    finder: FaceFinder | None,
    results: ResultRingWriter,
    publisher: Publisher,
    between: _Between,
    wake: Wake,
    warmth: KeepWarm,
) -> None:
    rest_s = min(IDLE_WAKE_S, warmth.every_ns * 1e-9 or IDLE_WAKE_S)
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
            **between.state(),
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
            if ledger.flags & Flag.NEW_MASKS:
                between.announce(ledger)
            between.arm(ledger)
            seq = results.write(ledger, pose, signals)
            publisher.send(Result(seq, ledger, pose, signals))
            age_ns = ledger.t_done_ns - ledger.t_host_ns
            total.add(age_ns)
            recent.add(age_ns)
            warmth.used(ledger.t_done_ns)
        elif closed:
            break
        publisher.tend()
        between.tend()
        now = time.perf_counter_ns()
        if now >= report_due_ns:
            report_due_ns = now + REPORT_EVERY_NS
            results.ring.beat()
            if suspended_ns() - asleep_ns > SLEPT_NS:  # device clocks went on, or did not
                asleep_ns = suspended_ns()
                tracker.timer.restart()
                between.disarm("the machine slept")
            line.report("counts", **counts(), age=recent.summary(), n=recent.n)
            recent.clear()
        if frame is None:
            warmth.tend(now)
            wake.wait(rest_s)  # last: nothing stands between the wake and the frame
    between.finish()
    tracker.finish(frames.ring.head + 1)
    line.report("counts", **counts(), total_age=total.summary())
    line.report("done")


if __name__ == "__main__":
    child.main(run)
