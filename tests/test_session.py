"""A session from its recording to identical results, through every command."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from programs import FFV1, RTFACE, SMALL, only_session, recorded_frames, running, wait_until

import rtface
from rtface.replay import recorded
from rtface.session import Session, open_session
from rtface.session.layout import Status
from rtface.session.verify import verify
from rtface.types import UserError


def cli(*words: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [RTFACE, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_recorded_killed_repaired_replayed_and_recomputed(tmp_path: Path) -> None:
    """The shipped network on the synthetic mouse; the recorder dies, nothing else does."""
    with running(tmp_path, "default", SMALL, extra=FFV1) as program:
        wait_until(lambda: recorded_frames(program) > 150, 20)
        os.kill(program.pid("record"), signal.SIGKILL)
        killed_ns = time.perf_counter_ns()
        wait_until(lambda: program.status()["recording"]["child"] == "died", 10)
        before = program.counts()["tracked"]
        wait_until(lambda: program.counts()["tracked"] > before + 50, 20)  # the stream goes on
        code, out, err = program.stop()
    assert code == 1
    assert "record was killed by signal 9" in err
    assert "every frame accounted for: yes" in out
    folder = only_session(tmp_path)

    said = cli("session", "verify", folder, code=2)
    assert "recording broke off" in said
    assert "not whole" in said
    with open_session(folder) as session:  # readable before it is repaired
        frames = session.cameras["cam1"].frames[:]
        readable = len(session.cameras["cam1"].results[:])
    assert killed_ns - frames["t_host_ns"][-1] < 1e9  # all that is older than 1 s
    assert readable > 100
    said = cli("session", "repair", folder)
    assert "wrote the event that closes the session" in said
    assert cli("session", "verify", folder).strip() == f"{folder}: whole"
    assert "nothing to do" in cli("session", "repair", folder)

    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        assert session.ended
        assert session.ended.fields["why"] == "broken off"
        wanted = list(recorded(camera))
        held = camera.frames[:]["status"] == Status.IN_VIDEO
        assert held[:-60].all()  # at most the last part of a second was not yet in the file
        sent = replayed(session, "--pace", "0", "--recorded-times")
        assert [m.seq for m in sent] == [r.seq for r in wanted]
        for message, result in zip(sent, wanted, strict=True):
            assert message.keypoints is not None
            assert message.keypoints.tobytes() == result.pose.keypoints.tobytes()
            for name, value in result.ledger._asdict().items():
                assert message.fields[name] == value
        in_video = set(camera.frames[:]["frame_seq"][held].tolist())
        comparable = sum(r.ledger.frame_seq in in_video for r in wanted)
    said = cli("replay", folder, "--recompute", "--fill")
    assert f"cam1: {comparable} of {comparable} results identical, distance p99 0.000 px" in said


def replayed(session: Session, *options: str) -> list[rtface.Message]:
    """What a subscriber gets of a replay by the command."""
    stream = session.about.rig["stream"]
    address = f"tcp://127.0.0.1:{stream['data_port']}"
    with rtface.subscribe("cam1", address, timeout_s=10) as subscriber:
        process = subprocess.Popen([RTFACE, "replay", str(session.path), "--wait", *options])
        n = len(session.cameras["cam1"].results)
        messages = [message for _, message in zip(range(n), subscriber, strict=False)]
        assert process.wait(20) == 0
        assert subscriber.lost == 0
    return messages


def test_every_frame_and_result_is_there(session_folder: Path) -> None:
    assert verify(session_folder) == []
    with open_session(session_folder) as session:
        camera = session.cameras["cam1"]
        frames, results = camera.frames[:], camera.results[:]
        assert frames["frame_seq"].tolist() == list(range(len(frames)))
        assert (frames["status"] == Status.IN_VIDEO).all()
        assert results["seq"].tolist() == list(range(len(results)))
        last = results[-1]
        # four counts by three processes: the camera's ids, acquisition's, the tracker's, ours
        assert frames["frame_id"][-1] + 1 == len(frames) + last["lost_camera"]
        assert last["frame_seq"] + 1 == len(results) + last["skipped"]
        assert session.ended
        assert session.ended.fields["cameras"]["cam1"]["frames"] == len(frames)
        assert [e.fields["text"] for e in session.events if e.kind == "annotation"] == [
            "drop of milk"
        ]
        assert session.about.cameras["cam1"].meta["model"]["sha256"]
        assert camera.keypoints(3, 5).shape == (2, 3, 3)
        times = session.unix_ns(results["t_host_ns"])
        assert abs(times[-1] - time.time_ns()) < 3600e9
        assert np.diff(times).min() > 0


def test_the_video_is_what_the_camera_delivered(session_folder: Path) -> None:
    from rtface.camera.synthetic import SyntheticCamera

    now = [0]

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1e9)

    made = SyntheticCamera(320, 240, 100.0, 1, clock=lambda: now[0], sleep=sleep)
    made.start()
    image = np.empty((240, 320), np.uint8)
    n = 0
    with open_session(session_folder) as session:
        for record, pixels in session.cameras["cam1"].images():
            stamp = made.fill(image, 1.0)
            assert stamp
            while stamp.frame_id < record["frame_id"]:
                stamp = made.fill(image, 1.0)
                assert stamp
            assert stamp.frame_id == record["frame_id"]
            assert np.array_equal(pixels, image)
            n += 1
        assert n == len(session.cameras["cam1"].frames)


def test_a_session_as_a_table(session_folder: Path) -> None:
    with open_session(session_folder) as session:
        camera = session.cameras["cam1"]
        table = camera.to_pandas(5, 25)
        keypoints = camera.keypoints(5, 25)
    assert table.index.tolist() == list(range(5, 25))
    assert np.array_equal(table["nose(tip)_x"], keypoints[:, 2, 0])
    assert np.array_equal(table["eye(back)_score"], keypoints[:, 0, 2])
    assert (table["t_done_ns"] > table["t_host_ns"]).all()


def test_a_replay_looks_like_a_live_stream(session_folder: Path) -> None:
    with open_session(session_folder) as session:
        sent = replayed(session, "--pace", "2")
        lasted = session.cameras["cam1"].results[:]["t_done_ns"]
    done = np.array([m.fields["t_done_ns"] for m in sent])
    spread = (done[-1] - done[0]) / (lasted[-1] - lasted[0])
    assert 0.4 < spread < 0.6  # twice as fast
    # within a message all times keep their distances
    ages = [m.fields["t_done_ns"] - m.fields["t_host_ns"] for m in sent]
    assert ages == [int(r) for r in ages]
    assert min(ages) > 0
    assert abs(done[-1] - time.perf_counter_ns()) < 20e9  # of now, not of then


@pytest.mark.slow
def test_info_and_plot(session_folder: Path, tmp_path: Path) -> None:
    said = cli("session", "info", session_folder)
    for part in ("ended (stopped)", "320x240 px, 100 Hz, video ffv1", "in video", "drop of milk"):
        assert part in said
    out = tmp_path / "figure.png"
    assert str(out) in cli("plot", session_folder, "--out", out)
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert len(out.read_bytes()) > 20_000
    assert "no camera 'cam9'" in cli("plot", session_folder, "--camera", "cam9", code=2)


def test_another_network_is_not_compared(session_folder: Path) -> None:
    said = cli("replay", session_folder, "--recompute", "--bundle", "default", code=2)
    assert "is not the network of this session (tiny," in said


def test_a_folder_without_a_session(tmp_path: Path) -> None:
    for words in (["session", "info"], ["session", "repair"], ["replay"], ["plot"]):
        assert "is not a session" in cli(*words, tmp_path, code=2)
    (tmp_path / "session.json").write_text("{}")
    with pytest.raises(UserError, match=r"session\.json: cannot be used"):
        open_session(tmp_path)


@pytest.mark.parametrize("key", ["height", "subject", "began_host_ns"])
def test_a_changed_session_json_is_noticed(session_folder: Path, tmp_path: Path, key: str) -> None:
    text = (session_folder / "session.json").read_text()
    told = json.loads(text)
    part = told["cameras"]["cam1"] if key == "height" else told
    part[key] = 7
    (tmp_path / "session.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="does not have the hash"):
        open_session(tmp_path)
