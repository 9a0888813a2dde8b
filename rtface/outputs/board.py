"""What a board and we say to each other: 9 bytes a message. Pure; also of the simulated board.

====== ===== ===========================================================
byte   type
====== ===== ===========================================================
0      u8    0xA5
1      u8    kind, a letter
2, 3   u16   id, little-endian
4 to 7 u32   value, little-endian
8      u8    CRC-8 of bytes 1 to 7 (polynomial 0x07, from 0)
====== ===== ===========================================================

We say: ``H`` hello; ``K`` we live, id counts; ``P`` pulse number id of value us; ``X`` idle now.
The board says: ``H`` id: version, value: longest pulse, us; ``D`` id: duty, 1/1000, value:
watchdog, us; and, with its clock in us as value, ``K`` to each of ours; ``A`` pulse id is on;
``E`` it is off; ``W`` it is off because nothing was heard; ``X`` idle. ``N``: pulse id refused,
value says why.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from typing import NamedTuple

VERSION = 1
START = 0xA5
LENGTH = 9
REASONS = {1: "line is on", 2: "too long", 3: "duty", 4: "nothing heard from us", 5: "no width"}
#: a board's clock may gain or lose this much, ns per us, until it was watched (ceramic resonators)
MOST_RATE = 10.0
#: and so much more than in the last minute, ns per us (they go with the temperature)
WANDER = 0.3
#: differences by which it is watched are at least so far apart, us
APART_US = 1_000_000
_BODY = struct.Struct("<cHI")
_WRAP_US = 2**32


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte << 1 & 0xFF ^ (0x07 if byte & 0x80 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc8(data: bytes) -> int:
    """Return the CRC-8 (polynomial x^8 + x^2 + x + 1) of some bytes."""
    crc = 0
    for byte in data:
        crc = _CRC[crc ^ byte]
    return crc


class Message(NamedTuple):
    """One message of 9 bytes."""

    kind: str
    id: int
    value: int


def encode(kind: str, id: int = 0, value: int = 0) -> bytes:
    """Return the bytes of a message."""
    body = _BODY.pack(kind.encode("ascii"), id & 0xFFFF, value & 0xFFFFFFFF)
    return bytes((START, *body, crc8(body)))


class Decoder:
    """Finds messages in a stream of bytes, whatever else is in it.

    Attributes
    ----------
    garbage : int
        Bytes that belonged to no message.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self.garbage = 0

    def __call__(self, data: bytes) -> list[Message]:
        """Take some bytes; return the messages that they complete."""
        rest = self._rest
        rest += data
        found, at = [], 0
        while len(rest) - at >= LENGTH:
            body = bytes(rest[at + 1 : at + LENGTH - 1])
            if rest[at] == START and crc8(body) == rest[at + LENGTH - 1] and body[0] < 128:
                kind, id, value = _BODY.unpack(body)
                found.append(Message(kind.decode("ascii"), id, value))
                at += LENGTH
            else:
                at += 1
                self.garbage += 1
        del rest[:at]
        return found


class BoardClock:
    """Which of our times a time of the board's was, by what was sent before and heard after.

    An answer was made between our sending and our reading, so each bounds the difference of the
    clocks from both sides. The bounds of the last 64 answers are put together, each as much wider
    as the board's clock may have gone wrong since. How fast it does is bounded likewise, by
    differences that are up to a minute apart.
    """

    def __init__(self) -> None:
        # board us, and board minus ours at least and at most, ns
        self._bounds: deque[tuple[int, float, float]] = deque(maxlen=64)
        self._apart: deque[tuple[int, float, float]] = deque(maxlen=60)
        self._rates = -MOST_RATE, MOST_RATE
        self._last_us: int | None = None
        self._turns = 0

    def unwrap_us(self, board_us: int) -> int:
        """Return the board's clock without its wraps (every 71 min)."""
        if self._last_us is None:
            self._last_us = board_us
        if (board_us - self._last_us) % _WRAP_US < _WRAP_US // 2:
            if board_us < self._last_us:
                self._turns += 1
            self._last_us = board_us
            return board_us + self._turns * _WRAP_US
        turns = self._turns - (board_us > self._last_us)  # from before a wrap
        return board_us + turns * _WRAP_US

    def answered(self, sent_ns: int, board_us: int, heard_ns: int) -> None:
        """Take an answer; ``board_us`` is unwrapped."""
        self._bounds.append((board_us, board_us * 1000 - heard_ns, board_us * 1000 - sent_ns))
        least, most = self._difference_ns(board_us)
        if least > most:  # it began anew, or jumped
            newest = self._bounds[-1]
            self._bounds.clear()
            self._bounds.append(newest)
            self._apart.clear()
            self._rates = -MOST_RATE, MOST_RATE
        elif not self._apart or board_us - self._apart[-1][0] >= APART_US:
            self._apart.append((board_us, least, most))
            first_us, first_least, first_most = self._apart[0]
            if span_us := board_us - first_us:
                self._rates = (
                    max(-MOST_RATE, (least - first_most) / span_us - WANDER),
                    min(MOST_RATE, (most - first_least) / span_us + WANDER),
                )

    def host_ns(self, board_us: int) -> tuple[int, int]:
        """Return (our time, error): not earlier than the time, not later than it plus the error."""
        if not self._bounds:
            return 0, 2**62
        least, most = self._difference_ns(board_us)
        earliest = board_us * 1000 - math.ceil(most)
        return earliest, max(0, board_us * 1000 - math.floor(least) - earliest)

    def _difference_ns(self, board_us: int) -> tuple[float, float]:
        """Return the board's clock minus ours, at least and at most."""
        least, most = -math.inf, math.inf
        slowest, fastest = self._rates
        for at_us, low, high in self._bounds:
            since_us = board_us - at_us
            one, other = slowest * since_us, fastest * since_us
            least, most = max(least, low + min(one, other)), min(most, high + max(one, other))
        return least, most
