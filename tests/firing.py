"""A process that fires a board as the tracker would, until somebody stops it.

``python firing.py PORT WIDTH_US`` looks after the line every 2 ms, fires once it is up, and prints
``fired``.
"""

from __future__ import annotations

import sys
import time

from rtface.outputs import Pulse
from rtface.outputs.serial import SerialOutput
from rtface.rules_config import SerialSection


def main(port: str, width_us: int) -> None:
    section = SerialSection(kind="serial", port=port, max_pulse_ms=60_000.0)
    output = SerialOutput("laser", section, width_us)
    fired = False
    while True:
        now = time.perf_counter_ns()
        for event in output.poll(now):
            if event.what == "on":
                print("on", flush=True)
        if output.up and not fired:
            fired = output.fire(Pulse(1, "puff", 1, now, width_us)) is not None
        time.sleep(0.002)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
