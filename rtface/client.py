"""Receive keypoints in your own program: ``for message in rtface.subscribe(): ...``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import zmq

from rtface import wire
from rtface.ping import Offset, RemoteClock
from rtface.types import HOST_TIMES, SIGNAL_TOPICS, UserError
from rtface.wire import Message

DATA = "tcp://127.0.0.1:5581"
CONTROL = "tcp://127.0.0.1:5580"
#: what can be subscribed to
TOPICS = ("pose", *SIGNAL_TOPICS)
#: how long to wait for a stream to appear, s
META_TIMEOUT_S = 5.0
#: a new run's meta comes when its socket connects, and every 5 s, s
_META_WITHIN_S = 6.0
_LOCAL = ("tcp://127.0.0.1:", "tcp://localhost:", "ipc:")


def localised(message: Message, offset: Offset) -> Message:
    """Return a message with its times in this machine's clock."""
    fields = dict(message.fields)
    for name in (*HOST_TIMES, "about_ns"):
        if name in fields:
            fields[name] += offset.offset_ns
    fields["timestamp"] = fields["exposure_ns"] * 1e-9
    fields["exposure_err_ns"] += offset.err_ns
    fields["clock_err_ns"] = offset.err_ns
    return replace(message, fields=fields)


class Subscription:
    """An iterator over the messages of one camera. Belongs to the thread that made it.

    Attributes
    ----------
    received : int
        Messages handed out.
    lost : int
        Gaps in ``seq``: messages that were published and did not arrive, or (with ``latest``) were
        passed over for a newer one.
    stale : int
        Messages thrown away because they were older than ``max_age_s``.
    foreign : int
        Messages thrown away because they are not of this version of the wire.
    """

    def __init__(
        self,
        camera: str = "cam1",
        address: str = DATA,
        latest: bool = False,
        max_age_s: float | None = None,
        timeout_s: float | None = None,
        clock: str = "rig",
        control: str = CONTROL,
        topic: str = "pose",
    ) -> None:
        if topic not in TOPICS or (latest and topic != "pose"):
            raise ValueError(f"topic is one of {', '.join(TOPICS)}, and only pose has latest")
        if clock not in ("rig", "local"):
            raise ValueError(f"clock is 'rig' or 'local', not {clock!r}")
        self._clock = RemoteClock(control) if clock == "local" else None
        if max_age_s is not None and not (address.startswith(_LOCAL) or self._clock):
            raise ValueError(
                f"max_age_s compares clocks of one machine, and {address} may be another; "
                "leave it out, or use clock='local'"
            )
        self.received = self.lost = self.stale = self.foreign = 0
        self._last_seq: int | None = None
        self._session: str | None = None
        self._max_age_ns = None if max_age_s is None else int(max_age_s * 1e9)
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self._meta_socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self._meta: dict[str, Any] | None = None
        for socket in (self._socket, self._meta_socket):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, wire.HEARTBEAT_TIMEOUT_MS)
        if latest:
            self._socket.setsockopt(zmq.CONFLATE, 1)  # keeps one message; single-frame topics only
            self._topic = wire.fast_topic(camera)
        else:
            self._socket.setsockopt(zmq.RCVHWM, 100_000)
            self._topic = f"{topic}.{camera}."
        self._socket.setsockopt(zmq.SUBSCRIBE, self._topic.encode())
        self._meta_socket.setsockopt(zmq.SUBSCRIBE, wire.meta_topic(camera).encode())
        try:
            self._socket.connect(address)
            self._meta_socket.connect(address)
        except zmq.ZMQError:
            self.close()
            raise

    def __iter__(self) -> Iterator[Message]:
        """Iterate until ``timeout_s`` passes without a message (for ever without one)."""
        return self

    def __next__(self) -> Message:
        """Return the next message that is fresh enough."""
        message = self.receive(self._timeout_s)
        if message is None:
            raise StopIteration
        return message

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """Return the next message, or None when ``timeout_s`` passed without one."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        looked = False
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0 and looked:
                return None
            looked = True
            if not self._socket.poll(None if left is None else int(max(0.0, left) * 1000) + 1):
                return None
            try:
                message = wire.decode(self._socket.recv_multipart())
            except wire.WireError:
                self.foreign += 1
                continue
            if message.topic != self._topic:
                continue  # a prefix subscription lets nothing else in, a foreign sender might
            session = message.fields.get("session")
            if session != self._session:  # another run counts from 0 again
                self._session, self._last_seq = session, None
            if self._last_seq is not None and message.seq > self._last_seq:
                self.lost += message.seq - self._last_seq - 1
            self._last_seq = message.seq
            if self._clock is not None:
                message = localised(message, self._clock.offset())
            if self._max_age_ns is not None and self.age_ns(message) > self._max_age_ns:
                self.stale += 1
                continue
            self.received += 1
            return message

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The connection, for a poller of your own; readable when ``receive`` may have something.

        Only to be waited for: what is read from it past ``receive`` is not counted.
        """
        return self._socket

    @staticmethod
    def age_ns(message: Message) -> int:
        """Return how long ago the tracker finished this message, ns; same machine only."""
        return time.perf_counter_ns() - int(message.fields["t_done_ns"])

    def meta(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """Return what describes the stream: keypoint names, skeleton, frame size, model ...

        Raises
        ------
        TimeoutError
            Nobody publishes this camera at this address.
        """
        while self._meta is None or self._meta_socket.poll(0):
            if not self._meta_socket.poll(int(timeout_s * 1000)):
                raise TimeoutError(f"no {self._topic} stream; is rtface running?")
            try:
                self._meta = wire.decode(self._meta_socket.recv_multipart()).fields
            except wire.WireError:
                self.foreign += 1
        return self._meta

    def names(self, message: Message) -> list[str]:
        """Return the names of a message's keypoints, also when a new run has begun.

        Waits up to 6 s for the ``meta`` of a run that has just begun; should it not come, the
        names are the numbers of the rows.
        """
        deadline = time.monotonic() + _META_WITHIN_S
        session = message.fields.get("session")  # fast messages have none
        meta = self.meta()
        while session not in (None, meta.get("session", session)) and time.monotonic() < deadline:
            time.sleep(0.01)
            meta = self.meta()
        names: list[str] = meta["keypoints"]
        n = 0 if message.keypoints is None else len(message.keypoints)
        known = session in (None, meta.get("session", session)) and len(names) == n
        return names if known else [str(i) for i in range(n)]

    def close(self) -> None:
        """Disconnect."""
        if self._clock is not None:
            self._clock.close()
            self._clock = None
        if not self._context.closed:
            self._socket.close()
            self._meta_socket.close()
            self._context.term()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def subscribe(
    camera: str = "cam1",
    address: str = DATA,
    *,
    latest: bool = False,
    max_age_s: float | None = None,
    timeout_s: float | None = None,
    clock: str = "rig",
    control: str = CONTROL,
    topic: str = "pose",
) -> Subscription:
    """Return an iterator over the messages of a camera: its keypoints, or its signals.

    Parameters
    ----------
    camera : str
        Its name in the rig file.
    address : str
        Data port of that camera.
    latest : bool
        False: every message, in order (for recording and analysis). True: always the newest one
        (for control); what is older than ``max_age_s``, 50 ms unless given, is never handed out.
    max_age_s : float, optional
        Throw away what was finished longer ago than this; only on the machine that runs rtface.
    timeout_s : float, optional
        End the iteration after this long without a message.
    clock : str
        "rig": times are the rig's ``perf_counter_ns``, as published. "local": they are moved into
        this machine's, by pings of the control port every 2 s; ``exposure_err_ns`` then holds the
        error of that, too, and ``clock_err_ns`` it alone.
    control : str
        Control port of the run, for ``clock="local"``.
    topic : str
        "pose": keypoints. "motion", "pupil" or "neural": what is in ``message.signals`` by name, if
        the rig asks for it; nothing comes otherwise.

    Raises
    ------
    TimeoutError
        ``clock="local"`` and nobody answers at ``control``.

    Examples
    --------
    >>> for message in rtface.subscribe("cam1", timeout_s=1):  # doctest: +SKIP
    ...     print(message.seq, message.keypoints[:, :2])
    """
    if latest and max_age_s is None and address.startswith(_LOCAL):
        max_age_s = 0.05
    return Subscription(camera, address, latest, max_age_s, timeout_s, clock, control, topic)


def open_stream(camera: str, address: str, latest: bool = False) -> Subscription:
    """Return the subscription of a command, once its ``meta`` is there.

    Raises
    ------
    UserError
        Not an address, or nobody publishes this camera there.
    """
    try:
        stream = subscribe(camera, address, latest=latest)
    except zmq.ZMQError as error:
        raise UserError(
            f"{address}: cannot connect ({error.strerror}); an address looks like {DATA}"
        ) from None
    try:
        stream.meta(META_TIMEOUT_S)
    except TimeoutError:
        stream.close()
        raise UserError(
            f"{address}: no camera '{camera}' is published there; start 'rtface demo' or "
            "'rtface run', or give the camera and address it printed"
        ) from None
    return stream


def ask(command: str, address: str = CONTROL, timeout_s: float = 2.0, **fields: Any) -> Any:
    """Send one command to the control port and return its reply as a dict.

    Raises
    ------
    TimeoutError
        Nobody answers there.
    """
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        socket.send(json.dumps({"cmd": command, **fields}).encode())
        if not socket.poll(int(timeout_s * 1000)):
            raise TimeoutError(f"no answer from {address}; is rtface running?")
        return json.loads(socket.recv())
