"""OSC bundles over UDP, for Bonsai, Max, and programs that draw or play a stimulus."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from typing import Any

from rtface.types import UserError
from rtface.wire import Message

TO = "127.0.0.1:9000"
#: the names are told again this often, as receivers come unseen, s
NAMES_EVERY_S = 5.0
#: what OSC keeps for itself in an address
RESERVED = re.compile(r"[^!-~]|[#*,/?\[\]{}]")


def parse_destination(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UserError(f"--to {text}: give HOST:PORT, for example {TO}")
    return host.strip("[]"), int(port)


def addresses(camera: str, names: Iterable[str]) -> list[str]:
    """Return the OSC address of each keypoint."""
    return [f"/rtface/{camera}/kp/{RESERVED.sub('_', name)}" for name in names]


class Encoder:
    """Turns messages into bundles: ``frame``, ``kp`` and one message per keypoint."""

    def __init__(self, camera: str, names: list[str]) -> None:
        try:
            from pythonosc import osc_bundle_builder, osc_message_builder
        except ImportError:
            raise UserError(
                "OSC needs python-osc; install it with: pip install 'rtface[bridge]'"
            ) from None
        self._bundle, self._message = osc_bundle_builder, osc_message_builder
        self._root = f"/rtface/{camera}"
        self._names = names
        self._addresses = addresses(camera, names)

    def names(self) -> bytes:
        """Return the datagram that names the keypoints."""
        names: bytes = self._part(f"{self._root}/names", "s" * len(self._names), self._names).dgram
        return names

    def encode(self, message: Message) -> bytes:
        """Return the datagram of one message."""
        fields = message.fields
        bundle = self._bundle.OscBundleBuilder(self._bundle.IMMEDIATELY)
        keys = ("frame_seq", "exposure_ns", "exposure_err_ns", "flags")
        rows = [] if message.keypoints is None else message.keypoints.tolist()
        flat = [value for row in rows for value in row]
        ledger = [message.seq, *(fields[key] for key in keys)]
        bundle.add_content(self._part(f"{self._root}/frame", "hhhhi", ledger))
        bundle.add_content(self._part(f"{self._root}/kp", "f" * len(flat), flat))
        for address, row in zip(self._addresses, rows, strict=True):
            bundle.add_content(self._part(address, "fff", row))
        datagram: bytes = bundle.build().dgram
        return datagram

    def _part(self, address: str, tags: str, values: Iterable[Any]) -> Any:
        builder = self._message.OscMessageBuilder(address)
        for tag, value in zip(tags, values, strict=True):
            builder.add_arg(value, tag)
        return builder.build()


class Osc:
    """Sends one datagram per message, to one place. A Target."""

    def __init__(self, camera: str, to: str = TO) -> None:
        host, port = parse_destination(to)
        self._encoder = Encoder(camera, [])
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise UserError(f"--to {to}: no such host ({error.strerror}); correct it") from None
        self._to: Any = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._camera = camera
        self._dropped = 0
        self._names_due_s = 0.0

    def begin(self, meta: dict[str, Any]) -> None:
        """Take the keypoints of another run."""
        self._encoder = Encoder(self._camera, meta["keypoints"])
        self._names_due_s = 0.0

    def send(self, message: Message) -> None:
        """Send one bundle, and the names where they are due."""
        if time.monotonic() >= self._names_due_s:
            self._names_due_s = time.monotonic() + NAMES_EVERY_S
            self._send(self._encoder.names())
        self._send(self._encoder.encode(message))

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._to)
        except OSError:  # too long, no room, no route: UDP promises nothing, the count tells
            self._dropped += 1

    def tend(self) -> None:
        """Nobody is connected."""

    def state(self) -> str:
        """Return how many datagrams the system did not take."""
        return f"dropped {self._dropped}"

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
