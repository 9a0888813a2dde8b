"""The control port: one request, one reply, from any language; served by the supervisor alone.

A request is one frame: either a JSON map ``{"cmd": ...}``, answered with a JSON map that has
``ok`` (and ``error``), or one of the short strings of Pupil Remote, answered with a string. What
takes a while (a camera's word, a file) is answered once it is known; others are not held up.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import zmq

from rtface import __version__
from rtface.publish import bind
from rtface.types import UserError

#: a peer that sends more is disconnected, bytes
MAX_REQUEST = 16_384
#: address, the empty frame of a REQ, request, and a few hops of proxies: what has more is garbage,
#: and its envelope must not be sent back
MAX_FRAMES = 8
#: requests answered per turn; more wait in TCP, so that a flood costs the machine little
PER_TURN = 10


#: what a subject or a session may be called: it becomes part of a folder's name
LABEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?")
MAX_REMARK = 500
#: rectangles as left,top,width,height in px; several with ';' between
_BOX = r"[0-9]{1,5}(,[0-9]{1,5}){3}"
BOXES = re.compile(rf"(none|{_BOX}(;{_BOX}){{0,7}})?")
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
#: what is not known after this time is answered so, s
ANSWER_WITHIN_S = 0.8

#: what an order came to, once that is known; its exception is a UserError
Outcome = Future[dict[str, Any]]
#: does what an order of ``ORDERS`` asks for, with its fields
Act = Callable[[str, dict[str, str]], Outcome | None]


def answer(
    request: bytes, status: dict[str, Any], endpoints: dict[str, Any], now_ns: int, act: Act
) -> bytes | Outcome:
    """Return the reply to one request, or what it will be made of.

    Questions are harmless and may be repeated. Orders are checked here and handed to ``act``,
    which raises UserError if it cannot obey.
    """
    if not request.startswith(b"{"):
        return _answer_pupil(request, endpoints, now_ns, act).encode()
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
    if isinstance(name, str) and name in ORDERS:
        try:
            outcome = act(name, _checked(name, command))
        except UserError as error:
            return _json(ok=False, error=str(error))
        return outcome or _json(ok=True)
    return _json(ok=False, error=f"unknown cmd; there are {', '.join((*known, *ORDERS))}")


#: the orders and the texts each may bring
ORDERS: dict[str, tuple[str, ...]] = {
    "record": ("subject", "name"),
    "stop_record": (),
    "annotate": ("text",),
    "trigger": ("camera",),
    "arm": ("seconds",),
    "disarm": (),
    "write_rig": ("camera", "bbox", "roi", "pupil", "running"),
    "exposure": ("camera", "us"),
}
#: what a field may hold where it is neither a remark nor a label, and how that is said
FIELDS = {
    **dict.fromkeys(
        ("bbox", "roi", "pupil", "running"),
        (BOXES, "is left,top,width,height in whole px, several with ';' between, or 'none'"),
    ),
    "us": (NUMBER, "is an exposure time in microseconds, such as 800 or 12.5"),
}


def _checked(order: str, command: dict[str, Any]) -> dict[str, str]:
    """Return the fields of an order; UserError if one of them cannot be used."""
    if unknown := set(command) - {"cmd", *ORDERS[order]}:
        raise UserError(f"{order} has no field {sorted(unknown)[0]!r}")
    fields = {key: command.get(key, "") for key in ORDERS[order]}
    for key, value in fields.items():
        # as it travels to the recorder it has to fit into one write
        if not isinstance(value, str) or len(json.dumps(value)) > 6 * MAX_REMARK:
            raise UserError(f"{key} has to be a text of at most {MAX_REMARK} characters")
        if not value.isprintable():
            raise UserError(f"{key} holds characters that cannot be shown; leave them out")
        if key in FIELDS:
            pattern, what = FIELDS[key]
            if not pattern.fullmatch(value):
                raise UserError(f"{key} {what}")
        elif key != "text" and not LABEL.fullmatch(value):
            raise UserError(f"{key} may hold letters, digits, '_', '.' and '-' (at most 64)")
    return fields


def told(outcome: Outcome) -> bytes:
    """Return the reply that an outcome makes, which has to be there."""
    try:
        return _json(ok=True, **outcome.result(0))
    except UserError as error:
        return _json(ok=False, error=str(error))


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _answer_pupil(request: bytes, endpoints: dict[str, Any], now_ns: int, act: Act) -> str:
    word, _, rest = request[:100].partition(b" ")
    answers = {
        b"t": repr(now_ns * 1e-9),
        b"v": __version__,
        b"SUB_PORT": str(next(iter(endpoints["data"].values())).rsplit(":", 1)[1]),
        b"T": "Time is monotonic here and cannot be set.",
    }
    if word in (b"R", b"r"):
        return _record_pupil(word, rest, act)
    return answers.get(word, "Unknown command.")


def _record_pupil(word: bytes, rest: bytes, act: Act) -> str:
    try:
        if word == b"R":
            name = rest.decode("ascii", "replace").strip()
            act("record", _checked("record", {"name": name}))
        else:
            act("stop_record", {})
    except UserError as error:
        return str(error)
    return "OK"


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
        #: who waits, for what, until when (``time.monotonic``)
        self._waiting: list[tuple[list[bytes], Outcome, float]] = []

    def serve(
        self,
        timeout_s: float,
        status: Callable[[], dict[str, Any]],
        endpoints: dict[str, Any],
        act: Act,
    ) -> None:
        """Wait up to ``timeout_s`` for requests and answer at most PER_TURN of them."""
        self._tell_outcomes()
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
            reply = answer(request, status(), endpoints, time.perf_counter_ns(), act)
            if isinstance(reply, bytes):
                self._reply(envelope, reply)
            else:
                until = time.monotonic() + ANSWER_WITHIN_S
                self._waiting.append((envelope, reply, until))
        time.sleep(0.01)

    def _tell_outcomes(self) -> None:
        """Answer what is known by now, or will not be."""
        waiting, self._waiting = self._waiting, []
        for envelope, outcome, until in waiting:
            if outcome.done():
                self._reply(envelope, told(outcome))
            elif time.monotonic() > until:
                self._reply(envelope, _json(ok=False, error=f"no word within {ANSWER_WITHIN_S} s"))
            else:
                self._waiting.append((envelope, outcome, until))

    def _reply(self, envelope: list[bytes], reply: bytes) -> None:
        self.answered += 1
        # a peer that is gone or does not read: its reply is its own loss
        with contextlib.suppress(zmq.ZMQError):
            self._socket.send_multipart([*envelope, reply], zmq.NOBLOCK)

    def close(self) -> None:
        """Close the port."""
        self._socket.close(linger=0)
