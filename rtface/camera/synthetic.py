"""A camera made of numpy: the face of a mouse with known keypoints, in real time.

What a frame shows, and its noise, depend on the frame's id alone, so a run can be repeated pixel by
pixel.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rtface.camera.exposing import check_exposure
from rtface.camera.face import HEADROOM
from rtface.camera.film import Film
from rtface.camera.light import SeenLight
from rtface.camera.pacing import NS_PER_S, Pacer
from rtface.camera.stamping import EXPOSURE_NS, PLAIN, Stamping
from rtface.camera.truth import SyntheticTruth
from rtface.types import (
    CameraCounts,
    CameraInfo,
    CameraState,
    ExposureRange,
    Image,
    Lost,
    Stamp,
)

#: where a simulated light shines, and how bright it is: grey values without and with it
LIT = (slice(4, 36), slice(4, 36))
DARK, BRIGHT = 20.0, 200.0
#: bit of the input line that is high when the exposure begins in that light
LIGHT_LINE = 2
#: how long a simulated latch takes
LATCH_NS = 4000
#: steps of the exposure time, as real cameras have them
STEP_NS = 1000
_NOISE_SD = 3.0
_NOISE_EXTRA = 1 << 16
#: an odd constant whose multiples are spread evenly over 32 bits (Knuth, TAOCP 6.4)
_SPREAD = 2654435761


class SyntheticCamera:
    """Delivers a procedural mouse face at a fixed rate; a ``Camera`` of ``rtface.types``.

    Frame ``i`` is due ``(i + 1) / rate_hz`` after ``start``. A frame not asked for until more than
    one period after that is never delivered and is counted as ``Lost.late``. A frame is drawn ahead
    of its time, as a camera's hardware would: what drawing costs delays no delivery. A machine that
    draws too slowly delivers fewer frames, late by their drawing, but goes on.

    It can be told to expose for another time while it runs: the picture is brighter by as much, up
    to white, from the first frame on that begins after that.

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
    stamping : Stamping
        When it exposes and delivers, and what its clock says.
    light : SeenLight, optional
        A light that shines on the upper left corner (``LIT``) of the frame.
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
        stamping: Stamping = PLAIN,
        light: SeenLight | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.info = CameraInfo(height=height, width=width, bits=8, rate_hz=rate_hz)
        self.first_id: int | None = 0
        self.state = CameraState.READY
        self.known = SyntheticTruth(width, height, rate_hz, seed, nuisances)
        self._film = Film(seed, width, height, nuisances=nuisances)
        self._film.prepare()
        self._noise = _noise_bank(seed, height * width + _NOISE_EXTRA)
        self._line0_ns = [round(NS_PER_S * s) for s in line0_s] if line0_s else [0, 0]
        self._stamping, self._light = stamping, light
        self._pair: tuple[int, int, int] | None = None
        self._paired_ns = 0
        self._clock = clock
        self._usual_ns = stamping.exposure_ns or EXPOSURE_NS
        #: exposure times that were set, and the first frame of each
        self._set: list[tuple[int, int]] = []
        self._pacer = Pacer(round(NS_PER_S / rate_hz), clock, sleep)

    def start(self) -> None:
        """Begin to expose; frame 0 comes one period later."""
        self.state = CameraState.RUNNING
        self._pacer.start()

    @property
    def exposure(self) -> ExposureRange:
        """The exposure time of the next frame, and its limits."""
        now_ns = self._set[-1][1] if self._set else self._usual_ns
        return ExposureRange(now_ns * 1e-3, STEP_NS * 1e-3, self._pacer.period_ns * 1e-3)

    def expose(self, exposure_us: float) -> ExposureRange:
        """Expose for so long, in whole us; UserError if that is longer than a frame lasts."""
        check_exposure(exposure_us, self.exposure, self.info.rate_hz)
        exposure_ns = STEP_NS * round(exposure_us * 1000 / STEP_NS)
        first = self._pacer.id
        if self.state is CameraState.RUNNING:
            now_ns = self._clock() - self._pacer.t0_ns
            # frames that are on their way, or begun, have the old one
            while self._middle_ns(first) - exposure_ns // 2 < now_ns:
                first += 1
        self._set.append((first, exposure_ns))
        return self.exposure

    def _middle_ns(self, frame_id: int) -> int:
        """Return when a frame is half exposed, ns after ``start``."""
        return self._pacer.deadline_ns(frame_id) - self._stamping.delay_ns

    def _exposure_of(self, frame_id: int) -> int:
        """Return how long a frame is exposed, ns."""
        for first, exposure_ns in reversed(self._set):
            if frame_id >= first:
                return exposure_ns
        return self._stamping.exposure_of(frame_id)

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` ((H, W) uint8); None after ``timeout_s`` without one.

        ``t_camera_ns`` is that of ``Stamping``: unless told otherwise, the frame's deadline in ns
        after ``start``.
        """
        began_ns = self._pacer.skip_late()
        drawn = self._pacer.id
        self._draw(drawn, out)
        left_s = timeout_s - (self._pacer.skip_late() - began_ns) / NS_PER_S
        frame_id = self._pacer.next(max(0.0, left_s))
        if frame_id is None:
            return None
        if frame_id != drawn:  # the drawn one was lost meanwhile
            self._draw(frame_id, out)
        due_ns = self._pacer.deadline_ns(frame_id)
        stamping = self._stamping
        exposure_ns = self._exposure_of(frame_id)
        lines = int(self._line0_ns[0] <= due_ns < self._line0_ns[1])
        if self._light is not None:
            middle_ns = self._pacer.t0_ns + self._middle_ns(frame_id)
            start_ns = middle_ns - exposure_ns // 2
            lines |= LIGHT_LINE * round(self._light.fraction(start_ns, start_ns + 1))
            out[LIT] = DARK + BRIGHT * self._light.fraction(start_ns, start_ns + exposure_ns)
        now_ns = self._clock()
        if stamping.pairs and now_ns - self._paired_ns >= NS_PER_S:
            self._paired_ns = now_ns
            self._pair = (stamping.device(now_ns - self._pacer.t0_ns), now_ns, LATCH_NS)
        return Stamp(
            0,
            frame_id,
            stamping.stamp(exposure_ns, due_ns),
            now_ns,
            lines,
            exposure_ns if stamping.exposure_ns is None or self._set else 0,
            self._pair,
        )

    def _draw(self, frame_id: int, out: Image) -> None:
        height, width = self.info.height, self.info.width
        offset = frame_id * _SPREAD % 2**32 % _NOISE_EXTRA
        noise = self._noise[offset : offset + height * width].reshape(height, width)
        assert out.dtype == np.uint8  # as ``info.bits`` says
        state = self.known.state(frame_id)
        if self._set and frame_id >= self._set[0][0]:
            state = state._replace(gain=state.gain * self._exposure_of(frame_id) / self._usual_ns)
        self._film.draw(state, out.view(np.uint8))
        # uint8 wraps, so a bank of small two's complement numbers adds and subtracts
        np.add(out, noise, out=out)

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
