"""Watching a rig's own frames to see how well its whiskers are tracked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

import numpy as np

from rtface.config import Rig
from rtface.engine.bundle import load_bundle
from rtface.rings import ResultRingReader
from rtface.rules.gate import Whiskers, measure
from rtface.run import Supervisor, run_rig
from rtface.types import UserError


def watch(rig: Rig, camera: str, seconds: float, stop_asked: Callable[[], bool]) -> Whiskers:
    """Run one camera of a rig without its rules, and return how its whiskers are tracked.

    Raises
    ------
    UserError
        There is no such camera or keypoint, too few frames came, or ``stop_asked``.
    """
    if camera not in rig.camera:
        raise UserError(f"--camera {camera}: the rig has {', '.join(rig.camera)}")
    only = {
        "camera": {camera: rig.camera[camera]},
        "record": rig.record.model_copy(update={"folder": None}),
        "rule": {},
    }
    bundle = load_bundle(rig.engine.bundle)
    points, exposed = [], []
    with ExitStack() as stack:
        rings: list[ResultRingReader] = []

        def begin(_: Supervisor) -> None:
            rings.append(stack.enter_context(closing(ResultRingReader(camera))))

        def turn(_: Supervisor) -> None:
            for result in rings[0].new() if rings else ():
                points.append(result.pose.keypoints.copy())
                exposed.append(result.ledger.exposure_ns)

        supervisor = run_rig(rig.model_copy(update=only), stop_asked, seconds, begin, turn)
        turn(supervisor)
    if stop_asked():
        raise UserError("stopped before it was done; nothing was measured")
    if not points:
        raise UserError("no frame came")
    counts = supervisor.status()["cameras"][camera]
    tracked = counts["tracked"] / max(1, counts["tracked"] + counts["skipped"])
    t_s = (np.array(exposed) - exposed[0]) * 1e-9
    rate_hz = 1 / float(np.median(np.diff(t_s)))
    return measure(np.stack(points), t_s, bundle.names, rate_hz, tracked, bundle.sha256)
