"""Lines that rules fire: one file per kind. None of them ever waits for its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

__all__ = ["LineEvent", "Output", "Pulse"]


class Pulse(NamedTuple):
    """What a line is told to do.

    Attributes
    ----------
    n : int
        Number of the decision.
    rule : str
    frame_seq : int
    exposure_ns : int
        Of that frame.
    width_us : int
        How long the line is on.
    """

    n: int
    rule: str
    frame_seq: int
    exposure_ns: int
    width_us: int


@dataclass(frozen=True, slots=True)
class LineEvent:
    """What became known of a line.

    Attributes
    ----------
    t_ns : int
        When, ``perf_counter_ns``.
    output : str
    what : str
        ``up``, ``down``, ``on`` (acknowledged), ``off``, ``refused``, ``lost`` (no answer),
        ``note``.
    n : int
        Number of the decision, -1: of none.
    detail : mapping
        ``why``; of ``on`` and ``off`` of a board ``board_us``, ``line_ns`` and ``line_err_ns``.
    """

    t_ns: int
    output: str
    what: str
    n: int = -1
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_event(self) -> dict[str, Any]:
        """Return it as the map of an event."""
        told = {"t_ns": self.t_ns, "output": self.output, "what": self.what, "n": self.n}
        return {"kind": "line", **told, **self.detail}


class Output(Protocol):
    """A line. Belongs to one thread; no method waits, and none raises for what a device does.

    Attributes
    ----------
    name : str
    fail_safe : bool
        It goes idle by itself when this program or this machine dies.
    up : bool
        The device answers and can be fired.
    """

    name: str
    fail_safe: bool

    @property
    def up(self) -> bool:
        """See above."""

    def fire(self, pulse: Pulse) -> int | None:
        """Hand the command to the system; return when, ns, or None if the line is down."""

    def idle(self) -> None:
        """Switch the line off, now."""

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Do what is due (keepalive, reading answers) and return what became known."""

    def close(self) -> None:
        """Switch the line off and free it; may be called twice."""
