"""The reference firmware's logic on a pseudo-terminal: a board for trying things without one.

``python -m rtface.outputs.twin [key=value ...]`` prints the terminal's name and then every change
of the line, ``level nanoseconds``, in the clock of ``perf_counter_ns``. Keys: ``max_pulse_us``,
``max_duty``, ``watchdog_us``; and what a bad board does: ``mute_after`` (pulses; then it says
nothing more), ``deaf`` (never reads), ``stuck`` (pulses twice as long), ``ghost`` (acknowledges
pulses that nobody ordered), ``noise`` (garbage between messages). Not on Windows.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from rtface.outputs.board import VERSION, Decoder, encode

BUSY, TOO_LONG, DUTY, UNHEARD, NO_WIDTH = range(1, 6)
#: of the duty, and what is forgotten of it at a time
WINDOW_US, STEP_US = 10_000_000, 100_000


class Board:
    """The state machine of the firmware; ``say`` and ``set_line`` are its pins to the world."""

    def __init__(
        self,
        say: Callable[[str, int, int], None],
        set_line: Callable[[int], None],
        max_pulse_us: int = 100_000,
        max_duty: int = 500,
        watchdog_us: int = 100_000,
    ) -> None:
        self.say, self.set_line = say, set_line
        self.max_pulse_us, self.max_duty, self.watchdog_us = max_pulse_us, max_duty, watchdog_us
        self.on = self.heard = False
        self.pulse_id = self.pulse_us = self.on_at = self.heard_at = 0
        # as the firmware: pulses count in the step they end in; a reset begins with all spent
        steps = WINDOW_US // STEP_US
        self.spent = deque([STEP_US * max_duty // 1000] * steps + [0], steps + 1)
        self.step_at = 0
        self.stuck = 1

    def loop(self, now: int) -> None:
        """Do what is due."""
        if self.heard and now - self.heard_at >= self.watchdog_us:
            self.heard = False
        self._forget(now)
        if self.on and now - self.on_at >= self.pulse_us * self.stuck:
            self._off("E", now)
        if self.on and not self.heard:
            self._off("W", now)

    def obey(self, kind: str, id: int, value: int, now: int) -> None:
        """Take a message."""
        if kind == "H":
            self.say("H", VERSION, self.max_pulse_us)
            self.say("D", self.max_duty, self.watchdog_us)
        elif kind == "K":
            self.heard, self.heard_at = True, now
            self.say("K", id, now)
        elif kind == "P":
            self._pulse(id, value, now)
        elif kind == "X":
            if self.on:
                self._off("E", now)
            self.say("X", id, now)

    def _pulse(self, id: int, width: int, now: int) -> None:
        self._forget(now)
        if self.on:
            why = BUSY
        elif width == 0:
            why = NO_WIDTH
        elif width > self.max_pulse_us:
            why = TOO_LONG
        elif sum(self.spent) + width > WINDOW_US * self.max_duty // 1000:
            why = DUTY
        elif not self.heard:
            why = UNHEARD
        else:
            self.set_line(1)
            self.on, self.on_at, self.pulse_id, self.pulse_us = True, now, id, width
            self.say("A", id, now)
            return
        self.say("N", id, why)

    def _off(self, kind: str, now: int) -> None:
        self.set_line(0)
        self.on = False
        self._forget(now)
        self.spent[-1] += max(now - self.on_at, self.pulse_us)
        self.say(kind, self.pulse_id, now)

    def _forget(self, now: int) -> None:
        while now - self.step_at >= STEP_US:
            self.spent.append(0)  # the oldest goes
            self.step_at += STEP_US


def serve(
    options: dict[str, int], on_change: Callable[[int, int], None] = lambda _level, _ns: None
) -> None:
    """Be a board until killed; ``on_change`` gets every level of the line, and when, ns."""
    if sys.platform == "win32":
        raise SystemExit("there are no pseudo-terminals on Windows")
    import pty
    import tty

    mute_after = options.pop("mute_after", -1)
    deaf, ghost = options.pop("deaf", 0), options.pop("ghost", 0)
    noise, stuck = options.pop("noise", 0), options.pop("stuck", 0)
    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    os.set_blocking(master, False)
    print(os.ttyname(slave), flush=True)
    pulses = 0

    def say(kind: str, id: int, value: int) -> None:
        nonlocal pulses
        pulses += kind == "A"
        if 0 <= mute_after < pulses:
            return
        data = encode(kind, id, value)
        if noise:
            data = b"\xa5\x00" + os.urandom(3) + data
        if ghost and kind == "A":
            data += encode(kind, id + 1000, value)
        with contextlib.suppress(BlockingIOError):
            os.write(master, data)

    def set_line(level: int) -> None:
        t_ns = time.perf_counter_ns()
        on_change(level, t_ns)
        print(level, t_ns, flush=True)

    board, decode = Board(say, set_line, **options), Decoder()
    board.stuck = 1 + stuck
    start = time.perf_counter_ns()
    while True:
        with contextlib.suppress(BlockingIOError):
            if not deaf and select.select([master], [], [], 0.0005)[0]:
                for message in decode(os.read(master, 4096)):
                    board.obey(*message, (time.perf_counter_ns() - start) // 1000)
        if deaf:
            time.sleep(0.001)
        board.loop((time.perf_counter_ns() - start) // 1000)


class Running:
    """A board that runs: its port, and every change of its line as (level, ns)."""

    def __init__(self, popen: subprocess.Popen[str], port: str, lines: Iterable[str]) -> None:
        self.popen, self.port = popen, port
        self.changes: list[tuple[int, int]] = []
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            level, t = line.split()
            self.changes.append((int(level), int(t)))

    def rises(self) -> list[int]:
        """Return when the line went up so far, ns."""
        return [t_ns for level, t_ns in self.changes if level]

    def stop(self) -> None:
        """End it."""
        self.popen.kill()
        self.popen.wait()
        self._reader.join()


@contextlib.contextmanager
def running(
    program: tuple[str, ...] = ("-P", "-m", "rtface.outputs.twin"), **options: int
) -> Iterator[Running]:
    """Run a simulated board in another process; ``program``: another one that does ``main``."""
    words = [f"{key}={value}" for key, value in options.items()]
    popen = subprocess.Popen(
        [sys.executable, *program, *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert popen.stdout is not None
    with popen.stdout as lines:
        one = Running(popen, lines.readline().strip(), lines)
        try:
            yield one
        finally:
            one.stop()


def options_of(words: Iterable[str]) -> dict[str, int]:
    """Return ``key=value`` words as options."""
    return {key: int(value) for key, _, value in (word.partition("=") for word in words)}


if __name__ == "__main__":
    serve(options_of(sys.argv[1:]))
