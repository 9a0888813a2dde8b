"""What labels must be before anything is learned from them; every fault is one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtface.train.labels.pictures import Held, Labelled, VideoFrame, shape_of
from rtface.types import UserError

#: px that a click may lie beyond the edge of a picture
_EDGE_PX = 1.0


class NothingLabelled(UserError):
    """There are no labels of what is wanted."""


def validated(source: Path, labelled: Sequence[Labelled], names: Sequence[str]) -> list[Labelled]:
    """Return the pictures in which something is labelled; raise UserError for what cannot be right.

    Looks for no labels at all, half a point, a picture twice, missing files, x and y exchanged
    and points outside their picture, in this order.
    """
    kept = [one for one in labelled if np.isfinite(one.points).any()]
    if not kept:
        wanted = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        raise NothingLabelled(
            f"{source}: none of {wanted} is labelled in its {len(labelled)} pictures; label some, "
            "or check that this is the right file and --names"
        )
    for one in kept:
        half = np.isnan(one.points).sum(1) == 1
        if half.any() or np.isinf(one.points).any():
            bad = half | np.isinf(one.points).any(1)
            raise UserError(
                f"{source}: {names[int(bad.argmax())]} of {one.where} has only one coordinate; "
                "give both or none"
            )
    _refuse_twice(source, kept)
    _refuse_missing(source, kept)
    _refuse_outside(source, kept, names)
    return kept


def _refuse_twice(source: Path, labelled: Sequence[Labelled]) -> None:
    seen: set[str] = set()
    for one in labelled:
        if one.where in seen:
            raise UserError(f"{source}: {one.where} is there twice; keep one of its labels")
        seen.add(one.where)


def _refuse_missing(source: Path, labelled: Sequence[Labelled]) -> None:
    files = {
        one.picture.path if isinstance(one.picture, VideoFrame) else one.picture: None
        for one in labelled
        if not isinstance(one.picture, Held)
    }
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of its {len(files)} pictures or videos are not there, the "
            f"first is {missing[0]}; put them back where they were when they were labelled"
        )


def _refuse_outside(source: Path, labelled: Sequence[Labelled], names: Sequence[str]) -> None:
    shapes: dict[Path | str, tuple[int, int]] = {}
    sizes = []
    for one in labelled:
        key = one.picture.path if isinstance(one.picture, VideoFrame) else one.where
        if key not in shapes:
            shapes[key] = shape_of(one.picture)
        height, width = shapes[key]
        sizes.append((width, height))
    last = np.array(sizes, np.float32)[:, None] - 1
    points = np.stack([one.points for one in labelled])
    known = np.isfinite(points).all(-1)
    outside = known & ~_inside(points, last)
    if not outside.any():
        return
    i, k = (int(v) for v in np.argwhere(outside)[0])
    x, y = points[i, k]
    width, height = sizes[i]
    first = f"{names[k]} of {labelled[i].where} is at x {x:g}, y {y:g}"
    swapped = known & ~_inside(points[..., ::-1], last)
    # a large share would fit the other way round, and hardly any does not
    if outside.sum() > 0.1 * known.sum() and swapped.sum() < 0.1 * outside.sum():
        raise UserError(
            f"{source}: x and y look exchanged: {first} in a picture of {width}x{height}, and "
            f"{outside.sum()} of {known.sum()} points fit only the other way round; exchange the "
            "columns"
        )
    raise UserError(
        f"{source}: {first}, outside its picture of {width}x{height} px, as are "
        f"{outside.sum()} of {known.sum()} points; correct or remove them, and check that these "
        "are the pictures that were labelled, in their size"
    )


def _inside(points: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.asarray(((points >= -_EDGE_PX) & (points <= last + _EDGE_PX)).all(-1))
