"""How much memory and time exports of a long session take: each in a process of its own.

Three hours at 200 frames/s with 20 keypoints, 100 motion components, pupil and running (2.5 GB of
records, as much again for each export in turn), made in a moment; nothing was tracked. It has no
video: of Facemap's files the two that hold numbers are written.

    python bench/exports.py [--frames 2160000] [--components 100]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import rtface
from rtface.export.deeplabcut import export_deeplabcut
from rtface.export.facemap import write_facemap
from rtface.export.nwb import export_nwb
from rtface.export.tables import export_csv, export_parquet
from rtface.export.take import recorded
from rtface.session import Session

KINDS = ("nwb", "csv", "parquet", "h5", "dlc.csv", "facemap")


def facemap(session: Session, out: Path) -> int:
    """Write keypoints and ``_proc.npy`` of all frames into a folder."""
    camera = session.cameras["cam1"]
    frame_seq = np.concatenate([rows["frame_seq"] for rows in camera.frames.chunks()])
    out.mkdir()
    write_facemap(out, "cam1", recorded(session.path, camera, frame_seq), [["cam1.mp4"]])
    return len(frame_seq)


def peak_mb() -> float:
    """Return the most memory that this process had; Linux only.

    Not ``ru_maxrss``, which begins with what the program had that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def one(folder: Path, kind: str) -> None:
    """Export once and say what it took."""
    out = folder.parent / f"out.{kind}"
    began = time.perf_counter()
    with rtface.open_session(folder) as session:
        if kind == "nwb":
            n = export_nwb(session, out)
        elif kind == "csv":
            n = export_csv(session, "cam1", out)
        elif kind == "parquet":
            n = export_parquet(session, "cam1", out, components=True)
        elif kind == "facemap":
            n = facemap(session, out)
        else:
            n = export_deeplabcut(session, "cam1", out)
    took = time.perf_counter() - began
    files = list(out.iterdir()) if out.is_dir() else [out]
    size_mb = sum(file.stat().st_size for file in files) / 1e6
    print(f"{kind:8} {n} rows, {took:.0f} s, peak {peak_mb():.0f} MB, files {size_mb:.0f} MB")
    for file in files:
        file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2_160_000)
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(Path(arguments.one[0]), arguments.one[1])
        return
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from made_sessions import make_session

    with tempfile.TemporaryDirectory() as temporary:
        names = [f"point({i})" for i in range(20)]
        made = Path(temporary) / "session"
        folder = make_session(made, arguments.frames, arguments.components, names)
        for kind in KINDS:
            subprocess.run([sys.executable, __file__, "--one", folder, kind], check=True)


if __name__ == "__main__":
    main()
