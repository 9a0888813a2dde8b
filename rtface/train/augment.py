"""Random views of labelled pictures: where they are looked at from, and how they are lit.

Every function takes and returns batches of tensors on the CPU and draws from a given generator.
Keypoints carry anatomical names, so a flip mirrors their place and swaps nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from rtface.train.data import INPUT_SHAPE, KEYPOINTS, Bank

_EYE_FRONT, _NOSE = KEYPOINTS.index("eye(front)"), KEYPOINTS.index("nose(tip)")


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
    """

    linear: torch.Tensor
    shift: torch.Tensor
    push: torch.Tensor
    replicate: torch.Tensor


def plain_views(bank: Bank, index: torch.Tensor) -> Views:
    """Return the views that ``Resampler`` makes: aspect kept, centred, black around."""
    n = len(index)
    linear = (torch.eye(2) / bank.step).expand(n, 2, 2)
    shift = (torch.tensor(bank.pad) + (0.5 / bank.step - 0.5)).expand(n, 2)
    return Views(linear, shift, torch.zeros(n, 2, 2, 2), torch.zeros(n, dtype=torch.bool))


def random_views(
    bank: Bank, index: torch.Tensor, rng: torch.Generator, strength: float = 1.0
) -> Views:
    """Return plain views that were flipped, turned, sheared, scaled, moved and softly pushed.

    Most of them keep the face about as large as it is; for the others its size in the input is
    drawn, so that the sources overlap in size. ``strength`` scales what bends and turns.
    """
    n = len(index)
    plain = plain_views(bank, index)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    points = bank.points[index]
    muzzle = (points[:, _EYE_FRONT] - points[:, _NOSE]).norm(dim=1) / bank.step
    drawn = torch.exp(uniform(3.5, 4.85)) / torch.nan_to_num(muzzle, nan=90.0)  # 33 to 128 px
    zoom = torch.where(uniform(0, 1) < 0.6, torch.exp(uniform(-0.2, 0.2)), drawn.clamp(0.35, 1.8))
    angle = uniform(-0.4, 0.4) * strength
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    stretch = torch.stack(
        [
            torch.stack(
                [torch.exp(uniform(-0.12, 0.12) * strength), uniform(-0.12, 0.12) * strength], -1
            ),
            torch.stack([torch.zeros(n), torch.exp(uniform(-0.12, 0.12) * strength)], -1),
        ],
        1,
    )
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    linear = zoom[:, None, None] * turn @ stretch @ plain.linear
    linear = linear * torch.stack([flip, torch.ones(n)], -1)[:, :, None]
    # turn about the middle of the labelled points, which then lands near the input's middle
    known = torch.isfinite(points[..., :1])
    middle = torch.nan_to_num(points).sum(1) / known.sum(1).clamp(min=1)
    before = (plain.linear @ middle[..., None])[..., 0] + plain.shift
    size = torch.tensor(INPUT_SHAPE[::-1], dtype=torch.float32)
    before[:, 0] = torch.where(flip < 0, size[0] - 1 - before[:, 0], before[:, 0])
    target = (before - size / 2) * uniform(0, 1)[:, None] + size / 2
    target = target + (torch.rand(n, 2, generator=rng) - 0.5) * 0.35 * size
    shift = target - (linear @ middle[..., None])[..., 0]
    push = (
        torch.randn(n, 2, 5, 6, generator=rng)
        * (uniform(0, 3.0 * strength) * zoom.clamp(max=1))[:, None, None, None]
    )
    return Views(linear, shift, push, uniform(0, 1) < 0.5)


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
    # grid_sample with aligned corners: -1 and 1 are the centres of the picture's corner pixels
    last = torch.tensor(bank.images.shape[:0:-1], dtype=torch.float32) - 1
    where = functional.interpolate(
        source / last[:, None, None] * 2 - 1, INPUT_SHAPE, mode="bilinear", align_corners=True
    ).permute(0, 2, 3, 1)
    images = bank.images[index][:, None].float()
    seen = torch.empty(len(index), 1, height, width)
    for chosen, beyond in ((views.replicate, "border"), (~views.replicate, "zeros")):
        seen[chosen] = functional.grid_sample(
            images[chosen], where[chosen], "bilinear", beyond, align_corners=True
        )
    return seen, _project(bank.points[index], views)


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


def relight(seen: torch.Tensor, rng: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Return pictures with other light, gamma, focus, noise and things in front of them.

    Takes and returns (B, 1, h, w) float32 of 0 to 255. ``strength`` scales what hides and blurs.
    """
    n, _, height, width = seen.shape

    def uniform(low: float, high: float) -> torch.Tensor:
        return (torch.rand(n, generator=rng) * (high - low) + low)[:, None, None, None]

    seen = seen / 255
    seen = seen + uniform(-0.7, 0.7) * (seen * seen - seen)  # a tone curve, cheaper than a gamma
    x = torch.linspace(-1, 1, width)
    y = torch.linspace(-1, 1, height)[:, None]
    across, along = torch.exp(uniform(-0.6, 0.6) * x), torch.exp(uniform(-0.6, 0.6) * y)
    seen = seen * (torch.exp(uniform(-0.4, 0.4)) * across) * along
    # bars, wheels, paws: boxes of any grey
    for i in torch.nonzero(torch.rand(n, 2, generator=rng) < 0.2 * strength)[:, 0].tolist():
        draw = torch.rand(5, generator=rng)
        left, top = (int(v) for v in (draw[:2] * 1.2 - 0.2) * torch.tensor([width, height]))
        right, bottom = left + 4 + int(draw[2] * width / 3), top + 4 + int(draw[3] * height / 3)
        seen[i, :, max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = draw[4]
    soft = functional.avg_pool2d(seen, 3, 1, 1, count_include_pad=False)
    seen = torch.lerp(seen, soft, uniform(-0.5, 1.0) * strength)  # below 0 sharpens
    # one pattern of noise per batch: the next batch brings another
    noise = torch.rand((1, 1, height, width), generator=rng) - 0.5
    return ((seen + noise * uniform(0, 0.17 * strength)) * 255).clamp(0, 255)


def normalise(seen: torch.Tensor) -> torch.Tensor:
    """Return pictures with their 1st percentile at 0 and their 99th at 1.

    The batched twin of ``rtface.pose.percentile_affine``, on every fourth pixel each way.
    """
    some = seen[:, :, ::4, ::4].flatten(1)
    ranks = torch.tensor([0.01, 0.99])
    low, high = torch.quantile(some, ranks, dim=1)[:, :, None, None, None]
    normal: torch.Tensor = (seen - low) / (high - low).clamp(min=1)
    return normal
