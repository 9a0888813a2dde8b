"""Watch a camera's clock for some minutes: drift, jitter, steps, and what is left after the fit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from _collect import run, script, with_camera

from rtface.accept.frames import Collector, Frames, percentiles_us
from rtface.clock import ClockFit
from rtface.config import load_rig
from rtface.ring import NONE_WORD
from rtface.types import UserError


def residuals(device_ns: np.ndarray, host_ns: np.ndarray) -> tuple[ClockFit, np.ndarray]:
    """Return the fit, and how much later than the fastest each frame came, ns (NaN: no fit yet)."""
    fit = ClockFit()
    late = np.full(len(device_ns), np.nan)
    for i, (device, host) in enumerate(zip(device_ns.tolist(), host_ns.tolist(), strict=True)):
        fit.add(device, host)
        if (found := fit.host(device)) is not None:
            late[i] = host - found[0]
    return fit, late


def draw(path: Path, frames: Frames, late: np.ndarray, title: str) -> None:
    """Draw both clocks against each other before and after the fit."""
    from matplotlib.figure import Figure

    t = (frames.host_ns - frames.host_ns[0]) * 1e-9
    raw = frames.host_ns - frames.device_ns
    figure = Figure(figsize=(10, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(t, (raw - raw[0]) / 1e3, linewidth=0.6)
    top.set_ylabel("host - camera clock (us)")
    top.set_title(title, fontsize=9)
    bottom.plot(t, late / 1e3, ".", markersize=1)
    bottom.set_ylim(-50, max(100.0, 1.2 * float(np.nanpercentile(late, 99)) / 1e3))
    bottom.set_ylabel("later than the fastest (us)")
    bottom.set_xlabel("time (s)")
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rig", type=Path, help="rig file")
    parser.add_argument("--camera", default="cam1", help="one of its cameras")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("camera_clock.json"))
    parser.add_argument("--quick", action="store_true", help="10 s: does it work?")
    args = parser.parse_args()
    collector = Collector(args.camera, None)
    seconds = 10.0 if args.quick else 60 * args.minutes
    run(with_camera(load_rig(args.rig), args.camera), collector, seconds)
    frames = collector.frames()
    if not len(frames.host_ns) or (frames.device_ns == NONE_WORD).any():
        raise UserError(f"camera.{args.camera}: has no clock of its own, or no frame came")
    fit, late = residuals(frames.device_ns, frames.host_ns)
    raw = frames.host_ns - frames.device_ns
    found: dict[str, Any] = {
        "seconds": round(float(np.ptp(frames.host_ns)) * 1e-9, 1),
        "frames": len(late),
        "skew_ppm": round(fit.skew_ppm, 3),
        "scatter_us": round(fit.scatter_us, 2),
        "late_us": percentiles_us(late[np.isfinite(late)]),
        "raw_span_us": round(float(np.ptp(raw)) / 1e3, 1),
        "steps": fit.steps,
        "resets": fit.resets,
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    title = (
        f"{args.camera}: {found['seconds']} s, skew {found['skew_ppm']} ppm, minima within "
        f"{found['scatter_us']} us of the line, {found['steps']} steps, {found['resets']} resets"
    )
    print(title)
    print(f"frames later than the fastest: {found['late_us']} us; raw: {found['raw_span_us']} us")
    picture = args.out.with_suffix(".png")
    try:
        draw(picture, frames, late, title)
    except ImportError:
        print("no picture: pip install 'rtface[calibrate]'")
    print(f"written: {args.out}, {picture}")


if __name__ == "__main__":
    script(main)
