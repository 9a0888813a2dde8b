"""Deciding again on a recorded session: the same decisions, or what other rules would have done."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from rtface.config import Rig, parse_rig
from rtface.loop import make_rules
from rtface.rules import Notice
from rtface.rules.replay import Seen, replay
from rtface.rules_config import rules_of
from rtface.session import CameraSession, Session, layout
from rtface.types import UserError

#: of a decision, what a recording and a replay must agree on; times follow from the frame
COMPARED = ("rule", "frame_seq", "outcome", "why", "value", "forecast", "threshold", "pulse_us")


class Redecided(NamedTuple):
    """Decisions of a recording, as recorded and again.

    Attributes
    ----------
    recorded, again : list of dict
        ``COMPARED`` of each decision, in order.
    whole : bool
        Whether the session began with the run: filters know nothing of frames before it.
    """

    recorded: list[dict[str, Any]]
    again: list[dict[str, Any]]
    whole: bool

    @property
    def same(self) -> bool:
        """Whether every decision is the same."""
        return self.recorded == self.again


def redecide(session: Session, camera: str, changed: Rig | None = None) -> Redecided:
    """Decide again on every recorded result of a camera.

    Parameters
    ----------
    session : Session
    camera : str
    changed : Rig, optional
        With other rules; those of the recording by default.

    Raises
    ------
    UserError
        The session has no rules, or those given do not fit it.
    """
    recording = session.cameras[camera]
    meta = recording.about.meta
    told = meta.get("rules")
    if not isinstance(told, dict):
        raise UserError(f"{session.path}: {camera} had no rules")
    rig = changed or parse_rig(session.about.rig, str(session.path / layout.ABOUT))
    if camera not in rig.camera:
        raise UserError(f"the rig file has no camera '{camera}', which the session is of")
    python = [name for name, rule in rules_of(rig, camera).items() if rule.python]
    if python and changed is None:
        raise UserError(
            f"{session.path}: rule.{python[0]} runs a Python file, {rig.rule[python[0]].python}; "
            "name the rig file with --rig to say that you trust it"
        )
    rules = make_rules(
        rig, camera, recording.names, recording.about.info, meta, int(told["seed"]), False
    )
    mine = [event for event in session.events if event.fields.get("camera") == camera]
    recorded = [_compared(e.fields) for e in mine if e.kind == "decision"]
    try:
        notices = [_notice(e.fields) for e in mine if e.kind == "rules"]
    except KeyError as error:
        raise UserError(f"{session.path / layout.EVENTS}: rules: {error} is missing") from None
    again = [_compared(d.as_event()) for d in replay(rules, _frames(recording), notices)]
    first = next(iter(recording.results[0:1]["seq"].tolist()), 0)
    return Redecided(recorded, again, first == 0)


def _notice(fields: dict[str, Any]) -> Notice:
    """Return a recorded notice; KeyError names what is missing."""
    told = {"frame_seq": -1, **fields}
    return Notice(*(told[name] for name in Notice._fields))


def _frames(recording: CameraSession) -> Iterator[Seen]:
    """Yield recorded results as the rules saw them."""
    lines = _lines(recording)
    for records in recording.results.chunks():
        for result in layout.results_of(records):
            light = {
                "lines": lines.get(result.ledger.frame_seq, 0),
                "brightness": float(result.signals["brightness"][0]),
            }
            yield Seen(result.ledger, result.pose, result.signals, light)


def _lines(recording: CameraSession) -> dict[int, int]:
    """Return the input lines of the frames in which any was high."""
    high: dict[int, int] = {}
    for frames in recording.frames.chunks():
        lit = frames[frames["line_status"] > 0]
        high |= dict(zip(lit["frame_seq"].tolist(), lit["line_status"].tolist(), strict=True))
    return high


def _compared(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared; NaN is None, as in the record."""
    found = {name: fields.get(name) for name in COMPARED}
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in found.items()
    }


def counts(decisions: list[dict[str, Any]]) -> str:
    """Return how often what was decided, for people."""
    total: dict[str, int] = {}
    for decision in decisions:
        key = f"{decision['rule']} {decision['outcome']}"
        if decision["why"]:
            key += f" ({decision['why']})"
        total[key] = total.get(key, 0) + 1
    return ", ".join(f"{key}: {n}" for key, n in sorted(total.items())) or "nothing"
