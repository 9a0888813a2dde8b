"""The Python clients in docs/examples, run as they are, beside a real rtface."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, free_ports
from programs import SYNTHETIC, running, wait_until

import rtface

EXAMPLES = ROOT / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))

from open_ephys import Crossing, NetworkEvents  # noqa: E402

#: answers as the Network Events plugin does, from the facts in docs/examples/README.md
PLUGIN = """
import json, sys, time, zmq
port, kind, log = int(sys.argv[1]), sys.argv[2], open(sys.argv[3], "a", buffering=1)
socket = zmq.Context().socket(zmq.REP)
socket.bind(f"tcp://127.0.0.1:{port}")
print("ready", flush=True)
while True:
    request = socket.recv().decode()
    log.write(json.dumps([time.monotonic(), request]) + "\\n")
    if kind == "deaf":
        time.sleep(3600)
    command, *words = request.split()
    pairs = {k.lower(): v for k, v in (word.split("=", 1) for word in words)}
    if command == "IsAcquiring":
        reply = "0" if kind == "idle" else "1"
    elif command == "TTL" and kind == "old":  # it knows Channel= and on=, and ignores the others
        channel, on = pairs.get("channel", "1"), pairs.get("on", "0")
        reply = f"TTLHandled: Channel={channel} on={on}"
    elif command == "TTL" and kind == "wordy":
        reply = f"TTLHandled: Channel={int(pairs['line'])} on={int(pairs['state'])}"
    elif command == "TTL":
        reply = f"TTLHandled: Line={int(pairs['line'])} State={int(pairs['state'])}"
    else:
        reply = "NotHandled"
    socket.send_string(reply)
"""


class Plugin:
    """The stand-in for Open Ephys, in a process of its own."""

    def __init__(self, folder: Path, port: int, kind: str = "acquiring") -> None:
        self.log = folder / f"plugin{port}"
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PLUGIN, str(port), kind, str(self.log)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout
        assert self.popen.stdout.readline() == "ready\n"

    def requests(self) -> list[str]:
        return [json.loads(line)[1] for line in self.log.read_text().splitlines()]

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@contextlib.contextmanager
def plugin(folder: Path, port: int, kind: str = "acquiring") -> Iterator[Plugin]:
    one = Plugin(folder, port, kind)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def events(port: int) -> Iterator[NetworkEvents]:
    one = NetworkEvents(f"tcp://127.0.0.1:{port}", line=3, timeout_s=0.3, max_age_s=1.0)
    yield one
    one.close()


def outcomes(events: NetworkEvents, timeout_s: float = 20) -> list[str]:
    """Tend until nothing is left to do; every turn must be short, whatever the server does."""
    said = []
    deadline = time.monotonic() + timeout_s
    while events.busy:
        assert time.monotonic() < deadline
        before = time.monotonic()
        outcome = events.tend()
        assert time.monotonic() - before < 0.25  # a wait for a reply would be 0.3 s
        if outcome:
            said.append(outcome)
        time.sleep(0.002)
    return said


def test_crossing_has_hysteresis() -> None:
    above = Crossing(on=10, off=8)
    assert [above.update(v) for v in (9, 9.9, 11, 12, 9, 8, 7, 6, 9, 10.5)] == [
        *(None, None, 1, None, None, None, 0, None, None, 1)
    ]
    below = Crossing(on=3, off=5)
    assert [below.update(v) for v in (4, 2, 4, 6, 4, 1)] == [None, 1, None, 0, None, 1]


@pytest.mark.parametrize("kind", ["acquiring", "wordy"])
def test_marks_and_asks_whether_it_counted(
    tmp_path: Path, port: int, events: NetworkEvents, kind: str
) -> None:
    with plugin(tmp_path, port, kind) as server:
        for state in (1, 0):
            events.set(state)
            assert outcomes(events) == ["marked"]
        assert server.requests() == [
            *("TTL Line=3 State=1", "IsAcquiring", "TTL Line=3 State=0", "IsAcquiring")
        ]
    assert (events.marked, events.dropped) == (2, 0)


@pytest.mark.parametrize(
    ("kind", "why"),
    [("idle", "not acquiring"), ("old", "answered 'TTLHandled: Channel=1 on=0'")],
)
def test_a_mark_that_did_not_count_is_said(
    tmp_path: Path, port: int, events: NetworkEvents, kind: str, why: str
) -> None:
    with plugin(tmp_path, port, kind):
        events.set(1)
        (said,) = outcomes(events)
    assert why in said
    assert (events.marked, events.dropped) == (0, 1)


def test_nobody_there_then_somebody(tmp_path: Path, port: int, events: NetworkEvents) -> None:
    events.set(1)
    (said,) = outcomes(events)
    assert "no answer" in said
    with plugin(tmp_path, port) as server:
        events.set(0)
        assert outcomes(events) == ["marked"]
        time.sleep(0.3)  # the state of before is not sent late
        assert server.requests() == ["TTL Line=3 State=0", "IsAcquiring"]


def test_a_server_that_stops_answering_and_is_started_again(
    tmp_path: Path, port: int, events: NetworkEvents
) -> None:
    with plugin(tmp_path, port, "deaf") as server:
        events.set(1)
        (said,) = outcomes(events)
        assert "no answer" in said
        assert server.requests()[0] == "TTL Line=3 State=1"
    with plugin(tmp_path, port) as server:
        events.set(0)
        assert outcomes(events)[-1] == "marked"
        assert server.requests()[-2:] == ["TTL Line=3 State=0", "IsAcquiring"]


def test_a_newer_state_replaces_one_that_waits(
    tmp_path: Path, port: int, events: NetworkEvents
) -> None:
    with plugin(tmp_path, port) as server:
        for state in (1, 0, 1):
            events.set(state)
        assert outcomes(events) == ["marked"]
        assert server.requests() == ["TTL Line=3 State=1", "IsAcquiring"]
    assert (events.marked, events.dropped) == (1, 2)


def test_a_state_that_comes_while_another_is_under_way(
    tmp_path: Path, port: int, events: NetworkEvents
) -> None:
    with plugin(tmp_path, port) as server:
        events.set(1)
        assert events.tend() is None  # sent
        events.set(0)
        assert outcomes(events) == ["marked", "marked"]
        assert [r for r in server.requests() if r != "IsAcquiring"] == [
            *("TTL Line=3 State=1", "TTL Line=3 State=0")
        ]
    assert (events.marked, events.dropped) == (2, 0)


@pytest.mark.slow
def test_both_clients_beside_a_real_run(tmp_path: Path, tiny_bundle: Path, port: int) -> None:
    """Pupil style: values as ours. Open Ephys: a mark, as this point's x alone is beyond 150 px."""
    with (
        running(tmp_path, tiny_bundle, SYNTHETIC.format(rate=100.0)) as program,
        plugin(tmp_path, port) as server,
        rtface.subscribe("cam1", program.data) as stream,
        subprocess.Popen(
            [
                *(sys.executable, EXAMPLES / "open_ephys.py", "--address", program.data),
                *("--plugin", f"tcp://127.0.0.1:{port}", "--line", "2", "--seconds", "20"),
                *("--keypoint", "nose(tip)", "--axis", "x", "--on", "150", "--off", "140"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as marker,
        subprocess.Popen(
            [
                *(sys.executable, EXAMPLES / "pupil_style.py"),
                *("--port", str(program.control), "--count", "50"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        ) as listener,
    ):
        try:
            ours = {}
            while listener.poll() is None:
                message = stream.receive(0.1)
                if message is not None and message.keypoints is not None:
                    ours[message.fields["timestamp"]] = message.keypoints[0].tolist()
            assert listener.stdout
            lines = [line.split() for line in listener.stdout]
            wait_until(lambda: "IsAcquiring" in server.requests(), 20)
            told = [stream.meta(), program.status()]
        finally:
            marker.kill()
            listener.kill()
        assert marker.stdout
        out = marker.stdout.read()
    assert len(lines) == 50
    for topic, timestamp, *point in lines:
        assert topic == "pose.cam1."
        assert [float(value) for value in point] == ours[float(timestamp)]
    assert server.requests() == ["TTL Line=2 State=1", "IsAcquiring"]
    assert "line 2 = 1" in out
    document = (ROOT / "docs" / "wire.md").read_text()
    assert not [key for key in sorted(keys_of(told)) if f"`{key}`" not in document]


def keys_of(value: Any) -> set[str]:
    """Every key in a map and the maps in it, except names that are the user's."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    own = set(value) if isinstance(value, dict) else set()
    return (own - {"cam1", "ok"}).union(*map(keys_of, inner))
