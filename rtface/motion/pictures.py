"""A picture of the first masks, written as PNG without a library for pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from rtface.motion.masks import AreaMasks, Basis, Masks
from rtface.types import Float32Array, UInt8Image, UserError

#: masks in a row, width of each in px, gap between them in px
FIRST, WIDTH, GAP = 8, 160, 4


def draw_masks(path: Path, masks: Masks) -> None:
    """Draw a row per area and kind: the average, then the first masks, red above 0, blue below.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    rows = [
        masks_row(masks, area, kind)
        for area in masks.areas
        for kind in ("motion", "movie")
        if getattr(area, kind) is not None
    ]
    picture = np.full((sum(len(row) + GAP for row in rows) - GAP, rows[0].shape[1], 3), 255)
    y = 0
    for row in rows:
        picture[y : y + len(row)] = row
        y += len(row) + GAP
    try:
        path.write_bytes(png(picture.astype(np.uint8)))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); check --out") from None


def masks_row(masks: Masks, area: AreaMasks, kind: str, dark: bool = False) -> UInt8Image:
    """Return the average and the first masks of an area side by side, (h, w, 3).

    Parameters
    ----------
    kind : str
        ``motion`` or ``movie``; the area has it.
    dark : bool
        0 is black, not white.
    """
    basis: Basis = getattr(area, kind)
    average = masks.average_motion if kind == "motion" else masks.average_frame
    shape = area.area.y1 - area.area.y0, area.area.x1 - area.area.x0
    tiles = [_gray(area.area.of(average))]
    tiles += [_signed(mask.reshape(shape), dark) for mask in basis.masks.T[:FIRST]]
    return _in_a_row([_enlarged(tile) for tile in tiles], 0 if dark else 255)


def _gray(image: Float32Array) -> UInt8Image:
    span = float(np.ptp(image)) or 1.0
    return np.repeat((255 * (image - image.min()) / span).astype(np.uint8)[..., None], 3, -1)


def _signed(mask: Float32Array, dark: bool) -> UInt8Image:
    strength = mask / max(float(np.abs(mask).max()), 1e-12)
    if dark:
        red, blue = 255 * np.maximum(strength, 0), 255 * np.maximum(-strength, 0)
        return np.stack([red, np.minimum(red, blue) + blue / 3, blue], -1).astype(np.uint8)
    faded = 255 * (1 - np.abs(strength))
    above = np.where(strength > 0, 255, faded)
    below = np.where(strength < 0, 255, faded)
    return np.stack([above, faded, below], -1).astype(np.uint8)


def _enlarged(tile: UInt8Image) -> UInt8Image:
    """Return a tile (h, w, 3) of exactly ``WIDTH`` columns, by nearest neighbours."""
    height, width = tile.shape[:2]
    tall = max(1, round(height * WIDTH / width))
    rows, columns = np.arange(tall) * height // tall, np.arange(WIDTH) * width // WIDTH
    enlarged: UInt8Image = tile[rows][:, columns]
    return enlarged


def _in_a_row(tiles: list[UInt8Image], gap: int) -> UInt8Image:
    """Return tiles side by side, with room for as many as every row has."""
    row = np.full((len(tiles[0]), (FIRST + 1) * (WIDTH + GAP) - GAP, 3), gap, np.uint8)
    for i, tile in enumerate(tiles):
        row[:, i * (WIDTH + GAP) : i * (WIDTH + GAP) + WIDTH] = tile
    return row


def png(picture: UInt8Image) -> bytes:
    """Return the bytes of a PNG file of a picture (h, w, 3)."""
    height, width, _ = picture.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with 0: no filter
    lines[:, 1:] = picture.reshape(height, -1)
    found = b"\x89PNG\r\n\x1a\n"
    for kind, content in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    ):
        found += struct.pack(">I", len(content)) + kind + content
        found += struct.pack(">I", zlib.crc32(kind + content))
    return found
