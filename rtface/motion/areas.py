"""Which areas masks are made of, and how many components of each can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rtface.motion.binning import Area, binned_shape, roi_area
from rtface.motion.masks import FULL

#: for components and new frames together, bytes; leaves room for frames and the interpreter
BUDGET = 700 << 20
#: components that are carried along beyond those asked for: what was cut off may yet grow
MARGIN = 20
#: frames that are taken up at a time, at least
LEAST_BATCH = 16


def areas_of(
    height: int,
    width: int,
    bin_px: int,
    rois: Sequence[tuple[int, int, int, int]],
    full: bool = True,
) -> dict[str, Area]:
    """Return the areas of a frame, px, by name: the whole of it, then ROIs (x, y, width, height).

    Raises
    ------
    UserError
        A ROI is outside the frame, or there is no whole bin.
    """
    rows, columns = binned_shape(height, width, bin_px)
    areas = {FULL: Area(0, rows, 0, columns)} if full else {}
    for i, roi in enumerate(rois, 1):
        areas[f"roi{i}"] = roi_area(roi, height, width, bin_px)
    return areas


def batch_of(areas: Iterable[Area], kinds: int, n_components: int) -> int:
    """Return how many frames can be taken up at a time; below ``LEAST_BATCH``: does not fit."""
    fixed = 2 * n_components + MARGIN  # carried along, and as masks at the end
    return BUDGET // _bytes_per_row(areas, kinds) - fixed


def possible(
    areas: Iterable[Area], kinds: int, n_components: int, differences: int
) -> tuple[int, str]:
    """Return how many components of each area can be made, and why not all; empty if all can.

    Parameters
    ----------
    areas : iterable of Area
    kinds : int
        1 for motion or movie, 2 for both.
    n_components : int
        As many as are wanted.
    differences : int
        Between consecutive frames; as many components can be made of them.
    """
    rows = BUDGET // _bytes_per_row(areas, kinds)
    n = min(n_components, differences, max(1, (rows - LEAST_BATCH - MARGIN) // 2))
    if n == n_components:
        return n, ""
    why = f"there are {n} differences between frames" if n == differences else "1 GB of memory"
    return n, f"at most {n} components of each area instead of {n_components}: {why}"


def _bytes_per_row(areas: Iterable[Area], kinds: int) -> int:
    return 4 * kinds * sum(area.pixels for area in areas)
