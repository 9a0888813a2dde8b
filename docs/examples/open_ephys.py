"""Mark in an Open Ephys recording when a keypoint crosses a line.

Needs the Network Events plugin in the signal chain of the Open Ephys GUI (0.6 or later)::

    python open_ephys.py --keypoint "nose(tip)" --axis y --on 250 --off 245 --line 1

sends ``TTL Line=1 State=1`` once y is above 250 px and ``State=0`` once it is below 245 px (with
``--on`` below ``--off``, the other way round). What lies between, and points of a low score, change
nothing.

This is an annotation, not a trigger with timing: the plugin takes events only while the GUI
acquires, and stamps each with the first sample of the data block it processes next, typically 10 to
20 ms late. For the time of a movement use ``exposure_ns`` of the message, printed with each event.
"""

from __future__ import annotations

import argparse
import re
import time
from contextlib import suppress

import zmq

import rtface


class Crossing:
    """A threshold with hysteresis: tells when the side changes."""

    def __init__(self, on: float, off: float) -> None:
        self.on, self.off = on, off
        self.state: int | None = None

    def update(self, value: float) -> int | None:
        """Return the new state, 1 or 0, if ``value`` changes it."""
        sign = 1 if self.on >= self.off else -1
        if sign * value > sign * self.on:
            state = 1
        elif sign * value < sign * self.off:
            state = 0
        else:
            return None
        if state == self.state:
            return None
        self.state = state
        return state


def numbers(text: str) -> list[str]:
    """Return what stands behind each = of a request or reply."""
    return re.findall(r"=(\d+)", text)


class NetworkEvents:
    """Sends line states to the plugin; no method waits, whatever the plugin does.

    A request without a reply is abandoned with its socket and made anew, until it is ``max_age_s``
    old: a late mark is worse than none. Of the states that wait only the newest is kept. Every
    state is counted once, in ``marked`` or ``dropped``.
    """

    def __init__(
        self, address: str, line: int, timeout_s: float = 0.3, max_age_s: float = 1.0
    ) -> None:
        self.address, self.line = address, line
        self.timeout_s, self.max_age_s = timeout_s, max_age_s
        self.marked = self.dropped = 0
        self._wanted: tuple[int, float] | None = None  # state, since when
        self._sent: tuple[int, float] | None = None  # the same, of the request under way
        self._asked: tuple[str, float] | None = None  # the request under way, since when
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    @property
    def busy(self) -> bool:
        """Whether something waits to be sent or answered."""
        return self._wanted is not None or self._asked is not None

    def set(self, state: int) -> None:
        """Have the line set; ``tend`` does it."""
        if self._wanted is not None:
            self.dropped += 1
        self._wanted = state, time.monotonic()

    def tend(self) -> str | None:
        """Do what can be done now; return a sentence if something came of it."""
        now = time.monotonic()
        if self._asked is not None:
            return self._hear(now)
        if self._wanted is None:
            return None
        state, since = self._sent = self._wanted
        self._wanted = None
        if now - since > self.max_age_s:
            return self._drop(f"not marked: no answer from {self.address}")
        self._ask(f"TTL Line={self.line} State={state}", now)
        return None

    def _drop(self, why: str) -> str:
        self.dropped += 1
        return why

    def _ask(self, request: str, now: float) -> None:
        if self._socket is None:
            self._socket = self._context.socket(zmq.REQ)
            self._socket.setsockopt(zmq.LINGER, 0)  # what was not sent dies with the socket
            self._socket.connect(self.address)
        self._socket.send(request.encode(), zmq.NOBLOCK)
        self._asked = request, now

    def _hear(self, now: float) -> str | None:
        assert self._asked is not None
        assert self._socket is not None
        request, since = self._asked
        try:
            reply = self._socket.recv(zmq.NOBLOCK).decode(errors="replace")
        except zmq.Again:
            return self._give_up(request) if now - since > self.timeout_s else None
        self._asked = None
        if request == "IsAcquiring":
            if reply != "1":
                return self._drop("not marked: Open Ephys is not acquiring")
            self.marked += 1
            return "marked"
        # a plugin that does not know Line= and State= takes them for channel 1, off
        if not reply.startswith("TTLHandled") or numbers(reply) != numbers(request):
            return self._drop(f"not marked: {self.address} answered {reply!r}")
        self._ask("IsAcquiring", now)  # the plugin answers TTL alike when it drops it
        return None

    def _give_up(self, request: str) -> str | None:
        """Abandon a request; its state is sent again unless a newer one waits."""
        assert self._socket is not None
        self._socket.close()
        self._socket = self._asked = None
        if request == "IsAcquiring":
            return self._drop("perhaps marked: no answer whether Open Ephys acquires")
        if self._wanted is not None:
            return self._drop(f"not marked: no answer from {self.address}")
        self._wanted = self._sent
        return None

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.close()
        self._context.term()


def main(words: list[str] | None = None) -> None:
    """Run until Ctrl-C, or ``--seconds`` without a message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camera", default="cam1")
    parser.add_argument("--address", default="tcp://127.0.0.1:5581", help="rtface's data port")
    parser.add_argument("--keypoint", default="nose(tip)")
    parser.add_argument("--axis", choices=["x", "y"], default="y")
    parser.add_argument("--on", type=float, required=True, help="px; beyond it the line is 1")
    parser.add_argument("--off", type=float, required=True, help="px; beyond it the line is 0")
    parser.add_argument("--score", type=float, default=0.5, help="ignore points below it")
    parser.add_argument("--line", type=int, default=1, help="TTL line, 1 to 256")
    parser.add_argument("--plugin", default="tcp://127.0.0.1:5556", help="Network Events")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end when silent")
    options = parser.parse_args(words)

    crossing = Crossing(options.on, options.off)
    events = NetworkEvents(options.plugin, options.line)
    stream = rtface.subscribe(options.camera, options.address, latest=True)
    row = stream.meta(timeout_s=30)["keypoints"].index(options.keypoint)
    column = "xy".index(options.axis)
    heard = time.monotonic()
    with suppress(KeyboardInterrupt):
        while time.monotonic() - heard < options.seconds:
            message = stream.receive(0.005)
            if message is not None:
                heard = time.monotonic()
                point = message.keypoints[row]
                state = crossing.update(point[column]) if point[2] >= options.score else None
                if state is not None:
                    t_s = message.fields["exposure_ns"] * 1e-9
                    print(
                        f"{t_s:.4f} s  seq {message.seq}  line {options.line} = {state}", flush=True
                    )
                    events.set(state)
            if outcome := events.tend():
                print(outcome, flush=True)
    print(f"{events.marked} marked, {events.dropped} not")
    events.close()
    stream.close()


if __name__ == "__main__":
    main()
