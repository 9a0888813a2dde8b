"""Frames as JPEG, at the size of a display."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from rtface.motion.binning import Binner
from rtface.types import CameraInfo, Image, UInt8Image

#: larger frames are averaged in blocks to at most this, px
MOST_WIDTH, MOST_HEIGHT = 1280, 1024
#: of ffmpeg's scale, 2 is best: edges of a pupil stay within a grey level or two
QUALITY = "3"


class JpegEncoder:
    """Makes JPEGs of frames of one camera. Belongs to one thread.

    Attributes
    ----------
    step : int
        A pixel of the picture is the mean of ``step`` by ``step`` of the frame's.
    """

    def __init__(self, info: CameraInfo) -> None:
        self.step = max(-(-info.width // MOST_WIDTH), -(-info.height // MOST_HEIGHT), 1)
        self._bin = Binner(info.height, info.width, self.step, info.dtype)
        self._binned = np.empty(self._bin.shape, np.float32)
        self._shift = max(0, info.bits - 8)
        # halved colours need even sides; the last row or column is left out
        self._height = info.height // self.step // 2 * 2
        self._width = info.width // self.step // 2 * 2
        self._planes = np.full((self._height * 3 // 2, self._width), 128, np.uint8)
        self._codec: av.VideoCodecContext = av.CodecContext.create("mjpeg", "w")
        self._codec.width, self._codec.height = self._width, self._height
        self._codec.pix_fmt = "yuvj420p"
        self._codec.time_base = Fraction(1, 30)
        self._codec.thread_count = 1
        self._codec.options = {"qmin": QUALITY, "qmax": QUALITY, "huffman": "default"}

    def __call__(self, image: Image) -> bytes:
        """Return the JPEG of a frame (H, W)."""
        self._planes[: self._height] = self._fitted(image)
        frame = av.VideoFrame.from_ndarray(self._planes, "yuvj420p")
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))

    def _fitted(self, image: Image) -> UInt8Image:
        height, width = self._height, self._width
        part: Image = image[:height, :width]
        if self.step > 1:
            self._bin(image, self._binned)
            part = self._binned[:height, :width].astype(np.uint16)
        fitted: UInt8Image = (part >> self._shift).astype(np.uint8)
        return fitted
