"""Tears frames out of a ring if that can be done: one writer flat out, three reading processes.

Every 8-byte word of a frame holds the frame's sequence number, and so do the words of its record.
A copy in which any page holds another number is torn. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from rtface.ring import RECORD_WORDS, RingReader, RingWriter

N_BYTES = 640 * 480
N_READERS = 3
PAGE_WORDS = 4096 // 8


class UncheckedReader(RingReader):
    """A reader without the second look at the slot's sequence number."""

    def _unchanged(self, offset: int, seq: int) -> bool:
        return True


def stress(n_slots: int, reads: int, second_check: bool = True, limit_s: float = 60) -> dict:
    """Read ``reads`` frames in all that the reader accepted; say how many of those were torn."""
    name = f"stress{secrets.token_hex(3)}.frames"
    writer = _child("writer", name, n_slots)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()  # the ring is there
        start = time.perf_counter()
        quota = -(-reads // N_READERS)
        readers = [_child("reader", name, quota, second_check, limit_s) for _ in range(N_READERS)]
        said = [json.loads(reader.communicate(timeout=limit_s + 30)[0]) for reader in readers]
        seconds = time.perf_counter() - start
        writer.send_signal(signal.SIGTERM)
        written = json.loads(writer.communicate(timeout=30)[0])["written"]
    finally:
        writer.kill()
    total = {key: sum(one[key] for one in said) for key in said[0]}
    return {
        "n_slots": n_slots,
        "second_check": second_check,
        **total,
        "written": written,
        "seconds": round(seconds, 1),
    }


def _child(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _write(name: str, n_slots: str) -> dict[str, int]:
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    parent = os.getppid()
    ring = RingWriter(name, int(n_slots), N_BYTES, {})
    frames = [payload.view(np.int64) for payload in ring.payloads]
    print("ready", flush=True)
    seq = -1
    while not stop and (seq % 1000 or os.getppid() == parent):  # ends with whoever started it
        frames[ring.begin()].fill(seq + 1)
        seq = ring.commit((seq + 1,) * RECORD_WORDS)
    frames.clear()
    ring.close()
    return {"written": seq + 1}


def _read(name: str, quota: str, second_check: str, limit_s: str) -> dict[str, int]:
    ring = RingReader(name) if second_check == "True" else UncheckedReader(name)
    frame = np.empty(N_BYTES, np.uint8)
    words = frame.view(np.int64)
    probes = np.r_[0 : words.size : PAGE_WORDS, words.size - 1]
    deadline = time.monotonic() + float(limit_s)
    accepted = torn = 0
    last = -1
    while accepted < int(quota) and time.monotonic() < deadline:
        head = ring.head  # again at each try: the slot of the last try is being written by now
        if head == last:  # each frame counts once
            time.sleep(1e-6)  # a reader that spins takes the core the writer needs
            continue
        last = head
        record = ring.read(head, frame)
        if record is not None:
            accepted += 1
            torn += bool((words[probes] != head).any() or record != (head,) * RECORD_WORDS)
    return {"accepted": accepted, "torn": torn, "lapped": ring.laps}


def main() -> None:
    if sys.argv[1:2] == ["writer"]:
        said: dict[str, Any] = _write(*sys.argv[2:])
    elif sys.argv[1:2] == ["reader"]:
        said = _read(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--slots", type=int, default=2)
        parser.add_argument("--reads", type=int, default=50_000, help="accepted, in all")
        parser.add_argument("--no-second-check", action="store_true")
        parser.add_argument("--limit-s", type=float, default=60)
        args = parser.parse_args()
        said = stress(args.slots, args.reads, not args.no_second_check, args.limit_s)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
