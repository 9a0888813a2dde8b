"""Another host's clock by pings on the control port: for subscribers on other machines."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any, NamedTuple

import zmq

#: probes of a burst, and how far apart: close enough together, and not in each other's way, s
PROBES, APART_S = 8, 0.03
EVERY_S = 2.0
PROBE_TIMEOUT_S = 0.5
#: how much two crystals may part while nothing is heard, ns per s
WANDER_NS_PER_S = 100_000


class Offset(NamedTuple):
    """Local clock minus remote clock, ns; bound on its error; local time when it was found."""

    offset_ns: int
    err_ns: int
    at_ns: int


def best(probes: list[tuple[int, int, int]]) -> Offset | None:
    """Return the offset by the probe that came back soonest. Pure.

    Each probe is (local time before, remote time, local time after), ns. The remote clock was read
    somewhere in between, so half the round trip bounds the error, as in NTP (RFC 5905).
    """
    if not probes:
        return None
    before, remote, after = min(probes, key=lambda probe: probe[2] - probe[0])
    half = (after - before + 1) // 2
    return Offset(before + half - remote, half, after)


class RemoteClock:
    """Keeps pinging a control port from a thread of its own; its offset may be read by any.

    Parameters
    ----------
    control : str
        Control port of the run, ``tcp://host:5580``.

    Raises
    ------
    TimeoutError
        Nobody answers there.
    """

    def __init__(self, control: str) -> None:
        self._control = control
        self._stop = threading.Event()
        self._offset: Offset | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._burst()
        if self._offset is None:
            self._context.term()
            raise TimeoutError(f"no answer from {control}; is rtface running?")
        self._thread.start()

    def offset(self) -> Offset:
        """Return the newest offset; its error grows while nobody answers."""
        found = self._offset
        assert found is not None
        silent_ns = max(0, time.perf_counter_ns() - found.at_ns)
        grown = silent_ns * WANDER_NS_PER_S // 1_000_000_000
        return found._replace(err_ns=found.err_ns + grown)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            # whatever answers there now, the old offset is better than none
            with contextlib.suppress(zmq.ZMQError, ValueError, KeyError, TypeError):
                self._burst()

    def _burst(self) -> None:
        """Ask eight times, on a connection of its own: an unanswered REQ cannot ask again."""
        probes: list[tuple[int, int, int]] = []
        with self._context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self._control)
            for _ in range(PROBES):
                before = time.perf_counter_ns()
                socket.send(b'{"cmd": "ping"}')
                if not socket.poll(int(PROBE_TIMEOUT_S * 1000)):
                    break
                reply = socket.recv()
                after = time.perf_counter_ns()
                told: Any = json.loads(reply)
                probes.append((before, int(told["t_host_ns"]), after))
                if self._stop.wait(APART_S):
                    break
        self._offset = best(probes) or self._offset

    def close(self) -> None:
        """Stop pinging; may be called twice."""
        self._stop.set()
        self._thread.join()
        self._context.term()
