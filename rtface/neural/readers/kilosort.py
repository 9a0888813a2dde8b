"""Spikes of Kilosort and phy, counted in bins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtface.neural.activity import Activity, Floats, Ints, make_activity
from rtface.neural.readers.arrays import table
from rtface.types import Float32Array, UserError

#: tables of labels, the user's own before the sorter's
_LABELS = ("cluster_group.tsv", "cluster_KSLabel.tsv")


def read(folder: Path, bin_s: float, regions: Sequence[str] | None) -> Activity:
    """Return spike counts (units x bins) of the clusters labelled ``good``; of all without labels.

    Times are s since the first sample of the sorted file.
    """
    samples = np.asarray(table(folder / "spike_times.npy"), np.int64).reshape(-1)
    clusters = np.asarray(table(folder / "spike_clusters.npy"), np.int64).reshape(-1)
    if len(samples) != len(clusters):
        raise UserError(f"{folder}: {len(samples)} spike times and {len(clusters)} clusters")
    wanted = _good(folder, np.unique(clusters))
    values, times_s = binned(samples / _rate_hz(folder), clusters, wanted, bin_s, str(folder))
    return make_activity(values, times_s, str(folder), [str(c) for c in wanted], regions)


def binned(
    spikes_s: Floats, clusters: Ints, wanted: Ints, bin_s: float, name: str
) -> tuple[Float32Array, Floats]:
    """Return counts (units, bins) float32, and the middle of each bin, s."""
    if not len(spikes_s) or not len(wanted):
        raise UserError(f"{name}: holds no spike of a good unit")
    bins = np.floor(spikes_s / bin_s + 1e-9)  # a spike on an edge belongs to what begins there
    first, last = bins.min(), bins.max()
    n_bins = int(last - first) + 1
    at = np.searchsorted(wanted, clusters)
    at[at == len(wanted)] = 0
    mine = wanted[at] == clusters
    place = at[mine] * n_bins + (bins[mine] - first).astype(np.int64)
    counts = np.bincount(place, minlength=len(wanted) * n_bins)
    times_s = (first + 0.5 + np.arange(n_bins)) * bin_s
    return counts.reshape(len(wanted), n_bins).astype(np.float32), times_s


def _rate_hz(folder: Path) -> float:
    """Return the sampling rate that ``params.py`` says; the file is read, never run."""
    path = folder / "params.py"
    try:
        found = re.search(r"^\s*sample_rate\s*=\s*([\d.eE+]+)", path.read_text(), re.MULTILINE)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not found or not float(found[1]) > 0:
        raise UserError(f"{path}: says no sample_rate")
    return float(found[1])


def _good(folder: Path, clusters: Ints) -> Ints:
    labels: dict[int, str] = {}
    for name in reversed(_LABELS):
        path = folder / name
        if path.exists():
            for line in path.read_text().splitlines()[1:]:
                number, _, label = line.partition("\t")
                labels[int(number)] = label.strip()
    if not labels:
        return clusters
    good = [c for c in clusters.tolist() if labels.get(c) == "good"]
    if not good:
        raise UserError(f"{folder}: no cluster is labelled 'good'")
    return np.array(good)
