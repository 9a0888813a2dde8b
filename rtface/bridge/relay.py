"""The loop all bridges share: the messages of one camera, run after run, into one target."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from rtface.client import Subscription
from rtface.wire import Message

TURN_S = 0.1
#: after this long without a message the run has ended or hangs, s
SILENT_S = 2.0
#: a new run's meta comes when its socket connects, and every 5 s, s
META_WITHIN_S = 6.0


class Target(Protocol):
    """Where a bridge sends. Nothing here may wait for a receiver."""

    def begin(self, meta: dict[str, Any]) -> None:
        """Prepare for the messages of another run, which ``meta`` describes."""

    def send(self, message: Message) -> None:
        """Hand one message on."""

    def tend(self) -> None:
        """Look after receivers; called after every message and ten times a second."""

    def state(self) -> str:
        """Return what the status line says of receivers and of what was dropped here."""

    def close(self) -> None:
        """End all connections."""


class Relay:
    """Passes messages on and counts them. Belongs to the thread that made the stream.

    Attributes
    ----------
    sent : int
        Messages handed to the target.
    left_out : int
        Messages that cannot be described: the ``meta`` of their run had not come.
    """

    def __init__(
        self,
        stream: Subscription,
        target: Target,
        label: str,
        say: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> None:
        self.sent = self.left_out = 0
        self._stream, self._target = stream, target
        self._label, self._say, self._stop = label, say, stop
        self._session: str | None = None  # the run of the newest message
        self._described = False  # its meta is there
        self._last_s = self._shown_s = time.monotonic()
        self._shown_sent = 0

    def turn(self) -> None:
        """Pass on the next message, if one comes within a tenth of a second."""
        message = self._stream.receive(TURN_S)
        if message:
            self._last_s = time.monotonic()
            if message.fields.get("session") != self._session:
                self._session = message.fields.get("session")
                self._described = self._begin()
            elif not self._described:
                self._described = self._meta_is_there()  # later than it should, but it came
            if self._described:
                self._target.send(message)
                self.sent += 1
            else:
                self.left_out += 1
        self._target.tend()

    def _begin(self) -> bool:
        """Wait for the meta of a run that has just begun; its messages wait in their queue."""
        deadline = time.monotonic() + META_WITHIN_S
        while time.monotonic() < deadline and not self._stop():
            if self._meta_is_there():
                return True
            self._target.tend()
            time.sleep(0.01)
        if not self._stop():
            self._say(f"{self._label}: run {self._session} does not say what it sends; left out")
        return False

    def _meta_is_there(self) -> bool:
        """Begin with the run of the newest message if its meta has come."""
        meta = self._stream.meta()
        if meta["session"] != self._session:
            return False
        self._target.begin(meta)
        self._say(f"{self._label}: run {meta['session']}, {len(meta['keypoints'])} keypoints")
        return True

    @property
    def missed(self) -> int:
        """Messages that were published and not passed on."""
        return self._stream.lost + self.left_out

    def line(self) -> str | None:
        """Return the status line once a second, else None."""
        now = time.monotonic()
        passed_s = now - self._shown_s
        if passed_s < 1.0:
            return None
        hz = (self.sent - self._shown_sent) / passed_s
        self._shown_s, self._shown_sent = now, self.sent
        self._stream.meta()  # takes what came, every 5 s, so that its queue never fills
        if now - self._last_s > SILENT_S:
            since = time.localtime(time.time() - (now - self._last_s))
            return (
                f"{self._label}  no message since {time.strftime('%H:%M', since)}: the run has "
                "ended or hangs; waiting for the next"
            )
        return f"{self._label}  {hz:6.1f} Hz  {self.account()}"

    def account(self) -> str:
        """Return the counts so far."""
        return f"sent {self.sent}  missed {self.missed}  {self._target.state()}".rstrip()


def relay(
    stream: Subscription,
    target: Target,
    label: str,
    stop: Callable[[], bool],
    seconds: float | None,
    show: Callable[[str], None],
    say: Callable[[str], None],
) -> str:
    """Pass messages on until told to stop; return the final account.

    Parameters
    ----------
    label : str
        What the lines begin with: the camera and where it goes.
    show, say : callable
        Take the status line, which replaces the one before, and lines that stay.
    """
    end = None if seconds is None else time.monotonic() + seconds
    bridge = Relay(stream, target, label, say, stop)
    while not stop() and (end is None or time.monotonic() < end):
        bridge.turn()
        if line := bridge.line():
            show(line)
    return f"{label}: {bridge.account()}"
