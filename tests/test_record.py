"""Recording while things are asked for, die, or run out of room."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from programs import (
    FFV1,
    RECORD,
    RTFACE,
    SMALL,
    Program,
    alive,
    only_session,
    recorded_frames,
    running,
    wait_until,
)
from test_session import cli

import rtface
from rtface.config import parse_rig
from rtface.control import answer
from rtface.recorder import Recorder
from rtface.session import open_session
from rtface.session.layout import Status
from rtface.session.verify import verify
from rtface.types import UserError

COMMAND = RECORD.format(video="x264") + 'start = "command"\n'


def control(program: Program, cmd: str, **fields: Any) -> dict[str, Any]:
    reply: dict[str, Any] = rtface.ask(cmd, f"tcp://127.0.0.1:{program.control}", **fields)
    return reply


def sessions(folder: Path) -> list[Path]:
    return sorted((folder / "rec").iterdir())


def state(program: Program) -> str:
    return str(program.status()["recording"]["state"])


def test_a_disk_that_does_not_say_what_is_free_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = parse_rig({"camera": {"cam1": {"kind": "synthetic"}}}, "rig")
    recorder = Recorder(rig, "", tmp_path, {})
    free_mb = recorder.counts()["free_mb"]
    assert 0 < free_mb < 2**40

    def silent(_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(shutil, "disk_usage", silent)  # a network that hangs for a moment
    assert recorder.counts()["free_mb"] == free_mb
    assert not recorder.counts()["disk_low"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sessions_by_the_control_port(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL, extra=COMMAND) as program:
        assert control(program, "stop_record")["error"] == "nothing is being recorded"
        wait_until(lambda: program.counts()["tracked"] > 0, 10)
        before = program.counts()["tracked"]
        asked_ns = time.perf_counter_ns()
        assert control(program, "record", subject="m1", name="day-2") == {"ok": True}
        wait_until(lambda: state(program) == "recording", 10)
        assert "already recording into" in control(program, "record")["error"]
        wait_until(lambda: recorded_frames(program) > 60, 10)
        assert control(program, "annotate", text="shutter")["ok"]
        stopped_ns = time.perf_counter_ns()
        assert control(program, "stop_record")["ok"]
        wait_until(lambda: state(program) == "waiting", 10)
        # and again, as a Pupil client asks
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(f"tcp://127.0.0.1:{program.control}")
            for word, then in ((b"R second", "recording"), (b"r", "waiting")):
                socket.send(word)
                assert socket.poll(5000)
                assert socket.recv() == b"OK"
                wait_until(lambda then=then: state(program) == then, 10)  # type: ignore[misc]
        assert program.counts()["tracked"] > before
        code, _, err = program.stop()
    assert code == 0, err
    first, second = sessions(tmp_path)
    assert first.name.endswith("_m1_day-2")
    assert second.name.endswith("_second")
    assert verify(first) == verify(second) == []
    with open_session(first) as session:
        assert session.about.subject == "m1"
        times = session.cameras["cam1"].frames[:]["t_host_ns"]
        # from the first frame after the order to the last one before the other
        assert 0 <= times[0] - asked_ns < 200e6
        assert times[-1] < stopped_ns + 200e6
        seqs = session.cameras["cam1"].results[:]["frame_seq"]
        frames = session.cameras["cam1"].frames[:]["frame_seq"]
        assert frames[0] <= seqs[0]
        assert seqs[-1] <= frames[-1]
        assert [e.kind for e in session.events] == ["began", "annotation", "ended"]
        assert session.ended
        assert session.ended.fields["why"] == "asked"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_session_by_a_line_of_the_camera(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = SMALL + "line0_s = [1.0, 2.5]\n"
    extra = RECORD.format(video="none") + 'start = "line"\n'
    with running(tmp_path, tiny_bundle, camera, extra=extra) as program:
        wait_until(lambda: program.status()["recording"]["sessions"] == 1, 30)
        code, _, err = program.stop()
    assert code == 0, err
    folder = only_session(tmp_path)
    assert verify(folder) == []
    # and ended by the run, with the line still high
    always = tmp_path / "always"
    always.mkdir()
    camera = SMALL + "line0_s = [0.5, 1000.0]\n"
    with running(always, tiny_bundle, camera, extra=extra) as program:
        wait_until(lambda: recorded_frames(program) > 20, 30)
        code, _, err = program.stop()
    assert code == 0, err
    assert verify(only_session(always)) == []
    with open_session(folder) as session:
        frames = session.cameras["cam1"].frames[:]
    assert (frames["status"] == Status.NO_VIDEO).all()
    # exactly the frames that saw the line high: t_camera is the film's time
    assert frames["t_camera_ns"][0] == 1_000_000_000
    assert frames["t_camera_ns"][-1] == 2_490_000_000
    assert (frames["line_status"] == 1).all()


@pytest.mark.slow
def test_nothing_to_record_into(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        assert "give it --record DIR" in control(program, "record")["error"]
        assert program.status()["recording"] is None
    blocked = tmp_path / "file"
    blocked.write_text("")
    said = cli("demo", "--record", blocked / "rec", "--seconds", "1", code=2)
    assert f"{blocked / 'rec'}: cannot record there" in said
    assert "--subject: letters" in cli("demo", "--record", ".", "--subject", "../x", code=2)
    assert "go with --record" in cli("demo", "--name", "x", code=2)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (b'{"cmd": "record", "subject": "../../etc"}', "letters, digits"),
        (b'{"cmd": "record", "name": "a/b"}', "letters, digits"),
        (b'{"cmd": "record", "folder": "/tmp"}', "no field 'folder'"),
        (b'{"cmd": "record", "subject": 7}', "text of at most"),
        (b'{"cmd": "annotate", "text": "' + b"x" * 3001 + b'"}', "text of at most"),
        (b'{"cmd": "annotate", "text": "\\ud800"}', "cannot be shown"),
        (b'{"cmd": "annotate", "text": "\\u001b[2J"}', "cannot be shown"),
        (b'{"cmd": ["record"]}', "unknown cmd"),
        (b"R ../../etc", "letters, digits"),
    ],
)
def test_orders_that_are_refused(command: bytes, told: str) -> None:
    def act(order: str, fields: dict[str, str]) -> None:
        raise AssertionError("was obeyed")

    assert told in answer(command, {}, {"data": {"cam1": "tcp://a:1"}}, 0, act).decode()


def test_orders_that_cannot_be_obeyed_get_an_answer() -> None:
    def act(order: str, fields: dict[str, str]) -> None:
        raise UserError(f"no {order} {fields}")

    endpoints = {"data": {"cam1": "tcp://a:1"}}
    assert b'"ok": false' in answer(b'{"cmd": "record", "name": "a"}', {}, endpoints, 0, act)
    assert answer(b"r", {}, endpoints, 0, act) == b"no stop_record {}"


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", ["track cam1", "acquire cam1", "supervisor"])
def test_the_recorder_outlives_the_others(tmp_path: Path, tiny_bundle: Path, victim: str) -> None:
    """All results that were in the ring are in a closed session."""
    with running(tmp_path, tiny_bundle, SMALL, extra=FFV1) as program:
        stream = rtface.subscribe("cam1", program.data, timeout_s=1)
        pids = program.pids()
        stream.receive(5)
        wait_until(lambda: recorded_frames(program) > 100, 20)
        pid = program.popen.pid if victim == "supervisor" else program.pid(victim)
        os.kill(pid, signal.SIGKILL)
        published = [message.seq for message in stream]
        stream.close()
        wait_until(lambda: not any(alive(one) for one in pids), 5)
        program.popen.communicate(timeout=20)
    folder = only_session(tmp_path)
    assert verify(folder) == []
    with open_session(folder) as session:
        seqs = session.cameras["cam1"].results[:]["seq"].tolist()
        assert session.ended
    assert seqs == list(range(len(seqs)))
    assert seqs[-1] >= published[-1]


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_a_recorder_that_stood_still_says_what_it_missed(tmp_path: Path, tiny_bundle: Path) -> None:
    extra = FFV1 + "[ring]\nframes_s = 1.0\nresults_s = 2.0\n"
    with running(tmp_path, tiny_bundle, SMALL, extra=extra) as program:
        wait_until(lambda: recorded_frames(program) > 50, 20)
        pid = program.pid("record")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(pid, signal.SIGCONT)
        n = program.counts()["delivered"]
        wait_until(lambda: recorded_frames(program) > n + 50, 20)
        code, out, err = program.stop()
    assert code == 0, err
    folder = only_session(tmp_path)
    assert verify(folder) == []
    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        frames, results = camera.frames[:], camera.results[:]
        assert session.ended
        counts = session.ended.fields["cameras"]["cam1"]
        assert sum(1 for _ in camera.images()) == counts["in_video"]
    assert frames["frame_seq"].tolist() == list(range(len(frames)))  # each by its name
    status = frames["status"]
    gone = np.flatnonzero(status == Status.OVERWRITTEN)
    stamps = np.flatnonzero(status == Status.BEHIND)
    assert 150 < len(gone) < 400  # 3 s less the ring's 1 s
    assert len(stamps) > 30
    assert gone[-1] < stamps[0]
    assert (np.diff(gone) == 1).all()  # one gap
    assert (np.diff(stamps) == 1).all()
    assert (frames["t_host_ns"][stamps] > 0).all()
    assert counts["results_lost"] == np.diff(results["seq"]).sum() - len(results) + 1 > 0
    found = re.search(
        r"(\d+) frames = (\d+) in the video \+ (\d+) without pixels .* (\d+) lost", out
    )
    assert found
    total, *kinds = map(int, found.groups())
    assert total == len(frames) == sum(kinds)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB."""
    folder = tmp_path / "rec"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system of its own; run as root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("sudden", [False, True])
def test_a_full_disk_ends_the_recording_in_order(
    tmp_path: Path, tiny_bundle: Path, small_disk: Path, sudden: bool
) -> None:
    limits = (1, 1) if sudden else (20, 10)
    extra = '[record]\nfolder = "rec"\nvideo = "ffv1"\n'
    extra += f"warn_free_mb = {limits[0]}\nstop_free_mb = {limits[1]}\n"
    with running(tmp_path, tiny_bundle, SMALL, extra=extra) as program:
        if sudden:
            wait_until(lambda: recorded_frames(program) > 20, 20)
            filler = small_disk.with_name("rec") / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(1 << 16)):
                        pass
                except OSError:
                    pass
        wait_until(lambda: program.status()["recording"]["fault"] is not None, 60)
        fault = program.status()["recording"]["fault"]
        before = program.counts()["tracked"]
        wait_until(lambda: program.counts()["tracked"] > before + 100, 20)  # the stream goes on
        assert all(c["state"] == "running" for c in program.status()["children"])
        code, out, err = program.stop()
    assert code == 1
    assert fault in err
    assert "every frame accounted for: yes" in out
    folder = next(path for path in small_disk.iterdir() if path.is_dir())
    if sudden:
        (small_disk / "filler").unlink()
        cli("session", "repair", folder)
    else:
        assert "less than record.stop_free_mb = 10 MB" in fault
    assert verify(folder) == []
    with open_session(folder) as session:
        assert session.ended
        kinds = [event.kind for event in session.events]
        assert len(session.cameras["cam1"].results[:]) > 10
        assert sudden or "disk_low" in kinds
        assert sum(1 for _ in session.cameras["cam1"].images()) > 10


def test_ffv1_keeps_every_bit_of_a_16_bit_camera(tmp_path: Path) -> None:
    from rtface.session import packets
    from rtface.session.layout import video_name
    from rtface.session.video import VideoWriter, check_encoder
    from rtface.types import CameraInfo

    info = CameraInfo(60, 80, 12, 100.0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4096, (30, 60, 80), dtype=np.uint16)
    writer = VideoWriter(tmp_path, "cam1", info, "ffv1", 18, 0.1)
    places = [writer.encode(image, 10_000_000 * i) for i, image in enumerate(images)]
    writer.close()
    assert [place[:2] for place in places[:2]] == [(0, 0), (0, 10)]
    assert places[-1][:2] == (2, 90)
    found = []
    for part in range(3):
        wanted = [place[1:] for place in places if place.part == part]
        path = tmp_path / video_name("cam1", part)
        assert all(packets.usable(wanted, packets.scan(path, (60, 80))))
        found += [image.copy() for _, image in packets.images(path, (60, 80), wanted)]
    assert np.array_equal(found, images)
    with pytest.raises(UserError, match="x264 keeps 8 bits and the camera delivers 12"):
        check_encoder(info, "x264", 18)


def test_an_encoder_that_cannot_start_is_named() -> None:
    from rtface.session.video import check_encoder
    from rtface.types import CameraInfo

    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    with pytest.raises(UserError, match="'nvenc' cannot start for 640x480 px"):
        check_encoder(CameraInfo(480, 640, 8, 100.0), "nvenc", 18)


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("video", ["ffv1", "x264"])
def test_two_cameras_are_recorded_and_replayed_apart(
    tmp_path: Path, tiny_bundle: Path, video: str
) -> None:
    other = SMALL.replace("100.0", "50.0").replace("320", "160") + "seed = 3\n"
    cameras = f"{SMALL}[camera.second]\n{other}"
    with running(tmp_path, tiny_bundle, cameras, extra=RECORD.format(video=video)) as program:
        wait_until(lambda: recorded_frames(program) > 150, 20)
        code, _, err = program.stop()
    assert code == 0, err
    folder = only_session(tmp_path)
    assert verify(folder) == []
    with open_session(folder) as session:
        one, two = session.cameras["cam1"], session.cameras["second"]
        assert len(one.frames) > 1.5 * len(two.frames) > 50
        assert [image.shape for _, image in two.images()] == [(240, 160)] * len(two.frames)
        assert sum(1 for _ in one.images()) == len(one.frames)
        stream = session.about.rig["stream"]
        addresses = {
            "cam1": f"tcp://127.0.0.1:{stream['data_port']}",
            "second": f"tcp://127.0.0.1:{stream['data_port'] + 2}",
        }
        streams = {c: rtface.subscribe(c, a, timeout_s=2) for c, a in addresses.items()}
        replay = subprocess.Popen([RTFACE, "replay", str(folder), "--wait", "--pace", "0"])
        for name, camera in session.cameras.items():
            wanted = camera.keypoints()
            first = streams[name].receive(20)
            found = [first, *streams[name]]
            streams[name].close()
            assert len(found) == len(wanted)
            for message, keypoints in zip(found, wanted, strict=True):
                assert message
                assert message.keypoints is not None
                assert np.array_equal(message.keypoints, keypoints)
        assert replay.wait(20) == 0


@pytest.mark.slow
def test_a_session_that_grows_can_be_read(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL, extra=FFV1) as program:
        wait_until(lambda: recorded_frames(program) > 100, 20)
        folder = only_session(tmp_path)
        assert "is still being recorded" in cli("session", "verify", folder, code=2)
        assert "is still being recorded" in cli("session", "repair", folder, code=2)
        with open_session(folder) as session:
            camera = session.cameras["cam1"]
            n = len(camera.results)
            assert n > 50
            assert len(camera.keypoints(0, n)) == n
            assert 40 < sum(1 for _ in camera.images()) <= len(camera.frames)
            wait_until(lambda: len(camera.results) > n + 50, 20)
        code, _, err = program.stop()
    assert code == 0, err
    assert verify(folder) == []


@pytest.mark.slow
def test_check_says_where_and_how_much_room(tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text(f"[camera.cam1]\n{SMALL}{FFV1}")
    assert f"{tmp_path / 'rec'}: video ffv1, starts by run, " in cli("check", rig)
    rig.write_text(rig.read_text().replace("free_mb = 1\n", "free_mb = 999999999\n"))
    rig.write_text(rig.read_text().replace("warn_free_mb = 2", "warn_free_mb = 999999999"))
    assert "stop_free_mb: " in cli("check", rig, code=2)
    (tmp_path / "rec").rmdir()
    (tmp_path / "rec").write_text("")
    assert "name another folder" in cli("check", rig, code=2)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_was_normalised_by_frames_before_is_not_computed_again(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    camera = SMALL + 'normalise = "frozen"\n'
    with running(tmp_path, tiny_bundle, camera, extra=FFV1) as program:
        wait_until(lambda: recorded_frames(program) > 20, 20)
        program.stop()
    said = cli("replay", only_session(tmp_path), "--recompute", code=2)
    assert "normalise = 'frozen'" in said
    assert "only 'per frame' can be computed again" in said
