"""Files to CSV with an engine whose answers can be worked out by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from rtface.offline import Summary, header, rows, track_files
from rtface.pose import PoseEstimator
from rtface.types import CameraInfo, Float32Array, Image, Pose, UInt8Image, UserError

NAMES = ("eye(back)", "nose(tip)")


class FakeEngine:
    """Its first point is the centre, its second tells the gray value of the frame."""

    names = NAMES
    input_shape = (24, 32)

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        gray = image[12, 16]
        return np.array([[15.5, 11.5, 0.5], [gray, 2, gray / 256]], np.float32)


def estimator(info: CameraInfo) -> PoseEstimator:
    return PoseEstimator(FakeEngine(), (info.height, info.width), info.bits)


def clip(
    path: Path, n: int, height: int = 48, width: int = 64, first: int = 0, codec: str = "ffv1"
) -> Path:
    """Frame i has the gray value first + i."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=50)
        stream.height, stream.width, stream.pix_fmt = height, width, "gray"
        for i in range(n):
            pixels = np.full((height, width), first + i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())
    return path


def cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def nothing_done(folder: Path) -> bool:
    return not list(folder.glob("out.csv*"))


def test_header() -> None:
    assert header(NAMES) == [
        *("source", "frame", "eye(back)_x", "eye(back)_y", "eye(back)_score"),
        *("nose(tip)_x", "nose(tip)_y", "nose(tip)_score"),
    ]


def test_rows_round_to_3_and_4_decimals() -> None:
    pose = Pose(np.array([[1.23456, -0.5, 0.98765432], [1000, np.nan, 0]], np.float32))
    images: list[Image] = [np.zeros((2, 2), np.uint8)] * 2
    lines = list(rows("a,b.avi", images, lambda _: pose))
    assert [line[:2] for line in lines] == [["a,b.avi", "0"], ["a,b.avi", "1"]]
    assert lines[1][2:] == ["1.235", "-0.500", "0.9877", "1000.000", "nan", "0.0000"]


def test_every_frame_of_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("a.mkv"), 12)
    clip(Path("b,odd.avi"), 3, 479, 641, first=100)
    out = Path("out.csv")
    out.write_text("what was there before")
    progress: list[tuple[str, int, int | None]] = []
    summary = track_files(
        ["a.mkv", Path("b,odd.avi")], out, estimator, lambda *step: progress.append(step)
    )
    assert summary == Summary(2, 15, summary.seconds)
    assert summary.seconds > 0
    lines = table(out)
    assert [(line["source"], int(line["frame"])) for line in lines] == [
        *(("a.mkv", i) for i in range(12)),
        *(("b,odd.avi", i) for i in range(3)),
    ]
    # 64x48 to 32x24 is a factor of 2: centre (15.5, 11.5) of the input is (31.5, 23.5)
    assert lines[4] == {
        "source": "a.mkv", "frame": "4",
        "eye(back)_x": "31.500", "eye(back)_y": "23.500", "eye(back)_score": "0.5000",
        "nose(tip)_x": "8.500", "nose(tip)_y": "4.500", "nose(tip)_score": "0.0156",
    }  # fmt: skip
    assert [float(line["nose(tip)_score"]) for line in lines[12:]] == [
        round(gray / 256, 4) for gray in (100, 101, 102)
    ]
    assert lines[12]["eye(back)_x"] == "320.000"  # the middle of 641 px: each size its estimator
    assert progress == [
        *(("a.mkv", i + 1, 12) for i in range(12)),
        *(("b,odd.avi", i + 1, 3) for i in range(3)),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mkv", "b,odd.avi", "out.csv"]


def test_stills_of_one_size_share_an_estimator(tmp_path: Path) -> None:
    stills = []
    for i in range(3):
        context = av.CodecContext.create("png", "w")
        context.width, context.height, context.pix_fmt = 64, 48, "gray"
        context.framerate = 25
        pixels = av.VideoFrame.from_ndarray(np.full((48, 64), 50 + i, np.uint8), format="gray")
        stills.append(tmp_path / f"{i}.png")
        stills[-1].write_bytes(b"".join(bytes(p) for p in context.encode(pixels)))
    video = clip(tmp_path / "a.mkv", 2)
    built: list[CameraInfo] = []

    def factory(info: CameraInfo) -> PoseEstimator:
        built.append(info)
        return estimator(info)

    assert track_files([*stills, video], tmp_path / "out.csv", factory).frames == 5
    assert built == [CameraInfo(48, 64, 8, 0.0)]
    assert [line["frame"] for line in table(tmp_path / "out.csv")] == ["0", "0", "0", "0", "1"]


def test_truncated_file_keeps_its_frames_and_the_others_are_done(tmp_path: Path) -> None:
    broken, whole = cut(clip(tmp_path / "a.avi", 60, codec="rawvideo")), clip(tmp_path / "b.mkv", 5)
    out = tmp_path / "out.csv"
    with pytest.raises(UserError, match=r"a\.avi: broke off after \d+ frames") as caught:
        track_files([broken, whole, broken], out, estimator)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("broke off") == 2
    assert str(out) in str(caught.value)
    sources = [line["source"] for line in table(out)]
    n = sources.index(str(whole))
    assert 30 <= n <= 36
    assert sources == [str(broken)] * n + [str(whole)] * 5 + [str(broken)] * n
    assert f"after {n} frames" in str(caught.value)
    assert not list(tmp_path.glob("*.part"))


def test_a_missing_file_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    def factory(info: CameraInfo) -> PoseEstimator:
        raise AssertionError("the network was loaded")

    with pytest.raises(UserError, match=r"none\.avi: no such file"):
        track_files(
            [clip(tmp_path / "a.mkv", 2), tmp_path / "none.avi"], tmp_path / "out.csv", factory
        )
    assert nothing_done(tmp_path)


def test_output_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mkv", 2)
    before = source.read_bytes()
    with pytest.raises(UserError, match=r"a\.mkv: is also the output"):
        track_files([source], tmp_path / "." / "a.mkv", estimator)
    assert source.read_bytes() == before
    with pytest.raises(UserError, match="is a folder"):
        track_files([source], tmp_path, estimator)
    with pytest.raises(UserError, match=r"out\.csv: cannot be written"):
        track_files([source], tmp_path / "none" / "out.csv", estimator)
    with pytest.raises(UserError, match="no files to track"):
        track_files([], tmp_path / "out.csv", estimator)
    assert nothing_done(tmp_path)


def test_an_interrupted_run_leaves_the_old_output_and_its_own_part(tmp_path: Path) -> None:
    def stop(_: str, done: int, __: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    out = tmp_path / "out.csv"
    out.write_text("what was there before")
    with pytest.raises(KeyboardInterrupt):
        track_files([clip(tmp_path / "a.mkv", 9)], out, estimator, stop)
    assert out.read_text() == "what was there before"
    assert len(table(tmp_path / "out.csv.part")) == 3
