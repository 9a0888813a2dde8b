"""Fast cores: read from the kernel's files, taken by camera and tracker, else left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtface import acquire, track
from rtface.config import parse_rig
from rtface.cores import choose, fast_cores
from rtface.types import UserError

TAKES = """
import json, os, sys, threading
from pathlib import Path
from rtface import cores
found = [cores.take_fast_cores(1, Path(sys.argv[1])), os.sched_getaffinity(0)]
thread = threading.Thread(target=lambda: found.append(os.sched_getaffinity(0)))
thread.start()
thread.join()
print(json.dumps([sorted(one) for one in found]))
"""


def intel(devices: Path, **lists: str) -> Path:
    """As the kernel tells of a hybrid processor of Intel."""
    for kind, cores in lists.items():
        (devices / kind).mkdir()
        (devices / kind / "cpus").write_text(cores + "\n")
    return devices


def arm(devices: Path, capacities: list[int]) -> Path:
    for number, capacity in enumerate(capacities):
        folder = devices / "system" / "cpu" / f"cpu{number}"
        folder.mkdir(parents=True)
        (folder / "cpu_capacity").write_text(f"{capacity}\n")
    return devices


def test_the_kernels_files_are_understood(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / name).mkdir()
    assert fast_cores(tmp_path / "a") == set()  # nobody tells
    one = intel(tmp_path / "b", cpu_core="0-3,8", cpu_atom="4-7")
    assert fast_cores(one) == {0, 1, 2, 3, 8}
    one = intel(tmp_path / "c", cpu_core="0-3", cpu_atom="4-7", cpu_lowpower="8-9")
    assert fast_cores(one) == {0, 1, 2, 3}
    assert fast_cores(intel(tmp_path / "d", cpu_core="0-7")) == set()  # no slow ones
    assert fast_cores(arm(tmp_path / "e", [380, 380, 380, 380, 1000, 1000, 1024])) == {4, 5, 6}
    assert fast_cores(arm(tmp_path / "f", [1024] * 4)) == set()


def test_what_the_user_chose_stays() -> None:
    assert choose({0, 1, 2, 3}, {0, 1}, 2) == {0, 1}
    assert choose({0, 1, 2, 3}, set(), 2) == set()
    assert choose({2, 3}, {0, 1}, 2) == set()  # taskset: slow ones alone
    assert choose({0, 2, 3}, {0, 1}, 2) == set()  # one is too few for two
    assert choose({0, 1, 2, 3, 4, 5}, {0, 1}, 4) == set()  # two cameras
    assert choose({0, 1}, {0, 1, 2}, 2) == set()  # nothing to change


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells and obeys")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a fast core and a slow one")
def test_threads_that_come_later_keep_off_slow_cores(tmp_path: Path) -> None:
    *fast, slow = sorted(os.sched_getaffinity(0))
    intel(tmp_path, cpu_core=",".join(map(str, fast)), cpu_atom=str(slow))
    done = subprocess.run(
        [sys.executable, "-c", TAKES, tmp_path], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [fast] * 3


@pytest.mark.parametrize("wanted", [True, False])
def test_camera_and_tracker_take_them_before_they_start(
    monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    class StartedError(Exception):
        pass

    def started(*_: object) -> None:
        raise StartedError

    cameras = {f"cam{n}": {"kind": "synthetic"} for n in (1, 2)}
    rig = {"camera": cameras, "engine": {"fast_cores": wanted, "threads": 2}}
    line = SimpleNamespace(job={"rig": rig, "camera": "cam1", "wake": None})
    for program, starts in ((acquire, "open_camera"), (track, "start_engine")):
        taken: list[int] = []
        monkeypatch.setattr(program, "take_fast_cores", taken.append)
        monkeypatch.setattr(program, starts, started)
        with pytest.raises(StartedError):
            program.run(line)
        assert taken == [6] * wanted


def test_keeping_warm_is_for_gpus() -> None:
    told = {"camera": {"cam1": {"kind": "synthetic"}}}
    rig = parse_rig({**told, "engine": {"runtime": "tensorrt", "keep_warm_ms": 2}}, "rig.toml")
    assert rig.engine.keep_warm_ms == 2
    assert rig.engine.fast_cores
    with pytest.raises(UserError, match=r"rig.toml: engine: keep_warm_ms is for GPUs"):
        parse_rig({**told, "engine": {"keep_warm_ms": 2}}, "rig.toml")
