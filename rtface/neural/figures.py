"""Pictures of what was fitted; the one file here that draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtface.neural.activity import Floats
from rtface.neural.explain import Row
from rtface.types import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: rows and samples of a raster, at most
MOST_ROWS, MOST_SAMPLES = 400, 1500


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise UserError('pictures need matplotlib; pip install "rtface[plot]"') from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def draw_regions(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw what only each group explains of each region, and everything, beside their controls."""
    pyplot = _pyplot()
    regions = list(dict.fromkeys(row.region for row in rows))
    groups = list(dict.fromkeys(row.group for row in rows if row.what == "unique"))
    figure, axes = pyplot.subplots(
        1, len(regions), figsize=(1.2 + 2.6 * len(regions), 3.4), sharey=True, squeeze=False
    )
    for one, region in zip(axes[0], regions, strict=True):
        mine = {(row.group, row.what): row for row in rows if row.region == region}
        bars = [("all", "explained", "0.25")]
        bars += [(group, "unique", f"C{g}") for g, group in enumerate(groups)]
        for i, (group, what, colour) in enumerate(bars):
            row = mine[group, what]
            value, low, high = row.interval
            one.bar(i, value, color=colour, width=0.7)
            one.plot([i, i], [low, high], color="black", linewidth=1)
            value, low, high = row.shuffled
            one.plot([i + 0.25, i + 0.25], [low, high], color="0.55", linewidth=1)
            one.plot(
                i + 0.25, value, "D", color="0.4", markersize=5, markeredgecolor="white", zorder=5
            )
        names = ["everything", *groups]
        one.set_xticks(range(len(bars)), names, rotation=60, ha="right", fontsize=8)
        one.axhline(0, color="black", linewidth=0.6)
        one.set_title(f"{region}\n{mine['all', 'explained'].n_units} units", fontsize=9)
        one.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("variance explained\n(groups: unique; ◆: shuffled)", fontsize=9)
    _finish(figure, path, title)


def draw_raster(path: Path, measured: Floats, predicted: Floats, times_s: Floats) -> None:
    """Draw activity (T, n) sorted by what is predicted, with the prediction below it."""
    pyplot = _pyplot()
    n = min(len(measured), MOST_SAMPLES)
    wanted = np.linspace(0, measured.shape[1] - 1, min(measured.shape[1], MOST_ROWS)).astype(int)
    measured, predicted = measured[:n, wanted], predicted[:n, wanted]
    strongest = np.linalg.svd(predicted - predicted.mean(0), full_matrices=False)[2]
    order = np.argsort(np.arctan2(strongest[1], strongest[0]) if len(strongest) > 1 else 0)
    figure, axes = pyplot.subplots(2, 1, figsize=(9, 5), sharex=True)
    span = (times_s[0], times_s[n - 1], measured.shape[1], 0)
    both = (("measured", measured, 2.0), ("predicted", predicted, 1.0))
    for one, (name, values, most) in zip(axes, both, strict=True):
        image = one.imshow(
            values[:, order].T,
            aspect="auto",
            cmap="gray_r",
            vmin=0,
            vmax=most,
            extent=span,
            interpolation="nearest",
        )
        one.set_ylabel("units, sorted", fontsize=9)
        one.set_title(f"{name}, deviations", fontsize=9, loc="left")
        figure.colorbar(image, ax=one, pad=0.01)
    axes[1].set_xlabel("s", fontsize=9)
    _finish(figure, path, "what was not learned from, as predicted")


def draw_kernels(path: Path, lags_s: Floats, kernels: dict[str, dict[str, Floats]]) -> None:
    """Draw the kernels (M,) of each region and group over the past, one panel per region."""
    pyplot = _pyplot()
    n = len(kernels)
    figure, axes = pyplot.subplots(1, n, figsize=(1.2 + 2.6 * n, 2.8), squeeze=False, sharey=True)
    for one, (region, by_group) in zip(axes[0], kernels.items(), strict=True):
        _kernels(one, lags_s, by_group)
        one.set_title(region, fontsize=9)
    axes[0, 0].set_ylabel("size of the kernels, 1/s", fontsize=9)
    axes[0, -1].legend(fontsize=7, frameon=False)
    _finish(figure, path, "kernels over the past")


def _kernels(axes: Axes, lags_s: Floats, by_group: Any) -> None:
    for g, (group, values) in enumerate(by_group.items()):
        axes.plot(lags_s, values, color=f"C{g}", label=group, linewidth=1.2)
    axes.set_xlabel("s before", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _finish(figure: Any, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        _pyplot().close(figure)
