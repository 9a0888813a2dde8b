"""Every stage that a rig file asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rtface.camera_config import CameraSection
from rtface.stages import MovingStage
from rtface.stages.motion import MotionStage, motion_stage
from rtface.stages.neural import NeuralStage, neural_stage
from rtface.stages.pupil import PupilStage, pupil_stage
from rtface.stages.running import RunningStage, running_stage
from rtface.types import CameraInfo, Float32Array


class Stages(NamedTuple):
    """What is computed of a camera beside keypoints; None: not asked for."""

    motion: MotionStage | None = None
    running: RunningStage | None = None
    pupil: PupilStage | None = None
    neural: NeuralStage | None = None

    @property
    def moving(self) -> list[MovingStage]:
        """Those that compare a frame with the one before."""
        return [stage for stage in (self.motion, self.running) if stage]

    @property
    def heavy(self) -> bool:
        """Whether motion takes about as long as the network: a second core helps."""
        return self.motion is not None and self.motion.heavy

    @property
    def lengths(self) -> dict[str, int]:
        """How many numbers each signal has."""
        return {name: n for stage in self if stage for name, n in stage.lengths.items()}

    def signals(self) -> dict[str, Float32Array]:
        """Return all signals of the last frame by name."""
        return {name: one for stage in self if stage for name, one in stage.signals.items()}

    def about(self) -> Mapping[str, dict[str, Any] | None]:
        """Return what ``meta`` says of each."""
        return {name: stage and stage.about() for name, stage in self._asdict().items()}


def make_stages(
    section: CameraSection, camera: str, names: Sequence[str], info: CameraInfo
) -> Stages:
    """Return the stages of a camera; ``names`` are the network's keypoints.

    Raises
    ------
    UserError
        A file, a box or the network does not fit.
    """
    made = Stages(
        motion_stage(section.motion, camera, info),
        running_stage(section.running, camera, info),
        pupil_stage(section.pupil, camera, names, info),
    )
    return made._replace(
        neural=neural_stage(section.neural, camera, names, made.about(), info.rate_hz)
    )
