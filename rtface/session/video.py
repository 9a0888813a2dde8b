"""The video of a session: gray frames into MKV files that can be read while they grow.

Lossless is FFV1; x264 at a constant quality is far smaller. Each file is a part of some seconds;
a frame's place is its part and its time there in ms; its true time stands in the frames file.
"""

from __future__ import annotations

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rtface.session.layout import video_name
from rtface.session.packets import packet_crc
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
        return {
            "preset": "p1",
            "tune": "ull",
            "delay": "0",
            "rc": "constqp",
            "qp": str(quality),
            "g": key,
        }
    return {"preset": "ultrafast", "tune": "zerolatency", "crf": str(quality), "g": key}


def _pixel_format(codec: str, bits: int) -> str:
    if codec == "ffv1":
        return "gray" if bits <= 8 else "gray16le"
    return "gray" if codec == "x264" else "nv12"


class Placed(NamedTuple):
    """Where a frame is: part of the video, its time there in ms, CRC-32 of its packet."""

    part: int
    pts_ms: int
    crc: int


class _Part:
    """A file being written; packets wait until the records that speak of them are on disk."""

    def __init__(self, path: Path, container: OutputContainer, stream: VideoStream) -> None:
        self.path, self.stream = path, stream
        self._container = container
        self.waiting: list[Packet[Any]] = []

    def mux(self) -> None:
        waiting, self.waiting = self.waiting, []
        try:
            self._container.mux(waiting)
        except FFmpegError as error:
            raise _os_error(error) from error

    def close(self) -> None:
        try:
            self.mux()
            self._container.mux(self.stream.encode(None))
            self._container.close()
        except FFmpegError as error:
            with contextlib.suppress(FFmpegError):
                self._container.close()
            raise _os_error(error) from error
        sync(self.path)


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
        self._open_part: _Part | None = None
        self._finished: list[_Part] = []
        self._began_ns = self._last_ms = 0
        self.part = -1
        check_encoder(info, codec, quality)

    def encode(self, image: Image, t_host_ns: int) -> Placed:
        """Encode one frame (H, W) and say where it will be; ``flush`` writes it."""
        if self._open_part is None or t_host_ns - self._began_ns >= self._part_ns:
            self._finish_part()
            self._open(t_host_ns)
        assert self._open_part
        frame = _as_frame(image, _pixel_format(self._codec, self._info.bits))
        self._last_ms = max(self._last_ms + 1, (t_host_ns - self._began_ns) // 1_000_000)
        frame.pts, frame.time_base = self._last_ms, _MILLISECOND
        try:
            packets = self._open_part.stream.encode(frame)
        except FFmpegError as error:
            raise _os_error(error) from error
        self._open_part.waiting.extend(packets)
        crc = 0
        if len(packets) == 1:  # an encoder that holds frames back has no packet to check yet
            crc = packet_crc(bytes(packets[0]), self._codec != "ffv1", False)
        return Placed(self.part, self._last_ms, crc)

    def flush(self) -> None:
        """Hand what was encoded to the files."""
        while self._finished:
            self._finished.pop(0).close()
        if self._open_part:
            self._open_part.mux()

    def _open(self, t_host_ns: int) -> None:
        self.part += 1
        self._began_ns, self._last_ms = t_host_ns, -1
        path = self._folder / video_name(self._camera, self.part)
        options = {"cluster_time_limit": str(CLUSTER_MS), "flush_packets": "1"}
        try:
            container = av.open(str(path.absolute()), "w", format="matroska", options=options)
            stream = _add_stream(container, self._info, self._codec, self._quality)
        except FFmpegError as error:
            raise _os_error(error) from error
        self._open_part = _Part(path, container, stream)

    def path(self) -> Path | None:
        """Return the part being written."""
        return self._open_part.path if self._open_part else None

    def _finish_part(self) -> None:
        if self._open_part:
            self._finished.append(self._open_part)
            self._open_part = None

    def close(self) -> None:
        """Finish what is open; may be called twice."""
        self._finish_part()
        self.flush()


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


def sync(path: Path) -> None:
    """Have the disk keep a file or a folder; what it refuses shows at the next write."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
