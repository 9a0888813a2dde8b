"""Exposure times that are set while a camera runs: limits, what it made of one, which frames."""

from __future__ import annotations

from rtface.camera.sfnc import (
    EXPOSURE,
    NodeRefused,
    Nodes,
    apply,
    find,
    slower_rate,
    timed_exposure,
)
from rtface.types import ExposureRange, UserError

#: frames after a change of which nobody knows whether they have it: a sensor is one or two ahead,
#: and some may wait in the driver
DOUBTFUL = 4


def check_exposure(exposure_us: float, limits: ExposureRange, rate_hz: float) -> None:
    """Raise UserError unless an exposure time lies within a camera's limits (False for NaN)."""
    if not limits.least_us <= exposure_us <= limits.most_us:
        raise UserError(
            f"an exposure of {exposure_us:g} us is not possible; at {rate_hz:g} Hz the camera "
            f"takes {limits.least_us:g} to {limits.most_us:g} us"
        )


class DeviceExposure:
    """The exposure time of a device with GenICam's names. Belongs to one thread.

    Parameters
    ----------
    nodes : Nodes
    camera : str
        For messages.
    rate_hz : float
        Nothing is exposed for longer than a frame lasts.
    fixed : bool
        The rig file set the time: it is that of every frame.
    free : bool
        The camera keeps its rate by itself, without a trigger.

    Attributes
    ----------
    now : ExposureRange or None
        None: the device has no such feature, or does not say its limits.
    """

    def __init__(
        self, nodes: Nodes, camera: str, rate_hz: float, fixed: bool, free: bool = True
    ) -> None:
        self._nodes, self._camera, self._rate_hz, self._free = nodes, camera, rate_hz, free
        self.now = self._read()
        self._doubtful = 0
        self._frame_ns = round(1000 * self.now.us) if self.now and fixed else 0

    def _read(self) -> ExposureRange | None:
        name = find(self._nodes, EXPOSURE)
        try:
            bounds = self._nodes.bounds(name) if name else None
            if name is None or bounds is None:
                return None
            most_us = min(bounds[1], 1e6 / self._rate_hz)
            return ExposureRange(float(self._nodes.read(name)), bounds[0], most_us)
        except NodeRefused:
            return None

    def set(self, exposure_us: float) -> ExposureRange:
        """Set it, and return what the device made of it; UserError if it does not take it."""
        if self.now is None:
            raise UserError(f"camera {self._camera}: it has no exposure time that can be set")
        check_exposure(exposure_us, self.now, self._rate_hz)
        # automatic exposure off; how close the device comes is read back, and told
        apply(self._nodes, timed_exposure(exposure_us)[:-1], self._camera)
        name, before = find(self._nodes, EXPOSURE) or EXPOSURE[0], self.now.us
        try:
            self._nodes.write(name, exposure_us)
            slower = slower_rate(self._nodes, self._rate_hz) if self._free else None
            if slower is not None:
                self._nodes.write(name, before)
                raise UserError(
                    f"camera {self._camera}: {exposure_us:g} us would leave {slower:g} Hz of "
                    f"{self._rate_hz:g}; it is {before:g} us again"
                )
        except NodeRefused as error:
            takes = self._nodes.allowed(name)
            why = f"it takes {takes} us" if takes else str(error)
            raise UserError(f"camera {self._camera}: {exposure_us:g} us: {why}") from None
        finally:
            self.now = self._read() or self.now
        self._frame_ns, self._doubtful = round(1000 * self.now.us), DOUBTFUL
        return self.now

    def of_frame(self, told_ns: int) -> int:
        """Return the exposure time of the next frame, ns, by its own word if it has one.

        0 where nobody knows: it is automatic, or was changed just now.
        """
        if self._doubtful:
            self._doubtful -= 1
            return told_ns
        return told_ns or self._frame_ns
