"""What a part of a video holds: its packets by time, each with a checksum of what was encoded."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from rtface.types import Image, UserError

_START_CODE = re.compile(b"\x00\x00+\x01")


class PacketRow(NamedTuple):
    """A frame in a part: its time there in ms, the checksum of its packet, whether it is whole."""

    pts_ms: int
    crc: int
    key: bool


def packet_crc(packet: bytes, h264: bool, framed: bool) -> int:
    """Return the CRC-32 of an encoded frame, the same before and after it was in a file.

    Matroska replaces the start codes of H.264 by lengths (``framed``); the units between them stay.
    """
    if not h264:
        return zlib.crc32(packet)
    crc = 0
    for unit in _framed_units(packet) if framed else _START_CODE.split(packet):
        crc = zlib.crc32(unit.rstrip(b"\0"), crc)
    return crc


def _framed_units(packet: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(packet):
        length = int.from_bytes(packet[at : at + 4], "big")
        yield packet[at + 4 : at + 4 + length]
        at += 4 + length


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Open a part. A file object and a forced format: nothing in it can name another file."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb", buffering=0))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        yield stack.enter_context(av.open(file, "r", format="matroska"))


def _packets(container: InputContainer) -> Iterator[Packet[Any]]:
    for packet in container.demux(video=0):
        if packet.size and packet.pts is not None:
            yield packet


def _row(packet: Packet[Any]) -> PacketRow:
    h264 = packet.stream.codec_context.name == "h264"
    crc = packet_crc(bytes(packet), h264, True)
    return PacketRow(_pts_ms(packet, packet.stream), crc, packet.is_keyframe)


def scan(path: Path, shape: tuple[int, int]) -> list[PacketRow]:
    """Return the packets of a part, of which only the first is decoded.

    None if it is missing or no video, or if that first one is not a frame of ``shape`` (H, W):
    then what stands at the beginning of the file, and all need, is damaged.

    Raises
    ------
    UserError
        It is there and cannot be read.
    """
    found: list[PacketRow] = []
    if not path.exists():
        return found
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:  # what names the codec is damaged
                return found
            stream.thread_type = "NONE"
            for packet in _packets(container):
                found.append(_row(packet))
                if len(found) == 1 and [_image(f).shape for f in packet.decode()] != [shape]:
                    return []
    except (FFmpegError, IndexError, ValueError):
        return found if len(found) > 1 else []  # what came before still counts
    return found


def usable(wanted: list[tuple[int, int]], found: list[PacketRow]) -> list[bool]:
    """Return which of the wanted (pts, crc) can be decoded from the packets found.

    A packet has to be there with its checksum, and so does every one back to the last that stands
    by itself.
    """
    # by both: a damaged time may put a packet where another one belongs
    there = {(row.pts_ms, row.crc): row.key for row in found}
    good, whole = [], False
    for at in wanted:
        whole = at in there and (there[at] or whole)
        good.append(whole)
    return good


def images(
    path: Path, shape: tuple[int, int], wanted: list[tuple[int, int]]
) -> Iterator[tuple[int, Image]]:
    """Yield (pts in ms, image) of the wanted frames of a part that can be decoded, in order."""
    good = set(compress(wanted, usable(wanted, scan(path, shape))))
    if not good:
        return
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for packet in _packets(container):
                row = _row(packet)
                if (row.pts_ms, row.crc) in good:
                    good.discard((row.pts_ms, row.crc))
                    for frame in packet.decode():
                        yield _pts_ms(frame, stream), _image(frame)
            for frame in stream.decode(None):
                yield _pts_ms(frame, stream), _image(frame)
    except (FFmpegError, IndexError, ValueError):
        return


def _pts_ms(frame: av.VideoFrame | Packet[Any], stream: VideoStream) -> int:
    # frames that come when the decoder is emptied have no time base of their own
    base = frame.time_base or stream.time_base
    return round(1000 * float(frame.pts * base)) if frame.pts and base else 0


def _image(frame: av.VideoFrame) -> Image:
    if frame.format.name == "gray16le":
        image: Image = frame.to_ndarray()  # type: ignore[assignment]
    else:  # gray, or the luma plane of a hardware encoder
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
        image = rows[: frame.height, : frame.width]
    return image


def has_length(path: Path) -> bool:
    """Whether a part was closed: only then it says how long it is."""
    try:
        with _opened(path) as container:
            return container.duration is not None
    except (FFmpegError, IndexError, ValueError):
        return False


def rewrite(path: Path, out: Path) -> None:
    """Copy the frames of a part that broke off into a file with an index and a length."""
    with _opened(path) as source, av.open(str(out.absolute()), "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        try:
            for packet in _packets(source):
                packet.stream = stream
                target.mux(packet)
        except FFmpegError:
            return
