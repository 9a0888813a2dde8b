"""The calibration scripts against a camera whose true times are known, and times on other hosts."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from programs import SMALL, running, wait_until

import rtface
from rtface.camera.light import LightSwitch, SeenLight
from rtface.flashes import fit_flashes
from rtface.ping import best
from rtface.rings import FrameRingReader, ResultRingReader
from rtface.timing import Latency, read_latency, write_latency
from rtface.types import TimeSource, UserError

SIMULATED = """kind = "synthetic"
width = 320
height = 240
rate_hz = 200.0
sim_delay_us = 6300.0
sim_clock_ppm = 120.0
delay_us = 4000.0
delay_err_us = 4000.0
"""


def script(name: str, *words: str | Path, code: int = 0, timeout: float = 110) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "calibration" / f"{name}.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def rig_file(folder: Path, camera: str = SIMULATED, name: str = "rig.toml") -> Path:
    from conftest import free_ports

    control, data, status = free_ports(3)
    path = folder / name
    path.write_text(
        f'[camera.cam1]\n{camera}\n[engine]\nruntime = "null"\n[stream]\ncontrol_port = {control}\n'
        f"data_port = {data}\nstatus_port = {status}\n"
    )
    return path


def true_and_stated(seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true error, stated error, source) of the frames of a running rig, ns, by latched pairs."""
    frames, results = FrameRingReader("cam1"), ResultRingReader("cam1")
    true, stated, source = [], [], []
    end = time.monotonic() + seconds
    results.skip_to(results.ring.head + 1)
    while time.monotonic() < end:
        for result in results.new():
            one = result.ledger
            frame = frames.read(one.frame_seq)
            if frame is None or frame.stamp.pair is None:
                continue
            device, host, _ = frame.stamp.pair
            assert one.t_camera_ns is not None
            exposed = host + (one.t_camera_ns - device) / (1 + 120e-6)
            true.append(one.exposure_ns - exposed)
            stated.append(one.exposure_err_ns)
            source.append(one.time_source)
        time.sleep(0.05)
    frames.close()
    results.close()
    return np.array(true), np.array(stated), np.array(source)


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_from_photons_to_a_calibrated_clock(tmp_path: Path, tiny_bundle: Path) -> None:
    rig = rig_file(tmp_path)
    out = tmp_path / "latency.json"
    said = script("latency", rig, "--light", "simulated", "--seconds", "25", "--out", out)
    assert "frames caught a switch" in said
    assert (tmp_path / "latency.png").read_bytes()[:4] == b"\x89PNG"
    measured = read_latency(out)
    assert measured.source == TimeSource.DEVICE_CLOCK
    assert 6300 <= measured.delay_us < 8000  # and how long delivering a frame takes
    assert measured.about["exposure_us"] == pytest.approx(1000, rel=0.05)
    assert 100 < measured.err_us < 200
    # before: covered by the declared bound; after: covered by a bound that is far smaller
    with running(
        tmp_path, tiny_bundle, SIMULATED + "sim_pairs = true\n", runtime="null"
    ) as program:
        wait_until(lambda: program.counts()["tracked"] > 600, 30)
        _, _, source = true_and_stated(1)
        assert (source == TimeSource.LATCHED_PAIRS).all()
        assert program.counts()["clock"]["source"] == "latched_pairs"
    camera = SIMULATED + f'sim_pairs = true\nlatency = "{out}"\n'
    with running(tmp_path, tiny_bundle, camera, runtime="null") as program:
        wait_until(lambda: program.counts()["tracked"] > 1600, 30)
        true, stated, source = true_and_stated(4)
        with rtface.subscribe("cam1", program.data, timeout_s=5) as stream:
            message = next(stream)
        clock = program.counts()["clock"]
    assert (source == TimeSource.DEVICE_CLOCK).mean() > 0.9
    assert message.fields["flags"] & 1 == 0  # no longer UNCALIBRATED
    assert clock["skew_ppm"] == pytest.approx(-120, abs=20)
    p95_us, stated_us = np.percentile(np.abs(true), 95) / 1e3, np.median(stated) / 1e3
    print(f"true p95 {p95_us:.0f} us, stated {stated_us:.0f} us")
    # another run, another load: the fastest frame's way differs by some us from the measured one
    assert (np.abs(true) <= stated).mean() >= 0.95
    assert np.median(stated) < 1e6


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_light_on_a_serial_line(tmp_path: Path) -> None:
    """A microcontroller behind a pseudo-terminal that switches what the camera sees."""
    controller, port = pty.openpty()
    light_file = tmp_path / "light.bin"
    light = LightSwitch(light_file)
    seen: list[bytes] = []

    def firmware() -> None:
        with contextlib.suppress(OSError):  # the line is closed at the end
            while byte := os.read(controller, 1):
                seen.append(byte)
                light.set(byte == b"1")

    threading.Thread(target=firmware, daemon=True).start()
    rig = rig_file(tmp_path, SIMULATED + f'sim_light = "{light_file}"\n')
    said = script(
        "latency",
        rig,
        "--light",
        f"serial:{os.ttyname(port)}",
        "--line-err-us",
        "200",
        "--seconds",
        "20",
        "--out",
        tmp_path / "latency.json",
    )
    assert len(seen) > 100
    assert "order to the line" in said
    measured = read_latency(tmp_path / "latency.json")
    assert 6000 < measured.delay_us < 8500
    assert measured.err_us >= 200


@pytest.mark.soak
@pytest.mark.timeout(60)
def test_a_camera_s_clock(tmp_path: Path) -> None:
    out = tmp_path / "clock.json"
    said = script("camera_clock", rig_file(tmp_path), "--quick", "--out", out)
    told = json.loads(out.read_text())
    assert told["skew_ppm"] == pytest.approx(-120, abs=20)
    assert (told["steps"], told["resets"]) == (0, 0)
    assert "0 steps" in said
    assert out.with_suffix(".png").exists()


def test_scripts_say_what_is_wrong(tmp_path: Path) -> None:
    rig = rig_file(tmp_path)
    assert "is 'simulated' or 'serial:PORT'" in script("latency", rig, "--light", "x", code=2)
    assert "the rig has cam1" in script(
        "latency", rig, "--light", "simulated", "--camera", "b", code=2
    )
    assert "cannot be opened" in script("latency", rig, "--light", "serial:/dev/nothing", code=2)
    assert "no such file" in script("camera_clock", tmp_path / "none.toml", code=2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: "{", "is not JSON"),
        (lambda t: json.dumps({**t, "format": 9}), "format 9"),
        (lambda t: json.dumps({**t, "delay_us": "x"}), "makes no sense"),
        (lambda t: json.dumps({**t, "err_us": -1}), "out of range"),
        (lambda t: json.dumps({**t, "source": "guess"}), "makes no sense"),
        (lambda t: json.dumps([t]), "makes no sense"),
        (lambda t: json.dumps({**t, "stamp_means": "end"}), "stamp_means is 'midpoint'"),
    ],
)
def test_a_calibration_that_cannot_be_used(tmp_path: Path, change: object, told: str) -> None:
    from rtface.config import load_rig
    from rtface.timing import timing_of
    from rtface.types import CameraInfo

    path = tmp_path / "latency.json"
    write_latency(path, Latency(1.0, 2.0, TimeSource.DEVICE_CLOCK, "midpoint", {}))
    assert read_latency(path).delay_us == 1.0
    path.write_text(change(json.loads(path.read_text())))  # type: ignore[operator]
    rig = rig_file(tmp_path, SIMULATED + 'latency = "latency.json"\n')
    with pytest.raises(UserError, match=rf"latency\.json: .*{told}"):
        timing_of(load_rig(rig), "cam1", CameraInfo(240, 320, 8, 200.0))


def test_a_light_that_is_not_seen() -> None:
    switch = np.arange(100) * 1e8
    with pytest.raises(UserError, match="the light is not seen"):
        fit_flashes(switch, np.arange(1000) * 1e7, np.full(1000, 30.0))
    # seen, but every exposure is so short that none holds a switch
    lit = (np.arange(1000) // 10) % 2 == 0
    with pytest.raises(UserError, match=r"only 0 frames caught a switch.*run longer"):
        fit_flashes(switch, np.arange(1000) * 1e7, np.where(lit, 200.0, 20.0))


def test_a_simulated_light_remembers_when_it_was_on(tmp_path: Path) -> None:
    now = [100]
    switch = LightSwitch(tmp_path / "light", delay_ns=5, clock=lambda: now[0])
    seen = SeenLight(tmp_path / "light")
    assert seen.fraction(0, 1000) == 0
    assert switch.set(True) == 100
    assert seen.fraction(55, 155) == 0.5
    assert seen.fraction(200, 300) == 1
    now[0] = 245
    switch.set(False)
    switch.set(False)
    assert seen.fraction(200, 300) == 0.5
    assert seen.fraction(0, 1000) == 0.145
    with pytest.raises(UserError, match="not a simulated light"):
        SeenLight(tmp_path / "none")


def test_another_host_s_times_become_ours() -> None:
    from rtface.client import localised
    from rtface.ping import Offset
    from rtface.wire import Message

    fields = {"t_done_ns": 5, "exposure_ns": 3, "exposure_err_ns": 2, "frame_seq": 9, "about_ns": 1}
    moved = localised(Message("neural.cam1.", 1, fields), Offset(10**12, 40, 0)).fields
    assert moved["t_done_ns"] == 10**12 + 5
    assert moved["about_ns"] == 10**12 + 1  # of a prediction: what time it is about
    assert moved["exposure_ns"] == 10**12 + 3
    assert moved["timestamp"] == pytest.approx(1000.0)
    assert (moved["exposure_err_ns"], moved["clock_err_ns"], moved["frame_seq"]) == (42, 40, 9)


def test_the_soonest_ping_counts() -> None:
    found = best([(0, 1_000_500, 3000), (5000, 1_005_700, 5400), (9000, 1_020_000, 30000)])
    assert found is not None
    assert found.err_ns == 200
    assert found.offset_ns == 5200 - 1_005_700
    assert best([]) is None


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_times_in_the_subscriber_s_own_clock(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        control = f"tcp://127.0.0.1:{program.control}"
        with rtface.subscribe(
            "cam1", program.data, timeout_s=5, clock="local", control=control
        ) as stream:
            messages = [message for _, message in zip(range(50), stream, strict=False)]
        with rtface.subscribe("cam1", program.data, timeout_s=5) as stream:
            plain = next(stream)
    assert "clock_err_ns" not in plain.fields
    # one machine: the true offset is 0, and the stated error holds what was found
    fields = messages[-1].fields
    assert 0 < fields["clock_err_ns"] < 20e6
    age_ns = time.perf_counter_ns() - fields["t_done_ns"]
    assert -fields["clock_err_ns"] < age_ns < 20e9
    assert fields["timestamp"] == pytest.approx(fields["exposure_ns"] * 1e-9)
    assert fields["exposure_err_ns"] > fields["clock_err_ns"]
    with pytest.raises(TimeoutError, match="no answer"):
        rtface.subscribe("cam1", program.data, clock="local", control=control)
    with pytest.raises(ValueError, match="'rig' or 'local'"):
        rtface.subscribe("cam1", program.data, clock="wall")


def test_the_wall_clock_moves_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the way from a stamp to its exposure reads the time of day."""
    from rtface.exposure import FrameTimer, Timing
    from rtface.types import Stamp

    def jumped() -> float:
        raise AssertionError("the wall clock was read")

    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, jumped)
    timer = FrameTimer(Timing(5_000_000, 1000, 10))
    found = [timer(Stamp(0, i, i * 5_000_000, i * 5_000_000 + 1000)) for i in range(1000)]
    assert abs(found[-1].exposure_ns - 999 * 5_000_000) < 10_000


def test_a_machine_that_slept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor says it, the recorder is told; a sleep of a blink is none."""
    from rtface import platform
    from rtface.camera_config import SyntheticSection
    from rtface.config import Rig
    from rtface.run import Supervisor

    assert 0 <= platform.suspended_ns() <= platform.suspended_ns() + 1000
    slept = [5_000_000_000]
    monkeypatch.setattr(platform, "suspended_ns", lambda: slept[0])
    supervisor = Supervisor(Rig(camera={"cam1": SyntheticSection(kind="synthetic")}))
    try:
        slept[0] += platform.SLEPT_NS // 2
        supervisor.turn()
        assert supervisor.faults == []
        slept[0] += 3_600_000_000_000
        supervisor.publish_status()
        supervisor._look_for_sleep()
        assert supervisor.faults == ["the machine slept for 3600.0 s during the run"]
        supervisor._look_for_sleep()
        assert len(supervisor.faults) == 1
    finally:
        supervisor.stop()


def test_a_tracker_finds_its_clocks_anew_after_a_sleep() -> None:
    from rtface.exposure import FrameTimer, Timing
    from rtface.types import Stamp

    timer = FrameTimer(Timing(5_000_000))
    for i in range(1000):
        timer(Stamp(0, i, i * 5_000_000, i * 5_000_000))
    timer.restart()
    # the camera's clock went on for an hour, the host's stood still
    asleep = 3_600_000_000_000
    found = [timer(Stamp(0, i, i * 5_000_000 + asleep, i * 5_000_000)) for i in range(1000, 2000)]
    assert found[0].time_source == TimeSource.DELIVERY
    assert abs(found[-1].exposure_ns - 1999 * 5_000_000) < 20_000
    assert timer.state()["resets"] == 1


def test_only_records_of_the_wall_clock_read_it() -> None:
    """What stamps, tracks and times frames never asks for the time of day."""
    package = ROOT / "rtface"
    asking = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "time.time(" in (text := path.read_text()) or "time.time_ns(" in text
    }
    # a session's name and beginning, its clock pairs, the status, when a repair was made, the
    # hour in a bridge's line and in the remark that a face is gone, when a rig was accepted, and
    # what is said of this machine: none of them times a frame
    assert asking == {
        "accept/record.py",
        "recorder.py",
        "session/writer.py",
        "run.py",
        "session/repair.py",
        "bridge/relay.py",
        "watch.py",
        "doctor/clock.py",
        "doctor/report.py",
    }
