"""Runs a script in an environment that has Facemap: what the scripts beside it share.

``python tests/peers/facemap_env.py FOLDER`` only makes the environment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def environment(folder: Path) -> Path:
    """Return the Python of a new virtual environment with Facemap in it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    # its metadata leaves out pandas, and it needs older ones of others than pip would choose
    for packages in (
        ["torch==2.13.0"],
        ["facemap[gui]"],
        ["numpy==1.26.4", "pandas<3", "matplotlib<3.9"],
    ):
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def home(folder: Path) -> Path:
    """Return a new home in a folder, for Facemap to be imported with.

    Facemap looks for its files when it is imported, and downloads what is not there.
    """
    models = folder / "home" / ".facemap" / "models"
    models.mkdir(parents=True)
    for name in ("facemap_model_params.pth", "facemap_model_state.pt"):
        (models / name).touch()
    return models.parent.parent


def main(
    script: str, about: str, prepare: Callable[[Path, bool], None], ask: Callable[[Path], None]
) -> None:
    """Run ``prepare(out, small)`` here, then ``ask(out)`` in Facemap's environment."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="the committed cases")
    parser.add_argument("--python", type=Path, help="a Python that has Facemap")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        ask(arguments.out)
        return
    prepare(arguments.out, arguments.small)
    with tempfile.TemporaryDirectory() as temporary:
        python = arguments.python or environment(Path(temporary) / "venv")
        subprocess.run(
            [python, script, "--inside", arguments.out],
            check=True,
            env=os.environ | {"HOME": str(home(Path(temporary)))},
        )


if __name__ == "__main__":
    environment(Path(sys.argv[1]))
