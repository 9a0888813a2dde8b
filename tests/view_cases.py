"""The page served in a thread, and a viewer without a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from conftest import free_ports
from websockets.sync.client import ClientConnection, connect

from rtface.view import packet
from rtface.view.serve import Settings, serve

TOKEN = "a-token-that-is-long-enough"


@contextlib.contextmanager
def serving(control: str = "tcp://127.0.0.1:9", **changed: Any) -> Iterator[Settings]:
    """Serve a page of the run at ``control`` until the block ends."""
    told = {"host": "127.0.0.1", "port": free_ports(1)[0], "token": None}
    settings = Settings(**{"control": control, "rate_hz": 30.0, "viewers": 4, **told, **changed})
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=serve, args=(settings, stop.is_set, ready.set))
    thread.start()
    try:
        assert ready.wait(10)
        yield settings
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive(), "the page did not end"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def get(settings: Settings, path: str, **headers: str) -> Answer:
    """Ask for a path as it stands, without a client that tidies it up."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=10)
    with contextlib.closing(connection):
        connection.putrequest("GET", path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read())


def answers(port: int) -> bool:
    """Whether a page is served there; beside a run it may come after the first frames."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Picture(NamedTuple):
    run: int
    step: int
    frame_seq: int
    values: np.ndarray
    jpeg: bytes


def read_picture(message: bytes) -> Picture:
    kind, step, run, n = packet.HEAD.unpack_from(message)
    assert kind == packet.PICTURE
    at = packet.HEAD.size
    times = np.frombuffer(message, "<f8", packet.N_TIMES, at)
    values = np.frombuffer(message, "<f4", n, at + times.nbytes)
    return Picture(run, step, int(times[0]), values, message[at + times.nbytes + values.nbytes :])


def read_rows(message: bytes, m: int) -> tuple[np.ndarray, np.ndarray]:
    kind, _, _, n = packet.HEAD.unpack_from(message)
    assert kind == packet.ROWS
    at = packet.HEAD.size
    times = np.frombuffer(message, "<f8", n * packet.N_TIMES, at).reshape(n, packet.N_TIMES)
    values = np.frombuffer(message, "<f4", n * m, at + times.nbytes).reshape(n, m)
    assert len(message) == at + times.nbytes + values.nbytes
    return times, values


class PageLike:
    """A viewer as the page is one; what it does not answer is not sent again."""

    def __init__(self, settings: Settings, name: str = "127.0.0.1", **options: Any) -> None:
        self._stack = contextlib.ExitStack()
        # whatever name is asked for, it is this machine that answers
        sock = socket.create_connection(("127.0.0.1", settings.port))
        address = f"ws://{name}:{settings.port}/ws"
        # what is not read holds the goodbye up
        known = {"max_size": None, "compression": None, "close_timeout": 0.5}
        connecting = connect(address, sock=sock, **known, **options)
        self.socket: ClientConnection = self._stack.enter_context(connecting)
        self.texts: list[dict[str, Any]] = []
        self.pictures: list[Picture] = []
        self.batches: list[bytes] = []
        self._id = 0

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def hear(self, timeout_s: float = 0.1, answer: bool = True) -> bool:
        """Take one message; False if none came."""
        try:
            message = self.socket.recv(timeout_s)
        except TimeoutError:
            return False
        if isinstance(message, str):
            self.texts.append(json.loads(message))
        elif message[0] == packet.PICTURE:
            self.pictures.append(read_picture(message))
            if answer:
                self.say(do="got", what="picture")
        else:
            self.batches.append(message)
            if answer:
                self.say(do="got", what="rows")
        return True

    def until(self, condition: Any, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s; {self.texts[-3:]}"
            self.hear()

    def ask(self, todo: str, **fields: Any) -> dict[str, Any]:
        """Ask, and return the answer."""
        self._id += 1
        number = self._id
        self.say(do=todo, id=number, **fields)
        self.until(lambda: any(text.get("reply") == number for text in self.texts))
        return next(text for text in self.texts if text.get("reply") == number)

    def last(self, key: str) -> dict[str, Any]:
        """The newest text that has this key."""
        return next((text for text in reversed(self.texts) if key in text), {})

    def close(self) -> None:
        self._stack.close()
