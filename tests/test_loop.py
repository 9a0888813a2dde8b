"""The closed loop in a whole run: a board fires, events leave and are recorded, and replay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import board
import numpy as np
import pytest
import zmq
from programs import RECORD, RTFACE, only_session, running, wait_until

import rtface
from rtface import wire
from rtface.config import load_rig
from rtface.retrigger import redecide

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals"),
]

#: a rule that comes true again and again, by noise
RULES = """
[camera.cam1.motion]
bin = 8
components = 5
fit_s = 1000
[output.laser]
kind = "serial"
port = "{port}"
light = false
[rule.often]
when = "z(motion_energy.full, 1 s) > {level}"
until = "{until}"
output = "laser"
pulse_ms = 4
refractory_ms = 40
repeat = true
sham = 0.2
[loop]
seed = 5
silent_frames = 500
max_skipped = 1.0
light_step = 10
"""
MOUSE = 'kind = "synthetic"\nwidth = 320\nheight = 240\nrate_hz = 100.0\n'


def rules(port: str, level: float = 0.3) -> str:
    return RULES.format(port=port, level=f"{level:g} sd", until=f"{level / 2:g} sd")


def edges(one: board.Running, level: int) -> list[int]:
    """When the board's line went to a level, ns."""
    return [t_ns for to, t_ns in one.changes if to == level]


def armed_run(folder: Path, bundle: Path, port: str, extra: str = ""):  # type: ignore[no-untyped-def]
    return running(folder, bundle, MOUSE + rules(port), extra=extra, words=("--armed",))


@pytest.mark.timeout(120)
def test_what_is_decided_fires_is_told_recorded_and_decided_again(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    with board.running() as one:
        with armed_run(tmp_path, tiny_bundle, one.port, RECORD.format(video="none")) as program:
            told = trigger_events(program.data, 4.0)
            status = program.status()["cameras"]["cam1"]["loop"]
            code, _, err = program.stop()
        rises = edges(one, 1)
    assert code == 0, err
    assert status["armed"]
    assert not status["dry"]
    assert status["down"] == []
    with rtface.open_session(only_session(tmp_path)) as session:
        events = [e for e in session.events if e.kind == "decision"]
        found = redecide(session, "cam1")
        assert found.whole
        assert found.same
        assert len(found.recorded) == len(events) > 20
        other = load_rig(write_rig(tmp_path, rules("/dev/null", 1000)))
        assert redecide(session, "cam1", other).again == []
        session_folder = session.path
    outcomes = [e.fields["outcome"] for e in events]
    assert {"fired", "sham"} <= set(outcomes)
    fired = [e.fields for e in events if e.fields["outcome"] == "fired"]
    # three processes: the tracker decided, the board's line rose, the recorder has both
    assert len(rises) == len(fired)
    late_ms = (np.array(rises) - np.array([f["decided_ns"] for f in fired])) / 1e6
    assert (late_ms > 0).all()
    assert np.median(late_ms) < 50
    answers = [e for e in session.events if e.kind == "line" and e.fields["what"] == "on"]
    assert len(answers) >= len(fired) - 1
    by_n = {e.fields["n"]: e.fields for e in events}
    decisions = [t for t in told if t["kind"] == "decision"]
    assert len(decisions) > 10
    for message in decisions:
        for key in ("rule", "frame_seq", "outcome", "decided_ns", "t_command_ns"):
            assert message[key] == by_n[message["n"]][key]
    said = subprocess.run(
        [RTFACE, "trigger", "replay", str(session_folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert f"all {len(events)} decisions are the same" in said.stdout


def trigger_events(address: str, seconds: float) -> list[dict[str, object]]:
    """What a subscriber gets of ``trigger.`` in so many seconds."""
    found = []
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.connect(address)
        socket.setsockopt(zmq.SUBSCRIBE, wire.trigger_topic("cam1").encode())
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if socket.poll(100):
                found.append(wire.decode(socket.recv_multipart()).fields)
    return found


def write_rig(folder: Path, text: str) -> Path:
    path = folder / "other.toml"
    path.write_text(f"[camera.cam1]\n{MOUSE}{text}")
    return path


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_line_goes_idle_when_the_tracker_is_gone_or_stands(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path, how: signal.Signals
) -> None:
    with board.running() as one:
        text = rules(one.port).replace("pulse_ms = 4", "pulse_ms = 90")
        text = text.replace("refractory_ms = 40", "refractory_ms = 200")
        text = text.replace("sham = 0.2", "")
        with running(tmp_path, tiny_bundle, MOUSE + text, words=("--armed",)) as program:
            tracker = program.pid("track cam1")
            wait_until(lambda: len(edges(one, 1)) > len(edges(one, 0)), 10)
            os.kill(tracker, how)
            stopped_ns = time.perf_counter_ns()
            time.sleep(0.6)
            changes = list(one.changes)
            if how is signal.SIGSTOP:
                os.kill(tracker, signal.SIGCONT)
            program.popen.kill()
    level, t_ns = changes[-1]
    assert level == 0
    assert (t_ns - stopped_ns) / 1e6 < 100 + 250  # the watchdog's time, and a busy machine's


@pytest.mark.timeout(60)
def test_rules_and_another_exposure_time_keep_off_each_other(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    text = MOUSE + rules("x").replace('kind = "serial"\nport = "x"', 'kind = "dry"')
    with running(tmp_path, tiny_bundle, text) as program:
        control = f"tcp://127.0.0.1:{program.control}"
        wait_until(lambda: program.counts()["loop"]["orders"] == 0, 10)
        expose = {"camera": "cam1", "us": "800"}
        assert rtface.ask("exposure", control, **expose)["us"] == 800.0
        for _ in range(5):  # at once, long before the status of the next second
            assert rtface.ask("arm", control, seconds="60")["ok"]
            assert "disarm first" in rtface.ask("exposure", control, **expose)["error"]
            assert rtface.ask("disarm", control)["ok"]
            wait_until(lambda: rtface.ask("exposure", control, **expose)["ok"], 5)


@pytest.mark.timeout(60)
def test_dry_and_disarmed_unless_told(tmp_path: Path, tiny_bundle: Path, ring_dir: Path) -> None:
    with board.running() as one:
        text = MOUSE + rules(one.port)
        with running(tmp_path, tiny_bundle, text) as program:
            control = f"tcp://127.0.0.1:{program.control}"

            def state() -> dict[str, object]:
                found: dict[str, object] = program.status()["cameras"]["cam1"]["loop"]
                return found

            wait_until(lambda: state()["rules"]["often"]["suppressed"] > 0, 10)  # type: ignore[index]
            assert (state()["armed"], state()["dry"]) == (False, True)
            assert not rtface.ask("arm", control, seconds="1e9")["ok"]
            assert rtface.ask("arm", control, seconds="60")["ok"]
            wait_until(lambda: state()["rules"]["often"]["fired"] > 0, 10)  # type: ignore[index]
            said = subprocess.run([RTFACE, "trigger", "disarm", "--control", control], check=False)
            assert said.returncode == 0
            wait_until(lambda: not state()["armed"], 10)
        assert edges(one, 1) == []  # dry: the board never heard of it


@pytest.mark.timeout(60)
def test_lines_are_tried(tmp_path: Path) -> None:
    with board.running() as one:
        rig = write_rig(tmp_path, rules(one.port))
        said = subprocess.run(
            [RTFACE, "trigger", "test", str(rig), "--times", "4"],
            capture_output=True,
            text=True,
            check=False,
        )
        rises = edges(one, 1)
    assert said.returncode == 0, said.stderr
    assert "4 of 4 pulses sent, 4 answered" in said.stdout, json.dumps(said.stdout)
    assert len(rises) == 4


@pytest.mark.timeout(60)
def test_the_demo_fires_a_board(tmp_path: Path, ring_dir: Path) -> None:
    said = subprocess.run(
        [RTFACE, "demo", "--closed-loop", "--seconds", "12"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert said.returncode == 0, said.stderr
    assert "ARMED" in said.stderr
    assert "closed loop: " in said.stdout
    assert "every frame accounted for: yes" in said.stdout
