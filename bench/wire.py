"""What a message costs to make and to read, and its bytes, beside JSON and plain struct."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from typing import Any

import _report
import numpy as np

from rtface import wire
from rtface.types import Ledger, Pose, Result

SESSION = "0123456789abcdef"


def forms(result: Result) -> dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Return how each form is made and how it is read back."""
    pose, ledger = result.pose, result.ledger
    n = len(pose.score)
    # seq, ledger, keypoints: the least that says it all
    plain = struct.Struct(f"<q{len(ledger)}q{3 * n}f")

    def to_json() -> bytes:
        fields = {"v": 1, "session": SESSION, "seq": result.seq, **ledger._asdict()}
        keypoints = np.column_stack((pose.xy, pose.score)).tolist()
        return json.dumps({**fields, "keypoints": keypoints}).encode()

    def from_json(text: bytes) -> np.ndarray:
        return np.array(json.loads(text)["keypoints"], np.float32)

    def to_struct() -> bytes:
        keypoints = np.column_stack((pose.xy, pose.score)).ravel().tolist()
        return plain.pack(result.seq, *ledger, *keypoints)

    def from_struct(data: bytes) -> np.ndarray:
        return np.array(plain.unpack(data)[1 + len(ledger) :], np.float32).reshape(-1, 3)

    return {
        "pose": (lambda: wire.encode_pose("pose.cam1.", SESSION, result), wire.decode),
        "fast": (lambda: wire.encode_fast("fast.cam1.", result), lambda one: wire.decode([one])),
        "json": (to_json, from_json),
        "struct": (to_struct, from_struct),
    }


def measure(n_keypoints: int, n: int) -> list[dict[str, Any]]:
    """Time every form side by side."""
    rng = np.random.default_rng(0)
    pose = Pose(rng.uniform(0, 640, (n_keypoints, 3)).astype(np.float32))
    t = 86_400_000_000_000  # a day after boot
    ledger = Ledger(100_000, 0, 100_007, t, *[t + i * 1000 for i in range(8)], 5000, 1, 7, 3, 1)
    pairs = forms(Result(99_997, ledger, pose))
    encode: dict[str, list[int]] = {name: [] for name in pairs}
    decode: dict[str, list[int]] = {name: [] for name in pairs}
    sizes = {}
    for _ in range(n):
        for name, (write, read) in pairs.items():
            start = time.perf_counter_ns()
            message = write()
            middle = time.perf_counter_ns()
            read(message)
            end = time.perf_counter_ns()
            encode[name].append(middle - start)
            decode[name].append(end - middle)
            sizes[name] = sum(map(len, message)) if isinstance(message, list) else len(message)
    rows = []
    for name in pairs:
        row: dict[str, Any] = {"form": name, "keypoints": n_keypoints, "bytes": sizes[name]}
        for what, times in (("encode", encode), ("decode", decode)):
            summary = _report.summary_us(np.array(times[name]))
            row |= {f"{what}_{key}": value for key, value in summary.items()}
        rows.append(row)
    return rows


def main() -> None:
    args = _report.parser(__doc__).parse_args()
    rows = [row for k in (15, 100) for row in measure(k, 300 if args.quick else 20_000)]
    _report.table("one message", rows)
    _report.write("wire", args, {"messages": rows})


if __name__ == "__main__":
    main()
