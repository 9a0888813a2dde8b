"""What recording costs the tracker, and whether it loses anything.

A clip of the synthetic mouse that was decoded beforehand plays as a camera, without recording and
with it, in turns. Two cases: 200 frames/s of 640x480 with x264, and 500 frames/s with the results
alone. Ten minutes each; ``--quick`` takes seconds.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import _report
import av
import numpy as np
from latency import free_ports

from rtface.camera.synthetic import SyntheticCamera
from rtface.config import parse_rig
from rtface.engine.bundle import load_bundle
from rtface.run import run_rig
from rtface.session.verify import verify
from rtface.types import UserError

CLIP_FRAMES = 400
#: what may be lost to recording: tracker's CPU and age of results, against a run without
LIMIT = 1.10


def make_clip(path: Path, rate_hz: float) -> Path:
    """Write a clip with the camera's noise, lossless, small enough to be kept decoded."""
    now = [0]

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1e9)

    camera = SyntheticCamera(640, 480, rate_hz, 7, clock=lambda: now[0], sleep=sleep)
    camera.start()
    image = np.empty((480, 640), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=round(rate_hz))
        stream.width, stream.height, stream.pix_fmt = 640, 480, "gray"
        for _ in range(CLIP_FRAMES):
            camera.fill(image, 1.0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "gray")))
        container.mux(stream.encode(None))
    return path


def run(clip: Path, root: Path | None, case: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Track the clip for some seconds, recording into ``root`` or not."""
    control, data, status = free_ports(3)
    told: dict[str, Any] = {
        "camera": {
            "cam1": {
                "kind": "video",
                "file": str(clip),
                "rate_hz": float(case["rate_hz"]),
                "loop": True,
            }
        },
        "engine": {"runtime": case["runtime"], "bundle": case["bundle"]},
        "stream": {"control_port": control, "data_port": data, "status_port": status},
        "record": {"video": case["video"], "warn_free_mb": 2, "stop_free_mb": 1},
    }
    if root is not None:
        told["record"]["folder"] = str(root)
    supervisor = run_rig(parse_rig(told, "bench"), lambda: False, seconds)
    said = supervisor.status()
    counts = said["cameras"]["cam1"]
    age = counts["total_age"]
    found = {
        "delivered": counts["delivered"],
        "lost_camera": counts["lost_camera"],
        "tracked": counts["tracked"],
        "skipped": counts["skipped"],
        "cpu_us_per_frame": 1e6 * counts["cpu_s"] / max(1, counts["tracked"]),
        "age_p50_us": 1000 * age["p50_ms"],
        "age_p99_us": 1000 * age["p99_ms"],
    }
    if root is not None:
        (folder,) = root.iterdir()
        recorded = said["recording"]["cameras"]["cam1"]
        size = sum(path.stat().st_size for path in folder.iterdir())
        found |= {
            "recorded": recorded,
            "whole": verify(folder) == [],
            "every_frame": recorded["frames"] == counts["delivered"]
            and recorded.get("in_video" if case["video"] != "none" else "no_video", 0)
            == counts["delivered"],
            "every_result": recorded["results"] == counts["tracked"],
            "faults": supervisor.faults,
            "bytes_per_frame": round(size / max(1, recorded["frames"])),
        }
    return found


def compare(clip: Path, case: dict[str, Any], seconds: float, pairs: int) -> dict[str, Any]:
    """Run without and with recording in turns; the ratios are of medians."""
    without, recording = [], []
    for _ in range(pairs):  # in turns: a slow minute of the machine hits both
        without.append(run(clip, None, case, seconds))
        with tempfile.TemporaryDirectory(prefix="rtface-bench-", dir=clip.parent) as root:
            recording.append(run(clip, Path(root), case, seconds))
    ratios = {
        key: statistics.median(r[key] for r in recording)
        / max(1e-9, statistics.median(r[key] for r in without))
        for key in ("cpu_us_per_frame", "age_p50_us", "age_p99_us")
    }
    return {**case, "without": without, "recording": recording, "ratios": ratios}


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--bundle", default="default", help="folder of another network")
    parser.add_argument("--seconds", type=float, help="length of a run (600)")
    parser.add_argument("--pairs", type=int, help="runs of each kind and case (1)")
    parser.add_argument("--only", choices=["x264", "none"], help="one of the two cases")
    args = parser.parse_args()
    try:
        load_bundle(args.bundle)
    except UserError as error:
        sys.exit(f"{error}; or give another with --bundle")
    seconds = args.seconds or (3.0 if args.quick else 600.0)
    cases = [
        {"video": "x264", "rate_hz": 200, "runtime": "onnxruntime", "bundle": args.bundle},
        {"video": "none", "rate_hz": 500, "runtime": "onnxruntime", "bundle": args.bundle},
    ]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtface-bench-")))
        shm = Path("/dev/shm")
        rings = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
        os.environ["RTFACE_RING_DIR"] = stack.enter_context(rings)
        clip = make_clip(folder / "clip.mkv", 200.0)
        found = [
            compare(clip, case, seconds, args.pairs or 1)
            for case in cases
            if args.only in (None, case["video"])
        ]
    rows = []
    for one in found:
        for kind in ("without", "recording"):
            for result in one[kind]:
                row = {"video": one["video"], "rate": one["rate_hz"], "run": kind}
                row |= {k: v for k, v in result.items() if isinstance(v, int | float)}
                rows.append(row)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    _report.table("recording", [{key: row.get(key, "") for key in keys} for row in rows])
    lost = 0
    for one in found:
        ratios = ", ".join(f"{key} {value:.3f}" for key, value in one["ratios"].items())
        print(f"{one['video']} at {one['rate_hz']} Hz, recording against not: {ratios}")
        for result in one["recording"]:
            whole = all(result[k] for k in ("whole", "every_frame", "every_result"))
            lost += not whole or bool(result["faults"])
            print(f"  {result['recorded']}: {'nothing lost' if whole else 'NOT ALL OF IT'}")
    held = all(
        one["ratios"][key] <= LIMIT for one in found for key in ("cpu_us_per_frame", "age_p50_us")
    )
    print(f"tracker's CPU and p50 within {LIMIT:.2f}: {'holds' if held else 'DOES NOT HOLD'}")
    results = {"seconds": seconds, "cases": found, "limit": LIMIT, "held": held, "lost": lost}
    _report.write("record", args, results)
    if lost and not args.quick:
        sys.exit(1)


if __name__ == "__main__":
    main()
