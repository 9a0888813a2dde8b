"""Orders of the control port on their way to the child that carries them out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rtface.config import Rig
from rtface.process import Process
from rtface.rules_config import rules_of
from rtface.types import UserError


def pass_trigger(rig: Rig, processes: Iterable[Process], camera: str) -> None:
    """Have a camera expose one frame.

    Raises
    ------
    UserError
        There is no such camera, the rig file does not set it to software triggers, or it is not
        armed.
    """
    section = rig.camera.get(camera)
    if section is None:
        raise UserError(f"there is no camera {camera!r}; there are {', '.join(rig.camera)}")
    trigger = getattr(section, "trigger", None)
    if trigger is None or trigger.source != "Software":
        raise UserError(f"camera.{camera}.trigger.source is not 'Software' in the rig file")
    for process in processes:
        if (process.role, process.camera) == ("acquire", camera):
            state = process.counts.get("state", "armed") if process.armed else "starting"
            if state in ("starting", "gone"):
                raise UserError(f"camera {camera} is {state}; no trigger was given")
            if not process.order("trigger"):
                raise UserError(f"camera {camera} does not listen; no trigger was given")


def pass_to_recorder(recorder: Process | None, order: str, fields: dict[str, str]) -> None:
    """Pass ``record``, ``stop_record`` or ``annotate`` on.

    Raises
    ------
    UserError
        Nothing records, or what is asked for is already so.
    """
    if recorder is None:
        raise UserError("this run records nothing; give it --record DIR or [record] folder")
    if recorder.state != "running":
        raise UserError(f"the recorder is gone or not ready ({recorder.state})")
    state = recorder.counts.get("state")
    if order == "record" and state != "waiting":
        raise UserError(f"already recording into {recorder.counts.get('folder')}")
    if order != "record" and state != "recording":
        raise UserError("nothing is being recorded")
    if not recorder.order(order, t_host_ns=time.perf_counter_ns(), **fields):
        raise UserError("the recorder does not listen; see its state in the status")
    if order != "annotate":  # until it says so itself, a second later
        recorder.counts["state"] = "recording" if order == "record" else "ending"


def masks_to_come(rig: Rig, camera: str, session: str) -> Path | None:
    """Return where masks that a run makes of its beginning are put; None if it makes none."""
    motion = rig.camera[camera].motion
    if motion is None or motion.masks is not None:
        return None
    return Path(tempfile.gettempdir()) / f"rtface-{session}-{camera}.masks.npz"


def pass_masks(
    process: Process, report: dict[str, Any], processes: Iterable[Process], recorder: Process | None
) -> None:
    """Bring masks that were made to the tracker, and what it says of them to the recorder."""
    if process.role == "warm":
        for other in processes:
            if (other.role, other.camera) == ("track", process.camera):
                other.order("masks", path=report["path"])
    elif recorder:
        now = time.perf_counter_ns()
        recorder.order("masks", t_host_ns=now, camera=process.camera, **report)


def refuse_hazard(rig: Rig) -> None:
    """Refuse to arm rules of hazard of a rig of whose acceptance nothing is known."""
    for name, rule in rig.rule.items():
        if rule.hazard:
            raise UserError(
                f"rule.{name}: hazard = true, and nobody looked whether its rig was accepted; run "
                "it by: rtface run RIG.toml --armed"
            )


def pass_state(rig: Rig, acquire: Process, state: str, processes: Iterable[Process]) -> None:
    """Tell the tracker of a camera with rules what the camera does now, if that is news."""
    if acquire.counts.get("state") == state or not rules_of(rig, acquire.camera):
        return
    for process in processes:
        if (process.role, process.camera) == ("track", acquire.camera):
            process.order("camera", state=state)


def pass_arming(rig: Rig, processes: Iterable[Process], order: str, seconds: str) -> None:
    """Have the trackers arm their rules (for some seconds), or disarm them.

    Raises
    ------
    UserError
        There are no rules, the time makes no sense, or a tracker does not listen.
    """
    if not rig.rule:
        raise UserError("the rig file has no rules")
    fields: dict[str, Any] = {"why": "by command"}
    if seconds:
        try:
            fields["for_s"] = float(seconds)
        except ValueError:
            raise UserError(f"seconds has to be a number, not {seconds!r}") from None
        if not 0 < fields["for_s"] <= rig.loop.arm_s:
            raise UserError(f"seconds: above 0, at most loop.arm_s = {rig.loop.arm_s:g}")
    trackers = [p for p in processes if p.role == "track" and rules_of(rig, p.camera)]
    # every one of them, whatever the others do
    deaf = [process.camera for process in trackers if not _pass(process, order, **fields)]
    if deaf:
        if order == "arm":  # all or none
            for process in trackers:
                _pass(process, "disarm", why="another tracker does not listen")
        raise UserError(f"the tracker of {', '.join(deaf)} does not listen")


def _pass(tracker: Process, order: str, **fields: Any) -> bool:
    passed = tracker.order(order, **fields)
    tracker.arming_orders += passed
    return passed
