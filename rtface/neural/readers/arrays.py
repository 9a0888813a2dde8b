"""Tables of numpy: nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.neural.activity import Activity, make_activity
from rtface.neural.readers.frames import Clock, volumes
from rtface.types import UserError

Floats = npt.NDArray[np.float64]


def table(path: Path) -> Any:
    """Return a ``.npy`` file, mapped and not read; UserError if it is none."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no .npy file of numbers ({error})") from None


def vector(path: Path) -> Floats:
    """Return the numbers of a ``.npy`` file as (T,) float64."""
    found = table(path)
    if found.size != max(found.shape, default=0) or found.dtype.kind not in "fiu":
        raise UserError(f"{path}: is no list of numbers, but {found.dtype} {found.shape}")
    return np.asarray(found, np.float64).reshape(-1)


def labels(path: Path) -> list[str]:
    """Return one label per unit, of a ``.npy`` file or of the lines of a text."""
    if path.suffix == ".npy":
        return [str(one) for one in table(path)]
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def read(
    path: Path, times_s: Floats | None, clock: Clock, regions: Sequence[str] | None
) -> Activity:
    """Return the activity in a ``.npy`` file (neurons x time) of one plane."""
    values = table(path)
    if times_s is None and not clock:
        raise UserError(f"{path}: has no times; name a file of them with times, or frame_clock")
    if clock and values.ndim == 2:
        n, t = values.shape
        counts = [len(one) for one in clock if one is not None]
        if n in counts and t not in counts:
            raise UserError(f"{path}: is time x neurons; save its transpose, neurons x time")
        of_clock, _ = volumes(str(path), clock, t, 1)
        times_s = of_clock if times_s is None else times_s
    return make_activity(values, [] if times_s is None else times_s, str(path), regions=regions)
