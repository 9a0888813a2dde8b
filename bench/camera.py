"""What acquisition costs per frame, beside the same loop on the bare producer.

A simulated GenICam camera (tests/gentl) delivers 640x480 px at 500 Hz through its GenTL producer.
Three loops take its frames in turns, each into a frame ring: rtface's own; the bindings alone,
which is the least that Python can do (wait, copy, id, time, give back); and harvesters as its
manual has it. The time is the loop's own CPU time: the camera's thread is not in it. Five turns of
10 s each; ``--quick`` takes seconds.
"""

from __future__ import annotations

import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _report
import numpy as np

sys.path.insert(0, str(_report.ROOT / "tests"))
from gentlsim import Simulator

from rtface.acquire import Account
from rtface.camera.genicam import open_genicam
from rtface.camera_config import GenicamSection
from rtface.ring import RUNNING
from rtface.rings import FrameRingWriter
from rtface.types import CameraInfo, Lost, Stamp

RATE_HZ = 500.0
INFO = CameraInfo(480, 640, 8, RATE_HZ)
#: how much more than the bare loop rtface's may cost
LIMIT = 2.0


class Turn:
    """One turn of one loop: its cost, and what of the camera's frames it got."""

    def __init__(self, cti: Path, seconds: float) -> None:
        self.section = GenicamSection(kind="genicam", producer=str(cti), rate_hz=RATE_HZ)
        self.seconds = seconds
        self.ring = FrameRingWriter("bench", INFO, 0.5, secrets.token_hex(8))
        self.ring.ring.set_state(RUNNING)

    def take(self, frame: Callable[[np.ndarray], Stamp | None]) -> dict[str, float]:
        """Take frames for a while by ``frame``, which fills an image or returns None."""
        image, ids = self.ring.begin(), []
        end = time.perf_counter() + self.seconds
        cpu_ns = time.thread_time_ns()
        while time.perf_counter() < end:
            stamp = frame(image)
            if stamp is not None:
                ids.append(stamp.frame_id)
                self.ring.commit(stamp, Lost())
                image = self.ring.begin()
        cpu_ns = time.thread_time_ns() - cpu_ns
        missing = ids[-1] - ids[0] + 1 - len(ids)
        return {"us": cpu_ns / 1000 / len(ids), "frames": len(ids), "lost": missing}


def ours(turn: Turn) -> dict[str, float]:
    """The loop of ``rtface.acquire``."""
    camera = open_genicam("bench", turn.section)
    account = Account(camera.first_id)
    camera.start()

    def frame(image: Any) -> Stamp | None:
        stamp = camera.fill(image, 0.05)
        if stamp is not None:
            account.take(stamp, camera)
        return stamp

    try:
        return turn.take(frame)
    finally:
        camera.close()


def bare(turn: Turn) -> dict[str, float]:
    """The bindings alone, on a camera that was set up the same way."""
    from genicam.gentl import TimeoutException

    camera = open_genicam("bench", turn.section)
    camera.start()
    acquirer = camera._link._acquirer
    (monitor,) = acquirer._new_buffer_event_monitor_dict.values()

    def frame(image: Any) -> Stamp | None:
        try:
            monitor.update_event_data(50)
        except TimeoutException:
            return None
        t_host_ns = time.perf_counter_ns()
        buffer = monitor.buffer
        image[...] = np.frombuffer(buffer.raw_buffer, np.uint8, image.size).reshape(480, 640)
        stamp = Stamp(0, buffer.frame_id, buffer.timestamp_ns, t_host_ns)
        buffer.parent.queue_buffer(buffer)
        return stamp

    try:
        return turn.take(frame)
    finally:
        camera.close()


def manual(turn: Turn) -> dict[str, float]:
    """harvesters as its manual has it, with its own polling."""
    from harvesters.core import Harvester

    harvester = Harvester()
    harvester.add_file(turn.section.producer)
    harvester.update()
    acquirer = harvester.create(0)
    acquirer.remote_device.node_map.AcquisitionFrameRate.value = RATE_HZ
    acquirer.num_buffers = 100
    acquirer.start()

    def frame(image: Any) -> Stamp | None:
        with acquirer.fetch(timeout=1.0) as buffer:
            t_host_ns = time.perf_counter_ns()
            part = buffer.payload.components[0]
            image[...] = part.data.reshape(part.height, part.width)
            return Stamp(0, buffer.module.frame_id, buffer.timestamp_ns, t_host_ns)

    try:
        return turn.take(frame)
    finally:
        acquirer.stop()
        acquirer.destroy()
        harvester.reset()


LOOPS = {"rtface": ours, "bindings alone": bare, "harvesters, as in its manual": manual}


def main() -> int:
    """Measure, print and write; 1 if a limit was passed."""
    args = _report.parser(__doc__.splitlines()[0]).parse_args()
    turns, seconds = (1, 2.0) if args.quick else (5, 10.0)
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(Path(folder), {"width": 640, "height": 480, "rate_max_hz": RATE_HZ})
        os.environ.update(simulator.env)
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in LOOPS}
        for _ in range(turns):
            for name, loop in LOOPS.items():
                turn = Turn(simulator.cti, seconds)
                try:
                    seen[name].append(loop(turn))
                finally:
                    turn.ring.close()
    rows = []
    for name, results in seen.items():
        costs = [result["us"] for result in results]
        rows.append(
            {
                "loop": name,
                "us per frame": statistics.median(costs),
                "least": min(costs),
                "most": max(costs),
                "frames": sum(int(r["frames"]) for r in results),
                "lost": sum(int(r["lost"]) for r in results),
            }
        )
    _report.table("CPU time per frame of 640x480 px at 500 Hz", rows)
    _report.write("camera", args, {"rows": rows})
    ratio = rows[0]["us per frame"] / rows[1]["us per frame"]
    print(f"rtface costs {ratio:.2f} times the bindings alone (limit {LIMIT:g})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
