"""A network of Facemap's shape: the same layers under the same names, so that states exchange.

Five levels of encoder down to 1/16 of the input, two of decoder back to 1/4, and three heads on
that grid: a heat map, and how far each cell's row and column lie from the keypoint's. Written from
a description of the layers; a state of Facemap loads strictly, and Facemap loads one of ours.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: input px per cell of the maps
STRIDE = 4
#: width of the heat map's bumps, cells; offsets are in units of twice that
SIGMA = 3.0
#: what each heat map adds up to in training
TOTAL = 10.0

#: heat maps, row offsets, column offsets; each (B, K, H/4, W/4)
Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class _Named(nn.Module):
    """Holds parts under given names; whoever made it calls them itself."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def _layer(inputs: int, outputs: int, relu: bool = True) -> nn.Sequential:
    """Return normalisation, rectifier and a 3x3 convolution without bias."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    if not relu:
        return nn.Sequential(nn.BatchNorm2d(inputs), convolution)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)


class _Block(nn.Module):
    """Two layers; the very first of a network has no rectifier, it would cut off the dark."""

    def __init__(self, inputs: int, outputs: int, first_relu: bool = True) -> None:
        super().__init__()
        first = _layer(inputs, outputs, first_relu)
        self.conv = nn.Sequential()
        self.conv.add_module("conv_0", first)
        self.conv.add_module("conv_1", _layer(outputs, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the second convolution's output as it is."""
        out: torch.Tensor = self.conv(x)
        return out


class FMnet(nn.Module):
    """Maps (B, 1, H, W) normalised pictures to heat maps and offsets on a grid of 4x4 px cells.

    H and W must be multiples of 16; Facemap uses 256.

    Parameters
    ----------
    channels : tuple of 5 int
        Channels of the encoder's levels, at 1, 1/2, 1/4, 1/8 and 1/16 of the input.
    n_keypoints : int
    """

    def __init__(
        self,
        channels: tuple[int, int, int, int, int] = (16, 32, 64, 128, 200),
        n_keypoints: int = 15,
    ) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = channels
        self.channels = channels
        self.n_keypoints = n_keypoints
        encoder: dict[str, nn.Module] = {"conv0": _Block(1, c0, first_relu=False)}
        for level, (above, here) in enumerate(((c0, c1), (c1, c2), (c2, c3), (c3, c4)), 1):
            encoder[f"conv{level}"] = _Block(above, here)
        self._encoder = list(encoder.values())
        self.Conv = _Named(encoder)
        self._decoder = [_Block(c4 + c3, c3), _Block(c3 + c2, c2)]
        self.Up_conv = _Named({f"upconv{i}": block for i, block in enumerate(self._decoder)})
        self._heads = [nn.Conv2d(c2, n_keypoints, 1) for _ in range(3)]
        self.Conv2_1x1 = _Named({f"conv{i}": head for i, head in enumerate(self._heads)})
        # a heat map that is nowhere above zero has no gradient: start above it
        nn.init.constant_(self.Conv2_1x1.conv0.bias, 0.1)  # type: ignore[arg-type, union-attr]

    def forward(self, x: torch.Tensor, normalise: bool = False) -> Outputs:
        """Return heat maps (from 0), row offsets and column offsets, each (B, K, H/4, W/4).

        In training, and where ``normalise`` asks for it, each heat map adds up to 10.
        """
        levels: list[torch.Tensor] = []
        for block in self._encoder:
            x = block(functional.max_pool2d(x, 3, 2, 1) if levels else x)
            levels.append(x)
        for block, beside in zip(self._decoder, (levels[3], levels[2]), strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), beside], 1))
        heat, rows, columns = (head(x) for head in self._heads)
        heat = functional.relu(heat)
        if self.training or normalise:
            heat = TOTAL * heat / (heat.sum((2, 3), keepdim=True) + 1e-4)
        return heat, rows, columns


def _grid(height: int, width: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows (height, 1) and columns (1, width) of the cells."""
    rows = torch.arange(height, dtype=like.dtype, device=like.device)[:, None]
    columns = torch.arange(width, dtype=like.dtype, device=like.device)[None, :]
    return rows, columns


def loss(outputs: Outputs, points: torch.Tensor) -> torch.Tensor:
    """Return how far ``outputs`` of a network in training are from labels: one number, in all 0.

    Of each labelled keypoint: the sum of the absolute differences of the heat map from a Gaussian
    of 3 cells that adds up to 10, and half the sum over the cells within 3 of the keypoint of how
    far, in units of 6 cells, their offsets miss. The mean over all that are labelled.

    Parameters
    ----------
    outputs : of ``FMnet.forward`` in training (or with ``normalise``)
    points : Tensor (B, K, 2)
        x, y in px of the input; those that are NaN or outside the input do not count.
    """
    heat, row_offsets, column_offsets = outputs
    height, width = heat.shape[2:]
    limits = torch.tensor([width, height], dtype=heat.dtype, device=heat.device) * STRIDE
    points = points.to(heat)
    counts = ((points >= 0) & (points < limits)).all(-1)  # NaN compares as false
    if not bool(counts.any()):
        return heat.sum() * 0.0
    at = points[counts] / STRIDE
    rows, columns = _grid(height, width, heat)
    down = rows - at[:, 1, None, None]
    right = columns - at[:, 0, None, None]
    squared = down.square() + right.square()
    bump = torch.exp(-squared / (2 * SIGMA**2))
    bump = TOTAL * bump / (bump.sum((1, 2), keepdim=True) + 1e-3)
    misses_heat = (heat[counts] - bump).abs().sum((1, 2))
    unit = 2 * SIGMA
    wrong = (row_offsets[counts] - down / unit).square()
    wrong = wrong + (column_offsets[counts] - right / unit).square()
    near = squared <= SIGMA**2
    # the tiny number: a square root has no slope at 0
    misses_offset = (torch.sqrt(wrong + 1e-12) * near).sum((1, 2))
    return (misses_heat + 0.5 * misses_offset).mean()


def decode(outputs: Outputs) -> torch.Tensor:
    """Return keypoints (B, K, 3): x and y in input px, and Facemap's likelihood, 0.5 to 1.

    The first cell of the highest value says where; its own offsets correct that. The likelihood
    is the logistic function of that value, for a network out of training.
    """
    heat, row_offsets, column_offsets = outputs
    width = heat.shape[3]
    peak, best = heat.flatten(2).max(-1, keepdim=True)
    unit = 2 * SIGMA
    row = best // width - unit * row_offsets.flatten(2).gather(2, best)
    column = best % width - unit * column_offsets.flatten(2).gather(2, best)
    return torch.cat([column * STRIDE, row * STRIDE, torch.sigmoid(peak)], -1)
