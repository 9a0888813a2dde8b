"""The commands as a user types them."""

import csv
import os
import subprocess
from pathlib import Path

import pytest
from programs import RTFACE
from test_offline import clip
from videofiles import pictures, write

import rtface as package

COMMANDS = (
    *(
        "demo",
        "run",
        "listen",
        "view",
        "bridge",
        "track",
        "init",
        "check",
        "doctor",
        "train",
        "distill",
    ),
    "sync",
)


def rtface(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RTFACE, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"},
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("rtface: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_help_lists_every_command_with_a_sentence() -> None:
    text = rtface("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in text
    assert "Exit codes" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = rtface(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 100


def test_version() -> None:
    assert rtface("--version").stdout.strip() == package.__version__
    assert "Usage: rtface" in rtface().stdout + rtface().stderr


@pytest.mark.slow
def test_init_then_check(tmp_path: Path) -> None:
    assert rtface("init", cwd=tmp_path).returncode == 0
    done = rtface("check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "640x480 px, 8 bit, 100 Hz" in done.stdout
    assert "is ready: rtface run rig.toml" in done.stdout
    assert "exists already" in one_line(rtface("init", cwd=tmp_path))


def test_run_takes_a_network_for_a_video_and_not_for_a_rig_file(tmp_path: Path) -> None:
    video = clip(tmp_path / "v.mkv", 3)
    line = one_line(rtface("run", "--video", video, "--bundle", tmp_path / "mine"))
    assert f"{tmp_path / 'mine'}" in line
    assert "--bundle go with --video" in one_line(rtface("run", "rig.toml", "--bundle", "mine"))


@pytest.mark.slow
def test_check_names_a_bbox_outside_the_frame(tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text('[camera.cam1]\nkind = "synthetic"\nbbox = [600, 0, 100, 100]\n')
    for command in ("check", "run"):
        line = one_line(rtface(command, rig))
        assert f"{rig}: camera.cam1.bbox" in line
        assert "640x480" in line


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run"], "--video"),
        (["run", "none.toml"], "rtface init"),
        (["run", "--video", "none.avi"], "none.avi"),
        (["run", "rig.toml", "--loop"], "go with --video"),
        (["check", "none.toml"], "rtface init"),
        (["track", "none.avi", "--out", "x.csv"], "none.avi"),
        (["track", "none.avi", "--out", "x.csv", "--bundle", "none"], "model.json"),
        (["listen", "cam1", "tcp://127.0.0.1:9"], "rtface demo"),
        (["listen", "cam1", "nonsense"], "tcp://127.0.0.1:5581"),
        (["listen", "--topics", "pose,poses"], "pose, fast, motion, pupil, neural, meta, status"),
        (["doctor", "--disk", "none"], "no such folder"),
        (["train", "none", "--out", "net"], "none"),
        (["distill", "--teacher", "none", "--video", "x.avi", "--out", "net"], "model.json"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, words: list[str], hint: str) -> None:
    assert hint in one_line(rtface(*words, cwd=tmp_path))


@pytest.mark.slow
def test_check_tries_the_ring_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rtface("init", cwd=tmp_path)
    monkeypatch.setenv("RTFACE_RING_DIR", "/proc/none")
    assert "RTFACE_RING_DIR" in one_line(rtface("check", cwd=tmp_path))


def test_a_full_disk_is_one_line(tmp_path: Path, tiny_bundle: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    picture = write(tmp_path / "still.png", "png", "gray", pictures(1), update="1")
    (tmp_path / "x.csv.part").symlink_to("/dev/full")
    line = one_line(rtface("track", picture, "--out", tmp_path / "x.csv", "--bundle", tiny_bundle))
    assert "space" in line


def test_a_wrong_option_is_no_traceback() -> None:
    done = rtface("demo", "--rate", "0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_track_writes_every_frame(tmp_path: Path, tiny_bundle: Path) -> None:
    film = write(tmp_path / "film.mkv", "ffv1", "gray16le", pictures(7, bits=16))
    out = tmp_path / "out.csv"
    done = rtface("track", film, "--out", out, "--bundle", tiny_bundle)
    assert done.returncode == 0, done.stderr
    assert "7 frames" in done.stdout
    with out.open() as file:
        rows = list(csv.reader(file))
    assert rows[0][:5] == ["source", "frame", "eye(back)_x", "eye(back)_y", "eye(back)_score"]
    assert [row[1] for row in rows[1:]] == [str(i) for i in range(7)]
