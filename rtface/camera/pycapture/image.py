"""An image as PyCapture2 hands it over: its bytes, and what is told about them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from rtface.camera.pixels import Bytes, pixel_format, reader
from rtface.camera.pycapture.constants import (
    BAYER_FORMAT,
    FORMATS,
    IMAGE_FILE_FORMAT,
    MOSAICS,
    PIXEL_FORMAT,
    RAW_OF_GRAY,
    format_name,
)
from rtface.camera.pycapture.embedded import cycle_time
from rtface.camera.pycapture.faults import Fc2error
from rtface.clock import SECOND_NS
from rtface.types import Image as GrayImage


@dataclass(frozen=True)
class TimeStamp:
    """The device's clock: seconds and microSeconds count on, the cycle time wraps at 128 s.

    cycleCount is in 125 us (0 to 7999), cycleOffset in 1/24.576 MHz (0 to 3071). All are 0 if the
    camera tells no time.
    """

    seconds: int = 0
    microSeconds: int = 0
    cycleSeconds: int = 0
    cycleCount: int = 0
    cycleOffset: int = 0


class Image:
    """One image. It owns its bytes: a later image does not change them.

    Parameters
    ----------
    data : (N,) uint8
    rows, cols : int
        px.
    name : str
        Of the pixel format, GenICam's.
    t_ns : int or None
        The device's clock, ns.
    """

    def __init__(
        self,
        data: Bytes | None = None,
        rows: int = 0,
        cols: int = 0,
        name: str = "Mono8",
        t_ns: int | None = None,
    ) -> None:
        self._data = np.zeros(0, np.uint8) if data is None else data
        self._rows, self._cols, self._name, self._t_ns = rows, cols, name, t_ns

    def getData(self) -> Bytes:
        """Return the bytes as the camera sent them, (N,) uint8, lines without padding."""
        return self._data

    def getDataSize(self) -> int:
        """Return the number of bytes."""
        return self._data.size

    def getRows(self) -> int:
        """Return the height in px."""
        return self._rows

    def getCols(self) -> int:
        """Return the width in px."""
        return self._cols

    def getStride(self) -> int:
        """Return the bytes from one line to the next."""
        return self._cols * self.getBitsPerPixel() // 8

    def getBitsPerPixel(self) -> int:
        """Return the bits that a pixel has in memory."""
        return FORMATS[self._name][1]

    def getPixelFormat(self) -> int:
        """Return one of ``PIXEL_FORMAT``."""
        return FORMATS[self._name][0]

    def getBayerTileFormat(self) -> int:
        """Return one of ``BAYER_FORMAT``."""
        mosaic = self._name.startswith("Bayer")
        return MOSAICS[self._name[5:7]] if mosaic else BAYER_FORMAT.NONE

    def getTimeStamp(self) -> TimeStamp:
        """Return the device's clock when it took the image."""
        if self._t_ns is None:
            return TimeStamp()
        seconds, rest = divmod(self._t_ns, SECOND_NS)
        return TimeStamp(seconds, rest // 1000, *cycle_time(self._t_ns))

    def convert(self, pixelFormat: int) -> Image:
        """Return the image in another format: MONO8, and for 8-bit gray images also BGR and RGB.

        The lowest bits of more than 8 are left out; a mosaic of colours becomes gray.
        """
        own = self.getPixelFormat()
        if pixelFormat == own or RAW_OF_GRAY.get(pixelFormat) == own:
            return Image(self._data.copy(), self._rows, self._cols, self._name, self._t_ns)
        if pixelFormat == PIXEL_FORMAT.MONO8:
            return self._with(self._gray().reshape(-1), "Mono8")
        if pixelFormat in (PIXEL_FORMAT.BGR, PIXEL_FORMAT.RGB8) and self._name == "Mono8":
            name = "BGR8" if pixelFormat == PIXEL_FORMAT.BGR else "RGB8"
            return self._with(np.repeat(self._data, 3), name)
        raise Fc2error(
            f"convert: {self._name} to {format_name(pixelFormat)} is not offered; use cv2.cvtColor "
            "on getData()"
        )

    def _with(self, data: Bytes, name: str) -> Image:
        return Image(data, self._rows, self._cols, name, self._t_ns)

    def _gray(self) -> Bytes:
        told = pixel_format(self._name)
        if told is None:
            raise Fc2error(f"convert: {self._name} to MONO8 is not offered; use cv2.cvtColor")
        size = self._rows, self._cols
        gray: GrayImage
        gray = np.empty(size, np.uint8) if told.bits == 8 else np.empty(size, np.uint16)
        reader(told, self._cols, self._rows, 0)(self._data.tobytes(), gray)
        return (gray >> told.bits - 8).astype(np.uint8)

    def save(
        self,
        filename: str | bytes | os.PathLike[str],
        format: int = IMAGE_FILE_FORMAT.FROM_FILE_EXT,
    ) -> None:
        """Write the bytes (RAW), or a PGM of MONO8; other files are other libraries' work."""
        path = os.fsdecode(filename)
        ending = os.path.splitext(path)[1].lower()
        kinds = {IMAGE_FILE_FORMAT.PGM: ".pgm", IMAGE_FILE_FORMAT.RAW: ".raw"}
        kind = ending if format == IMAGE_FILE_FORMAT.FROM_FILE_EXT else kinds.get(format)
        if kind not in kinds.values() or (kind == ".pgm" and self._name != "Mono8"):
            raise Fc2error(
                f"save: {path}: only .raw, and .pgm of MONO8, are offered; use cv2.imwrite(path, "
                "getData().reshape(rows, cols)), and PyAV for video"
            )
        header = b"P5 %d %d 255\n" % (self._cols, self._rows) if kind == ".pgm" else b""
        try:
            with open(path, "wb") as file:
                file.write(header + self._data.tobytes())
        except OSError as error:
            raise Fc2error(f"save: {path}: {error.strerror}") from None
