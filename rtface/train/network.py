"""The network: a patch stem, dense 3x3 convolutions, one heat map and one offset per keypoint.

Everything is decided on a grid of cells of 8x8 input px. The heat map says in which cell a
keypoint is, the offsets say where from that cell's centre.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: input px per cell
STRIDE = 8


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Network(nn.Module):
    """Maps (B, 1, H, W) normalised pictures to heat map logits and offsets.

    Three levels at strides 8, 16 and 32 give it sight of the whole face; only the first is read
    out.

    Parameters
    ----------
    n_keypoints : int
    stem, width, deep, last : int
        Channels of the stem, of the level that is read out, of the two below it and of the layer
        that is read out: wide, because each of its cells has to say where every keypoint is.
    """

    def __init__(
        self, n_keypoints: int, stem: int = 24, width: int = 64, deep: int = 64, last: int = 128
    ) -> None:
        super().__init__()
        self.n_keypoints = n_keypoints
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, 8, 4, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        self.level8 = nn.Sequential(_conv(stem, width, 2), _conv(width, width))
        self.level16 = nn.Sequential(_conv(width, deep, 2), _conv(deep, deep))
        self.level32 = nn.Sequential(_conv(deep, deep, 2), _conv(deep, deep), _conv(deep, deep))
        self.join16 = _conv(deep, deep)
        self.narrow = nn.Conv2d(deep, width, 1)
        self.join8 = nn.Sequential(_conv(width, width), _conv(width, last))
        self.head = nn.Conv2d(last, 3 * n_keypoints, 1)
        # cells are mostly empty: start from there
        self.head.weight.data.zero_()
        bias = torch.zeros(3 * n_keypoints)
        bias[:n_keypoints] = -5.0
        self.head.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B, K, H/8, W/8) and offsets (B, K, 2, H/8, W/8) in cells, x then y."""
        fine = self.level8(self.stem(x))
        middle = self.level16(fine)
        coarse = self.level32(middle)
        middle = self.join16(middle + functional.interpolate(coarse, scale_factor=2.0))
        fine = self.join8(fine + functional.interpolate(self.narrow(middle), scale_factor=2.0))
        out = self.head(fine)
        k = self.n_keypoints
        offsets = out[:, k:].reshape(out.shape[0], k, 2, out.shape[2], out.shape[3])
        return out[:, :k], offsets


def decode(logits: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Return keypoints (B, K, 3): x and y in input px, and the score, 0 to 1.

    The best cell and its eight neighbours each say where the keypoint is; their mean, weighted by
    how sure each is, is steadier than the best one alone. The score is the best cell's.
    """
    height, width = logits.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y]).flatten(1).float()
    sure = torch.sigmoid(logits.flatten(2))
    score, best = sure.max(-1, keepdim=True)
    centre = torch.stack([best % width, best // width], 2).float()
    near = (cells - centre).square().sum(2) < 2.5
    weight = sure * near
    votes = ((cells + offsets.flatten(3)) * weight[:, :, None]).sum(-1)
    xy = (votes / weight.sum(-1, keepdim=True) + 0.5) * STRIDE - 0.5
    return torch.cat([xy, score], -1)
