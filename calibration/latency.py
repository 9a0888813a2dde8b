"""Measure the delay that no clock fit can see: from photons to delivery, and on to a line.

A light in view of the camera is switched at random times, by a line of this machine. A frame whose
exposure holds a switch is partly lit, by how much says where in the exposure it was. So the true
midpoint of exposures is known in this machine's clock, and what `exposure_ns` is off by.

Writes a file to name as `latency` in the rig file, and a picture. The light's own delay (from the
order to the light) cannot be told from the camera's: bound it with --line-err-us.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _collect import Blinker, open_light, run, script, with_camera

from rtface.accept.frames import Collector, Frames, percentiles_us
from rtface.camera.synthetic import LIT
from rtface.config import Rig, load_rig
from rtface.flashes import Flashes, fit_flashes
from rtface.timing import Latency, write_latency
from rtface.types import TimeSource, UserError

#: the clock has to be known before frames are judged, s
WARM_UP_S = 10.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rig", type=Path, help="rig file")
    parser.add_argument("--camera", default="cam1", help="one of its cameras")
    parser.add_argument("--light", required=True, help="'simulated' or 'serial:PORT'")
    parser.add_argument(
        "--roi",
        type=int,
        nargs=4,
        metavar=("LEFT", "TOP", "WIDTH", "HEIGHT"),
        help="where the light shines, px; known for a simulated one",
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to flash")
    parser.add_argument("--line-err-us", type=float, default=0.0, help="bound on the light's delay")
    parser.add_argument(
        "--load-err-us",
        type=float,
        default=100.0,
        help="how much the fastest frames' way may differ from run to run",
    )
    parser.add_argument("--out", type=Path, default=Path("latency.json"))
    parser.add_argument("--picture", type=Path, help="by default beside --out")
    parser.add_argument("--quick", action="store_true", help="15 s: does it work?")
    return parser.parse_args()


def measure(rig: Rig, args: argparse.Namespace) -> tuple[Flashes, Frames, Blinker]:
    """Flash and look; return the fit, the frames it is from, and what was switched."""
    section = rig.camera[args.camera]
    roi = tuple(args.roi) if args.roi else None
    with tempfile.TemporaryDirectory(prefix="rtface-light-") as folder:
        light, path = open_light(args.light, Path(folder))
        if path is not None:
            if section.kind != "synthetic":
                raise UserError("--light simulated: only a synthetic camera sees it")
            rig = with_camera(rig, args.camera, sim_light=str(path))
        if roi is None:
            if section.kind != "synthetic":
                raise UserError("give --roi: where in the picture the light shines")
            rows, columns = LIT
            roi = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        collector = Collector(args.camera, roi)
        rate_hz = getattr(section, "rate_hz", None) or 100.0
        blinker = Blinker(light, 1 / rate_hz, WARM_UP_S)
        blinker.start()
        try:
            run(rig, collector, WARM_UP_S + args.seconds)
        finally:
            blinker.end()
            light.close()
    frames = collector.frames().settled(WARM_UP_S - 2)
    switches = np.array(blinker.switch_ns)
    return fit_flashes(switches, frames.exposure_ns, frames.grey), frames, blinker


def stages(flashes: Flashes, frames: Frames, blinker: Blinker) -> dict[str, dict[str, float]]:
    """Return where the time from photons to a line goes, us."""
    true = frames.exposure_ns - flashes.late_ns
    line = float(np.median(blinker.cost_ns))
    return {
        "exposure's midpoint -> delivery": percentiles_us(frames.host_ns - true),
        "delivery -> result done": percentiles_us(frames.done_ns - frames.host_ns),
        "order to the line": percentiles_us(np.array(blinker.cost_ns)),
        "photon -> line": percentiles_us(frames.done_ns - true + line),
    }


def draw(
    path: Path, flashes: Flashes, table: dict[str, dict[str, float]], latency: Latency
) -> None:
    """Draw how frames at all phases saw the switches, and how far they are from the line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(flashes.since_ns / 1e3, flashes.part, ".", markersize=3)
    middle, half = flashes.late_ns, flashes.exposure_ns / 2
    left.plot([(middle - half) / 1e3, (middle + half) / 1e3], [0, 1], linewidth=1)
    left.axvline(middle / 1e3, linestyle=":", linewidth=1)
    left.set_xlabel("stated midpoint - switch (us)")
    left.set_ylabel("part of the exposure after the switch")
    left.set_title(
        f"late by {middle / 1e3:.1f} +- {latency.err_us:.1f} us, exposure "
        f"{flashes.exposure_ns / 1e3:.0f} us, {len(flashes.part)} frames",
        fontsize=9,
    )
    right.hist(flashes.residual_ns / 1e3, bins=40)
    right.set_xlabel("distance from the line (us)")
    right.set_title(
        "\n".join(f"{k}: p50 {v['p50']:.0f}, p99 {v['p99']:.0f} us" for k, v in table.items()),
        fontsize=8,
    )
    figure.savefig(path, dpi=130)


def main() -> None:
    args = arguments()
    if args.quick:
        args.seconds = 15.0
    rig = load_rig(args.rig)
    rig = with_camera(rig, args.camera, latency=None)
    section = rig.camera[args.camera]
    flashes, frames, blinker = measure(rig, args)
    source = TimeSource(int(frames.source[-1]))
    declared_us = 0.0 if source == TimeSource.LATCHED_PAIRS else section.delay_us
    about: dict[str, Any] = {
        "camera": args.camera,
        "kind": section.kind,
        "measured_unix_s": round(time.time()),
        "exposure_us": round(flashes.exposure_ns / 1e3, 1),
        "frames": len(flashes.part),
        "line_err_us": args.line_err_us,
    }
    latency = Latency(
        round(declared_us + flashes.late_ns / 1e3, 2),
        round(flashes.err_ns / 1e3 + args.line_err_us + args.load_err_us, 2),
        source,
        section.stamp_means,
        about,
    )
    table = stages(flashes, frames, blinker)
    about["stages_us"] = table
    write_latency(args.out, latency)
    for stage, us in table.items():
        print(f"{stage:34} p50 {us['p50']:9.1f}  p99 {us['p99']:9.1f}  max {us['max']:9.1f} us")
    print(
        f"{len(flashes.part)} frames caught a switch; exposure {flashes.exposure_ns / 1e3:.0f} us; "
        f"delay {latency.delay_us:.1f} +- {latency.err_us:.1f} us ({source.name.lower()})"
    )
    told = section.exposure_us
    if isinstance(told, float) and abs(told - flashes.exposure_ns / 1e3) > 0.2 * told:
        print(f"NOTE: the rig file says exposure_us = {told:g}; the frames say otherwise")
    picture = args.picture or args.out.with_suffix(".png")
    try:
        draw(picture, flashes, table, latency)
    except ImportError:
        print("no picture: pip install 'rtface[calibrate]'")
    else:
        print(f"written: {picture}")
    print(f'written: {args.out}; put  latency = "{args.out}"  under [camera.{args.camera}]')


if __name__ == "__main__":
    script(main)
