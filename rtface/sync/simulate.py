"""Simulated sessions with known truth: for tests, for the bench, and to try settings.

A generator or a free-running camera, a recording that samples its line, a camera with a clock of
its own, and all that goes wrong between them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.sync import code
from rtface.sync.edges import Edges
from rtface.sync.grid import Floats
from rtface.sync.match import Frames


class Wrong(NamedTuple):
    """What goes wrong: parts of all pulses or frames, unless said otherwise."""

    missed_pulses: float = 1e-4
    glitches: float = 1e-4
    dropped_frames: float = 5e-3
    burst_of_drops: int = 5  # so many are dropped at once now and then
    extra_frames: float = 2e-5
    jitter_s: float = 5e-6
    ppm: float = 40.0
    wander_ppm: float = 1.0


NOTHING = Wrong(0, 0, 0, 0, 0, 0, 0, 0)


class Simulated(NamedTuple):
    """One session: what the camera and the recording saw, and (N,) s when each frame's trigger was.

    ``truth_s`` is in the recording's clock; NaN for frames that no trigger made.
    """

    frames: Frames
    edges: Edges
    truth_s: Floats


def simulate(
    seed: int,
    kind: str = "late",
    rate_hz: float = 200.0,
    duration_s: float = 300.0,
    camera_s: tuple[float, float] = (0.0, np.inf),
    recorded_s: tuple[float, float] = (-5.0, np.inf),
    wrong: Wrong | None = None,
    sampling_hz: float = 30_000.0,
    width_s: float = 1e-3,
) -> Simulated:
    """Return a session.

    Parameters
    ----------
    kind : {"late", "left_out", "uniform"}
        The code.
    camera_s, recorded_s : (float, float)
        From when to when the camera and the recording run, s after the first trigger.
    width_s : float
        How long a pulse is.
    """
    random = np.random.default_rng(seed)
    wrong = wrong or Wrong()
    if kind == "uniform":
        t = np.arange(int(duration_s * rate_hz)) / rate_hz
    else:
        t = code.triggers(rate_hz, duration_s, seed, leave_out=kind == "left_out")
    # the recording's clock
    wander = wrong.wander_ppm * 1e-6 * 60 * np.sin(t / 60 + random.uniform(0, 6))
    daq = random.uniform(0, 100) + t * (1 + wrong.ppm * 1e-6 * random.uniform(-1, 1)) + wander
    zero = float(np.interp(0, t, daq))
    seen = (t >= recorded_s[0]) & (t <= recorded_s[1])
    pulses = daq[seen & (random.random(len(t)) >= wrong.missed_pulses)]
    begin, end = zero + recorded_s[0], min(zero + recorded_s[1], daq[-1] + 5)
    low, high = (max(begin, daq[0]), min(end, daq[-1]))
    glitches = random.uniform(low, high, random.poisson(wrong.glitches * len(t)))
    rising = np.sort(np.concatenate((pulses, glitches)))
    widths = np.where(np.isin(rising, glitches), 1 / sampling_hz, width_s)
    sampled = np.round(np.stack((rising, rising + widths)) * sampling_hz) / sampling_hz
    edges = Edges(sampled[0], sampled[1], begin, end, "simulated", "simulated")
    frames, truth = _frames(random, t, daq, rate_hz, camera_s, wrong)
    return Simulated(frames, edges, truth)


def _frames(
    random: np.random.Generator,
    t: Floats,
    daq: Floats,
    rate_hz: float,
    camera_s: tuple[float, float],
    wrong: Wrong,
) -> tuple[Frames, Floats]:
    """Return the frames that come through, and when the trigger of each was."""
    runs = np.flatnonzero((t >= camera_s[0]) & (t <= camera_s[1]))
    extra = random.uniform(t[runs[0]], t[runs[-1]], random.poisson(wrong.extra_frames * len(runs)))
    made = np.concatenate((t[runs], extra))
    truth = np.concatenate((daq[runs], np.full(len(extra), np.nan)))
    order = np.argsort(made)
    made, truth = made[order], truth[order]
    ids = random.integers(0, 100_000) + np.arange(len(made))
    kept = random.random(len(made)) >= wrong.dropped_frames
    if wrong.burst_of_drops:
        for start in random.integers(0, len(made), max(1, len(made) // 20_000)):
            kept[start : start + random.integers(1, 1 + wrong.burst_of_drops)] = False
    kept[0] = True  # what is lost before the first frame nobody knows
    made, truth, ids = made[kept], truth[kept], ids[kept]
    skew = 1 + random.uniform(-1, 1) * wrong.ppm * 1e-6
    stamps = random.uniform(0, 1e5) + made * skew + random.normal(0, wrong.jitter_s, len(made))
    first = camera_s[0] <= 0
    frames = Frames(np.sort(stamps), ids, np.zeros(len(ids), np.int64), first, 0.0)
    return frames, truth
