"""What a synthetic mouse does, and what its rig does to it: one minute, a pure function of a seed.

The script is a loop of ``PERIOD_S`` without a seam. Every quantity is known at every moment, and
every event (a whisk, a blink, a flash ...) has its start and its end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: length of the loop, s
PERIOD_S = 64.0
#: samples of the script per second; between them it is linear
_HZ = 500
_N = int(PERIOD_S * _HZ)

Trace = npt.NDArray[np.float64]


class State(NamedTuple):
    """Everything that moves or shines, at one moment.

    Head units: 1 is the distance from the nose to the eye; see ``rtface.camera.anatomy``.
    """

    gaze_x: float = 0.0  # centre of the pupil from the eye's, half eye widths
    gaze_y: float = 0.0
    pupil: float = 0.4  # radius, half eye widths
    lids: float = 1.0  # 1 open, 0 shut
    nose_x: float = 0.0  # displacement of the nose, head units
    nose_y: float = 0.0
    whisk: float = 0.3  # 0 whiskers drawn back, 1 as far forward as they go
    mouth: float = 0.0  # 0 shut; 0.5 open, tongue inside; 1 tongue out
    paw_u: float = 0.4  # where the paw is, head units; far below while it is not near the face
    paw_v: float = 9.0
    gain: float = 1.0  # brightness of the whole picture
    scan: float = 0.0  # 1 while scanning light shines out through the pupil
    shift_x: float = 0.0  # how far the camera was knocked, widths of the picture
    shift_y: float = 0.0


class Event(NamedTuple):
    """Something that begins and ends, s after the start of the loop.

    ``kind`` is one of: ``whisk`` (one protraction, from its start to its peak), ``whisking`` (a
    bout), ``sniff`` (a bout), ``blink``, ``saccade``, ``lick``, ``groom``, ``paw``; and of the rig
    ``flash``, ``scan`` and ``bump``.
    """

    kind: str
    start_s: float
    end_s: float


class Script:
    """One minute in the life of the mouse ``seed``.

    Parameters
    ----------
    seed : int
    nuisances : bool
        What rigs do to a face: flashes of stimulus lights, scanning light in the pupil, steps of
        a shutter, drifting light, a knocked camera.

    Attributes
    ----------
    events : list of Event
        In order of their start.
    """

    def __init__(self, seed: int, nuisances: bool = True) -> None:
        self.nuisances = nuisances
        self.events: list[Event] = []
        rng = np.random.default_rng([seed, 2])
        traces = {name: np.full(_N, value) for name, value in State()._asdict().items()}
        bouts = self._whisk(rng, traces)
        self._nose(rng, traces)
        self._mouth(rng, traces)
        self._paw(rng, traces)
        rig = np.random.default_rng([seed, 3])
        if nuisances:
            self._light(rig, traces)
            self._bump(rig, traces)
        self._eye(rng, traces, bouts)
        self.events.sort(key=lambda event: event.start_s)
        # one sample more than the loop has: interpolation never runs off its end
        table = np.stack([traces[name] for name in State._fields], 1)
        self._table = np.concatenate([table, table[:1]]).astype(np.float32)

    def at(self, t_s: float) -> State:
        """Return the state ``t_s`` after the start; it repeats every ``PERIOD_S``."""
        place = t_s % PERIOD_S * _HZ
        first = int(place)
        before, after = self._table[first], self._table[first + 1]
        return State(*(before + np.float32(place - first) * (after - before)).tolist())

    def events_between(self, start_s: float, end_s: float) -> list[Event]:
        """Return the events that begin in [start_s, end_s), s after the start of the first loop."""
        loops = range(int(start_s // PERIOD_S), int(end_s // PERIOD_S) + 1)
        unrolled = [
            Event(e.kind, e.start_s + i * PERIOD_S, e.end_s + i * PERIOD_S)
            for i in loops
            for e in self.events
        ]
        return [e for e in unrolled if start_s <= e.start_s < end_s]

    def _happen(self, kind: str, start_s: float, length_s: float) -> Trace:
        """Note an event and return the time since its start at every sample, s."""
        self.events.append(Event(kind, start_s, start_s + length_s))
        return np.arange(_N) / _HZ - start_s

    def _whisk(self, rng: np.random.Generator, traces: dict[str, Trace]) -> Trace:
        """Whisk: bouts of 8 to 12 protractions a second over a slowly moving set point."""
        whisk = 0.28 + 0.05 * drift(rng, 0.3)
        bouts = np.zeros(_N)
        for start, length in moments(rng, 9, 2.0, 4.5):
            hz = rng.uniform(8, 12)
            cycles = int(length * hz)
            t = self._happen("whisking", start, cycles / hz)
            phase = np.clip(t * hz, 0, cycles)
            envelope = pulse(t, cycles / hz, 0.2)
            whisk += envelope * rng.uniform(0.4, 0.55) * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
            bouts += envelope
            for i in range(cycles):
                self._happen("whisk", start + i / hz, 0.5 / hz)
        traces["whisk"] = np.clip(whisk, 0, 1)
        return bouts

    def _nose(self, rng: np.random.Generator, traces: dict[str, Trace]) -> None:
        """Breathe all the time, sniff in bouts, and let the nose wander."""
        breath = 2 * np.pi * np.arange(_N) / _N * round(PERIOD_S * rng.uniform(2.0, 3.5))
        x, y = 0.006 * drift(rng, 0.4), 0.02 * drift(rng, 0.4) + 0.005 * np.sin(breath)
        for start, length in moments(rng, 6, 1.5, 3.0):
            t = self._happen("sniff", start, length)
            turn = 2 * np.pi * rng.uniform(6, 9) * t
            envelope = pulse(t, length, 0.2)
            x += 0.006 * envelope * np.cos(turn)
            y -= envelope * (0.01 + 0.018 * np.sin(turn))
        traces["nose_x"], traces["nose_y"] = np.clip(x, -0.03, 0.03), np.clip(y, -0.065, 0.065)

    def _mouth(self, rng: np.random.Generator, traces: dict[str, Trace]) -> None:
        """Lick at 6 to 7 Hz in bouts; otherwise hardly move the jaw."""
        mouth = 0.06 * np.abs(drift(rng, 1.0))
        for start, _ in moments(rng, 4, 1.6, 1.6):
            hz = rng.uniform(6, 7.5)
            for i in range(int(rng.integers(4, 10))):
                length = 0.7 / hz
                t = self._happen("lick", start + i / hz, length)
                bump = np.where((t > 0) & (t < length), np.sin(np.pi * t / length) ** 2, 0)
                mouth = np.maximum(mouth, bump)
        traces["mouth"] = np.clip(mouth, 0, 1)

    def _paw(self, rng: np.random.Generator, traces: dict[str, Trace]) -> None:
        """Bring a paw to the chin now and then, and groom: strokes over the muzzle."""
        u, v = np.full(_N, 0.4), np.full(_N, 4.0)
        kinds = ["paw", "groom", "paw", "groom"]
        for kind, (start, length) in zip(kinds, moments(rng, 4, 1.6, 3.2), strict=True):
            t = self._happen(kind, start, length)
            near = pulse(t, length, 0.3)
            stroke = 2 * np.pi * rng.uniform(2.5, 4) * t
            if kind == "groom":
                reach_u, reach_v = 0.22 + 0.12 * np.cos(stroke), 0.42 + 0.2 * np.sin(stroke)
                traces["lids"] -= 0.3 * near
            else:
                reach_u, reach_v = 0.45 + 0.03 * np.cos(stroke), 0.9 + 0.04 * np.sin(stroke)
            u, v = u + near * (reach_u - u), v + near * (reach_v - v)
        traces["paw_u"], traces["paw_v"] = u, v

    def _light(self, rng: np.random.Generator, traces: dict[str, Trace]) -> None:
        """Drift slowly, flash a stimulus light, open a shutter that lets scanning light in."""
        gain = 1 + 0.04 * np.clip(drift(rng, 0.05), -2, 2)
        for i, (start, _) in enumerate(moments(rng, 5, 1.0, 1.0)):
            level = rng.uniform(0.15, 0.5)
            # single long ones and trains of 10 Hz
            for j in range(1 if i % 2 else 10):
                length = 0.5 if i % 2 else 0.05
                t = self._happen("flash", start + 0.1 * j, length)
                gain = gain + level * ((t >= 0) & (t < length))
        ((start, length),) = moments(rng, 1, 14.0, 20.0)
        t = self._happen("scan", start, length)
        scan = ((t >= 0) & (t < length)).astype(float)
        traces["scan"] = scan
        traces["gain"] = gain * (1 + rng.choice([-0.06, 0.08]) * scan)

    def _bump(self, rng: np.random.Generator, traces: dict[str, Trace]) -> None:
        """Knock the camera, and later put it back."""
        away = rng.uniform(0.006, 0.016, 2) * rng.choice([-1, 1], 2)
        for (start, _), sign in zip(moments(rng, 2, 0.5, 0.5), (1, -1), strict=True):
            t = self._happen("bump", start, 0.5)
            after = np.clip(t, 0, None)
            settle = (t > 0) * (1 - np.exp(-after / 0.05) * np.cos(2 * np.pi * 12 * after))
            for name, distance in zip(("shift_x", "shift_y"), away, strict=True):
                traces[name] = traces[name] + sign * distance * settle

    def _eye(self, rng: np.random.Generator, traces: dict[str, Trace], bouts: Trace) -> None:
        """Make saccades and blinks, and a pupil that follows arousal and light."""
        looks = moments(rng, 14, 0.04, 0.04)
        targets = np.clip(rng.normal(0, [0.12, 0.06], (len(looks), 2)), -0.22, 0.22)
        x, y = np.full(_N, targets[-1, 0]), np.full(_N, targets[-1, 1])
        for (start, length), (to_x, to_y) in zip(looks, targets, strict=True):
            t = self._happen("saccade", start, length)
            done = np.clip(t / length, 0, 1)
            done = done * done * (3 - 2 * done)
            x, y = x + done * (to_x - x), y + done * (to_y - y)
        traces["gaze_x"], traces["gaze_y"] = x, y
        lids = traces["lids"] * (0.97 - 0.03 * np.abs(drift(rng, 0.5)))
        for start, length in moments(rng, 6, 0.2, 0.3):
            t = self._happen("blink", start, length)
            # shuts in a third of the time that it takes to open again
            shut = np.interp(t / length, [0, 0.2, 0.4, 1], [0, 1, 1, 0])
            lids = lids * (1 - shut)
        traces["lids"] = np.clip(lids, 0, 1)
        # seconds behind arousal, and smaller in bright light
        lag = np.exp(-np.arange(_N) / (1.2 * _HZ))
        wanted = 0.12 * bouts - 0.15 * np.clip(traces["gain"] - 1, 0, None)
        slow = np.fft.irfft(np.fft.rfft(wanted) * np.fft.rfft(lag / lag.sum()), _N)
        size = rng.uniform(0.3, 0.48) * (1 + 0.12 * drift(rng, 0.2)) + slow
        traces["pupil"] = np.clip(size, 0.2, 0.62)


def drift(rng: np.random.Generator, below_hz: float) -> Trace:
    """Return a smooth random loop of mean 0 and deviation 1 without anything above ``below_hz``."""
    n = max(2, int(below_hz * PERIOD_S))
    spectrum = np.zeros(_N // 2 + 1, complex)
    size = rng.standard_normal(n) / np.sqrt(np.arange(1, n + 1))
    spectrum[1 : n + 1] = size * np.exp(2j * np.pi * rng.random(n))
    trace = np.fft.irfft(spectrum, _N)
    return np.asarray(trace / trace.std())


def moments(
    rng: np.random.Generator, n: int, shortest_s: float, longest_s: float
) -> list[tuple[float, float]]:
    """Return ``n`` (start, length) in s, one in each n-th of the loop, none across its seam."""
    window = PERIOD_S / n
    lengths = rng.uniform(shortest_s, longest_s, n)
    room = np.maximum(0.0, window - lengths - 0.1)
    starts = np.arange(n) * window + 0.05 + rng.random(n) * room
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))


def pulse(t: Trace, length_s: float, edge_s: float) -> Trace:
    """Return 1 for 0 < t < length_s with smooth edges inside it, 0 elsewhere."""
    near = np.clip(np.minimum(t, length_s - t) / edge_s, 0, 1)
    return np.asarray(near * near * (3 - 2 * near))
