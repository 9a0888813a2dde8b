"""The first masks of motion components, as a picture for a dark page."""

from __future__ import annotations

from pathlib import Path

from rtface.motion.masks import load_masks
from rtface.motion.pictures import masks_row, png
from rtface.types import UserError


def masks_picture(path: str, identity: str) -> bytes | None:
    """Return a PNG of the first area's average and first masks.

    None if the file is not there any more, or is no longer what the components are of.
    """
    try:
        masks = load_masks(Path(path))
    except UserError:
        return None
    if masks.identity != identity:
        return None
    area = masks.areas[0]
    return png(masks_row(masks, area, "motion" if area.motion else "movie", dark=True))
