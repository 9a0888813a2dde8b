"""The Network Events plugin of the Open Ephys GUI, over ZeroMQ.

The plugin answers requests one after the other. A REQ socket would wait for each answer; a DEALER
speaks the same frames and does not. The plugin stamps an event with the data block it processes
next, and a line stays as it was told last, whatever happens to us: not fail-safe.
"""

from __future__ import annotations

import re
import time
from collections import deque

import zmq

from rtface.outputs import LineEvent, Pulse
from rtface.rules_config import OpenEphysSection

#: without an answer for so long the plugin is down
SILENT_NS = 300_000_000
#: how often it is asked whether it acquires
ASK_NS = 500_000_000
#: requests under way; more are refused
MOST = 32


class OpenEphysOutput:
    """Sets a TTL line, and sets it back by our own clock; see ``Output``."""

    fail_safe = False

    def __init__(self, name: str, section: OpenEphysSection) -> None:
        self.name = name
        self._address, self._line = section.address, section.line
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._asked: deque[tuple[str, int, int]] = deque()  # request, n, when; answers keep order
        self._off_ns: int | None = None
        self._off_n = -1
        self._ask_ns = 0
        self._up = False
        self._acquiring: bool | None = None
        self._events: list[LineEvent] = []
        self._connect()

    @property
    def up(self) -> bool:
        """Whether the plugin answered lately."""
        return self._up

    def fire(self, pulse: Pulse) -> int | None:
        """Set the line; ``poll`` sets it back. See ``Output``."""
        if not self._up or not self._send(f"TTL Line={self._line} State=1", pulse.n):
            return None
        t_ns = time.perf_counter_ns()
        self._off_ns, self._off_n = t_ns + pulse.width_us * 1000, pulse.n
        return t_ns

    def idle(self) -> None:
        """Set the line back now."""
        self._off_ns = None
        self._send(f"TTL Line={self._line} State=0", self._off_n)

    def poll(self, now_ns: int) -> list[LineEvent]:
        """End pulses, read answers, ask whether it acquires; see ``Output``."""
        if self._socket is None:
            return []
        self._read()
        if self._off_ns is not None and now_ns >= self._off_ns:
            self.idle()
        if self._asked and now_ns - self._asked[0][2] > SILENT_NS:
            self._silent(now_ns)
        elif now_ns >= self._ask_ns:
            self._ask_ns = now_ns + ASK_NS
            self._send("IsAcquiring", -1)
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Set the line back and disconnect, waiting 50 ms at most for that to leave."""
        if self._socket is not None:
            self.idle()
            self._socket.close(linger=50)
            self._socket = None
            self._up = False
            self._context.term()

    def _connect(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)  # what was not sent dies with the socket
        self._socket.setsockopt(zmq.SNDHWM, MOST)
        self._socket.connect(self._address)

    def _send(self, request: str, n: int) -> bool:
        if self._socket is None or len(self._asked) >= MOST:
            return False
        try:
            self._socket.send_multipart([b"", request.encode()], zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._asked.append((request, n, time.perf_counter_ns()))
        return True

    def _read(self) -> None:
        assert self._socket is not None
        while self._asked:
            try:
                reply = self._socket.recv_multipart(zmq.NOBLOCK)[-1].decode(errors="replace")
            except zmq.Again:
                return
            request, n, _ = self._asked.popleft()
            self._hear(request, n, reply, time.perf_counter_ns())

    def _hear(self, request: str, n: int, reply: str, t_ns: int) -> None:
        if not self._up:
            self._up = True
            self._tell(t_ns, "up", -1, "")
        if request == "IsAcquiring":
            acquiring = reply == "1"
            if acquiring is not self._acquiring:
                self._acquiring = acquiring
                says = "acquires" if acquiring else "does not acquire: it drops events"
                self._tell(t_ns, "note", -1, f"Open Ephys {says}")
        # a plugin that does not know Line= and State= takes them for channel 1, off
        elif not reply.startswith("TTLHandled") or _numbers(reply) != _numbers(request):
            self._tell(t_ns, "refused", n, f"answered {reply[:80]!r}")
        else:
            self._tell(t_ns, "on" if request.endswith("1") else "off", n, "")

    def _silent(self, now_ns: int) -> None:
        """Abandon all requests with their socket, and begin anew."""
        assert self._socket is not None
        for request, n, _ in self._asked:
            if n >= 0:
                self._tell(now_ns, "lost", n, f"no answer to {request}")
        self._asked.clear()
        self._socket.close(linger=0)
        if self._up:
            self._up = False
            self._tell(now_ns, "down", -1, f"no answer from {self._address}")
        self._ask_ns = now_ns + ASK_NS
        self._connect()

    def _tell(self, t_ns: int, what: str, n: int, why: str) -> None:
        self._events.append(LineEvent(t_ns, self.name, what, n, {"why": why} if why else {}))


def _numbers(text: str) -> list[str]:
    return re.findall(r"=(\d+)", text)
