"""What Point Grey cameras write into the first pixels of a frame, read from lossless video.

Each field that was switched on is one 32-bit word, most significant byte first, from the upper left
pixel on, in the order of ``EmbeddedField``. The timestamp is an IEEE 1394 cycle time (7 bits of s,
13 bits of 125 us, 12 bits of 1/24.576 MHz), which is 0 again every 128 s; the lowest 4 bits (0.65
us) are no time on USB3 cameras. In the word of the GPIO pins the most significant bit is pin 0,
the next ones are pins 1 to 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from rtface.camera.video import Truncated, VideoCamera, read_frames
from rtface.camera_config import EmbeddedField, VideoSection
from rtface.clock import CYCLE_WRAP_NS, Unwrap, cycle_ns
from rtface.types import Camera, CameraCounts, CameraState, Image, Stamp, UserError

#: in the order in which cameras write them
FIELDS: tuple[EmbeddedField, ...] = get_args(EmbeddedField)
WORD_BYTES = 4
COUNTER_WRAP = 1 << 32
#: so many frames of a file are looked at before it is played, and judged more strictly
N_CHECKED = 100
#: more frames lost at once among the first ones: it is no counter that was read
MAX_LOST_AT_ONCE = 10_000
#: a cycle time has 8000 cycles in a second and 3072 offsets in a cycle
CYCLES, OFFSETS = 8000, 3072


class NotEmbedded(ValueError):
    """These pixels hold no embedded image info; the message says how that shows."""


class Decoded(NamedTuple):
    """What one frame says of itself; None or 0 where the field is not there.

    Attributes
    ----------
    frame : int or None
        The camera's counter, without wraps, from 0 at the first frame that was decoded.
    t_ns : int or None
        The camera's clock, ns, without wraps; it begins anywhere in the first 128 s.
    line_status : int
        Bit n: GPIO pin n was high.
    words : mapping
        Every field as it stands in the pixels: gain, shutter and the like are register values.
    """

    frame: int | None
    t_ns: int | None
    line_status: int
    words: Mapping[EmbeddedField, int]


def in_order(fields: Iterable[EmbeddedField]) -> tuple[EmbeddedField, ...]:
    """Return the fields in the order in which cameras write them."""
    present = set(fields)
    return tuple(field for field in FIELDS if field in present)


def read_words(
    image: npt.NDArray[np.uint8], fields: Sequence[EmbeddedField]
) -> dict[EmbeddedField, int]:
    """Return the words of (H, W) pixels; ``fields`` are those present, as of ``in_order``."""
    row = image[0, : WORD_BYTES * len(fields)].tobytes()
    words = np.frombuffer(row, ">u4").tolist()
    return dict(zip(fields, words, strict=True))


def pins(gpio: int) -> int:
    """Return the pins of a GPIO word as a line status: bit n is pin n."""
    return sum((gpio >> 31 - pin & 1) << pin for pin in range(4))


def mask(image: Image, n_fields: int) -> None:
    """Overwrite the pixels of ``n_fields`` words with those of the row below, in place."""
    n_px = WORD_BYTES * n_fields
    image[0, :n_px] = image[1, :n_px]


class Follower:
    """Reads the info of a film's frames in their order. Pure; not thread-safe.

    Parameters
    ----------
    fields : sequence of EmbeddedField
        Those present, as of ``in_order``.
    """

    def __init__(self, fields: Sequence[EmbeddedField]) -> None:
        self._fields = tuple(fields)
        self._seen = 0
        self._counter: int | None = None
        self._frame = 0
        self._clock = Unwrap(CYCLE_WRAP_NS)
        self._t_ns: int | None = None
        self._due_ns = 0
        self._span_ns = self._span_frames = 0  # for the mean time between two frames

    def __call__(self, image: npt.NDArray[np.uint8], step: int = 1) -> Decoded:
        """Return what the next frame says; ``step`` - 1 frames of the film were passed over.

        A pause of the camera is known only up to multiples of 128 s; frames that were passed over
        or that the counter says are missing are allowed for.

        Raises
        ------
        NotEmbedded
            The counter did not advance by at least ``step``, at any time; or among the first
            frames it leapt, or the timestamp stands still, runs backwards or is none.
        """
        words = read_words(image, self._fields)
        early = self._seen < N_CHECKED
        frame = self._count(words.get("frame_counter"), step, early)
        frames = step if frame is None else frame - self._frame
        t_ns = self._time(words.get("timestamp"), frames, early)
        self._frame = self._frame if frame is None else frame
        self._seen += 1
        return Decoded(frame, t_ns, pins(words.get("gpio", 0)), words)

    def _count(self, counter: int | None, step: int, early: bool) -> int | None:
        """Return the counter without its wraps, from 0."""
        if counter is None:
            return None
        before = counter if self._counter is None else self._counter
        advance = (counter - before) % COUNTER_WRAP
        if self._counter is not None:
            if not step <= advance < COUNTER_WRAP // 2:
                raise NotEmbedded(f"frame_counter goes from {before} to {counter}, not upwards")
            if early and advance - step > MAX_LOST_AT_ONCE:
                raise NotEmbedded(f"frame_counter leaps from {before} to {counter}")
        self._counter = counter
        return self._frame + advance

    def _time(self, word: int | None, frames: int, early: bool) -> int | None:
        """Return the camera's clock without its wraps, ns, ``frames`` after the frame before."""
        if word is None:
            return None
        if early and (word >> 12 & 0x1FFF >= CYCLES or word & 0xFFF >= OFFSETS):
            raise NotEmbedded(f"timestamp {word:#010x} is no cycle time")
        if frames > 1:  # their usual distance says how often it wrapped meanwhile
            self._due_ns += self._span_ns * frames // max(1, self._span_frames)
        t_ns, before_ns = self._clock(cycle_ns(word), self._due_ns), self._t_ns
        if before_ns is not None:
            advance_ns = t_ns - before_ns
            if early and not 0 < advance_ns % CYCLE_WRAP_NS < CYCLE_WRAP_NS // 2:
                raise NotEmbedded("timestamp stands still or runs backwards")
            self._span_ns += advance_ns
            self._span_frames += frames
        self._t_ns = t_ns
        return t_ns


class EmbeddedCamera:
    """A camera whose frames say themselves when they were taken and which they are.

    Wraps another one: stamps hold what the pixels say, and those pixels are overwritten. Frames
    that the counter says are missing, beyond those that the inner camera passed over, were lost
    when the film was recorded: they count as lost on the link. Belongs to one thread.

    Parameters
    ----------
    name : str
        The camera's name in the rig file, for messages.
    inner : Camera
        Delivers 8-bit frames that are pixel by pixel what the camera sent.
    fields : iterable of EmbeddedField
        Those that were switched on in the camera.

    Raises
    ------
    UserError
        The frames have no room for the fields, or more than 8 bits.
    """

    def __init__(self, name: str, inner: Camera, fields: Iterable[EmbeddedField]) -> None:
        self._key, self._inner = f"camera.{name}.embedded", inner
        self._fields = in_order(fields)
        self.info, self.first_id = inner.info, inner.first_id
        height, width, bits, _ = inner.info
        needed = WORD_BYTES * len(self._fields)
        if bits != 8 or height < 2 or width < needed:
            raise UserError(
                f"{self._key}: {len(self._fields)} fields are {needed} px of 8 bits, and frames "
                f"are {width}x{height} px of {bits} bits; leave embedded out"
            )
        self._follow = Follower(self._fields)
        self._first_id: int | None = None  # the inner camera's, of the first frame
        self._last_id = 0
        self._delivered = self._link = 0

    @property
    def state(self) -> CameraState:
        """What the inner camera is doing."""
        return self._inner.state

    def start(self) -> None:
        """Start the inner camera."""
        self._inner.start()

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` (H, W) uint8 and return its stamp; None if none came.

        ``t_camera_ns`` is the clock of the camera that took the film. Raises as the inner camera,
        and UserError once what the pixels say makes no sense.
        """
        stamp = self._inner.fill(out, timeout_s)
        if stamp is None:
            return None
        if self._first_id is None:
            self._first_id = self._last_id = stamp.frame_id
        step = max(1, stamp.frame_id - self._last_id)
        self._last_id = stamp.frame_id
        try:
            decoded = self._follow(np.asarray(out, np.uint8), step)
        except NotEmbedded as error:
            raise _refused(self._key, error, stamp.frame_id) from None
        mask(out, len(self._fields))
        self._delivered += 1
        if decoded.frame is not None:
            frame_id = self._first_id + decoded.frame
            self._link = frame_id - stamp.frame_id
            stamp = stamp._replace(frame_id=frame_id)
        if decoded.t_ns is not None:
            stamp = stamp._replace(t_camera_ns=decoded.t_ns)
        return stamp._replace(line_status=decoded.line_status)

    def counts(self) -> CameraCounts:
        """Return the frames taken and those lost: taken = delivered + lost, always."""
        produced, lost, missed = self._inner.counts()
        # a frame that made no sense was got and not delivered
        refused = produced - sum(lost) - self._delivered
        lost = lost._replace(link=lost.link + self._link, incomplete=lost.incomplete + refused)
        return CameraCounts(produced + self._link, lost, missed)

    def close(self) -> None:
        """Close the inner camera; may be called twice."""
        self._inner.close()


def open_embedded(name: str, section: VideoSection) -> EmbeddedCamera:
    """Return the camera of a film with embedded info, whose first frames make sense.

    Raises
    ------
    UserError
        They make none, or the file cannot be played.
    """
    camera = VideoCamera(section.file, section.rate_hz, section.loop, section.fast)
    embedded = EmbeddedCamera(name, camera, section.embedded)
    follow = Follower(in_order(section.embedded))
    for number, image in enumerate(_first_frames(section.file)):
        try:
            follow(np.asarray(image, np.uint8))
        except NotEmbedded as error:
            camera.close()
            raise _refused(f"camera.{name}.embedded", error, number) from None
    return embedded


def _first_frames(file: str) -> Iterator[Image]:
    """Yield the first frames of a file; where it breaks off is for the player to say."""
    try:
        yield from islice(read_frames(file), N_CHECKED)
    except Truncated:
        return


def _refused(key: str, error: NotEmbedded, number: int) -> UserError:
    return UserError(
        f"{key}: frame {number}: {error}; the video was compressed with loss or the camera wrote "
        "other fields: name those that were on, use the lossless original, or leave embedded out"
    )
