"""Open Ephys live: an Event Broadcaster in another process, frames that we time, samples."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import golden
import numpy as np
import pytest
from conftest import ROOT, free_ports
from live_cases import DAQ_HZ, event, serve

from rtface.publish import Publisher
from rtface.sync.anchor import NoMatch
from rtface.sync.live import EventBroadcaster, LiveClock, decode
from rtface.sync.simulate import Simulated, Wrong, simulate
from rtface.types import Result

FIRST = 123_456


def both_sides() -> tuple[Simulated, np.ndarray, list[dict[str, object]]]:
    """A session, the samples of its pulses in the recording, and what the plugin says."""
    session = simulate(1, "late", 100.0, 50.0, (3.0, 50.0), wrong=Wrong(glitches=0, extra_frames=0))
    samples = FIRST + np.round(session.edges.rising_s * DAQ_HZ).astype(int)
    messages: list[dict[str, object]] = [{"event_type": "spike", "stream": "PXI-6133"}]
    for sample in samples.tolist():
        messages += [event(sample, 3, 1), event(sample + 20, 7, 1), event(sample + 30, 3, 0)]
    return session, samples, messages


def test_our_strobe_in_samples_of_open_ephys() -> None:
    session, samples, messages = both_sides()
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    clock = LiveClock(100.0)
    with serve(address, messages), EventBroadcaster(3, address) as broadcaster:
        with pytest.raises(NoMatch, match="0 pulses"):
            clock.fit()
        heard, deadline = 0, time.monotonic() + 20
        while heard < 2 * len(samples) and time.monotonic() < deadline:
            if found := broadcaster.receive(0.1):
                assert found.stream == "PXI-6133"
                clock.add_event(found)
                heard += 1
    assert heard == 2 * len(samples)
    host_ns = np.round(session.frames.t_s * 1e9).astype(np.int64)
    for t_ns, frame_id in zip(host_ns.tolist(), session.frames.frame_id.tolist(), strict=True):
        clock.add_frame(t_ns, frame_id, 0)
    fit = clock.fit()
    truth = FIRST + session.truth_s * DAQ_HZ
    wrong_s = np.abs([fit.sample(t) for t in host_ns.tolist()] - truth) / DAQ_HZ
    assert wrong_s.max() < 0.2e-3  # one line through a minute of two clocks that wander
    assert fit.votes >= 8
    assert fit.p95_s < 0.1e-3


@pytest.mark.slow
def test_the_example_says_the_sample_of_every_frame() -> None:
    """Two real streams: ours over its wire, and the plugin's."""
    session, _, messages = both_sides()
    data, broadcaster = free_ports(2)
    publisher = Publisher("cam1", golden.SESSION, {"keypoints": []}, "127.0.0.1", data)
    words = ["--line", "3", "--rate", "100", "--every", "0.2", "--seconds", "3"]
    words += ["--address", f"tcp://127.0.0.1:{data}"]
    words += ["--broadcaster", f"tcp://127.0.0.1:{broadcaster}"]
    base, n = golden.result(), len(session.frames.t_s)
    example = [sys.executable, str(ROOT / "docs" / "examples" / "open_ephys_clock.py"), *words]
    with (
        serve(f"tcp://127.0.0.1:{broadcaster}", messages),
        subprocess.Popen(
            example, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as client,
    ):
        until = time.monotonic() + 20
        while not publisher.subscribers:
            assert time.monotonic() < until
            publisher.tend()
            time.sleep(0.01)
        for i, (t_s, frame_id) in enumerate(
            zip(session.frames.t_s.tolist(), session.frames.frame_id.tolist(), strict=True)
        ):
            ledger = base.ledger._replace(
                frame_seq=i, frame_id=frame_id, exposure_ns=round(t_s * 1e9)
            )
            publisher.send(Result(i, ledger, base.pose))
            time.sleep(0.005 if i > n - 300 else 0.0002)
        said, errors = client.communicate(timeout=30)
    publisher.close()
    assert client.returncode == 0, errors
    assert "not sure: " in errors
    rows = np.array([line.split(",") for line in said.splitlines()], float)
    assert rows[-1, 0] == n - 1
    assert len(rows) > 100
    truth = FIRST + session.truth_s[rows[:, 0].astype(int)] * DAQ_HZ
    assert np.abs(rows[:, 1] - truth).max() / DAQ_HZ < 0.5e-3


def test_what_is_no_event_of_a_line() -> None:
    good = event(5, 3, 1)
    assert decode([b"ttl", json.dumps(good).encode()]) is not None
    for parts in (
        [],
        [b"ttl", b"\xff\x00"],
        [b"ttl", b"[1]"],
        [b"ttl", b"{}"],
        [b"ttl", json.dumps(good | {"event_type": "spike"}).encode()],
        [b"ttl", json.dumps(good | {"sample_number": "x"}).encode()],
    ):
        assert decode(parts) is None
