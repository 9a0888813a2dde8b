"""What models see of a frame: numbers with the names that rules know them by, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from rtface.types import Float32Array, UserError

#: keypoints with a lower score are not known
MIN_SCORE = 0.3
#: what of the pupil is used
PUPIL = ("pupil.edge_area", "pupil.edge_x", "pupil.edge_y")
#: group of a keypoint, by how its name begins
_GROUPS = {
    "pupil": "pupil",
    "eye": "eye",
    "whisker": "whisker",
    "nose": "nose",
    "mouth": "mouth",
    "lowerlip": "mouth",
    "paw": "paw",
}
KINDS = ("keypoints", "motion", "pupil")


class Place(Protocol):
    """Where a named number stands in the signals of a frame; see ``rtface.rules.layout``."""

    @property
    def signal(self) -> str:
        """Name of the signal."""

    @property
    def place(self) -> int:
        """Index in it."""

    @property
    def length(self) -> int:
        """0: one number; else so many, told apart by an index."""


class Column(NamedTuple):
    """One number: ``nose(tip).x``, ``pupil.edge_area`` or ``motion.full[3]``, and its group."""

    name: str
    group: str


def group_of(name: str) -> str:
    """Return the group of a column: eye, whisker, nose, mouth, paw, pupil, motion or face."""
    if name.startswith(("motion.", "motion_energy.", "movie.")):
        return "motion"
    return next((group for start, group in _GROUPS.items() if name.startswith(start)), "face")


def choose(
    kinds: Sequence[str],
    keypoints: Sequence[str],
    layout: Mapping[str, Place],
    components: int,
    points: Sequence[str] | None = None,
) -> list[Column]:
    """Return the columns of some kinds of input.

    Parameters
    ----------
    kinds : sequence of str
        Of ``KINDS``.
    keypoints : sequence of str
        All there are.
    layout : mapping
        All other numbers there are.
    components : int
        Motion components of each area, at most.
    points : sequence of str, optional
        These keypoints alone, in this order.

    Raises
    ------
    UserError
        There is no such kind or keypoint, or the session has nothing of it.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"inputs: there is no '{unknown[0]}'; there are {', '.join(KINDS)}")
    names: list[str] = []
    if "keypoints" in kinds:
        if lacking := [name for name in points or () if name not in keypoints]:
            raise UserError(f"keypoints: the session has no '{lacking[0]}'")
        names += [f"{name}.{axis}" for name in points or keypoints for axis in "xy"]
    for name, found in layout.items() if "motion" in kinds else ():
        if name.startswith("motion_energy."):
            names.append(name)
        elif name.startswith("motion."):
            names += [f"{name}[{i}]" for i in range(min(found.length, components))]
    if "pupil" in kinds:
        names += [name for name in PUPIL if name in layout]
    for kind in kinds:
        starts = {"motion": "motion", "pupil": "pupil."}.get(kind)
        if starts and not any(name.startswith(starts) for name in names):
            raise UserError(f"inputs: the session holds no {kind}; the rig asked for none")
    return [Column(name, group_of(name)) for name in names]


class Gather:
    """Takes columns out of a frame, or of many at once.

    Parameters
    ----------
    names : sequence of str
        Of columns.
    keypoints : sequence of str
        In the order of the rows.
    layout : mapping
        Where all else stands.
    min_score : float

    Raises
    ------
    UserError
        A column is not there.
    """

    def __init__(
        self,
        names: Sequence[str],
        keypoints: Sequence[str],
        layout: Mapping[str, Place],
        min_score: float = MIN_SCORE,
    ) -> None:
        self.n, self._min_score = len(names), min_score
        self._points: list[tuple[int, int, int]] = []  # column, row, axis
        signals: dict[str, list[tuple[int, int]]] = {}
        for i, name in enumerate(names):
            point, _, axis = name.rpartition(".")
            if axis in ("x", "y") and point in keypoints:
                self._points.append((i, list(keypoints).index(point), "xy".index(axis)))
                continue
            base, _, index = name.partition("[")
            found = layout.get(base)
            number = int(index.rstrip("]")) if index else 0
            if found is None or number >= max(1, found.length):
                raise UserError(f"the model needs {name}, which is not computed here")
            signals.setdefault(found.signal, []).append((i, found.place + number))
        at = np.array(self._points, np.intp).reshape(-1, 3)
        self._columns, self._rows, self._axes = at[:, 0], at[:, 1], at[:, 2]
        self._signals = {
            signal: (np.array([i for i, _ in both]), np.array([place for _, place in both]))
            for signal, both in signals.items()
        }

    @property
    def signals(self) -> tuple[str, ...]:
        """Signals that are taken from."""
        return tuple(self._signals)

    def __call__(
        self, keypoints: Float32Array, signals: Mapping[str, Float32Array]
    ) -> Float32Array:
        """Return (..., F) float32; NaN is what is not known.

        ``keypoints`` is (..., K, 3), each signal (..., C).
        """
        out = np.empty((*keypoints.shape[:-2], self.n), np.float32)
        if len(self._columns):
            found = keypoints[..., self._rows, self._axes]
            unknown = ~(keypoints[..., self._rows, 2] >= self._min_score)
            out[..., self._columns] = np.where(unknown, np.float32(np.nan), found)
        for signal, (columns, places) in self._signals.items():
            out[..., columns] = signals[signal][..., places]
        return out
