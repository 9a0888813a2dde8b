"""All steps of an acceptance, one after the other, on the real rig."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from rtface.accept.chain import chain_lines, judge_chain
from rtface.accept.drill import PULSE_MS, Drill, drilled
from rtface.accept.judge import judge_light, judge_line, judge_loopback, judge_tracking
from rtface.accept.kill import cannot, kill, stop
from rtface.accept.lines import try_line
from rtface.accept.steps import PASSED, Step, failed, not_done
from rtface.accept.tracking import track
from rtface.check import check_rig
from rtface.config import Rig
from rtface.flashes import Flashes
from rtface.outputs.make import make_outputs
from rtface.process import ChildDied
from rtface.rules_config import SerialSection
from rtface.types import UserError

#: pulses of the first try of a line, and how long each is at most, ms
TIMES, TRY_MS = 10, 5.0
#: how often a pulse is hit again that was over before
TRIES = 4
NO_PULSES = "the line did not answer"


def owners_of(rig: Rig) -> dict[str, str]:
    """Return the lines that rules fire, and the camera that each belongs to."""
    first = next(iter(rig.camera))
    return {rule.output: rule.camera or first for rule in rig.rule.values()}


def accept(
    rig: Rig,
    tracking_s: float,
    drill_s: float,
    most_lost: float,
    stop_asked: Callable[[], bool],
) -> Iterator[Step]:
    """Yield each step once it is done. Lines fire for real.

    Parameters
    ----------
    tracking_s, drill_s : float
        How long frames are counted, and how long each line's chain is measured.
    most_lost : float
        The part of its frames that a camera may lose.

    Raises
    ------
    UserError
        The rig cannot run at all, or ``stop_asked``.
    ChildDied
        A process of the run died that nobody had hit.
    """
    owners = owners_of(rig)
    duty: dict[str, float] = {}  # of the lines that answer
    n_found = sum(1 for _ in check_rig(rig))
    yield Step("check", "", PASSED, f"rtface check found {n_found} things in order")
    for name in owners:
        step = _try(rig, name)
        if step.outcome == PASSED:
            duty[name] = float(step.numbers.get("max_duty", 1.0))
        yield step
    tracked = track(rig, {name: owners[name] for name in duty}, tracking_s, stop_asked)
    for camera in dict.fromkeys(owners.values()):
        yield judge_tracking(
            camera,
            tracked.counts[camera],
            tracked.received.get(camera, (0, 0)),
            tracking_s,
            most_lost,
            rig.loop.max_skipped,
        )
    for name, camera in owners.items():
        section, flashed = rig.output[name], tracked.flashed.get(name)
        yield judge_loopback(name, section, flashed)
        step, flashes = judge_light(name, section, flashed)
        yield step
        if name not in duty:
            for left in ("chain", "stop", "kill"):
                yield not_done(left, name, NO_PULSES)
            continue
        pulse_ms = min(PULSE_MS, section.max_pulse_ms)
        short = drilled(rig, camera, name, pulse_ms, duty[name])
        yield _chain(short, name, camera, drill_s, flashes, stop_asked)
        long = drilled(rig, camera, name, section.max_pulse_ms, duty[name])
        yield from _stop_and_kill(long, name, camera, stop_asked)


def _try(rig: Rig, name: str) -> Step:
    section = rig.output[name]
    try:
        with closing(make_outputs(rig, [name], dry=False)[name]) as output:
            width_us = round(1e3 * min(TRY_MS, section.max_pulse_ms))
            return judge_line(name, try_line(output, TIMES, width_us))
    except UserError as error:
        return failed("line", name, error)


def _chain(
    rig: Rig,
    name: str,
    camera: str,
    seconds: float,
    flashes: Flashes | None,
    stop_asked: Callable[[], bool],
) -> Step:
    section = rig.output[name]
    with Drill(rig, camera, stop_asked) as drill:
        drill.go_on(seconds)
        drill.go_on(1.0)
    told = rig.camera[camera].exposure_us
    exposure_us = told if isinstance(told, float) else None
    return judge_chain(name, drill.fired(), flashes, exposure_us, section.latency_ms)


def _stop_and_kill(
    rig: Rig, name: str, camera: str, stop_asked: Callable[[], bool]
) -> Iterator[Step]:
    section = rig.output[name]
    if why := cannot(name, section):
        yield not_done("stop", name, why)
        yield not_done("kill", name, why)
        return
    assert isinstance(section, SerialSection)
    for what, hit in (("stop", stop), ("kill", lambda drill, name: kill(drill, name, section))):
        yield _hit(what, hit, rig, name, camera, stop_asked)


def _hit(
    what: str,
    hit: Callable[[Drill, str], Step | None],
    rig: Rig,
    name: str,
    camera: str,
    stop_asked: Callable[[], bool],
) -> Step:
    """Hit the tracker of a run in a pulse, again if the pulse was over before."""
    try:
        for _ in range(TRIES):
            with Drill(rig, camera, stop_asked) as drill:
                if step := hit(drill, name):
                    return step
    except (ChildDied, OSError) as error:
        return failed(what, name, error)
    return not_done(what, name, "every pulse was over before the hit; make max_pulse_ms longer")


def report_text(rig_file: Path, steps: list[Step], held: dict[str, str]) -> str:
    """Return the report for people."""
    lines = [step.line() for step in steps]
    for step in steps:
        if step.name == "chain":
            lines += chain_lines(step)
    for rule, why in held.items():
        lines.append(f"rule.{rule} (hazard) does not arm: {why}")
    accepted = "every rule of hazard may arm" if not held else "NOT accepted"
    return "\n".join([f"{rig_file}: {accepted}", *lines])
