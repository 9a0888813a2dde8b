"""Open Ephys live: an Event Broadcaster in another process, frames that we time, samples."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import free_ports

from rtface.sync.anchor import NoMatch
from rtface.sync.live import EventBroadcaster, LiveClock, decode
from rtface.sync.simulate import Wrong, simulate

DAQ_HZ = 30_000.0
#: speaks as the plugin does: a part for the kind of event, a part of JSON
SERVER = """
import json, sys, time, zmq
context = zmq.Context()
socket = context.socket(zmq.PUB)
socket.setsockopt(zmq.SNDHWM, 0)
socket.bind(sys.argv[1])
time.sleep(0.5)
for text in sys.stdin:
    event = json.loads(text)
    socket.send_multipart([event["event_type"].encode(), text.strip().encode()])
socket.send_multipart([b"ttl", json.dumps({"event_type": "end"}).encode()])
time.sleep(1)
"""


def event(sample: int, line: int, state: int, stream: str = "PXI-6133") -> dict[str, object]:
    return {
        "event_type": "ttl",
        "stream": stream,
        "source_node": 102,
        "channel_name": "TTL",
        "sample_rate": DAQ_HZ,
        "sample_number": sample,
        "line": line,
        "state": state,
    }


def test_our_strobe_in_samples_of_open_ephys() -> None:
    session = simulate(1, "late", 100.0, 50.0, (3.0, 50.0), wrong=Wrong(glitches=0, extra_frames=0))
    first = 123_456
    samples = first + np.round(session.edges.rising_s * DAQ_HZ).astype(int)
    messages: list[dict[str, object]] = [{"event_type": "spike", "stream": "PXI-6133"}]
    for sample in samples.tolist():
        messages += [event(sample, 3, 1), event(sample + 20, 7, 1), event(sample + 30, 3, 0)]
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    clock = LiveClock(100.0)
    with (
        subprocess.Popen([sys.executable, "-c", SERVER, address], stdin=subprocess.PIPE) as server,
        EventBroadcaster(3, address) as broadcaster,
    ):
        assert server.stdin is not None
        server.stdin.write("\n".join(map(json.dumps, messages)).encode())
        server.stdin.close()
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
    truth = first + session.truth_s * DAQ_HZ
    wrong_s = np.abs([fit.sample(t) for t in host_ns.tolist()] - truth) / DAQ_HZ
    assert wrong_s.max() < 0.2e-3  # one line through a minute of two clocks that wander
    assert fit.votes >= 8
    assert fit.p95_s < 0.1e-3


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
