"""Motion energy and components as signals, and masks that come during a run."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from rtface.camera_config import MotionSection
from rtface.motion.areas import areas_of
from rtface.motion.binning import binned_shape
from rtface.motion.masks import AreaMasks, Basis, Masks, load_masks
from rtface.motion.match import LiveAverage, Match, compare_average
from rtface.motion.project import SMALL, Projector
from rtface.types import CameraInfo, Flag, Image, UserError

#: how much of the beginning is compared with the masks, s, and at least so many frames
CHECK_S, CHECK_FRAMES = 3.0, 50


class MotionStage:
    """Motion energy and components (Facemap's ``motion``, ``motSVD`` and ``movSVD``).

    In every signal the areas follow each other in the order of the masks.

    Parameters
    ----------
    masks : Masks
        Areas may be without masks: then there is energy alone until ``replace``.
    n_components : int
        Of each area, at most.
    dtype : dtype
        Of the frames.
    fast : bool
        Whether masks are rounded, to be read faster.
    room : bool
        Whether ``n_components`` of motion are kept room for, because masks are to come.
    check_frames : int
        The mean of so many frames is compared with the masks' own; 0: is not.
    """

    def __init__(
        self,
        masks: Masks,
        n_components: int,
        dtype: np.dtype | type,
        fast: bool = False,
        room: bool = False,
        check_frames: int = 0,
    ) -> None:
        self._n, self._dtype, self._fast = n_components, np.dtype(dtype), fast
        self._masks = masks
        self._project = Projector(masks, n_components, dtype, fast)
        sizes = {
            "motion_energy": [1 for _ in masks.areas],
            "motion": [
                min(n_components, area.area.pixels - 1) if room else self._count(area.motion)
                for area in masks.areas
            ],
            "movie": [self._count(area.movie) for area in masks.areas],
        }
        self.lengths = {name: sum(each) for name, each in sizes.items() if sum(each)}
        self.signals = {name: np.full(n, np.nan, np.float32) for name, n in self.lengths.items()}
        #: where each area's part stands in the flat signals
        self._places = {
            name: np.split(signal, np.cumsum(sizes[name])[:-1])
            for name, signal in self.signals.items()
        }
        self._coming: tuple[Masks, Projector] | None = None
        self._primed = False
        #: what a fault of the masks is told of
        self.name = "masks"
        self._unchecked = check_frames
        self._seen = LiveAverage(masks.average_frame.shape)
        self._match: Match | None = None

    def _count(self, basis: Basis | None) -> int:
        return 0 if basis is None else min(self._n, basis.masks.shape[1])

    @property
    def heavy(self) -> bool:
        """Whether the masks, also those to come, do not fit the processor's own memory."""
        components = self.lengths.get("motion", 0) + self.lengths.get("movie", 0)
        bins = max(area.area.pixels for area in self._masks.areas)
        return components * bins * 4 > SMALL

    @property
    def note(self) -> str:
        """What differs from what was asked for, for the user; empty if nothing does."""
        return self._project.note

    def look(self, image: Image) -> None:
        """See the frame before the next one; see ``MovingStage``."""
        self._project.look(image)
        if self._coming is not None:
            self._coming[1].look(image)
            self._primed = True

    def __call__(self, image: Image, consecutive: bool) -> int:
        """Compute energy and components; see ``MovingStage``.

        Raises
        ------
        UserError
            The first frames do not look like those that the masks were made of.
        """
        flags = 0 if consecutive else Flag.NO_MOTION.value
        if self._coming is not None:
            flags |= self._change(image)
        projected = self._project(image, consecutive)
        if self._unchecked:
            self._check()
        elif self._match is not None and not self._match.fits:
            raise UserError(f"{self.name}: {self._match.why}, or set check = false")
        self.signals["motion_energy"][:] = projected.energy
        for name, parts in (("motion", projected.motion), ("movie", projected.movie)):
            for place, part in zip(self._places.get(name, ()), parts, strict=False):
                place[: len(part)] = part
        return flags

    def _check(self) -> None:
        """Take up a frame into the mean, and compare that when it is of enough."""
        self._seen.add(self._project.binned)
        self._unchecked -= 1
        if not self._unchecked:  # takes many frames' time
            threading.Thread(target=self._compare, daemon=True).start()

    @property
    def checked(self) -> bool:
        """Whether the first frames were compared with the masks."""
        return self._match is not None

    def _compare(self) -> None:
        try:
            self._match = compare_average(self._masks, self._seen.mean())
        except Exception as error:  # noqa: BLE001 - a thread: told where the run can end by it
            nowhere = (math.nan, math.nan)
            self._match = Match(nowhere, math.nan, False, f"cannot be compared ({error!r})")

    def replace(self, masks: Masks) -> None:
        """Have other masks of the same areas from one of the next frames on.

        That frame has the flag ``NEW_MASKS``. May be called from any thread, which does the work.
        """
        self._coming = masks, Projector(masks, self._n, self._dtype, self._fast)

    def _change(self, image: Image) -> int:
        """Show the coming projector a first frame, and use it from the next one on."""
        assert self._coming is not None
        masks, project = self._coming
        if not self._primed:
            project.look(image)
            self._primed = True
            return 0
        self._masks, self._project = masks, project
        self._coming, self._primed = None, False
        return Flag.NEW_MASKS.value

    def about(self) -> dict[str, Any]:
        """Return which areas and masks there are, for ``meta``."""
        masks = self._masks
        known = any(area.motion or area.movie for area in masks.areas)
        areas = [
            {
                "name": area.name,
                "bins": list(area.area),
                "motion": len(self._places["motion"][i]) if "motion" in self._places else 0,
                "movie": len(self._places["movie"][i]) if "movie" in self._places else 0,
            }
            for i, area in enumerate(masks.areas)
        ]
        return {
            "masks": masks.identity if known else None,
            "bin_px": masks.bin_px,
            "areas": areas,
            "fast": self._fast and not self.note,
        }


def motion_stage(
    section: MotionSection | None, camera: str, info: CameraInfo
) -> MotionStage | None:
    """Return what computes the motion of a camera as its rig file says; None if it says nothing.

    Raises
    ------
    UserError
        Masks cannot be read or are of other frames; a ROI is outside the frame.
    """
    if section is None:
        return None
    shape = info.height, info.width
    if section.masks is not None:
        masks = load_masks(Path(section.masks), shape)
        checked = max(CHECK_FRAMES, round(CHECK_S * info.rate_hz)) if section.check else 0
        stage = MotionStage(
            masks, section.components, info.dtype, section.fast, check_frames=checked
        )
        stage.name = f"camera.{camera}.motion.masks: {section.masks}"
        return stage
    try:
        areas = areas_of(*shape, section.bin, section.roi)
    except UserError as error:
        raise UserError(f"camera.{camera}.motion: {error}") from None
    nothing = np.zeros(binned_shape(*shape, section.bin), np.float32)
    bare = tuple(AreaMasks(name, area, None, None) for name, area in areas.items())
    masks = Masks(*shape, section.bin, nothing, nothing, bare, "")
    return MotionStage(masks, section.components, info.dtype, section.fast, room=True)
