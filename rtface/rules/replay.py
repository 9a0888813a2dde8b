"""What was, or would have been, decided in a recording. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rtface.rules.arming import Notice
from rtface.rules.decide import Rules, decide
from rtface.rules.rule import Decision
from rtface.types import Ledger, Pose, Signals


class Seen(NamedTuple):
    """A recorded frame; ``light``: ``lines`` and ``brightness`` as ``Rules`` got them."""

    ledger: Ledger
    pose: Pose
    signals: Signals
    light: Mapping[str, Any] = {}


def replay(rules: Rules, frames: Iterable[Seen], notices: Iterable[Notice]) -> Iterator[Decision]:
    """Yield the decisions of recorded frames.

    Parameters
    ----------
    rules : Rules
        Made with the recorded seed and ``clock_ns=None``, not armed; of the recorded rig file for
        the same decisions, of a changed one for what would have fired.
    frames : iterable of Seen
        In order.
    notices : iterable of Notice
        As ``Rules.notices`` returned them, in order.
    """
    coming = iter(notices)
    notice = next(coming, None)
    for frame in frames:
        while notice is not None and _holds(notice, frame.ledger):
            _apply(rules, notice)
            notice = next(coming, None)
        yield from decide(rules, frame.ledger, frame.pose, frame.signals, **frame.light)
        rules.notices()


def _holds(notice: Notice, ledger: Ledger) -> bool:
    """Return whether it was so when this frame was decided."""
    if notice.frame_seq >= 0:
        return notice.frame_seq <= ledger.frame_seq
    return notice.t_ns <= ledger.t_infer_ns  # recorded before notices named their frame


def _apply(rules: Rules, notice: Notice) -> None:
    if notice.what == "armed":
        rules.arm(notice.t_ns, notice.why, notice.for_s)
    elif notice.what == "disarmed":
        rules.disarm(notice.t_ns, notice.why)
    else:
        rules.disarm_rule(notice.rule, notice.t_ns, notice.why)
