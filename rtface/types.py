"""The records that travel through rtface.

Every record is frozen; every time names its clock and its unit. ``*_host_ns``, ``t_read_ns`` and
their kin are ``time.perf_counter_ns()`` of the machine that runs rtface, one clock for all its
processes. ``t_camera_ns`` is the camera's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

UInt8Image = npt.NDArray[np.uint8]
Image = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Float32Array = npt.NDArray[np.float32]


class UserError(Exception):
    """Something the user can mend; the message is the one line that is shown, exit code 2."""


def expect_frame(image: Image | Float32Array, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless an image is a frame of this (height, width) and type."""
    if image.shape != shape or image.dtype != dtype:
        raise ValueError(f"frame of {image.dtype} {image.shape}: needs {dtype} {shape}")


class EndOfStream(Exception):
    """The camera has no more frames (a video file that is not looped)."""


class Flag(IntFlag):
    """Bits of ``flags`` on the wire and in the rings; the table stands in ``docs/wire.md``."""

    UNCALIBRATED = 1  # the constant delay between exposure and delivery was never measured
    FIRST = 2  # first result of a segment: nothing before it to compare with
    CAMERA_GAP = 4  # frame ids before this one never arrived
    SKIPPED = 8  # frames between this result and the one before were not tracked
    PAST_FRAME_BUDGET = 16  # this frame was done later than one frame period after its delivery
    OFFLINE = 32  # skipped live, computed later from the recording; its stages have no times
    LOST_LINK = 64  # why ids before this one never came: lost on the way from the camera
    LOST_INCOMPLETE = 128  # they arrived damaged
    LOST_NO_BUFFER = 256  # the host had no free buffer for them
    LOST_LATE = 512  # the source could not make them in time
    NO_FACE = 1024  # no face is found: keypoints are guesses
    NO_MOTION = 2048  # the exposure right before is missing: motion is NaN
    NEW_MASKS = 4096  # from this result on motion components have the basis that `meta` names
    EYE_SHUT = 8192  # the lids are shut, or more shut than open: a blink
    NO_PUPIL = 16384  # no outline of a pupil is seen
    PUPIL_BRIGHT = 32768  # the pupil is brighter than the iris
    PUPIL_TURNED = 65536  # it turned bright or dark with this frame
    PUPIL_DISAGREES = 131072  # the network's four points show another pupil


class TimeSource(IntEnum):
    """How ``exposure_ns`` was found."""

    DELIVERY = 1  # this frame's delivery, minus the delay
    DEVICE_CLOCK = 2  # the camera's clock, mapped by when frames were delivered, minus the delay
    LATCHED_PAIRS = 3  # the camera's clock, mapped by readings of both clocks
    FRAME_COUNTER = 4  # no camera clock: its frames were counted, minus the delay


class Lost(NamedTuple):
    """Frames the camera made and acquisition never got, by cause; cumulative in a session."""

    link: int = 0  # a gap in the camera's frame ids and nothing else known
    incomplete: int = 0  # arrived damaged
    no_buffer: int = 0  # no free buffer on the host
    late: int = 0  # the source could not make the frame in time


#: the flag of each cause, in the order of ``Lost``
CAUSES = (Flag.LOST_LINK, Flag.LOST_INCOMPLETE, Flag.LOST_NO_BUFFER, Flag.LOST_LATE)


class CameraState(IntEnum):
    """What a camera is doing, in the eyes of the process that acquires from it."""

    READY = 1  # opened and set up, not started
    RUNNING = 2  # frames come
    WAITING = 3  # armed, and no trigger comes: nothing is wrong
    SILENT = 4  # it should expose by itself, and no frame comes
    GONE = 5  # access to the device failed; it is being looked for


class Stamp(NamedTuple):
    """What a camera says about one frame.

    Attributes
    ----------
    segment : int
        Counts restarts of the camera's counter, from 0.
    frame_id : int
        The camera's own counter. A gap means frames were lost before acquisition.
    t_camera_ns : int or None
        Device clock, ns, or None where the camera has none.
    t_host_ns : int
        ``perf_counter_ns`` at the moment the buffer was delivered.
    line_status : int
        Bit n: whether input line n of the camera was high; 0 where it does not say.
    exposure_time_ns : int
        How long this frame was exposed, ns; 0 where the camera does not say.
    pair : (int, int, int), optional
        The newest reading of both clocks: device, host, and within which time they were read, ns.
    """

    segment: int
    frame_id: int
    t_camera_ns: int | None
    t_host_ns: int
    line_status: int = 0
    exposure_time_ns: int = 0
    pair: tuple[int, int, int] | None = None


class CameraInfo(NamedTuple):
    """What a camera delivers: size in pixels, bits per pixel (8, or 9 to 16 in uint16), Hz."""

    height: int
    width: int
    bits: int
    rate_hz: float

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Numpy type of a pixel."""
        return np.uint8 if self.bits <= 8 else np.uint16


class CameraCounts(NamedTuple):
    """The camera's own count of what it made and what it knows it lost; cumulative."""

    produced: int
    lost: Lost
    missed_triggers: int = 0  # triggers that exposed nothing, where the camera can tell


class Camera(Protocol):
    """Fills our buffer and says when: the first of the three extension points.

    A camera is ready once constructed and belongs to the thread that made it.
    """

    @property
    def info(self) -> CameraInfo:
        """What it delivers."""

    @property
    def first_id(self) -> int | None:
        """The id of the first frame made after ``start``; None: the first to arrive says it."""

    @property
    def state(self) -> CameraState:
        """What it is doing."""

    def start(self) -> None:
        """Begin to expose; the first frame comes one period later at the earliest."""

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` ((H, W), uint8 or uint16) and return its stamp.

        Returns None when ``timeout_s`` passed without a frame. Raises EndOfStream after the last
        frame. Frames that could not be delivered in time are ids that never come, not late ones.
        """

    def counts(self) -> CameraCounts:
        """Return the camera's own cumulative count."""

    def close(self) -> None:
        """Stop exposing and free the device; may be called twice."""


@runtime_checkable
class SoftwareTriggered(Protocol):
    """A camera that can be told to expose."""

    def trigger(self) -> None:
        """Expose one frame; what the camera does not take now is a missed trigger."""


class ExposureRange(NamedTuple):
    """The exposure time of a camera and its limits, us."""

    us: float
    least_us: float
    most_us: float


@runtime_checkable
class Exposing(Protocol):
    """A camera whose exposure time may be set while it runs."""

    @property
    def exposure(self) -> ExposureRange | None:
        """What it is, by the camera's last word; None: this one has none. Asks no device."""

    def expose(self, exposure_us: float) -> ExposureRange:
        """Set it, and return what the camera made of it.

        Frames that it holds for are those that begin to be exposed after the call; a stamp says
        which, or 0 where nobody knows.

        Raises
        ------
        UserError
            The camera has none, does not take this one, or does not answer.
        """


@dataclass(frozen=True, slots=True)
class Frame:
    """Pixels and their stamp.

    Attributes
    ----------
    frame_seq : int
        Place in the ring: 0, 1, 2 ... without gaps.
    stamp : Stamp
    lost : Lost
        Frames lost before acquisition by cause, cumulative.
    image : ndarray (H, W)
        uint8, or uint16 for cameras with more bits. Valid until the next read.
    """

    frame_seq: int
    stamp: Stamp
    lost: Lost
    image: Image


class BBox(NamedTuple):
    """A rectangle of the sensor frame in px: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int

    def fits(self, frame_height: int, frame_width: int) -> bool:
        """Return whether it is a part of a frame of that size, px."""
        inside = self.x + self.width <= frame_width and self.y + self.height <= frame_height
        return inside and min(self.x, self.y) >= 0 and min(self.width, self.height) > 0


@dataclass(frozen=True, slots=True)
class Pose:
    """Keypoints of one frame.

    Attributes
    ----------
    keypoints : ndarray (K, 3) float32
        x, y and score of each keypoint, as they travel through the ring and over the wire.
    crop : BBox or None
        The part of the frame that the network got, px; may reach beyond it. None: not known.
    face : bool
        Whether a face is believed to be there; True also where nobody looks for one.
    """

    keypoints: Float32Array
    crop: BBox | None = None
    face: bool = True

    @property
    def xy(self) -> Float32Array:
        """(K, 2) px of the full sensor frame, x right, y down, pixel centres at integers."""
        return self.keypoints[:, :2]

    @property
    def score(self) -> Float32Array:
        """(K,) 0 to 1. A low score is reported, never deleted."""
        return self.keypoints[:, 2]


class Ledger(NamedTuple):
    """Where a frame's time went and what was lost on the way.

    Each ``t_..._ns`` is the end of that stage in ``perf_counter_ns``; counters are cumulative in
    a session. The field order is that of the result ring's slot header.
    """

    frame_seq: int
    segment: int
    frame_id: int
    t_camera_ns: int | None
    t_host_ns: int
    t_read_ns: int
    t_infer_ns: int
    t_motion_ns: int
    t_pupil_ns: int
    t_rules_ns: int
    t_done_ns: int
    exposure_ns: int
    exposure_err_ns: int
    time_source: int
    lost_camera: int
    skipped: int
    flags: int


#: fields of a ledger that are times of the host's clock
HOST_TIMES = (
    "t_host_ns",
    "t_read_ns",
    "t_infer_ns",
    "t_motion_ns",
    "t_pupil_ns",
    "t_rules_ns",
    "t_done_ns",
    "exposure_ns",
)

#: what a frame gave beside its keypoints: float32 (N,) by name, see ``SIGNAL_NAMES``
Signals = Mapping[str, Float32Array]
#: how many numbers each signal of a run has
SignalLengths = Mapping[str, int]
NO_SIGNALS: Signals = MappingProxyType({})
#: every signal there is, in the order in which they are stored; by the topic they leave on
SIGNAL_TOPICS = {
    "motion": ("motion_energy", "motion", "movie", "running", "brightness"),
    "pupil": ("pupil",),
    "neural": ("neural",),
}
SIGNAL_NAMES = tuple(name for names in SIGNAL_TOPICS.values() for name in names)


@dataclass(frozen=True, slots=True)
class Result:
    """What one frame gave: its ledger, its pose and its signals.

    Attributes
    ----------
    seq : int
        Counts results from 0.
    ledger : Ledger
    pose : Pose
    signals : dict of str to ndarray (N,) float32
        Motion components, pupil ..., of the names in ``SIGNAL_NAMES`` that the rig asks for.
    """

    seq: int
    ledger: Ledger
    pose: Pose
    signals: Signals = field(default_factory=dict)


class Engine(Protocol):
    """A network in a runtime, ready once constructed: the second extension point."""

    names: tuple[str, ...]
    input_shape: tuple[int, int]

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return (K, 3) float32: x, y in input pixels (centres at integers), score 0 to 1.

        ``image`` is (height, width) uint8 of ``input_shape``; the network sees
        ``image * scale + shift``. The array may be reused by the next call.
        """


class Sink(Protocol):
    """Takes results: the third extension point."""

    def send(self, result: Result) -> None:
        """Hand a result over; must not block and must not raise for a slow peer."""

    def close(self) -> None:
        """Free what the sink holds; may be called twice."""
