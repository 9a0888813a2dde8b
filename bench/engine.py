"""Every runtime and precision that this machine starts: hot and paced, alone and beside two others.

A 640x480 frame in memory in, keypoints in its pixels out, one thread; the shift of keypoints from
FP32 on real frames (RTFACE_DATA) and their distance from labels; and in the same run how fast this
processor multiplies at all, which no runtime can pass.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import _report
import numpy as np
from quantize_default import RECORDINGS

from rtface.engine import RUNTIMES, Started, start_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.modelbench import estimator_of, synthetic_frame
from rtface.quantize.frames import shift_of, watch
from rtface.realtime import give_back_realtime, take_realtime
from rtface.types import UserError

RATE_HZ = 200.0
PRIORITY = 10
COMPETITORS = 2


def burn() -> None:
    """Keep a core busy with arithmetic until ended."""
    a = np.ones((400, 400), np.float32)
    while True:
        a = a @ a * 0


@contextlib.contextmanager
def competitors(n: int) -> Iterator[None]:
    """Run n busy processes meanwhile."""
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=burn, daemon=True) for _ in range(n)]
    for one in running:
        one.start()
    if running:
        time.sleep(1.0)  # until they have started
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.join()


def timed(call: Any, seconds: float, rate_hz: float | None) -> dict[str, float]:
    """Return times of a call in a loop, or at a rate, ms, and its share of a core, %."""
    for _ in range(20):
        call()
    took: list[float] = []
    start = due = time.perf_counter()
    cpu = time.process_time()
    while time.perf_counter() < start + seconds:
        if rate_hz:
            due = max(due + 1 / rate_hz, time.perf_counter() - 1 / rate_hz)
            time.sleep(max(0.0, due - time.perf_counter()))
        before = time.perf_counter()
        call()
        took.append(time.perf_counter() - before)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    p50, p99, p999 = np.percentile(took, (50, 99, 99.9)) * 1e3
    return {
        "p50 ms": round(float(p50), 3),
        "p99 ms": round(float(p99), 3),
        "p99.9 ms": round(float(p999), 3),
        "CPU %": round(100 * cpu / wall, 1),
        "CPU ms": round(1e3 * cpu / len(took), 3),
        "n": len(took),
    }


def peak(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Return what one core multiplies at most, by a large convolution, and the network's share."""
    from onnx import TensorProto, helper, numpy_helper

    from rtface.quantize.graphs import Quantizer

    channels, side = 256, 32
    weight = np.random.default_rng(0).normal(0, 0.02, (channels, channels, 3, 3)).astype(np.float32)
    made = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], name="first", pads=[1] * 4),
            helper.make_node("Relu", ["y"], ["z"], name="between"),
            helper.make_node("Conv", ["z", "w"], ["a"], name="middle", pads=[1] * 4),
            helper.make_node("Relu", ["a"], ["b"], name="after"),
            helper.make_node("Conv", ["b", "v"], ["c"], name="head"),
        ],
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, side, side])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 1, side, side])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(weight[:1, :, :1, :1].copy(), "v"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(made, opset_imports=opset, ir_version=8).SerializeToString()
    x = np.random.default_rng(1).normal(0, 1, (1, channels, side, side)).astype(np.float32)
    quantizer = Quantizer(model, [{"x": x}])
    int8 = quantizer.for_cpu(list(quantizer.layers))
    operations = 2 * 2 * channels * channels * 9 * side * side
    rows = {}
    for name, run in _runners({"fp32": model, "int8": int8}, x).items():
        for _ in range(3):
            run()
        fastest = min(_once(run) for _ in range(30))
        rows[name] = round(operations / fastest / 1e9, 1)
    image, scale, shift, _ = (part[:1] for part in bundle.reference())
    feed = {"image": image[0], "scale": np.array(scale[0]), "shift": np.array(shift[0])}
    network = 2 * Quantizer(bundle.onnx, [feed]).multiplications / 1e9
    return {
        name: {"peak GOP/s": gops, "network at least, ms": round(1e3 * network / gops, 3)}
        for name, gops in rows.items()
    }


def _once(run: Any) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _runners(models: dict[str, bytes], x: np.ndarray) -> dict[str, Any]:
    """Return what runs the convolutions on one thread, for each runtime and precision."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    runners: dict[str, Any] = {}
    for kind, model in models.items():
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        runners[f"onnxruntime {kind}"] = lambda s=session: s.run(None, {"x": x})
    try:
        import openvino as ov
    except ImportError:
        return runners
    core = ov.Core()
    kinds = {"fp32": "f32", "int8": "f32"}
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        kinds["bf16"] = "bf16"
    for kind, hint in kinds.items():
        settings = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = core.compile_model(
            core.read_model(models.get(kind, models["fp32"])), "CPU", settings
        )
        request = compiled.create_infer_request()
        request.set_input_tensor(ov.Tensor(x, shared_memory=True))
        runners[f"openvino {kind}"] = request.infer
    return runners


def start_all(bundle: Bundle) -> tuple[list[Started], list[dict[str, str]]]:
    """Return what starts, and why the rest does not."""
    started, faults = [], []
    for runtime, precisions in RUNTIMES.items():
        for precision in precisions:
            try:
                started.append(start_engine(bundle, runtime, 1, precision))
            except UserError as error:
                faults.append({"runtime": f"{runtime} {precision}", "why not": str(error)})
    return started, faults


def in_torch(bundle: Bundle) -> list[Started]:
    """Return the network as it was trained, in torch; nothing where that is not installed."""
    try:
        from rtface.train.export import read_network
        from rtface.train.network import decode
        from rtface.train.predictions import TorchEngine
    except ImportError:
        return []
    network = read_network(bundle.folder / "model.onnx", bundle.names, bundle.names)
    return [Started(TorchEngine(network, decode, bundle.names), "torch", "fp32")]


def errors(bundle: Bundle, started: list[Started], data: Path) -> dict[tuple[str, str], str]:
    """Return the mean distance to the labels of stills, px, by engine and recording.

    All engines look through the boxes that FP32 finds.
    """
    from rtface.train import data as labelled
    from rtface.train import measures, predictions

    found = {}
    for recording, read in (
        ("facemap_g7c1 stills", labelled.read_facemap),
        ("schroeder_face stills", labelled.read_schroeder),
    ):
        stills = read(data)
        said = predictions.predict(bundle, stills)
        for one in started:
            there = predictions.through(one.engine, stills, said.boxes)
            error = float(np.nanmean(measures.distances(there, said.truth)))
            found[one.label, recording] = f"{error:.3f}"
    return found


def shifts(bundle: Bundle, started: list[Started], quick: bool) -> list[dict[str, Any]]:
    """Return how far keypoints move from FP32 and how far they are from labels, px of the frames.

    Labels only where torch is installed, whose package reads them, and not in a quick run.
    """
    data = Path(os.environ.get("RTFACE_DATA", _report.ROOT.parent / "shared" / "data"))
    files = {name: sorted(data.glob(pattern)) for name, pattern in RECORDINGS.items()}
    started = in_torch(bundle) + started
    off = {} if quick or started[0].runtime != "torch" else errors(bundle, started, data)
    files = {name: found[:25] if quick else found for name, found in files.items() if found}
    if quick:
        files = dict(list(files.items())[1:2])
    rows = []
    for name, seen in watch(bundle, files).items():
        for one in started:
            moved = shift_of(one.engine, seen, bundle.sure)
            rows.append(
                {
                    "runtime": one.label,
                    "recording": name,
                    **{f"{k} px": f"{getattr(moved, k):.4f}" for k in ("p50", "p99", "max")},
                    "p99 of all px": f"{moved.p99_all:.4f}",
                    "from labels px": off.get((one.label, name), ""),
                    "frames": moved.frames,
                }
            )
    return rows


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each case")
    args = parser.parse_args()
    seconds = 0.3 if args.quick else args.seconds
    bundle = load_bundle(args.bundle)
    started, faults = start_all(bundle)
    if not started:
        sys.exit("\n".join(row["why not"] for row in faults))
    frame = synthetic_frame()
    estimators = {one.label: estimator_of(bundle, one.engine) for one in started}
    limits = peak(bundle)
    rows = []
    for beside in (0, COMPETITORS):
        with competitors(beside):
            for pace, priority in ((None, 0), (RATE_HZ, 0), (RATE_HZ, PRIORITY)):
                try:
                    take_realtime(priority)
                except UserError as error:
                    faults.append({"runtime": "real-time priority", "why not": str(error)})
                    continue
                for label, estimator in estimators.items():
                    how = f"{pace:.0f} Hz" if pace else "hot"
                    case = {"runtime": label, "beside": beside, "pace": how, "priority": priority}
                    rows.append({**case, **timed(partial(estimator, frame), seconds, pace)})
                give_back_realtime()
    moved = shifts(bundle, started, args.quick)
    _report.table(f"{bundle.name}, 640x480 px to keypoints, one thread", _text(rows))
    _report.table("one core's limit", [{"of": k, **v} for k, v in limits.items()])
    if moved:
        _report.table("shift against FP32, px of the full frame", moved)
    if faults:
        _report.table("not started", faults)
    results = {"times": rows, "limits": limits, "shifts": moved, "faults": faults}
    _report.write("engine", args, results)


def _text(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{k: f"{v:.2f}" if isinstance(v, float) else str(v) for k, v in r.items()} for r in rows]


if __name__ == "__main__":
    main()
