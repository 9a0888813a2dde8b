"""From what was measured to steps that passed or failed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rtface.accept.frames import Array, Frames
from rtface.accept.lines import Trial
from rtface.accept.steps import FAILED, PASSED, Step, failed, not_done
from rtface.accept.tracking import Flashed
from rtface.flashes import Flashes, fit_flashes
from rtface.rules_config import AnyOutput
from rtface.show import counts_agree
from rtface.types import UserError

#: a subscriber connects within this time of the first frame, s
SUBSCRIBED_S = 3.0
#: so many pulses have to be seen by the camera's input line
FEWEST_PULSES = 20


def judge_line(name: str, trial: Trial) -> Step:
    """Return whether a line answered every pulse."""
    numbers = {"times": trial.times, "sent": trial.sent, "answered": len(trial.answered_ms)}
    good = trial.sent == trial.times == len(trial.answered_ms)
    if trial.sent and not trial.answered_ms and not trial.notes:
        return not_done("line", name, f"{trial.text()}; this kind of line never answers")
    return Step("line", name, PASSED if good else FAILED, trial.text(), {**numbers, **trial.up})


def judge_tracking(
    camera: str,
    counts: Mapping[str, Any],
    received: tuple[int, int],
    seconds: float,
    most_lost: float,
    most_skipped: float,
) -> Step:
    """Return whether every frame of a stretch of tracking is accounted for.

    Parameters
    ----------
    counts, received
        As in ``Tracked``.
    most_lost, most_skipped : float
        The part of the frames that the camera may lose, and the tracker pass over.
    """
    told = {
        key: counts.get(key, 0)
        for key in ("produced", "delivered", "lost_camera", "tracked", "skipped")
    }
    text = (
        f"{seconds:.0f} s: {told['produced']} produced = {told['delivered']} delivered + "
        f"{told['lost_camera']} lost, {told['delivered']} delivered = {told['tracked']} tracked + "
        f"{told['skipped']} skipped; a subscriber got {received[0]} and missed {received[1]}"
    )
    numbers = {
        "seconds": seconds,
        "most_lost": most_lost,
        **told,
        "received": received[0],
        "missed": received[1],
    }
    faults = []
    if not counts_agree(dict(counts)) or not told["tracked"]:
        faults.append("not every frame is accounted for")
    if told["lost_camera"] > most_lost * told["produced"]:
        faults.append(f"the camera lost more than {most_lost:.1%}")
    if told["skipped"] > most_skipped * told["delivered"]:
        faults.append(f"more than max_skipped = {most_skipped:g} were passed over")
    if received[1]:
        faults.append("messages were lost")
    if received[0] < told["tracked"] * (1 - SUBSCRIBED_S / max(seconds, SUBSCRIBED_S)):
        faults.append("the subscriber did not get what was tracked")
    return Step(
        "tracking", camera, FAILED if faults else PASSED, "; ".join([text, *faults]), numbers
    )


def judge_light(
    name: str, section: AnyOutput, flashed: Flashed | None
) -> tuple[Step, Flashes | None]:
    """Return whether a camera saw a line's light when the line was on; and what that says."""
    if section.seen_box is None:
        why = f"nobody said where its light is seen; give output.{name}.seen_box, or add an LED"
        return not_done("light", name, why), None
    if why := _given_up(flashed):
        return failed("light", name, why), None
    if why := _cannot(flashed):
        return not_done("light", name, why), None
    assert flashed is not None
    assert flashed.frames is not None
    switches, frames = np.array([(on, off) for on, off, _ in flashed.pulses]), flashed.frames
    try:
        found = fit_flashes(switches.ravel(), frames.exposure_ns, frames.grey)
    except UserError as error:
        return failed("light", name, error), None
    line_err_ns = float(np.median([err for _, _, err in flashed.pulses]))
    # a light that comes later than its line makes exposures look early
    stated_ns = float(np.median(frames.err_ns))
    within_ns = stated_ns + found.err_ns + line_err_ns
    early_ns = within_ns + section.latency_ms * 1e6
    text = (
        f"{len(found.part)} frames caught a switch: stated exposure times are late by "
        f"{found.late_ns / 1e6:.2f} +- {(found.err_ns + line_err_ns) / 1e6:.2f} ms, stated error "
        f"{stated_ns / 1e6:.2f} ms; exposed for {found.exposure_ns / 1e6:.2f} ms"
    )
    numbers = {
        "frames": len(found.part),
        "late_ms": found.late_ns / 1e6,
        "late_err_ms": (found.err_ns + line_err_ns) / 1e6,
        "stated_err_ms": stated_ns / 1e6,
        "exposure_ms": found.exposure_ns / 1e6,
    }
    good = -early_ns <= found.late_ns <= within_ns
    period_ns = float(np.median(np.diff(frames.exposure_ns)))
    if found.exposure_ns > period_ns:
        # no camera can: the times of line or frames are too uncertain to draw the line
        text += f", longer than a frame of {period_ns / 1e6:.2f} ms; is this machine too busy?"
        return Step("light", name, FAILED, text, numbers), None
    if not good:
        text += "; more than the stated error: calibrate the delay (calibration/latency.py)"
    return Step("light", name, PASSED if good else FAILED, text, numbers), found


def _given_up(flashed: Flashed | None) -> str:
    """Return why a line was given up while it was fired, or nothing."""
    faults = flashed.faults if flashed else []
    told = [fault.removeprefix("down ") for fault in faults if fault.startswith("down ")]
    return f"given up meanwhile: {told[0]}" if told else ""


def _cannot(flashed: Flashed | None) -> str:
    """Return why pulses and frames cannot be compared, or nothing."""
    if flashed is None or flashed.frames is None:
        return "no frame came"
    if not flashed.pulses:
        told = "; ".join(flashed.faults)
        return told or "this kind of line does not say when it was on: no board"
    return ""


class Window(NamedTuple):
    """When a camera reads its input lines, from the stated midpoint of the exposure, ns."""

    low_ns: float
    high_ns: float
    unseen: int
    strays: int


def read_window(pulses: Array, exposure_ns: Array, high: Array) -> Window:
    """Return when lines are read, so that pulses and frames agree.

    A frame reads its line high if it reads while the line is on. From the last low and the first
    high frame at the begin of each pulse, and the other way round at its end, follows between
    which two moments it is read; all pulses together narrow that down.

    Parameters
    ----------
    pulses : ndarray (P, 2)
        When the line rose and fell, ns.
    exposure_ns : ndarray (F,)
        Stated midpoints, rising.
    high : ndarray (F,) bool
        What the frames say.
    """
    lows, highs, unseen = [], [], 0
    explained = np.zeros(len(high), bool)
    period = float(np.median(np.diff(exposure_ns)))
    for on, off in pulses.tolist():
        first, last = np.searchsorted(exposure_ns, [on - 3 * period, off + 3 * period])
        at = first + np.flatnonzero(high[first:last])
        if not len(at):
            # one period from its ends, wherever in the exposure the line is read
            surely = (exposure_ns >= on + period) & (exposure_ns < off - period)
            unseen += bool(surely.any())  # else all its frames were lost
            continue
        explained[at] = True
        a, z = at[0], at[-1]
        highs.append(off - exposure_ns[z])
        lows.append(on - exposure_ns[a])
        if a > 0:
            highs.append(on - exposure_ns[a - 1])
        if z + 1 < len(high):
            lows.append(off - exposure_ns[z + 1])
    strays = int((high & ~explained).sum())
    if not lows or not highs:
        return Window(np.nan, np.nan, unseen, strays)
    # the middle of the bounds: one pulse whose time is not well known must not decide
    low, top = np.percentile(lows, 98), np.percentile(highs, 2)
    return Window(float(min(low, top)), float(max(low, top)), unseen, strays)


def judge_loopback(name: str, section: AnyOutput, flashed: Flashed | None) -> Step:
    """Return whether the camera's input line saw the pulses, each in its frames."""
    if section.seen_line is None:
        why = (
            f"nobody wired it to an input line of the camera; do, and give output.{name}.seen_line"
        )
        return not_done("loopback", name, why)
    if why := _given_up(flashed):
        return failed("loopback", name, why)
    if why := _cannot(flashed):
        return not_done("loopback", name, why)
    assert flashed is not None
    assert flashed.frames is not None
    exposure_ns = flashed.frames.exposure_ns
    pulses = np.array([(on, off) for on, off, _ in flashed.pulses], np.int64)
    pulses = pulses[(pulses[:, 0] > exposure_ns[0]) & (pulses[:, 1] < exposure_ns[-1])]
    if len(pulses) < FEWEST_PULSES:
        why = (
            f"only {len(pulses)} pulses while frames came, {FEWEST_PULSES} are needed; track longer"
        )
        return failed("loopback", name, why)
    period_ns = float(np.median(np.diff(exposure_ns)))
    # after the last pulse that was told whole there may be one that was not
    kept = exposure_ns <= pulses[-1, 1] + period_ns
    frames = Frames(*(column[kept] for column in flashed.frames))
    high = frames.lines >> section.seen_line & 1 > 0
    if not high.any():
        why = (
            f"input line {section.seen_line} was never high; is it wired, and does the camera say "
            "its lines (chunks = ['LineStatusAll'])?"
        )
        return failed("loopback", name, why)
    found = read_window(pulses, frames.exposure_ns, high)
    slack_ns = float(np.median(frames.err_ns)) + max(err for _, _, err in flashed.pulses)
    middle_ns = (found.low_ns + found.high_ns) / 2
    text = (
        f"{len(pulses)} pulses, {found.unseen} not seen, {found.strays} frames high without one; "
        f"the line is read {found.low_ns / 1e6:.2f} to {found.high_ns / 1e6:.2f} ms from the "
        "stated midpoint"
    )
    numbers = {"pulses": len(pulses), **found._asdict()}
    # begin of the exposure at the earliest, end of the readout at the latest
    good = (
        not found.unseen
        and not found.strays
        and -period_ns / 2 - slack_ns <= middle_ns <= period_ns + slack_ns
    )
    return Step("loopback", name, PASSED if good else FAILED, text, numbers)
