"""Frames of video and image files as gray pixels, as fast as they decode.

The gray value is the luma plane as it stands in the file: no colour conversion, and limited-range
luma is not stretched, because every frame is normalised by its own percentiles later. Only colour
formats without a luma plane (RGB, palettes) are converted, to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from os import PathLike, fspath
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from rtface.types import CameraInfo, Image, UserError

#: few and large reads: raw video needs hundreds of MB/s
_READ_BYTES = 1 << 20
_DAMAGED = "the next frame is damaged"


class Truncated(UserError):
    """The file broke off; the ``frames`` before that point were delivered.

    Attributes
    ----------
    frames : int
        How many frames came before the file broke off.
    """

    def __init__(self, path: str | PathLike[str], frames: int, why: str) -> None:
        super().__init__(
            f"{fspath(path)}: broke off after {frames} frames ({why}); it was cut short or is "
            "damaged: copy it again or use the frames before that point"
        )
        self.frames = frames


def probe(path: str | PathLike[str]) -> CameraInfo:
    """Return what the frames of a file look like, from its first frame.

    ``rate_hz`` is the file's own, or 0.0 where it states none (stills). Raises UserError as
    ``read_frames`` does.
    """
    with _opened(path) as (container, stream):
        frame = next(_decoded(path, container, stream))
        image, bits = _gray(frame)
        rate = None if _is_still(container) else stream.average_rate or stream.guessed_rate
        return CameraInfo(image.shape[0], image.shape[1], bits, float(rate or 0))


def declared_frames(path: str | PathLike[str]) -> int | None:
    """Return how many frames the file says it has (about), or None; for showing progress."""
    with _opened(path) as (container, stream):
        if _is_still(container):
            return 1
        duration_s, rate = _declared_duration_s(container, stream), stream.average_rate
        return stream.frames or (round(duration_s * rate) if duration_s and rate else None)


def read_frames(path: str | PathLike[str], threads: int = 0) -> Iterator[Image]:
    """Yield every frame of a video or still in order, as fast as it decodes.

    Parameters
    ----------
    path : str or path
        Any file that FFmpeg decodes. Of a multi-page TIFF only the first page is seen.
    threads : int
        That decode; 0: as many as FFmpeg thinks fit.

    Yields
    ------
    ndarray (H, W)
        uint8, or uint16 in native byte order for more than 8 bits per pixel (``probe`` says how
        many). A view of the decoder's memory that stays valid as long as it is held; do not write
        to it.

    Raises
    ------
    UserError
        The file is missing, not readable, no video, has no frames, or its frames change size or
        format; raised with the first ``next``, the last one when it happens.
    Truncated
        After the last good frame: the next is damaged, or frames are missing that the file
        declares (more than 1 and 1 %; where it declares only a duration, more than 5 and 1 %).
    """
    with _opened(path, threads) as (container, stream):
        first: Image | None = None
        for number, frame in enumerate(_decoded(path, container, stream)):
            image, _ = _gray(frame)
            if first is None:
                first = image
            if image.shape != first.shape or image.dtype != first.dtype:
                raise UserError(
                    f"{fspath(path)}: frame {number} is {_describe(image)}, the frames before are "
                    f"{_describe(first)}; convert the file to one size and pixel format"
                )
            yield image


@contextmanager
def _opened(
    path: str | PathLike[str], threads: int = 0
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the first video stream; every reason why not is a UserError."""
    name = fspath(path)
    if Path(path).is_dir():
        raise UserError(f"{name}: is a folder; name the video or image files in it")
    with ExitStack() as stack:
        try:
            # a file object, because FFmpeg would take "a:b.avi" for a protocol
            file = stack.enter_context(open(path, "rb", buffering=0))
        except FileNotFoundError:
            raise UserError(f"{name}: no such file; check the path") from None
        except OSError as error:
            why = error.strerror or _DAMAGED
            raise UserError(f"{name}: cannot be opened ({why}); check its rights") from error
        try:
            container = stack.enter_context(av.open(file, "r", buffer_size=_READ_BYTES))
        except (FFmpegError, OSError) as error:  # OSError: from the file object
            raise UserError(
                f"{name}: is not a video or image that can be read ({error.strerror}); "
                "copy it again, or convert it to mp4, mkv or avi"
            ) from error
        if not container.streams.video:
            raise UserError(f"{name}: has no video in it; check that this is the right file")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.thread_count = threads
        yield container, stream


def _decoded(
    path: str | PathLike[str], container: InputContainer, stream: VideoStream
) -> Iterator[VideoFrame]:
    """Yield the good frames, at least one, and raise when they end too early."""
    packets, frames, why = 0, 0, ""
    first_pts = last_pts = None
    try:
        for packet in container.demux(stream):
            packets += packet.size > 0
            # an incomplete packet may decode to half a picture: only take what came before it
            for frame in stream.decode(None) if packet.is_corrupt else packet.decode():
                if frame.is_corrupt:
                    raise InvalidDataError(0, _DAMAGED)
                first_pts = frame.pts if first_pts is None else first_pts
                last_pts = frame.pts
                frames += 1
                yield frame
            if packet.is_corrupt:
                raise InvalidDataError(0, _DAMAGED)
    except (FFmpegError, OSError) as error:
        why = error.strerror or _DAMAGED
    if not frames:
        raise UserError(
            f"{fspath(path)}: has no frames that can be decoded{why and f' ({why})'}; "
            "copy it again or leave it out"
        )
    span_s = None
    if first_pts is not None and last_pts is not None and stream.time_base:
        span_s = float((last_pts - first_pts) * stream.time_base)
    missing = _missing(container, stream, packets, span_s)
    if why or missing:
        raise Truncated(path, frames, why or f"it declares {missing} more")


def _missing(
    container: InputContainer, stream: VideoStream, packets: int, span_s: float | None
) -> int:
    """Return how many frames the file declares beyond what was read, 0 within the tolerance.

    ``span_s`` is the time from the first to the last frame. Only what is missing by count and by
    time is missing: a pause of the camera leaves the count of an AVI too small, and a video that
    was trimmed without encoding holds packets that are never read or never shown.
    """
    rate = stream.average_rate
    length_s = _declared_duration_s(container, stream)
    guesses = []
    if stream.frames:
        guesses.append(stream.frames - packets)
        if container.format.name == "avi" and rate:
            # FFmpeg takes the duration of an AVI from the size of the file, cut or not
            length_s = float(stream.frames / rate)
    if length_s and rate and span_s is not None:
        guesses.append(round((length_s - span_s) * rate) - 1)
    missing = min(guesses, default=0)
    tolerated = max(1 if stream.frames else 5, (packets + missing) // 100)
    return missing if missing > tolerated else 0


def _declared_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if _is_still(container):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # with sound or a second camera in the file its duration need not be that of this stream
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _is_still(container: InputContainer) -> bool:
    """FFmpeg invents 25 frames per second for pictures."""
    return container.format.name == "image2" or container.format.name.endswith("_pipe")


def _describe(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]} {image.dtype}"


def _gray(frame: VideoFrame) -> tuple[Image, int]:
    """Return the gray pixels (H, W) and their significant bits."""
    form = frame.format
    luma = form.components[0]
    has_plane = (
        luma.is_luma
        and not form.has_palette
        and (form.is_planar or len(form.components) == 1)
        and 8 <= luma.bits <= 16
        and not form.name.startswith(("p0", "p2", "p4"))  # these keep their bits at the top
    )
    bits = luma.bits if has_plane else 8
    if not has_plane:
        frame = frame.reformat(format="gray", dst_color_range=ColorRange.JPEG)
    plane = frame.planes[0]
    order = ">" if frame.format.is_big_endian else "<"
    dtype = np.dtype(np.uint8 if bits == 8 else f"{order}u2")
    rows = np.frombuffer(memoryview(plane), dtype).reshape(frame.height, -1)
    image: Image = rows[:, : frame.width]
    # only a 16-bit still (PNG) is big-endian, so only that is copied
    return image.astype(dtype.newbyteorder("="), copy=False), bits
