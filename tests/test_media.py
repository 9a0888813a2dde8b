"""Reading videos and stills, of every pixel format; every file is made here."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from videofiles import as_frame, pictures, still_bytes, write

from rtface.camera.video import declared_frames, probe, read_frames
from rtface.types import CameraInfo


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "bits", "size"),
    [
        ("a.mkv", "ffv1", "gray", 8, (479, 641)),
        ("a.mkv", "ffv1", "yuv420p", 8, (479, 641)),
        ("a.avi", "rawvideo", "gray", 8, (48, 64)),
        ("a.avi", "huffyuv", "yuv422p", 8, (48, 66)),
        ("a.mkv", "ffv1", "yuv420p10le", 10, (479, 641)),
        ("a.mkv", "ffv1", "gray10le", 10, (31, 41)),
        ("a.mkv", "ffv1", "gray12le", 12, (31, 41)),
        ("a.mkv", "ffv1", "gray16le", 16, (31, 41)),
    ],
)
def test_lossless_pixels_come_back_exactly(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, bits: int, size: tuple[int, int]
) -> None:
    images = pictures(4, *size, bits=bits)
    path = write(tmp_path / name, codec, pix_fmt, images)
    assert probe(path) == CameraInfo(*size, bits, 50.0)
    read = list(read_frames(path))
    assert len(read) == 4
    assert read[0].dtype == probe(path).dtype
    for image, original in zip(read, images, strict=True):
        np.testing.assert_array_equal(image, original)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
    ],
)
def test_lossy_video_gives_every_frame_in_order(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    images = pictures(30, noise=False)
    path = write(tmp_path / name, codec, pix_fmt, images)
    read = list(read_frames(path))
    assert len(read) == 30
    assert declared_frames(path) == 30
    for image, original in zip(read, images, strict=True):
        # neighbours differ by at least 80 gray values
        assert abs(float(image.mean()) - float(original.mean())) < 10


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "bits"),
    [
        ("a.png", "png", "gray", 8),
        ("a.png", "png", "gray16be", 16),
        ("a.tif", "tiff", "gray16le", 16),
        ("a.tif", "tiff", "gray", 8),
    ],
)
def test_stills(tmp_path: Path, name: str, codec: str, pix_fmt: str, bits: int) -> None:
    (image,) = pictures(1, 31, 41, bits)
    stored = image.astype(">u2").view(np.uint16) if pix_fmt.endswith("be") else image
    path = tmp_path / name
    path.write_bytes(still_bytes(codec, as_frame(stored, pix_fmt)))
    assert probe(path) == CameraInfo(31, 41, bits, 0.0)
    assert declared_frames(path) == 1
    (read,) = read_frames(path)
    assert read.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, image)


def test_jpeg_still(tmp_path: Path) -> None:
    (image,) = pictures(1, 31, 41, noise=False)
    path = tmp_path / "a.jpg"
    path.write_bytes(still_bytes("mjpeg", as_frame(image, "yuvj420p")))
    (read,) = read_frames(path)
    np.testing.assert_allclose(read, image, atol=12)


@pytest.mark.parametrize("value", [0, 100, 255])
def test_colour_becomes_full_range_gray(tmp_path: Path, value: int) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((31, 41, 3), value, np.uint8), format="rgb24")
    path = tmp_path / "a.png"
    path.write_bytes(still_bytes("png", frame))
    (read,) = read_frames(path)
    assert read.dtype == np.uint8
    assert read.shape == (31, 41)
    assert np.abs(read.astype(int) - value).max() <= 1


def test_planar_colour_is_not_taken_for_gray(tmp_path: Path) -> None:
    # the first plane of GBR is green, which is empty here
    path = tmp_path / "a.mkv"
    frame = av.VideoFrame.from_ndarray(
        np.full((32, 48, 3), (250, 0, 0), np.uint8), format="rgb24"
    ).reformat(format="gbrp10le")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "gbrp10le"
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (read,) = read_frames(path)
    assert read.dtype == np.uint8
    assert 60 <= read.min() <= read.max() <= 90  # red counts 0.3 of gray


def test_packed_yuv(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    gray = np.tile(np.linspace(16, 235, 48).astype(np.uint8), (32, 1))
    frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuyv422")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=50)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuyv422"
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (read,) = read_frames(path)
    np.testing.assert_allclose(read, gray, atol=3)


def test_palette_is_looked_up(tmp_path: Path) -> None:
    (image,) = pictures(1, 31, 41)
    data = bytearray(still_bytes("bmp", as_frame(image, "gray")))
    for index in range(256):  # the palette follows the two headers, 54 bytes
        data[54 + 4 * index : 57 + 4 * index] = bytes([255 - index] * 3)
    (tmp_path / "a.bmp").write_bytes(data)
    (read,) = read_frames(tmp_path / "a.bmp")
    np.testing.assert_allclose(read, 255 - image, atol=1)


def test_frames_stay_valid_while_held(tmp_path: Path) -> None:
    images = pictures(40, noise=True)
    held = list(read_frames(write(tmp_path / "a.mkv", "ffv1", "yuv420p", images)))
    for image, original in zip(held, images, strict=True):
        np.testing.assert_array_equal(image, original)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in a file name")
def test_a_colon_in_the_name_is_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.mkv", "ffv1", "gray", pictures(2)).rename(tmp_path / "mouse:1.mkv")
    monkeypatch.chdir(tmp_path)
    assert len(list(read_frames("mouse:1.mkv"))) == 2


@pytest.mark.data
def test_real_recording(data: Path) -> None:
    path = data / "facemap_g7c1" / "cam1_G7c1_1_1second.avi"
    assert probe(path) == CameraInfo(646, 864, 8, 30.0)
    images = list(read_frames(path))
    assert len(images) == 30
    with av.open(str(path)) as container:
        for image, frame in zip(images, container.decode(video=0), strict=True):
            np.testing.assert_array_equal(image, frame.to_ndarray()[:646])
