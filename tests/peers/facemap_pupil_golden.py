"""What Facemap makes of pupils and blinks, written down for tests/test_pupil_facemap.py.

    python tests/peers/facemap_pupil_golden.py out/facemap_pupil  # all, and the real clip
    python tests/peers/facemap_pupil_golden.py --small tests/data/facemap_pupil  # the committed

Makes a virtual environment of its own, installs Facemap there and runs itself in it (``--python
PATH`` names one that has Facemap already). One ``<case>.npz`` per case. Without ``--small`` also
the real clip of RTFACE_DATA, if that is there, with the pixels that Facemap saw: never to be
committed.
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
from facemap_motion_golden import ROOT, write

CLIP = "mouse_pupil/pupil_640x480_352frames.mp4"
#: ROI x, y, width, height; saturation; sigma; reflectors
CLIP_CASES: dict[str, tuple[list[int], float, float, list[list[int]]]] = {
    "clip2": ([190, 160, 230, 175], 48.0, 2.0, []),
    "clip25": ([190, 160, 230, 175], 48.0, 2.5, [[64, 98, 50, 54]]),
}


def prepare(out: Path, small: bool) -> None:
    """Write the videos, and what Facemap is to be asked about them."""
    sys.path.insert(0, str(ROOT / "tests"))
    from pupil_cases import CASES, ellipse_mask, frames

    shutil.rmtree(out, ignore_errors=True)
    (out / "ask").mkdir(parents=True)
    asked: dict[str, Any] = {}
    for name, case in CASES.items():
        video = out / "ask" / f"{name}.avi"
        write(video, frames(case))
        asked[name] = {"video": str(video), **case._asdict()}
    clip = Path(os.environ.get("RTFACE_DATA", ROOT.parent / "shared" / "data")) / CLIP
    if not small and clip.is_file():
        for name, (roi, saturation, sigma, reflectors) in CLIP_CASES.items():
            asked[name] = {
                "video": str(clip),
                "roi": roi,
                "saturation": saturation,
                "sigma": sigma,
                "reflectors": reflectors,
                "ellipse": True,
                "blink": saturation,
            }
    for name, case in asked.items():
        _, _, width, height = case["roi"]
        mask = ellipse_mask(height, width) if case["ellipse"] else np.ones((height, width), bool)
        np.save(out / "ask" / f"{name}_ellipse.npy", mask)
        for i, (_, _, w, h) in enumerate(case["reflectors"]):
            np.save(out / "ask" / f"{name}_reflector{i}.npy", ellipse_mask(h, w))
    (out / "ask" / "asked.json").write_text(json.dumps(asked))


def ask(out: Path) -> None:
    """Run Facemap on everything in ``out``; runs in Facemap's environment."""
    import cv2
    from facemap import process

    asked = json.loads((out / "ask" / "asked.json").read_text())
    for name, case in asked.items():
        x, y, width, height = case["roi"]
        ellipse = np.load(out / "ask" / f"{name}_ellipse.npy")
        roi = {
            "ivid": 0,
            "color": (0, 0, 255),
            "xrange": np.arange(x, x + width),
            "yrange": np.arange(y, y + height),
            "ellipse": ellipse,
            "pupil_sigma": case["sigma"],
        }
        reflectors = [
            {
                "xrange": np.arange(rx, rx + w),
                "yrange": np.arange(ry, ry + h),
                "ellipse": np.load(out / "ask" / f"{name}_reflector{i}.npy"),
            }
            for i, (rx, ry, w, h) in enumerate(case["reflectors"])
        ]
        kinds = (
            ("pupil", 0, case["saturation"], reflectors),
            ("blink", 2, case["blink"], []),
        )
        rois = [
            {
                **roi,
                "rind": rind,
                "rtype": kind,
                "iROI": i,
                "saturation": saturation,
                "reflector": hidden,
            }
            for i, (kind, rind, saturation, hidden) in enumerate(kinds)
        ]
        settings = {
            "sbin": 1,
            "fullSVD": False,
            "save_mat": False,
            "rois": rois,
            "sy": 0,
            "sx": 0,
            "savepath": None,
        }
        folder = out / "ask" / name
        folder.mkdir()
        made = process.run(
            [[case["video"]]], motSVD=False, movSVD=False, proc=settings, savepath=str(folder)
        )
        proc = np.load(made, allow_pickle=True).item()
        found = {**proc["pupil"][0], "blink": proc["blink"][0]}
        if case["video"].endswith(".mp4"):
            capture = cv2.VideoCapture(case["video"])
            seen = []
            while (read := capture.read())[0]:
                gray = cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY)
                seen.append(gray[y : y + height, x : x + width])
            about = {key: case[key] for key in ("roi", "saturation", "sigma", "reflectors")}
            found |= {"seen": np.array(seen), "about": json.dumps(about)}
        np.savez_compressed(out / f"{name}.npz", **found)
        print(name, {key: np.shape(value) for key, value in found.items()}, flush=True)
    shutil.rmtree(out / "ask")


if __name__ == "__main__":
    main(__file__, __doc__, prepare, ask)
