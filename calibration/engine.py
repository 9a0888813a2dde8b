"""Builds TensorRT's engine of a network for this rig's GPU, keeps it, and measures it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _collect import script

from rtface.config import load_rig
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.onnx import OnnxEngine
from rtface.engine.tensorrt import TensorRtEngine, open_place, prepare
from rtface.types import Engine

#: as often as a camera would ask, frames/s
PACED_HZ = 200.0


class Checked(NamedTuple):
    """What an engine gave on a bundle's reference frames.

    Attributes
    ----------
    shift_px : float
        Largest shift of a sure keypoint from where ONNX Runtime puts it, px of the input.
    hot_ms, paced_ms : (p50, p99, max), ms
        Frame after frame, and at ``PACED_HZ``.
    """

    shift_px: float
    hot_ms: tuple[float, ...]
    paced_ms: tuple[float, ...]


def check(bundle: Bundle, engine: Engine, seconds: float = 2.0) -> Checked:
    """Compare an engine with ONNX Runtime, and measure it; UserError where they disagree."""
    bundle.check(engine)
    reference = OnnxEngine(bundle)
    images, scales, shifts, _ = bundle.reference()
    frames = [(i, float(s), float(o)) for i, s, o in zip(images, scales, shifts, strict=True)]
    shift = 0.0
    for frame in frames:
        expected = reference.infer(*frame)
        sure = expected[:, 2] > (bundle.crop.sure if bundle.crop else 0.5)
        moved = np.abs(engine.infer(*frame)[sure, :2] - expected[sure, :2])
        shift = max(shift, float(moved.max(initial=0)))
    return Checked(shift, _times(engine, frames, seconds, 0), _times(engine, frames, seconds, 1))


def _times(
    engine: Engine, frames: Sequence[tuple[np.ndarray, float, float]], seconds: float, paced: int
) -> tuple[float, ...]:
    took = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        due = due + 1 / PACED_HZ if paced else time.perf_counter()
        if paced:
            time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        engine.infer(*frames[len(took) % len(frames)])
        took.append((time.perf_counter() - start) * 1e3)
    return tuple(float(one) for one in (*np.percentile(took, [50, 99]), max(took)))


def _wanted(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return bundle, runtime, precision and gpu: of the rig file, or as given."""
    wanted = {"bundle": "default", "runtime": "tensorrt", "precision": "fp16", "gpu": None}
    if arguments.rig:
        section = load_rig(arguments.rig).engine.model_dump()
        wanted |= {name: section[name] for name in wanted if section.get(name) is not None}
    given = {name: getattr(arguments, name) for name in wanted}
    return wanted | {name: value for name, value in given.items() if value is not None}


def main() -> None:
    """Build, keep, check, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rig", type=Path, nargs="?", help="rig file, whose [engine] is taken")
    parser.add_argument("--bundle", help="folder of the network")
    parser.add_argument("--runtime", choices=["tensorrt", "tensorrt_rtx"])
    parser.add_argument("--precision", choices=["fp16", "fp32", "int8"])
    parser.add_argument("--gpu", type=int, help="as nvidia-smi counts")
    arguments = parser.parse_args()
    wanted = _wanted(arguments)
    if wanted["runtime"] not in ("tensorrt", "tensorrt_rtx"):
        parser.error(f"{arguments.rig}: engine.runtime is {wanted['runtime']}; give --runtime")
    bundle = load_bundle(wanted["bundle"])
    precision, flavour, gpu = wanted["precision"], wanted["runtime"], wanted["gpu"]
    place = open_place(flavour, gpu)
    one = place.device.gpu
    print(f"GPU {one.number}: {one.name}, {flavour} {place.library.version}, {precision}")
    began = time.perf_counter()
    path = prepare(bundle, precision, place)
    place.device.close()
    print(f"built in {time.perf_counter() - began:.1f} s: {path}")
    engine = TensorRtEngine(bundle, precision, flavour, gpu)
    print("one CUDA graph" if engine.captured else f"no CUDA graph: {engine.fault}")
    found = check(bundle, engine)
    print(f"keypoints: at most {found.shift_px:.4f} px from ONNX Runtime's")
    for what, times in (("hot", found.hot_ms), (f"at {PACED_HZ:.0f} Hz", found.paced_ms)):
        print("{}: p50 {:.3f}, p99 {:.3f}, max {:.3f} ms".format(what, *times))


if __name__ == "__main__":
    script(main)
