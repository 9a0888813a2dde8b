"""How a run ends: by Ctrl-C, by the death of each of its processes, by another run in its way."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import msgpack
import pytest
import zmq
from programs import RTFACE, SMALL, SYNTHETIC, Program, alive, running, wait_until
from videofiles import cut, pictures, write

import rtface
from rtface.rings import FrameRingWriter
from rtface.types import CameraInfo

pytestmark = pytest.mark.slow


def gone_within(pids: list[int], seconds: float) -> float:
    """Wait until none of the processes is alive; return how long it took."""
    start = time.monotonic()
    wait_until(lambda: not any(alive(pid) for pid in pids), seconds)
    return time.monotonic() - start


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_nothing(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path, how: signal.Signals
) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        pids = program.pids()
        assert len(list(ring_dir.iterdir())) == 2
        program.popen.send_signal(how)
        assert gone_within(pids, 2.0) < 2.0
        code, out, err = program.stop()
    assert code == 0, err
    assert "every frame accounted for: yes" in out
    assert "Traceback" not in err
    assert list(ring_dir.iterdir()) == []


def test_a_disk_that_hangs_under_the_rig_file_does_not_hold_up_the_end(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        # opening a FIFO that nobody reads waits, as a file of a network disk that is away does
        os.mkfifo(program.rig.with_name(f".{program.rig.name}.new"))
        address = f"tcp://127.0.0.1:{program.control}"
        for text in ("no word within", "is just being written"):
            reply = rtface.ask("write_rig", address, 5, camera="cam1", bbox="8,8,64,64")
            assert text in reply["error"]
        wait_until(lambda: program.counts()["tracked"] > 0, 10)
        pids = program.pids()
        program.popen.send_signal(signal.SIGINT)
        gone_within(pids, 5.0)
        code, _, err = program.stop()
    assert code == 0, err
    assert "Traceback" not in err
    assert "bbox" not in program.rig.read_text()


def test_ctrl_c_while_starting_leaves_nothing(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    program = Program(tmp_path, SYNTHETIC.format(rate=100.0), tiny_bundle, "onnxruntime", "")
    wait_until(lambda: program.status()["lifecycle"] == "starting", 20)
    pids = program.pids()
    assert len(pids) == 3
    program.popen.send_signal(signal.SIGINT)
    gone_within(pids, 2.5)
    code, out, err = program.stop()
    assert code == 0
    assert "Traceback" not in err
    assert out == "cam1: stopped before its first frame\n"
    assert list(ring_dir.iterdir()) == []


def test_children_end_when_the_supervisor_is_killed_while_starting(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    program = Program(tmp_path, SYNTHETIC.format(rate=100.0), tiny_bundle, "onnxruntime", "")
    wait_until(lambda: len(program.pids()) == 3, 20)
    pids = program.pids()
    program.popen.kill()
    gone_within(pids, 2.0)
    program.close()


def test_nohup_is_respected(tmp_path: Path, tiny_bundle: Path) -> None:
    program = Program(tmp_path, SMALL, tiny_bundle, "onnxruntime", "", before=["nohup"])
    program.until_running()
    program.popen.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert program.status()["lifecycle"] == "running"
    assert program.stop()[0] == 0


def test_files_of_others_in_the_ring_directory_stay(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    mine = ring_dir / "mouse1.results"
    mine.write_text("a year of work")
    with running(tmp_path, tiny_bundle, SMALL) as program:
        assert program.stop()[0] == 0
    assert [path.name for path in ring_dir.iterdir()] == [mine.name]


def test_a_ring_of_another_run_is_not_taken_for_ones_own(tmp_path: Path, tiny_bundle: Path) -> None:
    # as an acquisition process that outlives its killed supervisor for a second holds it
    left = FrameRingWriter("cam1", CameraInfo(240, 320, 8, 100.0), 0.1, "another run")
    program = Program(tmp_path, SYNTHETIC.format(rate=100.0), tiny_bundle, "onnxruntime", "")
    wait_until(lambda: len(program.pids()) == 3, 20)
    time.sleep(0.5)  # the camera is drawn for seconds, the tracker looks for its ring meanwhile
    left.close()
    program.until_running()
    wait_until(lambda: program.counts()["tracked"] > 10, 20)
    assert program.stop()[0] == 0


def test_files_in_the_users_folder_do_not_stand_in_for_modules(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('taken for the library')")
    monkeypatch.chdir(tmp_path)
    with running(tmp_path, tiny_bundle, SMALL) as program:
        assert program.stop()[0] == 0


@pytest.mark.parametrize("victim", ["acquire cam1", "track cam1"])
@pytest.mark.parametrize(
    ("how", "told"),
    [
        (signal.SIGKILL, "was killed by signal 9"),
        (signal.SIGTERM, "ended with exit code 143"),  # as an out-of-memory daemon does first
    ],
)
def test_a_killed_child_is_noticed_and_ends_the_run(
    tmp_path: Path,
    tiny_bundle: Path,
    ring_dir: Path,
    victim: str,
    how: signal.Signals,
    told: str,
) -> None:
    with (
        running(tmp_path, tiny_bundle, SMALL) as program,
        zmq.Context() as context,
        context.socket(zmq.SUB) as socket,
    ):
        socket.setsockopt(zmq.SUBSCRIBE, b"status.")
        socket.connect(program.status_address)
        socket.setsockopt(zmq.RCVTIMEO, 3000)
        socket.recv_multipart()  # connected: nothing from here on can be missed
        pids = program.pids()
        os.kill(program.pid(victim), how)
        killed = time.monotonic()
        while True:
            status = msgpack.unpackb(socket.recv_multipart()[1])
            states = {child["name"]: child["state"] for child in status["children"]}
            if states[victim] == "died":
                break
        assert time.monotonic() - killed < 1.0
        assert status["lifecycle"] == "failed"
        gone_within(pids, 3.0)
        code, _, err = program.stop()
    assert code == 1
    lines = [line for line in err.splitlines() if line.startswith("rtface:")]
    assert lines == [f"rtface: {victim} {told}; the run was stopped"]
    assert "Traceback" not in err
    assert list(ring_dir.iterdir()) == []


def test_children_end_when_the_supervisor_is_killed(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        pids = program.pids()
        program.popen.kill()
        gone_within(pids, 2.0)
    assert list(ring_dir.iterdir()) == []  # they had time to remove their rings


def test_a_hanging_child_is_killed_and_counted(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        pids = program.pids()
        os.kill(program.pid("track cam1"), signal.SIGSTOP)
        program.popen.send_signal(signal.SIGINT)
        assert gone_within(pids, 3.0) < 2.2
        _, out, _ = program.stop()
    assert "1 process(es) did not end in time and were killed" in out


def refused(program: Program) -> str:
    code, out, err = program.stop(timeout_s=30) if program.popen.wait(30) else (0, "", "")
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    return lines[0]


def test_two_runs_of_one_camera_name(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as first:
        line = refused(Program(tmp_path, SMALL, tiny_bundle, "onnxruntime", ""))
        assert "cam1" in line
        assert "already being run" in line
        assert first.status()["lifecycle"] == "running"  # and the first did not notice


@pytest.mark.parametrize("key", ["control_port", "data_port", "status_port"])
def test_a_port_in_use(tmp_path: Path, tiny_bundle: Path, key: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        program = Program(tmp_path, SMALL, tiny_bundle, "onnxruntime", "")
        program.popen.kill()
        program.popen.communicate()
        lines = program.rig.read_text().splitlines()
        lines = [f"{key} = {port}" if line.startswith(key) else line for line in lines]
        program.rig.write_text("\n".join(lines))
        done = subprocess.run(
            [RTFACE, "run", str(program.rig)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert str(port) in done.stderr
        assert key in done.stderr
        assert done.stderr.count("\n") == 1
        checked = subprocess.run(
            [RTFACE, "check", str(program.rig)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 2
        assert str(port) in checked.stderr


def test_a_stale_ring_of_a_killed_run_is_in_nobodys_way(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        pids = program.pids()
        for pid in reversed(pids):  # children first, so that nobody can clean up
            os.kill(pid, signal.SIGKILL)
        gone_within(pids, 2.0)
    assert sorted(path.name for path in ring_dir.iterdir()) == ["cam1.frames", "cam1.results"]
    with running(tmp_path, tiny_bundle, SMALL) as program:
        wait_until(lambda: program.counts()["tracked"] > 0, 10)
        code, _, err = program.stop()
    assert code == 0, err
    assert list(ring_dir.iterdir()) == []


def test_rings_that_do_not_fit(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = 'kind = "synthetic"\nwidth = 1024\nheight = 1024\nrate_hz = 2000.0\n'
    program = Program(tmp_path, camera, tiny_bundle, "onnxruntime", "[ring]\nframes_s = 600\n")
    line = refused(program)
    assert "MB does not fit" in line
    assert "frames_s" in line


def test_ring_directory_that_cannot_be_used(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("RTFACE_RING_DIR", str(blocked / "rings"))
    line = refused(Program(tmp_path, SMALL, tiny_bundle, "onnxruntime", ""))
    assert "RTFACE_RING_DIR" in line


def test_a_truncated_video_ends_the_run_with_its_line(tmp_path: Path, tiny_bundle: Path) -> None:
    film = write(tmp_path / "film.avi", "mjpeg", "yuvj420p", pictures(100))
    path = cut(film, 0.5)
    program = Program(
        tmp_path, f'kind = "video"\nfile = "{path}"\n', tiny_bundle, "onnxruntime", ""
    )
    program.popen.wait(30)
    code, _, err = program.stop()
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("rtface:")]
    assert len(lines) == 1
    assert "film.avi" in lines[0]
    frames = re.search(r"broke off after (\d+) frames", lines[0])
    assert frames is not None
    assert 30 < int(frames[1]) < 70
    assert "Traceback" not in err
