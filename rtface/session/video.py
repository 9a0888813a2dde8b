"""The video of a session: gray frames into MKV files that can be read while they grow.

Lossless is FFV1; x264 at a constant quality is far smaller. Each file is a part of some seconds;
a frame's place is its part and its number there, and its true time stands in the frames file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtface.camera.media import Truncated, read_frames
from rtface.session.layout import video_name
from rtface.types import CameraInfo, Image, UserError

#: what is in memory only is lost with the recorder: at most this much
CLUSTER_MS = 200
_MILLISECOND = Fraction(1, 1000)
#: what a rig file may name: FFmpeg's encoder, and whether every bit comes back
CODECS = {"x264": ("libx264", False), "ffv1": ("ffv1", True), "nvenc": ("h264_nvenc", False)}


def lossless(codec: str) -> bool:
    """Whether a video of this codec gives back what the camera delivered."""
    return CODECS[codec][1]


def _options(codec: str, quality: int, rate_hz: float) -> dict[str, str]:
    if codec == "ffv1":
        return {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
    key = str(max(1, round(rate_hz)))  # a whole picture each second: damage ends there
    if codec == "nvenc":
        return {"preset": "p1", "tune": "ull", "rc": "constqp", "qp": str(quality), "g": key}
    return {"preset": "ultrafast", "tune": "zerolatency", "crf": str(quality), "g": key}


def _pixel_format(codec: str, bits: int) -> str:
    if codec == "ffv1":
        return "gray" if bits <= 8 else "gray16le"
    return "gray" if codec == "x264" else "nv12"


class VideoWriter:
    """Writes the frames of one camera into parts. Belongs to one thread.

    Raises
    ------
    UserError
        The encoder cannot take this camera's frames; found before anything is written.
    OSError
        From ``write`` and ``close``: the disk refused.
    """

    def __init__(
        self, folder: Path, camera: str, info: CameraInfo, codec: str, quality: int, part_s: float
    ) -> None:
        self._folder, self._camera, self._info = folder, camera, info
        self._codec, self._quality, self._part_ns = codec, quality, int(part_s * 1e9)
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._began_ns = self._last_ms = 0
        self.part, self.index = -1, 0
        check_encoder(info, codec, quality)

    def write(self, image: Image, t_host_ns: int) -> tuple[int, int]:
        """Encode one frame (H, W); return its part and its number there."""
        if self._container is None or t_host_ns - self._began_ns >= self._part_ns:
            self.close()
            self._open(t_host_ns)
        assert self._container
        assert self._stream
        frame = _as_frame(image, _pixel_format(self._codec, self._info.bits))
        self._last_ms = max(self._last_ms + 1, (t_host_ns - self._began_ns) // 1_000_000)
        frame.pts, frame.time_base = self._last_ms, _MILLISECOND
        try:
            self._container.mux(self._stream.encode(frame))
        except FFmpegError as error:
            raise _os_error(error) from error
        self.index += 1
        return self.part, self.index - 1

    def _open(self, t_host_ns: int) -> None:
        self.part += 1
        self.index, self._began_ns, self._last_ms = 0, t_host_ns, -1
        path = self._folder / video_name(self._camera, self.part)
        options = {"cluster_time_limit": str(CLUSTER_MS), "flush_packets": "1"}
        try:
            self._container = av.open(str(path), "w", format="matroska", options=options)
            self._stream = _add_stream(self._container, self._info, self._codec, self._quality)
        except FFmpegError as error:
            raise _os_error(error) from error

    def path(self) -> Path | None:
        """Return the part being written."""
        return (
            None if self._container is None else self._folder / video_name(self._camera, self.part)
        )

    def close(self) -> None:
        """Finish the part; may be called twice."""
        container, stream = self._container, self._stream
        self._container = self._stream = None
        if container is None or stream is None:
            return
        try:
            container.mux(stream.encode(None))
            container.close()
        except FFmpegError as error:
            with contextlib.suppress(FFmpegError):
                container.close()
            raise _os_error(error) from error


def check_encoder(info: CameraInfo, codec: str, quality: int) -> None:
    """Encode one black frame to nowhere; UserError if that cannot be done."""
    if info.bits > 8 and codec != "ffv1":
        raise UserError(
            f"record.video: {codec} keeps 8 bits and the camera delivers {info.bits}; use 'ffv1'"
        )
    try:
        with av.open(os.devnull, "w", format="matroska") as container:
            stream = _add_stream(container, info, codec, quality)
            black: Image = np.zeros((info.height, info.width), info.dtype)  # type: ignore[assignment]
            frame = _as_frame(black, _pixel_format(codec, info.bits))
            frame.pts, frame.time_base = 0, _MILLISECOND
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (FFmpegError, ValueError, OSError) as error:
        raise UserError(
            f"record.video: the encoder '{codec}' cannot start for {info.width}x{info.height} px "
            f"({error}); use 'x264' or 'ffv1'"
        ) from None


def _add_stream(
    container: OutputContainer, info: CameraInfo, codec: str, quality: int
) -> VideoStream:
    rate = Fraction(info.rate_hz).limit_denominator(1000)
    options = _options(codec, quality, info.rate_hz)
    stream = container.add_stream(CODECS[codec][0], rate=rate, options=options)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = info.width, info.height
    stream.pix_fmt = _pixel_format(codec, info.bits)
    stream.codec_context.time_base = _MILLISECOND
    stream.codec_context.thread_count = 1  # the tracker needs the other cores
    return stream


def _as_frame(image: Image, pixel_format: str) -> VideoFrame:
    if pixel_format != "nv12":
        return VideoFrame.from_ndarray(image, pixel_format)
    height, width = image.shape
    frame = VideoFrame(width, height, "nv12")
    for plane, value in zip(frame.planes, (image, 128), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        rows[: height if plane is frame.planes[0] else None, :width] = value
    return frame


def _os_error(error: FFmpegError) -> OSError:
    return OSError(error.errno, error.strerror or str(error))


def parts_of(folder: Path, camera: str) -> list[Path]:
    """Return the parts of a camera's video, in order, up to the first that is missing."""
    found: list[Path] = []
    while (path := folder / video_name(camera, len(found))).is_file():
        found.append(path)
    return found


def part_frames(path: Path) -> Iterator[Image]:
    """Yield the frames of one part, ending where a broken part ends."""
    with contextlib.suppress(Truncated):
        yield from read_frames(path)


def count_frames(path: Path) -> int:
    """Return how many frames a part holds, without decoding them; 0 for what is no video."""
    n = 0
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.is_corrupt:
                    break
                n += packet.size > 0
    except (FFmpegError, OSError, IndexError, ValueError):
        pass
    return n


def rewrite(path: Path, out: Path) -> None:
    """Copy the frames of a part that broke off into a file with an index and a length."""
    with av.open(str(path)) as source, av.open(str(out), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        with contextlib.suppress(FFmpegError):
            for packet in source.demux(video=0):
                if packet.is_corrupt:
                    break
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
