"""What every exporter shares, and those that need no library: CSV and DeepLabCut's CSV."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from export_cases import replace_records
from made_sessions import BEGAN_NS, OVERWRITTEN, SKIPPED, make_session
from typer.testing import CliRunner

import rtface
from rtface.cli import app
from rtface.export.deeplabcut import export_deeplabcut
from rtface.export.nwb_about import load_about
from rtface.export.results import by_frame, put_in_place, times_of
from rtface.export.tables import export_csv, pupil_unit
from rtface.ring import NONE_WORD
from rtface.session import records
from rtface.types import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_session(tmp_path_factory.mktemp("made") / "session")


def table(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def test_csv_gives_back_the_bits(folder: Path, tmp_path: Path) -> None:
    with rtface.open_session(folder) as session:
        results = session.cameras["cam1"].results[:]
        assert export_csv(session, "cam1", tmp_path / "a.csv", components=True) == len(results)
        unix = session.unix_ns(results["exposure_ns"])
    found = table(tmp_path / "a.csv")
    for name in ("seq", "frame_seq", "t_camera_ns", "exposure_ns", "lost_camera", "flags"):
        assert list(map(int, found[name])) == results[name].tolist()
    assert list(map(int, found["exposure_unix_ns"])) == unix.tolist()
    columns = {
        "nose(tip)_y": results["keypoints"][:, 1, 1],
        "motion_energy_roi1": results["motion_energy"][:, 1],
        "motion_4": results["motion"][:, 4],
        "running_dx": results["running"][:, 1],
        "pupil_edge_area_px2": results["pupil"][:, 9],
    }
    for name, wanted in columns.items():
        assert np.array_equal(np.array(found[name], np.float32), wanted, equal_nan=True), name
    assert list(map(int, found["crop_width"])) == results["crop"][:, 2].tolist()


def test_deeplabcut_has_a_row_for_each_frame(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "dlc.csv"
    with rtface.open_session(folder) as session:
        assert export_deeplabcut(session, "cam1", out) == 200
        results = session.cameras["cam1"].results[:]
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "scorer," + ",".join(["rtface_tiny"] * 9)
    assert lines[1].startswith("bodyparts,eye(back),eye(back),eye(back),nose(tip)")
    assert lines[2] == "coords," + ",".join(["x", "y", "likelihood"] * 3)
    rows = [line.split(",") for line in lines[3:]]
    assert [int(row[0]) for row in rows] == list(range(200))
    for seq in (*SKIPPED, *OVERWRITTEN):
        assert rows[seq][1:4] == ["", "", "0"]
    tracked = [rows[seq][1:] for seq in results["frame_seq"]]
    assert np.array_equal(np.array(tracked, np.float32), results["keypoints"].reshape(-1, 9))


def test_frames_and_results_go_together_however_they_are_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1000, 3000, 20_000, 1 << 22):
        monkeypatch.setattr(records, "CHUNK_BYTES", size)
        with rtface.open_session(folder) as session:
            camera = session.cameras["cam1"]
            pieces = list(by_frame(camera.frames, camera.results))
            seqs = np.concatenate([frames["frame_seq"] for frames, _ in pieces])
            assert seqs.tolist() == list(range(200))
            found = np.concatenate([results for _, results in pieces])
            assert found.tobytes() == camera.results[:].tobytes()
            for frames, results in pieces:
                assert np.isin(results["frame_seq"], frames["frame_seq"]).all()


def test_times_of_all_frames(folder: Path) -> None:
    with rtface.open_session(folder) as session:
        camera = session.cameras["cam1"]
        times = times_of(camera.frames, camera.results)
        results = camera.results[:]
        host = camera.frames[:]["t_host_ns"]
    assert np.array_equal(times.exposure_ns[results["frame_seq"]], results["exposure_ns"])
    assert (times.exposure_ns[list(OVERWRITTEN)] == NONE_WORD).all()
    for seq in SKIPPED:
        true = BEGAN_NS + seq * 5_000_000 - 2_000_000
        assert abs(times.exposure_ns[seq] - true) < 200
        assert times.exposure_ns[seq] < host[seq]
    filled = results[:3].copy()
    filled["seq"], filled["exposure_ns"], filled["frame_seq"] = -1, 0, [10, 11, 57]
    assert times.of(filled).tolist() == times.exposure_ns[[10, 11, 57]].tolist()


def test_times_of_frames_that_were_passed_over_in_a_stall(tmp_path: Path) -> None:
    """Delivered 60 ms late, together: the camera's clock knows better, or nothing does."""
    folder = make_session(tmp_path / "session", 200, skipped=tuple(range(100, 110)))
    with rtface.open_session(folder) as session:
        frames = session.cameras["cam1"].frames[:].copy()
    path = folder / "cam1.frames.rec"
    late = slice(100, 112)
    frames["t_host_ns"][late] = frames["t_host_ns"][111] + np.arange(12) * 1000
    true = BEGAN_NS + np.arange(200) * 5_000_000 - 2_000_000

    def exposure() -> np.ndarray:
        replace_records(path, frames)
        with rtface.open_session(folder) as session:
            camera = session.cameras["cam1"]
            return times_of(camera.frames, camera.results).exposure_ns

    found = exposure()
    assert np.abs(found - true)[late].max() < 200
    whole = np.isin(np.arange(200), OVERWRITTEN, invert=True)
    assert (np.diff(found[whole]) > 0).all()
    frames["segment"][105:] = 1  # the camera's clock began again among them
    frames["t_camera_ns"][105:] -= 10**9
    assert (exposure()[late] <= frames["t_host_ns"][late]).all()
    frames["t_camera_ns"] = NONE_WORD
    assert np.abs(exposure() - true)[100:110].max() > 10_000_000


def test_an_export_that_fails_leaves_what_was_there(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("before")
    damaged = tmp_path / "session"
    shutil.copytree(folder, damaged)
    path = damaged / "cam1.results.rec"
    raw = bytearray(path.read_bytes())
    raw[-50] ^= 1
    path.write_bytes(raw)
    with (
        rtface.open_session(damaged) as session,
        pytest.raises(UserError, match="records are damaged"),
    ):
        export_csv(session, "cam1", out)
    assert out.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".part")] == []
    with (
        pytest.raises(UserError, match="cannot be written"),
        put_in_place(tmp_path / "a.csv" / "b.csv"),
    ):
        pass


def test_units_of_the_pupil() -> None:
    assert [pupil_unit(n) for n in ("edge_area_px2", "x_px", "angle_rad", "score")] == [
        *("px^2", "px", "rad", "0 to 1")
    ]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "say what to write"),
        (["--dlc", "a.txt"], "DeepLabCut's files end in .csv or .h5"),
        (["--csv", "a.csv", "--camera", "cam9"], "has no camera 'cam9', only cam1"),
        (["--csv", "a.csv", "--filled"], "--recompute --fill' makes it"),
        (["--csv", "a.csv", "--about", "b.toml"], "--about with --nwb"),
        (["--csv", "a.csv", "--dlc", "a.csv"], "is named twice"),
        (["--facemap", "a.csv"], "--facemap takes a folder"),
    ],
)
def test_words_that_do_not_go_together(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["export", str(folder), *words])
    assert isinstance(found.exception, UserError)
    assert wanted in str(found.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[subject]\nsexe = 'F'", "subject.sexe: unknown key; there is species, sex"),
        ("[subject]\nsex = 'X'", "subject.sex: "),
        ("[subject]\nage = '90 days'", "subject.age: "),
        ("[subject]\ndate_of_birth = 2026-05-01T00:00:00", "add the time zone"),
        ("[other]\n", "other: unknown key; there is experiment, subject"),
        ("[", "not valid TOML"),
    ],
)
def test_about_that_makes_no_sense(tmp_path: Path, text: str, wanted: str) -> None:
    path = tmp_path / "about.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        load_about(path)
    assert wanted in str(refused.value)
    assert "\n" not in str(refused.value)
