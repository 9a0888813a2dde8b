"""The demo: a synthetic camera through the whole path, compared with its exact truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.camera.truth import SyntheticTruth
from rtface.camera_config import MotionSection, PupilSection, SyntheticSection
from rtface.config import Rig, parse_rig
from rtface.event_ring import EventRingReader
from rtface.pupil.record import FIELDS
from rtface.rings import ResultRingReader
from rtface.types import Flag, Result

#: the mouse of the demo; no network is trained on seeds below 1000
SEED = 7
#: results of which the pupil is not compared
_UNKNOWN = Flag.EYE_SHUT | Flag.NO_PUPIL | Flag.NO_FACE


def demo_rig(rate_hz: float = 100.0, seed: int = SEED) -> Rig:
    """Return the rig of the demo: one synthetic camera, 640x480, with motion and pupil."""
    camera = SyntheticSection(
        kind="synthetic",
        rate_hz=rate_hz,
        seed=seed,
        motion=MotionSection(bin=8, components=50, fit_s=10.0),
        pupil=PupilSection(polarity="auto"),
    )
    return Rig(name="demo", camera={"cam1": camera})


#: whisks of the mouse fire a simulated board; the demo's flashes are seen and suppressed
LOOP = {
    "signal": {"whisk": {"expr": "z(motion_energy.full, 5 s)"}},
    "rule": {
        "puff": {
            "when": "whisk > 2 sd",
            "until": "1 sd",
            "output": "board",
            "pulse_ms": 10.0,
        }
    },
}


def closed_loop_rig(rig: Rig, port: str) -> Rig:
    """Return the demo's rig with a rule, and a line on that serial port."""
    line = {"board": {"kind": "serial", "port": port, "light": False}}
    return parse_rig({**rig.model_dump(), **LOOP, "output": line}, "demo")


class LoopReport:
    """Follows what the rules decide and when the board's line rose.

    Parameters
    ----------
    rises : callable
        Returns when the board's line went up so far, ns.
    """

    def __init__(self, rises: Callable[[], list[int]]) -> None:
        self._events = EventRingReader("cam1")
        self._rises = rises
        #: from the exposure to the decision, the command, and the line, ms
        self._ms: list[list[float]] = []
        self._fired: list[dict[str, Any]] = []
        self.suppressed = 0

    def update(self) -> list[str]:
        """Return a line for every rise of the line since the last call."""
        for event in self._events.new():
            if event["kind"] == "decision":
                sent = event["outcome"] == "fired" and event["t_command_ns"]
                self._fired += [event] if sent else []
                self.suppressed += event["outcome"] == "suppressed"
        lines = []
        rises = self._rises()
        while len(self._ms) < min(len(rises), len(self._fired)):
            event, rose = self._fired[len(self._ms)], rises[len(self._ms)]
            began = event["exposure_ns"]
            times = event["decided_ns"], event["t_command_ns"], rose
            ms = [(t - began) / 1e6 for t in times]
            self._ms.append(ms)
            lines.append(
                f"{event['rule']}: frame {event['frame_seq']}, whisk {event['value']:.1f} sd; from "
                f"the exposure: decided {ms[0]:.2f} ms, commanded {ms[1]:.2f}, line on {ms[2]:.2f}"
            )
        return lines

    def report(self) -> str:
        """Return one line for the summary."""
        if not self._ms:
            return f"closed loop: nothing fired, {self.suppressed} suppressed"
        decided, line = np.array(self._ms)[:, 0], np.array(self._ms)[:, 2]
        return (
            f"closed loop: {len(line)} pulses on the board, {self.suppressed} suppressed; from the "
            f"exposure to the decision p50 {np.percentile(decided, 50):.2f} p99 "
            f"{np.percentile(decided, 99):.2f} ms, to the line p50 {np.percentile(line, 50):.2f} "
            f"p99 {np.percentile(line, 99):.2f} ms"
        )

    def close(self) -> None:
        """Unmap the ring."""
        self._events.close()


class TruthCheck:
    """Compares results with the truth of a synthetic camera while they come.

    Reads the result ring like any other reader. Errors are counted in bins of 0.05 px, so that a
    demo may run for days.
    """

    BIN_PX = 0.05
    MAX_PX = 200.0

    def __init__(self, camera: str, section: SyntheticSection, names: tuple[str, ...]) -> None:
        self._truth = SyntheticTruth(
            section.width, section.height, section.rate_hz, section.seed, section.nuisances
        )
        self._columns = [self._truth.names.index(name) for name in names]
        self._reader = ResultRingReader(camera)
        self._counts = np.zeros(int(self.MAX_PX / self.BIN_PX), np.int64)
        self._pupil_counts = np.zeros_like(self._counts)
        #: of found and true area: number, sums, squares and product
        self._areas = np.zeros(6)
        self.frames = 0

    def update(self) -> None:
        """Take in the results that came since the last call."""
        for result in self._reader.new():
            self._add(result)

    def _add(self, result: Result) -> None:
        truth = self._truth.at(result.ledger.frame_id)
        error = np.hypot(*(result.pose.xy - truth.keypoints[self._columns]).T)
        self._count(self._counts, error)
        if "pupil" in result.signals and not result.ledger.flags & _UNKNOWN:
            pupil = dict(zip(FIELDS, result.signals["pupil"].tolist(), strict=True))
            x, y = truth.pupil_px.tolist()
            found, area = pupil["edge_area_px2"], truth.pupil_area_px2
            self._count(
                self._pupil_counts, np.hypot(pupil["edge_x_px"] - x, pupil["edge_y_px"] - y)
            )
            self._areas += 1, found, area, found**2, area**2, found * area
        self.frames += 1

    def _count(self, counts: npt.NDArray[np.int64], error_px: npt.ArrayLike) -> None:
        bins = np.minimum(np.asarray(error_px) / self.BIN_PX, len(counts) - 1).astype(int)
        np.add.at(counts, bins, 1)

    def percentile_px(self, percent: float) -> float:
        """Return a percentile of the error over all keypoints and frames, px."""
        return self._percentile(self._counts, percent)

    def _percentile(self, counts: npt.NDArray[np.int64], percent: float) -> float:
        cumulated = np.cumsum(counts)
        index = int(np.searchsorted(cumulated, percent / 100 * cumulated[-1]))
        return (index + 0.5) * self.BIN_PX

    def _pupil_report(self) -> str:
        n, found, true, found2, true2, product = self._areas.tolist()
        if n < 2:
            return ""
        spread = ((n * found2 - found**2) * (n * true2 - true**2)) ** 0.5
        r = (n * product - found * true) / spread if spread > 0 else float("nan")
        centre = self._percentile(self._pupil_counts, 50)
        return f"\npupil: centre off by {centre:.2f} px (median), area r {r:.3f}, {n:.0f} frames"

    def report(self) -> str:
        """Return the lines for the summary: keypoints, and the pupil."""
        if not self.frames:
            return "no results to compare with the synthetic truth"
        median = self.percentile_px(50)
        return (
            f"error against the synthetic truth: median {median:.1f} px "
            f"({100 * median / self._truth.eye_width_px:.1f} % of the eye's width), "
            f"p90 {self.percentile_px(90):.1f} px, over {self.frames} frames"
            f"{self._pupil_report()}"
        )

    def close(self) -> None:
        """Unmap the ring."""
        self._reader.close()
