"""When each frame was exposed: what its stamp means, the clock fit, and what no fit can see.

Pure: no clock is read here.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rtface.clock import MAX_PPM_COUNTED, STEP_NS, ClockFit
from rtface.types import Flag, Stamp, TimeSource, UserError


class Timing(NamedTuple):
    """What a rig says of the way from exposure to delivery; all in ns.

    Attributes
    ----------
    period_ns : int
        Nominal time between frames.
    delay_ns, delay_err_ns : int
        From the event that the stamp marks to the delivery of the fastest frames, and a bound on
        the error of that, as declared.
    measured_ns, measured_err_ns : int
        The same as measured by ``calibration/latency.py`` for ``calibrated``.
    calibrated : TimeSource, optional
        For which way of finding times it was measured; None: it is declared only.
    to_midpoint_ns : int
        From the event that the stamp marks to the midpoint of the exposure, negative if before.
    half_exposures : int
        -1, 0 or 1: so many halves of the exposure time come on top.
    exposure_ns : int or None
        The exposure time as declared, 0 if it is not. None: every frame has its own and says it.
    midpoint_err_ns : int
        How much rows differ from the midpoint (rolling shutter).
    """

    period_ns: int
    delay_ns: int = 0
    delay_err_ns: int = 0
    measured_ns: int = 0
    measured_err_ns: int = 0
    calibrated: TimeSource | None = None
    to_midpoint_ns: int = 0
    half_exposures: int = 0
    exposure_ns: int | None = None
    midpoint_err_ns: int = 0


#: cameras make of an exposure time what they can: at first it may differ from the declared by this
ROUNDED = 0.02
#: ways that see the delay of the fastest frames
_FITTED = (TimeSource.DEVICE_CLOCK, TimeSource.FRAME_COUNTER)


class Exposed(NamedTuple):
    """The midpoint of an exposure: host clock, ns; bound on its error, ns; how it was found."""

    exposure_ns: int
    exposure_err_ns: int
    time_source: int
    flags: int


class FrameTimer:
    """Tells when each frame was exposed. Takes every frame that is seen, in order.

    Not thread-safe; under 10 us per frame, and 0.3 ms once a second for the fit.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._clock: ClockFit | None = None
        self._pairs = PairFit()
        self._segment: int | None = None
        self._exposure_time_ns = 0  # of the newest frame that said it
        self._usual_ns = timing.exposure_ns or 0  # as declared; as the camera rounds it
        self._changes = 0  # steps and resets of the clock that pairs were told of
        self._source = TimeSource.DELIVERY

    def restart(self) -> None:
        """Forget the fits: the machine slept, and the device's clock went on or stopped."""
        self._pairs.restart()
        if self._clock:
            self._clock.restart()

    def __call__(self, stamp: Stamp) -> Exposed:
        """Return the exposure of a frame.

        Raises
        ------
        UserError
            Each frame's own exposure time is needed, and the camera does not say it.
        """
        timing = self._timing
        said_ns = stamp.exposure_time_ns
        own_ns = said_ns or self._exposure_time_ns or (timing.exposure_ns or 0)
        if timing.half_exposures and not own_ns:
            raise UserError(
                "camera.exposure_us: is 'frame', and the camera does not say how long its frames "
                "are exposed; switch auto exposure off and give the time in us"
            )
        middle = timing.to_midpoint_ns + timing.half_exposures * own_ns // 2
        at, error, source = self._found(stamp)
        if self._exposure_time_ns and not said_ns:
            # this one frame did not say it; it is shorter than the frame lasts
            error += max(own_ns, timing.period_ns) // 2
        if said_ns and not self._exposure_time_ns:
            rounded = abs(said_ns - self._usual_ns) < ROUNDED * self._usual_ns
            self._usual_ns = said_ns if rounded else self._usual_ns
        self._exposure_time_ns = said_ns or self._exposure_time_ns
        # where every frame has its own, delays were measured or declared over all of them
        changed_ns = abs(own_ns - self._usual_ns) if timing.exposure_ns else 0
        if source != TimeSource.LATCHED_PAIRS:
            error += changed_ns  # delivery is later by that against the stamp, at most
        calibrated = source == timing.calibrated
        if calibrated or (source == TimeSource.DELIVERY and timing.calibrated in _FITTED):
            delay_ns, delay_err_ns = timing.measured_ns, timing.measured_err_ns
        elif source == TimeSource.LATCHED_PAIRS:
            delay_ns = delay_err_ns = 0  # pairs see the stamp itself, not the way to the host
        else:
            delay_ns, delay_err_ns = timing.delay_ns, timing.delay_err_ns
        self._source = source
        return Exposed(
            at - delay_ns + middle,
            error + delay_err_ns + timing.midpoint_err_ns,
            source.value,
            0 if calibrated and not changed_ns else Flag.UNCALIBRATED.value,
        )

    def _found(self, stamp: Stamp) -> tuple[int, int, TimeSource]:
        """Return the stamp in the host's clock, the bound on its error, and how it was found."""
        timing = self._timing
        if stamp.t_camera_ns is None:
            source, device_ns = TimeSource.FRAME_COUNTER, stamp.frame_id * timing.period_ns
        else:
            source, device_ns = TimeSource.DEVICE_CLOCK, stamp.t_camera_ns
        if self._clock is None:
            counted = source == TimeSource.FRAME_COUNTER
            self._clock = ClockFit(max_ppm=MAX_PPM_COUNTED) if counted else ClockFit()
        elif stamp.segment != self._segment:
            self._clock.restart()  # its counter began anew, and so may have its clock
            self._pairs.restart()
        self._segment = stamp.segment
        self._clock.add(device_ns, stamp.t_host_ns)
        changes = self._clock.steps + self._clock.resets
        if changes != self._changes:
            self._changes = changes
            self._pairs.restart()
        if stamp.pair is not None:
            self._pairs.add(*stamp.pair)
        if timing.calibrated != TimeSource.DEVICE_CLOCK and stamp.t_camera_ns is not None:
            paired = self._pairs.host(stamp.t_camera_ns)
            if paired is not None and paired[1] < timing.period_ns:
                return *paired, TimeSource.LATCHED_PAIRS
        fitted = self._clock.host(device_ns)
        if fitted is not None and fitted[1] < timing.period_ns:
            return *fitted, source
        # nothing fits (yet): this frame may have waited, by how long nobody knows
        return stamp.t_host_ns, timing.period_ns, TimeSource.DELIVERY

    def state(self) -> dict[str, Any]:
        """Return what the status says about the clock."""
        clock, fitted = self._clock, self._clock is not None and self._clock.fitted
        return {
            "source": self._source.name.lower(),
            "skew_ppm": round(clock.skew_ppm, 3) if clock and fitted else None,
            "scatter_us": round(clock.scatter_us, 1) if clock and fitted else None,
            "steps": clock.steps if clock else 0,
            "resets": clock.resets if clock else 0,
        }


#: a second clock that runs faster or slower by more is none
MAX_SLOPE = 2e-3


class PairFit:
    """Maps a device's clock to the host's by pairs that were latched together. Not thread-safe."""

    KEPT = 60

    def __init__(self) -> None:
        self._pairs: list[tuple[int, int, int]] = []
        self._line = (0.0, 0.0)  # slope of (host - device), its value at the last pair
        self._closest = 0.0  # what all pairs may be wrong by alike
        self._spread = (0.0, 0.0, 0.0)  # variances of slope, of both, of value
        self._seen_ns: int | None = None

    def restart(self) -> None:
        """Forget all pairs."""
        self._pairs.clear()

    def add(self, device_ns: int, host_ns: int, within_ns: int) -> None:
        """Take in a pair: the host's clock was within half of ``within_ns`` of ``host_ns``.

        The same pair again is passed over.
        """
        pairs = self._pairs
        if device_ns == self._seen_ns:
            return
        self._seen_ns = device_ns
        expected = self.host(device_ns)
        if (pairs and device_ns < pairs[-1][0]) or (
            expected is not None and abs(host_ns - expected[0]) > expected[1] + within_ns + STEP_NS
        ):
            self.restart()  # the clock was set
        pairs.append((device_ns, host_ns, within_ns))
        del pairs[: -self.KEPT]
        if len(pairs) >= 2:
            self._fit()

    def _fit(self) -> None:
        """Fit a line that trusts a pair the more the closer it was read."""
        device, host, within = np.array(self._pairs, np.int64).T
        x = (device - device[-1]).astype(float)
        y = (host - device - (host[-1] - device[-1])).astype(float)
        half = np.maximum(within / 2, 100.0)
        weight = 1 / half**2
        n, sx, sxx = (float((weight * x**k).sum()) for k in range(3))
        sy, sxy = float((weight * y).sum()), float((weight * x * y).sum())
        apart = max(n * sxx - sx * sx, 1e-30)
        slope, offset = (n * sxy - sx * sy) / apart, (sxx * sy - sx * sxy) / apart
        residual = np.abs(y - slope * x - offset)
        self._line = slope, offset
        self._spread = n / apart, -sx / apart, sxx / apart
        self._closest = float(half.min() + np.median(residual))

    def host(self, device_ns: int) -> tuple[int, int] | None:
        """Return the host's time of a device's stamp and the bound on its error, ns; or None."""
        if len(self._pairs) < 2:
            return None
        slope, offset = self._line
        device, host, _ = self._pairs[-1]
        x = device_ns - device
        of_slope, of_both, of_value = self._spread
        spread = math.sqrt(max(0.0, (of_slope * x + 2 * of_both) * x + of_value))
        error = self._closest + 2 * spread + abs(x) * 1e-6
        if abs(slope) - 2 * math.sqrt(of_slope) > MAX_SLOPE:
            return None  # these pairs are not in the unit of the stamps, or of no clock
        return host + x + round(slope * x + offset), math.ceil(error)
