"""A real camera behind any vendor's library: ids, losses, states, and what happens when it is gone.

The library is seen through a ``Link``, one per kind of camera, that knows nothing of all this.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from rtface.camera.exposing import DeviceExposure
from rtface.camera.frame_count import FrameCount
from rtface.camera.sfnc import NodeRefused, Nodes
from rtface.camera_config import SensorSection
from rtface.types import (
    CameraCounts,
    CameraInfo,
    CameraState,
    ExposureRange,
    Image,
    Stamp,
    UserError,
)

Answer = TypeVar("Answer")
SECOND_NS = 1_000_000_000
#: a camera that delivers nothing is asked whether it is still there this often
ASK_EVERY_NS = SECOND_NS
#: so many periods without a frame are silence, if they are longer than SILENT_NS
SILENT_PERIODS = 5
SILENT_NS = SECOND_NS
#: a camera that comes back with a rate so close is the same, relative
SAME_RATE = 0.01
#: a camera that is gone is looked for after this long, and then ever more seldom, s
FIRST_LOOK_S, LAST_LOOK_S = 0.5, 5.0
#: one that came back may refuse its settings so many times in a row
MOST_REFUSED = 12


class LinkLost(Exception):
    """The device does not answer any more; the message is the driver's."""


class AnotherCamera(UserError):
    """What came back gives other frames than what went."""


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

    @property
    def nodes(self) -> Nodes:
        """Its features."""

    def start(self) -> None:
        """Arm the camera and begin; LinkLost."""

    def fetch(self, timeout_s: float) -> Buffer | None:
        """Return the oldest frame that is there; None after ``timeout_s`` or a damaged one."""

    def copy(self, buffer: Buffer, out: Image) -> None:
        """Write the buffer's image into ``out`` (H, W)."""

    def requeue(self) -> None:
        """Give the fetched buffer back to the driver."""

    def underruns(self) -> int:
        """Return how often the driver had no free buffer, ever since it was opened."""

    def latch(self) -> tuple[int, int, int] | None:
        """Read both clocks together: device, host, within, ns; None where that cannot be done."""

    def alive(self) -> bool:
        """Whether the device answers."""

    def trigger(self) -> None:
        """Expose once, by software."""

    def close(self) -> None:
        """Stop and free the device, also one that does not answer; may be called twice."""


def taken(link: Link, call: Callable[[], Answer]) -> Answer | None:
    """Return what a device answers; None if it refuses now, LinkLost if nobody is there."""
    try:
        return call()
    except NodeRefused as error:
        if not link.alive():
            raise LinkLost(str(error)) from None
        return None


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
        self._count = FrameCount(self._period_ns, self._by_line)
        self._triggers = 0
        self._look_at_ns, self._look_after_s = 0, FIRST_LOOK_S
        self._link_open = True
        self._refused = 0  # times in a row
        self._wanted_us: float | None = None  # set while it ran: not the rig file's
        self._exposure = self._exposure_of(self._link)
        self._begin_segment()

    def _exposure_of(self, link: Link) -> DeviceExposure:
        section = self._section
        fixed, free = isinstance(section.exposure_us, float), section.trigger is None
        return DeviceExposure(link.nodes, self._name, self.info.rate_hz, fixed, free)

    def _begin_segment(self) -> None:
        link, now_ns = self._link, self._clock()
        self._count.begin(link.incomplete, link.underruns(), now_ns)
        self._pair: tuple[int, int, int] | None = None
        self._last_ns = self._asked_ns = self._paired_ns = now_ns

    def start(self) -> None:
        """Arm the camera; UserError if it cannot be started."""
        try:
            self._arm(self._link)
        except LinkLost as error:
            raise UserError(f"camera.{self._name}: cannot be started: {error}") from None

    def _arm(self, link: Link) -> None:
        """Start a link and begin a segment with it."""
        link.start()
        pair = link.latch()
        self._link, self._link_open = link, True
        self._begin_segment()
        self._pair = pair
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
            self._paired_ns = self._clock()
            self._pair = link.latch() or self._pair
        damaged = link.incomplete
        while (buffer := link.fetch(timeout_s)) is None:
            now_ns = self._clock()
            if link.incomplete != damaged:  # a sign of life
                damaged, self._last_ns = link.incomplete, now_ns
            if now_ns >= give_up_ns:
                self._nothing_came(now_ns)
                return None
        t_host_ns = self._clock()
        link.copy(buffer, out)
        link.requeue()
        segment = self._count.segment
        frame_id = self._count.take(
            buffer.frame_id, buffer.t_device_ns, t_host_ns, link.incomplete, link.underruns
        )
        if self._count.segment != segment:  # the camera restarted under our hands, and its clock
            self._pair = None
        self._last_ns, self.state = t_host_ns, CameraState.RUNNING
        return Stamp(
            self._count.segment,
            frame_id,
            buffer.t_device_ns,
            t_host_ns,
            buffer.line_status,
            self._exposure.of_frame(buffer.exposure_time_ns),
            self._pair,
        )

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
        """Be gone, or stop if the rig file says so; the device is taken down with the next call.

        Taking down one that does not answer takes seconds, and it is to be told first.
        """
        self.state = CameraState.GONE
        self._count.end(self._link.incomplete)
        if self._section.on_gone == "stop":
            raise UserError(
                f"camera.{self._name}: is gone: {why}; the run stops, as on_gone = 'stop' says"
            )
        self._look_after_s = FIRST_LOOK_S
        self._look_at_ns = self._clock() + round(FIRST_LOOK_S * SECOND_NS)

    def _look_for_it(self, timeout_s: float) -> None:
        """Wait, and once it is time try to open the device again: a new segment."""
        if self._link_open:
            self._link_open = False
            self._link.close()
            return
        left_s = (self._look_at_ns - self._clock()) / SECOND_NS
        if left_s > 0:
            self._sleep(min(left_s, timeout_s))
            return
        try:
            link = self._open()
            try:
                self._refuse_another(link.info)
                self._exposure = self._exposure_of(link)
                if self._wanted_us is not None:
                    # what it does not take now is no reason to end; the status says what it is
                    with contextlib.suppress(UserError):
                        self._exposure.set(self._wanted_us)
                self._arm(link)
                self._count.segment += 1
            except BaseException:
                link.close()
                raise
            self._refused = 0
        except AnotherCamera:
            raise
        except (LinkLost, UserError) as error:
            # one that just came back may refuse what it takes a moment later
            self._refused = self._refused + 1 if isinstance(error, UserError) else 0
            if self._refused > MOST_REFUSED:
                raise
            self._look_after_s = min(2 * self._look_after_s, LAST_LOOK_S)
            self._look_at_ns = self._clock() + round(self._look_after_s * SECOND_NS)

    def _refuse_another(self, info: CameraInfo) -> None:
        """Raise AnotherCamera if what came back is not what went: rings have the size of that."""
        same = info._replace(rate_hz=self.info.rate_hz) == self.info
        if not same or abs(info.rate_hz / self.info.rate_hz - 1) > SAME_RATE:
            raise AnotherCamera(
                f"camera.{self._name}: came back with {info.width}x{info.height} px, {info.bits} "
                f"bit, {info.rate_hz:g} Hz; state width, height, pixel_format and rate_hz in the "
                "rig file"
            )

    @property
    def exposure(self) -> ExposureRange | None:
        """Its exposure time and the limits of that; None: it has none that can be set."""
        return self._exposure.now

    def expose(self, exposure_us: float) -> ExposureRange:
        """Set the exposure time and return what the camera made of it; UserError if it does not.

        A camera that comes back after it was gone gets it again.
        """
        if self.state is CameraState.GONE:
            raise UserError(f"camera {self._name} is gone; its exposure time is as it was")
        made = self._exposure.set(exposure_us)
        self._wanted_us = exposure_us
        return made

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
        produced, lost = self._count.told(self._link.incomplete)
        missed = self._count.missed if self._by_line else max(0, self._triggers - produced)
        return CameraCounts(produced, lost, missed)

    def close(self) -> None:
        """Stop exposing and free the device; may be called twice."""
        self._link_open = False
        self._link.close()
