"""Neural activity out of every kind of file, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neural_cases import write_all
from sync_cases import write_csv

from rtface.cli.neural_data import load
from rtface.neural.activity import make_activity, moments
from rtface.neural.behaviour import check_overlap
from rtface.neural.data import load_data_file
from rtface.neural.fit import Settings, prepare
from rtface.neural.readers import read_activity
from rtface.neural.readers.frames import Clock
from rtface.neural.sampling import meet
from rtface.neural.simulate import simulate
from rtface.sync.edges import Edges
from rtface.sync.readers.scanimage import frame_times
from rtface.types import UserError

TIMES = np.arange(200) * 0.1 + 5


def save(path: Path, values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(values))
    return path


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_npy_is_mapped_and_checked(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 200)).astype(np.float32)
    found = read_activity(save(tmp_path / "a.npy", values), save(tmp_path / "t.npy", TIMES))
    assert isinstance(found.values, np.memmap)
    np.testing.assert_array_equal(found.values, values)
    assert found.width_s == pytest.approx(0.1)
    assert set(found.regions) == {"all"}


def test_a_transposed_table_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.zeros((200, 7), np.float32))
    with pytest.raises(UserError) as error:
        read_activity(path, save(tmp_path / "t.npy", TIMES))
    assert "is time x neurons; save its transpose" in one_line(error)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (TIMES[:-1], "200 samples, and there are 199 times"),
        (np.r_[TIMES[:-1], 0], "do not rise"),
        (np.r_[TIMES[:-1], np.nan], "do not rise"),
    ],
)
def test_bad_times_are_refused(tmp_path: Path, times: np.ndarray, words: str) -> None:
    path = save(tmp_path / "a.npy", np.zeros((7, 200), np.float32))
    with pytest.raises(UserError, match=words):
        read_activity(path, save(tmp_path / "t.npy", times))


def test_a_pickle_in_an_npy_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy: is no \.npy file of numbers"):
        read_activity(tmp_path / "a.npy", save(tmp_path / "t.npy", TIMES))


def suite2p(folder: Path, n: int, t: int, cells: list[int]) -> np.ndarray:
    values = np.arange(n * t, dtype=np.float32).reshape(n, t)
    save(folder / "spks.npy", values)
    save(folder / "F.npy", values + 1)
    save(folder / "iscell.npy", [[i in cells, 0.5] for i in range(n)])
    return values


def test_suite2p_gives_cells_of_one_plane(tmp_path: Path) -> None:
    values = suite2p(tmp_path / "p", 5, 200, [1, 3])
    times = save(tmp_path / "t.npy", TIMES)
    found = read_activity(tmp_path / "p", times)
    np.testing.assert_array_equal(found.values[:], values[[1, 3]])
    np.testing.assert_array_equal(found.values[:, 5:9][[1]], values[[3], 5:9])
    assert found.units == ("1", "3")
    np.testing.assert_array_equal(
        read_activity(tmp_path / "p", times, signal="F").values[:], values[[1, 3]] + 1
    )


def test_planes_of_suite2p_have_their_own_times_by_the_frame_clock(tmp_path: Path) -> None:
    for plane in range(3):
        suite2p(tmp_path / f"plane{plane}", 4, 50, [0, 2])
    edges_s = 10 + np.arange(150) * 0.03
    found = read_activity(tmp_path, clock=Clock(edges_s))
    assert found.values.shape == (6, 50)
    np.testing.assert_allclose(found.times_s, 10 + np.arange(50) * 0.09 + 0.015)
    np.testing.assert_allclose(found.offsets_s, np.repeat([0, 0.03, 0.06], 2))
    assert found.width_s == pytest.approx(0.03)
    np.testing.assert_array_equal(found.values[[5, 0, 2]][:, :2], [[100, 101], [0, 1], [0, 1]])
    assert [round(offset, 6) for offset, _ in found.planes()] == [0, 0.03, 0.06]
    more = Clock(np.r_[edges_s, 14.6], edges_s)
    assert len(read_activity(tmp_path, clock=more).times_s) == 50
    for wrong in (edges_s[:-1], np.arange(300) * 0.03):
        with pytest.raises(UserError, match="50 frames of 3 planes, and the frame clock"):
            read_activity(tmp_path, clock=Clock(wrong))
    with pytest.raises(UserError, match="planes, and there are 154 frames of the TIFFs, not 150"):
        read_activity(tmp_path, clock=Clock(edges_s, np.arange(154.0)))


def test_a_plane_without_cells_takes_its_time(tmp_path: Path) -> None:
    suite2p(tmp_path / "plane0", 4, 50, [0])
    suite2p(tmp_path / "plane1", 4, 50, [2])
    (tmp_path / "plane2").mkdir()  # the flyback
    found = read_activity(tmp_path, clock=Clock(10 + np.arange(150) * 0.03))
    np.testing.assert_allclose(found.offsets_s, [0, 0.03])
    assert found.units == ("plane0.0", "plane1.2")
    np.testing.assert_allclose(np.diff(found.times_s), 0.09)


@pytest.mark.parametrize("channels", [1, 2])
def test_tiffs_say_when_their_frames_were(tmp_path: Path, channels: int) -> None:
    import tifffile

    suite2p(tmp_path / "s", 3, 40, [0, 1])
    for part in range(2):  # an acquisition in two files
        with tifffile.TiffWriter(tmp_path / f"scan_{part}.tif") as file:
            for i in range(20 * channels):
                t = 7 + (20 * part + i // channels) * 0.1
                text = f"frameNumbers = {i}\nframeTimestamps_sec = {t:.6f}\n"
                file.write(np.zeros((4, 4), np.int16), description=text, metadata=None)
    tiff_s = frame_times(tmp_path)
    np.testing.assert_allclose(tiff_s, 7 + np.arange(40) * 0.1)
    found = read_activity(tmp_path / "s", clock=Clock(None, tiff_s))
    np.testing.assert_allclose(found.times_s, 7.05 + np.arange(40) * 0.1)
    # the same table as .npy
    path = save(tmp_path / "a.npy", np.zeros((3, 40), np.float32))
    np.testing.assert_array_equal(
        read_activity(path, clock=Clock(None, tiff_s)).times_s, found.times_s
    )
    with pytest.raises(UserError, match="is time x neurons; save its transpose"):
        read_activity(save(tmp_path / "t.npy", np.zeros((40, 3))), clock=Clock(None, tiff_s))
    with pytest.raises(UserError, match="has 40 frames of 1 planes, and the frame clock 37 edges"):
        read_activity(tmp_path / "s", clock=Clock(np.arange(37.0), tiff_s))


def test_tiffs_without_times_are_counted(tmp_path: Path) -> None:
    import tifffile

    suite2p(tmp_path / "s", 3, 40, [0, 1])
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 8, 8), np.int16))
    tiff_s = frame_times(tmp_path / "a.tif")
    assert len(tiff_s) == 40
    edges_s = np.arange(40) * 0.1
    times_s = read_activity(tmp_path / "s", clock=Clock(edges_s, tiff_s)).times_s
    np.testing.assert_allclose(times_s, edges_s + 0.05)
    with pytest.raises(UserError, match="its TIFFs say no times"):
        read_activity(tmp_path / "s", clock=Clock(None, tiff_s))
    with pytest.raises(UserError, match="has no TIFF in it"):
        frame_times(tmp_path / "s")


def test_a_frame_clock_and_tiffs_in_the_file_that_names_them(tmp_path: Path) -> None:
    made = simulate(seconds=20, per_region=1)
    path = write_all(tmp_path, made, 50.0)
    t = len(made.activity.times_s)
    edges_s = made.activity.times_s - 0.05
    write_csv(tmp_path / "daq.csv", {3: Edges(edges_s, edges_s + 0.01, 999.0, 1100.0, "", "")})
    lines = 'frame_clock = "daq.csv"\nline = "3"\n'
    path.write_text(path.read_text().replace('times = "times.npy"\n', lines))
    np.testing.assert_allclose(load(path).activity.times_s, made.activity.times_s, atol=1e-6)
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((t - 2, 8, 8), np.int16))
    path.write_text(path.read_text() + 'tiff = "a.tif"\n')
    with pytest.raises(UserError, match=f"and there are {t - 2} frames of the TIFFs") as error:
        load(path)
    one_line(error)


def test_times_beside_a_recording_that_has_its_own_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "spike_times.npy", [0, 100])
    with pytest.raises(UserError, match="has its own times; leave out times"):
        read_activity(tmp_path, save(tmp_path / "t.npy", TIMES))


def test_spikes_are_counted_in_bins(tmp_path: Path) -> None:
    save(tmp_path / "spike_times.npy", [0, 100, 2900, 3100, 3200, 9000])
    save(tmp_path / "spike_clusters.npy", [4, 4, 9, 4, 9, 7])
    (tmp_path / "params.py").write_text("dat_path = 'x'\nsample_rate = 30000.\nimport os\n")
    (tmp_path / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n4\tgood\n7\tmua\n9\tgood\n")
    found = read_activity(tmp_path, bin_s=0.1)
    assert found.units == ("4", "9")
    np.testing.assert_array_equal(found.values, [[2, 1, 0, 0], [1, 1, 0, 0]])
    np.testing.assert_allclose(found.times_s, [0.05, 0.15, 0.25, 0.35])
    (tmp_path / "cluster_group.tsv").write_text("cluster_id\tgroup\n9\tnoise\n")  # the user's word
    assert read_activity(tmp_path, bin_s=0.1).units == ("4",)
    (tmp_path / "params.py").write_text("")
    with pytest.raises(UserError, match=r"params\.py: says no sample_rate"):
        read_activity(tmp_path)


def test_units_with_nan_or_constant_are_left_out() -> None:
    values = np.random.default_rng(0).normal(size=(4, 200)).astype(np.float32)
    values[1, 5], values[2] = np.nan, 3
    activity = make_activity(values, TIMES, "x")
    assert moments(activity, np.arange(200)).usable.tolist() == [True, False, False, True]
    with pytest.raises(UserError, match="x: every unit is constant or has NaN"):
        moments(make_activity(values[1:3], TIMES, "x"), np.arange(200))


def test_frames_meet_samples_by_time_not_by_number() -> None:
    frames_s = np.arange(1000) * 0.01 + 100.0
    frames_s = np.delete(frames_s, np.r_[100:150, 303])  # a gap of 0.5 s, and one lost frame
    samples_s = 100.05 + np.arange(95) * 0.1
    found = meet(frames_s, samples_s, 0.1, 0.01)
    lost = samples_s[np.setdiff1d(np.arange(95), found.samples)]
    assert lost.min() > 100.99
    assert lost.max() < 101.5
    for sample, first, last in zip(*found, strict=True):
        inside = np.abs(frames_s[first : last + 1] - samples_s[sample]) <= 0.0501
        assert inside.all()
    late = meet(frames_s, samples_s, 0.1, 0.01, patience_s=0.2)
    assert frames_s[late.first[10]] - samples_s[late.samples[10]] == pytest.approx(0.15, abs=0.011)
    slow = meet(frames_s, 100.05 + np.arange(900) * 0.01 - 0.005, 0.01, 0.01)  # one frame each
    assert (slow.last - slow.first).max() <= 1


def test_clocks_without_common_time_are_refused() -> None:
    made = simulate(seconds=20, per_region=1)
    activity = made.activity
    other = make_activity(activity.values, activity.times_s + 5000, "other.npy")
    with pytest.raises(UserError) as error:
        check_overlap(made.behaviour, other)
    assert "other.npy: its samples are from 6000.1" in one_line(error)
    assert "no time in common" in str(error.value)


def test_fewer_samples_than_parameters_are_refused() -> None:
    made = simulate(seconds=110, per_region=1, sample_s=1.0)
    with pytest.raises(UserError, match=r"too few for 20 stretches|parameters per unit") as error:
        prepare(made.behaviour, made.activity, Settings())[0].data.scores()
    one_line(error)
    longer = simulate(seconds=110, per_region=1, sample_s=1.0)
    settings = Settings(tuple(0.01 * i for i in range(20)), gap_s=1.0)
    with pytest.raises(UserError, match="parameters per unit; take fewer inputs"):
        prepare(longer.behaviour, longer.activity, settings)[0].data.scores()


def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    made = simulate(seconds=20, per_region=1, missing=0.1, lost=0.05)
    path = write_all(tmp_path, made, 50.0, 'inputs = ["keypoints", "pupil"]')
    loaded = load(path)
    assert loaded.behaviour.names[:2] == ["eye(top).x", "eye(top).y"]
    assert loaded.behaviour.groups[-1] == "pupil"
    np.testing.assert_array_equal(loaded.behaviour.t_ns, made.behaviour.t_ns)
    place = made.behaviour.names.index("pupil.edge_area")
    mine = loaded.behaviour.names.index("pupil.edge_area")
    np.testing.assert_array_equal(loaded.behaviour.values[:, mine], made.behaviour.values[:, place])
    known = np.isfinite(loaded.behaviour.values[:, 0])
    np.testing.assert_array_equal(
        loaded.behaviour.values[known, 0], made.behaviour.values[known, 0]
    )
    assert known.mean() < 0.95


def test_a_session_without_sync_says_what_to_do(tmp_path: Path) -> None:
    made = simulate(seconds=20, per_region=1)
    path = write_all(tmp_path, made, 50.0)
    path.write_text(path.read_text().replace('frame_times = "frames.npy"\n', ""))
    with pytest.raises(UserError) as error:
        load(path)
    assert one_line(error).endswith(
        "cam1.sync.rec: is not there; 'rtface sync' makes it; or give frame_times"
    )


def test_times_of_frames_have_to_rise(tmp_path: Path) -> None:
    made = simulate(seconds=20, per_region=1)
    path = write_all(tmp_path, made, 50.0)
    times_s = made.behaviour.times_s.copy()
    times_s[50] = times_s[40]
    np.save(tmp_path / "frames.npy", times_s)
    with pytest.raises(UserError, match="in the neural clock do not rise"):
        load(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("inputs = []", "inputs: "),
        ('inputs = ["motion"]', "inputs: the session holds no motion"),
        ('keypoints = ["tail"]', "keypoints: the session has no 'tail'"),
        ('camera = "cam2"', "camera: the session has no 'cam2'"),
        ("part_s = [5, 2]", "part_s is"),
        ("part_s = [5, 7]", "part_s: .* is from 1000"),
        ('frame_clock = "x.csv"', "frame_clock and line belong together"),
        ("colour = 1", "colour: unknown key"),
    ],
)
def test_bad_keys_are_one_line(tmp_path: Path, line: str, words: str) -> None:
    path = write_all(tmp_path, simulate(seconds=20, per_region=1), 50.0, line)
    with pytest.raises(UserError, match=words) as error:
        load(path)
    one_line(error)


def test_a_data_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neural\.toml: cannot be read"):
        load_data_file(tmp_path / "neural.toml")
