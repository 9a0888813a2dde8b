"""The closed loop of one camera: rules decide, lines fire, and what happened is told."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtface.config import Rig
from rtface.outputs.lines import Lines
from rtface.outputs.make import make_outputs
from rtface.rules import Guard, Rules, Stage, brightness, layout_of
from rtface.rules.gate import why_not
from rtface.rules_config import rules_of
from rtface.stages.make import Stages
from rtface.types import CameraInfo, Float32Array, Frame, Ledger, Pose, Signals


def make_rules(
    rig: Rig,
    camera: str,
    keypoints: Sequence[str],
    info: CameraInfo,
    about: Any,
    seed: int,
    clocked: bool = True,
    model: str | None = None,
) -> Rules:
    """Return the rules of a camera.

    Parameters
    ----------
    about : mapping
        ``motion``, ``running`` and ``pupil`` as ``meta`` has them.
    clocked : bool
        Whether users' functions are timed; a replay takes that from the record.
    model : str, optional
        SHA-256 of the network, which a proof that whiskers are tracked well has to be of; None:
        none is asked for.

    Raises
    ------
    UserError
        A rule cannot work.
    """
    section = rig.camera[camera]
    no_whisking = "" if model is None else why_not(camera, section.whiskers, model)
    exposure_us = getattr(rig.camera[camera], "exposure_us", None)
    period_s = 1 / info.rate_hz
    return Rules(
        rig,
        camera,
        list(rig.camera),
        keypoints,
        layout_of(about),
        seed,
        period_s,
        exposure_us * 1e-6 if isinstance(exposure_us, float) else period_s,
        Path(),
        time.perf_counter_ns if clocked else None,
        no_whisking,
    )


#: states of a camera in which nothing may fire, and what is said of them
NO_FRAMES = {"gone": "the camera is gone", "waiting": "the camera waits for triggers"}


class Loop:
    """Decides after each stage of a frame, fires, and keeps what happened until it is told.

    Belongs to the tracker's thread.

    Parameters
    ----------
    dry : bool
        Lines are not real: nothing is fired, everything is decided and told.
    model : str
        SHA-256 of the network.

    Raises
    ------
    UserError
        A rule cannot work, or a device is missing.
    """

    def __init__(
        self,
        rig: Rig,
        camera: str,
        keypoints: Sequence[str],
        info: CameraInfo,
        stages: Stages,
        dry: bool,
        model: str,
    ) -> None:
        seed = rig.loop.seed
        self.seed = secrets.randbits(32) if seed is None else seed
        self.dry = dry
        self.rules = make_rules(
            rig, camera, keypoints, info, stages.about(), self.seed, model=model
        )
        names = {rule.output for rule in rules_of(rig, camera).values()}
        self.lines = Lines(make_outputs(rig, sorted(names), dry))
        #: silence of a camera that is triggered is nothing wrong
        self._waits = getattr(rig.camera[camera], "trigger", None) is not None
        self._guard = Guard(rig.loop, self.rules.oldest_ns)
        self._resumes = rig.loop.rearm == "resume"
        self._resume_until_ns: int | None = None  # armed until then, were it not for a wait
        self._segment: int | None = None
        self._events: list[dict[str, Any]] = []
        self.lengths = {"brightness": 1}
        self.signals: dict[str, Float32Array] = {"brightness": np.full(1, np.nan, np.float32)}

    def about(self) -> dict[str, Any]:
        """Return what ``meta`` says of the rules."""
        return {"seed": self.seed, "dry": self.dry, "rules": self.rules.about}

    def state(self) -> dict[str, Any]:
        """Return what the status says of the rules."""
        counts = {name: dict(one) for name, one in self.rules.counts.items()}
        down = self.lines.down()
        until_ns = self._resume_until_ns
        return {
            "armed": self.rules.armed,
            "arms_itself": until_ns is not None and until_ns > time.perf_counter_ns(),
            "dry": self.dry,
            "down": down,
            "rules": counts,
        }

    def after(
        self, stage: Stage, frame: Frame, ledger: Ledger, pose: Pose, signals: Signals, now_ns: int
    ) -> None:
        """Decide what can be decided after a stage of a frame, and fire it at once."""
        if stage is Stage.POSE:
            if ledger.segment != self._segment:
                if self._segment is not None:
                    self.rules.disarm(now_ns, "the camera was gone and is back")
                self._segment = ledger.segment
            if fault := self._guard.before(ledger):
                self.rules.disarm(now_ns, fault)
            self.signals["brightness"][0] = brightness(frame.image)
        for decision in self.rules(
            ledger,
            pose,
            signals,
            now_ns,
            stage,
            frame.stamp.line_status,
            float(self.signals["brightness"][0]),
        ):
            t_command_ns = self.lines.fire(decision)
            self._events.append({**decision.as_event(), "t_command_ns": t_command_ns})
        if stage is Stage.PUPIL and (fault := self._guard.after(ledger)):
            self.rules.disarm(now_ns, fault)

    def may_arm(self, ledger: Ledger) -> bool:
        """Whether the times of a frame are good enough to arm with it."""
        return not self._guard.before(ledger)

    def obey(self, order: dict[str, Any]) -> None:
        """Arm, disarm, or hear what the camera does."""
        now = time.perf_counter_ns()
        if order["cmd"] == "camera":
            self._hear_of_camera(order["state"], now)
            return
        self._resume_until_ns = None
        if order["cmd"] == "arm":
            self._guard.rest()
            self.rules.arm(now, str(order["why"]), order.get("for_s"))
        else:
            self.rules.disarm(now, str(order["why"]))
            self.lines.idle()

    def _hear_of_camera(self, state: str, now: int) -> None:
        """Disarm when a camera is gone or waits, and arm again after a wait if that is wanted."""
        until_ns, self._resume_until_ns = self._resume_until_ns, None
        if why := NO_FRAMES.get(state):
            if state == "waiting" and self._resumes:
                self._resume_until_ns = self.rules.armed_until_ns if self.rules.armed else until_ns
            self.rules.disarm(now, why)
            self.lines.idle()
        elif until_ns is not None and until_ns > now:
            self._guard.rest()
            self.rules.arm(now, "the camera goes on", (until_ns - now) * 1e-9)

    def tend(self) -> list[dict[str, Any]]:
        """Look after lines and watchdogs, in every turn; return what happened since the last."""
        now = time.perf_counter_ns()
        self.rules.watch(now, self._waits)
        for notice in self.rules.notices():
            self._events.append(notice.as_event())
            if notice.what == "disarmed":
                self.lines.idle()
        self._events += [event.as_event() for event in self.lines.poll(now)]
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Switch every line off."""
        self.lines.close()
