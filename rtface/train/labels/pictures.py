"""Labelled pictures wherever they are: files, frames of videos, or inside a file of labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from rtface.camera.video import probe, read_frames
from rtface.train.data import Still, read_gray
from rtface.types import Float32Array, Image, UInt8Image, UserError


class VideoFrame(NamedTuple):
    """Frame ``number`` of a video, from 0."""

    path: Path
    number: int


class Held(NamedTuple):
    """A picture inside a file of labels.

    Attributes
    ----------
    name : str
        What messages call it; no two pictures share one.
    read : callable
        Returns the picture, (H, W) uint8.
    """

    name: str
    read: Callable[[], UInt8Image]


class Labelled(NamedTuple):
    """One labelled picture, not read yet.

    Attributes
    ----------
    picture : Path, VideoFrame or Held
    points : ndarray (K, 2) float32
        px of the picture, pixel centres at integers; NaN where not labelled.
    group : str
        The video or the folder of pictures; data are split by it, never at random.
    recording : str
        The same, under which labels are compared with each other.
    """

    picture: Path | VideoFrame | Held
    points: Float32Array
    group: str
    recording: str

    @property
    def where(self) -> str:
        """What messages call this picture."""
        if isinstance(self.picture, VideoFrame):
            return f"{self.picture.path} frame {self.picture.number}"
        return self.picture.name if isinstance(self.picture, Held) else str(self.picture)


def frames(labelled: Iterable[Labelled]) -> Iterator[tuple[UInt8Image, Float32Array]]:
    """Yield every picture (H, W) uint8 with its points (K, 2), in the order given.

    A video is decoded once from its start to its last labelled frame, as long as its frames are
    asked for in their order; readers give them so.
    """
    video = _Video()
    for one in labelled:
        match one.picture:
            case VideoFrame():
                yield video.frame(one.picture), one.points
            case Held():
                yield one.picture.read(), one.points
            case _:
                yield read_still(one.picture), one.points


def stills(labelled: Sequence[Labelled], folder: Path) -> list[Still]:
    """Return the same pictures as files: what is not one yet is written into ``folder`` as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [one for one in labelled if not isinstance(one.picture, Path)]
    written = iter(
        [
            _write_png(folder / f"{number:06d}.png", image)
            for number, (image, _) in enumerate(frames(others))
        ]
    )
    return [
        Still(
            one.picture if isinstance(one.picture, Path) else next(written),
            one.points,
            one.group,
            one.recording,
        )
        for one in labelled
    ]


def read_still(path: Path) -> UInt8Image:
    """Return a picture file as (H, W) uint8; whatever cannot be read is one line."""
    try:
        return read_gray(path)
    except (FFmpegError, OSError, StopIteration) as error:
        raise _unreadable(path) from error


def shape_of(picture: Path | VideoFrame | Held) -> tuple[int, int]:
    """Return (height, width) of a picture, px; of files only the head is read."""
    match picture:
        case VideoFrame():
            info = probe(picture.path)
            return info.height, info.width
        case Held():
            height, width = picture.read().shape
            return height, width
        case _:
            try:
                with av.open(str(picture)) as container:
                    stream = container.streams.video[0]
                    if stream.height and stream.width:
                        return stream.height, stream.width
            except (FFmpegError, OSError, IndexError) as error:
                raise _unreadable(picture) from error
            raise _unreadable(picture)


def to_8_bits(image: Image, bits: int) -> UInt8Image:
    """Return a frame as uint8; above 8 bits the lowest are dropped, as for live frames."""
    return (image >> max(0, bits - 8)).astype(np.uint8)


def _unreadable(path: Path) -> UserError:
    return UserError(f"{path}: is not a picture that can be read; copy it again or convert it")


def _write_png(path: Path, image: UInt8Image) -> Path:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="gray")
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = *image.shape, "gray"
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


class _Video:
    """The video that is open, and the frame that comes next."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._frames: Iterator[Image] = iter(())
        self._next, self._bits, self._last = 0, 8, np.empty((0, 0), np.uint8)

    def frame(self, wanted: VideoFrame) -> UInt8Image:
        if wanted.path != self._path or wanted.number < self._next - 1:
            self._bits = probe(wanted.path).bits
            self._path, self._frames, self._next = wanted.path, read_frames(wanted.path), 0
        while self._next <= wanted.number:
            try:
                image = next(self._frames)
            except StopIteration:
                raise UserError(
                    f"{wanted.path}: has {self._next} frames, and frame {wanted.number} is "
                    "labelled; is it the video that was labelled?"
                ) from None
            self._next += 1
            if self._next > wanted.number:
                self._last = to_8_bits(image, self._bits)
        return self._last
