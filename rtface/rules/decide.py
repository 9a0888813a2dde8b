"""All rules of one camera: a frame in, decisions out. No I/O; every time is given."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtface.rules.arming import Arming, Notice, in_block
from rtface.rules.check import Compiled, check_rules
from rtface.rules.functions import Sight
from rtface.rules.layout import Layout, Stage
from rtface.rules.light import LightGate
from rtface.rules.rule import FIRED, Decision, Moment, Rule
from rtface.rules.signals import NOBODY_LOOKED, Signal, Test
from rtface.rules.units import ONE
from rtface.rules.user import UserRule, load_function
from rtface.rules_config import ClosedLoop, RuleSection
from rtface.types import Flag, Ledger, Pose, Signals

_SHUT = (Flag.EYE_SHUT | Flag.NO_PUPIL).value


class Rules:
    """Decides what fires; the same frames, arm events and seed give the same decisions.

    Belongs to one thread.

    Parameters
    ----------
    loop : ClosedLoop
        The rig.
    camera : str
    cameras : sequence of str
        All of the rig.
    keypoints : sequence of str
        Of the network.
    layout : Layout
        ``layout_of(Stages.about())``, or of ``meta`` of a session.
    seed : int
        Of sham trials; to be recorded.
    period_s, exposure_s : float
        Of the frames: nominal period, exposure time at most.
    folder : Path
        Files of users' functions are taken from there.
    clock_ns : callable or None
        Times users' functions; None: nobody watches their budget (replay, where the record says
        when that happened).
    no_whisking : str
        Why azimuth and phase are refused (``gate.why_not``), or empty.

    Attributes
    ----------
    about : dict of str to dict
        Of each rule: its unit, threshold, delay ...
    used : bool
        Whether there is any rule.

    Raises
    ------
    UserError
        A rule cannot work; see ``check_rules``. A user's file fails.
    """

    def __init__(
        self,
        loop: ClosedLoop,
        camera: str,
        cameras: Sequence[str],
        keypoints: Sequence[str],
        layout: Layout,
        seed: int,
        period_s: float,
        exposure_s: float,
        folder: Path = Path(),
        clock_ns: Callable[[], int] | None = time.perf_counter_ns,
        no_whisking: str = NOBODY_LOOKED,
    ) -> None:
        compiled = check_rules(loop, camera, cameras, keypoints, layout, period_s, no_whisking)
        self.seed, self._loop, self._clock_ns = seed, loop.loop, clock_ns
        self.about = {name: one.about() for name, one in compiled.items()}
        self._arming = Arming()
        self._sight = Sight()
        self._moment = Moment(self._in_block, self._busy)
        self._period_ns = round(period_s * 1e9)
        self._gate = LightGate(
            self._period_ns, round(exposure_s * 1e9), loop.loop.light_line, loop.loop.light_step
        )
        self._outputs = {
            name: (round(one.latency_ms * 1e6), one.light) for name, one in loop.output.items()
        }
        self._busy_until: dict[str, int] = {}
        self._users: dict[str, UserRule] = {}
        self._segment = self._last_frame_ns = -1
        self._n = 0
        self._notices: list[Notice] = []
        self._rules = [
            self._make(name, one, loop, period_s, folder) for name, one in compiled.items()
        ]
        self._by_stage = {
            stage: [rule for rule in self._rules if rule.stage == stage] for stage in Stage
        }

    @property
    def used(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    @property
    def armed(self) -> bool:
        """Whether anything may fire."""
        return self._arming.since_ns is not None

    @property
    def armed_until_ns(self) -> int:
        """When arming ends by itself."""
        return self._arming.until_ns

    @property
    def oldest_ns(self) -> Mapping[Stage, int]:
        """By stage, the strictest ``max_age_ms`` of its rules, ns."""
        return {
            stage: min(round(rule.section.max_age_ms * 1e6) for rule in rules)
            for stage, rules in self._by_stage.items()
            if rules
        }

    @property
    def _next_frame(self) -> int:
        """The first frame that is not yet begun."""
        return self._moment.frame_seq + 1

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How often each rule fired, would have (sham), was suppressed, or knew no value."""
        return {rule.name: rule.counts for rule in self._rules}

    def arm(self, t_ns: int, why: str, for_s: float | None = None) -> None:
        """Let rules fire from ``t_ns`` on, for ``for_s`` or as long as the rig file says."""
        for_s = self._loop.arm_s if for_s is None else min(for_s, self._loop.arm_s)
        self._arming.arm(t_ns, round(for_s * 1e9))
        self._last_frame_ns = t_ns  # silence counts from here
        self._notices.append(Notice(t_ns, "armed", "", why, for_s, self._next_frame))

    def disarm(self, t_ns: int, why: str) -> None:
        """Let nothing fire from ``t_ns`` on."""
        if self.armed:
            self._arming.disarm()
            self._notices.append(Notice(t_ns, "disarmed", "", why, 0.0, self._next_frame))

    def disarm_rule(self, rule: str, t_ns: int, why: str) -> None:
        """Let one rule never fire again, from this frame on: its function failed.

        Also from the record, in a replay, before that frame.
        """
        for one in self._rules:
            if one.name == rule and not one.broken:
                one.broken = why
                if user := self._users.get(rule):
                    user.broken = why
                frame_seq = self._moment.frame_seq
                self._notices.append(Notice(t_ns, "rule disarmed", rule, why, 0.0, frame_seq))

    def watch(self, now_ns: int, waiting: bool = False) -> None:
        """Disarm if no frame comes; call it in every turn of the loop.

        ``waiting``: the camera waits for triggers, and silence is nothing wrong.
        """
        if self._arming.expired(now_ns):
            self.disarm(now_ns, "time over")
        silent_ns = now_ns - self._last_frame_ns
        if self.armed and not waiting and silent_ns > self._loop.silent_frames * self._period_ns:
            self.disarm(now_ns, f"no frame for {silent_ns / 1e6:.0f} ms")

    def notices(self) -> list[Notice]:
        """Return what happened since the last call; for the event stream and the record."""
        notices, self._notices = self._notices, []
        return notices

    def lit(self, from_ns: int, to_ns: int) -> None:
        """Note light that no decision of ours made (a test pulse)."""
        self._gate.lit(from_ns, to_ns)

    def __call__(
        self,
        ledger: Ledger,
        pose: Pose,
        signals: Signals,
        now_ns: int,
        stage: Stage | None = None,
        lines: int = 0,
        brightness: float = math.nan,
    ) -> list[Decision]:
        """Return what is decided of a frame; mostly an empty list.

        Parameters
        ----------
        ledger : Ledger
            So far: ``frame_seq, segment, exposure_ns, exposure_err_ns`` and ``flags`` are read.
        pose, signals
            Of the frame; signals of later stages are not read.
        now_ns : int
            When that stage was done; ``t_infer_ns``, ``t_motion_ns``, ``t_pupil_ns`` of the ledger.
        stage : Stage, optional
            Rules whose signals exist after this stage, each stage once and in order. None: all.
        lines : int
            ``Stamp.line_status``.
        brightness : float
            Of the frame (``rtface.rules.light.brightness``), grey levels; NaN: nobody looked.
            It and ``lines`` are read at the first call for a frame.
        """
        if self._arming.expired(now_ns):
            self.disarm(now_ns, "time over")
        moment, sight = self._moment, self._sight
        if ledger.frame_seq != moment.frame_seq:
            self._begin(ledger, pose, now_ns, lines, brightness)
        sight.frame = ledger, pose, signals
        sight.signals = signals
        sight.shut = bool(ledger.flags & _SHUT)
        moment.now_ns, moment.armed = now_ns, self.armed
        decisions: list[Decision] = []
        for rule in self._rules if stage is None else self._by_stage[stage]:
            if ledger.flags & Flag.NEW_MASKS and rule.of_masks:
                rule.reset()
            decision = rule(sight, moment, self._n)
            if (user := self._users.get(rule.name)) and user.broken and not rule.broken:
                self.disarm_rule(rule.name, now_ns, user.broken)
            if decision is not None:
                self._n += 1
                decisions.append(decision)
                if decision.outcome == FIRED:
                    self._note(decision)
        return decisions

    def _begin(
        self, ledger: Ledger, pose: Pose, now_ns: int, lines: int, brightness: float
    ) -> None:
        moment, sight = self._moment, self._sight
        if ledger.segment != self._segment:
            self._segment = ledger.segment
            for rule in self._rules:
                rule.reset()
        moment.frame_seq, moment.exposure_ns = ledger.frame_seq, ledger.exposure_ns
        moment.lines, moment.face = lines, pose.face
        moment.light = self._gate(ledger.exposure_ns, ledger.exposure_err_ns, lines, brightness)
        sight.t_s = ledger.exposure_ns * 1e-9
        sight.points = pose.keypoints.tolist()
        sight.learn = not moment.light
        self._last_frame_ns = max(self._last_frame_ns, now_ns)

    def _note(self, decision: Decision) -> None:
        """Remember that a line is on, and that its light may be seen."""
        latency_ns, light = self._outputs[decision.output]
        off_ns = decision.decided_ns + latency_ns + decision.pulse_us * 1000
        self._busy_until[decision.output] = off_ns
        if light:
            self._gate.lit(decision.decided_ns, off_ns)

    def _busy(self, output: str) -> bool:
        return self._moment.now_ns < self._busy_until.get(output, 0)

    def _in_block(self, section: RuleSection) -> bool:
        since_ns = self._arming.since_ns
        return since_ns is not None and in_block(section.blocks, since_ns, self._moment.now_ns)

    def _make(
        self, name: str, one: Compiled, loop: ClosedLoop, period_s: float, folder: Path
    ) -> Rule:
        section, test = one.section, one.test
        if section.python is not None:
            function = load_function(str(folder / section.python), f"rule.{name}.python")
            user = UserRule(function, round(section.budget_us * 1e3), self._clock_ns)
            self._users[name] = user
            read = user.read
            test = Test(Signal(read, ONE, 0.0, 1.0, test.signal.stage), test.sign, test.threshold)
        latency_s = loop.output[section.output].latency_ms * 1e-3
        return Rule(
            name, section, test, one.until, one.only_if, one.points, period_s, latency_s, self.seed
        )


def decide(
    rules: Rules, ledger: Ledger, pose: Pose, signals: Signals, **seen: Any
) -> list[Decision]:
    """Return what was decided of a recorded frame: each stage at the time that the ledger says.

    ``seen``: ``lines`` and ``brightness``, see ``Rules``.
    """
    times = (ledger.t_infer_ns, ledger.t_motion_ns, ledger.t_pupil_ns)
    return [
        decision
        for stage, t_ns in zip(Stage, times, strict=True)
        for decision in rules(ledger, pose, signals, t_ns, stage, **seen)
    ]
