"""The log of a session: one event per line, eight hex digits of CRC-32 before its JSON text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rtface import platform
from rtface.types import UserError

MAX_LINE = 1 << 16


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
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return Event(kind, t_host_ns, told)


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; one that is too long comes in pieces, all of them damaged."""
    try:
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


class EventWriter:
    """Appends events, each at once. Belongs to one thread; raises OSError.

    While it lives it holds a lock on the file: it says that the session is still being written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        platform.lock_file(self._file.fileno(), False)

    def write(self, event: Event) -> None:
        """Append one event."""
        self._file.write(encode_event(event))

    def fileno(self) -> int:
        """Return the descriptor, for ``os.fsync``."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()


def is_growing(path: Path) -> bool:
    """Whether somebody writes the events of this file now."""
    try:
        with path.open("ab") as file:
            platform.lock_file(file.fileno(), False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
