"""What Facemap's motion SVD makes of videos, written down for tests/test_motion_facemap.py.

    python tests/peers/facemap_motion_golden.py out/facemap_motion  # all components
    python tests/peers/facemap_motion_golden.py --small tests/data/facemap_motion  # the committed

Makes a virtual environment of its own, installs Facemap there and runs itself in it (``--python
PATH`` names one that has Facemap already). One ``<case>_proc.npy`` per case, as Facemap writes it;
with ``--small`` only the first components, and no second copies of them in other shapes. Without
``--small`` also the real clip of RTFACE_DATA, if that is there, with the frames that Facemap saw
(``<case>_frames.npy``: never to be committed).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from facemap_env import main

ROOT = Path(__file__).parent.parent.parent
CLIP = "facemap_g7c1/cam1_G7c1_1_1second.avi"
#: bin, ROIs as view, x, y, width, height
CLIP_CASES: dict[str, tuple[int, list[list[int]]]] = {
    "clip2": (2, []),
    "clip3": (3, [[0, 100, 80, 121, 97]]),
    "clip4": (4, [[0, 60, 50, 150, 120], [0, 203, 101, 77, 90]]),
}
#: components that are committed, and every which frame of longer videos
FEW, THIN = 4, 100


def write(path: Path, frames: np.ndarray) -> None:
    """Write gray frames without loss, in a format in which OpenCV changes none."""
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "bgr0"
        for image in frames:
            color = np.repeat(image[..., None], 3, -1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(color, "bgr24")))
        container.mux(stream.encode(None))


def prepare(out: Path, small: bool) -> None:
    """Write the videos, and what Facemap is to be asked about them."""
    sys.path.insert(0, str(ROOT / "tests"))
    from motion_cases import CASES, frames

    shutil.rmtree(out, ignore_errors=True)
    (out / "ask").mkdir(parents=True)
    asked: dict[str, Any] = {}
    for name, case in CASES.items():
        files = []
        for view in range(len(case.sizes)):
            of_view = []
            for part, piece in enumerate(np.array_split(frames(case, view), case.parts)):
                of_view.append(out / "ask" / f"{name}_{view}_{part}.avi")
                write(of_view[-1], piece)
            files.append([str(path) for path in of_view])
        videos = [list(at_once) for at_once in zip(*files, strict=True)]
        asked[name] = {"videos": videos, "bin": case.bin_px, "rois": case.rois}
    clip = Path(os.environ.get("RTFACE_DATA", ROOT.parent / "shared" / "data")) / CLIP
    if not small and clip.is_file():
        for name, (bin_px, rois) in CLIP_CASES.items():
            asked[name] = {"videos": [[str(clip)]], "bin": bin_px, "rois": rois}
    (out / "ask" / "asked.json").write_text(json.dumps({"small": small, "cases": asked}))


def ask(out: Path) -> None:
    """Run Facemap on everything in ``out``; runs in Facemap's environment."""
    import cv2
    from facemap import process

    asked = json.loads((out / "ask" / "asked.json").read_text())
    for name, case in asked["cases"].items():
        rois = [
            {
                "rind": 1,
                "rtype": "motion SVD",
                "iROI": i,
                "ivid": view,
                "color": (0, 0, 255),
                "xrange": np.arange(x, x + width),
                "yrange": np.arange(y, y + height),
                "saturation": 0.0,
            }
            for i, (view, x, y, width, height) in enumerate(case["rois"])
        ]
        settings = {
            "sbin": case["bin"],
            "fullSVD": True,
            "save_mat": False,
            "rois": rois or None,
            "sy": 0,
            "sx": 0,
            "savepath": None,
        }
        folder = out / "ask" / name
        folder.mkdir()
        made = process.run(
            case["videos"], motSVD=True, movSVD=True, proc=settings, savepath=str(folder)
        )
        target = out / f"{name}_proc.npy"
        shutil.move(made, target)
        proc = np.load(target, allow_pickle=True).item()
        proc["filenames"] = [[Path(name).name for name in at_once] for at_once in case["videos"]]
        if asked["small"]:
            proc = fewer(proc)
        np.save(target, proc)
        if case["videos"][0][0].endswith(CLIP):
            capture = cv2.VideoCapture(case["videos"][0][0])
            seen = []
            while (read := capture.read())[0]:
                seen.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
            np.save(out / f"{name}_frames.npy", np.array(seen))
        print(name, [mask.shape for mask in proc["motMask"]], flush=True)
    shutil.rmtree(out / "ask")


def fewer(proc: dict[str, Any]) -> dict[str, Any]:
    """Return what the tests compare: the first components, and every so many frames of many."""
    again = ("_reshape", "LYbin", "LXbin", "sybin", "sxbin", "save_path")
    kept = {key: value for key, value in proc.items() if not key.endswith(again)}
    step = THIN if len(proc["motion"][0]) > THIN else 1
    for key in ("motMask", "movMask"):
        kept[key] = [np.ascontiguousarray(mask[:, :FEW]) for mask in proc[key]]
    for key in ("motSVD", "movSVD"):
        kept[key] = [np.ascontiguousarray(found[::step, :FEW]) for found in proc[key]]
    for key in ("motSv", "movSv"):
        kept[key] = proc[key][:FEW].copy()
    kept["pupil"], kept["blink"], kept["running"] = [], [], []
    return kept


if __name__ == "__main__":
    main(__file__, __doc__, prepare, ask)
