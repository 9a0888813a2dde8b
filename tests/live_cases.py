"""An Event Broadcaster of Open Ephys in another process, and frames of ours beside it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

DAQ_HZ = 30_000.0
#: speaks as the plugin does: a part for the kind of event, a part of JSON; waits for a listener
SERVER = """
import json, sys, time, zmq
context = zmq.Context()
socket = context.socket(zmq.XPUB)
socket.setsockopt(zmq.SNDHWM, 0)
socket.bind(sys.argv[1])
texts = sys.stdin.readlines()
socket.recv()
for text in texts:
    event = json.loads(text)
    socket.send_multipart([event["event_type"].encode(), text.strip().encode()])
time.sleep(1)
"""


def event(sample: int, line: int, state: int, stream: str = "PXI-6133") -> dict[str, object]:
    """A TTL event as the plugin tells it."""
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


@contextlib.contextmanager
def serve(address: str, messages: list[dict[str, Any]]) -> Iterator[None]:
    """Run the server; it sends all messages to the first that listens, and ends."""
    words = [sys.executable, "-c", SERVER, address]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as server:
        assert server.stdin is not None
        server.stdin.write("\n".join(map(json.dumps, messages)).encode())
        server.stdin.close()
        try:
            yield
        finally:
            server.kill()
