"""The tracker stopped or killed in the middle of a pulse: when the line is off, by the board."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, NamedTuple

from rtface.accept.drill import RULE, Drill
from rtface.accept.steps import FAILED, PASSED, Step, failed
from rtface.outputs.board import Decoder, Message
from rtface.rules_config import AnyOutput, SerialSection

#: how long a pulse is waited for, s
PULSE_S = 15.0
#: so long after the command, or a quarter of the pulse if that is shorter, the tracker is hit, s
INTO_S = 0.02
#: what may pass beside the watchdog: the board looks at its clock, and we at ours
SLACK_NS = 5_000_000
#: after the watchdog's time, how long the board is listened to, s
LISTEN_S = 0.4
_WRAP_US = 2**32
# Windows has none of them, and is refused before they are needed
_STOP, _GO_ON, _KILL = (getattr(signal, name, 0) for name in ("SIGSTOP", "SIGCONT", "SIGKILL"))
_HELD_OPEN = os.O_RDWR | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)


class Hit(NamedTuple):
    """A pulse in which the tracker was hit; ns of the host's clock, and how wrong that may be.

    ``known``: when an earlier pulse rose, by how much later that may have been, ns, and the board's
    own time of it, us.
    """

    n: int
    hit_ns: int
    hit_err_ns: int
    known: tuple[int, int, int]

    def latest_ns(self, board_us: int) -> int:
        """Return the time of the host's clock that a time of the board's is at the latest."""
        line_ns, err_ns, then_us = self.known
        return line_ns + err_ns + (board_us - then_us) % _WRAP_US * 1000


class Told(NamedTuple):
    """What the board said of a pulse: on and off by its clock, us; ``W`` by its watchdog, or E."""

    on_us: int | None
    off_us: int | None
    kind: str


def cannot(name: str, section: AnyOutput) -> str:
    """Return why this cannot be tried here, or nothing."""
    if not isinstance(section, SerialSection):
        return f"output.{name} has kind = '{section.kind}': there is no board that could tell"
    if sys.platform == "win32":
        return "this system cannot stop a process and hold a port open"
    return ""


def judge(step: str, name: str, hit: Hit, told: Told, watchdog_us: int) -> Step | None:
    """Return whether the line was off in time; None: the hit says nothing, another is needed.

    It was before or after the pulse, or nobody knows well when it was.
    """
    if hit.hit_err_ns > SLACK_NS:
        return None
    if told.on_us is None or told.off_us is None:
        return failed(step, name, "the board never said that the line is off")
    into_ns = hit.hit_ns - hit.latest_ns(told.on_us)
    after_ns = hit.latest_ns(told.off_us) - hit.hit_ns
    if after_ns <= 0 or into_ns <= 0:
        return None
    by_watchdog = told.kind == "W"
    how = "by its watchdog" if by_watchdog else "by the pulse's own end"
    text = (
        f"hit {into_ns / 1e6:.1f} ms into a pulse; the board says that the line was off at most "
        f"{after_ns / 1e6:.1f} ms later, {how} (watchdog {watchdog_us / 1e3:g} ms)"
    )
    numbers = {"off_ms": after_ns / 1e6, "into_ms": into_ns / 1e6, "by_watchdog": by_watchdog}
    good = after_ns <= watchdog_us * 1000 + SLACK_NS
    return Step(step, name, PASSED if good else FAILED, text, numbers)


def _hit(drill: Drill, number: int) -> Hit | None:
    """Send the tracker a signal in a pulse; None: none came."""
    end = time.monotonic() + 0.5  # an earlier pulse tells the board's clock
    while time.monotonic() < end or not _known(drill.events):
        drill.turn()
        if time.monotonic() > end + PULSE_S:
            return None
    end = time.monotonic() + PULSE_S
    while time.monotonic() < end:
        for event in drill.hear():
            if event["kind"] == "decision" and event["rule"] == RULE and event["t_command_ns"]:
                time.sleep(min(INTO_S, event["pulse_us"] / 4e6))
                tracker, hit_ns = drill.tracker, time.perf_counter_ns()
                os.kill(tracker, number)
                err_ns = time.perf_counter_ns() - hit_ns
                return Hit(event["n"], hit_ns, err_ns, _known(drill.events))
        time.sleep(0.0005)
    return None


def _known(events: list[dict[str, Any]]) -> Any:
    """Return the last time of a line in both clocks; None if there is none."""
    for event in reversed(events):
        if event["kind"] == "line" and event["what"] == "on":
            return event["line_ns"], event["line_err_ns"], event["board_us"]
    return None


def stop(drill: Drill, name: str) -> Step | None:
    """Stop the tracker in a pulse, and let it go on; None: try again."""
    hit = _hit(drill, _STOP)
    if hit is None:
        return failed("stop", name, f"the line was not on in {PULSE_S:.0f} s")
    watchdog_us = _watchdog_us(drill)
    try:
        time.sleep(watchdog_us * 1e-6 + LISTEN_S)
    finally:
        os.kill(drill.tracker, _GO_ON)
    told = Told(None, None, "")
    end = time.monotonic() + 3.0
    while time.monotonic() < end and told.off_us is None:
        drill.turn()
        told = _from_events(drill.events, hit.n)
    return judge("stop", name, hit, told, watchdog_us)


def kill(drill: Drill, name: str, section: SerialSection) -> Step | None:
    """Kill the tracker in a pulse, which ends the run; None: try again."""
    # held open by us, too: the port does not hang up with the tracker, which would reset the board
    port = os.open(section.port, _HELD_OPEN)
    try:
        hit = _hit(drill, _KILL)
        if hit is None:
            return failed("kill", name, f"the line was not on in {PULSE_S:.0f} s")
        watchdog_us = _watchdog_us(drill)
        time.sleep(watchdog_us * 1e-6 + LISTEN_S)
        drill.hear()
        read, left = _from_events(drill.events, hit.n), _from_port(port, hit.n)
        drill.until_gone(5.0)
    finally:
        os.close(port)
    on_us = read.on_us if left.on_us is None else left.on_us
    told = Told(on_us, left.off_us, left.kind) if read.off_us is None else read
    return judge("kill", name, hit, told, watchdog_us)


def _watchdog_us(drill: Drill) -> int:
    """Return the watchdog's time as the board told it."""
    ups = [e for e in drill.events if e["kind"] == "line" and e["what"] == "up"]
    return int(ups[0]["watchdog_us"]) if ups else 0


def _from_events(events: list[dict[str, Any]], n: int) -> Told:
    """Return what the tracker heard of a pulse."""
    mine = [event for event in events if event["kind"] == "line" and event["n"] == n]
    on_us = next((event["board_us"] for event in mine if event["what"] == "on"), None)
    off = next((event for event in mine if event["what"] == "off"), None)
    if off is None:
        return Told(on_us, None, "")
    return Told(on_us, off["board_us"], "W" if off["watchdog"] else "E")


def _from_port(port: int, n: int) -> Told:
    """Return what the board said of a pulse that nobody had read yet."""
    said: list[Message] = []
    decode = Decoder()
    while True:
        try:
            data = os.read(port, 4096)
        except BlockingIOError:
            break
        if not data:
            break
        said += decode(data)
    mine = [message for message in said if message.id == n & 0xFFFF]
    on_us = next((message.value for message in mine if message.kind == "A"), None)
    off = next((message for message in mine if message.kind in "EW"), None)
    return Told(on_us, off.value if off else None, off.kind if off else "")
