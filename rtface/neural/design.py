"""The numbers that a linear model sees of each sample of neural activity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtface.neural.activity import Floats
from rtface.neural.behaviour import Behaviour
from rtface.neural.filters import FilterBank, Scaler
from rtface.neural.sampling import Meeting
from rtface.types import Float32Array, UserError


def scaling(behaviour: Behaviour) -> tuple[Floats, Floats]:
    """Return mean and deviation of each column (F,).

    Raises
    ------
    UserError
        A column is never known, or never changes.
    """
    values = behaviour.values
    known = np.isfinite(values)
    n = known.sum(0)
    total = np.where(known, values, 0).sum(0, dtype=np.float64)
    mean = total / np.maximum(n, 1)
    off = np.where(known, values - mean.astype(np.float32), 0)
    std = np.sqrt((off**2).sum(0, dtype=np.float64) / np.maximum(n, 1))
    if (bad := np.flatnonzero((n < 2) | (std < 1e-9))).size:
        raise UserError(
            f"{behaviour.names[bad[0]]}: is never known, or never changes; leave it out (inputs, "
            "keypoints)"
        )
    return mean, std


def design(
    behaviour: Behaviour, mean: Floats, std: Floats, taus_s: Sequence[float], meeting: Meeting
) -> Float32Array:
    """Return (R, L * F) float32: for each sample the mean of what its frames' filters held.

    The filters run through every frame as they do live.
    """
    n = len(behaviour.columns)
    scale, bank = Scaler(mean, std), FilterBank(n, taus_s)
    starts = np.searchsorted(meeting.first, np.arange(len(behaviour.t_ns) + 1))
    out = np.zeros((len(meeting.samples), n * len(taus_s)), np.float32)
    open_rows: list[int] = []
    for frame, (t_ns, x) in enumerate(zip(behaviour.t_ns.tolist(), behaviour.values, strict=True)):
        held = bank(t_ns, scale(t_ns, x))
        open_rows.extend(range(starts[frame], starts[frame + 1]))
        for row in open_rows:
            out[row] += held
        open_rows = [row for row in open_rows if meeting.last[row] > frame]
    out /= (meeting.last - meeting.first + 1)[:, None]
    return out
