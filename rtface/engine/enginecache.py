"""Built engines on disk: one file per network, GPU and version, whole or not there.

A file is one line of JSON, the key it was built for, and the plan after it. Its name is a hash of
that key, so rigs with different GPUs may share a folder; what stands in the file is checked all the
same. Of two processes that build the same the last one wins, either plan will do, and neither sees
half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from rtface.types import UserError

#: what mends most faults of an engine
REMEDY = "build it with python calibration/engine.py"


class NoEngine(UserError):
    """There is no engine of a key."""


class EngineKey(NamedTuple):
    """All that an engine depends on; two engines of one key are the same.

    Attributes
    ----------
    model : str
        sha256 of the network's file.
    precision : str
        ``fp32``, ``fp16``, ``int8``.
    flavour : str
        ``tensorrt``, ``tensorrt_rtx``.
    version : str
        Of the flavour.
    gpu : str
        Its name.
    capability : str
        Of its architecture, ``8.6``.
    driver : int
        Newest CUDA that it knows, 12040 for 12.4.
    system : str
        Operating system and processor.
    recipe : int
        Of how rtface builds; changes when that does.
    """

    model: str
    precision: str
    flavour: str
    version: str
    gpu: str
    capability: str
    driver: int
    system: str
    recipe: int

    @property
    def told(self) -> str:
        """For people: all but hashes."""
        cuda = f"{self.driver // 1000}.{self.driver % 1000 // 10}"
        return (
            f"{self.gpu} ({self.capability}), {self.flavour} {self.version}, CUDA {cuda}, "
            f"{self.precision}, {self.system}"
        )


def engines_dir() -> Path:
    """Return where engines are kept: ``RTFACE_ENGINES``, else a folder in the user's home."""
    named = os.environ.get("RTFACE_ENGINES")
    return Path(named) if named else Path.home() / ".rtface" / "engines"


def path_of(folder: Path, key: EngineKey) -> Path:
    """Return where the engine of ``key`` stands, if there is one."""
    text = json.dumps(key._asdict(), sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.engine"


def write_plan(folder: Path, key: EngineKey, plan: bytes) -> Path:
    """Write an engine at once or not at all, and return its file.

    Raises
    ------
    UserError
        The folder cannot be written.
    """
    path = path_of(folder, key)
    header = json.dumps({**key._asdict(), "sha256": hashlib.sha256(plan).hexdigest()})
    made = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=folder, prefix=".engine-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(header.encode() + b"\n" + plan)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):
                os.unlink(made)
        raise UserError(
            f"{folder}: cannot keep the engine ({error.strerror}); make the folder writable, "
            "make room, or set RTFACE_ENGINES to another"
        ) from None
    return path


def read_plan(folder: Path, key: EngineKey) -> bytes:
    """Return the plan of the engine that was built for ``key``.

    Raises
    ------
    NoEngine
        There is none.
    UserError
        It is damaged, or was built for something else.
    """
    path = path_of(folder, key)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NoEngine(
            f"{folder}: no engine for {key.told}{_others(folder, key)}; {REMEDY}"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); make it readable, or {REMEDY}"
        ) from None
    line, _, plan = content.partition(b"\n")
    header = _header(line)
    if header is None or header.get("sha256") != hashlib.sha256(plan).hexdigest():
        raise UserError(f"{path}: is damaged; remove it and {REMEDY}")
    if differences := _differences(header, key):
        raise UserError(f"{path}: was built for {differences}; remove it and {REMEDY}")
    return plan


def _header(line: bytes) -> dict[str, object] | None:
    try:
        header = json.loads(line)
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def _differences(header: dict[str, object], key: EngineKey) -> str:
    """Return in words in what an engine differs from the one that is wanted."""
    return ", ".join(
        f"{name} {str(header.get(name))[:60]} instead of {str(wanted)[:60]}"
        for name, wanted in key._asdict().items()
        if header.get(name) != wanted
    )


def _others(folder: Path, key: EngineKey) -> str:
    """Return in words what is there of the same network, flavour and precision."""
    for path in sorted(folder.glob("*.engine")):
        try:
            with path.open("rb") as file:
                header = _header(file.readline(10_000))
        except OSError:
            continue
        same = ("model", "precision", "flavour")
        if header and all(header.get(name) == getattr(key, name) for name in same):
            return f" (there is one for {_differences(header, key)})"
    return ""
