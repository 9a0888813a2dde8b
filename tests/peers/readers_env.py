"""Makes an environment with the programs that read exports: pynwb, nwbinspector, movement, pandas.

``python tests/peers/readers_env.py FOLDER``. They come in the newest versions, in an environment of
their own: rtface does not need them, and they bring 1.4 GB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def environment(folder: Path) -> Path:
    """Return the Python of a new virtual environment with the readers in it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    packages = ["movement>=0.15", "nwbinspector>=0.7", "pynwb>=4.2", "ndx-pose>=0.4"]
    packages += ["pandas>=2.2", "tables>=3.10", "pyarrow>=18"]
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


if __name__ == "__main__":
    environment(Path(sys.argv[1]))
