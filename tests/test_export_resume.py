"""Exports that are stopped, killed or done again, their progress, and the memory that they take."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from made_sessions import make_session
from programs import RTFACE
from typer.testing import CliRunner

import rtface
from rtface.cli import app
from rtface.export.deeplabcut import export_deeplabcut
from rtface.export.facemap import export_facemap
from rtface.export.nwb import export_nwb
from rtface.export.resume import KEPT
from rtface.export.tables import export_csv, export_parquet
from rtface.types import UserError


def export(*words: str | Path) -> list[str]:
    done = CliRunner().invoke(app, ["export", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_what_was_finished_is_left_alone(session_folder: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "day3", tmp_path / "out"
    shutil.copytree(session_folder, folder)
    files = out / "a.csv", out / "dlc.csv", out / "cam1_day3.avi"
    words = [folder, "--csv", files[0], "--dlc", files[1], "--facemap", out, "--resume"]
    assert not any("already" in line for line in export(*words))
    made = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert set(files) < set(made)
    assert sorted(export(*words)) == sorted(f"{path}: is there already" for path in files)
    assert made == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    # what is not there is made, and all of it once the session has changed, or if nobody asks
    files[1].unlink()
    assert sum("already" in line for line in export(*words)) == 2
    assert files[1].stat().st_mtime_ns > made[files[1]]
    after_ns = time.time_ns()
    os.utime(folder / "cam1.results.rec", ns=(after_ns, after_ns))
    assert not any("already" in line for line in export(*words))
    assert not any("already" in line for line in export(*words[:-1]))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("csv", ["--components"]),
        ("csv", ["--filled"]),
        ("facemap", ["--as-facemap"]),
        ("nwb", ["--about", "about.toml"]),
        ("nwb", ["--camera", "cam1", "--about", "other.toml"]),
    ],
)
def test_what_was_asked_for_otherwise_is_made_anew(
    session_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    more: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("about.toml", ""), ("other.toml", "[experiment]\nlab = 'here'\n")):
        Path(name).write_text(text)
        os.utime(name, (1, 1))  # older than any export: its text counts
    shutil.copytree(session_folder, "day3")
    shutil.copyfile("day3/cam1.results.rec", "day3/cam1.filled.rec")
    words: list[str | Path] = ["day3", f"--{kind}", "out" if kind == "facemap" else f"a.{kind}"]
    assert not any("already" in line for line in export(*words))  # an export that did not resume
    assert [("already" in line) for line in export(*words, "--resume")] == [True]
    assert not any("already" in line for line in export(*words, *more, "--resume"))
    assert [("already" in line) for line in export(*words, *more, "--resume")] == [True]
    assert not any("already" in line for line in export(*words, "--resume"))
    # what is kept of it cannot be read: nothing is known
    (tmp_path / ("out" if kind == "facemap" else ".") / KEPT).write_text("[1")
    assert not any("already" in line for line in export(*words, "--resume"))


def test_an_about_file_that_is_not_there_is_one_line(session_folder: Path, tmp_path: Path) -> None:
    words = ["export", session_folder, "--nwb", tmp_path / "a.nwb", "--resume", "--about"]
    (tmp_path / "a.nwb").write_text("as if it was there")
    done = CliRunner().invoke(app, [*map(str, words), str(tmp_path / "none.toml")])
    assert isinstance(done.exception, UserError)
    assert "none.toml" in str(done.exception)


def test_remains_of_an_export_that_was_killed_are_removed(
    session_folder: Path, tmp_path: Path
) -> None:
    remains = [tmp_path / ".export-cam1_day3", tmp_path / ".part-a.csv"]
    remains[0].mkdir()
    (remains[0] / "cam1_day3.avi").write_text("half")
    remains[1].write_text("half")
    folder = tmp_path / "sessions" / "day3"
    shutil.copytree(session_folder, folder)
    export(folder, "--facemap", tmp_path, "--csv", tmp_path / "a.csv")
    assert not any(path.exists() for path in remains)
    assert len(list(tmp_path.glob("cam1_day3*"))) == 3


def test_progress_ends_with_all_of_it(session_folder: Path, tmp_path: Path) -> None:
    with rtface.open_session(session_folder) as session:
        camera = session.cameras["cam1"]
        results, frames = len(camera.results), len(camera.frames)
        seen: list[tuple[int, int]] = []

        def move(done: int, total: int) -> None:
            seen.append((done, total))

        export_csv(session, "cam1", tmp_path / "a.csv", on_progress=move)
        assert seen[-1] == (results, results)
        export_parquet(session, "cam1", tmp_path / "a.parquet", on_progress=move)
        assert seen[-1] == (results, results)
        for name in ("dlc.csv", "dlc.h5"):
            export_deeplabcut(session, "cam1", tmp_path / name, on_progress=move)
            assert seen[-1] == (frames, frames)
        export_facemap(session, "cam1", tmp_path, on_progress=move)
        assert seen[-1] == (frames, frames)
        export_nwb(session, tmp_path / "a.nwb", on_progress=lambda _, *told: move(*told))
        assert seen[-1] == (results, results)
    assert all(0 < done <= total for done, total in seen)


@pytest.fixture(scope="module")
def long_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_session(tmp_path_factory.mktemp("made") / "session", 60_000)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_export_that_is_killed_goes_on(long_session: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the second file; a terminal had shown a bar until then."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def words(out: Path) -> list[str | Path]:
        return [long_session, "--dlc", out / "dlc.csv", "--csv", out / "table.csv"]

    export(*words(whole))
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [RTFACE, "export", *map(str, words(killed)), "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    ) as program:
        os.close(theirs)
        part, until = killed / ".part-table.csv", time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 1_000_000):
            assert time.monotonic() < until
            assert program.poll() is None
            time.sleep(0.01)
        program.send_signal(signal.SIGKILL)
    assert re.search(rb"dlc.csv.*100%.*table.csv", os.read(terminal, 1 << 20), re.DOTALL)
    os.close(terminal)
    assert not (killed / "table.csv").exists()
    assert (killed / "dlc.csv").read_bytes() == (whole / "dlc.csv").read_bytes()
    said = export(*words(killed), "--resume")
    assert said[0] == f"{killed / 'dlc.csv'}: is there already"
    assert said[1].startswith("cam1: ")
    assert (killed / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == [KEPT, "dlc.csv", "table.csv"]


def peak_mb(folder: Path, kind: str) -> float:
    """Peak of an export in a process of its own."""
    bench = [sys.executable, str(ROOT / "bench" / "exports.py"), "--one", str(folder), kind]
    done = subprocess.run(bench, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"peak (\d+) MB", done.stdout)
    assert found
    return float(found[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_components(tmp_path: Path) -> None:
    """55 000 frames more, 60 MB of records: all kinds stay far below holding them."""
    short = make_session(tmp_path / "short" / "session", 5_000, components=190)
    long = make_session(tmp_path / "long" / "session", 60_000, components=190)
    more_mb = sum(
        sign * (path / "cam1.results.rec").stat().st_size / 1e6
        for sign, path in ((1, long), (-1, short))
    )
    assert more_mb > 55
    for kind in ("nwb", "parquet", "h5", "facemap"):
        grown = peak_mb(long, kind) - peak_mb(short, kind)
        assert grown < 0.6 * more_mb, (kind, grown)
