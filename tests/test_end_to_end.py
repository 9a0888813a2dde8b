"""The whole path in real processes: camera, acquisition, tracker, wire, subscriber."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, free_ports
from programs import RTFACE, SMALL, SYNTHETIC, CountingSubscriber, account, running, wait_until
from videofiles import pictures, write

import rtface


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "stopped_s",
    [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.soak)],
)
def test_four_counts_agree_at_500_hz(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path, stopped_s: int
) -> None:
    with running(tmp_path, tiny_bundle, SYNTHETIC.format(rate=500.0)) as program:
        subscriber = CountingSubscriber(program.data)
        time.sleep(1.0)
        tracker = program.pid("track cam1")
        if stopped_s:
            os.kill(tracker, signal.SIGSTOP)
            time.sleep(stopped_s)
            os.kill(tracker, signal.SIGCONT)
        time.sleep(1.5)
        code, out, err = program.stop()
    assert code == 0, err
    seen = subscriber.result()
    counts = account(out)
    # four processes: the camera's count and the ids acquisition saw ...
    assert counts["produced"] == counts["delivered"] + counts["lost"]
    # ... what the tracker did with them ...
    assert counts["delivered"] == counts["tracked"] + counts["skipped"]
    # ... and what a subscriber got: every message from its first one to the very last
    assert seen["lost"] == 0
    assert seen["received"] == seen["last_seq"] - seen["first_seq"] + 1
    assert seen["last_seq"] + 1 == counts["tracked"]
    assert seen["last_frame_seq"] + 1 == counts["tracked"] + seen["last_skipped"]
    assert "every frame accounted for: yes" in out
    assert counts["produced"] > 500 * 2
    if stopped_s:
        assert counts["skipped"] > 300
    assert list(ring_dir.iterdir()) == []


@pytest.mark.data
@pytest.mark.slow
def test_live_keypoints_equal_offline_keypoints(tmp_path: Path, data: Path) -> None:
    clip = data / "facemap_g7c1" / "cam1_G7c1_1_1second.avi"
    out = tmp_path / "offline.csv"
    # the whole frame, in both: a crop that follows is elsewhere after the film's beginning
    words = ["track", str(clip), "--out", str(out), "--face", "off"]
    subprocess.run([RTFACE, *words], check=True, capture_output=True)
    with out.open() as file:
        offline = list(csv.DictReader(file))
    assert len(offline) == 30
    camera = f'kind = "video"\nfile = "{clip}"\nloop = true\nface = "off"\n'
    with (
        running(tmp_path, "default", camera) as program,
        rtface.subscribe("cam1", program.data, timeout_s=20) as stream,
    ):
        names = stream.meta()["keypoints"]
        for _, message in zip(range(20), stream, strict=False):
            row = offline[message.fields["frame_id"] % 30]
            expected = [[float(row[f"{n}_{c}"]) for c in ("x", "y", "score")] for n in names]
            np.testing.assert_allclose(message.keypoints, expected, atol=2e-3)


@pytest.mark.slow
def test_a_video_ends_by_itself_with_every_frame_tracked(tmp_path: Path, tiny_bundle: Path) -> None:
    write(tmp_path / "film.mkv", "ffv1", "gray", pictures(60))
    control, data_port, status = free_ports()
    rig = tmp_path / "rig.toml"
    rig.write_text(
        f'[camera.cam1]\nkind = "video"\nfile = "film.mkv"\n[engine]\nbundle = "{tiny_bundle}"\n'
        f"[stream]\ncontrol_port = {control}\ndata_port = {data_port}\nstatus_port = {status}\n"
    )
    done = subprocess.run([RTFACE, "run", str(rig)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = account(done.stdout)
    assert counts["produced"] == 60
    assert counts["delivered"] == counts["tracked"] + counts["skipped"]
    assert "every frame accounted for: yes" in done.stdout
    # too fast to be played: what comes too late is lost, also at the very end, and is counted
    rig.write_text(rig.read_text().replace('"film.mkv"', '"film.mkv"\nrate_hz = 2000.0'))
    done = subprocess.run([RTFACE, "run", str(rig)], capture_output=True, text=True, check=False)
    assert account(done.stdout)["produced"] == 60
    assert "every frame accounted for: yes" in done.stdout
    # as fast as possible: none is lost, the tracker skips
    rig.write_text(rig.read_text().replace("rate_hz = 2000.0", "fast = true"))
    done = subprocess.run([RTFACE, "run", str(rig)], capture_output=True, text=True, check=False)
    assert account(done.stdout)["delivered"] == 60
    assert "every frame accounted for: yes" in done.stdout


@pytest.mark.slow
def test_two_cameras_side_by_side(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = 'kind = "synthetic"\nwidth = 320\nheight = 240\nrate_hz = 50.0\n'
    second = f"[camera.cam2]\n{camera}seed = 2\n"
    with running(tmp_path, tiny_bundle, camera, extra=second) as program:
        assert len(program.pids()) == 5
        data = rtface.ask("endpoints", f"tcp://127.0.0.1:{program.control}")["data"]
        assert int(data["cam2"].rsplit(":", 1)[1]) == int(data["cam1"].rsplit(":", 1)[1]) + 2
        for name, address in data.items():
            with rtface.subscribe(name, address, timeout_s=10) as stream:
                assert stream.meta()["camera"]["name"] == name
                assert next(stream).topic == f"pose.{name}."
        code, out, err = program.stop()
    assert code == 0, err
    assert out.count("every frame accounted for: yes") == 2


@pytest.mark.slow
def test_demo_publishes_and_compares_with_the_truth(ring_dir: Path) -> None:
    # the demo uses the standard ports: another rtface on this machine would be in its way
    demo = subprocess.Popen(
        [RTFACE, "demo", "--seconds", "6"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    listen = subprocess.run(
        [RTFACE, "listen", "--json", "--seconds", "2"], capture_output=True, text=True, check=False
    )
    while listen.returncode == 2 and demo.poll() is None:  # the demo is still starting
        listen = subprocess.run(
            [RTFACE, "listen", "--json", "--seconds", "1"],
            capture_output=True,
            text=True,
            check=False,
        )
    example = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / "subscriber.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    out, err = demo.communicate(timeout=30)
    assert demo.returncode == 0, err
    assert example.returncode == 0, example.stderr
    assert example.stdout.count("nose(") > 20
    assert ", 0 lost" in example.stdout
    messages = [json.loads(line) for line in listen.stdout.splitlines()]
    assert len(messages) > 20
    assert len(messages[0]["keypoints"]) == 16
    assert [m["seq"] for m in messages] == list(
        range(messages[0]["seq"], messages[0]["seq"] + len(messages))
    )
    median = re.search(r"median ([\d.]+) px", out)
    assert median is not None, out
    assert float(median[1]) < 20  # the eye is about 60 px wide
    assert "every frame accounted for: yes" in out
    assert list(ring_dir.iterdir()) == []


def test_status_and_control(tmp_path: Path, tiny_bundle: Path) -> None:
    import msgpack
    import zmq

    with running(tmp_path, tiny_bundle, SMALL) as program, zmq.Context() as context:
        with context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.SUBSCRIBE, b"status.")
            socket.connect(program.status_address)
            socket.setsockopt(zmq.RCVTIMEO, 5000)
            topic, packed, text = socket.recv_multipart()
            assert topic == b"status."
            status = msgpack.unpackb(packed)
            assert status == json.loads(text)
            assert abs(status["t_host_ns"] - time.perf_counter_ns()) < 10e9
        wait_until(lambda: program.counts()["n"] > 0, 10)
        with context.socket(zmq.REQ) as socket:  # as a Pupil script would
            socket.setsockopt(zmq.RCVTIMEO, 5000)
            socket.connect(f"tcp://127.0.0.1:{program.control}")
            for request, expected in (
                ("SUB_PORT", program.data.rsplit(":", 1)[1]),
                ("v", rtface.__version__),
                ("R", "this run records nothing; give it --record DIR or [record] folder"),
                ("C", "Unknown command."),
            ):
                socket.send_string(request)
                assert socket.recv_string() == expected
            before = time.perf_counter_ns()
            socket.send_string("t")
            told = float(socket.recv_string())
            assert before * 1e-9 - 1e-3 <= told <= time.perf_counter_ns() * 1e-9 + 1e-3
        control = f"tcp://127.0.0.1:{program.control}"
        assert rtface.ask("endpoints", control)["data"]["cam1"] == program.data
        assert "unknown cmd" in rtface.ask("reboot", control)["error"]
