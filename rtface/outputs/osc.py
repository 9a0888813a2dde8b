"""One OSC message per pulse, over UDP: nobody answers, and nobody is waited for."""

from __future__ import annotations

import socket
import struct
import time

from rtface.outputs import LineEvent, Pulse
from rtface.rules_config import OscSection
from rtface.types import UserError


def _text(text: str) -> bytes:
    data = text.encode("utf-8") + b"\0"
    return data + b"\0" * (-len(data) % 4)


def osc_message(address: str, rule: str, n: int, width_us: int, frame_seq: int) -> bytes:
    """Return an OSC 1.0 message: rule (s), number (i), width in us (i), frame (h)."""
    numbers = struct.pack(">iiq", n & 0x7FFFFFFF, width_us, frame_seq)
    return _text(address) + _text(",siih") + _text(rule) + numbers


class OscOutput:
    """Sends ``/rtface/trigger/<name>``; see ``Output``. Whether it arrives is not known.

    Raises
    ------
    UserError
        There is no such host.
    """

    fail_safe = False

    def __init__(self, name: str, section: OscSection) -> None:
        self.name = name
        host, _, port = section.to.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        except (OSError, OverflowError) as error:
            raise UserError(f"output.{name}.to: no such host: {section.to} ({error})") from None
        self._to = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._events: list[LineEvent] = []

    @property
    def up(self) -> bool:
        """Whether it is open."""
        return self._socket.fileno() >= 0

    def fire(self, pulse: Pulse) -> int | None:
        """Send one message; see ``Output``."""
        address = f"/rtface/trigger/{self.name}"
        data = osc_message(address, pulse.rule, pulse.n, pulse.width_us, pulse.frame_seq)
        try:
            self._socket.sendto(data, self._to)
        except OSError as error:  # no room, no route
            why = {"why": str(error)}
            self._events.append(
                LineEvent(time.perf_counter_ns(), self.name, "refused", pulse.n, why)
            )
            return None
        return time.perf_counter_ns()

    def idle(self) -> None:
        """Nothing is held."""

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Return what was not sent."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
