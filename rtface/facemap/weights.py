"""The weights of Facemap's network: which there are, of what shape, and whether a file has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtface.torchfile import read_tensors
from rtface.types import Float32Array, UserError

#: Facemap's keypoints in the order of its network's channels: whisker III comes before II
NAMES = (
    *("eye(back)", "eye(bottom)", "eye(front)", "eye(top)", "lowerlip", "mouth"),
    *("nose(bottom)", "nose(r)", "nose(tip)", "nose(top)", "nosebridge", "paw"),
    *("whisker(I)", "whisker(III)", "whisker(II)"),
)
LEVELS = 5
#: all that a normalisation layer of torch keeps; the last is a count and has one number
NORM = ("weight", "bias", "running_mean", "running_var")
COUNT = "num_batches_tracked"
HEADS = ("conv0", "conv1", "conv2")


@dataclass(frozen=True)
class Weights:
    """Checked weights: every tensor is there, has its shape, and is finite.

    Attributes
    ----------
    channels : tuple of 5 int
        Of the encoder's levels.
    n_keypoints : int
    tensors : dict
        float32 arrays by their names in the file.
    """

    channels: tuple[int, ...]
    n_keypoints: int
    tensors: dict[str, Float32Array]


def blocks(channels: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Return name: (channels in, out) of the pairs of layers, encoder first."""
    c = channels
    found = {"Conv.conv0": (1, c[0])}
    found |= {f"Conv.conv{k}": (c[k - 1], c[k]) for k in range(1, LEVELS)}
    found |= {f"Up_conv.upconv{k}": (c[4 - k] + c[3 - k], c[3 - k]) for k in range(2)}
    return found


def layers(block: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the names of (normalisation, convolution) of both layers of a block."""
    first = 1 if block == "Conv.conv0" else 2  # no rectifier before the very first
    one, two = (f"{block}.conv.conv_{i}" for i in range(2))
    return (f"{one}.0", f"{one}.{first}"), (f"{two}.0", f"{two}.2")


def shapes(channels: tuple[int, ...], n_keypoints: int) -> dict[str, tuple[int, ...]]:
    """Return name: shape of every tensor of a network of this width."""
    found: dict[str, tuple[int, ...]] = {}
    for block, (inputs, outputs) in blocks(channels).items():
        for (norm, conv), width in zip(layers(block), (inputs, outputs), strict=True):
            found |= {f"{norm}.{part}": (width,) for part in NORM}
            found[f"{norm}.{COUNT}"] = ()
            found[f"{conv}.weight"] = (outputs, width, 3, 3)
    for head in HEADS:
        found[f"Conv2_1x1.{head}.weight"] = (n_keypoints, channels[2], 1, 1)
        found[f"Conv2_1x1.{head}.bias"] = (n_keypoints,)
    return found


def read_weights(path: Path) -> Weights:
    """Read a state of Facemap's network, bare or under the key ``state_dict``.

    Raises
    ------
    UserError
        It is none: names the file and the key.
    """
    return check_weights(path, read_tensors(path))


def check_weights(path: Path, state: Any) -> Weights:
    """Return ``state`` as weights; UserError names ``path`` and the first key that is wrong."""
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a table of weights")
    widths = [f"{layers(f'Conv.conv{level}')[1][1]}.weight" for level in range(LEVELS)]
    first = [_tensor(path, state, key) for key in (*widths, "Conv2_1x1.conv0.weight")]
    *channels, n_keypoints = (tensor.shape[0] if tensor.ndim else 0 for tensor in first)
    if not all((*channels, n_keypoints)):
        raise UserError(f"{path}: {widths[0]}: has no channels; is not Facemap's network")
    expected = shapes(tuple(channels), n_keypoints)
    if others := [key for key in state if key not in expected]:
        raise UserError(
            f"{path}: {str(others[0])[:80]}: there is no such tensor in Facemap's network"
        )
    tensors = {}
    for key, shape in expected.items():
        tensor = _tensor(path, state, key)
        if tensor.shape != shape:
            raise UserError(f"{path}: {key}: has shape {tensor.shape}, not {shape}")
        with np.errstate(over="ignore"):  # too large becomes infinite, and that is refused
            tensors[key] = tensor.astype(np.float32)
        if not np.isfinite(tensors[key]).all():
            raise UserError(f"{path}: {key}: has values that are not finite numbers")
        if key.endswith(".running_var") and (tensor < 0).any():
            raise UserError(f"{path}: {key}: has negative variances")
    return Weights(tuple(channels), n_keypoints, tensors)


def _tensor(path: Path, state: dict[Any, Any], key: str) -> np.ndarray:
    tensor = state.get(key)
    if tensor is None:
        raise UserError(f"{path}: {key}: missing; is not a state of Facemap's network")
    if not isinstance(tensor, np.ndarray):
        raise UserError(f"{path}: {key}: is a {type(tensor).__name__}, not a tensor")
    return tensor
