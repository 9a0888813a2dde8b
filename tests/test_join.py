"""Several rig files, one run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import free_ports
from programs import RTFACE, SMALL

from rtface.cli.common import naming
from rtface.config import Rig, load_rig
from rtface.join import join_rigs
from rtface.types import UserError

FACE = '[camera.face]\nkind = "synthetic"\nrate_hz = 50.0\n'
BODY = '[camera.body]\nkind = "synthetic"\nrate_hz = 60.0\nline0_s = [1.0, 2.0]\n'


def rigs(folder: Path, *texts: str) -> list[tuple[Path, Rig]]:
    """Rig files a.toml, b.toml ... with these texts, as ``rtface run`` reads them."""
    paths = [folder / f"{letter}.toml" for letter in "abcdef"[: len(texts)]]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return [(path, load_rig(path)) for path in paths]


def test_one_file_is_as_it_is(tmp_path: Path) -> None:
    ((path, rig),) = rigs(tmp_path, BODY + '[record]\nfolder = "rec"\nstart = "line"\n')
    assert join_rigs([(path, rig)]) is rig


def test_cameras_of_all_files_in_order(tmp_path: Path) -> None:
    third = '[camera.eye]\nkind = "uvc"\nrate_hz = 30.0\n[camera.cam1]\nkind = "synthetic"\n'
    told = rigs(tmp_path, FACE, BODY, third)
    joined = join_rigs(told)
    assert list(joined.camera) == ["face", "body", "eye", "cam1"]
    for _, rig in told:
        for name, section in rig.camera.items():
            assert joined.camera[name] == section
    assert [joined.data_port(name) for name in joined.camera] == [5581, 5583, 5585, 5587]
    assert joined.engine == told[0][1].engine


def test_every_kind_of_camera_stays_as_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "film.mkv").touch()
    sensor = (
        '[camera.cam2]\nkind = "genicam"\nproducer = "x.cti"\nrate_hz = 100.0\n'
        'chunks = ["ExposureTime"]\nexposure_us = "frame"\nstamp_means = "start"\n'
        'trigger = {source = "Line0"}\nsettings = {BlackLevel = 0.5, Deep = true}\n'
    )
    film = (
        '[camera.cam3]\nkind = "video"\nfile = "film.mkv"\nembedded = ["gpio", "timestamp"]\n'
        "bbox = [0, 0, 64, 48]\n"
    )
    told = rigs(tmp_path, sensor, film)
    joined = join_rigs(told)
    assert joined.camera == {**told[0][1].camera, **told[1][1].camera}


@pytest.mark.parametrize("turned", [False, True])
def test_a_section_left_at_its_defaults_is_the_other_files(tmp_path: Path, turned: bool) -> None:
    sections = (
        '[engine]\nbundle = "net"\n[stream]\ncontrol_port = 7000\n[ring]\nresults_s = 5.0\n'
        '[record]\nfolder = "rec"\n'
    )
    texts = [FACE, BODY + sections]
    told = rigs(tmp_path, *(reversed(texts) if turned else texts))
    joined = join_rigs(told)
    full = told[0 if turned else 1][1]
    for key in ("engine", "stream", "ring", "record"):
        assert getattr(joined, key) == getattr(full, key)
    assert joined.record.folder == str(tmp_path / "rec")


def test_the_same_in_both_is_no_contradiction(tmp_path: Path) -> None:
    told = rigs(tmp_path, FACE + "[ring]\nframes_s = 1.0\n", BODY + "[ring]\nframes_s = 1.0\n")
    assert join_rigs(told).ring.frames_s == 1.0


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("left", "right"), "left-right"),
        (("rig", "rig"), "rig"),
        (("a" * 20, "b" * 20), "a" * 20 + "-" + "b" * 11),
    ],
)
def test_the_name_is_made_of_all(tmp_path: Path, names: tuple[str, str], expected: str) -> None:
    told = rigs(tmp_path, f'name = "{names[0]}"\n{FACE}', f'name = "{names[1]}"\n{BODY}')
    assert join_rigs(told).name == expected


@pytest.mark.parametrize(
    ("texts", "files", "key"),
    [
        ((FACE, FACE), "ab", "camera.face is in both"),
        ((FACE, BODY, FACE), "ac", "camera.face is in both"),
        (
            (
                FACE,
                BODY,
                *(f'[camera.cam{n}]\nkind = "synthetic"\n' for n in (1, 2, 3)),
            ),
            "abcde",
            "camera: 5 cameras in all, and at most 4",
        ),
        (
            (FACE + "[ring]\nframes_s = 1.0\n", BODY + "[ring]\nframes_s = 3.0\n"),
            "ab",
            "ring.frames_s: 1.0 and 3.0",
        ),
        (
            (FACE + "[stream]\ncontrol_port = 7000\n", BODY + "[stream]\ndata_port = 7001\n"),
            "ab",
            "stream.control_port: 7000 and 5580",
        ),
        (
            (
                FACE,
                BODY + "[engine]\nthreads = 2\n",
                '[camera.c]\nkind = "synthetic"\n[engine]\nthreads = 3\n',
            ),
            "bc",
            "engine.threads: 2 and 3",
        ),
        (
            (FACE + "[record]\npart_s = 9.0\n", BODY + "[record]\nquality = 9\n"),
            "ab",
            "record.quality: 18 and 9",
        ),
        ((FACE + "[stream]\ndata_port = 5578\n", BODY), "ab", "ports"),
        ((FACE, BODY + '[record]\nfolder = "r"\nstart = "line"\n'), "ab", "record.start: 'line'"),
    ],
)
def test_contradictions_name_both_files_and_the_key(
    tmp_path: Path, texts: tuple[str, ...], files: str, key: str
) -> None:
    told = rigs(tmp_path, *texts)
    with pytest.raises(UserError) as caught:
        join_rigs(told)
    message = str(caught.value)
    assert key in message
    assert [path.stem for path, _ in told if str(path) in message] == list(files)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("camera.right.device: there is none", "b.toml"),
        ("camera.right: is gone: cable; the run stops, as on_gone = 'stop' says", "b.toml"),
        ("camera.left: there is no camera", "a.toml"),
        ("camera.other.width: too wide", "a.toml and b.toml"),
        ("camera: 5 cameras in all", None),
        ("engine.bundle: camera.left is not in it", None),
    ],
)
def test_an_error_names_the_file_of_its_camera(text: str, file: str | None) -> None:
    owners = {"left": Path("a.toml"), "right": Path("b.toml")}
    with pytest.raises(UserError) as caught, naming("a.toml and b.toml", owners):
        raise UserError(text)
    assert str(caught.value) == (f"{file}: {text}" if file else text)


def ports_for_two_cameras() -> tuple[int, int, int]:
    """Free ports for control, status and the first camera; the second one's is free as well."""
    for _ in range(20):
        control, status, data = free_ports()
        with contextlib.suppress(OSError), socket.socket() as second:
            second.bind(("127.0.0.1", data + 2))
            if data + 2 not in (control, status):
                return control, status, data
    raise AssertionError("no two free ports that are 2 apart")


def run(*files: str, seconds: int = 0) -> subprocess.CompletedProcess[str]:
    """``rtface run`` to its end; whatever does not end is killed with its processes."""
    more = ["--seconds", str(seconds)] if seconds else []
    with subprocess.Popen(
        [RTFACE, "run", *files, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as popen:
        try:
            out, err = popen.communicate(timeout=40)
        except BaseException:
            os.killpg(popen.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(popen.args, popen.returncode, out, err)


@pytest.mark.cameras
@pytest.mark.timeout(150)
def test_two_rig_files_in_one_run(tmp_path: Path, tiny_bundle: Path, ring_dir: Path) -> None:
    control, status, data = ports_for_two_cameras()
    first = (
        f'[camera.left]\n{SMALL}[engine]\nbundle = "{tiny_bundle}"\n[stream]\n'
        f"control_port = {control}\ndata_port = {data}\nstatus_port = {status}\n"
    )
    rigs(tmp_path, first, f"[camera.right]\n{SMALL}seed = 2\n")
    a, b = str(tmp_path / "a.toml"), str(tmp_path / "b.toml")
    done = run(a, b, seconds=2)
    assert done.returncode == 0, done.stderr
    assert f"left is published at tcp://127.0.0.1:{data};" in done.stderr
    assert f"right is published at tcp://127.0.0.1:{data + 2};" in done.stderr
    assert done.stdout.count("every frame accounted for: yes") == 2
    for name in ("left", "right"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{name}: ")]
        assert int(line.split()[1]) > 100  # produced
    assert list(ring_dir.iterdir()) == []
    # which file an error of a camera is in
    (tmp_path / "b.toml").write_text(
        '[camera.right]\nkind = "uvc"\ndevice = "none"\nrate_hz = 1.0\n'
    )
    done = run(a, b)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"rtface: {b}: camera.right.")
    done = run(a, a)
    assert done.returncode == 2
    assert "camera.left is in both" in done.stderr
