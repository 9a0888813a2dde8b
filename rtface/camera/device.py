"""A real camera behind any vendor's library: ids, losses, states, and what happens when it is gone.

The library is seen through a ``Link``, one per kind of camera, that knows nothing of all this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rtface.camera.ids import IdCounter, add, causes, missed_triggers
from rtface.camera_config import SensorSection
from rtface.types import (
    CameraCounts,
    CameraInfo,
    CameraState,
    Image,
    Lost,
    Stamp,
    UserError,
)

SECOND_NS = 1_000_000_000
#: a camera that delivers nothing is asked whether it is still there this often
ASK_EVERY_NS = SECOND_NS
#: so many periods without a frame are silence, if they are longer than SILENT_NS
SILENT_PERIODS = 5
SILENT_NS = SECOND_NS
#: a camera that is gone is looked for after this long, and then ever more seldom, s
FIRST_LOOK_S, LAST_LOOK_S = 0.5, 5.0


class LinkLost(Exception):
    """The device does not answer any more; the message is the driver's."""


class Buffer(NamedTuple):
    """One whole frame as the driver delivered it.

    Attributes
    ----------
    frame_id : int
        The camera's counter as it stands there: it wraps.
    t_device_ns : int or None
        The camera's clock, ns.
    exposure_time_ns : int
        0 where the camera does not say.
    line_status : int
        Bit n: input line n was high.
    data : bytes
        The image; valid until ``requeue``.
    """

    frame_id: int
    t_device_ns: int | None
    exposure_time_ns: int
    line_status: int
    data: bytes


class Link(Protocol):
    """An opened camera in a vendor's library. Belongs to one thread.

    Attributes
    ----------
    info : CameraInfo
    incomplete : int
        Frames so far that arrived damaged.
    """

    info: CameraInfo
    incomplete: int

    def start(self) -> None:
        """Arm the camera and begin; LinkLost."""

    def fetch(self, timeout_s: float) -> Buffer | None:
        """Return the oldest frame that is there; None after ``timeout_s`` or a damaged one."""

    def copy(self, buffer: Buffer, out: Image) -> None:
        """Write the buffer's image into ``out`` (H, W)."""

    def requeue(self) -> None:
        """Give the fetched buffer back to the driver."""

    def underruns(self) -> int:
        """Return how often the driver had no free buffer, since ``start``."""

    def latch(self) -> tuple[int, int, int] | None:
        """Read both clocks together: device, host, within, ns; None where that cannot be done."""

    def alive(self) -> bool:
        """Whether the device answers."""

    def trigger(self) -> None:
        """Expose once, by software."""

    def close(self) -> None:
        """Stop and free the device, also one that does not answer; may be called twice."""


class DeviceCamera:
    """A ``Camera`` of ``rtface.types`` on a link. Belongs to one thread.

    Frame ids are the camera's own, counted on through wraps. A new segment begins where its counter
    began anew: when the camera was gone and came back. With a trigger, silence is WAITING and ends
    nothing; without, it is SILENT. GONE follows only from a failed access to the device.

    Parameters
    ----------
    name : str
        As the rig file calls it.
    section : SensorSection
    open_link : callable
        Opens the device and sets it up; raises UserError, or LinkLost if there is none now.
    clock, sleep : callable
        ``perf_counter_ns`` and ``sleep``, or a test's own.
    """

    def __init__(
        self,
        name: str,
        section: SensorSection,
        open_link: Callable[[], Link],
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._name, self._section, self._open = name, section, open_link
        self._clock, self._sleep = clock, sleep
        try:
            self._link: Link = open_link()
        except LinkLost as error:
            raise UserError(f"camera.{name}: {error}") from None
        self.info = self._link.info
        self.first_id: int | None = None
        self.state = CameraState.READY
        self._period_ns = round(SECOND_NS / self.info.rate_hz)
        self._silent_ns = max(SILENT_NS, SILENT_PERIODS * self._period_ns)
        trigger = section.trigger
        self._by_line = trigger is not None and trigger.source != "Software"
        self._segment = 0
        self._produced, self._missed, self._triggers, self._lost = 0, 0, 0, Lost()
        self._look_at_ns, self._look_after_s = 0, FIRST_LOOK_S
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._ids = IdCounter()
        self._id = -1
        self._t_camera_ns: int | None = None
        self._pair: tuple[int, int, int] | None = None
        # of the link's own counts, what was taken in
        self._incomplete, self._underruns = self._link.incomplete, 0
        self._last_ns = self._asked_ns = self._paired_ns = self._clock()

    def start(self) -> None:
        """Arm the camera; UserError if it cannot be started."""
        try:
            self._link.start()
        except LinkLost as error:
            raise UserError(f"camera.{self._name}: cannot be started: {error}") from None
        self._last_ns = self._clock()
        self._pair = self._latch()
        self._armed()

    def _armed(self) -> None:
        self.state = CameraState.WAITING if self._section.trigger else CameraState.RUNNING

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` (H, W); None after about ``timeout_s`` without one.

        Raises
        ------
        UserError
            The camera is gone, and the rig file says ``on_gone = "stop"``.
        """
        if self.state is CameraState.GONE:
            self._look_for_it(timeout_s)
            return None
        try:
            return self._fill(out, timeout_s)
        except LinkLost as error:
            self._gone(str(error))
            return None

    def _fill(self, out: Image, timeout_s: float) -> Stamp | None:
        link = self._link
        give_up_ns = self._clock() + round(timeout_s * SECOND_NS)
        if self._clock() - self._paired_ns >= SECOND_NS:
            self._pair = self._latch() or self._pair
        while (buffer := link.fetch(timeout_s)) is None:
            now_ns = self._clock()
            if now_ns >= give_up_ns:
                self._nothing_came(now_ns)
                return None
        t_host_ns = self._clock()
        link.copy(buffer, out)
        link.requeue()
        frame_id = self._count(buffer)
        self._last_ns, self.state = t_host_ns, CameraState.RUNNING
        return Stamp(
            self._segment,
            frame_id,
            buffer.t_device_ns,
            t_host_ns,
            buffer.line_status,
            buffer.exposure_time_ns,
            self._pair,
        )

    def _count(self, buffer: Buffer) -> int:
        """Take in a frame's id and what is missing before it; return the id, counted on."""
        step = self._ids.step(buffer.frame_id)
        if step is None:  # the camera restarted under our hands
            self._segment += 1
            self._lost = self.counts().lost
            self._produced = self.counts().produced
            self._begin_segment()
            step = self._ids.step(buffer.frame_id) or 1
        self._id = buffer.frame_id if self._id < 0 else self._id + step
        self._produced += step
        incomplete = self._link.incomplete - self._incomplete
        if step > 1 or incomplete:
            underruns = self._link.underruns()
            lost = causes(step - 1, incomplete, underruns - self._underruns)
            self._lost = add(self._lost, lost)
            self._incomplete, self._underruns = self._link.incomplete, underruns
        if self._by_line and buffer.t_device_ns is not None:
            if self._t_camera_ns is not None:
                apart_ns = buffer.t_device_ns - self._t_camera_ns
                self._missed += missed_triggers(apart_ns, self._period_ns, step)
            self._t_camera_ns = buffer.t_device_ns
        return self._id

    def _latch(self) -> tuple[int, int, int] | None:
        self._paired_ns = self._clock()
        return self._link.latch()

    def _nothing_came(self, now_ns: int) -> None:
        """Find out what the silence means."""
        if now_ns - max(self._last_ns, self._asked_ns) < ASK_EVERY_NS:
            return
        self._asked_ns = now_ns
        if not self._link.alive():
            raise LinkLost("it does not answer")
        if self._section.trigger:
            self.state = CameraState.WAITING
        elif now_ns - self._last_ns >= self._silent_ns:
            self.state = CameraState.SILENT

    def _gone(self, why: str) -> None:
        """Take the device down and begin to look for it, or stop if the rig file says so."""
        self.state = CameraState.GONE
        # what was damaged after the last whole frame belongs to the segment that ends here
        told = self.counts()
        self._produced, self._lost = told.produced, told.lost
        self._incomplete = self._link.incomplete
        self._link.close()
        if self._section.on_gone == "stop":
            raise UserError(
                f"camera.{self._name}: is gone: {why}; the run stops, as on_gone = 'stop' says"
            )
        self._look_after_s = FIRST_LOOK_S
        self._look_at_ns = self._clock() + round(FIRST_LOOK_S * SECOND_NS)

    def _look_for_it(self, timeout_s: float) -> None:
        """Wait, and once it is time try to open the device again: a new segment."""
        left_s = (self._look_at_ns - self._clock()) / SECOND_NS
        if left_s > 0:
            self._sleep(min(left_s, timeout_s))
            return
        try:
            link = self._open()
            if link.info != self.info:
                link.close()
                raise UserError(
                    f"camera.{self._name}: came back with {link.info}, not {self.info}; "
                    "state width, height, pixel_format and rate_hz in the rig file"
                )
            self._link = link
            link.start()
        except LinkLost:
            self._look_after_s = min(2 * self._look_after_s, LAST_LOOK_S)
            self._look_at_ns = self._clock() + round(self._look_after_s * SECOND_NS)
            return
        self._segment += 1
        self._begin_segment()
        self._pair = self._latch()
        self._armed()

    def trigger(self) -> None:
        """Expose one frame by software; not while the camera is gone."""
        if self.state is not CameraState.GONE:
            self._triggers += 1
            try:
                self._link.trigger()
            except LinkLost as error:
                self._gone(str(error))

    def counts(self) -> CameraCounts:
        """Return what the camera made, by its own ids, and what of it did not arrive."""
        damaged = self._link.incomplete - self._incomplete  # after the last whole frame
        produced = self._produced + damaged
        missed = self._missed if self._by_line else max(0, self._triggers - produced)
        return CameraCounts(produced, add(self._lost, Lost(incomplete=damaged)), missed)

    def close(self) -> None:
        """Stop exposing and free the device; may be called twice."""
        self._link.close()
