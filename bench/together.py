"""How many frames per second get keypoints, 500 motion components and the pupil, end to end.

A decoded clip of the synthetic mouse plays as a camera at rising rates; a rate is held if at most
one frame in a thousand is passed over. Also what each stage takes, from the ledgers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy, as the tracker has it

import _report
import motion
import numpy as np
from latency import free_ports
from record import make_clip

from rtface.config import parse_rig
from rtface.motion.fit import fit_masks
from rtface.motion.masks import save_masks
from rtface.rings import ResultRingReader
from rtface.run import Supervisor, run_rig

RATES_HZ = (100, 150, 200, 250, 300, 350, 400, 500)
#: of the frames of a run that may be passed over for its rate to be held
HELD = 1e-3
STAGES = {
    "read": ("t_host_ns", "t_read_ns"),
    "keypoints": ("t_read_ns", "t_infer_ns"),
    "motion": ("t_infer_ns", "t_motion_ns"),
    "pupil": ("t_motion_ns", "t_pupil_ns"),
}


def run(clip: Path, rate_hz: float, case: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Track the clip at a rate; return counts, ages and stages."""
    control, data, status = free_ports(3)
    camera: dict[str, Any] = {"kind": "video", "file": str(clip), "rate_hz": rate_hz, "loop": True}
    told: dict[str, Any] = {
        "camera": {"cam1": camera | case["signals"]},
        "engine": case["engine"],
        "stream": {"control_port": control, "data_port": data, "status_port": status},
    }
    spent: list[list[int]] = []
    readers: list[ResultRingReader] = []

    def on_start(_: Supervisor) -> None:
        readers.append(ResultRingReader("cam1"))

    def on_turn(_: Supervisor) -> None:
        for result in readers[0].new() if readers else ():
            ledger = result.ledger._asdict()
            spent.append([ledger[end] - ledger[start] for start, end in STAGES.values()])

    supervisor = run_rig(
        parse_rig(told, "bench"), lambda: False, seconds, on_start=on_start, on_turn=on_turn
    )
    readers[0].close()
    counts = supervisor.status()["cameras"]["cam1"]
    stages = np.median(np.array(spent), axis=0) / 1000
    return {
        "rate_hz": rate_hz,
        "delivered": counts["delivered"],
        "passed_over": counts["skipped"] / counts["delivered"],
        "age_p50_ms": counts["total_age"]["p50_ms"],
        "age_p99_ms": counts["total_age"]["p99_ms"],
        **{f"{name}_us": float(us) for name, us in zip(STAGES, stages, strict=True)},
    }


def climb(clip: Path, case: dict[str, Any], seconds: float, rates: tuple[int, ...]) -> list[Any]:
    """Run at one rate after the other until two in a row are not held."""
    runs: list[dict[str, Any]] = []
    for rate in rates:
        runs.append(run(clip, float(rate), case, seconds))
        if all(one["passed_over"] > HELD for one in runs[-2:]) and len(runs) > 1:
            break
    return runs


def row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the highest rate that was held, and what it was like."""
    held = [one for one in runs if one["passed_over"] <= HELD]
    best = held[-1] if held else runs[0]
    told = {"case": name, "held, frames/s": f"{best['rate_hz']:.0f}" if held else "none"}
    for key in ("age_p50_ms", "age_p99_ms"):
        told[key.replace("_", " ")] = f"{best[key]:.2f}"
    return told | {f"{stage}, us": f"{best[f'{stage}_us']:.0f}" for stage in STAGES}


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a run")
    parser.add_argument(
        "--engines", nargs="+", default=["onnxruntime fp32"], help="'openvino bf16' ..."
    )
    args = parser.parse_args()
    rates = RATES_HZ[:1] if args.quick else RATES_HZ
    seconds = 1.5 if args.quick else args.seconds
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtface-bench-")))
        shm = Path("/dev/shm")
        rings = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
        os.environ["RTFACE_RING_DIR"] = stack.enter_context(rings)
        clip = make_clip(folder / "clip.mkv", 200.0)
        n = 40 if args.quick else 500
        film = motion.clip(n + 100)
        masks = folder / "masks.npz"
        save_masks(masks, fit_masks([lambda: film], 4, n))
        found: dict[str, Any] = {}
        for named in args.engines:
            engine = dict(zip(("runtime", "precision"), named.split(), strict=True))
            cases: dict[str, dict[str, Any]] = {f"{named}, keypoints alone": {}}
            for fast in (False, True):
                section = {"masks": str(masks), "components": n, "fast": fast, "check": False}
                name = f"{named}, with {n} components ({'fast' if fast else 'exact'}) and pupil"
                cases[name] = {"motion": section, "pupil": {}}
            for name, signals in cases.items():
                case = {"engine": engine, "signals": signals}
                found[name] = climb(clip, case, seconds, rates)
    _report.table("Keypoints, motion and pupil together", [row(*one) for one in found.items()])
    _report.write("together", args, {"runs": found})


if __name__ == "__main__":
    main()
