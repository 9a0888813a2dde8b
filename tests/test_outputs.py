"""Lines without a board: Open Ephys, OSC, LSL, NI, and what looks after all of them."""

from __future__ import annotations

import socket
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import pytest
from replier import replying
from rules_cases import loop, make, rig, run

from rtface.outputs import LineEvent, Pulse
from rtface.outputs.dry import DryOutput
from rtface.outputs.lines import Lines
from rtface.outputs.make import make_outputs
from rtface.outputs.open_ephys import OpenEphysOutput
from rtface.outputs.osc import OscOutput
from rtface.rules_config import OpenEphysSection, OscSection
from rtface.types import UserError

PULSE = Pulse(5, "puff", 77, 10**15, 20_000)


def plugin(address: str) -> OpenEphysOutput:
    return OpenEphysOutput("mark", OpenEphysSection(kind="open_ephys", address=address, line=3))


def tend(
    line: Any, seconds: float, until: Callable[[list[LineEvent]], Any] = lambda events: False
) -> list[LineEvent]:
    events: list[LineEvent] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until(events):
        events += line.poll(time.perf_counter_ns())
        time.sleep(0.001)
    return events


def whats(events: list[LineEvent]) -> list[str]:
    return [event.what for event in events]


def test_open_ephys_gets_both_edges() -> None:
    with replying() as server:
        line = plugin(server.address)
        assert line.fire(PULSE) is None  # nobody has answered yet
        assert whats(tend(line, 5, lambda _: line.up)) == ["up", "note"]
        t_ns = line.fire(PULSE)
        events = tend(line, 3, lambda seen: len(seen) == 2)
        assert [(e.what, e.n) for e in events] == [("on", 5), ("off", 5)]
        time.sleep(0.05)
        (on, on_ns), (off, off_ns) = [one for one in server.requests if one[0] != "IsAcquiring"]
        assert (on, off) == ("TTL Line=3 State=1", "TTL Line=3 State=0")
        assert t_ns is not None
        assert on_ns > t_ns - 10**6
        assert off_ns - on_ns > 15e6
        line.close()
        line.close()
        assert not line.up


def test_open_ephys_that_does_not_acquire_or_understand() -> None:
    with replying(idle=1, lie=1) as server:
        line = plugin(server.address)
        events = tend(line, 5, lambda seen: "note" in whats(seen))
        assert "does not acquire" in events[-1].detail["why"]
        line.fire(PULSE)
        events = tend(line, 3, lambda seen: seen)
        assert (events[0].what, events[0].n) == ("refused", 5)
        line.close()


def test_open_ephys_that_falls_silent_delays_nobody_and_comes_back() -> None:
    with replying(mute_after=2) as server:
        line = plugin(server.address)
        tend(line, 5, lambda _: line.up)
        events, longest = [], 0.0
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            start = time.thread_time()
            events += line.poll(time.perf_counter_ns())
            line.fire(PULSE)
            longest = max(longest, time.thread_time() - start)
            time.sleep(0.002)
        assert not line.up
        assert longest < 0.05
        assert {"lost", "down"} <= set(whats(events))
        port = int(server.address.rpartition(":")[2])
    with replying(port=port):
        assert "up" in whats(tend(line, 5, lambda _: line.up))
    line.close()


def test_open_ephys_that_is_not_there() -> None:
    line = plugin("tcp://127.0.0.1:9")
    start = time.monotonic()
    assert tend(line, 0.7) == []
    assert not line.up
    line.close()
    assert time.monotonic() - start < 5


def test_osc_is_what_others_read() -> None:
    osc = pytest.importorskip("pythonosc.osc_message")
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(5)
    to = f"127.0.0.1:{receiver.getsockname()[1]}"
    line = OscOutput("mark", OscSection(kind="osc", to=to))
    assert line.fire(PULSE) is not None
    message = osc.OscMessage(receiver.recv(1000))
    assert message.address == "/rtface/trigger/mark"
    assert message.params == ["puff", 5, 20_000, 77]
    line.close()
    receiver.close()
    assert line.fire(PULSE) is None
    assert whats(line.poll(0)) == ["refused"]
    with pytest.raises(UserError, match=r"output.mark.to: no such host"):
        OscOutput("mark", OscSection(kind="osc", to="no.such.host.invalid:9000"))


class Counter:
    """Stands in for the calls of nidaqmx; there is no driver here."""

    def __init__(self, fails: bool) -> None:
        self.calls: list[str] = []
        self.fails, self.running = fails, False
        self.co_channels = self.timing = self

    def add_co_pulse_chan_time(self, counter: str, **_: Any) -> Counter:
        self.calls.append(counter)
        return self

    def cfg_implicit_timing(self, *_: Any, samps_per_chan: int) -> None:
        self.calls.append(f"finite {samps_per_chan}")

    def start(self) -> None:
        if self.fails or self.running:
            raise RuntimeError("-50103\nmore")
        self.running = True
        self.calls.append("start")

    def stop(self) -> None:
        self.running = False
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


@pytest.mark.parametrize("fails", [False, True])
def test_ni_counters(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    counter = Counter(fails)
    fake, constants = types.ModuleType("nidaqmx"), types.ModuleType("nidaqmx.constants")
    fake.Task = lambda: counter  # type: ignore[attr-defined]
    constants.AcquisitionType = types.SimpleNamespace(FINITE=1)  # type: ignore[attr-defined]
    constants.Level = types.SimpleNamespace(LOW=0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nidaqmx", fake)
    monkeypatch.setitem(sys.modules, "nidaqmx.constants", constants)
    made = loop({}, output={"ni": {"kind": "nidaqmx", "counter": "Dev1/ctr0"}})
    line = make_outputs(made, ["ni"], dry=False)["ni"]
    assert (line.fire(PULSE) is None) == fails
    assert (line.fire(PULSE) is None) == fails
    assert line.up != fails
    assert whats(line.poll(0)) == (["down"] if fails else [])
    line.close()
    line.close()
    middle = [] if fails else ["start", "stop", "start", "stop"]
    assert counter.calls == ["Dev1/ctr0", "finite 1", *middle, "close"]


def test_ni_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nidaqmx", None)
    made = loop({}, output={"ni": {"kind": "nidaqmx", "counter": "Dev1/ctr0"}})
    with pytest.raises(UserError, match="needs the package nidaqmx"):
        make_outputs(made, ["ni"], dry=False)


def test_lsl_markers() -> None:
    pylsl = pytest.importorskip("pylsl")
    made = loop({}, output={"mark": {"kind": "lsl", "stream": "rtface-test-marks"}})
    line = make_outputs(made, ["mark"], dry=False)["mark"]
    (found,) = pylsl.resolve_byprop("name", "rtface-test-marks", timeout=10) or [None]
    assert found is not None
    inlet = pylsl.StreamInlet(found)
    inlet.open_stream(timeout=10)
    assert line.fire(PULSE) is not None
    sample, _ = inlet.pull_sample(timeout=10)
    assert sample == [f"puff 5 20000 77 {10**15}"]
    inlet.close_stream()
    line.close()
    assert line.fire(PULSE) is None


class Broken(DryOutput):
    """A line whose library raises."""

    def fire(self, pulse: Pulse) -> int | None:
        raise RuntimeError("driver")


def test_lines_fire_what_was_decided_and_survive_everything() -> None:
    decisions = run(make(rig(pulse_ms=1.0, refractory_ms=15.0)), [90.0, 110.0] * 3)
    good, bad = DryOutput("laser"), Broken("laser")
    assert [Lines({"laser": good}).fire(d) is not None for d in decisions] == [True] * 3
    suppressed = run(make(rig()), [90.0, 110.0], arm=False)
    assert Lines({"laser": good}).fire(suppressed[0]) is None
    lines = Lines({"laser": bad})
    assert [lines.fire(d) for d in decisions] == [None] * 3
    events = lines.poll(0)
    assert [(e.what, e.n) for e in events] == [
        ("down", -1), ("refused", 0), ("refused", 1), ("refused", 2),
    ]  # fmt: skip
    assert events[0].as_event()["why"] == "RuntimeError: driver"
    assert lines.down() == ["laser"]
    lines.idle()
    lines.close()
    lines.close()


def test_dry_until_armed() -> None:
    made = loop({}, output={"laser": {"kind": "serial", "port": "/nowhere"}})
    assert make_outputs(made, ["laser"], dry=True)["laser"].up
    with pytest.raises(UserError, match=r"output\.laser\.port"):
        make_outputs(made, ["laser"], dry=False)
