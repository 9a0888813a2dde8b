"""Trains Facemap's keypoint network as Facemap trains it, or a causal one; needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rtface.neural.activity import Floats, Ints
from rtface.types import Float32Array

KERNELS, TAPS, MEDIUM, LATENTS = 10, 201, 50, 256
RATE, DECAY, SMOOTHNESS = 1e-3, 1e-4, 0.5
ITERATIONS = 300
#: the rate falls to a tenth so many iterations before the end
ANNEAL = (50, 100)
#: stretches of a recording; of each a part is learned from, and samples after it are passed over
STRETCHES, TEST_PART, PAD = 10, 0.25, 3


class Segments(NamedTuple):
    """Which samples of the activity (S, n) are learned from and judged; each row is a stretch."""

    train: Ints
    test: Ints


class Outcome(NamedTuple):
    """A trained network.

    Attributes
    ----------
    explained : float
        Variance of all targets together that is explained where it was not learned from.
    predicted : ndarray (n, C)
        Of those samples.
    judged : ndarray (n,) int64
        Which samples these are.
    """

    explained: float
    predicted: Float32Array
    judged: Ints


def segments(n: int) -> Segments:
    """Return Facemap's stretches of ``n`` samples: the same for every recording of this length."""
    count = int(min(STRETCHES, n / 4))
    length = n // count
    first = np.linspace(0, n - length - 5, count).astype(np.int64)
    n_train = int(length * (1 - TEST_PART))
    between = np.diff(np.stack([first, first + n_train], 1).reshape(-1)).min()
    train = first[:, None] + np.arange(n_train)
    test = first[:, None] + n_train + PAD + np.arange(between - PAD)
    return Segments(train, test)


def gabors(kernels: int = KERNELS, taps: int = TAPS) -> Float32Array:
    """Return the kernels (W, K) that training begins with: waves under a bell, of two phases.

    The kernels of a phase have unit length together, as Facemap's. A causal network begins with
    the same: half bells at the present explained less (docs/neural.md).
    """
    frequency = np.geomspace(1, 10, kernels // 2).astype(np.float32)[:, None]
    t = np.linspace(0, 2 * np.pi, taps + 1)[:-1].astype(np.float32)
    t = t - t.mean()
    phases = [np.exp(-(t**2) / 2) * np.cos(phase + frequency * t) for phase in (0, np.pi / 2)]
    return np.concatenate([one / np.sqrt((one**2).sum()) for one in phases]).astype(np.float32)


class KeypointsModule(nn.Module):
    """The network, with the names of Facemap's file of weights.

    Parameters
    ----------
    n_inputs, n_outputs : int
    ahead : int
        Samples of the future that a prediction may see: ``taps // 2`` as Facemap, 0: causal.
    """

    def __init__(self, n_inputs: int, n_outputs: int, ahead: int = TAPS // 2) -> None:
        super().__init__()
        self.ahead = ahead
        # made in the order in which Facemap makes them: the same seed, the same beginning
        core = {
            "linear0": nn.Sequential(nn.Linear(n_inputs, n_inputs)),
            "wavelet0": nn.Conv1d(1, KERNELS, TAPS, bias=False),
            "linear1": nn.Sequential(nn.Linear(n_inputs * KERNELS, MEDIUM)),
            "latent": nn.Sequential(nn.Linear(MEDIUM, LATENTS)),
        }
        core["wavelet0"].weight.data = torch.from_numpy(gabors()).unsqueeze(1)
        readout = {"linear0": nn.Linear(LATENTS, n_outputs)}
        self.core = nn.ModuleDict({"features": nn.ModuleDict(core)})
        self.readout = nn.ModuleDict({"features": nn.ModuleDict(readout)})
        self._layer: dict[str, Any] = {**core, "readout": readout["linear0"]}

    def forward(self, x: Any, which: Any) -> Any:
        """Return (n, C) predictions of some samples (bool (B, T)) of stretches (B, T, F)."""
        layer = self._layer
        mixed = layer["linear0"](x).transpose(1, 2)  # (B, M, T)
        padded = functional.pad(mixed, (TAPS - 1 - self.ahead, self.ahead))
        filtered = layer["wavelet0"](padded.reshape(-1, 1, padded.shape[-1]))  # (B M, W, T)
        filtered = filtered.reshape(len(x), -1, x.shape[1]).transpose(1, 2)[which]
        medium = functional.relu(layer["linear1"](functional.relu(filtered)))
        return layer["readout"](functional.relu(layer["latent"](medium)))

    def roughness(self) -> Any:
        """Return how much neighbouring taps of the kernels differ: sum of squares."""
        return (self._layer["wavelet0"].weight.diff() ** 2).sum()


def train(
    x: Float32Array,
    x_times_s: Floats,
    y: Float32Array,
    y_times_s: Floats,
    ahead: int = TAPS // 2,
    iterations: int = ITERATIONS,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[KeypointsModule, Outcome]:
    """Return a network that predicts ``y`` from ``x``, and what it is worth.

    Parameters
    ----------
    x : ndarray (G, F)
        Scaled samples of an even rate.
    x_times_s : ndarray (G,)
    y : ndarray (T, C)
    y_times_s : ndarray (T,)
        When a prediction of each is read; earlier than the activity for a delay.
    ahead : int
        See ``KeypointsModule``.
    iterations : int
    seed : int
        Of the first weights; the order of stretches is that of the iteration's number, as
        Facemap's.
    """
    torch.manual_seed(seed)
    module = KeypointsModule(x.shape[1], y.shape[1], ahead)
    parts = segments(len(y))
    learned = _stretches(x, x_times_s, y, y_times_s, parts.train)
    judged = _stretches(x, x_times_s, y, y_times_s, parts.test)
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    for iteration in range(iterations):
        if iterations - iteration in ANNEAL:
            optimiser.param_groups[0]["lr"] /= 10
        order = np.random.RandomState(iteration).permutation(len(learned))
        for at in order.tolist():
            part = learned[at]
            loss = ((module(part.inputs, part.which) - part.wanted) ** 2).mean()
            loss = loss + SMOOTHNESS * module.roughness()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        on_progress(iteration + 1, iterations)
    with torch.no_grad():
        predicted = torch.cat([module(part.inputs, part.which) for part in judged])
        wanted = torch.cat([part.wanted for part in judged])
        spread = ((wanted - wanted.mean(0)) ** 2).mean()
        explained = 1 - float(((predicted - wanted) ** 2).mean() / spread)
    samples = np.concatenate([part.samples for part in judged])
    return module, Outcome(explained, predicted.numpy(), samples)


class _Stretch(NamedTuple):
    """Inputs (1, t, F), which of them are read (1, t), what is wanted (n, C), its samples (n,)."""

    inputs: Any
    which: Any
    wanted: Any
    samples: Ints


def _stretches(
    x: Float32Array, x_times_s: Floats, y: Float32Array, y_times_s: Floats, rows: Ints
) -> list[_Stretch]:
    """Return the stretches of a recording that rows of samples are."""
    middle = (x_times_s[1:] + x_times_s[:-1]) / 2
    made = []
    frames = float(np.diff(y_times_s).mean() / np.diff(x_times_s).mean())  # of a sample
    for samples in rows:
        # the same camera frame may be nearest to two samples: then it is read for the first
        at, first = np.unique(np.searchsorted(middle, y_times_s[samples]), return_index=True)
        begin = int(at[0])
        end = min(len(x), max(int(at[-1]) + 1, begin + int(np.ceil(frames * len(samples)))))
        which = np.zeros((1, end - begin), bool)
        which[0, at - begin] = True
        inputs = torch.from_numpy(np.ascontiguousarray(x[begin:end], np.float32))[None]
        wanted = torch.from_numpy(np.ascontiguousarray(y[samples[first]], np.float32))
        made.append(_Stretch(inputs, torch.from_numpy(which), wanted, samples[first]))
    return made


def save_state(module: KeypointsModule, path: Path) -> None:
    """Write the weights as Facemap's code does (``torch.save`` of the state dict)."""
    torch.save(module.state_dict(), path)
