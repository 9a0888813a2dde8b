"""rtface on real harvesters and a simulated camera whose log says what truly happened."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import genicam
import numpy as np
import pytest
from gentlsim import DELIVERED, DROPPED, INCOMPLETE, TRIGGER_MISSED, Simulator
from programs import FFV1, RTFACE, only_session, recorded_frames, running, wait_until

import rtface
from rtface.session.verify import verify
from rtface.types import CAUSES, Flag

pytestmark = pytest.mark.cameras
VIKY = Path(genicam.__file__).parent / "viky.cti"
CAMERA = """kind = "genicam"
producer = "{cti}"
serial = "SIM00001"
rate_hz = {rate}
exposure_us = 1000.0
stamp_means = "start"
{more}
"""


def clip(n: int = 50, height: int = 96, width: int = 128) -> np.ndarray:
    """Frames that tell their number in the first pixel, of noise that no lossy step would keep."""
    frames = np.random.default_rng(4).integers(0, 256, (n, height, width), np.uint8)
    frames[:, 0, 0] = np.arange(n)
    return frames


def simulate(monkeypatch: pytest.MonkeyPatch, folder: Path, **keys: Any) -> Simulator:
    told = {"width": 128, "height": 96, **keys}
    simulator = Simulator(folder / "sim", told)
    for name, value in simulator.env.items():
        monkeypatch.setenv(name, value)
    return simulator


def camera(simulator: Simulator, rate: float = 200.0, more: str = "") -> str:
    return CAMERA.format(cti=simulator.cti, rate=rate, more=more)


def taken(simulator: Simulator, what: int, upto: int) -> np.ndarray:
    """The log's entries of one kind up to exposure ``upto`` of the first start."""
    log = simulator.log()
    return log[(log["what"] == what) & (log["index"] <= upto) & (log["segment"] == 0)]


@pytest.mark.timeout(120)
def test_what_the_camera_was_told_is_what_comes_out(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images, ids through a wrap, stamps, causes of losses: exactly those of the camera's log."""
    pictures = clip()
    simulator = simulate(
        monkeypatch,
        tmp_path,
        clip=pictures,
        id_bits=16,
        first_id=65400,
        line_padding=16,
        drift_ppm=80.0,
        drop={100: 3, 300: 1},
        incomplete={200: 2, 301: 1},
        delay={250: 40},
    )
    with running(tmp_path, tiny_bundle, camera(simulator), extra=FFV1) as program:
        wait_until(lambda: recorded_frames(program) > 700, 60)
        code, out, err = program.stop()
    assert code == 0, err
    assert "every frame accounted for: yes" in out
    folder = only_session(tmp_path)
    assert verify(folder) == []
    with rtface.open_session(folder) as session:
        recorded = session.cameras["cam1"]
        frames, results = recorded.frames[:], recorded.results[:]
        images = [(int(r["frame_seq"]), image) for r, image in recorded.images()]
    last = int(
        simulator.log()[simulator.log()["device_ns"] == frames["t_camera_ns"][-1]]["index"][0]
    )
    log = taken(simulator, DELIVERED, last)
    assert len(frames) == len(log) > 700
    assert (frames["t_camera_ns"] == log["device_ns"]).all()
    raw = (frames["frame_id"] - 1) % 65535 + 1  # 65535 is followed by 1
    assert (raw == log["frame_id"]).all()
    assert frames["frame_id"][-1] > 65535
    assert (np.diff(frames["frame_id"]) == np.diff(log["index"])).all()
    lost = {name: int(frames[f"lost_{name}"][-1]) for name in ("link", "incomplete")}
    assert lost == {"link": 4, "incomplete": 3}
    assert len(taken(simulator, DROPPED, last)) == 4
    assert len(taken(simulator, INCOMPLETE, last)) == 3
    for seq, image in images:
        assert np.array_equal(image, pictures[log["clip_index"][seq]]), seq
    assert len(images) == len(frames)
    check_gap_flags(results, log)
    check_times(results, log)


def check_gap_flags(results: np.ndarray, log: np.ndarray) -> None:
    """The first result at or after each gap has its causes."""
    causes = sum(cause.value for cause in CAUSES)
    flagged = results[(results["flags"] & Flag.CAMERA_GAP.value) > 0]
    seen = [int(flags) & causes for flags in flagged["flags"]]
    link, damaged = Flag.LOST_LINK.value, Flag.LOST_INCOMPLETE.value
    assert seen == [link, damaged, link | damaged]
    assert results["lost_camera"][-1] == 7
    before = np.searchsorted(log["index"], [100, 200, 300])
    assert (flagged["frame_seq"] - before < 20).all()


def check_times(results: np.ndarray, log: np.ndarray) -> None:
    """From the third second on the error that is stated holds, and is small."""
    true_ns = log["middle_ns"][results["frame_seq"]]
    off_ns = np.abs(results["exposure_ns"] - true_ns)
    late = results["t_host_ns"] > results["t_host_ns"][0] + 2_500_000_000
    assert late.sum() > 50
    held = off_ns[late] <= results["exposure_err_ns"][late]
    assert held.mean() > 0.98, (off_ns[late][~held], results["exposure_err_ns"][late][~held])
    assert (results["time_source"][late] == 3).all()  # latched pairs
    assert np.median(results["exposure_err_ns"][late]) < 1_000_000


@pytest.mark.timeout(120)
def test_a_camera_that_is_unplugged_comes_back_as_a_new_segment(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(monkeypatch, tmp_path)
    with (
        running(tmp_path, tiny_bundle, camera(simulator, 100.0), extra=FFV1) as program,
        rtface.subscribe("cam1", program.data, timeout_s=30) as stream,
    ):
        wait_until(lambda: recorded_frames(program) > 100, 30)
        simulator.kill()
        wait_until(lambda: program.counts()["state"] == "gone", 15)
        assert program.popen.poll() is None
        simulator.revive()
        wait_until(lambda: program.counts()["segment"] == 1, 20)
        at = recorded_frames(program)
        wait_until(lambda: recorded_frames(program) > at + 50, 20)
        firsts = {}
        while (message := stream.receive(1.0)) is not None:
            firsts.setdefault(message.fields["segment"], message)
            if 1 in firsts:
                break
        code, out, err = program.stop()
    assert code == 1  # what happened is not passed over in silence
    assert "camera cam1: gone" in err
    assert "segment 1" in err
    assert "every frame accounted for: yes" in out
    assert firsts[1].fields["flags"] & Flag.FIRST
    assert firsts[1].fields["frame_id"] < 20  # its counter began anew
    folder = only_session(tmp_path)
    assert verify(folder) == []
    with rtface.open_session(folder) as session:
        frames = session.cameras["cam1"].frames[:]
        remarks = [e.fields["text"] for e in session.events if e.kind == "annotation"]
    assert sorted(set(frames["segment"].tolist())) == [0, 1]
    assert "gone" in remarks[0]
    assert "segment 1" in remarks[-1], remarks


@pytest.mark.timeout(60)
def test_unplugged_ends_the_run_if_the_rig_says_so(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(monkeypatch, tmp_path)
    more = 'on_gone = "stop"'
    with running(tmp_path, tiny_bundle, camera(simulator, 100.0, more), extra=FFV1) as program:
        wait_until(lambda: recorded_frames(program) > 50, 30)
        simulator.kill()
        program.popen.wait(30)
        code, _, err = program.stop()
    assert code == 2
    assert "camera.cam1: is gone" in err
    assert "on_gone = 'stop'" in err
    assert "Traceback" not in err
    assert verify(only_session(tmp_path)) == []


def give_edges(simulator: Simulator, n: int, period_s: float) -> None:
    for _ in range(n):
        simulator.edge()
        time.sleep(period_s)


@pytest.mark.timeout(180)
def test_a_triggered_session_keeps_its_segment_through_pauses(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(monkeypatch, tmp_path, rate_max_hz=100.0)
    more = 'trigger = {source = "Line0"}'
    with running(tmp_path, tiny_bundle, camera(simulator, 50.0, more), extra=FFV1) as program:
        wait_until(simulator.acquiring, 30)
        for trial in (1, 2, 3):
            give_edges(simulator, 40, 0.02)
            wait_until(lambda n=trial: recorded_frames(program) == 40 * n, 10)
            time.sleep(30)
            assert program.counts()["state"] == "waiting"
        simulator.edge(n=2)  # at once: the second is not taken
        wait_until(lambda: recorded_frames(program) == 121, 10)
        code, out, err = program.stop()
    assert code == 0, err
    assert "121 produced = 121 delivered + 0 lost" in out
    with rtface.open_session(only_session(tmp_path)) as session:
        frames = session.cameras["cam1"].frames[:]
    assert (frames["segment"] == 0).all()
    assert (frames["frame_id"] - frames["frame_id"][0] == np.arange(121)).all()
    assert (simulator.log()["what"] == TRIGGER_MISSED).sum() == 1


@pytest.mark.timeout(60)
def test_software_triggers_by_the_control_port(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(monkeypatch, tmp_path)
    more = 'trigger = {source = "Software"}'
    with running(tmp_path, tiny_bundle, camera(simulator, 50.0, more)) as program:
        control = f"tcp://127.0.0.1:{program.control}"
        for n in (1, 2, 3):
            assert rtface.ask("trigger", control, camera="cam1")["ok"]
            wait_until(lambda n=n: (simulator.log()["what"] == DELIVERED).sum() == n, 10)
        refused = rtface.ask("trigger", control, camera="cam9")
        assert "there is no camera 'cam9'" in refused["error"]
        code, out, err = program.stop()
    assert code == 0, err
    assert "3 produced = 3 delivered + 0 lost" in out


@pytest.mark.timeout(60)
def test_viky_has_no_clock_and_everything_works(tmp_path: Path, tiny_bundle: Path) -> None:
    text = (
        f'kind = "genicam"\nproducer = "{VIKY}"\nserial = "1"\npixel_format = "Mono8"\n'
        "width = 320\nheight = 240\nrate_hz = 100.0\n"
    )
    with (
        running(tmp_path, tiny_bundle, text, extra=FFV1) as program,
        rtface.subscribe("cam1", program.data, timeout_s=30) as stream,
    ):
        messages = [stream.receive(5) for _ in range(150)]
        wait_until(lambda: recorded_frames(program) > 150, 30)
        code, out, err = program.stop()
    assert code == 0, err
    assert "every frame accounted for: yes" in out
    fields = [message.fields for message in messages if message is not None]
    assert len(fields) == 150
    assert {f["t_camera_ns"] for f in fields} == {None}
    assert {f["time_source"] for f in fields} <= {1, 4}  # delivery, then the frame counter
    assert all(f["exposure_err_ns"] > 0 for f in fields)
    assert verify(only_session(tmp_path)) == []


@pytest.mark.timeout(60)
def test_cameras_prints_a_rig_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = Simulator(tmp_path / "sim", {"user_id": "face"}, {"names": "pgr", "tick_hz": 8000})
    for name, value in simulator.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(simulator.cti.parent))
    done = subprocess.run([RTFACE, "cameras"], capture_output=True, text=True, check=True)
    told = tomllib.loads(done.stdout)["camera"]
    assert told["cam1"]["serial"] == "SIM00001"
    assert (told["cam1"]["width"], told["cam1"]["height"]) == (640, 480)
    assert 'called "face"' in done.stdout
    assert "Line0" in done.stdout
    assert "ticks of 125000 ns" in done.stdout
    rig = tmp_path / "rig.toml"
    rig.write_text(done.stdout)
    checked = subprocess.run([RTFACE, "check", str(rig)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "genicam, 640x480 px, 8 bit, 100 Hz" in checked.stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("width = 130", r"camera\.cam1\.width: Width cannot be 130; it takes 16 to \d+"),
        ('serial = "X"', r"camera\.cam1: there is no camera with serial X; there are: Simulated"),
        ("gain_db = 30.0", r"camera\.cam1\.gain_db: Gain cannot be 30; it takes 0 to 24"),
        ('trigger = {source = "Line9"}', r"trigger\.source: .*cannot be Line9; it takes .*Line0"),
        ("settings = {Gama = 1.0}", r"camera\.cam1\.settings\.Gama: the camera has no Gama"),
    ],
)
def test_what_the_camera_does_not_take_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, message: str
) -> None:
    simulator = simulate(monkeypatch, tmp_path)
    text = camera(simulator, 100.0)
    key = more.split(" =")[0]
    lines = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
    rig = tmp_path / "rig.toml"
    rig.write_text("[camera.cam1]\n" + "\n".join([*lines, more]) + "\n")
    done = subprocess.run([RTFACE, "check", str(rig)], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert f"{rig}: camera." in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_ctrl_c_stays_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a camera takes the handler of Ctrl-C; it is put back."""
    simulator = simulate(monkeypatch, tmp_path)
    program = f"""
import signal, sys
from rtface.camera.genicam import open_genicam
from rtface.camera_config import GenicamSection
before = signal.getsignal(signal.SIGINT)
section = GenicamSection(kind="genicam", producer="{simulator.cti}", rate_hz=100.0)
camera = open_genicam("cam1", section)
sys.exit(signal.getsignal(signal.SIGINT) is not before)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
