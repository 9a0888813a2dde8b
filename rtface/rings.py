"""The two rings of a camera: frames (written by acquisition) and results (by the tracker)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.ring import NONE_WORD, RingReader, RingWriter
from rtface.types import (
    NO_SIGNALS,
    SIGNAL_NAMES,
    BBox,
    CameraInfo,
    Flag,
    Float32Array,
    Frame,
    Image,
    Ledger,
    Lost,
    Pose,
    Result,
    SignalLengths,
    Signals,
    Stamp,
)

#: after the keypoints of a result: its crop, int32; a width of 0 stands for none
_CROP_BYTES = 16
_NO_CROP = BBox(0, 0, 0, 0)


class FrameRecord(NamedTuple):
    """The words of a frame slot; words without a meaning yet are 0."""

    segment: int
    frame_id: int
    t_camera_ns: int
    t_host_ns: int
    pair_camera_ns: int  # raw clock pair last latched
    pair_host_ns: int
    bits: int
    exposure_time_ns: int
    line_status: int
    flags: int
    lost_link: int
    lost_incomplete: int
    lost_no_buffer: int
    lost_late: int
    pair_within_ns: int  # the pair's two clocks were read within this time


def stamp_of(record: FrameRecord) -> Stamp:
    """Return what the camera said about the frame of a slot."""
    pair = (record.pair_camera_ns, record.pair_host_ns, record.pair_within_ns)
    return Stamp(
        record.segment,
        record.frame_id,
        None if record.t_camera_ns == NONE_WORD else record.t_camera_ns,
        record.t_host_ns,
        record.line_status,
        record.exposure_time_ns,
        None if record.pair_camera_ns == NONE_WORD else pair,
    )


def lost_of(record: FrameRecord) -> Lost:
    """Return what was lost before the frame of a slot, cumulative."""
    return Lost(record.lost_link, record.lost_incomplete, record.lost_no_buffer, record.lost_late)


def _slots(seconds: float, rate_hz: float) -> int:
    return max(8, round(seconds * rate_hz) + 1)


def as_image(payload: npt.NDArray[np.uint8], info: CameraInfo) -> Image:
    """Return the bytes of a frame seen as its (H, W) image, without a copy."""
    shape = (info.height, info.width)
    if info.bits <= 8:
        return payload.reshape(shape)
    return payload.view(np.uint16).reshape(shape)


class FrameRingWriter:
    """Acquisition's side of ``<camera>.frames``."""

    def __init__(self, camera: str, info: CameraInfo, seconds: float, session: str) -> None:
        self.info = info
        self.n_bytes = info.height * info.width * np.dtype(info.dtype).itemsize
        description = {"kind": "frames", "camera": camera, "session": session, **info._asdict()}
        self.ring = RingWriter(
            f"{camera}.frames",
            _slots(seconds, info.rate_hz),
            self.n_bytes,
            description,
            len(FrameRecord._fields),
        )
        self._images = [as_image(payload, info) for payload in self.ring.payloads]

    def begin(self) -> Image:
        """Return the (H, W) image of the next slot, to be filled and then committed."""
        return self._images[self.ring.begin()]

    def commit(self, stamp: Stamp, lost: Lost) -> int:
        """Publish the image last begun; return its ``frame_seq``."""
        t_camera_ns = NONE_WORD if stamp.t_camera_ns is None else stamp.t_camera_ns
        pair_camera_ns, pair_host_ns, within_ns = stamp.pair or (NONE_WORD, NONE_WORD, 0)
        return self.ring.commit(
            FrameRecord(
                stamp.segment,
                stamp.frame_id,
                t_camera_ns,
                stamp.t_host_ns,
                pair_camera_ns,
                pair_host_ns,
                self.info.bits,
                stamp.exposure_time_ns,
                stamp.line_status,
                0,
                *lost,
                within_ns,
            )
        )

    def close(self) -> None:
        """Close the ring and remove it."""
        self._images = []
        self.ring.close()


class FrameRingReader:
    """Anybody's side of ``<camera>.frames``."""

    def __init__(self, camera: str) -> None:
        self.ring = RingReader(f"{camera}.frames")
        told: dict[str, Any] = self.ring.description
        self.session: str = told["session"]
        self.info = CameraInfo(*(told[name] for name in CameraInfo._fields))
        size = self.info.height * self.info.width * np.dtype(self.info.dtype).itemsize
        self._copy: npt.NDArray[np.uint8] = np.empty(size, np.uint8)
        self._copy_before: npt.NDArray[np.uint8] | None = None
        self._nothing: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._image = as_image(self._copy, self.info)

    def take(self, frame_seq: int) -> tuple[FrameRecord, Image] | None:
        """Return all that is known of a frame; None if it is gone. Image as in ``read``."""
        words = self.ring.read(frame_seq, self._copy)
        return None if words is None else (FrameRecord._make(words), self._image)

    def record(self, frame_seq: int) -> FrameRecord | None:
        """Return what is known of a frame without its pixels, or None if it is gone."""
        words = self.ring.read(frame_seq, self._nothing)
        return None if words is None else FrameRecord._make(words)

    def read(self, frame_seq: int) -> Frame | None:
        """Return frame ``frame_seq``, or None if it is gone; its image lives until the next."""
        words = self.ring.read(frame_seq, self._copy)
        if words is None:
            return None
        record = FrameRecord._make(words)
        return Frame(frame_seq, stamp_of(record), lost_of(record), self._image)

    def before(self, frame_seq: int) -> Frame | None:
        """Return the frame right before another, or None if it is gone; leaves that one's image.

        Its own image lives until the next call.
        """
        if self._copy_before is None:
            self._copy_before = np.empty_like(self._copy)
        words = self.ring.read(frame_seq - 1, self._copy_before) if frame_seq > 0 else None
        if words is None:
            return None
        record = FrameRecord._make(words)
        image = as_image(self._copy_before, self.info)
        return Frame(frame_seq - 1, stamp_of(record), lost_of(record), image)

    def newest(self, after: int) -> Frame | None:
        """Return the newest frame later than ``after``, or None if there is none."""
        while (head := self.ring.head) > after:
            if frame := self.read(head):
                return frame
        return None

    def close(self) -> None:
        """Unmap the ring."""
        self.ring.close()


class ResultRingWriter:
    """The tracker's side of ``<camera>.results``; the slot's words are the Ledger.

    The payload is keypoints (K, 3) float32, the crop (4,) int32 (left, top, width, height), and
    the signals, float32 each, as the ring's description lists them.
    """

    def __init__(
        self,
        camera: str,
        n_keypoints: int,
        seconds: float,
        rate_hz: float,
        about: dict[str, Any],
        lengths: SignalLengths = MappingProxyType({}),
    ) -> None:
        lengths = {name: lengths[name] for name in SIGNAL_NAMES if name in lengths}
        payload = [["keypoints", "<f4", [n_keypoints, 3]], ["crop", "<i4", [4]]]
        payload += [[name, "<f4", [n]] for name, n in lengths.items()]
        description = {
            "kind": "results",
            "camera": camera,
            "n_keypoints": n_keypoints,
            "payload": payload,
            **about,
            "signals": lengths,  # in the order in which they stand
        }
        n_bytes = _crop_at(n_keypoints) + _CROP_BYTES + 4 * sum(lengths.values())
        slots, words = _slots(seconds, rate_hz), len(Ledger._fields)
        self.ring = RingWriter(f"{camera}.results", slots, n_bytes, description, words)
        at, payloads = _crop_at(n_keypoints), self.ring.payloads
        self._keypoints = [p[:at].view("<f4").reshape(-1, 3) for p in payloads]
        self._crops = [p[at : at + _CROP_BYTES].view("<i4") for p in payloads]
        self._signals = [_signals_in(p[at + _CROP_BYTES :], lengths) for p in payloads]

    def write(self, ledger: Ledger, pose: Pose, signals: Signals = NO_SIGNALS) -> int:
        """Publish one result; return its sequence number.

        Signals without a value in this result are NaN.
        """
        slot = self.ring.begin()
        self._keypoints[slot][...] = pose.keypoints
        self._crops[slot][...] = pose.crop or _NO_CROP
        for name, place in self._signals[slot].items():
            place[...] = signals.get(name, np.nan)
        words = ledger
        if ledger.t_camera_ns is None:
            words = ledger._replace(t_camera_ns=NONE_WORD)
        return self.ring.commit(words)  # type: ignore[arg-type]  # None was just replaced

    def close(self) -> None:
        """Close the ring and remove it."""
        self._keypoints, self._crops, self._signals = [], [], []
        self.ring.close()


def _crop_at(n_keypoints: int) -> int:
    """Return where the crop stands in the payload, bytes."""
    return 12 * n_keypoints


def _signals_in(payload: npt.NDArray[np.uint8], lengths: SignalLengths) -> dict[str, Float32Array]:
    """Return the signals of a payload, seen in place."""
    values = payload.view(np.float32)
    ends = np.cumsum([0, *lengths.values()])
    return {name: values[ends[i] : ends[i + 1]] for i, name in enumerate(lengths)}


class ResultRingReader:
    """Anybody's side of ``<camera>.results``."""

    def __init__(self, camera: str) -> None:
        self.ring = RingReader(f"{camera}.results")
        self.n_keypoints: int = self.ring.description["n_keypoints"]
        self.signal_lengths: dict[str, int] = self.ring.description["signals"]
        self._crop_at = _crop_at(self.n_keypoints)
        self._n_bytes = self._crop_at + _CROP_BYTES + 4 * sum(self.signal_lengths.values())
        self._next = 0
        #: results that were overwritten before they were read
        self.lost = 0

    def read(self, seq: int) -> Result | None:
        """Return result ``seq`` (its arrays are the caller's), or None if it is gone."""
        payload = np.empty(self._n_bytes, np.uint8)
        words = self.ring.read(seq, payload)
        if words is None:
            return None
        ledger = Ledger._make(words)
        if ledger.t_camera_ns == NONE_WORD:
            ledger = ledger._replace(t_camera_ns=None)
        behind = self._crop_at + _CROP_BYTES
        keypoints = payload[: self._crop_at].view(np.float32).reshape(-1, 3)
        crop = BBox(*payload[self._crop_at : behind].view("<i4").tolist())
        face = not ledger.flags & Flag.NO_FACE
        pose = Pose(keypoints, crop if crop.width else None, face)
        return Result(seq, ledger, pose, _signals_in(payload[behind:], self.signal_lengths))

    def skip_to(self, seq: int) -> None:
        """Let ``new`` go on from result ``seq``; what is passed over is not lost."""
        self._next = seq

    def new(self, at_most: int = 1_000_000_000) -> list[Result]:
        """Return the results since the last call, oldest first; gaps go into ``lost``."""
        results: list[Result] = []
        head = self.ring.head
        while self._next <= head and len(results) < at_most:
            oldest = self.ring.oldest
            if self._next < oldest:
                self.lost += oldest - self._next
                self._next = oldest
            if result := self.read(self._next):
                results.append(result)
            else:
                self.lost += 1
            self._next += 1
        return results

    def close(self) -> None:
        """Unmap the ring."""
        self.ring.close()
