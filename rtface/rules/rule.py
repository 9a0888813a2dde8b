"""One rule: when its signal passes a threshold, and whether it may fire then. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rtface.rules.filters import MAX_GAP_S, NAN, Kalman
from rtface.rules.functions import Sight
from rtface.rules.layout import Stage
from rtface.rules.limits import Limits
from rtface.rules.signals import Test
from rtface.rules_config import RuleSection

FIRED, SHAM, SUPPRESSED = "fired", "sham", "suppressed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule decided when its condition came true, with the numbers that made it.

    Attributes
    ----------
    n : int
        Counts decisions of a run from 0.
    rule, output : str
    frame_seq : int
    outcome : str
        ``fired``; ``sham``: it would have, and only this record is made; ``suppressed``.
    why : str
        What suppressed it; empty if nothing did.
    value : float
        Of its signal, in the unit that ``Rules.about`` names.
    forecast : float
        What was compared instead, where the rule forecasts; else NaN.
    threshold : float
    scores : dict of str to float
        Of the keypoints in its signal.
    pulse_us : int
    exposure_ns, decided_ns : int
        Midpoint of the frame's exposure, and when it was decided; the host's clock.
    """

    n: int
    rule: str
    output: str
    frame_seq: int
    outcome: str
    why: str
    value: float
    forecast: float
    threshold: float
    scores: dict[str, float]
    pulse_us: int
    exposure_ns: int
    decided_ns: int

    def as_event(self) -> dict[str, Any]:
        """Return it as the map of an event."""
        return {**asdict(self), "kind": "decision"}


class Moment:
    """What holds for all rules in one frame; one object, filled anew for each.

    Attributes
    ----------
    frame_seq, exposure_ns, now_ns, lines : int
    light : str
        Why the picture cannot be trusted, or empty.
    face : bool
    armed : bool
    in_block : callable
        Whether a rule's schedule lets it fire now.
    busy : callable
        Whether a line is on now.
    """

    __slots__ = (
        "armed",
        "busy",
        "exposure_ns",
        "face",
        "frame_seq",
        "in_block",
        "light",
        "lines",
        "now_ns",
    )

    def __init__(
        self, in_block: Callable[[RuleSection], bool], busy: Callable[[str], bool]
    ) -> None:
        self.frame_seq = -1
        self.exposure_ns = self.now_ns = self.lines = 0
        self.light = ""
        self.face, self.armed = True, False
        self.in_block, self.busy = in_block, busy


class Rule:
    """The state of one rule.

    Parameters
    ----------
    name : str
    section : RuleSection
    test : Test
    until : float
        It is over once the signal is back at this.
    only_if : list of (str, Test)
    points : list of (str, int)
        Keypoints in its signal: names and rows.
    period_s : float
    latency_s : float
        From the command to the light.
    seed : int
    """

    def __init__(
        self,
        name: str,
        section: RuleSection,
        test: Test,
        until: float,
        only_if: list[tuple[str, Test]],
        points: list[tuple[str, int]],
        period_s: float,
        latency_s: float,
        seed: int,
    ) -> None:
        self.name, self.section, self.test, self.until = name, section, test, until
        self.stage = max((test.signal.stage, *(t.signal.stage for _, t in only_if)))
        self.counts = {FIRED: 0, SHAM: 0, SUPPRESSED: 0, "unknown": 0}
        #: set once, when its function failed: it never fires again
        self.broken = ""
        self._only_if, self._points = only_if, points
        self._on_at, self._off_at = test.sign * test.threshold, test.sign * until
        self._dwell_ns = round(section.dwell_ms * 1e6)
        self._repeat_ns = round(section.refractory_ms * 1e6)
        self._oldest_ns = round(section.max_age_ms * 1e6)
        self._pulse_us = round(section.pulse_ms * 1e3)
        self._limits = Limits(section)
        self._random = random.Random(f"{seed}/{name}")
        #: whether other masks of motion make its signals other ones
        self.of_masks = any(t.signal.basis for t in (test, *(t for _, t in only_if)))
        self._kalman, self._ahead_s, self._to_light = None, 0.0, section.forecast_ms == "light"
        if section.forecast_ms is not None:
            self._kalman = Kalman(period_s, section.follow_ms * 1e-3)
            ahead = section.forecast_ms
            self._ahead_s = latency_s if isinstance(ahead, str) else ahead * 1e-3
        self._on: bool | None = None  # None: not known; has to be seen off first
        self._known_s = -math.inf
        self._since_ns = self._decided_ns = 0
        self._decided = False

    def reset(self) -> None:
        """Forget all frames; limits and sham trials go on."""
        for one in (self.test, *(test for _, test in self._only_if)):
            one.signal.reset()
        if self._kalman is not None:
            self._kalman.reset()
        self._on = None

    def __call__(self, sight: Sight, moment: Moment, n: int) -> Decision | None:
        """Take a frame; return a decision if the condition has just come true."""
        value = self.test.signal.read(sight)
        # all of them in every frame: some remember
        holds = [(text, _holds(test, sight)) for text, test in self._only_if]
        compared = self._forecast(sight, moment, value) if self._kalman is not None else value
        if sight.t_s - self._known_s > MAX_GAP_S:  # no frames, or none with a value
            self._on = None
        if not math.isfinite(compared) or not math.isfinite(value):
            self.counts["unknown"] += 1
            return None
        self._known_s = sight.t_s
        if not self._due(self.test.sign * compared, sight.learn, moment):
            return None
        self._decided, self._decided_ns = True, moment.now_ns
        why = self._forbidden(moment, holds)
        outcome = SUPPRESSED if why else FIRED
        if not why:
            if self.section.sham and self._random.random() < self.section.sham:
                outcome = SHAM
            self._limits.fire(moment.now_ns)
        self.counts[outcome] += 1
        return Decision(
            n,
            self.name,
            self.section.output,
            moment.frame_seq,
            outcome,
            why,
            value,
            compared if self._kalman is not None else NAN,
            self.test.threshold,
            {name: sight.points[row][2] for name, row in self._points},
            self._pulse_us,
            moment.exposure_ns,
            moment.now_ns,
        )

    def _forecast(self, sight: Sight, moment: Moment, value: float) -> float:
        assert self._kalman is not None
        if sight.learn and math.isfinite(value):
            self._kalman.update(sight.t_s, value)
        ahead_s = self._ahead_s
        if self._to_light:
            ahead_s += (moment.now_ns - moment.exposure_ns) * 1e-9
        return self._kalman.forecast_at(sight.t_s + ahead_s)

    def _due(self, value: float, trusted: bool, moment: Moment) -> bool:
        """Return whether there is something to decide; ``value`` is turned so that more is on.

        In a frame that a light spoiled the condition may come true, to be suppressed, but it never
        ends: a light that hides it would let it begin, and fire, once more.
        """
        if self._on:
            if value <= self._off_at and trusted:
                self._on = False
        elif value > self._on_at:
            if self._on is False:
                self._on, self._decided, self._since_ns = True, False, moment.exposure_ns
        elif value <= self._off_at and trusted:
            self._on = False
        if not self._on or moment.exposure_ns - self._since_ns < self._dwell_ns:
            return False
        if not self._decided:
            return True
        return self.section.repeat and moment.now_ns - self._decided_ns >= self._repeat_ns

    def _forbidden(self, moment: Moment, holds: list[tuple[str, bool]]) -> str:
        """Return the first reason not to fire, or an empty text."""
        section = self.section
        line = section.arm_line
        failing = next((f"only_if {text}" for text, does in holds if not does), "")
        reasons = (
            (bool(self.broken), self.broken),
            (bool(moment.light), moment.light),
            (not moment.armed, "disarmed"),
            (line is not None and not moment.lines >> line & 1, "arm line low"),
            (not moment.in_block(section), "off block"),
            (bool(self._points) and not moment.face, "no face"),
            (bool(failing), failing),
            (moment.now_ns - moment.exposure_ns > self._oldest_ns, "too old"),
            (moment.busy(section.output), "line busy"),
        )
        for applies, why in reasons:
            if applies:
                return why
        return self._limits.forbid(moment.now_ns)


def _holds(test: Test, sight: Sight) -> bool:
    """Return whether a comparison is true; what is not known is not."""
    return test.sign * test.signal.read(sight) > test.sign * test.threshold


#: rules of a user's own function see all that a frame has
LAST_STAGE = Stage.PUPIL
