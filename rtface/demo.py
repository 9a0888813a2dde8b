"""The demo: a synthetic camera through the whole path, compared with its exact truth."""

from __future__ import annotations

import numpy as np

from rtface.camera.truth import SyntheticTruth
from rtface.camera_config import SyntheticSection
from rtface.config import Rig
from rtface.rings import ResultRingReader
from rtface.types import Result

#: the mouse of the demo; no network is trained on seeds below 1000
SEED = 7


def demo_rig(rate_hz: float = 100.0, seed: int = SEED) -> Rig:
    """Return the rig of the demo: one synthetic camera, 640x480."""
    camera = SyntheticSection(kind="synthetic", rate_hz=rate_hz, seed=seed)
    return Rig(name="demo", camera={"cam1": camera})


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
        self.frames = 0

    def update(self) -> None:
        """Take in the results that came since the last call."""
        for result in self._reader.new():
            self._add(result)

    def _add(self, result: Result) -> None:
        truth = self._truth.points(result.ledger.frame_id)[self._columns]
        error = np.hypot(*(result.pose.xy - truth).T)
        bins = np.minimum(error / self.BIN_PX, len(self._counts) - 1).astype(int)
        np.add.at(self._counts, bins, 1)
        self.frames += 1

    def percentile_px(self, percent: float) -> float:
        """Return a percentile of the error over all keypoints and frames, px."""
        cumulated = np.cumsum(self._counts)
        index = int(np.searchsorted(cumulated, percent / 100 * cumulated[-1]))
        return (index + 0.5) * self.BIN_PX

    def report(self) -> str:
        """Return one line for the summary."""
        if not self.frames:
            return "no results to compare with the synthetic truth"
        median = self.percentile_px(50)
        return (
            f"error against the synthetic truth: median {median:.1f} px "
            f"({100 * median / self._truth.eye_width_px:.1f} % of the eye's width), "
            f"p90 {self.percentile_px(90):.1f} px, over {self.frames} frames"
        )

    def close(self) -> None:
        """Unmap the ring."""
        self._reader.close()
