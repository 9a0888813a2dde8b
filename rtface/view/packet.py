"""What the page is sent as bytes: pictures, and rows of numbers. Pure.

A *row* is one result: five float64 (``frame_seq``, exposure, delivery and end in s since the run's
``t0_ns``, ``frame_id``) and one float32 for each of ``columns``. Both messages begin with 8 bytes:
kind, step, run (uint16), n (uint32); all little-endian, everything at multiples of its size.

``PICTURE``: n columns; one row; a JPEG of which a pixel is ``step`` by ``step`` of the frame.
``ROWS``: n rows; their float64, then their float32.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.types import Float32Array, Result

PICTURE, ROWS = 1, 2
HEAD = struct.Struct("<BBHI")
#: float64 of a row
N_TIMES = 5
#: of a frame's way: each takes from the end of the one before to its own, ms
STAGES = {
    "wait": "t_read_ns",
    "keypoints": "t_infer_ns",
    "motion": "t_motion_ns",
    "pupil": "t_pupil_ns",
    "rules": "t_rules_ns",
    "finish": "t_done_ns",
}

Float64Array = npt.NDArray[np.float64]


def columns(meta: Mapping[str, Any]) -> list[str]:
    """Return what each float32 of a row is, from what the stream says of itself."""
    names = [f"{point}.{part}" for point in meta["keypoints"] for part in ("x", "y", "score")]
    names += [f"crop.{part}" for part in ("left", "top", "width", "height")]
    names += ["flags", "exposure_err_ms", *(f"stage.{stage}" for stage in STAGES)]
    for signal, n in meta["signals"].items():
        names += _parts(signal, n, meta)
    return names


def _parts(signal: str, n: int, meta: Mapping[str, Any]) -> list[str]:
    """Return the names of a signal's numbers."""
    areas = (meta.get("motion") or {}).get("areas", [])
    if signal == "motion_energy":
        names = [f"{signal}.{area['name']}" for area in areas]
    elif signal in ("motion", "movie"):
        names = [f"{signal}.{area['name']}[{i}]" for area in areas for i in range(area[signal])]
    elif signal == "pupil":
        names = [f"pupil.{field}" for field in (meta.get("pupil") or {}).get("fields", [])]
    elif signal == "running":
        names = [f"running.{part}" for part in ("dy", "dx", "dy_whole", "dx_whole")]
    else:
        names = [signal]
    return names if len(names) == n else [f"{signal}[{i}]" for i in range(n)]


def row_of(result: Result, t0_ns: int) -> tuple[list[float], Float32Array]:
    """Return a result's row."""
    ledger = result.ledger
    times = [
        float(ledger.frame_seq),
        (ledger.exposure_ns - t0_ns) * 1e-9,
        (ledger.t_host_ns - t0_ns) * 1e-9,
        (ledger.t_done_ns - t0_ns) * 1e-9,
        float(ledger.frame_id),
    ]
    spent, before = [], ledger.t_host_ns
    for end in STAGES.values():
        now = getattr(ledger, end)
        spent.append((now - before) * 1e-6)
        before = now
    crop = result.pose.crop or (np.nan,) * 4
    told = np.array([*crop, ledger.flags, ledger.exposure_err_ns * 1e-6, *spent], np.float32)
    values = np.concatenate([result.pose.keypoints.ravel(), told, *result.signals.values()])
    return times, values


def picture_message(
    run: int, step: int, times: Float64Array, values: Float32Array, jpeg: bytes
) -> bytes:
    """Return the message of one frame; ``times`` (5,) and ``values`` (m,) are its row."""
    return HEAD.pack(PICTURE, step, run, len(values)) + times.tobytes() + values.tobytes() + jpeg


def rows_message(run: int, times: Float64Array, values: Float32Array) -> bytes:
    """Return the message of n rows, (n, 5) and (n, m)."""
    return HEAD.pack(ROWS, 0, run, len(times)) + times.tobytes() + values.tobytes()


def row_bytes(n_columns: int) -> int:
    """Return the size of a row in a message and in memory."""
    return 8 * N_TIMES + 4 * n_columns


class Rows:
    """The last rows of a run, in memory of a fixed size. Belongs to one thread.

    Attributes
    ----------
    count : int
        Rows that were ever added.
    """

    def __init__(self, n_kept: int, n_columns: int) -> None:
        self._times = np.zeros((n_kept, N_TIMES))
        self._values = np.zeros((n_kept, n_columns), np.float32)
        self.count = 0

    @property
    def row_bytes(self) -> int:
        """Size of a row in a message."""
        return row_bytes(self._values.shape[1])

    @property
    def oldest(self) -> int:
        """Number of the oldest row that is still there."""
        return max(0, self.count - len(self._times))

    def add(self, times: list[float], values: Float32Array) -> None:
        """Add one row; the oldest goes."""
        place = self.count % len(self._times)
        self._times[place] = times
        self._values[place] = values
        self.count += 1

    def part(self, first: int, end: int) -> tuple[Float64Array, Float32Array]:
        """Return copies of rows ``first`` to ``end`` (not included), by their numbers."""
        places = np.arange(max(first, self.oldest), min(end, self.count)) % len(self._times)
        return self._times[places], self._values[places]
