"""The video of a session as one file with equal times between frames, nothing encoded again.

Facemap asks OpenCV how many frames a video has. Of a session's own files that is their length times
the rate, which is wrong as soon as a frame was lost; of these it is the number of frames. OpenCV
also stretches luma that is not said to be of full range: here it is said, and grey levels stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from rtface.session import CameraSession, layout
from rtface.session.packets import packet_crc, scan, usable
from rtface.types import UserError

FULL_RANGE = "h264_metadata=video_full_range_flag=1"


class Film(NamedTuple):
    """What was written: ``frame_seq`` (N,) int64 of the frames in it, and how many were left out.

    Left out are frames that are on record as being in the video and cannot be decoded.
    """

    frame_seq: npt.NDArray[np.int64]
    left_out: int


def container_of(camera: CameraSession) -> str:
    """Return the kind of file, and its ending: AVI holds FFV1, and MP4 H.264, both with counts."""
    return "avi" if camera.about.video == "ffv1" else "mp4"


def copy_video(
    folder: Path, camera: CameraSession, out: Path, on_frame: Callable[[int], None]
) -> Film:
    """Copy the frames of a camera that can be decoded into one file, in order.

    Parameters
    ----------
    folder : Path
        Of the session.
    camera : CameraSession
    out : Path
        File to write.
    on_frame : callable
        Told, now and then, how many frames are done.

    Raises
    ------
    UserError
        There is no frame to copy, or parts of the video were encoded in different ways.
    OSError
        The disk refuses.
    """
    seqs: list[int] = []
    left_out = 0
    with ExitStack() as stack:
        writer: _Writer | None = None
        for path, rows in layout.parts_of(folder, camera.name):
            wanted = layout.places_of(rows)
            good = usable(wanted, scan(path, camera.about.shape))
            left_out += len(good) - sum(good)
            if not any(good):
                continue
            seqs_here = zip(wanted, rows["frame_seq"].tolist(), strict=True)
            seq_of = dict(compress(seqs_here, good))
            with av.open(str(path.absolute()), "r", format="matroska") as source:
                stream = source.streams.video[0]
                if writer is None:
                    writer = stack.enter_context(_Writer(out, stream, camera))
                writer.begin_part(stream)
                for place, packet in _packets(source.demux(stream)):
                    seq = seq_of.pop(place, None)
                    if seq is not None:
                        writer.add(packet)
                        seqs.append(seq)
                        on_frame(len(seqs))
            left_out += len(seq_of)
    if not seqs:
        raise UserError(
            f"{folder}: {camera.name}: there is no video; Facemap's files go with one, record "
            "with 'x264' or 'ffv1'"
        )
    return Film(np.array(seqs, np.int64), left_out)


def _packets(demuxed: Iterator[Packet[Any]]) -> Iterator[tuple[tuple[int, int], Packet[Any]]]:
    """Yield ((time in ms, CRC-32) as in the records, packet), up to where a file is damaged."""
    with contextlib.suppress(FFmpegError, ValueError):
        for packet in demuxed:
            if packet.size and packet.pts is not None:
                crc = packet_crc(bytes(packet), packet.stream.codec_context.name == "h264", True)
                yield (round(1000 * float(packet.pts * packet.time_base)), crc), packet


class _Writer:
    """A video being written, one packet a frame, a frame every period."""

    def __init__(self, path: Path, like: VideoStream, camera: CameraSession) -> None:
        self._path, self._n = path, 0
        self._begins = bytes(like.codec_context.extradata or b"")
        self._period = 1 / Fraction(camera.about.rate_hz).limit_denominator(1000)
        self._container: OutputContainer = av.open(
            str(path.absolute()), "w", format=container_of(camera)
        )
        self._stream = self._container.add_stream_from_template(like)
        self._stream.time_base = self._period
        self._filter: BitStreamFilterContext | None = None

    def begin_part(self, source: VideoStream) -> None:
        """Take packets of this stream from now on."""
        if bytes(source.codec_context.extradata or b"") != self._begins:
            raise UserError(
                f"{self._path.name}: parts of the video were encoded in different ways and cannot "
                "be one file"
            )
        if source.codec_context.name == "h264":
            # what stands at the beginning of the file is the first part's
            begins = None if self._n else self._stream
            self._filter = BitStreamFilterContext(FULL_RANGE, source, begins)

    def add(self, packet: Packet[Any]) -> None:
        """Write the next frame."""
        try:
            for part in self._filter.filter(packet) if self._filter else [packet]:
                part.stream = self._stream
                part.time_base = self._period
                part.pts = part.dts = self._n
                part.duration = 1
                self._container.mux(part)
            self._n += 1
        except FFmpegError as error:
            raise OSError(error.errno, error.strerror or str(error)) from error

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._container.close()
        except FFmpegError as error:
            raise OSError(error.errno, error.strerror or str(error)) from error
