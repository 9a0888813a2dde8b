"""One writer, any number of readers, none of which can hold the writer up.

A ring is a header page and ``n_slots`` fixed slots. A slot is 24 signed 64-bit words (its own
sequence number, then up to 23 that belong to the record) and a payload. All words are
little-endian and 8-byte aligned, so that a store is seen whole or not at all on the machines that
run rtface.

The writer sets the slot's first word to -1, writes payload and words, sets the first word to the
sequence number, then advances ``head``. A reader checks the first word, copies, and checks again:
a mismatch means it was lapped while copying, and the copy is thrown away and counted.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface import platform
from rtface.types import UserError

MAGIC = int.from_bytes(platform.RING_MAGIC, "little")
VERSION = 2
HEADER_BYTES = 16384  # whole pages, with room for the description
SLOT_WORDS = 24
SLOT_HEADER_BYTES = 8 * SLOT_WORDS
RECORD_WORDS = SLOT_WORDS - 1
#: stands for "none" in a word
NONE_WORD = -(2**63)

# header words
_MAGIC, _SIZE, _VERSION, _SLOT_BYTES, _N_SLOTS, _PID, _STATE, _HEARTBEAT, _HEAD = range(9)
_DESCRIPTION_LENGTH, _RECORD_WORDS = 40, 41
_BOOT_ID_BYTES = slice(8 * 42, 8 * 44)
_DESCRIPTION = 512

STARTING, RUNNING, CLOSED = 0, 1, 2


class RingWriter:
    """The one writer of a ring. Belongs to the thread that made it.

    Parameters
    ----------
    name : str
        ``<camera>.frames`` or ``<camera>.results``.
    n_slots : int
        At least 2; readers can reach the last ``n_slots - 1`` records.
    payload_bytes : int
    description : dict
        JSON-able; tells readers what the payload is.
    n_words : int
        Of a record, at most 23.

    Raises
    ------
    UserError
        The name is in use, or the ring does not fit into memory.
    """

    def __init__(
        self,
        name: str,
        n_slots: int,
        payload_bytes: int,
        description: dict[str, Any],
        n_words: int = RECORD_WORDS,
    ) -> None:
        if n_slots < 2:
            raise ValueError("a ring needs at least 2 slots")
        if n_words > RECORD_WORDS:
            raise ValueError(f"a record has at most {RECORD_WORDS} words, not {n_words}")
        self._record = struct.Struct(f"@{n_words}q")
        text = json.dumps(description).encode()
        if len(text) > (most := HEADER_BYTES - _DESCRIPTION):
            raise UserError(
                f"ring {name}: its description has {len(text)} bytes and room for {most}; "
                "the network or neural model has too many names, or too long ones"
            )
        self.n_slots = n_slots
        # slots start on pages: payload copies then never share a page with the next header
        slot_bytes = -(-(SLOT_HEADER_BYTES + payload_bytes) // 4096) * 4096
        if payload_bytes < 4096:
            slot_bytes = -(-(SLOT_HEADER_BYTES + payload_bytes) // 64) * 64
        size = HEADER_BYTES + n_slots * slot_bytes
        self._mapping = platform.SharedMapping.create(name, size)
        self._buffer = self._mapping.buffer
        self._words = memoryview(self._buffer).cast("q")
        self._offsets = [HEADER_BYTES + slot * slot_bytes for slot in range(n_slots)]
        #: payloads of the slots, each (payload_bytes,) uint8
        self.payloads: list[npt.NDArray[np.uint8]] = [
            np.frombuffer(self._buffer, np.uint8, payload_bytes, offset + SLOT_HEADER_BYTES)
            for offset in self._offsets
        ]
        for offset in self._offsets:
            self._words[offset // 8] = -1
        self._buffer[_DESCRIPTION : _DESCRIPTION + len(text)] = text
        self._buffer[_BOOT_ID_BYTES] = platform.boot_id()
        words = self._words
        words[_SIZE], words[_VERSION] = size, VERSION
        words[_SLOT_BYTES], words[_N_SLOTS] = slot_bytes, n_slots
        words[_PID], words[_HEAD] = os.getpid(), -1
        words[_DESCRIPTION_LENGTH], words[_RECORD_WORDS] = len(text), n_words
        self._seq = 0
        self.set_state(STARTING)
        platform.store_barrier()
        words[_MAGIC] = MAGIC  # last: a reader that sees it sees the rest

    def begin(self) -> int:
        """Open the next slot for writing and return its index into ``payloads``."""
        slot = self._seq % self.n_slots
        self._words[self._offsets[slot] // 8] = -1
        platform.store_barrier()
        return slot

    def commit(self, record: Sequence[int]) -> int:
        """Publish the slot opened by ``begin`` with its words; return its sequence number."""
        seq = self._seq
        offset = self._offsets[seq % self.n_slots]
        self._record.pack_into(self._buffer, offset + 8, *record)
        platform.store_barrier()
        self._words[offset // 8] = seq
        platform.store_barrier()
        self._words[_HEAD] = seq
        self._seq = seq + 1
        return seq

    def beat(self) -> None:
        """Show that the writer lives."""
        self._words[_HEARTBEAT] = time.perf_counter_ns()

    def set_state(self, state: int) -> None:
        """Set STARTING, RUNNING or CLOSED."""
        self._words[_STATE] = state
        self.beat()

    def close(self) -> None:
        """Mark the ring closed and remove its name; readers keep what they have mapped."""
        if self._offsets:
            self.set_state(CLOSED)
            self._offsets = []
            self.payloads = []
            self._words.release()
            self._mapping.close()


class RingReader:
    """Reads a ring without the writer knowing. One instance per thread.

    Raises
    ------
    FileNotFoundError
        There is no such ring (yet).
    """

    def __init__(self, name: str) -> None:
        self._mapping = platform.SharedMapping.attach(name)
        self._buffer = self._mapping.buffer
        self._words = memoryview(self._buffer).cast("q")
        if self._words[_MAGIC] != MAGIC or self._words[_SIZE] != len(self._buffer):
            self._words.release()
            self._mapping.close()
            raise FileNotFoundError(f"ring {name} is still being made")
        if self._words[_VERSION] != VERSION:
            raise ValueError(f"ring {name} has version {self._words[_VERSION]}, not {VERSION}")
        length = self._words[_DESCRIPTION_LENGTH]
        self._record = struct.Struct(f"@{self._words[_RECORD_WORDS]}q")
        self.description: dict[str, Any] = json.loads(
            self._buffer[_DESCRIPTION : _DESCRIPTION + length]
        )
        self.n_slots = self._words[_N_SLOTS]
        slot_bytes = self._words[_SLOT_BYTES]
        self._offsets = [HEADER_BYTES + slot * slot_bytes for slot in range(self.n_slots)]
        self._data = np.frombuffer(self._buffer, np.uint8)
        #: reads thrown away because the writer came round while copying
        self.laps = 0

    @property
    def head(self) -> int:
        """Sequence number of the newest record, -1 before the first."""
        return self._words[_HEAD]

    @property
    def state(self) -> int:
        """STARTING, RUNNING or CLOSED, as the writer last said."""
        return self._words[_STATE]

    @property
    def heartbeat_ns(self) -> int:
        """``perf_counter_ns`` of the writer's last sign of life."""
        return self._words[_HEARTBEAT]

    @property
    def writer_pid(self) -> int:
        """Process id of the writer."""
        return self._words[_PID]

    @property
    def oldest(self) -> int:
        """Oldest sequence number that may still be read (the next slot may be in writing)."""
        return max(0, self.head - self.n_slots + 2)

    def read(self, seq: int, out: npt.NDArray[np.uint8]) -> tuple[int, ...] | None:
        """Copy payload ``seq`` into ``out`` (1-D uint8); return its words, None if lapped."""
        offset = self._offsets[seq % self.n_slots]
        if self._words[offset // 8] == seq:
            start = offset + SLOT_HEADER_BYTES
            np.copyto(out, self._data[start : start + out.size])
            record: tuple[int, ...] = self._record.unpack_from(self._buffer, offset + 8)
            platform.store_barrier()
            if self._unchanged(offset, seq):
                return record
        self.laps += 1
        return None

    def _unchanged(self, offset: int, seq: int) -> bool:
        """Second check of the slot's sequence number; without it copies tear (see the tests)."""
        return self._words[offset // 8] == seq

    def close(self) -> None:
        """Unmap the ring."""
        if self._offsets:
            self._offsets = []
            self._data = np.empty(0, np.uint8)
            self._words.release()
            self._mapping.close()
