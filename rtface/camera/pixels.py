"""From the bytes a camera sends to gray images, bit for bit. Names are those of the PFNC standard.

Mono formats keep their native bits: 8 bits as uint8, more as uint16. A Bayer mosaic becomes gray by
a filter of 3x3 that weights red, green and blue 1:2:1 at every pixel and shifts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.types import Image

Bytes = npt.NDArray[np.uint8]

_MONO_BITS = {
    "Mono8": 8,
    "Mono10": 10,
    "Mono12": 12,
    "Mono14": 14,
    "Mono16": 16,
    "Mono10p": 10,
    "Mono12p": 12,
    "Mono10Packed": 10,
    "Mono12Packed": 12,
}
_BAYER = re.compile(r"Bayer(GR|RG|GB|BG)(8|10|12|16)")


class PixelFormat(NamedTuple):
    """How pixels lie in memory.

    Attributes
    ----------
    name : str
        As in PFNC.
    bits : int
        Of a pixel's value.
    packed : str
        "": one or two bytes a pixel; "p": bits without gaps, the lowest first; "group": two pixels
        in three bytes (GigE Vision's older packing).
    bayer : bool
    """

    name: str
    bits: int
    packed: str
    bayer: bool

    def n_bytes(self, width: int, height: int, padding: int) -> int:
        """Return the bytes of an image with ``padding`` bytes after each line."""
        return height * (_line_bytes(self, width) + padding)


def pixel_format(name: str) -> PixelFormat | None:
    """Return the format called ``name``, None if it is none that can be made gray."""
    if bits := _MONO_BITS.get(name):
        packed = "p" if name.endswith("p") else "group" if name.endswith("Packed") else ""
        return PixelFormat(name, bits, packed, False)
    if mosaic := _BAYER.fullmatch(name):
        return PixelFormat(name, int(mosaic[2]), "", True)
    return None


def _line_bytes(told: PixelFormat, width: int) -> int:
    if told.packed == "p":
        return width * told.bits // 8
    if told.packed == "group":
        return width * 12 // 8
    return width if told.bits == 8 else 2 * width


def needs_even(told: PixelFormat) -> int:
    """Return what a line's width has to be a multiple of, px, so that lines end with a byte."""
    if not told.packed:
        return 1
    return 4 if told.name == "Mono10p" else 2


def reader(
    told: PixelFormat, width: int, height: int, padding: int
) -> Callable[[bytes, Image], None]:
    """Return a function that writes a buffer's image into an (H, W) array.

    It copies once and allocates nothing that grows with the image, except where pixels are packed
    or a mosaic. ``padding`` bytes after each line are left out.
    """
    stride = _line_bytes(told, width) + padding
    n_bytes = height * stride
    scratch = np.empty((height, width), np.uint8 if told.bits == 8 else np.uint16)

    def lines(buffer: bytes) -> Bytes:
        flat = np.frombuffer(buffer, np.uint8, n_bytes)
        return flat.reshape(height, stride)[:, : stride - padding]

    def plain(buffer: bytes, out: Image) -> None:
        if told.bits == 8:
            np.copyto(out, lines(buffer), casting="no")
        elif padding % 2:
            np.copyto(out, np.ascontiguousarray(lines(buffer)).view("<u2"), casting="equiv")
        else:
            rows = np.frombuffer(buffer, "<u2", n_bytes // 2).reshape(height, stride // 2)
            np.copyto(out, rows[:, :width], casting="equiv")

    def packed(buffer: bytes, out: Image) -> None:
        unpack = {"Mono10p": _mono10p, "Mono12p": _mono12p}.get(told.name)
        if unpack:
            unpack(lines(buffer), out)
        else:
            _grouped(lines(buffer), out, told.bits)

    def bayer(buffer: bytes, out: Image) -> None:
        plain(buffer, scratch)
        gray_of_mosaic(scratch, out)

    return bayer if told.bayer else packed if told.packed else plain


def _mono12p(lines: Bytes, out: Image) -> None:
    first, middle, last = (lines[:, k::3].astype(np.uint16) for k in range(3))
    out[:, 0::2] = first | (middle & 15) << 8
    out[:, 1::2] = middle >> 4 | last << 4


def _mono10p(lines: Bytes, out: Image) -> None:
    b = [lines[:, k::5].astype(np.uint16) for k in range(5)]
    out[:, 0::4] = b[0] | (b[1] & 3) << 8
    out[:, 1::4] = b[1] >> 2 | (b[2] & 15) << 6
    out[:, 2::4] = b[2] >> 4 | (b[3] & 63) << 4
    out[:, 3::4] = b[3] >> 6 | b[4] << 2


def _grouped(lines: Bytes, out: Image, bits: int) -> None:
    """Two pixels in three bytes: their high bytes outside, their low bits in the middle."""
    first, middle, last = (lines[:, k::3].astype(np.uint16) for k in range(3))
    low = bits - 8
    mask = (1 << low) - 1
    out[:, 0::2] = first << low | middle & mask
    out[:, 1::2] = last << low | middle >> 4 & mask


def gray_of_mosaic(mosaic: Image, out: Image) -> None:
    """Write the gray image of a Bayer mosaic; both (H, W), of the same type.

    The binomial 3x3 filter sees a quarter of red and of blue and a half of green wherever it
    stands. Edges are mirrored at the outermost pixel, which keeps the mosaic's order.
    """
    padded = np.pad(mosaic, 1, mode="reflect").astype(np.uint32)
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    total = rows[:-2] + 2 * rows[1:-1] + rows[2:]
    np.copyto(out, (total + 8) >> 4, casting="unsafe")  # the mean of 16 parts fits again
