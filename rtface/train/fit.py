"""Fitting the network: targets, loss and the loop over random views."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn import functional

from rtface.train import augment
from rtface.train.data import KEYPOINTS, Bank
from rtface.train.network import STRIDE, Network

BATCH = 32
LEARNING_RATE = 3e-3
#: for a network that is trained further: smaller steps, and views that are closer to the pictures
FURTHER_RATE, FURTHER_STRENGTH = 1e-3, 0.4
#: width of the heat map's peak, and how far from the keypoint offsets are learned, in cells
PEAK_SD, OFFSET_REACH = 0.8, 1.6
#: weight of the offsets' error against the heat map's; higher once the right cells are found
OFFSET_WEIGHT, FURTHER_OFFSET_WEIGHT = 5.0, 15.0
_BFLOAT16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


def loss(
    logits: torch.Tensor,
    offsets: torch.Tensor,
    points: torch.Tensor,
    offset_weight: float = OFFSET_WEIGHT,
) -> torch.Tensor:
    """Return the mean loss per labelled keypoint; what is not labelled (NaN) costs nothing.

    Cross entropy against a peak that is 1 in the best cell, and the distance of the offsets in
    the cells near by. A keypoint outside the picture is labelled: nowhere.

    Parameters
    ----------
    logits : Tensor (B, K, h, w)
    offsets : Tensor (B, K, 2, h, w)
        In cells, x then y.
    points : Tensor (B, K, 2)
        px of the input.
    """
    height, width = logits.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y]).float()
    known = torch.isfinite(points).all(-1)
    at = (torch.nan_to_num(points) + 0.5) / STRIDE - 0.5
    wanted = at[..., None, None] - cells
    squared = wanted.square().sum(2)
    size = torch.tensor([width, height])
    present = ((at > -0.5) & (at < size - 0.5)).all(-1) & known
    nearest = squared.flatten(2).amin(-1)[..., None, None]
    peak = torch.exp((nearest - squared) / (2 * PEAK_SD**2)) * present[..., None, None]
    heat = functional.binary_cross_entropy_with_logits(logits, peak, reduction="none")
    heat = (heat.sum((2, 3)) * known).sum()
    near = (squared < OFFSET_REACH**2) & present[..., None, None]
    misses = (offsets - wanted).square().sum(2).add(1e-4).sqrt()
    miss = (misses * near).sum() / near.sum().clamp(min=1) * present.sum()
    return (heat + offset_weight * miss) / known.sum().clamp(min=1)


def batch(
    banks: Sequence[Bank], shares: Sequence[float], rng: torch.Generator, strength: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised pictures (BATCH, 1, h, w) and keypoints (BATCH, K, 2) of random views.

    ``shares`` says which part of the batch comes from each bank.
    """
    seen, points = [], []
    left = BATCH
    for i, (bank, share) in enumerate(zip(banks, shares, strict=True)):
        n = left if i == len(banks) - 1 else min(left, round(BATCH * share))
        left -= n
        if n == 0:
            continue
        index = torch.randint(len(bank.images), (n,), generator=rng)
        picture, xy = augment.look(bank, index, augment.random_views(bank, index, rng, strength))
        seen.append(picture)
        points.append(xy)
    return augment.normalise(augment.relight(torch.cat(seen), rng, strength)), torch.cat(points)


def fit(
    banks: Sequence[Bank],
    shares: Sequence[float],
    minutes: float,
    seed: int,
    report: Callable[[float, int, float], None] = lambda done, step, value: None,
    start: Network | None = None,
) -> tuple[Network, int]:
    """Fit a network for ``minutes``; return its averaged weights and the number of steps.

    The learning rate warms up and falls as a cosine over the given time, so a slower machine
    makes fewer steps, not a longer run. ``report`` gets the part done (0 to 1), the step and the
    running mean of the loss. ``start`` is a network to train further, its normalisation frozen.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    rate, strength, offset_weight = (
        (FURTHER_RATE, FURTHER_STRENGTH, FURTHER_OFFSET_WEIGHT)
        if start
        else (LEARNING_RATE, 1.0, OFFSET_WEIGHT)
    )
    network = (start or Network(len(KEYPOINTS))).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-2)
    began, step, running = time.monotonic(), 0, math.nan
    # the next batch is drawn while this one is learned: two cores without waiting for each other
    with ThreadPoolExecutor(1) as drawer:
        upcoming = drawer.submit(batch, banks, shares, rng, strength)
        while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
            seen, points = upcoming.result()
            upcoming = drawer.submit(batch, banks, shares, rng, strength)
            warm, cool = min(1.0, (step + 1) / 200), 0.5 * (1 + math.cos(math.pi * done))
            for group in optimiser.param_groups:
                group["lr"] = rate * warm * cool
            network.train(start is None)
            value = advance(network, optimiser, seen, points, offset_weight)
            step += 1
            _follow(average, network, min(0.998, step / (step + 10)))
            running = value if math.isnan(running) else 0.98 * running + 0.02 * value
            report(done, step, running)
    return average, step


def advance(
    network: Network,
    optimiser: torch.optim.Optimizer,
    seen: torch.Tensor,
    points: torch.Tensor,
    offset_weight: float = OFFSET_WEIGHT,
) -> float:
    """Make one step and return the loss before it."""
    optimiser.zero_grad()
    # half precision where the CPU multiplies it faster; weights and loss stay in float32
    with torch.autocast("cpu", torch.bfloat16, enabled=_BFLOAT16):
        logits, offsets = network(seen.contiguous(memory_format=torch.channels_last))
    value = loss(logits.float(), offsets.float(), points, offset_weight)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(value.detach())


@torch.no_grad()
def _follow(average: Network, network: Network, keep: float) -> None:
    """Move the averaged weights towards the newest."""
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - keep)
    for kept, newest in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(newest)
