"""The recorder process: reads the rings of all cameras and writes sessions to disk."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from rtface import child
from rtface.config import Rig, parse_rig
from rtface.event_ring import EventRingReader
from rtface.platform import step_back
from rtface.recorder import GRACE_S, SECOND_NS, Begin, Recorder, Rings
from rtface.rings import FrameRingReader, ResultRingReader
from rtface.rules_config import rules_of
from rtface.session.video import check_encoder
from rtface.types import UserError

TURN_S = 0.02


class LineWatch:
    """Tells when an input line of a camera goes up or down, from the stamps in its ring."""

    def __init__(self, frames: FrameRingReader, bit: int) -> None:
        self._frames, self._bit = frames, bit
        self._next = 0
        self._high = False

    @property
    def seen(self) -> int:
        """The last frame whose line was looked at."""
        return self._next - 1

    def edge(self) -> tuple[bool, int] | None:
        """Return the next change, (whether up, delivery time of its frame in ns), or None."""
        ring = self._frames.ring
        self._next = max(self._next, ring.oldest)
        while self._next <= ring.head:
            record = self._frames.record(self._next)
            self._next += 1
            if record is not None and bool(record.line_status >> self._bit & 1) != self._high:
                self._high = not self._high
                return self._high, record.t_host_ns
        return None


def run(line: child.Line) -> None:
    """Record until told to stop, or until the supervisor is gone."""
    job = line.job
    rig = parse_rig(job["rig"], "rig")
    settings = rig.record
    root = Path(job["root"])
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root}: cannot record there ({error.strerror}); see --record") from None
    line.grace_s = GRACE_S
    rings = _wait_for_rings(rig, job["session"], line)
    if rings is None:
        return
    if settings.video != "none":
        for frames, _ in rings.values():
            check_encoder(frames.info, settings.video, settings.quality)
    step_back()  # the tracker goes first
    # a tracker makes its results last, so that its events are there, too
    events = {c: EventRingReader(c) for c in rig.camera if rules_of(rig, c)}
    recorder = Recorder(rig, job["session"], root, rings, events)
    watch = None
    if settings.start == "line":
        watch = LineWatch(next(iter(rings.values()))[0], settings.line)
    label = Begin(job.get("subject", ""), job.get("name", ""))
    if settings.start == "run":
        recorder.begin(label, time.perf_counter_ns())  # nothing flows yet: all of it
        if recorder.fault:
            raise UserError(recorder.fault)
    line.report("ready")
    _loop(line, recorder, watch, label)
    recorder.finish(line.orphaned)
    line.report("counts", **recorder.counts())
    line.report("done")


def _loop(line: child.Line, recorder: Recorder, watch: LineWatch | None, label: Begin) -> None:
    report_due_ns = 0
    child.quiet_memory()
    told: tuple[Any, ...] = ()
    while not line.stopping:
        if order := line.order():
            _obey(recorder, order)
        # one edge at a time: the next session begins once this one is closed
        if watch and not recorder.ending and (edge := watch.edge()):
            up, t_host_ns = edge
            if up:
                recorder.begin(label, t_host_ns)
            else:
                recorder.end("line", t_host_ns)
        if watch:
            recorder.hold_at(watch.seen)
        busy = recorder.turn()
        now = time.perf_counter_ns()
        state = (recorder.recording, recorder.folder, recorder.fault)
        if now >= report_due_ns or state != told:
            report_due_ns, told = now + SECOND_NS, state
            line.report("counts", **recorder.counts())
        if not busy:
            time.sleep(TURN_S)


def _obey(recorder: Recorder, order: dict[str, Any]) -> None:
    t_host_ns = int(order["t_host_ns"])
    if order["cmd"] == "record":
        recorder.begin(Begin(order["subject"], order["name"]), t_host_ns)
    elif order["cmd"] == "stop_record":
        recorder.end("asked", t_host_ns)
    elif order["cmd"] == "annotate":
        recorder.annotate(order["text"], t_host_ns)
    elif order["cmd"] == "exposure":
        recorder.exposure(order, t_host_ns)
    elif order["cmd"] == "masks":
        recorder.masks(order, t_host_ns)


def _wait_for_rings(rig: Rig, session: str, line: child.Line) -> Rings | None:
    """Return the rings of this run; the supervisor decides how long that may take."""
    rings: Rings = {}
    while len(rings) < len(rig.camera):
        if line.stopping:
            return None
        for camera in set(rig.camera) - set(rings):
            with contextlib.suppress(FileNotFoundError):
                # the results come last, so both are there
                results = ResultRingReader(camera)
                if results.ring.description["session"] == session:
                    rings[camera] = FrameRingReader(camera), results
                else:
                    results.close()  # left by a run that is just ending
        time.sleep(0.01)
    return {camera: rings[camera] for camera in rig.camera}


if __name__ == "__main__":
    child.main(run)
