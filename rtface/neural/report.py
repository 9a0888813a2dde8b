"""A page, tables and pictures of what explains what, in one folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtface.neural import figures
from rtface.neural.activity import Activity, Floats, Ints
from rtface.neural.behaviour import Behaviour
from rtface.neural.crossvalidate import Scores, held_out
from rtface.neural.explain import Explained, Row, region_rows, unit_table
from rtface.neural.filters import kernel
from rtface.neural.fit import Prepared, Settings
from rtface.neural.scores import Interval, Peers, unit_intervals
from rtface.types import UserError

#: units that are looked at one by one
LOOKED_AT = 400
#: kernels are drawn up to here, s
KERNEL_S = 2.0


def write_report(
    folder: Path,
    title: str,
    found: Explained,
    prepared: Prepared,
    behaviour: Behaviour,
    activity: Activity,
    settings: Settings,
    possible: Peers,
) -> list[Row]:
    """Write ``report.md``, ``regions.csv``, ``units.csv`` and three pictures; return the rows.

    ``possible``: of each unit of ``found``, what its peers explain.
    """
    rows = region_rows(found, activity.regions)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        heads = ["region", "units", "group", "what", *("value", "low", "high")]
        heads += ["shuffled", "shuffled low", "shuffled high"]
        _table(folder / "regions.csv", heads, [_cells(row) for row in rows])
        heads, lines = unit_table(found, activity.units, activity.regions)
        pairs = np.stack(possible, 1).tolist()
        every = [[*line, *pair] for line, pair in zip(lines, pairs, strict=True)]
        _table(folder / "units.csv", [*heads, "peers", "peers shuffled"], every)
        figures.draw_regions(folder / "regions.png", rows, title)
        _look(folder, prepared, behaviour, activity, settings)
        page = _page(title, rows, possible, found, activity, settings)
        (folder / "report.md").write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    return rows


def _look(
    folder: Path,
    prepared: Prepared,
    behaviour: Behaviour,
    activity: Activity,
    settings: Settings,
) -> None:
    """Draw raster and kernels of some units, of one fold."""
    data = prepared.data
    step = -(-len(data.target.units) // LOOKED_AT)
    few = data.target._replace(units=data.target.units[::step])
    seen = held_out(data.x, few, data.split)
    first = data.split.chunk[seen.rows] == data.split.chunk[seen.rows[0]]  # one stretch of time
    figures.draw_raster(
        folder / "raster.png",
        seen.measured[first].astype(np.float64),
        seen.predicted[first].astype(np.float64),
        data.times_s[seen.rows[first]],
    )
    lags_s = np.linspace(0, KERNEL_S, 201)
    n_taus = len(settings.taus_s)
    weights = seen.weights.reshape(n_taus, -1, len(few.units))
    groups, regions = np.array(behaviour.groups), np.array(activity.regions)[few.units]
    kernels: dict[str, dict[str, Floats]] = {}
    for region in np.unique(regions):
        part = kernel(weights[:, :, regions == region], settings.taus_s, lags_s)
        kernels[str(region)] = {
            group: np.sqrt((part[:, groups == group] ** 2).mean((1, 2)))
            for group in dict.fromkeys(behaviour.groups)
        }
    figures.draw_kernels(folder / "kernels.png", lags_s, kernels)


def summary(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Return for each region: name and units, everything, the control, groups by what is unique."""
    lines = []
    for region in dict.fromkeys(row.region for row in rows):
        mine = [row for row in rows if row.region == region]
        by_group = {row.group: row.interval for row in mine if row.what == "unique"}
        order = sorted(by_group, key=lambda group: -float(by_group[group].value))
        control = {row.group: row.shuffled for row in mine if row.what == "unique"}
        unique = ", ".join(
            f"{group} {_three(by_group[group].value)} ({_three(control[group].value)})"
            for group in order
        )
        everything = next(row for row in mine if row.group == "all")
        both = said(everything.interval), said(everything.shuffled)
        lines.append((f"{region} ({mine[0].n_units})", *both, unique))
    return lines


def said(interval: Interval) -> str:
    """Return a value with its interval."""
    return f"{_three(interval.value)} [{_three(interval.low)}, {_three(interval.high)}]"


def _three(value: Floats | float) -> str:
    """Return a number with three digits, and no sign at 0."""
    return f"{round(float(value), 3) + 0.0:.3f}"


def said_of_peers(possible: Peers) -> str:
    """Return what peers explain, beside the control."""
    known = np.isfinite(possible.explained)
    if not known.any():
        return "there are no peers"
    explained, shuffled = (float(one[known].mean()) for one in possible)
    return f"peers explain {_three(explained)}, shuffled {_three(shuffled)}"


def _page(
    title: str,
    rows: Sequence[Row],
    possible: Peers,
    found: Explained,
    activity: Activity,
    settings: Settings,
) -> str:
    lines = "\n".join(f"| {' | '.join(one)} |" for one in summary(rows))
    sure = float(np.mean(found.scores.explained[0] > 0.01))
    return f"""# {title}

{len(found.units)} units, {len(activity.times_s)} samples of {activity.width_s:.3g} s, ridge on
{", ".join(found.groups)}, {settings.n_folds} folds in time with gaps of {settings.gap_s:g} s.
Mean variance explained {found.scores.explained[0].mean():.3f}, of shuffled activity
{_three(found.shuffled.explained[0].mean())}; {said_of_peers(possible)}.
Of {100 * sure:.0f} % of units more than 0.01 is explained.

| region (units) | explained [95 %] | shuffled [95 %] | unique, largest first (shuffled) |
|---|---|---|---|
{lines}

![what only each group explains](regions.png)

![activity and prediction](raster.png)

![kernels](kernels.png)

Unique: what a model loses without the group. Shuffled: the same of activity half the recording off,
which has to be 0. Intervals are of stretches of time drawn again. All
of it of time that was not learned from. `regions.csv` and `units.csv` have every number, also what
groups explain alone and share with others.
"""


def unit_columns(
    scores: Scores, shuffled: Scores, places: Ints | slice = slice(None), peers: Peers | None = None
) -> dict[str, Floats]:
    """Return columns of units for ``write_units``: scores, intervals, controls."""
    columns = dict(
        zip(("explained", "low", "high"), unit_intervals(scores, {0: 1.0}, places), strict=True)
    )
    columns["shuffled"] = shuffled.explained[0][places]
    if peers is not None:
        columns |= {"peers": peers.explained, "peers shuffled": peers.shuffled}
    return columns


def write_units(
    path: Path, activity: Activity, parts: Sequence[tuple[Ints, Mapping[str, Floats]]]
) -> None:
    """Write a table of units: of each part which they are (n,), and columns (n,) of them.

    Raises
    ------
    UserError
        The disk refuses.
    """
    lines = [
        [activity.units[unit], activity.regions[unit], *(float(one[i]) for one in columns.values())]
        for units, columns in parts
        for i, unit in enumerate(units.tolist())
    ]
    try:
        _table(path, ["unit", "region", *parts[0][1]], lines)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _cells(row: Row) -> list[Any]:
    values = [f"{float(one):.5f}" for one in (*row.interval, *row.shuffled)]
    return [row.region, row.n_units, row.group, row.what, *values]


def _table(path: Path, heads: list[str], lines: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        writer.writerows(
            [f"{one:.5f}" if isinstance(one, float) else one for one in line] for line in lines
        )
