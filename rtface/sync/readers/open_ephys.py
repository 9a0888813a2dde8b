"""Open Ephys GUI 0.6 and later, binary format: a folder with ``structure.oebin``.

Source: the format as ``open-ephys-python-tools`` reads it. ``events/<stream>/TTL/`` has
``states.npy`` (+line going up, -line going down, lines from 1), ``sample_numbers.npy`` and
``timestamps.npy`` (s, in the clock of the main stream if the GUI synchronised the streams).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from rtface.sync.edges import Edges
from rtface.sync.readers import number
from rtface.types import UserError


def read(path: Path, line: str) -> Edges:
    """Return the edges of line ``N`` (from 1), or of ``STREAM:N`` where several streams have it."""
    folder = _folder(path)
    told = json.loads((folder / "structure.oebin").read_text(encoding="utf-8"))
    version = [int(n) for n in re.findall(r"\d+", str(told["GUI version"]))[:2]]
    if version < [0, 6]:
        raise UserError(
            f"{folder}: was written by version {told['GUI version']}; 0.6 is the oldest"
        )
    wanted, _, name = line.rpartition(":")
    n = number(folder, name, 1, 256)
    found = []
    for events in sorted(folder.glob("events/*/TTL*")):
        states = np.load(events / "states.npy")
        if wanted in events.parent.name and (np.abs(states) == n).any():
            found.append((events, states))
    if not found:
        raise UserError(f"{folder}: line {n} of {wanted or 'any stream'} never changed")
    if len(found) > 1:
        names = ", ".join(events.parent.name for events, _ in found)
        raise UserError(f"{folder}: {names} have a line {n}; say which with --line STREAM:{n}")
    events, states = found[0]
    stream = events.parent.name
    t_s = np.load(events / "timestamps.npy")
    samples = np.load(events / "sample_numbers.npy")
    if not len(t_s) == len(samples) == len(states):
        raise UserError(f"{events}: its files differ in length: the recording ends early")
    clock = "s, as timestamps.npy of the recording"
    rate, extent = _continuous(folder, told, stream, len(t_s) > 0 and bool((t_s < 0).all()))
    if (t_s < 0).all():  # the GUI gave no times
        t_s, clock = samples / rate, f"samples of {stream} / {rate:g} Hz"
    one = np.abs(states) == n
    began = _began(folder)
    return Edges(
        t_s[one & (states > 0)],
        t_s[one & (states < 0)],
        *extent,
        clock,
        f"Open Ephys {told['GUI version']}, {stream}",
        began_unix_s=began,
    )


def _folder(path: Path) -> Path:
    found = [path.parent] if path.is_file() else [p.parent for p in path.rglob("structure.oebin")]
    if len(found) != 1:
        names = ", ".join(str(p.relative_to(path)) for p in sorted(found))
        raise UserError(f"{path}: holds {len(found)} recordings; name one of {names}")
    return found[0]


def _continuous(
    folder: Path, told: dict[str, object], stream: str, counted: bool
) -> tuple[float, tuple[float, float]]:
    """Return the rate of a stream, Hz, and from when to when it was recorded, s."""
    parts: list[dict[str, object]] = [*told.get("continuous", []), *told.get("events", [])]  # type: ignore[misc]
    rate = next(
        (
            float(str(part["sample_rate"]))
            for part in parts
            if stream in str(part.get("folder_name", "")) and "sample_rate" in part
        ),
        float("nan"),
    )
    data = _samples_of(folder, stream)
    if data is None:
        return rate, (float("nan"), float("nan"))
    samples = np.load(data / "sample_numbers.npy", mmap_mode="r")
    n_channels = next(
        (
            int(str(part["num_channels"]))
            for part in parts
            if data.name in str(part.get("folder_name", "")) and "num_channels" in part
        ),
        0,
    )
    size = (data / "continuous.dat").stat().st_size
    if n_channels and size != 2 * n_channels * len(samples):
        raise UserError(
            f"{data / 'continuous.dat'}: has {size} bytes for {len(samples)} samples of "
            f"{n_channels} channels: the recording ends early"
        )
    if not len(samples):
        return rate, (float("nan"), float("nan"))
    t_s = samples / rate if counted else np.load(data / "timestamps.npy", mmap_mode="r")
    return rate, (float(t_s[0]), float(t_s[-1]))


def _samples_of(folder: Path, stream: str) -> Path | None:
    """Return the folder with a stream's samples.

    Folders are ``<processor>-<id>.<stream>``. Events may come from another processor of the signal
    chain than samples do; then it is the one folder with the stream's name.
    """
    data = folder / "continuous" / stream
    if data.is_dir():
        return data
    name = stream.partition(".")[2]
    found = [path for path in folder.glob("continuous/*") if path.name.partition(".")[2] == name]
    return found[0] if len(found) == 1 else None


def _began(folder: Path) -> float:
    """Return when the GUI says that acquisition began, s since 1970; NaN if it does not."""
    try:
        text = (folder / "sync_messages.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return float("nan")
    found = re.search(r"Software Time[^:]*1970[^:]*: *(\d+)", text)
    return int(found[1]) * 1e-3 if found else float("nan")
