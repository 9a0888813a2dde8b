"""The network: a patch stem, dense 3x3 convolutions, three maps per keypoint.

Everything is decided on a grid of cells of 8x8 input px. The heat map says in which cell a
keypoint is, the offsets say where from that cell's centre, and the spread says how far off that
may be.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: input px per cell
STRIDE = 8
#: a normalised picture is cut off here: one that is all black but for a lamp would reach 255, and
#: in training spoil the statistics of all pictures that it is learned with
LIMITS = (-1.0, 2.0)


def _conv(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Network(nn.Module):
    """Maps (B, 1, H, W) normalised pictures to heat map logits, offsets and spreads.

    Three levels at strides 8, 16 and 32 give it sight of the whole face; only the first is read
    out. Channels are multiples of 16, which ONNX Runtime's kernels like, and fit 500 frames/s on
    one core of a CPU in float32.

    Parameters
    ----------
    n_keypoints : int
    stem, fine, middle, coarse : int
        Channels of the stem and of the three levels.
    joined, last : int
        Channels of the fine level after it was joined with the others, and of the layer that is
        read out: wide, because each of its cells has to say where every keypoint is.
    """

    def __init__(
        self,
        n_keypoints: int,
        stem: int = 24,
        fine: int = 48,
        middle: int = 64,
        coarse: int = 128,
        joined: int = 48,
        last: int = 96,
    ) -> None:
        super().__init__()
        self.n_keypoints = n_keypoints
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, 8, 4, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        self.level8 = _conv(stem, fine, 2)
        self.level16 = nn.Sequential(_conv(fine, middle, 2), _conv(middle, middle))
        self.level32 = nn.Sequential(
            _conv(middle, coarse, 2), _conv(coarse, coarse), _conv(coarse, coarse)
        )
        self.narrow32 = nn.Conv2d(coarse, middle, 1)
        self.join16 = _conv(middle, middle)
        self.narrow16 = nn.Conv2d(middle, fine, 1)
        self.join8 = nn.Sequential(_conv(fine, joined), _conv(joined, last, size=1))
        self.head = nn.Conv2d(last, 4 * n_keypoints, 1)
        # cells are mostly empty: start from there
        self.head.weight.data.zero_()
        bias = torch.zeros(4 * n_keypoints)
        bias[:n_keypoints] = -5.0
        self.head.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits (B, K, h, w), offsets (B, K, 2, h, w) and spreads (B, K, h, w).

        Offsets are in cells, x then y; a spread is the logarithm of the expected distance, in
        cells, between the offset's place and the keypoint.
        """
        fine = self.level8(self.stem(x.clamp(*LIMITS)))
        middle = self.level16(fine)
        coarse = self.narrow32(self.level32(middle))
        middle = self.narrow16(self.join16(middle + functional.interpolate(coarse, scale_factor=2)))
        out = self.head(self.join8(fine + functional.interpolate(middle, scale_factor=2)))
        k = self.n_keypoints
        offsets = out[:, k : 3 * k].reshape(out.shape[0], k, 2, out.shape[2], out.shape[3])
        return out[:, :k], offsets, out[:, 3 * k :]


def decode(outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Return keypoints (B, K, 4): x and y in input px, the peak, 0 to 1, and the spread, input px.

    The best cell and its eight neighbours each say where the keypoint is; their mean, weighted by
    how sure each is, is steadier than the best one alone. The peak is the best cell's, the spread
    the mean of the same cells'.
    """
    logits, offsets, spreads = outputs
    height, width = logits.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y]).flatten(1).float()
    sure = torch.sigmoid(logits.flatten(2))
    peak, best = sure.max(-1, keepdim=True)
    centre = torch.stack([best % width, best // width], 2).float()
    weight = sure * ((cells - centre).square().sum(2) < 2.5)
    total = weight.sum(-1, keepdim=True)
    votes = ((cells + offsets.flatten(3)) * weight[:, :, None]).sum(-1) / total
    spread = (spreads.flatten(2) * weight).sum(-1, keepdim=True) / total
    return torch.cat([(votes + 0.5) * STRIDE - 0.5, peak, torch.exp(spread) * STRIDE], -1)
