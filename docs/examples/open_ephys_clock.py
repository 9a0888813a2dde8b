"""Say at which sample of an Open Ephys recording each frame was exposed, while both run.

Needs the coded camera triggers of docs/sync.md on a TTL line of the recording, and the Event
Broadcaster plugin (format JSON) in the signal chain of the Open Ephys GUI::

    python open_ephys_clock.py --line 3 --rate 200

prints ``frame_seq,sample`` for every frame, once the code fixed the match (after half a minute),
and why not until then. ``sample`` is of the pulse's edge at the time ``exposure_ns`` says; what
lies between edge and midpoint of the exposure is in it as a constant.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress

import rtface
from rtface.sync.anchor import NoMatch
from rtface.sync.live import EventBroadcaster, LiveClock, LiveFit


def main(words: list[str] | None = None) -> None:
    """Run until Ctrl-C, or ``--seconds`` without a message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camera", default="cam1")
    parser.add_argument("--address", default="tcp://127.0.0.1:5581", help="rtface's data port")
    parser.add_argument("--rate", type=float, required=True, help="Hz, of the triggers")
    parser.add_argument("--line", type=int, required=True, help="TTL line, from 1")
    parser.add_argument("--stream", default="", help="part of its name, if several have the line")
    parser.add_argument("--broadcaster", default="tcp://127.0.0.1:5557")
    parser.add_argument("--every", type=float, default=2.0, help="s between two fits")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end when silent")
    options = parser.parse_args(words)

    clock, found, why = LiveClock(options.rate), None, ""
    stream = rtface.subscribe(options.camera, options.address)
    heard = due = time.monotonic()
    with (
        EventBroadcaster(options.line, options.broadcaster, options.stream) as events,
        suppress(KeyboardInterrupt),
    ):
        while time.monotonic() - heard < options.seconds:
            while event := events.receive(0):
                clock.add_event(event)
            message = stream.receive(0.005)
            if message is None:
                continue
            heard, fields = time.monotonic(), message.fields
            clock.add_frame(fields["exposure_ns"], fields["frame_id"], fields["segment"])
            if heard >= due:
                due = heard + options.every
                found, why = fitted(clock, found, why)
            if found:
                print(f"{fields['frame_seq']},{found.sample(fields['exposure_ns']):.1f}")
    stream.close()


def fitted(clock: LiveClock, before: LiveFit | None, why: str) -> tuple[LiveFit | None, str]:
    """Return a new fit, or the one before; and why there is none, said once."""
    try:
        return clock.fit(), ""
    except NoMatch as error:
        if str(error) != why:
            print(f"not sure: {error}", file=sys.stderr)
        return before, str(error)


if __name__ == "__main__":
    main()
