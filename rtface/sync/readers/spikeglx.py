"""SpikeGLX: a ``.meta`` of ``key=value`` lines beside a ``.bin`` of interleaved int16.

Sources: SpikeGLX Metadata Guide. nidq saves its channels in the order MN, MA, XA, DW
(``snsMnMaXaDw``), imec in the order AP, LF, SY (``snsApLfSy``), OneBox XA, DW, SY (``snsXaDwSy``).
Digital line n is bit ``n % 16`` of digital word ``n // 16``; the sync input of a probe is bit 6.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from rtface.sync.edges import Edges, of_levels
from rtface.sync.readers import number
from rtface.types import UserError

#: an analog channel is high above this
THRESHOLD_V = 1.5
#: samples read at a time
CHUNK = 3_000_000
_KINDS = {
    "nidq": ("niSampRate", "snsMnMaXaDw"),
    "imec": ("imSampRate", "snsApLfSy"),
    "obx": ("obSampRate", "snsXaDwSy"),
}


def read_meta(path: Path) -> dict[str, str]:
    """Return what a ``.meta`` says."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def read(path: Path, line: str) -> Edges:
    """Return the edges of digital line ``N``, or of analog channel ``XA<N>``."""
    meta_path, data = path.with_suffix(".meta"), path.with_suffix(".bin")
    meta = read_meta(meta_path)
    kind = meta.get("typeThis", "")
    if kind not in _KINDS:
        raise UserError(f"{meta_path}: typeThis is '{kind}'; rtface reads {', '.join(_KINDS)}")
    if "fileSizeBytes" not in meta:
        raise UserError(
            f"{meta_path}: says no fileSizeBytes: SpikeGLX is still writing it, or it broke off"
        )
    rate_key, counts_key = _KINDS[kind]
    rate, n_channels = float(meta[rate_key]), int(meta["nSavedChans"])
    size, told = data.stat().st_size, int(meta["fileSizeBytes"])
    if size != told or size % (2 * n_channels):
        raise UserError(f"{data}: has {size} bytes and its .meta says {told}: it ends early")
    counts = [int(n) for n in meta[counts_key].split(",")]
    samples = np.memmap(data, "<i2", "r").reshape(-1, n_channels)
    if line.upper().startswith("XA") and kind != "imec":
        before = sum(counts[:2]) if kind == "nidq" else 0
        n_analog = counts[2] if kind == "nidq" else counts[0]
        channel = before + number(path, line[2:], 0, n_analog - 1)
        limit = THRESHOLD_V / (float(meta[f"{rate_key[:2]}AiRangeMax"]) / 32768)
        mask = 0
    else:
        # nidq: DW; imec: SY; OneBox: DW, then SY
        first, n_words = (counts[0], counts[1]) if kind == "obx" else (sum(counts[:-1]), counts[-1])
        if not n_words:
            raise UserError(f"{data}: no digital word was saved")
        bit = number(path, line, 0, 16 * n_words - 1)
        channel, limit, mask = first + bit // 16, 0.0, 1 << bit % 16
    up, down = _edges(samples[:, channel], mask, limit, rate)
    began, err = float("nan"), 3600.0
    if (
        "fileCreateTime" in meta
    ):  # local time of the machine that recorded: of which zone is not said
        when = time.strptime(meta["fileCreateTime"][:19], "%Y-%m-%dT%H:%M:%S")
        began, err = time.mktime(when), 15 * 3600.0
    return Edges(
        up,
        down,
        0.0,
        len(samples) / rate,
        f"s since the first sample of {data.name}",
        f"SpikeGLX {kind}",
        began_unix_s=began,
        began_err_s=err,
    )


def _edges(
    channel: np.ndarray, mask: int, limit: float, rate_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return when one channel goes up and down, read piece by piece."""
    ups, downs = [], []
    for start in range(0, len(channel), CHUNK):
        piece = np.array(channel[max(0, start - 1) : start + CHUNK])  # one sample of overlap
        levels = (piece & mask) != 0 if mask else piece > limit
        up, down = of_levels(levels, rate_hz, max(0, start - 1))
        ups.append(up)
        downs.append(down)
    return np.concatenate(ups), np.concatenate(downs)
