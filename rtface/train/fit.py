"""Fitting the network: targets, loss and the loop over random views."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn import functional

from rtface.train import augment, light
from rtface.train.bank import Bank
from rtface.train.network import STRIDE

#: the three maps that a network gives
Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
#: width of the heat map's peak, and how far from the keypoint offsets are learned, in cells
PEAK_SD, OFFSET_REACH = 0.8, 1.6
#: weight of the offsets' error against the heat map's
OFFSET_WEIGHT = 8.0
_BFLOAT16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


def loss(
    outputs: Outputs,
    points: torch.Tensor,
) -> torch.Tensor:
    """Return the mean loss per labelled keypoint; what is not labelled (NaN) costs nothing.

    Cross entropy against a peak that is 1 in the best cell; the distance of the offsets in the
    cells near by; and for the spreads the likelihood of those distances, which are given to them
    (a spread that cannot be small must not make the offsets worse). A keypoint outside the
    picture is labelled: nowhere.

    Parameters
    ----------
    outputs : tuple of Tensor
        Logits, offsets and spreads, as ``Network`` gives them.
    points : Tensor (B, K, 2)
        px of the input.
    """
    logits, offsets, spreads = outputs
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
    doubt = spreads + misses.detach() * torch.exp(-spreads)
    miss = ((OFFSET_WEIGHT * misses + doubt) * near).sum() / near.sum().clamp(min=1)
    return (heat + miss * present.sum()) / known.sum().clamp(min=1)


class Schedule(NamedTuple):
    """How long and how hard to fit.

    Attributes
    ----------
    steps : int
    batch : int
        Pictures per step.
    rate : float
        The learning rate at its highest; it warms up and falls as a cosine.
    strength : float
        Scales the views' bending, turning and hiding, 0 to 1.
    seed : int
        Of the views.
    """

    steps: int
    batch: int = 32
    rate: float = 3e-3
    strength: float = 1.0
    seed: int = 0


def batch(
    banks: Sequence[Bank],
    shares: Sequence[float],
    size: int,
    rng: torch.Generator,
    strength: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised pictures (size, 1, h, w) and keypoints (size, K, 2) of random views.

    ``shares`` says which part of the pictures comes from each bank, on average.
    """
    seen, points = [], []
    sources = torch.multinomial(torch.tensor(shares), size, replacement=True, generator=rng)
    for bank, n in zip(banks, torch.bincount(sources, minlength=len(banks)).tolist(), strict=True):
        if n == 0:
            continue
        index = torch.multinomial(bank.weights, n, replacement=True, generator=rng)
        picture, xy = augment.look(bank, index, augment.random_views(bank, index, rng, strength))
        seen.append(picture)
        points.append(xy)
    pictures, places = torch.cat(seen), torch.cat(points)
    light.hide_ground(pictures, places, rng, strength)
    return light.normalise(light.relight(pictures, rng, strength)), places


def fit(
    network: AnyNetwork,
    criterion: Callable[[Outputs, torch.Tensor], torch.Tensor],
    banks: Sequence[Bank],
    shares: Sequence[float],
    schedule: Schedule,
    report: Callable[[int, float], None] = lambda step, value: None,
    watch: Callable[[int, nn.Module], None] = lambda step, network: None,
) -> AnyNetwork:
    """Fit ``network``, which is changed, and return one with the average of its last weights.

    The same arguments on the same machine give the same weights.

    Parameters
    ----------
    network : torch.nn.Module
        Gives three maps.
    criterion : callable
        Gets the maps in float32 and keypoints (B, K, 2) in px of the input; returns the loss.
    banks, shares
        See ``batch``.
    schedule : Schedule
    report : callable
        Gets the step, from 1, and the running mean of the loss.
    watch : callable
        Gets the step and the network that would be returned if it were the last; changes nothing.
    """
    rng = torch.Generator().manual_seed(schedule.seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), schedule.rate, weight_decay=1e-2)
    running = math.nan
    warm = min(200, max(1, schedule.steps // 10))

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        return batch(banks, shares, schedule.batch, rng, schedule.strength)

    # the next batch is drawn while this one is learned: two cores without waiting for each other
    with ThreadPoolExecutor(1) as drawer:
        upcoming = drawer.submit(draw)
        for step in range(schedule.steps):
            seen, points = upcoming.result()
            if step + 1 < schedule.steps:
                upcoming = drawer.submit(draw)
            falling = 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * falling * min(1.0, (step + 1) / warm)
            value = advance(network, criterion, optimiser, seen, points)
            _follow(average, network, min(0.998, (step + 1) / (step + 11)))
            running = value if math.isnan(running) else 0.98 * running + 0.02 * value
            report(step + 1, running)
            watch(step + 1, average)
    _measure_norms(average, draw, min(60, schedule.steps))
    return average


@torch.no_grad()
def _measure_norms(
    network: nn.Module, draw: Callable[[], tuple[torch.Tensor, torch.Tensor]], batches: int
) -> None:
    """Give the averaged weights normalisations of their own.

    What was kept on the way is that of other weights, and of the last few pictures.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d) and module.weight.requires_grad
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for _ in range(batches if norms else 0):
        network(draw()[0])
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


def freeze_norms(network: nn.Module) -> None:
    """Make normalisations stay as they are while ``network`` is fitted; only their biases learn.

    For networks of ``export.read_network``, whose normalisations are folded into convolutions and
    do nothing: normalising again would take away the spread that was folded in, and what a few
    pictures of one rig measure is noise.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)


def advance(
    network: nn.Module,
    criterion: Callable[[Outputs, torch.Tensor], torch.Tensor],
    optimiser: torch.optim.Optimizer,
    seen: torch.Tensor,
    points: torch.Tensor,
) -> float:
    """Make one step and return the loss before it."""
    optimiser.zero_grad()
    # half precision where the CPU multiplies it faster; weights and loss stay in float32
    with torch.autocast("cpu", torch.bfloat16, enabled=_BFLOAT16):
        heat, second, third = network(seen.contiguous(memory_format=torch.channels_last))
    value = criterion((heat.float(), second.float(), third.float()), points)
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(value.detach())


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the averaged weights towards the newest."""
    for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - keep)
    for kept, newest in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(newest)
