"""What ``rtface listen`` prints: a renewing table on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from rtface.client import Subscription, open_stream
from rtface.wire import Message, json_fields, json_text

TURN_S = 0.1
#: after this long without a message something is wrong, s
SILENT_S = 2.0


def _messages(
    stream: Subscription,
    seconds: float | None,
    stop: Callable[[], bool],
    each: Callable[[Message], None],
    turn: Callable[[], None] = lambda: None,
) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    while not stop() and (end is None or time.monotonic() < end):
        if message := stream.receive(TURN_S):
            each(message)
        turn()


def listen_json(
    camera: str, address: str, latest: bool, seconds: float | None, stop: Callable[[], bool]
) -> None:
    """Print every message as one JSON line: its fields, and keypoints by name."""
    stream = open_stream(camera, address, latest)
    names = stream.meta()["keypoints"]

    def each(message: Message) -> None:
        sys.stdout.write(json_text(json_fields(message, names)) + "\n")
        sys.stdout.flush()

    with stream:
        try:
            _messages(stream, seconds, stop, each)
        except BrokenPipeError:  # 'rtface listen --json | head' is a normal way to end
            sys.stdout = None  # nothing is left to flush into


def listen_table(
    camera: str, address: str, latest: bool, seconds: float | None, stop: Callable[[], bool]
) -> None:
    """Show rate, age, gaps and the newest keypoints."""
    stream = open_stream(camera, address, latest)
    names = stream.meta()["keypoints"]
    console = Console()
    rate = _Rate()
    newest: list[Message] = []

    def each(message: Message) -> None:
        newest[:] = [message]
        rate.add(stream.age_ns(message))

    with stream, Live(console=console, refresh_per_second=4) as live:
        if not console.is_terminal:
            live.stop()

        def turn() -> None:
            if rate.due() and newest:
                line = rate.line(stream)
                silent_s = stream.age_ns(newest[0]) * 1e-9
                if silent_s > SILENT_S:
                    line = f"no message for {silent_s:.0f} s: the run has ended or hangs"
                if console.is_terminal:
                    live.update(Group(f"{camera}  {line}", _table(names, newest[0])))
                else:
                    print(f"{camera}  {line}", flush=True)

        _messages(stream, seconds, stop, each, turn)


class _Rate:
    """Messages and ages of the last second."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._ages: list[int] = []

    def add(self, age_ns: int) -> None:
        self._ages.append(age_ns)

    def due(self) -> bool:
        return time.monotonic() - self._start >= 1.0

    def line(self, stream: Subscription) -> str:
        now = time.monotonic()
        ages = sorted(self._ages) or [0]
        hz = len(self._ages) / (now - self._start)
        self._start, self._ages = now, []
        return (
            f"{hz:6.1f} Hz  sent -> received p50 {ages[len(ages) // 2] * 1e-6:.2f} "
            f"max {ages[-1] * 1e-6:.2f} ms  missed {stream.lost}  stale {stream.stale}"
        )


def _table(names: list[str], message: Message) -> Table:
    table = Table()
    table.add_column("keypoint")
    for column in ("x px", "y px", "score"):
        table.add_column(column, justify="right")
    if message.keypoints is not None:
        for name, (x, y, score) in zip(names, message.keypoints.tolist(), strict=True):
            style = "dim" if score < 0.5 else ""
            table.add_row(name, f"{x:.1f}", f"{y:.1f}", f"{score:.2f}", style=style)
    return table
