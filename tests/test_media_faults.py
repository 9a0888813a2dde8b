"""Files that cannot be read, that break off, and those that only look as if they did."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from videofiles import as_frame, cut, pictures, read_until_broken, still_bytes, write

from rtface.camera.video import Truncated, declared_frames, probe, read_frames
from rtface.types import UserError


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        next(read_frames(path))
    assert not isinstance(caught.value, Truncated)
    with pytest.raises(UserError):
        probe(path)
    line = str(caught.value)
    assert path.name in line
    assert "\n" not in line
    return line


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.mp4")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "clips.avi").mkdir()
    assert "is a folder" in refused(tmp_path / "clips.avi")


def test_a_file_the_system_refuses_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # not by chmod: root, as in many containers, reads every file
    def deny(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", deny)
    assert "cannot be opened (Permission denied)" in refused(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["notes.mp4", "notes.avi", "notes.png", "notes.dat"])
def test_text_is_no_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("mouse 7, session 2\n" * 40)
    assert name in refused(path)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.png", "a.jpg"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert name in refused(tmp_path / name)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "no video in it" in refused(path)


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_zero_frames(tmp_path: Path, name: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    line = refused(tmp_path / name)
    if name == "a.avi":  # the others cannot say that they hold a video before its first frame
        assert "has no frames" in line


def test_mp4_without_its_index_is_unreadable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", "yuv420p", pictures(60))
    assert "is not a video" in refused(cut(path, 0.6))


# --- files that break off


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.avi", "ffv1", "gray", {}),  # declares frames
        ("a.avi", "rawvideo", "gray", {}),  # and the last packet is incomplete
        ("a.mkv", "ffv1", "gray", {}),  # declares a duration only
        ("a.mp4", "libx264", "yuv420p", {"movflags": "faststart"}),
        ("a.avi", "mjpeg", "yuvj420p", {}),
    ],
)
def test_cut_file_gives_its_frames_and_says_so(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / name, codec, pix_fmt, pictures(60), **options)
    whole, no_error = read_until_broken(path)
    assert no_error is None
    assert len(whole) == 60
    read, error = read_until_broken(cut(path, 0.6))
    assert isinstance(error, Truncated)
    assert error.frames == len(read)
    assert f"broke off after {len(read)} frames" in str(error)
    assert "cut_" + name in str(error)
    assert 30 <= len(read) <= 36
    for image, original in list(zip(read, whole, strict=False))[:-1]:
        np.testing.assert_array_equal(image, original)


@pytest.mark.parametrize(("whole", "told"), [(20, False), (19, False), (18, True), (1, True)])
def test_how_many_frames_may_be_missing(tmp_path: Path, whole: int, told: bool) -> None:
    path = write(tmp_path / "a.avi", "rawvideo", "gray", pictures(20))
    data = path.read_bytes()
    end = data.index(b"movi")
    for _ in range(min(whole, 19) + 1):  # to the head of the first frame that shall be missing
        end = data.index(b"00dc", end + 1)
    path.write_bytes(data if whole == 20 else data[:end])
    read, error = read_until_broken(path)
    assert len(read) == whole
    assert isinstance(error, Truncated) == told


def test_half_a_picture_at_the_end_is_not_delivered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "mjpeg", "yuvj420p", pictures(20))
    data = path.read_bytes()
    end = data.index(b"movi")
    for _ in range(20):
        end = data.index(b"00dc", end + 1)
    path.write_bytes(data[: end + 700])
    read, error = read_until_broken(path)
    assert len(read) == 19
    assert isinstance(error, Truncated)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_damage_in_the_middle_ends_the_file(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, codec, "yuv420p", pictures(60))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    read, error = read_until_broken(path)
    assert isinstance(error, Truncated)
    assert 20 <= len(read) == error.frames <= 35


def test_missing_frames_in_time_are_no_truncation(tmp_path: Path) -> None:
    # a camera that paused: 20 frames in the time of 50, all there
    times = [*range(10), *range(40, 50)]
    path = write(tmp_path / "a.mkv", "ffv1", "gray", pictures(20), times)
    assert len(list(read_frames(path))) == 20


def test_a_pause_in_an_avi_is_no_truncation(tmp_path: Path) -> None:
    # AVI has no times: the pause is 30 empty slots, which it counts as frames
    path = write(
        tmp_path / "a.avi", "mjpeg", "yuvj420p", pictures(20), [*range(10), *range(40, 50)]
    )
    assert declared_frames(path) == 50
    assert len(list(read_frames(path))) == 20


def test_a_trim_without_encoding_is_no_truncation(tmp_path: Path) -> None:
    # as by "ffmpeg -ss 0.6 -c copy": the file keeps 30 frames before the start, never shown
    images = pictures(100)
    path = write(tmp_path / "a.mp4", "libx264", "yuv420p", images, [*range(-30, 70)], {"qp": "0"})
    assert declared_frames(path) == 100
    read = list(read_frames(path))
    assert len(read) == 70
    np.testing.assert_array_equal(read[0], images[30])


def test_a_last_frame_that_is_shown_long_is_no_truncation(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        packets = [p for image in pictures(10) for p in stream.encode(as_frame(image, "yuv420p"))]
        packets += stream.encode(None)
        packets[-1].duration = 40
        container.mux(packets)
    assert len(list(read_frames(path))) == 10


def test_size_change_names_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    parts = [*pictures(3), *pictures(1, 32, 80)]
    path.write_bytes(b"".join(still_bytes("mjpeg", as_frame(p, "yuvj420p")) for p in parts))
    read, error = read_until_broken(path)
    assert len(read) == 3
    assert "frame 3 is 80x32 uint8" in str(error)
    assert not isinstance(error, Truncated)
