"""What a frame ring costs, how late its readers wake, and that no accepted read is torn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _report
import _stress
import numpy as np

from rtface.platform import Wake
from rtface.rings import FrameRingReader, FrameRingWriter, ResultRingReader, ResultRingWriter
from rtface.types import CameraInfo, Ledger, Lost, Pose, Stamp

HEIGHT, WIDTH, RATE_HZ = 480, 640, 200.0
N_KEYPOINTS = 15
#: how a reader waits: by wake descriptor, or by looking every so many seconds
WAITS = {"eventfd": None, "poll 50 us": 50e-6, "poll 500 us": 500e-6}


def costs(n: int) -> list[dict[str, Any]]:
    """Time each step by itself; plain numpy copies of the same bytes stand beside."""
    info = CameraInfo(HEIGHT, WIDTH, 8, RATE_HZ)
    frames = FrameRingWriter("bench", info, 0.1, "bench")
    seen = FrameRingReader("bench")
    results = ResultRingWriter("bench", N_KEYPOINTS, 1.0, RATE_HZ, {})
    found = ResultRingReader("bench")
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    own = np.empty_like(image)
    stamp, lost = Stamp(0, 1, 2, 3), Lost()
    ledger = Ledger(*range(17))
    pose = Pose(np.zeros((N_KEYPOINTS, 3), np.float32))

    def write_frame() -> None:
        frames.begin()[:] = image
        frames.commit(stamp, lost)

    def publish_frame() -> None:
        frames.begin()
        frames.commit(stamp, lost)

    steps = {
        "copy 640x480, no ring": lambda: np.copyto(own, image),
        "write a frame": write_frame,
        "write a frame, without the copy": publish_frame,
        "read the newest frame": lambda: seen.newest(-1),
        "write a result, 15 keypoints": lambda: results.write(ledger, pose),
        "read a result": lambda: found.read(results.ring._seq - 1),
    }
    times: dict[str, list[int]] = {name: [] for name in steps}
    for _ in range(n):  # side by side, so that a slow moment of the machine hits all of them
        for name, step in steps.items():
            start = time.perf_counter_ns()
            step()
            times[name].append(time.perf_counter_ns() - start)
    for ring in (frames, seen, results, found):
        ring.close()
    return [{"step": name, **_report.summary_us(np.array(ns))} for name, ns in times.items()]


def wait_for_frames(poll_s: str, descriptor: str) -> dict[str, Any]:
    """In another process: note when each frame was seen, and the CPU time that took."""
    ring = FrameRingReader("bench").ring
    wake = Wake(None if descriptor == "None" else int(descriptor))
    late: list[int] = []
    last = -1
    payload = np.empty(16, np.uint8)  # the start is enough: waiting is what is measured
    print("ready", flush=True)
    cpu = time.process_time()
    start = time.perf_counter()
    while True:
        closed = ring.state == 2
        head = ring.head
        if head == last:
            if closed:
                break
            if poll_s == "None":
                wake.wait(0.05)
            else:
                time.sleep(float(poll_s))
            continue
        now = time.perf_counter_ns()
        words = ring.read(head, payload)
        last = head
        if words is not None:
            late.append(now - words[3])  # t_host_ns, stamped just before the frame is published
    cpu = (time.process_time() - cpu) / (time.perf_counter() - start)
    return {"n": len(late), "cpu_percent": round(100 * cpu, 1), "late_ns": late}


def wakes(n_runs: int, seconds: float) -> list[dict[str, Any]]:
    """Time from a frame's stamp to a waiting process that runs, by way of waiting."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAITS}
    for _ in range(n_runs):
        for name, poll_s in WAITS.items():
            runs[name].append(_wake(poll_s, seconds))
    rows = []
    for name, several in runs.items():
        several.sort(key=lambda run: run["p50_us"])
        rows.append({"wait": name, **several[0]})
    return rows


def _wake(poll_s: float | None, seconds: float) -> dict[str, Any]:
    info = CameraInfo(HEIGHT, WIDTH, 8, RATE_HZ)
    frames = FrameRingWriter("bench", info, 0.1, "bench")
    descriptor = Wake.make_descriptor() if poll_s is None else None
    wake = Wake(descriptor)
    command = [sys.executable, __file__, "--wait", str(poll_s), str(descriptor)]
    fds = () if descriptor is None else (descriptor,)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=fds) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        start = time.perf_counter_ns()
        for frame_id in range(int(seconds * RATE_HZ)):
            due_ns = start + int((frame_id + 1) * 1e9 / RATE_HZ)
            time.sleep(max(0, due_ns - time.perf_counter_ns()) * 1e-9)
            frames.begin()
            frames.commit(Stamp(0, frame_id, None, time.perf_counter_ns()), Lost())
            wake.notify()
        frames.close()
        wake.notify()
        said = json.loads(reader.communicate()[0])
    if descriptor is not None:
        os.close(descriptor)
    late = np.array(said.pop("late_ns"))
    return {"frames": said["n"], "cpu_%": said["cpu_percent"], **_report.summary_us(late)}


def main() -> None:
    if sys.argv[1:2] == ["--wait"]:
        print(json.dumps(wait_for_frames(*sys.argv[2:])))
        return
    args = _report.parser(__doc__).parse_args()
    root = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="rtface-bench-", dir=root) as folder:
        os.environ["RTFACE_RING_DIR"] = folder
        cost = costs(200 if args.quick else 5000)
        wake = wakes(1 if args.quick else 5, 0.5 if args.quick else 5)
        reads = 1500 if args.quick else 50_000  # for each size of the ring
        torn = [_stress.stress(n, reads, check, 300) for n in (2, 3) for check in (True, False)]
    _report.table("cost of one call", cost)
    _report.table(f"stamp to waiting process, {RATE_HZ:.0f} frames/s, best p50 of all runs", wake)
    _report.table("accepted reads of 640x480, writer flat out, 3 readers", torn)
    good = [row for row in torn if row["second_check"]]
    print(f"accepted {sum(row['accepted'] for row in good)}, torn {sum(r['torn'] for r in good)}")
    _report.write("ring", args, {"cost": cost, "wake": wake, "torn": torn})


if __name__ == "__main__":
    main()
