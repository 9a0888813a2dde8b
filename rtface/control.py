"""The control port: one request, one reply, from any language; served by the supervisor alone.

A request is one frame: either a JSON map ``{"cmd": ...}``, answered with a JSON map that has
``ok`` (and ``error``), or one of the short strings of Pupil Remote, answered with a string.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import zmq

from rtface import __version__
from rtface.publish import bind

#: a peer that sends more is disconnected, bytes
MAX_REQUEST = 16_384
#: address, the empty frame of a REQ, request, and a few hops of proxies: what has more is garbage,
#: and its envelope must not be sent back
MAX_FRAMES = 8
#: requests answered per turn; more wait in TCP, so that a flood costs the machine little
PER_TURN = 10


def answer(request: bytes, status: dict[str, Any], endpoints: dict[str, Any], now_ns: int) -> bytes:
    """Return the reply to one request. Pure; every request is harmless and may be repeated."""
    if not request.startswith(b"{"):
        return _answer_pupil(request, endpoints, now_ns).encode()
    try:
        command = json.loads(request)
        name = command["cmd"]
    except (ValueError, KeyError, RecursionError):
        return _json(ok=False, error="not a JSON map with the key cmd")
    known: dict[str, dict[str, Any]] = {
        "ping": {"t_host_ns": now_ns},
        "version": {"version": __version__},
        "endpoints": endpoints,
        "status": status,
    }
    if isinstance(name, str) and name in known:
        return _json(ok=True, **known[name])
    return _json(ok=False, error=f"unknown cmd; there are {', '.join(known)}")


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _answer_pupil(request: bytes, endpoints: dict[str, Any], now_ns: int) -> str:
    word = request[:32].split(b" ")[0]
    if word == b"t":
        return repr(now_ns * 1e-9)
    if word == b"v":
        return __version__
    if word == b"SUB_PORT":
        return str(next(iter(endpoints["data"].values())).rsplit(":", 1)[1])
    if word == b"T":
        return "Time is monotonic here and cannot be set."
    return "Unknown command."


class Control:
    """ROUTER socket that plain REQ clients use. Belongs to one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], host: str, port: int) -> None:
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST)
        self._socket.setsockopt(zmq.RCVHWM, 100)
        self._socket.setsockopt(zmq.SNDHWM, 100)
        bind(self._socket, host, port, "control")
        #: requests answered
        self.answered = 0

    def serve(
        self,
        timeout_s: float,
        status: Callable[[], dict[str, Any]],
        endpoints: dict[str, Any],
    ) -> None:
        """Wait up to ``timeout_s`` for requests and answer at most PER_TURN of them."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return
        for _ in range(PER_TURN):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if not 2 <= len(frames) <= MAX_FRAMES:
                continue
            # REQ puts an empty frame before its request, DEALER need not
            envelope, request = frames[:-1], frames[-1]
            reply = answer(request, status(), endpoints, time.perf_counter_ns())
            self.answered += 1
            try:
                self._socket.send_multipart([*envelope, reply], zmq.NOBLOCK)
            except zmq.ZMQError:
                continue  # the peer is gone or does not read; its reply is its own loss
        time.sleep(0.01)

    def close(self) -> None:
        """Close the port."""
        self._socket.close(linger=0)
