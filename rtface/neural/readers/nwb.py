"""Neural activity of NWB files: spike times, or traces of ROIs of one plane or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.neural.activity import NOWHERE, Activity, Floats, Ints, make_activity
from rtface.neural.readers.kilosort import binned
from rtface.types import UserError

#: what is read if there are traces of several kinds: the first whose name has one of these in it
KINDS = ("deconv", "spike", "dfoverf", "df_over_f", "fluorescence")
#: of neuropil beside the cells, which is none of theirs
NOT = "neuropil"


def read(path: Path, bin_s: float, regions: Sequence[str] | None) -> Activity:
    """Return spike counts of ``units`` if there are any, else traces of ROIs.

    Raises
    ------
    UserError
        There is neither; traces of several planes that were not sampled together.
    """
    try:
        import pynwb
    except ImportError:
        raise UserError('NWB needs pynwb; pip install "rtface[nwb]"') from None
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        if file.units is not None and "spike_times" in file.units.colnames:
            return _spikes(file.units, bin_s, regions, str(path))
        kinds = {
            name: list(found.roi_response_series.values())
            for module in file.processing.values()
            for name, found in module.data_interfaces.items()
            if getattr(found, "roi_response_series", None) and NOT not in name.lower()
        }
        if not kinds:
            raise UserError(f"{path}: holds neither spike times of units nor traces of ROIs")
        return _traces(kinds[min(kinds, key=_rank)], regions, str(path))


def _rank(name: str) -> int:
    return next((i for i, kind in enumerate(KINDS) if kind in name.lower()), len(KINDS))


def _spikes(units: Any, bin_s: float, regions: Sequence[str] | None, name: str) -> Activity:
    trains = [np.asarray(units["spike_times"][i]) for i in range(len(units))]
    numbers = np.repeat(np.arange(len(trains)), [len(one) for one in trains])
    times = np.concatenate(trains) if trains else np.zeros(0)
    values, times_s = binned(times, numbers, np.arange(len(trains)), bin_s, name)
    if regions is None and "location" in units.colnames:
        regions = [str(one) for one in units["location"][:]]
    elif regions is None and "electrodes" in units.colnames:
        regions = [_where(units["electrodes"][i]) for i in range(len(units))]
    return make_activity(values, times_s, name, [str(i) for i in units.id[:]], regions)


def _where(electrodes: Any) -> str:
    """Return where most of a unit's electrodes (a table) are."""
    if "location" not in electrodes or not len(electrodes):
        return NOWHERE
    return Counter(str(one) for one in electrodes["location"]).most_common(1)[0][0]


class _Plane(NamedTuple):
    """Traces (n, T) of a series' cells, when they were sampled, and the ROIs' numbers and place."""

    values: Any
    times_s: Floats
    rois: Ints
    where: str


def _traces(found: Sequence[Any], regions: Sequence[str] | None, name: str) -> Activity:
    planes = sorted((_plane(one, name) for one in found), key=lambda plane: plane.times_s[0])
    t = min(len(plane.times_s) for plane in planes)
    first_s = planes[0].times_s[:t]
    period_s = float(np.median(np.diff(first_s))) if t > 1 else 0.0
    for one in planes:
        off_s = one.times_s[:t] - first_s
        if len(one.times_s) > t + 1 or np.ptp(off_s) > period_s / 2 or off_s[0] > period_s:
            raise UserError(
                f"{name}: its series of traces were not sampled together, as the planes of a "
                "volume are; give rtface those of one as .npy"
            )
    several = len(planes) > 1
    units = [
        f"plane{p}.{roi}" if several else f"{roi}"
        for p, one in enumerate(planes)
        for roi in one.rois
    ]
    late_s = [float(np.median(one.times_s[:t] - first_s)) for one in planes]
    if regions is None:
        regions = [one.where for one in planes for _ in one.rois]
    return make_activity(
        np.concatenate([one.values[:, :t] for one in planes]),
        first_s,
        name,
        units,
        regions,
        np.repeat(late_s, [len(one.rois) for one in planes]),
        period_s / len({round(late, 6) for late in late_s}) if several else None,
    )


def _plane(series: Any, name: str) -> _Plane:
    """Return the traces of a series: of its cells, if its table of ROIs says which those are."""
    values = np.asarray(series.data[:], np.float32)
    values = values.reshape(len(values), -1).T  # stored time x ROIs
    which = np.asarray(series.rois.data[:], np.int64)
    table = series.rois.table
    if len(values) != len(which):
        raise UserError(
            f"{name}: {series.name} has {len(values)} traces and {len(which)} ROIs; are they "
            "stored time x ROIs?"
        )
    cell = np.ones(len(which), bool)
    if "iscell" in table.colnames:
        told = np.asarray(table["iscell"][:], np.float64)
        cell = (told[:, 0] if told.ndim == 2 else told)[which] > 0.5
        if not cell.any():
            raise UserError(f"{name}: {series.name}: iscell says that no ROI is a cell")
    if series.timestamps is not None:
        times_s = np.asarray(series.timestamps[:], np.float64)
    else:
        times_s = series.starting_time + np.arange(values.shape[1]) / series.rate
    if len(times_s) != values.shape[1]:
        raise UserError(
            f"{name}: {series.name} has {values.shape[1]} samples and {len(times_s)} times"
        )
    rois = np.asarray(table.id[:])[which][cell]
    where = getattr(table.imaging_plane, "location", None)
    return _Plane(np.ascontiguousarray(values[cell]), times_s, rois, str(where or NOWHERE))
