"""What ``rtface check`` looks at: everything a run needs, without starting one."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np

from rtface.camera import open_camera
from rtface.config import Rig
from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.rings import as_image
from rtface.track import estimator_for
from rtface.types import UserError


def check_rig(rig: Rig) -> Iterator[tuple[str, str]]:
    """Yield (what, finding) for everything that would run.

    Raises
    ------
    UserError
        At the first thing that would stop a run.
    """
    bundle = load_bundle(rig.engine.bundle)
    engine = make_engine(bundle, rig.engine.runtime, rig.engine.threads)
    yield (
        "network",
        f"{bundle.name}: {len(bundle.names)} keypoints from {bundle.input_shape[1]}x"
        f"{bundle.input_shape[0]} px, {rig.engine.runtime}, {rig.engine.threads} thread(s)",
    )
    for name, section in rig.camera.items():
        camera = open_camera(section)
        info = camera.info
        camera.close()
        estimator = estimator_for(rig, name, engine, info)
        n_bytes = info.height * info.width * np.dtype(info.dtype).itemsize
        image = as_image(np.zeros(n_bytes, np.uint8), info)
        times = []
        for _ in range(20):
            start = time.perf_counter()
            estimator(image)
            times.append(time.perf_counter() - start)
        tracked_ms, period_ms = 1e3 * float(np.median(times)), 1e3 / info.rate_hz
        keeps_up = "keeps up" if tracked_ms < 0.8 * period_ms else "will skip frames"
        ring_mb = n_bytes * info.rate_hz * rig.ring.frames_s / 1e6
        yield (
            f"camera {name}",
            f"{section.kind}, {info.width}x{info.height} px, {info.bits} bit, "
            f"{info.rate_hz:g} Hz; ring {ring_mb:.0f} MB",
        )
        yield (
            "  time per frame",
            f"{tracked_ms:.2f} ms of {period_ms:.2f} ms: {keeps_up}",
        )
        yield "  published at", f"tcp://{rig.stream.host}:{rig.data_port(name)}"
    stream = rig.stream
    ports = {"control": stream.control_port, "status": stream.status_port}
    ports |= {f"data of {name}": rig.data_port(name) for name in rig.camera}
    for what, port in ports.items():
        _check_port(stream.host, port, what)
    yield "ports", ", ".join(f"{port} {what}" for what, port in ports.items()) + ": free"


def _check_port(host: str, port: int, what: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"tcp://{host}:{port}: cannot open the {what} port ({error.strerror}); stop what "
                "uses it or set another port under [stream]"
            ) from None
