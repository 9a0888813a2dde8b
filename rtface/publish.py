"""Publishes results over ZeroMQ from the tracker's own thread, never waiting for anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import zmq

from rtface import wire
from rtface.types import Result, SignalLengths, UserError

META_EVERY_NS = 5_000_000_000
#: messages kept per subscriber before its own are dropped: 4 s at 500 Hz
SEND_HIGH_WATER_MARK = 2000
#: different topics whose subscribers are counted
MOST_TOPICS = 100


def bind(socket: zmq.Socket[bytes], host: str, port: int, what: str) -> None:
    """Bind ``tcp://host:port`` or say in one line that somebody else has it."""
    try:
        socket.bind(f"tcp://{host}:{port}")
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise UserError(
            f"tcp://{host}:{port}: cannot open the {what} port "
            f"({zmq.strerror(error.errno or 0).lower()}, perhaps by another rtface); stop what "
            f"uses it, or set another {what}_port under [stream] of a rig file"
        ) from None


class Publisher:
    """XPUB socket of one camera: ``pose.``, ``fast.``, ``motion.``, ``pupil.`` and ``meta.``.

    A Sink. Belongs to one thread. A subscriber that does not keep up loses messages of its own;
    nothing here waits.

    Parameters
    ----------
    meta : dict
        Everything needed to decode and interpret; sent to each new subscriber and every 5 s.
    lengths : dict
        Of the signals that results have; the topics of others are never sent.
    """

    def __init__(
        self,
        camera: str,
        session: str,
        meta: dict[str, Any],
        host: str,
        port: int,
        lengths: SignalLengths = MappingProxyType({}),
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._session = session
        self._clock = clock
        self._pose_topic = wire.pose_topic(camera)
        self._fast_topic = wire.fast_topic(camera)
        # as it stands in the message: a subscription may contain its zeros
        self._fast_bytes = wire.FAST_TOPIC.pack(self._fast_topic.encode())
        self._meta_topic = wire.meta_topic(camera)
        self._trigger_topic = wire.trigger_topic(camera)
        self._events = 0
        self._signals = wire.signal_topics(camera, lengths)
        self.set_meta(meta)
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every subscription, not only the first
        self._socket.setsockopt(zmq.SNDHWM, SEND_HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        # what comes upstream are subscriptions; a peer that sends more is disconnected
        self._socket.setsockopt(zmq.MAXMSGSIZE, 4096)
        # half-open connections are found without traffic
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, wire.HEARTBEAT_TIMEOUT_MS)
        try:
            bind(self._socket, host, port, "data")
        except UserError:
            self._context.term()
            raise
        self._subscribers: dict[bytes, int] = {}
        # made only once somebody has asked for it
        self._fast_wanted = False
        self._wanted: dict[str, tuple[str, ...]] = {}

    @property
    def subscribers(self) -> int:
        """How many subscriptions to keypoints are open now."""
        topics = (self._pose_topic.encode(), self._fast_bytes)
        return sum(n for t, n in self._subscribers.items() if any(x.startswith(t) for x in topics))

    def set_meta(self, meta: dict[str, Any]) -> None:
        """Say from now on, and in the next turn to all, that this describes the stream."""
        self._meta = wire.encode_map(self._meta_topic, meta, with_json=True)
        self._masks = {"masks": (meta.get("motion") or {}).get("masks")}
        self._neural = meta.get("neural") or {}
        self._meta_due_ns = 0

    def send(self, result: Result) -> None:
        """Publish one result on its topics; never blocks (XPUB drops for a slow peer)."""
        if self._fast_wanted:
            self._socket.send(wire.encode_fast(self._fast_topic, result), zmq.NOBLOCK)
        self._socket.send_multipart(
            wire.encode_pose(self._pose_topic, self._session, result), zmq.NOBLOCK
        )
        for topic, names in self._wanted.items():
            told = self._told(topic, result)
            self._socket.send_multipart(
                wire.encode_signals(topic, self._session, result, names, told), zmq.NOBLOCK
            )

    def _told(self, topic: str, result: Result) -> dict[str, Any]:
        """Return the keys that the messages of one topic have beside those of all."""
        if topic.startswith("motion."):
            return self._masks
        if topic.startswith("neural."):
            about_ns = result.ledger.exposure_ns - self._neural["lag_ns"]
            return {"bundle": self._neural["bundle"], "about_ns": about_ns}
        return {}

    def send_event(self, event: dict[str, Any]) -> None:
        """Publish what happened to rules and lines on ``trigger.``; never blocks."""
        fields = {"session": self._session, "seq": self._events, **event}
        self._events += 1
        self._socket.send_multipart(wire.encode_map(self._trigger_topic, fields), zmq.NOBLOCK)

    def tend(self, at_most: int = 4) -> None:
        """Read at most a few subscription messages and send ``meta`` where it is due."""
        now = self._clock()
        meta_asked = now >= self._meta_due_ns
        for _ in range(at_most):
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if message and message[0] <= 1:  # else whatever a peer may send upstream
                meta_asked |= self._note(message[1:], bool(message[0]))
        if meta_asked:
            self._send_meta(now)

    def _note(self, topic: bytes, wanted: bool) -> bool:
        """Keep count of a subscription that came or went; True if it asks for ``meta``."""
        count = self._subscribers.get(topic, 0) + (1 if wanted else -1)
        if count <= 0:
            self._subscribers.pop(topic, None)
        elif len(self._subscribers) < MOST_TOPICS:
            self._subscribers[topic] = count
        self._fast_wanted |= wanted and self._fast_bytes.startswith(topic)
        for name, signals in self._signals.items():
            if wanted and name.encode().startswith(topic):
                self._wanted[name] = signals
        return wanted and self._meta_topic.encode().startswith(topic)

    def _send_meta(self, now: int) -> None:
        self._socket.send_multipart(self._meta, zmq.NOBLOCK)
        self._meta_due_ns = now + META_EVERY_NS

    def close(self, linger_ms: int = 200) -> None:
        """Close the port, after giving the last messages a moment to leave."""
        if not self._socket.closed:
            self._socket.close(linger=linger_ms)
            self._context.term()
