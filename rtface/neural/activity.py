"""Neural activity with its times: what every reader returns, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.types import Float32Array, UserError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
#: units that are read at a time: 80 MB of 20 000 samples
BLOCK = 1000
#: what the region of a unit is where nobody says
NOWHERE = "all"


@dataclass(frozen=True, slots=True)
class Activity:
    """Activity of many units, sampled together.

    Attributes
    ----------
    values : ndarray (N, T) float32
        In memory or mapped from a file.
    times_s : ndarray (T,) float64
        Middle of each sample, s of the recording's clock, rising.
    width_s : float
        How long a sample is, s.
    units : tuple of str
        Names of the N units.
    regions : tuple of str
        Of each unit; ``all`` where nobody says.
    offsets_s : ndarray (N,) float64
        How much later than ``times_s`` a unit is sampled (planes of a volume), s.
    name : str
        What it was read from, for errors.
    """

    values: Any
    times_s: Floats
    width_s: float
    units: tuple[str, ...]
    regions: tuple[str, ...]
    offsets_s: Floats
    name: str

    def block(self, units: Ints, samples: Ints) -> Float32Array:
        """Return (n, t) float32 of some units and samples, read now."""
        return np.asarray(self.values[units][:, samples], np.float32)

    def planes(self) -> Iterator[tuple[float, Ints]]:
        """Yield each offset and the units that have it."""
        for offset_s in np.unique(self.offsets_s):
            yield float(offset_s), np.flatnonzero(self.offsets_s == offset_s)


class Moments(NamedTuple):
    """Mean and standard deviation of each unit (N,), and which units can be explained at all."""

    mean: Floats
    std: Floats
    usable: npt.NDArray[np.bool_]


def make_activity(
    values: Any,
    times_s: npt.ArrayLike,
    name: str,
    units: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    offsets_s: npt.ArrayLike | None = None,
    width_s: float | None = None,
) -> Activity:
    """Return activity that was checked; a sample lasts until the next unless ``width_s`` says.

    Raises
    ------
    UserError
        Time runs down the rows, times are fewer than samples or do not rise, labels are too few.
    """
    times = np.asarray(times_s, np.float64).reshape(-1)
    if getattr(values, "ndim", 0) != 2 or values.dtype.kind not in "fiu":
        raise UserError(f"{name}: is no table of numbers (neurons x time)")
    n, t = values.shape
    if t != len(times):
        if n == len(times):
            raise UserError(f"{name}: is time x neurons; save its transpose, neurons x time")
        raise UserError(f"{name}: has {t} samples, and there are {len(times)} times of them")
    if n == 0 or t < 2:
        raise UserError(f"{name}: holds {n} units of {t} samples; nothing can be fitted to that")
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise UserError(f"{name}: the times of its samples do not rise, or some are no numbers")
    units = tuple(units) if units is not None else tuple(str(i) for i in range(n))
    regions = tuple(regions) if regions is not None else (NOWHERE,) * n
    offsets = np.zeros(n) if offsets_s is None else np.asarray(offsets_s, np.float64)
    for what, found in (("names", units), ("regions", regions), ("offsets", offsets)):
        if len(found) != n:
            raise UserError(f"{name}: {n} units and {len(found)} {what}; one for each is needed")
    lasts_s = width_s or float(np.median(np.diff(times)))
    return Activity(values, times, lasts_s, units, regions, offsets, name)


def moments(activity: Activity, samples: Ints) -> Moments:
    """Return mean and deviation of each unit over some samples.

    A unit with a NaN, or that never changes, is not usable.

    Raises
    ------
    UserError
        No unit is usable.
    """
    n = len(activity.units)
    mean, std = np.zeros(n), np.zeros(n)
    for start in range(0, n, BLOCK):
        units = np.arange(start, min(n, start + BLOCK))
        block = activity.block(units, samples)
        mean[units] = block.mean(1, dtype=np.float64)
        std[units] = block.std(1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(mean) & (std > 1e-12)
    if not usable.any():
        raise UserError(f"{activity.name}: every unit is constant or has NaN; nothing to explain")
    return Moments(mean, std, usable)
