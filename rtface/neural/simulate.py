"""A mouse and its neurons, of whom everything is known: for tests and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Activity, Floats, make_activity
from rtface.neural.behaviour import Behaviour, make_behaviour
from rtface.neural.columns import PUPIL, Column, group_of
from rtface.neural.splits import Bools

#: a few keypoints of each group, and how much of a region's activity each group makes
POINTS = ("eye(top)", "whisker(I)", "nose(tip)", "mouth", "paw")
REGIONS: Mapping[str, Mapping[str, float]] = {
    "whisker cortex": {"whisker": 1.0, "nose": 0.25},
    "visual cortex": {"pupil": 0.6, "eye": 0.5},
    "striatum": {"paw": 0.8, "mouth": 0.4},
    "unrelated": {},
}
#: running moves everything a little; movements of a column's own, and of running, in deviations
OWN, RUNNING = 0.85, 0.53
#: time constants of these, s
OWN_S, RUNNING_S = 0.4, 3.0
#: when the first frame begins, in the clock of the neurons, s
BEGAN_S = 1000.0
#: a camera's numbers are movements times this, about a value
PX, AT_PX = 3.0, 100.0
#: kernels are differences of two exponentials of these time constants, s
RISE_S, FALL_S, RISE = 0.05, 0.5, 0.3


class Simulated(NamedTuple):
    """A session and its truth.

    Attributes
    ----------
    behaviour : Behaviour
    activity : Activity
    ceiling : ndarray (N,)
        Variance explained by the true signal: what is left is noise (and drift).
    weights : dict of str to ndarray (N,)
        How strongly each group drives each unit.
    signal : ndarray (N, t)
        What the movements do to each unit.
    gains : ndarray (F, N)
        ``signal`` is what ``responses`` makes of the movements, sampled, times these.
    rate_hz, sample_s : float
    """

    behaviour: Behaviour
    activity: Activity
    ceiling: Floats
    weights: dict[str, Floats]
    signal: Floats
    gains: Floats
    rate_hz: float
    sample_s: float


def smooth_noise(random: np.random.Generator, n: int, period_s: float, tau_s: float) -> Floats:
    """Return (n,) noise with a time constant, of deviation 1."""
    keep = float(np.exp(-period_s / tau_s))
    white = random.standard_normal(n)
    out = np.empty(n)
    value = 0.0
    for i, one in enumerate(white.tolist()):
        value = keep * value + one
        out[i] = value
    return np.asarray(out * np.sqrt(1 - keep**2))


def responses(x: Floats, period_s: float) -> Floats:
    """Return (T, ...) what units see of movements: the kernel of ``RISE_S`` and ``FALL_S``."""
    slow, fast = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    a, b = np.exp(-period_s / FALL_S), np.exp(-period_s / RISE_S)
    out = np.empty_like(x)
    for i, one in enumerate(x):
        slow, fast = a * slow + (1 - a) * one, b * fast + (1 - b) * one
        out[i] = slow - RISE * fast
    return out


def _gaps(random: np.random.Generator, n: int, part: float, frames: float) -> Bools:
    """Return which of ``n`` frames (n,) are in gaps of so many frames on average."""
    count = int(3 * n * part / frames) + 20
    lengths = random.exponential((frames * (1 - part) / part, frames), (count, 2))
    return np.asarray(np.searchsorted(np.cumsum(lengths), np.arange(n)) % 2 == 1)


def simulate(
    seconds: float = 400.0,
    rate_hz: float = 50.0,
    sample_s: float = 0.1,
    per_region: int = 20,
    noise: float = 1.0,
    drift: float = 0.0,
    missing: float = 0.0,
    missing_s: float = 0.5,
    lost: float = 0.0,
    seed: int = 0,
) -> Simulated:
    """Return a session of known kernels.

    Parameters
    ----------
    seconds, rate_hz, sample_s : float
        Its length, frames per second, length of a neural sample.
    per_region : int
        Units of each of ``REGIONS``.
    noise : float
        Deviation of a unit's own noise, of that of its signal.
    drift : float
        Deviation of slow changes that nothing explains, likewise.
    missing, lost : float
        Part of keypoints (and of the pupil) that are not known, and of frames that never came.
    missing_s : float
        How long one is not known, mean of exponential times.
    seed : int
    """
    random = np.random.default_rng(seed)
    n = int(seconds * rate_hz)
    columns = [Column(f"{p}.{axis}", group_of(p)) for p in POINTS for axis in "xy"]
    columns += [Column(name, "pupil") for name in PUPIL]
    running = smooth_noise(random, n, 1 / rate_hz, RUNNING_S)
    own = np.stack([smooth_noise(random, n, 1 / rate_hz, OWN_S) for _ in columns], 1)
    x = OWN * own + RUNNING * running[:, None]
    driven = responses(x, 1 / rate_hz)
    regions = [region for region in REGIONS for _ in range(per_region)]
    weights = {
        group: np.array([REGIONS[region].get(group, 0.0) for region in regions])
        for group in dict.fromkeys(column.group for column in columns)
    }
    gains = np.zeros((len(columns), len(regions)))
    for group, strength in weights.items():
        mine = [i for i, column in enumerate(columns) if column.group == group]
        mixing = random.standard_normal((len(mine), len(regions)))
        size = np.maximum((driven[:, mine] @ mixing).std(0), 1e-9)
        gains[mine] = strength * mixing / size
    every = round(sample_s * rate_hz)
    means = driven[: n // every * every].reshape(-1, every, len(columns)).mean(1)
    size = (means @ gains).std(0)
    gains /= np.where(size > 1e-9, size, 1)
    sampled = (means @ gains).T
    t = sampled.shape[1]
    values = sampled + noise * random.standard_normal(sampled.shape)
    if drift:
        slow = np.stack([smooth_noise(random, t, sample_s, 60.0) for _ in regions])
        values += drift * slow
    ceiling = sampled.var(1) / values.var(1)
    frames_s: Floats = BEGAN_S + (np.arange(n, dtype=np.float64) + 0.5) / rate_hz
    samples_s = BEGAN_S + (np.arange(t) + 0.5) * sample_s
    seen = x.astype(np.float32) * PX + AT_PX
    if missing:
        parts = np.array([column.name.rpartition(".")[0] for column in columns])
        for part in np.unique(parts):
            gone = _gaps(random, n, missing, missing_s * rate_hz)
            seen[gone[:, None] & (parts == part)] = np.nan
    kept = random.random(n) >= lost
    t_ns = np.round((frames_s + 77.0) * 1e9).astype(np.int64)
    behaviour = make_behaviour(t_ns[kept], frames_s[kept], seen[kept], columns)
    activity = make_activity(values.astype(np.float32), samples_s, "simulated", regions=regions)
    return Simulated(
        behaviour, activity, ceiling, weights, sampled, gains, rate_hz, every / rate_hz
    )
