"""The tracker process: newest frame in, one result out, on the rings and on the wire."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, nullcontext
from typing import Any

from rtface import child
from rtface.ages import AgeHistogram
from rtface.between import Between
from rtface.config import Rig, parse_rig
from rtface.cores import take_fast_cores
from rtface.engine import Started, start_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.keepwarm import KeepWarm
from rtface.engine.null import NullEstimator
from rtface.estimator import describe, estimator_for
from rtface.event_ring import EventRingWriter
from rtface.face import FaceFinder
from rtface.facemap_pose import FacemapEstimator
from rtface.loop import Loop
from rtface.platform import SLEPT_NS, Wake, suspended_ns
from rtface.pose import PoseEstimator
from rtface.publish import Publisher
from rtface.realtime import take_realtime
from rtface.ring import CLOSED, RUNNING
from rtface.rings import FrameRingReader, ResultRingWriter
from rtface.rules_config import rules_of
from rtface.stages.make import Stages, make_stages
from rtface.timing import timing_of
from rtface.tracker import Tracker
from rtface.types import Flag, Result

REPORT_EVERY_NS = 1_000_000_000
IDLE_WAKE_S = 0.05


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
        between = Between(line, stages.motion, loop, publisher, events, meta, info, masks_file)
        wake = Wake(line.job["wake"])
        keep_warm = getattr(started.engine, "keep_warm", None)  # of GPUs
        warmth = KeepWarm(keep_warm, rig.engine.keep_warm_ms)
        _loop(line, frames, tracker, estimator.finder, results, publisher, between, wake, warmth)


def _loop(
    line: child.Line,
    frames: FrameRingReader,
    tracker: Tracker,
    finder: FaceFinder | None,
    results: ResultRingWriter,
    publisher: Publisher,
    between: Between,
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
