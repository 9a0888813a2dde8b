"""Counts what arrives of one topic: rate, time on the way, messages missed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import zmq

from rtface import wire
from rtface.wire import Message

STATUS_TOPIC = "status."
#: messages taken at a time, so that a fast topic does not keep the others waiting
AT_MOST = 100


class Tally:
    """Rate and ages of the last ``window_s``, and gaps in ``seq`` since the start.

    Attributes
    ----------
    received : int
    missed : int or None
        Numbers of ``seq`` that never came; None for a topic that has no ``seq``. Numbers that go
        back are a new run, not a gap.
    """

    def __init__(
        self,
        topic: str,
        window_s: float = 1.0,
        numbered: bool = True,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.topic = topic
        self.received = 0
        self.missed: int | None = 0 if numbered else None
        self._window_ns = int(window_s * 1e9)
        self._clock = clock
        self._start_ns = clock()
        self._last_seq: int | None = None
        #: when each came, and how old it was then, ns; the last one stays
        self._recent: deque[tuple[int, int | None]] = deque()

    def add(self, message: Message) -> None:
        """Count a message that has just arrived."""
        now = self._clock()
        if self.missed is not None:
            if self._last_seq is not None and message.seq > self._last_seq:
                self.missed += message.seq - self._last_seq - 1
            self._last_seq = message.seq
        sent_ns = message.fields.get("t_done_ns", message.fields.get("t_host_ns"))
        self._recent.append((now, None if sent_ns is None else now - int(sent_ns)))
        self.received += 1

    @property
    def rate_hz(self) -> float:
        """Messages per second in the window (in the time since the start if that is shorter)."""
        now = self._forget()
        span_ns = min(self._window_ns, now - self._start_ns)
        n = sum(came > now - self._window_ns for came, _ in self._recent)
        return n / (span_ns * 1e-9) if span_ns > 0 else 0.0

    @property
    def ages_ms(self) -> tuple[float, float] | None:
        """Median and largest time from sent to received in the window; None if none is known."""
        self._forget()
        ages = sorted(age for _, age in self._recent if age is not None)
        return (ages[len(ages) // 2] * 1e-6, ages[-1] * 1e-6) if ages else None

    @property
    def silent_s(self) -> float:
        """Time since the last message, or since the start."""
        last_ns = self._recent[-1][0] if self._recent else self._start_ns
        return (self._clock() - last_ns) * 1e-9

    def _forget(self) -> int:
        now = self._clock()
        while len(self._recent) > 1 and self._recent[0][0] <= now - self._window_ns:
            self._recent.popleft()
        return now


class TopicListener:
    """Receives one topic on a connection of its own. Belongs to one thread.

    Attributes
    ----------
    socket : zmq.Socket
        For a poller; readable when there is something to ``take``.
    tally : Tally
    newest : dict
        Fields of the newest message.
    foreign : int
        Messages that were not of wire version 1.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, tally: Tally) -> None:
        self.tally = tally
        self.newest: dict[str, Any] = {}
        self.foreign = 0
        self.socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 100_000)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, wire.HEARTBEAT_TIMEOUT_MS)
        self.socket.setsockopt(zmq.SUBSCRIBE, tally.topic.encode())
        self.socket.connect(address)

    def take(self) -> None:
        """Count what has arrived; never waits."""
        for _ in range(AT_MOST):
            try:
                message = wire.decode(self.socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            except wire.WireError:
                self.foreign += 1
                continue
            if message.topic == self.tally.topic:
                self.newest = message.fields
                self.tally.add(message)


class Row(NamedTuple):
    """What is shown of one topic; None where it does not have such a thing."""

    topic: str
    rate_hz: float | None = None
    ages_ms: tuple[float, float] | None = None
    missed: int | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the columns of the table."""
        p50, largest = ("-", "-") if self.ages_ms is None else (f"{a:.2f}" for a in self.ages_ms)
        rate = "-" if self.rate_hz is None else f"{self.rate_hz:.1f}"
        missed = "-" if self.missed is None else str(self.missed)
        return self.topic, rate, p50, largest, missed, self.note

    def line(self) -> str:
        """Return a plain line."""
        topic, rate, p50, largest, missed, note = self.cells()
        return (
            f"{topic:6} {rate:>6} Hz  sent -> received p50 {p50} max {largest} ms  "
            f"missed {missed}  {note}".rstrip()
        )
