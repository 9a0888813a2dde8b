"""The log of a session: one event per line, eight hex digits of CRC-32 before its JSON text."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rtface import platform
from rtface.types import UserError

MAX_LINE = 1 << 16
#: what rules and lines say: there may be very many
LOOP_EVENTS = ("decision", "rules", "line")


class Event(NamedTuple):
    """What happened, when (``perf_counter_ns`` of the rig), and whatever belongs to it."""

    kind: str
    t_host_ns: int
    fields: dict[str, Any]


def encode_event(event: Event) -> bytes:
    """Return an event as its line."""
    told = {"event": event.kind, "t_host_ns": event.t_host_ns, **event.fields}
    text = json.dumps(told).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_event(line: bytes) -> Event | None:
    """Return the event of a line with or without its end, None if it is damaged."""
    line = line.rstrip(b"\r\n")
    try:
        if line[8:9] != b" " or zlib.crc32(line[9:]) != int(line[:8], 16):
            return None
        told = json.loads(line[9:])
        kind, t_host_ns = str(told.pop("event")), int(told.pop("t_host_ns"))
        if abs(t_host_ns) >= 2**63:
            return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return Event(kind, t_host_ns, told)


def shown(text: str) -> str:
    """Return a text from a file as it may be printed: what has no picture becomes a ?."""
    return "".join(c if c.isprintable() else "?" for c in text)


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; one that is too long comes in pieces, all of them damaged."""
    try:
        if not path.is_file() and path.exists():
            raise UserError(f"{path}: is not a file")
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE):
                yield line
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def read_events(path: Path) -> tuple[list[Event], int]:
    """Return the good events of a file, in its order, and how many lines are damaged."""
    events, damaged = [], 0
    for line in lines(path):
        event = decode_event(line)
        if event is None:
            damaged += 1
        else:
            events.append(event)
    return events, damaged


def last_ended(events: list[Event]) -> Event | None:
    """Return the event that closed a session, the newest one if it was repaired."""
    return next((event for event in reversed(events) if event.kind == "ended"), None)


class EventWriter:
    """Appends events, each at once. Belongs to one thread; raises OSError.

    While it lives it holds a lock on the file: it says that the session is still being written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        _lock(self._file.fileno())
        end = self._file.seek(0, 2)
        if end and (self._file.seek(end - 1), self._file.read(1))[1] != b"\n":
            self._file.write(b"\n")  # a line that was cut short stays by itself

    def write(self, event: Event) -> None:
        """Append one event."""
        self._file.write(encode_event(event))

    def fileno(self) -> int:
        """Return the descriptor, for ``os.fsync``."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


def _lock(descriptor: int) -> None:
    """Take the lock; whoever only looks whether it is taken holds it for a moment."""
    for attempt in range(50):
        try:
            platform.lock_file(descriptor, False)
        except OSError:
            if attempt == 49:
                raise
            time.sleep(0.02)
        else:
            return


def is_growing(path: Path) -> bool:
    """Whether somebody writes the events of this file now."""
    try:
        with path.open("rb") as file:
            return platform.is_locked(file.fileno())
    except FileNotFoundError:
        return False
