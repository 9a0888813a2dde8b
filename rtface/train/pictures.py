"""Pictures of how a network was made and where it is wrong. Needs matplotlib (extra ``train``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtface.train import measures
from rtface.train.data import Still, read_gray
from rtface.train.predictions import Predicted
from rtface.types import Float32Array, UInt8Image, UserError

#: held-out pictures that are drawn
WORST = 6


def check() -> None:
    """Raise UserError if there is nothing to draw with."""
    try:
        import matplotlib as _matplotlib  # noqa: F401 - only to say in one line that it is missing
    except ImportError:
        raise UserError("the pictures need matplotlib; pip install 'rtface[train]'") from None


def draw_curves(path: Path, loss: Sequence[float], checks: Sequence[tuple[int, float]]) -> None:
    """Draw the loss and the held-out error (px) over steps."""
    from matplotlib.figure import Figure

    figure = Figure((7, 3.5), layout="constrained")
    left = figure.subplots()
    left.plot(range(1, len(loss) + 1), loss, color="tab:blue")
    left.set_xlabel("step")
    left.set_ylabel("loss on training pictures", color="tab:blue")
    if checks:
        right = left.twinx()
        right.plot(*zip(*checks, strict=True), "o-", color="tab:orange")
        right.set_ylim(bottom=0)
        right.set_ylabel("mean error on held-out pictures, px", color="tab:orange")
    figure.savefig(path, dpi=110)


def worst(found: Float32Array, truth: Float32Array, n: int = WORST) -> list[int]:
    """Return the pictures with the largest mean error, the worst first."""
    distances = measures.distances(found, truth)
    known = np.isfinite(distances)
    mean = np.where(known, distances, 0).sum(1) / np.maximum(known.sum(1), 1)
    mean[~known.any(1)] = -1  # nothing to be wrong about
    order = np.argsort(-mean, kind="stable")[:n]
    return [int(i) for i in order if mean[i] >= 0]


def draw_worst(
    folder: Path, stills: Sequence[Still], said: Predicted, names: Sequence[str]
) -> list[Path]:
    """Draw the worst held-out pictures, ``worst1.png`` the worst of all; return the files."""
    drawn = []
    for rank, i in enumerate(worst(said.found, said.truth), 1):
        path = folder / f"worst{rank}.png"
        draw_frame(path, read_gray(stills[i].path), said.truth[i], said.found[i], names)
        drawn.append(path)
    return drawn


def draw_frame(
    path: Path, image: UInt8Image, truth: Float32Array, found: Float32Array, names: Sequence[str]
) -> None:
    """Draw one picture about its keypoints: labels as circles, predictions as crosses."""
    from matplotlib.figure import Figure

    height, width = image.shape
    figure = Figure((8, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    known = np.isfinite(truth).all(-1)
    for (x, y), (u, v, score), name in zip(
        truth[known], found[known], np.array(names)[known], strict=True
    ):
        axes.plot([x, u], [y, v], "-", color="tab:orange", linewidth=1)
        axes.plot(x, y, "o", color="tab:cyan", fillstyle="none", markersize=7)
        axes.plot(u, v, "x", color="tab:orange", markersize=6)
        axes.annotate(f"{name} {score:.2f}", (u, v), fontsize=6, color="white")
    both = np.concatenate([truth[known], found[known][:, :2]])
    low, high = both.min(0), both.max(0)
    margin = 20 + 0.15 * float((high - low).max())
    axes.set_xlim(max(-0.5, low[0] - margin), min(width - 0.5, high[0] + margin))
    axes.set_ylim(min(height - 0.5, high[1] + margin), max(-0.5, low[1] - margin))
    error = np.linalg.norm(truth[known] - found[known][:, :2], axis=1)
    axes.set_title(f"label o, network x and its score; mean error {error.mean():.1f} px", size=9)
    axes.set_axis_off()
    figure.savefig(path, dpi=110)
