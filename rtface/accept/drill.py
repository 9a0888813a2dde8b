"""A rig with one rule that keeps firing one line: how late it is, and what stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from rtface.accept import metronome
from rtface.config import Rig, parse_rig
from rtface.event_ring import EventRingReader
from rtface.process import ChildDied
from rtface.rings import ResultRingReader
from rtface.run import Supervisor
from rtface.types import Ledger, UserError

#: the rule's name, and the pulse while latencies are measured, ms
RULE, PULSE_MS = "accept_metronome", 5.0
#: as many rules as a rig may have
_MOST_RULES = 32


def drilled(rig: Rig, camera: str, output: str, pulse_ms: float, duty: float) -> Rig:
    """Return a rig in which the metronome fires one line, and all of its own rules stay dry.

    Its rules are decided as ever, on lines that are not real, so that the time they take is in
    what is measured. Nothing disarms it but its end. ``duty`` is what the board allows.
    """
    told = rig.model_dump()
    rules = list(told["rule"].items())[: _MOST_RULES - 1]
    first = next(iter(rig.camera))
    told["output"] = {output: {**told["output"][output], "light": False}}
    for _, rule in rules:
        rule["camera"] = rule["camera"] or first
        rule["output"], rule["hazard"] = f"dry_{rule['camera']}", False
        told["output"][rule["output"]] = {
            "kind": "dry",
            "light": False,
            "max_pulse_ms": 60_000.0,
        }
    told["rule"] = dict(rules) | {
        RULE: {
            "python": str(Path(metronome.__file__)),
            "budget_us": 100_000.0,
            "output": output,
            "camera": camera,
            "pulse_ms": pulse_ms,
            "refractory_ms": pulse_ms / (0.8 * min(duty, 1.0)),
            "max_age_ms": 10_000.0,
            "max_duty": 1.0,
            "max_fires": 1_000_000,
        }
    }
    told["loop"] |= {
        "arm_s": 86_400.0,
        "light_line": None,
        "light_step": 10.0,
        "silent_frames": 10_000,
        "clock_err_ms": None,
        "overload_frames": 1_000_000,
        "max_skipped": 1.0,
    }
    return parse_rig(told, "rig")


class Fired(NamedTuple):
    """One pulse that the metronome fired; ``line_ns`` is None if the line did not tell."""

    ledger: Ledger
    decided_ns: int
    command_ns: int | None
    line_ns: int | None
    line_err_ns: int


class Drill:
    """A drilled rig that runs. Belongs to one thread; use it as a context."""

    def __init__(self, rig: Rig, camera: str, stop_asked: Callable[[], bool]) -> None:
        self.camera, self._stop_asked = camera, stop_asked
        self._supervisor = Supervisor(rig, {"subject": "", "name": "accept"}, armed=True)
        self._stack = ExitStack()
        self._failed = True
        #: all that the tracker told, in order
        self.events: list[dict[str, Any]] = []
        self._ledgers: dict[int, Ledger] = {}

    def __enter__(self) -> Drill:
        """Start the rig; UserError, ChildDied."""
        self._stack.callback(lambda: self._supervisor.stop(self._failed))
        try:
            if not self._supervisor.start(self._stop_asked):
                raise UserError("stopped before it was done; nothing was accepted")
            self._ring = self._stack.enter_context(closing(EventRingReader(self.camera)))
            self._results = self._stack.enter_context(closing(ResultRingReader(self.camera)))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Stop it."""
        self._failed = kind is not None
        self._stack.close()

    @property
    def tracker(self) -> int:
        """The tracker's process id."""
        for process in self._supervisor.processes:
            if (process.role, process.camera) == ("track", self.camera):
                return process.popen.pid
        raise AssertionError("no tracker")

    def turn(self) -> None:
        """Do one turn of the run (about 50 ms) and take in what came; UserError if told to stop."""
        self._supervisor.turn()
        self.hear()
        if self._stop_asked():
            raise UserError("stopped before it was done; nothing was accepted")

    def hear(self) -> list[dict[str, Any]]:
        """Take in what the tracker told since; return it. Does not wait."""
        new = self._ring.new()
        self.events += new
        for result in self._results.new():
            self._ledgers[result.ledger.frame_seq] = result.ledger
        return new

    def until_gone(self, seconds: float) -> None:
        """Let the run notice that its tracker is gone."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self._supervisor.turn()
            except (ChildDied, UserError):
                return

    def go_on(self, seconds: float) -> None:
        """Let it run so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def fired(self) -> list[Fired]:
        """Return what the metronome fired so far."""
        on = {e["n"]: e for e in self.events if e["kind"] == "line" and e["what"] == "on"}
        found = []
        for event in self.events:
            if event["kind"] != "decision" or event["rule"] != RULE or event["outcome"] != "fired":
                continue
            ledger, line = self._ledgers.get(event["frame_seq"]), on.get(event["n"], {})
            if ledger is not None:
                line_ns, err_ns = line.get("line_ns"), line.get("line_err_ns", 0)
                found.append(
                    Fired(ledger, event["decided_ns"], event["t_command_ns"], line_ns, err_ns)
                )
        return found
