"""What is to be learned: labels that were read, split into what teaches and what judges."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.camera import anatomy
from rtface.train.choose import hold_out
from rtface.train.labels import Labelled, frames, read_labels
from rtface.types import UserError


class Lesson(NamedTuple):
    """What is to be learned.

    Attributes
    ----------
    names : tuple of str
        Keypoints of the network, in the order of every picture's ``points``.
    train, held : list of Labelled
        What it learns from and what judges it; ``held`` may be empty.
    how : str
        How ``held`` was chosen, in words.
    source : str
        What the labels are: ``your labels``, ``the teacher's``.
    about : dict
        Where they come from, for ``model.json``.
    """

    names: tuple[str, ...]
    train: list[Labelled]
    held: list[Labelled]
    how: str
    source: str
    about: dict[str, Any]


def read(
    paths: Sequence[Path], start: Sequence[str], given: Mapping[str, str], keep: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[Labelled]]:
    """Return the keypoints of the network to be made, and every labelled picture of some files.

    Keypoints are those of ``start``, then the others that rtface knows and somebody labelled, then
    ``keep``, which rtface need not know.

    Raises
    ------
    UserError
        One line, as ``read_labels`` gives them.
    """
    own = [*keep, *(name for name, ours in given.items() if name == ours)]
    wanted = tuple(dict.fromkeys([*start, *anatomy.KEYPOINTS, *own]))
    told = {name: name for name in keep} | dict(given)
    labelled = [one for path in paths for one in read_labels(path, wanted, told)]
    if not labelled:
        raise UserError(f"{', '.join(map(str, paths))}: no picture is labelled; label some")
    where = Counter(one.where for one in labelled)
    if twice := [one for one, n in where.items() if n > 1]:
        raise UserError(f"{twice[0]}: is labelled in two of the files given; name one of them")
    _refuse_repeats(labelled)
    known = np.stack([one.points for one in labelled])
    columns = [
        k for k, name in enumerate(wanted) if name in start or np.isfinite(known[:, k]).any()
    ]
    kept = [one._replace(points=one.points[columns]) for one in labelled]
    return tuple(wanted[k] for k in columns), kept


def _refuse_repeats(labelled: Sequence[Labelled]) -> None:
    """Raise UserError if a picture is there twice: it might be learned from and judge, too."""
    seen: dict[bytes, str] = {}
    for one, (image, _) in zip(labelled, frames(labelled), strict=True):
        pixels = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if (first := seen.setdefault(pixels, one.where)) != one.where:
            raise UserError(
                f"{one.where}: is the same picture as {first}; leave one of them out, or name one "
                "of the two files"
            )


def plan_lesson(
    names: tuple[str, ...], labelled: Sequence[Labelled], seed: int = 0, everything: bool = False
) -> Lesson:
    """Return what to learn from and what judges; with ``everything`` nothing judges."""
    ordered = sorted(range(len(labelled)), key=lambda i: (labelled[i].group, _moment(labelled, i)))
    shown = [labelled[i] for i in ordered]
    groups = [one.group for one in shown]
    about: dict[str, Any] = {"learned_from": len(shown), "groups": sorted(set(groups))}
    if everything:
        return Lesson(names, shown, [], "nothing was held out", "your labels", about)
    if len(shown) < 2:
        raise UserError("one picture cannot be learned from and judge; label more, or --all")
    split = hold_out(groups, seed)
    train, held = ([shown[i] for i in part] for part in (split.train, split.held))
    about |= {"learned_from": len(train), "groups": sorted({one.group for one in train})}
    about["held_out"] = sorted({one.group for one in held})
    return Lesson(names, train, held, split.how, "your labels", about)


def _moment(labelled: Sequence[Labelled], i: int) -> tuple[str, int]:
    picture = labelled[i].picture
    if isinstance(picture, Path):
        return str(picture), 0
    return "", getattr(picture, "number", i)
