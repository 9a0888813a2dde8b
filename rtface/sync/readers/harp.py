"""Harp: the messages of one register in a ``.bin``, as Bonsai writes them.

Source: Harp binary protocol. Type, length (of what follows), address, port, payload type, seconds
(uint32), fraction (uint16, of 32 us), payload, checksum (sum of all bytes before it).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtface.sync.edges import Edges
from rtface.sync.readers import number
from rtface.types import UserError

TICK_S = 32e-6
HAS_TIME = 0x10
READ, EVENT = 1, 3
#: bytes before the payload, in a message with a time
BEFORE = 11


def read(path: Path, line: str) -> Edges:
    """Return the edges of bit ``N`` of a register that reports the lines of a port."""
    raw = np.fromfile(path, np.uint8)
    if len(raw) < BEFORE + 2 or raw[0] not in (1, 2, 3) or not raw[4] & HAS_TIME:
        raise UserError(
            f"{path}: has no .meta beside it, and is no file of Harp messages with times"
        )
    stride = int(raw[1]) + 2
    if len(raw) % stride:
        raise UserError(f"{path}: its last message is cut short: the file ends early")
    rows = raw.reshape(-1, stride)
    if (rows[:, :-1].sum(axis=1, dtype=np.uint64) & 0xFF != rows[:, -1]).any():
        raise UserError(f"{path}: a message's checksum is wrong; is it of one register only?")
    kind = int(raw[4]) & ~HAS_TIME
    size = kind & 0x0F
    if size not in (1, 2, 4) or kind & 0xC0 or stride != BEFORE + size + 1:
        raise UserError(f"{path}: the register's payload is not one unsigned integer")
    bit = number(path, line, 0, 8 * size - 1)
    rows = rows[np.isin(rows[:, 0], (READ, EVENT))]
    seconds = np.ascontiguousarray(rows[:, 5:9]).view("<u4").ravel()
    ticks = np.ascontiguousarray(rows[:, 9:11]).view("<u2").ravel()
    value = np.ascontiguousarray(rows[:, 11 : 11 + size]).view(f"<u{size}").ravel()
    t_s = seconds + ticks * TICK_S
    level = value >> bit & 1 > 0
    steps = np.flatnonzero(level[1:] != level[:-1]) + 1
    up = level[steps]
    return Edges(
        t_s[steps[up]],
        t_s[steps[~up]],
        float(t_s[0]),
        float(t_s[-1]),
        "s of the Harp clock",
        "Harp",
    )
