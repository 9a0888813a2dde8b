"""The numbers that a linear model sees of each sample of neural activity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtface.neural.behaviour import Behaviour
from rtface.neural.filters import FilterBank
from rtface.neural.sampling import Meeting
from rtface.neural.scaling import Scaler, Scaling
from rtface.types import Float32Array


def design(
    behaviour: Behaviour, scaled_by: Scaling, taus_s: Sequence[float], meeting: Meeting
) -> Float32Array:
    """Return (R, L * F) float32: for each sample the mean of what its frames' filters held.

    The filters run through every frame as they do live.
    """
    n = len(behaviour.columns)
    scale, bank = Scaler(scaled_by), FilterBank(n, taus_s)
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
