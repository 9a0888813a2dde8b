"""A server in the manner of Open Ephys' Network Events plugin, in a process of its own.

``python replier.py [key=value ...]`` prints its address, then ``request nanoseconds`` of every
request it got, on CLOCK_MONOTONIC. Keys: ``mute_after`` (requests; then it answers no more),
``slow_ms``, ``lie`` (answers something else), ``idle`` (does not acquire), ``port``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import zmq


def serve(options: dict[str, int]) -> None:
    socket = zmq.Context().socket(zmq.REP)
    port = options.get("port", 0)
    socket.bind(f"tcp://127.0.0.1:{port or '*'}")
    print(socket.get(zmq.LAST_ENDPOINT).decode(), flush=True)
    mute_after, n = options.get("mute_after", -1), 0
    while True:
        request = socket.recv().decode()
        print(f"{request.replace(' ', '_')} {time.perf_counter_ns()}", flush=True)
        n += 1
        if 0 <= mute_after < n:
            time.sleep(60)
        time.sleep(options.get("slow_ms", 0) / 1000)
        if request == "IsAcquiring":
            answer = "0" if options.get("idle") else "1"
        elif options.get("lie"):
            answer = "TTLHandled: Channel=1 on=0"
        else:
            answer = request.replace("TTL", "TTLHandled:")
        socket.send(answer.encode())


class Replier:
    """One that runs; requests as (text, ns)."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        assert popen.stdout is not None
        self.popen = popen
        self.address = popen.stdout.readline().strip()
        self.requests: list[tuple[str, int]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            request, t = line.split()
            self.requests.append((request.replace("_", " "), int(t)))

    def stop(self) -> None:
        assert self.popen.stdout is not None
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        self.popen.stdout.close()


@contextlib.contextmanager
def replying(**options: int) -> Iterator[Replier]:
    """Run a server in another process."""
    words = [f"{key}={value}" for key, value in options.items()]
    popen = subprocess.Popen(
        [sys.executable, str(Path(__file__)), *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    one = Replier(popen)
    try:
        yield one
    finally:
        one.stop()


if __name__ == "__main__":
    serve({key: int(value) for key, _, value in (word.partition("=") for word in sys.argv[1:])})
