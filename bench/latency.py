"""From a delivered frame to its keypoints in another process, beside bare pyzmq.

Runs the real program (supervisor, acquisition, tracker) with the synthetic camera; another process
subscribes with plain pyzmq and only notes times and bytes until the end. Before each run the same
bytes go at the same rate from a bare PUB to that same subscriber: what is left between the two is
the program's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _report
import numpy as np
import zmq

from rtface import wire
from rtface.config import parse_rig
from rtface.engine.bundle import load_bundle
from rtface.percentiles import percentile_affine
from rtface.pose import Resampler
from rtface.run import run_rig
from rtface.types import Ledger, Pose, Result, UserError

CAMERA = "cam1"
TOPIC = wire.pose_topic(CAMERA).encode()
HEADER = b"bare"
#: the part that must hold: null engine at 200 frames/s, best of five runs
LIMIT_US = 500.0
#: ends of stages, in the order in which a frame passes them
STAGES = (
    ("host->read", "t_host_ns", "t_read_ns"),
    ("read->infer", "t_read_ns", "t_infer_ns"),
    ("infer->done", "t_infer_ns", "t_done_ns"),
    ("done->received", "t_done_ns", "t_received_ns"),
    ("host->received", "t_host_ns", "t_received_ns"),
)


# --- the other process -------------------------------------------------------------------------


def subscribe(port: str) -> None:
    """Note every message and when it came; decode only after the end; print JSON."""
    context = zmq.Context()
    sub = context.socket(zmq.SUB)
    sub.setsockopt(zmq.RCVHWM, 0)
    sub.setsockopt(zmq.RECONNECT_IVL, 1)  # to be there from the first frame
    sub.setsockopt(zmq.SUBSCRIBE, TOPIC)
    sub.connect(f"tcp://127.0.0.1:{port}")
    print("ready", flush=True)
    received: list[tuple[int, list[bytes]]] = []
    clock = time.perf_counter_ns
    while True:
        try:
            frames = sub.recv_multipart()
        except zmq.Again:
            break
        received.append((clock(), frames))
        if len(received) == 1:
            sub.setsockopt(zmq.RCVTIMEO, 800)
    context.destroy()
    if received and received[0][1][1].startswith(HEADER):
        said = [[t, int.from_bytes(frames[1][4:12], "little")] for t, frames in received]
        print(json.dumps(said))
        return
    keys = ("seq", "frame_seq", "lost_camera", "skipped", "flags")
    times = ("t_host_ns", "t_read_ns", "t_infer_ns", "t_done_ns")
    rows = []
    for t, frames in received:
        fields = wire.decode(frames).fields
        rows.append({key: fields[key] for key in keys + times} | {"t_received_ns": t})
    print(json.dumps(rows))


def publish(port: str, rate_hz: str, seconds: str, n_bytes: str) -> None:
    """Send frames of these sizes at this rate from a bare PUB; the time stands in the bytes."""
    context = zmq.Context()
    pub = context.socket(zmq.PUB)
    pub.bind(f"tcp://127.0.0.1:{port}")
    time.sleep(0.5)  # the subscriber finds us
    sizes = [int(n) for n in n_bytes.split(",")]
    rest = bytes(sizes[1] - 12)
    array = bytes(sizes[2])
    clock = time.perf_counter_ns
    start = clock()
    for i in range(int(float(seconds) * float(rate_hz))):
        time.sleep(max(0, start + int((i + 1) * 1e9 / float(rate_hz)) - clock()) * 1e-9)
        stamp = clock().to_bytes(8, "little")
        pub.send_multipart([TOPIC, HEADER + stamp + rest, array])
    context.destroy(linger=1000)


# --- one run -----------------------------------------------------------------------------------


def free_ports(n: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def subscriber(port: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--subscribe", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def bare(rate_hz: float, seconds: float, sizes: list[int]) -> dict[str, Any]:
    """Bare pyzmq: send to received."""
    (port,) = free_ports(1)
    with subscriber(port) as receiver:
        words = (port, rate_hz, seconds, ",".join(map(str, sizes)))
        command = [sys.executable, __file__, "--publish", *map(str, words)]
        subprocess.run(command, check=True)
        said = np.array(json.loads(receiver.communicate()[0]))
    late = said[:, 0] - said[:, 1]
    return {"received": len(late), "stages": {"send->received": _report.summary_us(late)}}


def program(runtime: str, bundle: str, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Run the program: stages of the ledger, and whether all counts agree."""
    control, data, status = free_ports(3)
    rig = parse_rig(
        {
            "camera": {CAMERA: {"kind": "synthetic", "rate_hz": float(rate_hz)}},
            "engine": {"runtime": runtime, "bundle": bundle},
            "stream": {"control_port": control, "data_port": data, "status_port": status},
        },
        "bench",
    )
    with subscriber(data) as receiver:
        run = run_rig(rig, lambda: False, seconds)
        rows = json.loads(receiver.communicate(timeout=60)[0])
    counts: dict[str, int] = {}
    for process in run.processes:
        counts |= process.counts
    if not rows:
        sys.exit("the subscriber received nothing")
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    # a subscriber that connects while frames already flow misses the first: seq says how many
    before = int(columns["seq"][0])
    received = len(rows)
    agree = {
        "produced = delivered + lost": counts["produced"]
        == counts["delivered"] + counts["lost_camera"],
        "delivered = tracked + skipped": counts["delivered"]
        == counts["tracked"] + counts["skipped"],
        "tracked = before + received": counts["tracked"] == before + received,
        "seq without gaps": bool(np.all(np.diff(columns["seq"]) == 1)),
        # the same once more from the ledger of the last message alone
        "ledger": int(columns["frame_seq"][-1] + 1)
        == before + received + int(columns["skipped"][-1]),
    }
    kept = ("produced", "delivered", "lost_camera", "tracked", "skipped")
    return {
        "counts": {key: counts[key] for key in kept} | {"before": before, "received": received},
        "agree": agree,
        "unclean": run.unclean,
        "cpu_tracker_percent": round(100 * counts["cpu_s"] / seconds, 1),
        "stages": {
            name: _report.summary_us(columns[end] - columns[begin]) for name, begin, end in STAGES
        },
    }


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Loops of the lowest priority: a core that sleeps takes 0.1 ms to come back, in a VM more."""
    spin = "import os\nos.nice(19)\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    loops = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def message_sizes(n_keypoints: int) -> list[int]:
    """Bytes of the frames of a pose message as the program sends it."""
    t = time.perf_counter_ns()
    pose = Pose(np.zeros((n_keypoints, 3), np.float32))
    ledger = Ledger(1000, 0, 1000, t, t, t, t, t, t, t, t, t, 5_000_000, 1, 0, 0, 1)
    return [len(one) for one in wire.encode_pose(TOPIC.decode(), "0" * 16, Result(9, ledger, pose))]


def preparation(input_shape: tuple[int, int]) -> dict[str, Any]:
    """What the null engine leaves out besides the network: a frame fitted into its input.

    In a loop, and as the tracker does it: after a pause, on a frame from another core's cache.
    """
    resampler = Resampler((480, 640), input_shape)
    image = np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8)
    found = {}
    for name, pause_s in (("in a loop", 0.0), ("every 5 ms", 0.005)):
        times = []
        for _ in range(400):
            time.sleep(pause_s)
            start = time.perf_counter_ns()
            resampler(image)
            percentile_affine(resampler.fitted)
            times.append(time.perf_counter_ns() - start)
        found[name] = _report.summary_us(np.array(times))
    return found


# --- all of it ---------------------------------------------------------------------------------


def best_and_median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each stage: the best and the median run, percentile by percentile."""
    found: dict[str, Any] = {}
    for stage in runs[0]["stages"]:
        found[stage] = {}
        for key in ("p50_us", "p99_us", "max_us"):
            values = [run["stages"][stage][key] for run in runs]
            found[stage][key] = {"best": min(values), "median": round(statistics.median(values), 1)}
    return found


def case(label: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"case": label, "runs": runs, "stages": best_and_median(runs)}


def show(cases: list[dict[str, Any]]) -> None:
    """Print one line for each stage: best/median of the runs."""
    rows = []
    for one in cases:
        for stage, values in one["stages"].items():
            row = {"case": one["case"], "stage": stage}
            for key, value in values.items():
                row |= {f"{key} best": value["best"], f"{key} med": value["median"]}
            rows.append(row)
    _report.table("us; best and median of the runs", rows)
    for one in cases:
        for run in one["runs"]:
            if "counts" in run:
                wrong = [name for name, right in run["agree"].items() if not right]
                counts = ", ".join(f"{key} {value}" for key, value in run["counts"].items())
                print(f"{one['case']}: {counts}: {'DIFFER in ' + str(wrong) if wrong else 'agree'}")


def main() -> None:
    if sys.argv[1:2] == ["--subscribe"]:
        subscribe(*sys.argv[2:])
    elif sys.argv[1:2] == ["--publish"]:
        publish(*sys.argv[2:])
    else:
        measure()


def measure() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--bundle", default="default", help="folder of another network")
    parser.add_argument(
        "--awake", action="store_true", help="keep every core from sleeping, by idle-priority loops"
    )
    args = parser.parse_args()
    try:
        bundle = load_bundle(args.bundle)
    except UserError as error:
        sys.exit(f"{error}; or give another with --bundle")
    rates = (200,) if args.quick else (100, 200, 500)
    n_runs, seconds = (1, 1.0) if args.quick else (5, 4.0)
    sizes = message_sizes(len(bundle.names))
    cases = []
    root = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="rtface-bench-", dir=root) as folder,
        contextlib.ExitStack() as stack,
    ):
        if args.awake:
            stack.enter_context(awake())
        os.environ["RTFACE_RING_DIR"] = folder
        prepared = preparation(bundle.input_shape)
        for rate in rates:
            runs: dict[str, list[dict[str, Any]]] = {"bare": [], "null": [], "real": []}
            for _ in range(n_runs):  # interleaved: a slow minute of the machine hits all three
                runs["bare"].append(bare(rate, seconds, sizes))
                runs["null"].append(program("null", args.bundle, rate, seconds))
                runs["real"].append(program("onnxruntime", args.bundle, rate, seconds))
            cases += [case(f"{rate} Hz {name}", several) for name, several in runs.items()]
    show(cases)
    for name, us in prepared.items():
        print(f"preparing the network's input, {name}: p50 {us['p50_us']}, p99 {us['p99_us']} us")
    (null,) = (one for one in cases if one["case"] == "200 Hz null")
    p50_us = null["stages"]["host->received"]["p50_us"]["best"]
    held = bool(p50_us <= LIMIT_US)
    print(f"null engine, 200 Hz, host->received p50, best: {p50_us} us")
    print(f"at most {LIMIT_US:.0f} us: {'holds' if held else 'DOES NOT HOLD'}")
    agree = all(all(run.get("agree", {}).values()) for one in cases for run in one["runs"])
    print(f"all counts agree: {agree}")
    results = {"message_bytes": sizes, "cases": cases, "limit_us": LIMIT_US, "p50_us": p50_us}
    results |= {"awake": args.awake, "preparation": prepared}
    _report.write("latency", args, results | {"held": held, "agree": agree})
    if not agree:
        sys.exit(1)


if __name__ == "__main__":
    main()
