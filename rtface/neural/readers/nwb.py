"""Neural activity of NWB files: spike times, or traces of ROIs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtface.neural.activity import Activity, make_activity
from rtface.neural.readers.kilosort import binned
from rtface.types import UserError


def read(path: Path, bin_s: float, regions: Sequence[str] | None) -> Activity:
    """Return spike counts of ``units`` if there are any, else the first traces of ROIs."""
    try:
        import pynwb
    except ImportError:
        raise UserError('NWB needs pynwb; pip install "rtface[nwb]"') from None
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        if file.units is not None and "spike_times" in file.units.colnames:
            return _spikes(file.units, bin_s, regions, str(path))
        for module in file.processing.values():
            for found in module.data_interfaces.values():
                for series in getattr(found, "roi_response_series", {}).values():
                    return _traces(series, regions, str(path))
    raise UserError(f"{path}: holds neither spike times of units nor traces of ROIs")


def _spikes(units: Any, bin_s: float, regions: Sequence[str] | None, name: str) -> Activity:
    trains = [np.asarray(units["spike_times"][i]) for i in range(len(units))]
    numbers = np.repeat(np.arange(len(trains)), [len(one) for one in trains])
    times = np.concatenate(trains) if trains else np.zeros(0)
    values, times_s = binned(times, numbers, np.arange(len(trains)), bin_s, name)
    if regions is None and "location" in units.colnames:
        regions = [str(one) for one in units["location"][:]]
    return make_activity(values, times_s, name, [str(i) for i in units.id[:]], regions)


def _traces(series: Any, regions: Sequence[str] | None, name: str) -> Activity:
    values = np.ascontiguousarray(np.asarray(series.data[:], np.float32).T)  # stored time x ROIs
    if series.timestamps is not None:
        times_s = np.asarray(series.timestamps[:])
    else:
        times_s = series.starting_time + np.arange(values.shape[1]) / series.rate
    return make_activity(values, times_s, name, regions=regions)
