"""Neural activity out of files that pynwb wrote: units, and traces of ROIs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pynwb
import pytest
from pynwb.ophys import DfOverF, Fluorescence, ImageSegmentation, OpticalChannel

from rtface.neural.readers import read_activity
from rtface.types import UserError

T = 60
TRACES = np.random.default_rng(0).normal(size=(T, 5)).astype(np.float32)


def new() -> pynwb.NWBFile:
    return pynwb.NWBFile("x", "y", datetime.now(UTC))


def save(path: Path, file: pynwb.NWBFile) -> Path:
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def plane_of(file: pynwb.NWBFile, name: str, location: str) -> Any:
    """An imaging plane of five ROIs with the numbers 10 to 14."""
    segmentation = file.processing["ophys"].data_interfaces["ImageSegmentation"]
    plane = file.create_imaging_plane(
        name=f"imaging {name}",
        optical_channel=OpticalChannel(name="c", description="d", emission_lambda=510.0),
        description="d",
        device=file.devices["microscope"],
        excitation_lambda=920.0,
        indicator="GCaMP",
        location=location,
    )
    table = segmentation.create_plane_segmentation(
        name=f"rois {name}", description="d", imaging_plane=plane
    )
    for i in range(5):
        table.add_roi(pixel_mask=[(i, i, 1.0)], id=10 + i)
    return table


def microscope() -> pynwb.NWBFile:
    file = new()
    file.create_device(name="microscope")
    file.create_processing_module("ophys", "d").add(ImageSegmentation())
    return file


def add(kind: Any, table: Any, which: list[int], name: str = "traces", **times: Any) -> None:
    rois = table.create_roi_table_region(region=which, description="d")
    data = times.pop("data", TRACES[:, which])
    kind.create_roi_response_series(name=name, data=data, rois=rois, unit="a.u.", **times)


def test_units_are_counted_and_are_where_they_say(tmp_path: Path) -> None:
    file = new()
    file.add_unit_column("location", "where")
    for i, spikes in enumerate(([0.01, 0.02, 0.15], [0.11])):
        file.add_unit(spike_times=spikes, location=f"area{i}")
    found = read_activity(save(tmp_path / "a.nwb", file), bin_s=0.1)
    np.testing.assert_array_equal(found.values, [[2, 1], [0, 1]])
    assert found.regions == ("area0", "area1")


def test_units_are_where_most_of_their_electrodes_are(tmp_path: Path) -> None:
    file = new()
    group = file.create_electrode_group("g", "d", "brain", file.create_device(name="probe"))
    for location in ("VISp", "VISp", "CA1", "CA1"):
        file.add_electrode(location=location, group=group)
    file.add_unit(spike_times=[0.05, 0.25], electrodes=[0, 1, 2], id=7)
    file.add_unit(spike_times=[0.15], electrodes=[2, 3], id=9)
    found = read_activity(save(tmp_path / "a.nwb", file), bin_s=0.1)
    assert found.units == ("7", "9")
    assert found.regions == ("VISp", "CA1")
    np.testing.assert_array_equal(found.values, [[1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("rate", [None, 20.0])
def test_traces_of_some_rois_with_a_rate_or_timestamps(tmp_path: Path, rate: float | None) -> None:
    file = microscope()
    table = plane_of(file, "0", "VISp")
    fluorescence = Fluorescence()
    file.processing["ophys"].add(fluorescence)
    stamps = 3.0 + np.sort(np.random.default_rng(1).uniform(0, 0.01, T)) + np.arange(T) * 0.05
    times = {"rate": rate, "starting_time": 3.0} if rate else {"timestamps": stamps}
    add(fluorescence, table, [4, 1, 2], **times)
    found = read_activity(save(tmp_path / "a.nwb", file))
    np.testing.assert_array_equal(found.values, TRACES[:, [4, 1, 2]].T)
    np.testing.assert_allclose(found.times_s, 3.0 + np.arange(T) / 20.0 if rate else stamps)
    assert found.units == ("14", "11", "12")  # the ROIs' own numbers, in the series' order
    assert found.regions == ("VISp",) * 3
    assert found.width_s == pytest.approx(0.05, abs=0.001)
    regions = tmp_path / "regions.txt"
    regions.write_text("a\nb\nc\n")
    assert read_activity(tmp_path / "a.nwb", regions=regions).regions == ("a", "b", "c")


def test_planes_of_a_volume_have_their_own_times_and_places(tmp_path: Path) -> None:
    file = microscope()
    deconvolved, neuropil = Fluorescence(name="Deconvolved"), Fluorescence(name="ANeuropil")
    other = DfOverF()
    for kind in (neuropil, other, deconvolved):
        file.processing["ophys"].add(kind)
    tables = [plane_of(file, f"{p}", f"layer {p}") for p in range(2)]
    tables[1].add_column("iscell", "two columns", data=[[i != 2, 0.5] for i in range(5)])
    for kind in (neuropil, other):
        add(kind, tables[0], [0, 1, 2], rate=10.0, starting_time=5.0)
    # the upper plane is written first and has one frame more
    more = np.concatenate([TRACES, TRACES[:1]])[:, [2, 3]]
    add(deconvolved, tables[1], [2, 3], "plane1", data=more, rate=10.0, starting_time=5.05)
    add(deconvolved, tables[0], [0, 1], "plane0", rate=10.0, starting_time=5.0)
    found = read_activity(save(tmp_path / "a.nwb", file))
    assert found.units == ("plane0.10", "plane0.11", "plane1.13")
    assert found.regions == ("layer 0", "layer 0", "layer 1")
    np.testing.assert_array_equal(found.values, TRACES[:, [0, 1, 3]].T)
    np.testing.assert_allclose(found.times_s, 5.0 + np.arange(T) / 10)
    np.testing.assert_allclose(found.offsets_s, [0, 0, 0.05], atol=1e-9)
    assert found.width_s == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"rate": 20.0, "starting_time": 5.0}, "not sampled together"),
        ({"rate": 10.0, "starting_time": 50.0}, "not sampled together"),
        ({"rate": 10.0, "data": TRACES[:, :2].T}, "60 traces and 2 ROIs; are they stored time x"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_traces_that_make_no_sense_are_one_line(
    tmp_path: Path, second: dict[str, Any], words: str
) -> None:
    file = microscope()
    table = plane_of(file, "0", "VISp")
    fluorescence = Fluorescence()
    file.processing["ophys"].add(fluorescence)
    add(fluorescence, table, [0, 1], "plane0", rate=10.0, starting_time=5.0)
    add(fluorescence, table, [2, 3], "plane1", **second)
    with pytest.raises(UserError, match=words) as error:
        read_activity(save(tmp_path / "a.nwb", file))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_fewer_times_than_samples_are_one_line(tmp_path: Path) -> None:
    file = microscope()
    fluorescence = Fluorescence()
    file.processing["ophys"].add(fluorescence)
    add(fluorescence, plane_of(file, "0", "VISp"), [0, 1], timestamps=np.arange(T) * 0.1)
    path = save(tmp_path / "a.nwb", file)
    with h5py.File(path, "a") as stored:  # pynwb writes no such file
        series = stored["processing/ophys/Fluorescence/traces"]
        attributes = dict(series["timestamps"].attrs)
        del series["timestamps"]
        series["timestamps"] = np.arange(T - 1) * 0.1
        series["timestamps"].attrs.update(attributes)
    with pytest.raises(UserError, match="traces has 60 samples and 59 times"):
        read_activity(path)


def test_a_file_without_activity_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nwb", new())
    with pytest.raises(UserError, match="neither spike times of units nor traces of ROIs"):
        read_activity(path)
    path.write_bytes(b"no NWB")
    with pytest.raises(UserError, match=r"a\.nwb: cannot be read"):
        read_activity(path)
