"""Masks of a video, made by rtface or by Facemap, in the process that calls; runs without rtface.

Prints seconds and the process's peak memory until then as one line of JSON. Linux alone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

BIN, COMPONENTS = 4, 500


def fit(program: str, video: str) -> None:
    """Make masks with ``rtface`` or ``facemap``; both decode the video themselves."""
    print(json.dumps({"rtface": _rtface, "facemap": _facemap}[program](video)))


def _peak_mb() -> int:
    # not getrusage: its figure begins with that of the process that started this one
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def _rtface(video: str) -> dict[str, float]:
    from rtface.camera.media import read_frames
    from rtface.motion.fit import fit_masks

    start = time.perf_counter()
    fit_masks([lambda: read_frames(video)], BIN, COMPONENTS)
    seconds = time.perf_counter() - start
    return {"masks_s": round(seconds, 1), "peak_MB": _peak_mb(), "then_projection_s": 0.0}


def _facemap(video: str) -> dict[str, float]:
    """Run the whole of Facemap, which also projects the file; its steps are timed apart."""
    from facemap import process

    spent: dict[str, float] = {}
    peak: dict[str, int] = {}

    def timed(name: str) -> None:
        step = getattr(process, name)

        def run(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            found = step(*args, **options)
            spent[name] = time.perf_counter() - start
            peak[name] = _peak_mb()
            return found

        setattr(process, name, run)

    for name in ("subsampled_mean", "compute_SVD", "process_ROIs"):
        timed(name)
    settings = {
        "sbin": BIN,
        "fullSVD": True,
        "save_mat": False,
        "rois": None,
        "sy": 0,
        "sx": 0,
        "savepath": None,
    }
    process.run(
        [[video]], motSVD=True, movSVD=False, proc=settings, savepath=str(Path(video).parent)
    )
    masks = spent["subsampled_mean"] + spent["compute_SVD"]
    return {
        "masks_s": round(masks, 1),
        "peak_MB": peak["compute_SVD"],
        "then_projection_s": round(spent["process_ROIs"], 1),
    }


if __name__ == "__main__":
    fit(*sys.argv[1:])
