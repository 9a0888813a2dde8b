"""What ``rtface check`` looks at: everything a run needs, without starting one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from rtface.camera import open_camera
from rtface.collect import sampling
from rtface.config import Rig
from rtface.engine import Started, start_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.estimator import describe, estimator_for, face_mode
from rtface.loop import Loop
from rtface.motion.areas import areas_of, possible
from rtface.publish import bind
from rtface.rings import FrameRingWriter, ResultRingWriter
from rtface.rules import decide
from rtface.rules_config import rules_of
from rtface.session.video import check_encoder
from rtface.stages.make import Stages, make_stages
from rtface.timing import timing_of
from rtface.tracker import Tracker
from rtface.types import Frame, Ledger, Lost, Pose, Stamp, UserError

#: what is said of the ways to choose the part of a frame that is tracked
FACE_MODES = {
    "follow": "looked for at the start, then followed slowly",
    "hold": "looked for at the start, then the crop stays",
    "off": "not looked for: the whole frame is tracked",
    "bbox": "not looked for: bbox is tracked",
}


def check_rig(rig: Rig) -> Iterator[tuple[str, str]]:
    """Yield (what, finding) for everything that would run.

    Cameras are opened, rings allocated and ports bound, as a run would, and all given back.

    Raises
    ------
    UserError
        At the first thing that would stop a run.
    """
    bundle = load_bundle(rig.engine.bundle)
    section = rig.engine
    started = start_engine(bundle, section.runtime, section.threads, section.precision, section.gpu)
    yield (
        "network",
        f"{bundle.name}: {len(bundle.names)} keypoints from {bundle.input_shape[1]}x"
        f"{bundle.input_shape[0]} px, {started.label}, {rig.engine.threads} thread(s)",
    )
    if started.why:
        yield "  chosen", started.why
    with ExitStack() as rings:
        for name in rig.camera:
            yield from _check_camera(rig, name, bundle, started, rings)
    if rig.record.folder is not None:
        yield "recording", _check_recording(rig, rig.record.folder)
    stream = rig.stream
    ports = {"control": stream.control_port, "status": stream.status_port}
    ports |= {f"data of {name}": rig.data_port(name) for name in rig.camera}
    for what, port in ports.items():
        with zmq.Context() as context, context.socket(zmq.PUB) as socket:
            bind(socket, stream.host, port, what.split(" ")[0])
    yield "ports", ", ".join(f"{port} {what}" for what, port in ports.items()) + ": free"


def _check_recording(rig: Rig, folder: str) -> str:
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        free_mb = shutil.disk_usage(root).free >> 20
    except OSError as error:
        raise UserError(f"record.folder: {root}: {error.strerror}; name another folder") from None
    if free_mb < rig.record.stop_free_mb:
        raise UserError(
            f"record.stop_free_mb: {root} has {free_mb} MB free, less than "
            f"{rig.record.stop_free_mb}; make room"
        )
    low = ", LOW" if free_mb < rig.record.warn_free_mb else ""
    return f"{root}: video {rig.record.video}, starts by {rig.record.start}, {free_mb} MB free{low}"


def _check_camera(
    rig: Rig, name: str, bundle: Bundle, started: Started, rings: ExitStack
) -> Iterator[tuple[str, str]]:
    with closing(open_camera(name, rig.camera[name])) as camera:
        info = camera.info
    if rig.record.folder is not None and rig.record.video != "none":
        check_encoder(info, rig.record.video, rig.record.quality)
    timing = timing_of(rig, name, info)
    estimator = estimator_for(rig, name, bundle, started.engine, info)
    # the rings of all cameras stay until the last is there: they have to fit together
    frames = rings.enter_context(closing(FrameRingWriter(name, info, rig.ring.frames_s, "check")))
    stages = make_stages(rig.camera[name], name, bundle.names, info)
    loop = None
    if rules_of(rig, name):
        loop = Loop(rig, name, bundle.names, info, stages, True, bundle.sha256)
    about = describe(rig, name, "check", bundle, info, started, stages, loop)
    ring = ResultRingWriter(
        name,
        len(bundle.names),
        rig.ring.results_s,
        info.rate_hz,
        {**about, "rules": None},
        about["signals"],
    )
    rings.enter_context(closing(ring))
    image = frames.begin()
    image.fill(0)
    tracker = Tracker(
        estimator,
        timing,
        motion=stages.moving,
        pupil=stages.pupil,
        neural=stages.neural,
        aside=stages.heavy,
    )
    times = []
    for i in range(20):
        start = time.perf_counter()
        _, pose, _ = tracker(Frame(i, Stamp(0, i, None, time.perf_counter_ns()), Lost(), image))
        times.append(time.perf_counter() - start)
    tracker.finish(20)
    tracked_ms, period_ms = 1e3 * float(np.median(times)), 1e3 / info.rate_hz
    keeps_up = "keeps up" if tracked_ms < 0.8 * period_ms else "will skip frames"
    yield (
        f"camera {name}",
        f"{rig.camera[name].kind}, {info.width}x{info.height} px, {info.bits} bit, "
        f"{info.rate_hz:g} Hz; ring {frames.ring.n_slots * frames.n_bytes / 1e6:.0f} MB",
    )
    for what, found in stages.about().items():
        if found:
            yield f"  {what}", _of_stage(what, found)
    if loop:
        p50_us, p99_us = np.percentile(_rules_us(loop, pose, stages), [50, 99])
        yield (
            "  rules",
            f"{p50_us:.0f} us (p50), {p99_us:.0f} us (p99) for each frame, all together",
        )
        for notice in loop.rules.notices():  # a function that fails even now
            yield "  note", f"rule {notice.rule}: {notice.what} on an empty frame: {notice.why}"
    for rule, told in (loop.about()["rules"] if loop else {}).items():
        yield (
            f"  rule {rule}",
            f"{told['when']} -> {told['output']}; signal {told['delay_ms']:g} ms late, "
            f"after {told['after']} (lines are tried by: rtface trigger test)",
        )
    motion = rig.camera[name].motion
    if motion and motion.masks is None:
        areas = areas_of(info.height, info.width, motion.bin, motion.roi).values()
        differences = sampling(info, motion.fit_s, motion.bin).differences
        if why := possible(areas, 1, motion.components, differences)[1]:
            yield "  note", f"motion: {why}; a longer fit_s or a larger bin gives more"
    if stages.motion and stages.motion.note:
        yield "  note", stages.motion.note
    mode = face_mode(rig, name, bundle)
    whole = mode == "off" and bundle.crop is None
    yield "  face", FACE_MODES[mode] + (", as this network expects" if whole else "")
    yield "  time per frame", f"{tracked_ms:.2f} ms of {period_ms:.2f} ms: {keeps_up}"
    yield "  published at", f"tcp://{rig.stream.host}:{rig.data_port(name)}"


def _rules_us(loop: Loop, pose: Pose, stages: Stages, n: int = 200) -> list[float]:
    """Return how long the rules take for each of some frames, us."""
    signals = stages.signals()
    took = []
    for i in range(n):
        t = time.perf_counter_ns()
        ledger = Ledger(i, 0, i, None, t, t, t, t, t, t, t, t, 0, 1, 0, 0, 0)
        decide(loop.rules, ledger, pose, signals)
        took.append((time.perf_counter_ns() - t) / 1e3)
    return took


def _of_stage(what: str, about: dict[str, Any]) -> str:
    """Return what is computed beside keypoints, for people."""
    if what == "neural":
        model, lag_ms = about["bundle"][:12], about["lag_ns"] / 1e6
        return f"{len(about['fields'])} numbers of the model {model}, {lag_ms:g} ms late"
    if what != "motion":
        box = about.get("box")
        return f"in box {box}" if box else "in a box that keypoints place"
    areas = ", ".join(f"{a['name']} {a['motion'] + a['movie']}" for a in about["areas"])
    masks = f"masks {about['masks'][:12]}" if about["masks"] else "masks to be fitted"
    return f"{masks}, bin {about['bin_px']} px, components: {areas}"
