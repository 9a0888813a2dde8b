"""What a command that runs says meanwhile: from a thread of its own, whatever the terminal does.

A terminal that stalls (Ctrl-S, a network that hangs), a pipe that nobody reads and a log on a full
disk must not stop a run, so nothing here makes the caller wait, and nothing raises.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rtface.show import camera_line, recording_line

PLAIN_EVERY_S = 5.0
#: how often the line on a terminal is renewed, s
RENEWED_EVERY_S = 0.25
#: what was said last is waited for so long at the end, s
LAST_WORDS_S = 1.0


class _Console(Console):
    """Rich's own would end the program, and its standard output, when nobody reads this one."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class StatusLine:
    """One line that renews itself on a terminal; elsewhere a plain line every 5 s.

    Any thread may call; a context manager.
    """

    def __init__(self) -> None:
        self._console = _Console(stderr=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            # what others print must not wait for this terminal either
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._newest = ""
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._tell, name="terminal", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line, unless the terminal hangs."""
        self._over = True
        self._wake.set()
        self._thread.join(LAST_WORDS_S)

    def note(self, text: str) -> None:
        """Show a line that stays, above the status."""
        self._notes.put(text)
        self._wake.set()

    def show(self, status: dict[str, Any]) -> None:
        """Show the latest status of every camera."""
        cameras = status["cameras"].items()
        if not self._console.is_terminal:  # a log has no use for cameras that are starting
            cameras = [(name, counts) for name, counts in cameras if "tracked" in counts]
        lines = [camera_line(name, counts) for name, counts in cameras]
        if recording := recording_line(status.get("recording")):
            lines.append(recording)
        self.show_text("\n".join(lines))

    def show_text(self, text: str) -> None:
        """Show this; where there is no terminal, every 5 s at most and the same only once."""
        self._newest = text

    def _tell(self) -> None:
        if self._console.is_terminal:
            with _faults():
                self._live.start()
        told, due = "", time.monotonic()
        while True:
            over = self._over  # before looking: what was said until then is told
            self._wake.clear()
            while not self._notes.empty():
                with _faults():
                    note = self._notes.get_nowait()
                    self._console.print(note, markup=False, highlight=False, soft_wrap=True)
            newest, now = self._newest, time.monotonic()
            if self._console.is_terminal:
                with _faults():
                    self._live.update(Text(newest), refresh=True)
            elif newest and newest != told and now >= due:
                told, due = newest, now + PLAIN_EVERY_S
                with _faults():
                    print(newest, file=sys.stderr, flush=True)
            if over:
                break
            self._wake.wait(RENEWED_EVERY_S)
        with _faults():
            self._live.stop()


def _faults() -> contextlib.suppress:
    """Let a line be lost that cannot be written now; ValueError: of a stream that was closed."""
    return contextlib.suppress(OSError, ValueError)


def say(text: str) -> None:
    """Print to the standard output what a run came to; nothing happens where nobody reads it."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        # what is in the buffer would fail once more when the program ends
        with _faults():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
