"""Simulated GenICam cameras behind a real GenTL producer (gentl/), for use through harvesters.

The keys of a camera are described in gentl/sim.h and gentl/sim_config.c.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCES = Path(__file__).parent / "gentl"
CAMERAS = 8
FLAGS = "-O2 -Wall -Wextra -Werror -shared -fPIC -pthread -fvisibility=hidden -Wl,-z,nodelete"

EDGES, LEVELS, KILLED, EDGES_SEEN, ACQUIRING, DIED, BOOTED = range(7)  # words of the control file
DELIVERED, DROPPED, INCOMPLETE, NO_BUFFER, TRIGGER_MISSED = range(5)  # "what" in the log
RECORD = np.dtype(
    [
        (name, np.int64)
        for name in (
            "segment",
            "index",
            "frame_id",
            "device_ns",
            "middle_ns",
            "delivery_ns",
            "what",
            "clip_index",
        )
    ]
)

Faults = Mapping[int, float] | Iterable[int]
Value = str | int | float | Path | NDArray[np.generic] | Faults


def build_producer(name: str) -> Path:
    """Compile the producer ``sim`` or ``gev`` unless that was done before; its .cti file."""
    sources = [*sorted(SOURCES.glob("front*.c")), *sorted(SOURCES.glob(f"{name}*.c"))]
    compiler = shlex.split(os.environ.get("CC", "cc"))
    libraries = ["-lm"]
    if name == "gev":
        asked = ["pkg-config", "--cflags", "--libs", "aravis-0.8"]
        libraries += shlex.split(subprocess.check_output(asked, text=True))
    command = [*compiler, *FLAGS.split()]
    digest = hashlib.sha256(repr((command, libraries)).encode())
    for path in [*sources, *sorted(SOURCES.glob("*.h"))]:
        digest.update(path.name.encode() + path.read_bytes())
    cache = Path(tempfile.gettempdir()) / f"rtface-gentl-{os.getuid()}-{digest.hexdigest()[:16]}"
    cti = cache / f"rtface{name}.cti"
    if not cti.exists():
        cache.mkdir(mode=0o700, exist_ok=True)
        fresh = cti.with_suffix(f".{os.getpid()}")  # two test runs may build at once
        done = subprocess.run(
            [*command, *map(str, sources), *libraries, "-o", str(fresh)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{name} does not compile:\n{done.stderr}")
        fresh.rename(cti)
    return cti


class Simulator:
    """Configuration, control and log files of simulated cameras; one dict of keys for each.

    Faults may be given as ``{frame: value}`` or as a list of frames, and ``clip`` as an array of
    frames. The producer reads the files when a program searches for cameras with ``env`` in its
    environment.
    """

    def __init__(self, folder: Path, *cameras: Mapping[str, Value], seed: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cti = build_producer("sim")
        config = folder / "cameras.txt"
        control = folder / "control"
        np.zeros((CAMERAS, 8), np.int64).tofile(control)
        self._control = np.memmap(control, np.int64, "r+", shape=(CAMERAS, 8))
        lines = [f"cameras = {len(cameras)}", f"control = {control}", f"seed = {seed}"]
        for number, keys in enumerate(cameras):
            lines.append(f"{number}.log = {self._log(number)}")
            lines += [f"{number}.{k} = {self._text(number, v)}" for k, v in keys.items()]
        config.write_text("\n".join(lines) + "\n")
        self.env = {"RTFACE_GENTL_SIM": str(config)}

    def _log(self, camera: int) -> Path:
        return self.folder / f"camera{camera}.log"

    def _text(self, number: int, value: Value) -> str:
        if isinstance(value, np.ndarray):
            path = self.folder / f"clip{number}.raw"
            value.tofile(path)
            return str(path)
        if isinstance(value, Mapping):
            return ", ".join(f"{frame}:{amount}" for frame, amount in value.items())
        if isinstance(value, str | Path | int | float):
            return str(int(value) if isinstance(value, bool) else value)
        return ", ".join(map(str, value))

    def edge(self, camera: int = 0, n: int = 1) -> None:
        """Ask for n rising edges on Line0, all at the same time."""
        self._control[camera, EDGES] += n

    def edges_seen(self, camera: int = 0) -> bool:
        """Whether the camera has acted on all edges asked for (or ignored them)."""
        return bool(self._control[camera, EDGES_SEEN] == self._control[camera, EDGES])

    def level(self, camera: int, mask: int) -> None:
        """Set the levels of the input lines, bit n for LineN."""
        self._control[camera, LEVELS] = mask

    def acquiring(self, camera: int = 0) -> bool:
        """Whether the camera exposes, or waits for triggers."""
        return bool(self._control[camera, ACQUIRING])

    def kill(self, camera: int = 0) -> None:
        """Take the camera away, as if its cable were pulled."""
        self._control[camera, KILLED] = 1

    def revive(self, camera: int = 0) -> None:
        """Give it back: it is found by the next search, with its clock and ids restarted."""
        self._control[camera, KILLED] = 0

    def log(self, camera: int = 0) -> NDArray[np.void]:
        """Every exposure and missed trigger so far: what is true about this camera."""
        path = self._log(camera)
        data = path.read_bytes() if path.exists() else b""
        return np.frombuffer(data[: len(data) // RECORD.itemsize * RECORD.itemsize], RECORD)
