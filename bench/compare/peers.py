"""The peers, and an environment for each with the versions that stand here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Peer(NamedTuple):
    """What is measured.

    Attributes
    ----------
    name : str
    worker : tuple of str
        Its script here, and the script's arguments after the file of frames.
    installs : tuple of tuples of str
        Arguments of one ``pip install`` after another; none: runs where this runs.
    quick : bool
        Whether a quick run includes it.
    """

    name: str
    worker: tuple[str, ...]
    installs: tuple[tuple[str, ...], ...] = ()
    quick: bool = True


# torch comes first: the packages would bring another one
_FACEMAP = (
    ("torch==2.13.0",),
    ("facemap==1.0.8", "torch==2.13.0"),
    ("numpy==1.26.4", "pandas==2.3.3", "matplotlib==3.11.2", "torch==2.13.0"),
)
_DLCLIVE = (
    ("torch==2.13.0",),
    (
        "deeplabcut-live==1.1.0",
        "timm==1.0.31",
        "torchvision==0.28.0",
        "torch==2.13.0",
        "numpy==1.26.4",
    ),
)
PEERS = (
    Peer("rtface", ("worker_rtface.py", "onnxruntime", "fp32", "default")),
    Peer("rtface INT8", ("worker_rtface.py", "openvino", "int8-bf16", "default")),
    Peer("Facemap 1.0.8", ("worker_facemap.py",), _FACEMAP),
    Peer("DLC-live 1.1.0, RTMPose-s at 256x256", ("worker_dlclive.py", "rtmpose_s"), _DLCLIVE),
    Peer("DLC-live 1.1.0, ResNet-50 at 256x192", ("worker_dlclive.py", "resnet50_0.4"), _DLCLIVE),
    Peer(
        "DLC-live 1.1.0, ResNet-50 at 640x480", ("worker_dlclive.py", "resnet50"), _DLCLIVE, False
    ),
)


def of_bundle(folder: Path) -> list[Peer]:
    """Return a bundle as peers, in what it runs in; where it does not, the table says why."""
    kinds = (
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("onnxruntime", "int8"),
        ("openvino", "int8"),
        ("openvino", "int8-bf16"),
    )
    name = folder.resolve().name
    return [
        Peer(f"{name}, {' '.join(kind)}", ("worker_rtface.py", *kind, str(folder.resolve())))
        for kind in kinds
    ]


class Unavailable(Exception):
    """A peer cannot be installed or run; the text says why and stands in the table."""


def python_of(peer: Peer, folder: Path) -> Path:
    """Return the Python that has a peer; its environment is made in ``folder`` if need be."""
    if not peer.installs:
        return Path(sys.executable)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(repr((version, peer.installs)).encode()).hexdigest()[:10]
    venv = folder / key
    python = venv / "bin" / "python"
    if (venv / "complete").is_file():
        return python
    shutil.rmtree(venv, ignore_errors=True)
    print(f"{peer.name}: installing into {os.path.relpath(venv)} (once; some minutes)", flush=True)
    _run(peer, [sys.executable, "-m", "venv", str(venv)])
    for packages in peer.installs:
        _run(peer, [str(python), "-m", "pip", "install", "-q", *packages])
    (venv / "complete").touch()
    return python


def _run(peer: Peer, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        errors = [line for line in lines if line.startswith("ERROR")]
        raise Unavailable(f"cannot be installed: {(errors or lines)[-1][:120]}")
