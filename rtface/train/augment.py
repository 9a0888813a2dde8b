"""Random views of labelled pictures: where the face is seen.

Runs in torch on whole batches: one warp per picture takes it from the bank to the network's
input. How it is lit there is another module's, ``light``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional

from rtface.face import CROP
from rtface.train.bank import Bank
from rtface.train.data import INPUT_SHAPE
from rtface.types import Float32Array, UInt8Image

#: parts of the views: as the crop will be once the face is found; from further away, as while it
#: is looked for; beside the face
NEAR, FAR = 0.68, 0.27
#: smallest muzzle that is looked for, as a part of ``CROP.muzzle_px``
LEAST_ZOOM = 0.28


class Views(NamedTuple):
    """How pictures are seen: input px = ``linear`` @ picture px + ``shift``, then a soft push.

    Attributes
    ----------
    linear : Tensor (B, 2, 2) float32
    shift : Tensor (B, 2) float32
    push : Tensor (B, 2, h, w) float32
        Displacement of the input's pixels on a coarse grid, px; bilinear between its nodes, whose
        corners are the input's corner pixels.
    replicate : Tensor (B,) bool
        Whether the ground beyond the picture repeats its border instead of being black.
    empty : Tensor (B,) bool
        Whether the face is out of sight: none of its keypoints is there, labelled or not.
    """

    linear: torch.Tensor
    shift: torch.Tensor
    push: torch.Tensor
    replicate: torch.Tensor
    empty: torch.Tensor


def plain_views(bank: Bank, index: torch.Tensor) -> Views:
    """Return the views of a crop that was found perfectly."""
    n = len(index)
    linear = torch.eye(2).repeat(n, 1, 1) * (CROP.muzzle_px / bank.faces[index, 2])[:, None, None]
    shift = _middle() - (linear @ bank.faces[index, :2, None])[..., 0]
    nothing = torch.zeros(n, dtype=torch.bool)
    return Views(linear, shift, torch.zeros(n, 2, 2, 2), nothing, nothing)


def random_views(
    bank: Bank, index: torch.Tensor, rng: torch.Generator, strength: float = 1.0
) -> Views:
    """Return plain views that were flipped, turned, sheared, scaled, moved and softly pushed.

    ``strength`` scales what bends and turns.
    """
    n = len(index)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    kind = uniform(0, 1)
    far, empty = (kind >= NEAR) & (kind < NEAR + FAR), kind >= NEAR + FAR
    zoom = torch.where(
        far, torch.exp(uniform(math.log(LEAST_ZOOM), -0.2)), torch.exp(uniform(-0.25, 0.25))
    )
    angle = uniform(-0.65, 0.65) * strength * bank.turn
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    stretch = torch.stack(
        [
            torch.stack(
                [torch.exp(uniform(-0.1, 0.1) * strength), uniform(-0.12, 0.12) * strength], -1
            ),
            torch.stack([torch.zeros(n), torch.exp(uniform(-0.1, 0.1) * strength)], -1),
        ],
        1,
    )
    flip = torch.where((uniform(0, 1) < 0.5) & (bank.mirror is not None), -1.0, 1.0)
    scale = zoom * CROP.muzzle_px / bank.faces[index, 2]
    linear = scale[:, None, None] * turn @ stretch * torch.stack([flip, torch.ones(n)], -1)[:, None]
    # the smaller the face, the further from the middle it may be
    reach = torch.where(far, 0.5 - 0.4 * zoom, torch.tensor(0.11))
    reach = torch.where(empty, torch.tensor(0.0), reach)[:, None]
    away = torch.rand(n, 2, generator=rng) * 2 - 1
    away = away * reach + torch.where(
        empty[:, None], functional.normalize(away) * uniform(1.3, 2.0)[:, None], 0.0
    )
    size = torch.tensor(INPUT_SHAPE[::-1], dtype=torch.float32)
    shift = _middle() + away * size - (linear @ bank.faces[index, :2, None])[..., 0]
    push = (
        torch.randn(n, 2, 5, 6, generator=rng)
        * (uniform(0, 2.5 * strength) * zoom.clamp(max=1))[:, None, None, None]
    )
    return Views(linear, shift, push, uniform(0, 1) < 0.5, empty)


def _middle() -> torch.Tensor:
    height, width = INPUT_SHAPE
    return torch.tensor([(width - 1) / 2, (height - 1) / 2])


def look(bank: Bank, index: torch.Tensor, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (B, 1, h, w) float32 of 0 to 255 and keypoints (B, K, 2) in input px."""
    height, width = INPUT_SHAPE
    # affine maps and linear interpolation commute: only the coarse grid's nodes are mapped
    rows, columns = views.push.shape[2:]
    y, x = torch.meshgrid(
        torch.linspace(0, height - 1, rows), torch.linspace(0, width - 1, columns), indexing="ij"
    )
    nodes = torch.stack([x, y]) - views.push - views.shift[:, :, None, None]
    source = (torch.linalg.inv(views.linear) @ nodes.flatten(2)).reshape(nodes.shape)
    # as Resampler does: twice too large is halved first
    halved = torch.linalg.det(views.linear).abs().sqrt() <= 0.5
    source = torch.where(halved[:, None, None, None], (source - 0.5) / 2, source)
    spread = _between(rows, height) @ source @ _between(columns, width).T
    where: Float32Array = spread.numpy()
    seen = np.empty((len(index), 1, height, width), np.float32)
    for i, one in enumerate(index.tolist()):
        image: UInt8Image = (bank.small if halved[i] else bank.images)[one].numpy()
        beyond = cv2.BORDER_REPLICATE if views.replicate[i] else cv2.BORDER_CONSTANT
        # OpenCV is ten times as fast as torch at this
        right, down = where[i]
        seen[i, 0] = cv2.remap(image, right, down, cv2.INTER_LINEAR, borderMode=beyond)
    points = _project(bank.points[index], views)
    if bank.mirror:
        flipped = torch.linalg.det(views.linear) < 0
        points[flipped] = points[flipped][:, list(bank.mirror)]
    points[views.empty] = -1e4
    return torch.from_numpy(seen), points


def _between(nodes: int, n: int) -> torch.Tensor:
    """Return (n, nodes): the weights of evenly spaced nodes at n places, the ends on the ends."""
    at = torch.linspace(0, nodes - 1, n)[:, None]
    return (1 - (at - torch.arange(nodes)).abs()).clamp(min=0)


def _project(points: torch.Tensor, views: Views) -> torch.Tensor:
    """Return where ``points`` are in the input: solves ``p - push(p) = linear @ point + shift``."""
    height, width = INPUT_SHAPE
    size = torch.tensor([width - 1, height - 1], dtype=torch.float32)
    start = points @ views.linear.transpose(1, 2) + views.shift[:, None]
    p = start
    for _ in range(8):
        where = torch.nan_to_num(p / size * 2 - 1)[:, :, None]
        push = functional.grid_sample(
            views.push, where, mode="bilinear", padding_mode="border", align_corners=True
        )
        p = start + push[..., 0].transpose(1, 2)
    return p
