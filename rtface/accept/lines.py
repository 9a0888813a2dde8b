"""Firing lines by hand: round trips of single pulses, and pulses at random times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rtface.outputs import LineEvent, Output, Pulse

#: how long a line's answer is waited for, s
ANSWER_S = 1.0
#: what a line says when something is wrong
FAULTS = ("down", "refused", "lost", "note")
#: a random pulse lasts so many frames, and so many times as long nothing comes after it
FRAMES_ON, TIMES_OFF = (4.0, 9.0), (2.0, 3.5)


class Trial(NamedTuple):
    """What became of some pulses of one line.

    Attributes
    ----------
    times, sent : int
        Asked for; handed to the system.
    answered_ms : list of float
        From the command to the news that the line is on, of those that were answered.
    notes : list of str
        What was wrong, each once.
    up : mapping
        What the device said of itself: ``watchdog_us``, ``max_pulse_us``, ``max_duty``.
    """

    times: int
    sent: int
    answered_ms: list[float]
    notes: list[str]
    up: Mapping[str, object]

    def text(self) -> str:
        """Return it for people."""
        line = f"{self.sent} of {self.times} pulses sent"
        if self.answered_ms:
            p50, worst = np.median(self.answered_ms), max(self.answered_ms)
            line += f", {len(self.answered_ms)} answered: p50 {p50:.2f}, longest {worst:.2f} ms"
        return "; ".join([line, *self.notes])


def try_line(output: Output, times: int, width_us: int) -> Trial:
    """Fire a line so many times, for real; takes some seconds."""
    sent: dict[int, int] = {}
    events = tend(output, ANSWER_S)
    for n in range(times):
        if (t_ns := output.fire(Pulse(n, "test", -1, 0, width_us))) is not None:
            sent[n] = t_ns
        events += tend(output, max(0.05, 4e-6 * width_us))
    if len([e for e in events if e.what == "on"]) < len(sent):
        events += tend(output, ANSWER_S)
    answers = {event.n: event.t_ns for event in events if event.what == "on"}
    said = [f"{e.what} {e.detail.get('why', '')}".strip() for e in events if e.what in FAULTS]
    up = next((event.detail for event in events if event.what == "up"), {})
    ms = [(answers[n] - sent[n]) / 1e6 for n in answers if n in sent]
    return Trial(times, len(sent), ms, list(dict.fromkeys(said)), up)


def tend(
    output: Output, seconds: float, until: Callable[[], bool] = lambda: False
) -> list[LineEvent]:
    """Look after a line for so long as the tracker's loop would; return what became known."""
    events: list[LineEvent] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not until():
        events += output.poll(time.perf_counter_ns())
        time.sleep(0.0005)
    return events


class Pulser(threading.Thread):
    """Fires a line at random times, some frames long, until told to stop.

    Attributes
    ----------
    pulses : list of (int, int, int)
        When the line rose and fell, ns of the host's clock, and how wrong that may be, ns; of the
        pulses of which the device told both.
    sent : int
    faults : list of str
        What the line said that was wrong.
    """

    def __init__(
        self, output: Output, period_s: float, after_s: float, longest_us: int, seed: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self.pulses: list[tuple[int, int, int]] = []
        self.sent = 0
        self.faults: list[str] = []
        self._output, self._period_s, self._after_s = output, period_s, after_s
        self._longest_us = longest_us
        self._rng = np.random.default_rng(seed)
        self._end = threading.Event()
        self._rose: dict[int, tuple[int, int]] = {}

    def run(self) -> None:
        """Fire and listen."""
        due = time.perf_counter() + self._after_s
        while not self._end.wait(0.0005):
            for event in self._output.poll(time.perf_counter_ns()):
                self._hear(event)
            if time.perf_counter() >= due and self._output.up:
                width_us = round(1e6 * self._period_s * self._rng.uniform(*FRAMES_ON))
                width_us = min(width_us, self._longest_us)
                pulse = Pulse(self.sent, "accept", -1, 0, width_us)
                if self._output.fire(pulse) is not None:
                    self.sent += 1
                due = time.perf_counter() + 1e-6 * width_us * (1 + self._rng.uniform(*TIMES_OFF))

    def _hear(self, event: LineEvent) -> None:
        told = "line_ns" in event.detail
        line_ns = int(event.detail.get("line_ns", 0))
        err_ns = int(event.detail.get("line_err_ns", 0))
        if event.what == "on" and told:
            self._rose[event.n] = line_ns, err_ns
        elif event.what == "off" and told and event.n in self._rose:
            rose_ns, rose_err_ns = self._rose.pop(event.n)
            # a line's time is known from below: the middle of what it may be
            middle = rose_ns + rose_err_ns // 2, line_ns + err_ns // 2
            self.pulses.append((*middle, max(rose_err_ns, err_ns) // 2))
        elif event.what in FAULTS:
            self.faults.append(f"{event.what} {event.detail.get('why', '')}".strip())

    def end(self) -> None:
        """Stop; the line is off when this returns."""
        self._end.set()
        if self.is_alive():
            self.join()
        self._output.idle()
