"""A camera made of numpy: the face of a mouse with known keypoints, in real time.

What a frame shows, and its noise, depend on the frame's id alone, so a run can be repeated pixel by
pixel.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rtface.camera.face import HEADROOM
from rtface.camera.film import Film
from rtface.camera.pacing import NS_PER_S, Pacer
from rtface.camera.truth import SyntheticTruth
from rtface.types import CameraCounts, CameraInfo, Image, Lost, Stamp

_NOISE_SD = 3.0
_NOISE_EXTRA = 1 << 16
#: an odd constant whose multiples are spread evenly over 32 bits (Knuth, TAOCP 6.4)
_SPREAD = 2654435761


class SyntheticCamera:
    """Delivers a procedural mouse face at a fixed rate; a ``Camera`` of ``rtface.types``.

    Frame ``i`` is due ``(i + 1) / rate_hz`` after ``start``. A frame not asked for until more than
    one period after that is never delivered and is counted as ``Lost.late``.

    Parameters
    ----------
    width, height : int
        Size of the frames, px.
    rate_hz : float
        Frames per second, above 0.
    seed : int
        The animal; see ``Anatomy``.
    nuisances : bool
        What rigs do to a face: flashes, scanning light, a knocked camera; see ``Script``.
    line0_s : (float, float), optional
        Input line 0 is high from, to; s of the film.
    clock, sleep : callable
        ``perf_counter_ns`` and ``sleep``, or a test's own.
    """

    def __init__(
        self,
        width: int,
        height: int,
        rate_hz: float,
        seed: int,
        nuisances: bool = True,
        line0_s: tuple[float, float] | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.info = CameraInfo(height=height, width=width, bits=8, rate_hz=rate_hz)
        self.known = SyntheticTruth(width, height, rate_hz, seed, nuisances)
        self._film = Film(seed, width, height, nuisances=nuisances)
        self._film.prepare()
        self._noise = _noise_bank(seed, height * width + _NOISE_EXTRA)
        self._line0_ns = [round(NS_PER_S * s) for s in line0_s] if line0_s else [0, 0]
        self._clock = clock
        self._pacer = Pacer(round(NS_PER_S / rate_hz), clock, sleep)

    def start(self) -> None:
        """Begin to expose; frame 0 comes one period later."""
        self._pacer.start()

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` ((H, W) uint8); None after ``timeout_s`` without one.

        ``t_camera_ns`` is the frame's deadline in ns after ``start``.
        """
        frame_id = self._pacer.next(timeout_s)
        if frame_id is None:
            return None
        height, width = self.info.height, self.info.width
        offset = frame_id * _SPREAD % 2**32 % _NOISE_EXTRA
        noise = self._noise[offset : offset + height * width].reshape(height, width)
        assert out.dtype == np.uint8  # as ``info.bits`` says
        self._film.draw(self.known.state(frame_id), out.view(np.uint8))
        # uint8 wraps, so a bank of small two's complement numbers adds and subtracts
        np.add(out, noise, out=out)
        due_ns = self._pacer.deadline_ns(frame_id)
        high = self._line0_ns[0] <= due_ns < self._line0_ns[1]
        return Stamp(0, frame_id, due_ns, self._clock(), int(high))

    def counts(self) -> CameraCounts:
        """Return what was made and lost so far; made = delivered + lost at any time."""
        return CameraCounts(self._pacer.produced, Lost(late=self._pacer.late))

    def close(self) -> None:
        """Do nothing: there is no device to free."""


def _noise_bank(seed: int, size: int) -> npt.NDArray[np.uint8]:
    """Return ``size`` Gaussian numbers within ``HEADROOM`` as two's complement uint8."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(size, dtype=np.float32) * np.float32(_NOISE_SD)
    small = np.clip(np.rint(noise), -HEADROOM, HEADROOM).astype(np.int8)
    return np.asarray(small.view(np.uint8))
