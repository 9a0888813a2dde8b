"""From the rig file's text to rules, with everything refused that cannot work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rtface.rules.expression import (
    check_reachable,
    compile_condition,
    compile_constant,
    compile_text,
)
from rtface.rules.filters import MAX_FORECAST_S, MAX_GAP_S
from rtface.rules.layout import Layout
from rtface.rules.parse import Marked, parse_condition
from rtface.rules.rule import LAST_STAGE
from rtface.rules.signals import NOBODY_LOOKED, Known, Signal, Test
from rtface.rules.units import ONE
from rtface.rules.zones import box_corners
from rtface.rules_config import ClosedLoop, RuleSection
from rtface.types import UserError


class Compiled(NamedTuple):
    """A rule of the rig file, ready to be made."""

    section: RuleSection
    test: Test
    until: float
    only_if: list[tuple[str, Test]]
    points: list[tuple[str, int]]

    def about(self) -> dict[str, Any]:
        """Return what its numbers mean, for ``meta`` and for `rtface check`."""
        signal = self.test.signal
        return {
            "when": self.section.when or self.section.python,
            "unit": "" if signal.unit == ONE else str(signal.unit),
            "threshold": self.test.threshold,
            "until": self.until,
            "delay_ms": round(signal.delay_s * 1e3, 3),
            "after": signal.stage.name.lower(),
            "output": self.section.output,
        }


def check_rules(
    loop: ClosedLoop,
    camera: str,
    cameras: Sequence[str],
    keypoints: Sequence[str],
    layout: Layout,
    period_s: float,
    no_whisking: str = NOBODY_LOOKED,
) -> dict[str, Compiled]:
    """Return the rules of a camera, compiled. Reads no file.

    Parameters
    ----------
    loop : ClosedLoop
        The rig.
    camera : str
    cameras : sequence of str
        All of the rig; rules that name none belong to the first.
    keypoints : sequence of str
        Of the network.
    layout : Layout
        Of the camera's signals; ``layout_of(Stages.about())``.
    period_s : float
        Of the frames, nominal.
    no_whisking : str
        Why azimuth and phase are refused (``gate.why_not``), or empty.

    Raises
    ------
    UserError
        Names the key, the fault and the remedy; of expressions with the place marked.
    """
    plain = _known(loop, keypoints, layout, period_s, 0.0, no_whisking)
    for name in loop.signal:
        if name in layout:
            raise UserError(f"signal.{name}: every frame has a signal of that name; rename it")
        if len(cameras) == 1:  # with several nobody knows whose it is until a rule names it
            try:
                compile_text(loop.signal[name].expr, plain, (name,))
            except Marked as error:
                raise error.within(f"signal.{name}.expr") from None
    found: dict[str, Compiled] = {}
    for name, rule in loop.rule.items():
        if rule.camera is not None and rule.camera not in cameras:
            raise UserError(
                f"rule.{name}.camera: there is no camera '{rule.camera}'; "
                f"there are: {', '.join(cameras)}"
            )
        if (rule.camera or cameras[0]) == camera:
            if period_s > MAX_GAP_S / 2:
                raise UserError(
                    f"rule.{name}: camera {camera} has {1 / period_s:g} frames per second, and "
                    f"rules need {2 / MAX_GAP_S:g}: after {MAX_GAP_S:g} s without a value they "
                    "begin anew"
                )
            latency_s = loop.output[rule.output].latency_ms * 1e-3
            if rule.forecast_ms == "light" and latency_s + period_s > MAX_FORECAST_S:
                raise UserError(
                    f"rule.{name}.forecast_ms: 'light' comes on {1e3 * latency_s:g} ms after the "
                    f"command (output.{rule.output}.latency_ms), and a forecast reaches "
                    f"{1e3 * MAX_FORECAST_S:g} ms from the exposure at most; leave it out"
                )
            known = _known(loop, keypoints, layout, period_s, rule.min_score, no_whisking)
            found[name] = _compile(name, rule, known)
    return found


def _known(
    loop: ClosedLoop,
    keypoints: Sequence[str],
    layout: Layout,
    period_s: float,
    min_score: float,
    no_whisking: str,
) -> Known:
    zones = {
        name: box_corners(*zone.box) if zone.box else list(zone.polygon or ())
        for name, zone in loop.zone.items()
    }
    named = {name: signal.expr for name, signal in loop.signal.items()}
    return Known(keypoints, layout, named, zones, period_s, min_score, no_whisking)


def _compile(name: str, rule: RuleSection, known: Known) -> Compiled:
    only_if = [(text, _condition(f"rule.{name}.only_if", text, known)) for text in rule.only_if]
    if rule.when is None:
        test = Test(Signal(lambda _sight: math.nan, ONE, 0.0, 1.0, LAST_STAGE), 1, 0.5)
        return Compiled(rule, test, 0.5, only_if, [])
    test = _condition(f"rule.{name}.when", rule.when, known)
    until = test.threshold
    if rule.until is not None:
        key = f"rule.{name}.until"
        try:
            until = compile_constant(rule.until, known, test.signal.unit)
            if test.sign * until > test.sign * test.threshold:
                side = "above" if test.sign > 0 else "below"
                raise Marked(rule.until, 0, len(rule.until), f"lies {side} the threshold of when")
            check_reachable(rule.until, test.signal, test.sign, until, 0, len(rule.until))
        except Marked as error:
            raise error.within(key) from None
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
    rows = test.signal.points.union(*(one.signal.points for _, one in only_if))
    points = [(known.keypoints[row], row) for row in sorted(rows)]
    return Compiled(rule, test, until, only_if, points)


def _condition(key: str, text: str, known: Known) -> Test:
    try:
        return compile_condition(text, parse_condition(text, known.keypoints), known)
    except Marked as error:
        raise error.within(key) from None
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
