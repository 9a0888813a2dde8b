"""Which movements explain which units: variance that only a group explains, and what is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats, Ints
from rtface.neural.crossvalidate import Progress, Scores
from rtface.neural.scores import Data, Interval, mean_interval, of_regions, unit_intervals
from rtface.neural.splits import Bools


class Explained(NamedTuple):
    """Scores of a model with everything, of each group alone, and of all but each group.

    Attributes
    ----------
    groups : tuple of str
    scores : Scores
        Subset 0 has everything, 1 + g group g alone, 1 + G + g all but group g.
    shuffled : Scores
        The same, of activity half a recording off.
    units : ndarray (n,) int64
        Of the recording.
    """

    groups: tuple[str, ...]
    scores: Scores
    shuffled: Scores
    units: Ints

    def weights(self, group: int) -> dict[str, dict[int, float]]:
        """Return how subsets make what a group explains: ``alone``, ``unique``, ``shared``."""
        alone, without = 1 + group, 1 + len(self.groups) + group
        return {
            "unique": {0: 1.0, without: -1.0},
            "alone": {alone: 1.0},
            "shared": {alone: 1.0, 0: -1.0, without: 1.0},
        }


def explain(
    data: Data, groups: Mapping[str, Bools], on_progress: Progress = lambda _done, _total: None
) -> Explained:
    """Return what each group of inputs explains, cross-validated.

    Unique is what a model loses without the group; shared is what the group explains alone and
    others explain as well. Unique below 0 is noise.
    """
    everything = np.ones(data.x.shape[1], bool)
    subsets = {"all": everything}
    subsets |= {f"only {name}": mask for name, mask in groups.items()}
    subsets |= {f"without {name}": ~mask for name, mask in groups.items() if (~mask).any()}
    if len(groups) < 2:
        subsets["without"] = everything  # of a single group nothing is unique to be taken away
    scores = data.scores(subsets, on_progress=on_progress)
    shuffled = data.scores(subsets, shuffled=True, on_progress=on_progress)
    for one in (scores, shuffled) if len(groups) < 2 else ():
        one.error[-1] = one.total
    return Explained(tuple(groups), scores, shuffled, data.target.units)


class Row(NamedTuple):
    """A line of the table: a region, a group (or ``all``), what, the value, and its control.

    ``shuffled`` is the same of activity half a recording off.
    """

    region: str
    n_units: int
    group: str
    what: str
    interval: Interval
    shuffled: Interval


def region_rows(found: Explained, regions: Sequence[str]) -> list[Row]:
    """Return the mean over the units of each region, with intervals."""
    rows = []
    wanted = [("all", "explained", {0: 1.0})]
    for g, group in enumerate(found.groups):
        wanted += [(group, what, weights) for what, weights in found.weights(g).items()]
    for region, places in of_regions(regions, found.units).items():
        for group, what, weights in wanted:
            both = [
                mean_interval(scores, weights, places) for scores in (found.scores, found.shuffled)
            ]
            rows.append(Row(region, len(places), group, what, *both))
    return rows


def unit_table(
    found: Explained, units: Sequence[str], regions: Sequence[str]
) -> tuple[list[str], list[list[str | float]]]:
    """Return the heads and the lines of a table of all units."""
    heads = ["unit", "region", "explained", "low", "high", "shuffled"]
    everything = unit_intervals(found.scores, {0: 1.0})
    columns: list[Floats] = [*everything, found.shuffled.explained[0]]
    for g, group in enumerate(found.groups):
        weights = found.weights(g)
        columns += unit_intervals(found.scores, weights["unique"])
        for scores, what in ((found.shuffled, "unique"), (found.scores, "shared")):
            columns.append(
                np.asarray(sum(w * scores.explained[s] for s, w in weights[what].items()))
            )
        heads += [f"{group} {what}" for what in ("unique", "low", "high", "shuffled", "shared")]
    lines: list[list[str | float]] = [
        [units[unit], regions[unit], *(float(column[i]) for column in columns)]
        for i, unit in enumerate(found.units.tolist())
    ]
    return heads, lines
