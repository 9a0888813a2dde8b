"""Makes small video and image files for tests, with FFmpeg, and time that only they move."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from rtface.camera.video import read_frames
from rtface.types import Image, UserError

MS = 1_000_000


class FakeTime:
    """A clock that only sleeping moves; every third sleep takes ``over_ns`` longer than asked."""

    def __init__(self) -> None:
        self.now, self.over_ns = 5_000 * MS, 0
        self.sleeps: list[float] = []

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.sleeps.append(seconds)
        self.now += round(seconds * 1e9) + (self.over_ns if len(self.sleeps) % 3 == 0 else 0)


def pictures(
    n: int, height: int = 48, width: int = 64, bits: int = 8, noise: bool = True
) -> list[Image]:
    rng = np.random.default_rng(7)
    dtype = np.uint8 if bits == 8 else np.uint16
    if noise:
        return list(rng.integers(0, 2**bits, (n, height, width), dtype))
    ramp = np.linspace(0, 20, width)[None, :] + np.linspace(0, 10, height)[:, None]
    return [(ramp + 20 * (i * 7 % 11)).astype(dtype) for i in range(n)]


def as_frame(image: Image, pix_fmt: str) -> av.VideoFrame:
    """A frame whose first plane holds exactly these pixels, around which is padding."""
    frame = av.VideoFrame(image.shape[1], image.shape[0], pix_fmt)
    for number, plane in enumerate(frame.planes):
        view = np.frombuffer(memoryview(plane), image.dtype).reshape(plane.height, -1)
        view[...] = 99 if number == 0 else 128
        if number == 0:
            view[:, : image.shape[1]] = image
    return frame


def write(
    path: Path,
    codec: str,
    pix_fmt: str,
    images: list[Image],
    pts: list[int] | None = None,
    codec_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write a file of 50 frames per second."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=50, options=codec_options or {})
        stream.height, stream.width = images[0].shape
        stream.pix_fmt = pix_fmt
        for number, image in enumerate(images):
            frame = as_frame(image, pix_fmt)
            frame.pts, frame.time_base = pts[number] if pts else number, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def still_bytes(codec: str, frame: av.VideoFrame) -> bytes:
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base = Fraction(1, 25)
    return b"".join(bytes(p) for p in [*context.encode(frame), *context.encode(None)])


def cut(path: Path, part: float) -> Path:
    out = path.with_name("cut_" + path.name)
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * part)])
    return out


def read_until_broken(path: Path) -> tuple[list[Image], UserError | None]:
    images: list[Image] = []
    try:
        images.extend(read_frames(path))
    except UserError as error:
        return images, error
    return images, None
