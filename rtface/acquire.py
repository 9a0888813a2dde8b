"""The acquisition process: fetch, stamp, one copy into the ring, again. Nothing else lives here."""

from __future__ import annotations

import time
from typing import Any

from rtface import child
from rtface.camera import open_camera
from rtface.config import parse_rig
from rtface.cores import take_fast_cores
from rtface.platform import Wake
from rtface.realtime import take_realtime
from rtface.ring import RUNNING
from rtface.rings import FrameRingWriter
from rtface.types import (
    Camera,
    EndOfStream,
    Exposing,
    Lost,
    SoftwareTriggered,
    Stamp,
    UserError,
)

REPORT_EVERY_NS = 1_000_000_000
FILL_TIMEOUT_S = 0.05


class Account:
    """Acquisition's own count, from the ids it saw: not the camera's word for it.

    Parameters
    ----------
    first_id : int or None
        As of the camera: frames of the first segment are counted from this id.
    """

    def __init__(self, first_id: int | None) -> None:
        self.delivered = 0
        self.gaps = 0
        self.segment = 0
        self._next_id = first_id
        self.lost = Lost()

    def take(self, stamp: Stamp, camera: Camera) -> None:
        """Count one delivered frame and the ids that are missing before it."""
        if stamp.segment != self.segment:
            self.finish(camera)
            self.segment, self._next_id = stamp.segment, None
        missing = 0 if self._next_id is None else stamp.frame_id - self._next_id
        if missing:
            self.gaps += missing
            # what the camera has no cause for was lost on the link
            known = camera.counts().lost
            self.lost = known._replace(link=self.gaps - sum(known) + known.link)
        self._next_id = stamp.frame_id + 1
        self.delivered += 1

    def finish(self, camera: Camera) -> None:
        """Take in what the camera lost after the last frame it delivered: no id tells of it."""
        known = camera.counts().lost
        if sum(known) > self.gaps:
            self.gaps, self.lost = sum(known), known

    def counts(self, camera: Camera) -> dict[str, Any]:
        """Return the camera's and acquisition's counts side by side."""
        told = camera.counts()
        return {
            "produced": told.produced,
            "delivered": self.delivered,
            "lost_camera": self.gaps,
            "lost": self.lost._asdict(),
            "missed_triggers": told.missed_triggers,
            "segment": self.segment,
            "state": camera.state.name.lower(),
            "exposure": exposure_of(camera),
        }


def exposure_of(camera: Camera) -> dict[str, float] | None:
    """Return the exposure time of a camera and its limits, us; None where it has none to set."""
    exposure = camera.exposure if isinstance(camera, Exposing) else None
    return exposure and exposure._asdict()


def run(line: child.Line) -> None:
    """Acquire one camera until told to stop or until its stream ends."""
    job = line.job
    rig, wake = parse_rig(job["rig"], "rig"), Wake(job["wake"])
    if rig.engine.fast_cores:  # before the camera's driver starts its threads
        take_fast_cores(rig.busy_threads)
    camera = open_camera(job["camera"], rig.camera[job["camera"]])
    try:
        ring = FrameRingWriter(job["camera"], camera.info, rig.ring.frames_s, job["session"])
        try:
            _loop(line, camera, ring, wake, rig.engine.priority)
        finally:
            ring.close()
            wake.notify()  # the tracker sees the closed ring at once
    finally:
        camera.close()


def _loop(
    line: child.Line, camera: Camera, ring: FrameRingWriter, wake: Wake, priority: int
) -> None:
    line.report("ready", **camera.info._asdict())
    # the tracker attaches first, so that no frame is unaccounted
    while (order := line.order()) is None or order["cmd"] != "go":
        if line.stopping:
            return
        time.sleep(0.005)
        ring.ring.beat()
    account = Account(camera.first_id)
    child.quiet_memory()
    ring.ring.set_state(RUNNING)
    camera.start()
    take_realtime(priority)  # with the threads of the camera's driver
    line.report("armed")
    report_due_ns = time.perf_counter_ns() + REPORT_EVERY_NS
    image = ring.begin()
    ended: UserError | None = None
    state = camera.state
    while not line.stopping:
        try:
            if order := line.order():
                _obey(order, camera, line)
            stamp = camera.fill(image, FILL_TIMEOUT_S)
        except EndOfStream:
            break
        except UserError as error:  # the file broke off: what came before it still counts
            ended = error
            break
        now = time.perf_counter_ns()
        if stamp is not None:
            account.take(stamp, camera)
            ring.commit(stamp, account.lost)
            wake.notify()
            image = ring.begin()
        ring.ring.beat()
        if now >= report_due_ns or camera.state is not state:
            report_due_ns, state = now + REPORT_EVERY_NS, camera.state
            line.report("counts", **account.counts(camera))
    account.finish(camera)
    line.report("counts", **account.counts(camera))
    if ended:
        raise ended
    line.report("done")


def _obey(order: dict[str, Any], camera: Camera, line: child.Line) -> None:
    """Do what is asked for while frames come: expose one, or all for another time."""
    if order["cmd"] == "trigger" and isinstance(camera, SoftwareTriggered):
        camera.trigger()
    elif order["cmd"] == "exposure":
        line.report("exposure", id=order["id"], **_expose(camera, float(order["us"])))


def _expose(camera: Camera, exposure_us: float) -> dict[str, Any]:
    """Set an exposure time; return what the camera made of it, or why it did not."""
    if not isinstance(camera, Exposing) or camera.exposure is None:
        return {"error": "this camera has no exposure time that rtface can set"}
    try:
        made = camera.expose(exposure_us)
    except UserError as error:
        return {"error": str(error)}
    now = time.perf_counter_ns()
    return {"exposure": made._asdict(), "asked_us": exposure_us, "t_host_ns": now}


if __name__ == "__main__":
    child.main(run)
