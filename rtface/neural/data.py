"""The file that says which session is explained by what: ``neural.toml``, and what it names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from rtface.camera_config import Section
from rtface.config import explain_faults
from rtface.neural.activity import Activity
from rtface.neural.filters import TAUS_S
from rtface.neural.fit import Settings
from rtface.neural.readers import read_activity
from rtface.neural.readers.frames import Clock
from rtface.neural.splits import GAP_S, N_FOLDS
from rtface.types import UserError

PathText = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Tau = Annotated[float, Field(ge=0, le=60)]


class DataFile(Section):
    """``neural.toml``; files are relative to it."""

    session: PathText = Field(description="folder of a session")
    camera: str | None = Field(None, description="if the session has several")
    frame_times: PathText | None = Field(
        None, description=".npy: s of each frame in the neural clock, instead of `rtface sync`"
    )
    activity: PathText = Field(
        description="Suite2p folder, Kilosort or phy folder, .npy (neurons x time), .nwb"
    )
    times: PathText | None = Field(None, description=".npy: s of each sample of the activity")
    frame_clock: PathText | None = Field(
        None, description="instead: recording with the microscope's frame clock"
    )
    line: str = Field("", description="its line")
    tiff: PathText | None = Field(
        None, description="the microscope's TIFFs: a file or a folder; their frames are counted"
    )
    regions: PathText | None = Field(None, description="one label per unit: .npy, or lines")
    signal: Literal["spks", "F"] = Field("spks", description="of Suite2p")
    bin_s: float = Field(0.05, ge=0.001, le=60, description="for spike times, s")
    part_s: tuple[float, float] | None = Field(
        None, strict=False, description="samples of the activity from, to, s; all by default"
    )
    inputs: tuple[Literal["keypoints", "motion", "pupil"], ...] = Field(
        ("keypoints",), strict=False, min_length=1, description="what explains"
    )
    keypoints: tuple[str, ...] | None = Field(
        None, strict=False, description="these alone, in this order"
    )
    components: int = Field(50, ge=1, le=2000, description="of motion, of each area, at most")
    lags_s: tuple[Tau, ...] = Field(
        TAUS_S, strict=False, min_length=1, max_length=20, description="of the filters, s"
    )
    patience_s: float = Field(
        0.0, ge=-30, le=30, description="a sample is explained by what is known so much later"
    )
    folds: int = Field(N_FOLDS, ge=3, le=20, description="in time")
    gap_s: float = Field(GAP_S, ge=0, le=600, description="left out beside what is judged, s")

    @model_validator(mode="after")
    def _has_what_belongs_together(self) -> DataFile:
        if bool(self.frame_clock) != bool(self.line):
            raise ValueError("frame_clock and line belong together")
        if self.part_s and self.part_s[0] >= self.part_s[1]:
            raise ValueError("part_s is [from, to]")
        return self

    @property
    def settings(self) -> Settings:
        """How data are prepared."""
        return Settings(self.lags_s, self.patience_s, self.folds, self.gap_s)


def load_data_file(path: Path) -> DataFile:
    """Read ``neural.toml``; files in it are then seen from here.

    Raises
    ------
    UserError
        Names the file, the key and the remedy.
    """
    try:
        found = DataFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); see docs/neural.md") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: is not valid TOML ({error})") from None
    except ValidationError as error:
        raise UserError(f"{path}: {explain_faults(error)}") from None
    files = ("session", "frame_times", "activity", "times", "frame_clock", "tiff", "regions")
    named = {key: getattr(found, key) for key in files}
    return found.model_copy(
        update={key: str(path.parent / value) for key, value in named.items() if value}
    )


def load_activity(data: DataFile, clock: Clock) -> Activity:
    """Return the activity that a file names; ``clock``: of the microscope that it names."""
    found = read_activity(
        Path(data.activity),
        Path(data.times) if data.times else None,
        Path(data.regions) if data.regions else None,
        data.bin_s,
        data.signal,
        clock,
    )
    if data.part_s is None:
        return found
    first, last = np.searchsorted(found.times_s, data.part_s)
    if last - first < 2:
        raise UserError(
            f"part_s: {found.name} is from {found.times_s[0]:.1f} to {found.times_s[-1]:.1f} s"
        )
    part = slice(int(first), int(last))
    return Activity(
        found.values[:, part],
        found.times_s[part],
        found.width_s,
        found.units,
        found.regions,
        found.offsets_s,
        found.name,
    )
