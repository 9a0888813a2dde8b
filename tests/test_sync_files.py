"""`rtface sync`: recordings of every kind, what is written, and what is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sync_cases as cases
from sync_cases import make_session, moved, write
from typer.testing import CliRunner

import rtface
from rtface.cli import app
from rtface.session.records import RecordFile
from rtface.session.verify import verify
from rtface.sync import code
from rtface.sync.match import SyncFlag
from rtface.sync.simulate import NOTHING, Simulated, Wrong, simulate
from rtface.types import UserError

#: a sample of the slowest recording here, and the camera's jitter
EXACT_S = 130e-6
#: what make_session says of each frame's exposure: 2 ms
TO_MIDPOINT_S = 1e-3


@pytest.fixture(scope="module")
def coded() -> Simulated:
    bad = Wrong(missed_pulses=1e-3, glitches=3e-4, extra_frames=0)
    return moved(simulate(3, "late", 100.0, 40.0, (0, 38), (-2, 41), wrong=bad))[0]


@pytest.fixture
def session(tmp_path: Path, coded: Simulated) -> Path:
    return make_session(tmp_path / "session", {"cam1": coded.frames})


def run(*words: str | Path, picture: bool = False) -> tuple[int, str]:
    more = [] if picture else ["--no-picture"]
    done = CliRunner().invoke(app, ["sync", *map(str, words), *more])
    if isinstance(done.exception, UserError):
        return 2, str(done.exception)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def refused(*words: str | Path) -> str:
    code_, text = run(*words)
    assert code_ == 2, text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    "kind",
    [
        *("spikeglx", "spikeglx analog", "spikeglx imec", "open ephys", "csv", "scanimage", "harp"),
        *("hdf5 samples", "hdf5 times"),
    ],
)
def test_frames_in_the_clock_of_a_recording(
    kind: str, session: Path, coded: Simulated, tmp_path: Path
) -> None:
    path, line, ahead_s = write(kind, tmp_path, coded.edges)
    exit_code, text = run(session, "--daq", path, "--line", line, picture=kind == "csv")
    assert exit_code == 0, text
    assert text.startswith("yes: cam1 in the clock of")
    with rtface.open_session(session) as opened:
        t_s = opened.cameras["cam1"].daq_s()
        some = opened.cameras["cam1"].daq_s(10, 20)
    truth = coded.truth_s[::2] + TO_MIDPOINT_S + ahead_s  # every second frame has a result
    assert len(t_s) == len(truth)
    assert np.abs(t_s - truth).max() < EXACT_S
    assert np.array_equal(some, t_s[10:20])
    with RecordFile(session / "cam1.sync.rec") as file:
        rows, about = file[:], file.about
    assert len(rows) == len(coded.truth_s)
    assert about["daq"] == path.name
    assert about["anchor"] == "code"
    fitted = int(((rows["flags"] & SyncFlag.NO_PULSE) > 0).sum())
    assert f"{fitted} a fitted time" in text
    assert fitted > 0
    assert np.isnan(rows["residual_us"]).sum() == fitted
    if kind == "csv":
        assert (session / "cam1.sync.png").read_bytes()[:4] == b"\x89PNG"
    assert not [f for f in verify(session) if "sync" in f.file]


def test_it_may_be_run_again(session: Path, coded: Simulated, tmp_path: Path) -> None:
    path, line, _ = write("csv", tmp_path, coded.edges)
    for _ in range(2):
        assert run(session, "--daq", path, "--line", line)[0] == 0
    assert not list(session.glob("*.part"))


def test_microscope_frames(session: Path, coded: Simulated, tmp_path: Path) -> None:
    clock = np.arange(5.0, 30.0, 1 / 30)
    nothing = coded.edges._replace(rising_s=clock, falling_s=clock + 0.01)
    path = cases.write_csv(tmp_path / "edges.csv", {1: coded.edges, 2: nothing})
    assert run(session, "--daq", path, "--line", "1", "--scan", "2")[0] == 0
    with RecordFile(session / "cam1.sync.rec") as file:
        rows = file[:]
    inside = (rows["t_daq_s"] > 5.0) & (rows["t_daq_s"] < clock[-1])
    assert np.allclose(rows["scan_frame"][inside], (rows["t_daq_s"][inside] - 5.0) * 30, atol=1e-4)
    assert np.isnan(rows["scan_frame"][~inside]).all()


def test_without_an_exposure_time_the_edge_is_given(tmp_path: Path, coded: Simulated) -> None:
    folder = make_session(tmp_path / "s", {"cam1": coded.frames}, exposure_us=None)
    path, line, _ = write("csv", tmp_path, coded.edges)
    text = run(folder, "--daq", path, "--line", line)[1]
    assert "not of the midpoint" in text
    with rtface.open_session(folder) as opened:
        assert np.abs(opened.cameras["cam1"].daq_s() - coded.truth_s[::2]).max() < EXACT_S


@pytest.mark.parametrize("after_ns", [6_000_000, 2_000_000])
def test_frames_that_do_not_know_their_exposure_once_it_was_set(
    tmp_path: Path, coded: Simulated, after_ns: int
) -> None:
    n = len(coded.frames.t_s)
    said_ns = np.full(n, 2_000_000)  # as in the rig file, until another is set
    said_ns[n // 2 :] = after_ns
    said_ns[n // 2 : n // 2 + 4] = 0
    folder = make_session(tmp_path / "s", {"cam1": coded.frames}, said_ns=said_ns.tolist())
    path, line, _ = write("csv", tmp_path, coded.edges)
    assert run(folder, "--daq", path, "--line", line)[0] == 0
    with RecordFile(folder / "cam1.sync.rec") as file:
        rows = file[:]
    changed = after_ns != 2_000_000
    doubtful = (said_ns == 0) & changed
    assert np.array_equal((rows["flags"] & SyncFlag.EDGE) > 0, doubtful)
    known_ns = np.where(said_ns > 0, said_ns, 0 if changed else 2_000_000)
    assert np.abs(rows["t_daq_s"] - coded.truth_s - known_ns / 2e9).max() < EXACT_S


def test_no_sync_yet(session: Path) -> None:
    with (
        rtface.open_session(session) as opened,
        pytest.raises(UserError, match="rtface sync"),
    ):
        opened.cameras["cam1"].daq_s()


def test_a_camera_without_a_clock_by_barcode(tmp_path: Path) -> None:
    quiet = Wrong(missed_pulses=0, glitches=0, extra_frames=0)
    uniform, edges = moved(simulate(4, "uniform", 100.0, 40.0, (1, 38), (3, 41), wrong=quiet))
    codes = code.barcodes(25.0, first=0x9E3779B9)
    signal = edges._replace(rising_s=codes.rising_s + 5.003, falling_s=codes.falling_s + 5.003)
    truth = uniform.truth_s
    high = np.searchsorted(signal.rising_s, truth) > np.searchsorted(signal.falling_s, truth)
    frames = uniform.frames._replace(high=high)
    folder = make_session(tmp_path / "s", {"cam1": frames}, timed=False)
    path = cases.write_csv(tmp_path / "edges.csv", {0: edges, 6: signal})
    words = (folder, "--daq", path, "--line", "0", "--anchor", "line:2:6")
    assert "begins late" in refused(*words)
    exit_code, text = run(*words, "--partial")
    assert exit_code == 0, text
    assert "anchor line" in text
    with rtface.open_session(folder) as opened:
        t_s = opened.cameras["cam1"].daq_s()
    known = ~np.isnan(t_s)
    assert known.mean() > 0.9
    assert np.abs(t_s - truth[::2] - TO_MIDPOINT_S)[known].max() < EXACT_S


def test_a_wrong_match_is_refused_with_the_reason(
    session: Path, coded: Simulated, tmp_path: Path
) -> None:
    edges = coded.edges
    faster = moved(simulate(5, "late", 130.0, 40.0))[1]
    other = moved(simulate(6, "late", 100.0, 40.0, (0, 38), (-2, 41)))[1]
    both = np.sort(np.r_[edges.rising_s, faster.rising_s])
    lines = {
        0: edges,
        1: faster,
        2: other,
        3: edges._replace(rising_s=both, falling_s=both + 1e-3),
        4: edges._replace(rising_s=edges.falling_s, falling_s=edges.rising_s),
        5: edges._replace(rising_s=edges.rising_s[:2000], falling_s=edges.falling_s[:2000]),
    }
    path = cases.write_csv(tmp_path / "edges.csv", lines)
    for line, why in {
        "1": "frames every",  # the wrong line
        "2": "marks agree",  # another session's
        "3": "two cameras on",
        "4": "inverted",
        "5": "ends early",
        "9": "no edges of line '9'; there are 0, 1",
    }.items():
        text = refused(session, "--daq", path, "--line", line)
        assert why in text, text
    assert not list(session.glob("*sync*"))
    assert run(session, "--daq", path, "--line", "4", "--edge", "falling")[0] == 0
    assert run(session, "--daq", path, "--line", "5", "--partial")[0] == 0
    with RecordFile(session / "cam1.sync.rec") as file:
        rows = file[:]
    outside = (rows["flags"] & SyncFlag.OUTSIDE) > 0
    assert 1500 < outside.sum() < len(rows) - 1500
    assert np.isnan(rows["t_daq_s"][outside]).all()


def test_files_that_end_early_are_refused(session: Path, coded: Simulated, tmp_path: Path) -> None:
    def cut(path: Path, by: int) -> None:
        path.write_bytes(path.read_bytes()[:-by])

    meta, line, _ = write("spikeglx", tmp_path, coded.edges)
    cut(meta.with_suffix(".bin"), 6000)
    assert "ends early" in refused(session, "--daq", meta, "--line", line)
    ephys, line, _ = write("open ephys", tmp_path, coded.edges)
    cut(next(ephys.rglob("continuous.dat")), 200)
    assert "ends early" in refused(session, "--daq", ephys, "--line", line)
    harp, line, _ = write("harp", tmp_path, coded.edges)
    cut(harp, 5)
    assert "ends early" in refused(session, "--daq", harp, "--line", line)
    table, line, _ = write("csv", tmp_path, coded.edges)
    cut(table, 14)
    assert "ends early" in refused(session, "--daq", table, "--line", line)
    tiff, line, _ = write("scanimage", tmp_path, coded.edges)
    cut(tiff, tiff.stat().st_size // 2)
    assert str(tiff) in refused(session, "--daq", tiff, "--line", line)


def test_a_recording_of_another_day_is_refused(
    session: Path, coded: Simulated, tmp_path: Path
) -> None:
    ephys, line, _ = write("open ephys", tmp_path, coded.edges)
    told = next(ephys.rglob("sync_messages.txt"))
    told.write_text(told.read_text().replace(str(cases.BEGAN_UNIX_NS // 10**6), "1700000000000"))
    assert "another session" in refused(session, "--daq", ephys, "--line", line)


def test_what_cannot_be_read(session: Path, tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("")
    (tmp_path / "b.bin").write_bytes(b"\0" * 100)
    (tmp_path / "c.csv").write_text("time_s,line,state\n")
    for name, why in {
        "none": "does not exist",
        "a.xyz": "SpikeGLX",
        "b.bin": "no .meta",
        "c.csv": "no rows",
    }.items():
        text = refused(session, "--daq", tmp_path / name, "--line", "1")
        assert why in text
        assert name in text
    assert "line:BIT:N" in refused(session, "--daq", "x", "--line", "1", "--anchor", "luck")
    assert "cam9" in refused(session, "--daq", "x", "--line", "1", "--camera", "cam9")


def test_which_edge_begins_a_pulse(tmp_path: Path) -> None:
    """Without a silence only the exposure time tells that a line is upside down."""
    lit, edges = moved(simulate(8, "late", 100.0, 40.0, (2, 38), (1, 39), NOTHING, width_s=7e-3))
    known = make_session(tmp_path / "known", {"cam1": lit.frames}, exposure_us=7000.0)
    unknown = make_session(tmp_path / "unknown", {"cam1": lit.frames}, exposure_us=None)
    down = edges._replace(rising_s=edges.falling_s, falling_s=edges.rising_s)
    path = cases.write_csv(tmp_path / "edges.csv", {0: edges, 1: down})
    assert run(known, "--daq", path, "--line", "0")[0] == 0
    assert "inverted" in refused(known, "--daq", path, "--line", "1")
    assert "which edge" in refused(unknown, "--daq", path, "--line", "0")
