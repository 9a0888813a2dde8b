"""JSON lines over TCP, for MATLAB and whatever else reads text: any number of clients."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from rtface.types import UserError
from rtface.wire import Message, json_fields, json_text

HOST = "127.0.0.1"
PORT = 5589
#: what may wait for one client here, and in the system's buffer: old lines help nobody
PENDING_BYTES = 1 << 20
SYSTEM_BYTES = 1 << 18
#: connections taken, and bytes read from each, in one turn
AT_MOST = 16
READ_BYTES = 4096
#: how long the last lines have to leave at the end, s
LINGER_S = 0.2


def with_missed(text: str, missed: int) -> bytes:
    """Return a JSON object as a line, with one more key: lines dropped for this client so far."""
    return f'{text[:-1]}, "missed": {missed}}}\n'.encode()


class Client:
    """One connection and the whole lines that wait for it.

    Attributes
    ----------
    missed : int
        Lines dropped because too many waited already.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_BYTES)
        self.missed = 0
        self._connection = connection
        self._session: str | None = None
        self._pending = bytearray()

    def add(self, session: str, meta: str, text: str) -> bool:
        """Queue a line whole or not at all; before the first of a run its meta, or neither."""
        data = with_missed(text, self.missed)
        if session != self._session:
            data = with_missed(meta, self.missed) + data
        if self._pending and len(self._pending) + len(data) > PENDING_BYTES:
            self.missed += 1
            return False
        self._pending += data
        self._session = session
        return True

    def flush(self) -> None:
        """Send what the connection takes now; OSError when the client is gone."""
        with contextlib.suppress(BlockingIOError):
            while self._pending:
                del self._pending[: self._connection.send(self._pending)]

    @property
    def waiting(self) -> bool:
        """Whether something is still to be sent."""
        return bool(self._pending)

    def listen(self) -> None:
        """Throw away what the client says; OSError when it is gone."""
        with contextlib.suppress(BlockingIOError):
            if not self._connection.recv(READ_BYTES):
                raise ConnectionResetError

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class JsonLines:
    """A server on the loopback interface. A Target."""

    def __init__(self, port: int = PORT) -> None:
        try:
            self._server = socket.create_server((HOST, port))
        except OSError as error:
            what = error.strerror or str(error)
            raise UserError(
                f"{HOST}:{port}: cannot listen there ({what.lower()}); stop what uses it, or "
                "give another --port"
            ) from None
        self._server.setblocking(False)
        self._clients: list[Client] = []
        self._session = self._meta = ""
        self._names: list[str] = []
        self._dropped = 0

    def begin(self, meta: dict[str, Any]) -> None:
        """Prepare the first line of another run."""
        self._session, self._names = meta["session"], meta["keypoints"]
        self._meta = json_text(meta)

    def send(self, message: Message) -> None:
        """Queue the line of a message for every client."""
        if self._clients:
            text = json_text(json_fields(message, self._names))
            for client in self._clients:
                self._dropped += not client.add(self._session, self._meta, text)

    def tend(self) -> None:
        """Let clients come and go, and send them what waits."""
        for _ in range(AT_MOST):
            try:
                connection, _ = self._server.accept()
            except OSError:  # nobody, or too many open files
                break
            self._clients.append(Client(connection))
        for client in list(self._clients):
            try:
                client.listen()
                client.flush()
            except OSError:
                client.close()
                self._clients.remove(client)

    def state(self) -> str:
        """Return how many clients there are and what was dropped for all of them."""
        return f"dropped {self._dropped}  clients {len(self._clients)}"

    def close(self) -> None:
        """Close the port and every connection, after giving the last lines a moment to leave."""
        deadline = time.monotonic() + LINGER_S
        while any(client.waiting for client in self._clients) and time.monotonic() < deadline:
            self.tend()
            time.sleep(0.01)
        for client in self._clients:
            client.close()
        self._server.close()
