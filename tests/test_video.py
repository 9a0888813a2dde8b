"""A file played like a camera, against a clock that only the tests move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from videofiles import MS, FakeTime, as_frame, cut, pictures, read_until_broken, still_bytes, write

from rtface.camera import video
from rtface.camera.pacing import Pacer
from rtface.camera.video import Truncated, VideoCamera, read_frames
from rtface.types import CameraCounts, CameraInfo, EndOfStream, Image, Lost, Stamp, UserError


@pytest.fixture
def fake() -> FakeTime:
    return FakeTime()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """10 frames at 50 Hz; every pixel of frame i is i."""
    images: list[Image] = [np.full((31, 41), i, np.uint8) for i in range(10)]
    return write(tmp_path / "clip.mkv", "ffv1", "gray", images)


def buffer(camera: VideoCamera) -> Image:
    return np.empty((camera.info.height, camera.info.width), camera.info.dtype)


def balanced(camera: VideoCamera, delivered: int) -> bool:
    produced, lost, _ = camera.counts()
    return produced == delivered + sum(lost) and sum(lost) == lost.late >= 0


def play(camera: VideoCamera, n: int, before: int = 0) -> list[tuple[int, int]]:
    """Return (frame id, pixel value) of n frames."""
    out = buffer(camera)
    got = []
    for _ in range(n):
        stamp = camera.fill(out, 1.0)
        assert stamp is not None
        assert (out == out[0, 0]).all()
        got.append((stamp.frame_id, int(out[0, 0])))
        assert balanced(camera, before + len(got))
    return got


def test_frames_come_at_their_deadlines(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    assert camera.info == CameraInfo(31, 41, 8, 50.0)
    start = fake.now
    camera.start()
    out = buffer(camera)
    for i in range(10):
        stamp = camera.fill(out, 1.0)
        assert stamp == Stamp(0, i, (i + 1) * 20 * MS, start + (i + 1) * 20 * MS)
        assert (out == i).all()
        fake.now += 7 * MS  # what the caller does with it must not shift the next deadline
    assert len(fake.sleeps) == 10  # one sleep per frame, no spinning
    with pytest.raises(EndOfStream):
        camera.fill(out, 1.0)
    assert camera.counts() == CameraCounts(10, Lost())


def test_the_given_rate_wins(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, 500.0, False, clock=fake.clock, sleep=fake.sleep)
    assert camera.info.rate_hz == 500.0
    start = fake.now
    camera.start()
    play(camera, 3)
    assert fake.now == start + 3 * 2 * MS


def test_timeout(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    start = fake.now
    assert camera.fill(buffer(camera), 0.005) is None
    assert fake.now == start + 5 * MS
    assert camera.fill(buffer(camera), 0) is None
    assert play(camera, 1) == [(0, 0)]
    assert fake.now == start + 20 * MS


def test_a_late_caller_loses_ids_and_gets_the_frame_of_now(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    fake.now += 40 * MS  # frame 0 was due one period ago, exactly: still in time
    assert play(camera, 1) == [(0, 0)]
    fake.now += 60 * MS + 1  # at 100.000001 ms: 1, 2 and 3 (due at 80) are gone, 4 is due
    assert camera.fill(out := buffer(camera), 0) == Stamp(0, 4, 100 * MS, fake.now)
    assert (out == 4).all()
    assert camera.counts() == CameraCounts(5, Lost(late=3))


def test_what_was_lost_at_the_end_is_counted(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    play(camera, 2)
    fake.now += 3_600_000 * MS
    with pytest.raises(EndOfStream):
        camera.fill(buffer(camera), 1.0)
    assert camera.counts() == CameraCounts(
        10, Lost(late=8)
    )  # the file has 10 frames, however long we wait


def test_a_sleep_that_is_too_long_loses_frames(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, None, True, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    fake.over_ns = 50 * MS
    start, out = fake.now, buffer(camera)
    for delivered in range(1, 20):
        stamp = camera.fill(out, 10.0)
        assert stamp is not None
        assert stamp.t_camera_ns is not None
        assert 0 <= stamp.t_host_ns - start - stamp.t_camera_ns <= 20 * MS
        assert (out == stamp.frame_id % 10).all()
        assert balanced(camera, delivered)
    assert camera.counts().lost.late > 0


@pytest.mark.parametrize("from_memory", [True, False])
def test_loop_goes_on_counting(
    clip: Path, fake: FakeTime, monkeypatch: pytest.MonkeyPatch, from_memory: bool
) -> None:
    decoded: list[Path] = []

    def counted(path: Path) -> Iterator[Image]:
        decoded.append(path)
        return read_frames(path)

    monkeypatch.setattr(video, "read_frames", counted)
    monkeypatch.setattr(video, "CLIP_BYTES", (10 if from_memory else 9) * 31 * 41)
    camera = VideoCamera(clip, None, True, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    assert play(camera, 25) == [(i, i % 10) for i in range(25)]
    fake.now += 20 * 33 * MS
    assert play(camera, 1, before=25) == [(56, 6)]
    assert camera.counts() == CameraCounts(57, Lost(late=31))
    # once to see whether it fits, then once in every round
    assert len(decoded) == (1 if from_memory else 1 + 6)


def test_decoding_that_is_too_slow_never_gives_old_frames(
    clip: Path, fake: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> Iterator[Image]:
        for number, image in enumerate(read_frames(path)):
            fake.now += (70 if number == 3 else 5) * MS
            yield image

    monkeypatch.setattr(video, "read_frames", slow)
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    start, out, ids = fake.now, buffer(camera), []
    for delivered in range(1, 9):
        stamp = camera.fill(out, 1.0)
        assert stamp is not None
        assert stamp.t_camera_ns is not None
        assert stamp.t_host_ns - start - stamp.t_camera_ns <= 20 * MS
        assert (out == stamp.frame_id).all()
        ids.append(stamp.frame_id)
        assert balanced(camera, delivered)
    # frame 3 was decoded at 130 ms, due at 80: it, and 4 (100), are gone, 5 (120) is in time
    assert ids == [0, 1, 2, 5, 6, 7, 8, 9]
    with pytest.raises(EndOfStream):
        camera.fill(out, 1.0)
    assert camera.counts() == CameraCounts(10, Lost(late=2))


def test_decoding_that_is_always_too_slow_times_out(
    clip: Path, fake: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> Iterator[Image]:
        for image in read_frames(path):
            fake.now += 70 * MS
            yield image

    monkeypatch.setattr(video, "read_frames", slow)
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    assert camera.fill(buffer(camera), 0.02) is not None  # decoded before the start
    assert camera.fill(buffer(camera), 0.001) is None
    assert balanced(camera, 1)


def test_as_fast_as_possible(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, None, False, True, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    fake.now += 10_000 * MS
    out = buffer(camera)
    assert camera.fill(out, 0) == Stamp(0, 0, None, fake.now)
    assert [camera.fill(out, 0) and int(out[0, 0]) for _ in range(9)] == list(range(1, 10))
    with pytest.raises(EndOfStream):
        camera.fill(out, 0)
    assert fake.sleeps == []
    assert camera.counts() == CameraCounts(10, Lost())


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_truncated_file_live(tmp_path: Path, fake: FakeTime, loop: bool, fast: bool) -> None:
    path = cut(write(tmp_path / "a.avi", "ffv1", "gray", pictures(60)), 0.6)
    expected, _ = read_until_broken(path)
    camera = VideoCamera(path, None, loop, fast, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    out = buffer(camera)
    for image in expected:
        assert camera.fill(out, 1.0)
        np.testing.assert_array_equal(out, image)
    fake.now += 10_000 * MS  # no frames are lost that the file does not have
    with pytest.raises(Truncated) as caught:
        camera.fill(out, 1.0)
    assert caught.value.frames == len(expected)
    assert camera.counts() == CameraCounts(len(expected), Lost())
    with pytest.raises(EndOfStream):
        camera.fill(out, 1.0)
    assert balanced(camera, len(expected))


def test_sixteen_bits_and_only_into_a_fitting_buffer(tmp_path: Path, fake: FakeTime) -> None:
    images = pictures(3, 31, 41, 16)
    path = write(tmp_path / "a.mkv", "ffv1", "gray16le", images)
    camera = VideoCamera(path, None, True, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    out = buffer(camera)
    for image in images:
        camera.fill(out, 1.0)
        np.testing.assert_array_equal(out, image)
    with pytest.raises(TypeError):
        camera.fill(np.empty((31, 41), np.uint8), 1.0)


def test_a_still_needs_a_rate(tmp_path: Path, fake: FakeTime) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(still_bytes("png", as_frame(np.full((31, 41), 8, np.uint8), "gray")))
    with pytest.raises(UserError, match=r"a\.png: has no frame rate of its own"):
        VideoCamera(path, None, True)
    camera = VideoCamera(path, 100.0, True, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    assert play(camera, 3) == [(0, 8), (1, 8), (2, 8)]


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_senseless_rate_is_refused(clip: Path, rate: float) -> None:
    with pytest.raises(UserError, match="is no frame rate"):
        VideoCamera(clip, rate, False)


def test_close_twice_and_counts_stay(clip: Path, fake: FakeTime) -> None:
    camera = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera.start()
    play(camera, 4)
    camera.close()
    camera.close()
    fake.now += 10_000 * MS
    with pytest.raises(EndOfStream):
        camera.fill(buffer(camera), 1.0)
    assert camera.counts() == CameraCounts(4, Lost())


def test_no_frame_before_start(clip: Path) -> None:
    camera = VideoCamera(clip, None, False)
    with pytest.raises(RuntimeError, match=r"before start\(\)"):
        camera.fill(buffer(camera), 1.0)


def test_pacer_counts_every_id_once(fake: FakeTime) -> None:
    rng = np.random.default_rng(3)
    pacer = Pacer(2 * MS, fake.clock, fake.sleep)
    pacer.start()
    start, ids = fake.now, []
    for _ in range(2000):
        fake.now += int(rng.exponential(3 * MS))
        frame_id = pacer.next(0.001)
        if frame_id is not None:
            assert 0 <= fake.now - start - pacer.deadline_ns(frame_id) <= 2 * MS
            ids.append(frame_id)
        assert pacer.produced == len(ids) + pacer.late
    assert ids == sorted(set(ids))
    assert 0 < pacer.late < ids[-1]
    with pytest.raises(ValueError):
        Pacer(0)
