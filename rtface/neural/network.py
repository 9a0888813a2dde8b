"""Facemap's network from keypoints to neurons, in numpy: from its own file of weights.

A sample is scaled, mixed (``linear0``), filtered over time by a few kernels that all share
(``wavelet0``), and goes through two layers to latents, and from there to what is predicted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.torchfile import read_tensors
from rtface.types import Float32Array, UserError

#: samples whose windows are laid out at a time, offline
BLOCK = 1000
_CORE = "core.features."
_READOUT = "readout.features.linear0"
_LAYERS = ("linear0.0", "linear1.0", "latent.0")


class Network(NamedTuple):
    """Checked weights of a network, each matrix as (in, out) float32.

    Attributes
    ----------
    mix, mix_bias : ndarray (F, M), (M,)
    kernels : ndarray (K, W)
        K taps of W kernels, the oldest first.
    medium, medium_bias : ndarray (M * W, D), (D,)
    latent, latent_bias : ndarray (D, L), (L,)
    readout, readout_bias : ndarray (L, C), (C,)
    """

    mix: Float32Array
    mix_bias: Float32Array
    kernels: Float32Array
    medium: Float32Array
    medium_bias: Float32Array
    latent: Float32Array
    latent_bias: Float32Array
    readout: Float32Array
    readout_bias: Float32Array

    @property
    def taps(self) -> int:
        """Samples that a prediction is made of."""
        return len(self.kernels)

    def latents(self, filtered: Float32Array) -> Float32Array:
        """Return (..., L) latents of what the kernels made (..., M * W)."""
        medium = np.maximum(np.maximum(filtered, 0) @ self.medium + self.medium_bias, 0)
        return np.asarray(np.maximum(medium @ self.latent + self.latent_bias, 0))

    def read(self, latents: Float32Array) -> Float32Array:
        """Return (..., C) predictions of latents."""
        return np.asarray(latents @ self.readout + self.readout_bias)

    def run(self, x: Float32Array) -> Float32Array:
        """Return (T, L) latents of samples (T, F); each is made of itself and K - 1 before it.

        Before the first sample there are zeros. Facemap's latents at sample t are these at
        t + K // 2: what it takes from the future.
        """
        mixed = x @ self.mix + self.mix_bias
        padded = np.concatenate([np.zeros((self.taps - 1, mixed.shape[1]), np.float32), mixed])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.taps, 0)  # (T, M, K)
        out = np.empty((len(x), self.latent.shape[1]), np.float32)
        for start in range(0, len(x), BLOCK):
            some = windows[start : start + BLOCK]
            filtered = (some.reshape(-1, self.taps) @ self.kernels).reshape(len(some), -1)
            out[start : start + BLOCK] = self.latents(filtered)
        return out


def read_network(path: Path, animal: int | None = None) -> Network:
    """Read a state of Facemap's network, bare or under the key ``state_dict``.

    Parameters
    ----------
    path : Path
    animal : int, optional
        Whose readout, where there are those of several.

    Raises
    ------
    UserError
        It is none: names the file and the key.
    """
    return check_network(path, read_tensors(path), animal)


def check_network(path: Path, state: Any, animal: int | None = None) -> Network:
    """Return ``state`` as a network; UserError names ``path`` and the first key that is wrong."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a table of weights")
    readout = _READOUT
    if f"{_READOUT}.weight" not in state and f"{_READOUT}_0.weight" in state:
        if animal is None:
            raise UserError(f"{path}: has readouts of several animals; say which with animal")
        readout = f"{_READOUT}_{animal}"
    found = {
        name: (_tensor(path, state, f"{key}.weight", 2), _tensor(path, state, f"{key}.bias", 1))
        for name, key in {
            **{layer: f"{_CORE}{layer}" for layer in _LAYERS},
            "readout": readout,
        }.items()
    }
    wavelet = f"{_CORE}wavelet0.weight"
    kernels = _tensor(path, state, wavelet, 3)
    if kernels.shape[1] != 1 or kernels.shape[2] % 2 == 0:
        raise UserError(f"{path}: {wavelet}: has shape {kernels.shape}, not (kernels, 1, odd)")
    width, n_inputs = len(found["linear0.0"][0]), None
    for name, expected in (
        ("linear0.0", n_inputs),
        ("linear1.0", width * len(kernels)),
        ("latent.0", len(found["linear1.0"][0])),
        ("readout", len(found["latent.0"][0])),
    ):
        weight, bias = found[name]
        key = readout if name == "readout" else _CORE + name
        if expected is not None and weight.shape[1] != expected:
            raise UserError(
                f"{path}: {key}.weight: has shape {weight.shape}, not ({len(weight)}, {expected})"
            )
        if len(bias) != len(weight):
            raise UserError(f"{path}: {key}.bias: has shape {bias.shape}, not ({len(weight)},)")
    layers = [
        part
        for name in (*_LAYERS, "readout")
        for part in (np.ascontiguousarray(found[name][0].T), found[name][1])
    ]
    layers.insert(2, np.ascontiguousarray(kernels[:, 0].T))
    return Network._make(layers)


def _tensor(path: Path, state: dict[Any, Any], key: str, ndim: int) -> Float32Array:
    tensor = state.get(key)
    if tensor is None:
        raise UserError(f"{path}: {key}: missing; is not a state of Facemap's neural network")
    if not isinstance(tensor, np.ndarray) or tensor.ndim != ndim or not tensor.size:
        raise UserError(f"{path}: {key}: is not a tensor with {ndim} sizes")
    with np.errstate(over="ignore"):  # too large becomes infinite, and that is refused
        found = tensor.astype(np.float32)
    if not np.isfinite(found).all():
        raise UserError(f"{path}: {key}: has values that are not finite numbers")
    return found
