"""How labelled pictures are lit, and what stands behind and in front of a face.

Runs in torch on batches of the network's input, after ``augment.look``.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from rtface.train.network import LIMITS

#: bands that may be put beside the keypoints of a picture
GROUNDS = 2


def hide_ground(
    seen: torch.Tensor, points: torch.Tensor, rng: torch.Generator, strength: float = 1.0
) -> None:
    """Put bands beside the keypoints, never on one, in place: of plain light, or out of focus.

    What stands behind or before a nose is another thing in every rig, and as bright as the nose
    in some.

    Parameters
    ----------
    seen : Tensor (B, 1, h, w) float32 of 0 to 255
    points : Tensor (B, K, 2)
        px of the input; NaN where not labelled.
    rng : torch.Generator
    strength : float
        Scales how often.
    """
    n, _, height, width = seen.shape
    # another picture as a lens sees it that is focused on this one: no second face
    soft = functional.avg_pool2d(seen.roll(1, 0), 16)
    others = functional.interpolate(soft, (height, width), mode="bicubic", align_corners=False)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    draws = torch.rand(n, GROUNDS, 7, generator=rng)
    for i in range(n):
        known = points[i][torch.isfinite(points[i]).all(-1)]
        if not len(known) or known[0, 0] < -1000:  # out of sight
            continue
        for draw in draws[i]:
            happens, turn, gap, thick, kind, light, slope = draw.tolist()
            if happens > 0.35 * strength:
                continue
            across = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
            edge = float((known @ torch.tensor(across)).max()) + 2.0 + 60 * gap**2
            beyond = x * across[0] + y * across[1] - edge
            band = (beyond > 0) & (beyond < (5 + 60 * thick if kind < 0.5 else 1000))
            if slope < 0.5:
                seen[i, 0][band] = (255 * light + (slope - 0.25) * 8 * beyond[band]).clamp(0, 255)
            else:
                seen[i, 0][band] = ((0.5 + 2 * light) * others[i, 0][band]).clamp(0, 255)


def relight(seen: torch.Tensor, rng: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Return pictures with other light, gamma, focus, noise and things in front of them.

    Takes and returns (B, 1, h, w) float32 of 0 to 255. ``strength`` scales what hides and blurs.
    """
    n, _, height, width = seen.shape

    def uniform(low: float, high: float) -> torch.Tensor:
        return (torch.rand(n, generator=rng) * (high - low) + low)[:, None, None, None]

    seen = seen / 255
    seen = seen + uniform(-0.8, 0.8) * (seen * seen - seen)  # a tone curve, cheaper than a gamma
    # light and fur: a slope over the picture, and patches
    x = torch.linspace(-1, 1, 9)
    y = torch.linspace(-1, 1, 7)[:, None]
    gain = torch.exp(
        torch.randn(n, 1, 7, 9, generator=rng) * uniform(0, 0.25 * strength)
        + uniform(-0.4, 0.5)
        + uniform(-0.6, 0.6) * x
        + uniform(-0.6, 0.6) * y
    )
    seen = seen * functional.interpolate(gain, (height, width), mode="bilinear", align_corners=True)
    some = seen[:, :, ::8, ::8].flatten(1)
    contrast = some.std(1)[:, None, None, None]
    others = seen.roll(1, 0)
    for i in range(n):
        _put_things(seen[i, 0], others[i, 0], rng, strength)
    soft = functional.avg_pool2d(seen, 3, 1, 1, count_include_pad=False)
    seen = torch.lerp(seen, soft, uniform(-0.5, 1.2) * strength)  # below 0 sharpens
    # one pattern of noise per batch: the next batch brings another
    noise = torch.rand((1, 1, height, width), generator=rng) - 0.5
    return ((seen + noise * contrast * uniform(0, 0.7 * strength)) * 255).clamp(0, 255)


def _put_things(
    picture: torch.Tensor, other: torch.Tensor, rng: torch.Generator, strength: float
) -> None:
    """Put bars, wheels and paws (boxes, plain or of another picture), a rod and glints in front."""
    height, width = picture.shape
    happens = torch.rand(4, generator=rng) < torch.tensor([0.15, 0.15, 0.15, 0.3]) * strength
    for _ in range(int(happens[:2].sum())):
        draw = torch.rand(5, generator=rng)
        left, top = (int(v) for v in (draw[:2] * 1.2 - 0.2) * torch.tensor([width, height]))
        right, bottom = left + 4 + int(draw[2] * width / 3), top + 4 + int(draw[3] * height / 3)
        box = slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))
        picture[box] = 2 * draw[4] if draw[4] < 0.5 else (4 * draw[4] - 1.5) * other[box]
    if happens[2]:
        draw = torch.rand(5, generator=rng)
        angle, thick = float(draw[2]) * math.pi, 1 + 5 * float(draw[3])
        x = torch.arange(width) - draw[0] * width
        y = (torch.arange(height) - draw[1] * height)[:, None]
        across = (x * math.sin(angle) - y * math.cos(angle)).abs() < thick
        along = (x * math.cos(angle) + y * math.sin(angle)) > 0  # it comes from one side
        picture[across & along] = draw[4]
    if happens[3]:
        for _ in range(3):
            draw = torch.rand(4, generator=rng)
            left, top = int(draw[0] * (width - 12)), int(draw[1] * (height - 12))
            size = 1 + int(draw[2] * 5)
            picture[top : top + size, left : left + size] = 0.6 + 0.5 * draw[3]


def normalise(seen: torch.Tensor) -> torch.Tensor:
    """Return pictures with their 1st percentile at 0 and their 99th at 1, cut off at ``LIMITS``.

    The batched twin of ``rtface.percentiles.percentile_affine``, on every fourth pixel each way.
    """
    some = seen[:, :, ::4, ::4].flatten(1)
    ranks = torch.tensor([0.01, 0.99])
    low, high = torch.quantile(some, ranks, dim=1)[:, :, None, None, None]
    normal: torch.Tensor = (seen - low) / (high - low).clamp(min=1)
    return normal.clamp(*LIMITS)
