"""Whether rules may fire, since when, and until when. Pure: times are given."""

from __future__ import annotations

from typing import NamedTuple

from rtface.rules_config import BlocksSection


class Notice(NamedTuple):
    """Something that happened to the rules, for the event stream: when, what, to which, why."""

    t_ns: int
    what: str  # "armed", "disarmed", "rule disarmed"
    rule: str  # empty: all
    why: str
    for_s: float = 0.0  # of "armed": for how long at most
    frame_seq: int = -1  # the first frame that it holds for; -1: not known, see t_ns

    def as_event(self) -> dict[str, object]:
        """Return it as the map of an event."""
        return {**self._asdict(), "kind": "rules"}


class Arming:
    """Disarmed until armed, and then for a limited time."""

    def __init__(self) -> None:
        self.since_ns: int | None = None
        self.until_ns = 0

    def arm(self, t_ns: int, for_ns: int) -> None:
        """Allow from now on, for so long; arming again prolongs and keeps the blocks' beat."""
        if self.since_ns is None:
            self.since_ns = t_ns
        self.until_ns = t_ns + for_ns

    def disarm(self) -> None:
        """Allow nothing."""
        self.since_ns = None

    def expired(self, now_ns: int) -> bool:
        """Return whether it is armed and the time is over."""
        return self.since_ns is not None and now_ns >= self.until_ns


def in_block(blocks: BlocksSection | None, armed_ns: int, now_ns: int) -> bool:
    """Return whether a schedule lets a rule fire now."""
    if blocks is None:
        return True
    on_ns, off_ns = round(blocks.on_s * 1e9), round(blocks.off_s * 1e9)
    at = (now_ns - armed_ns) % (on_ns + off_ns)
    return at < on_ns if blocks.first == "on" else at >= off_ns
