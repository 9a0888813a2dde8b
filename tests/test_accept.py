"""The whole acceptance: a board, a camera and its light in other processes; then an armed run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import board
import pytest
from conftest import free_ports
from programs import RTFACE, wait_until

import rtface

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals"),
]

RIG = """
[camera.cam1]
kind = "synthetic"
width = 320
height = 240
rate_hz = 100.0
nuisances = false
sim_delay_us = 20000.0
delay_us = 20000.0
delay_err_us = 3000.0
exposure_us = 4000.0
sim_light = "{light}"
[camera.cam1.motion]
bin = 8
components = 5
fit_s = 1000
[engine]
bundle = "{bundle}"
[stream]
control_port = {control}
data_port = {data}
status_port = {status}
[output.laser]
kind = "serial"
port = "{port}"
max_pulse_ms = 700.0
{seen}
[rule.puff]
when = "z(motion_energy.full, 1 s) > 0.5 sd"
until = "0.2 sd"
output = "laser"
hazard = true
{more}
[loop]
max_skipped = 1.0
silent_frames = 500
"""
SEEN = "seen_box = [8, 8, 24, 24]\nseen_line = 1"


@contextlib.contextmanager
def lit_board(folder: Path) -> Iterator[tuple[board.Running, Path]]:
    """A board whose line switches a light that the camera sees; its numbers suit a long pulse."""
    light = folder / "light.bin"
    program = (str(Path(__file__).parent / "lit_board.py"), str(light))
    with board.running(program, max_pulse_us=900_000, watchdog_us=250_000) as one:
        with contextlib.suppress(PermissionError):  # a real one shares its processor with nobody
            os.setpriority(os.PRIO_PROCESS, one.popen.pid, -15)
        yield one, light


def rig_file(
    folder: Path, bundle: Path, one: board.Running, light: Path, seen: str = SEEN, more: str = ""
) -> Path:
    control, data, status = free_ports(3)
    path = folder / "rig.toml"
    keys = {"control": control, "data": data, "status": status, "seen": seen, "more": more}
    path.write_text(RIG.format(light=light, bundle=bundle, port=one.port, **keys))
    return path


def accept(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RTFACE, "accept", str(path), "--yes", "--lost", "0.2", *words],  # others use this machine
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def armed(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RTFACE, "run", str(path), "--armed", "--seconds", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.timeout(500)
def test_a_rig_is_accepted_and_its_rules_of_hazard_arm(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    with lit_board(tmp_path) as (one, light):
        path = rig_file(tmp_path, tiny_bundle, one, light)
        refused = armed(path)
        assert refused.returncode == 2
        assert f"rtface accept {path}" in refused.stderr
        for _ in range(3):
            done = accept(path, "--tracking", "45", "--drill", "12")
            print(done.stdout)
            if done.returncode == 0 or "us longer than ordered\n" not in done.stdout:
                break  # else the simulated board itself was held up, on a busy machine
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads((tmp_path / "rig.accept.json").read_text())
        steps = {step["name"]: step for step in report["steps"]}
        assert {step["outcome"] for step in report["steps"]} == {"passed"}
        assert set(steps) == {
            "check",
            "tracking",
            "line",
            "loopback",
            "light",
            "chain",
            "stop",
            "kill",
        }
        # what is known of the simulation
        assert steps["light"]["numbers"]["exposure_ms"] == pytest.approx(4.0, abs=1.0)
        assert abs(steps["light"]["numbers"]["late_ms"]) < 3.0
        chain = {term["name"]: term for term in steps["chain"]["numbers"]["terms"]}
        assert chain["readout, transfer"]["p50_ms"] == pytest.approx(18.0, abs=3.0)
        assert {chain[name]["how"] for name in ("exposure / 2", "software", "line")} == {"measured"}
        for name in ("stop", "kill"):
            assert steps[name]["numbers"]["by_watchdog"]
            assert 0 < steps[name]["numbers"]["off_ms"] < 250 + 6
        assert "every rule of hazard may arm" in (tmp_path / "rig.accept.txt").read_text()
        assert one.changes[-1][0] == 0
        n = len(one.rises())
        run = armed(path)
        assert run.returncode == 0, run.stderr
        assert len(one.rises()) > n  # it fired for real
        path.write_text(path.read_text().replace("0.5 sd", "0.6 sd"))
        changed = armed(path)
        assert changed.returncode == 2
        assert "it was changed since it was accepted" in changed.stderr


@pytest.mark.timeout(200)
def test_what_a_rig_cannot_do_is_no_pass(tmp_path: Path, tiny_bundle: Path, ring_dir: Path) -> None:
    """Neither LED nor wire; the report says so, and the rule stays as it is."""
    with lit_board(tmp_path) as (one, light):
        path = rig_file(tmp_path, tiny_bundle, one, light, seen="")
        done = accept(path, "--tracking", "15", "--drill", "10")
        print(done.stdout)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "not done  light laser" in done.stdout
        assert "output.laser.seen_box" in done.stdout
        assert "declared: the clock's fit and delay_us" in done.stdout
        assert "rule.puff (hazard) does not arm: step loopback laser not done" in done.stdout
        assert "step loopback laser not done" in armed(path).stderr


@pytest.mark.timeout(100)
def test_without_a_board_the_lines_are_told_as_not_tried(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    with lit_board(tmp_path) as (one, light):
        path = rig_file(tmp_path, tiny_bundle, one, light)
    done = accept(path, "--tracking", "15", "--drill", "10")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be opened" in done.stdout
    assert "not done  kill laser" in done.stdout


@pytest.mark.timeout(60)
def test_a_rig_without_hazard_runs_as_ever(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    with lit_board(tmp_path) as (one, light):
        path = rig_file(tmp_path, tiny_bundle, one, light)
        path.write_text(path.read_text().replace("hazard = true", ""))
        popen = subprocess.Popen([RTFACE, "run", str(path), "--armed", "--seconds", "6"])
        control = path.read_text().split("control_port = ")[1].split()[0]

        def is_armed() -> bool:
            told = rtface.ask("status", f"tcp://127.0.0.1:{control}", timeout_s=2)
            return bool(told["cameras"]["cam1"]["loop"]["armed"])

        wait_until(is_armed, 20)
        assert popen.wait(timeout=30) == 0
