"""A video file that behaves like a camera: paced, looped, losing frames when it is late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from os import PathLike, fspath

import numpy as np

from rtface.camera.media import Truncated, declared_frames, probe, read_frames
from rtface.camera.pacing import NS_PER_S, Pacer
from rtface.types import (
    CameraCounts,
    CameraState,
    EndOfStream,
    Image,
    Lost,
    Stamp,
    UserError,
)

__all__ = ["CLIP_BYTES", "Truncated", "VideoCamera", "declared_frames", "probe", "read_frames"]

#: a looped clip whose gray frames fit into this many bytes is decoded only once
CLIP_BYTES = 512 << 20


class VideoCamera:
    """A video file that behaves like a camera: frame ``i`` of the file is frame id ``i``.

    Frame ``i`` is due at ``start + (i + 1) / rate``. A frame whose time passed by more than one
    period before it was asked for is passed over and counted as ``late``; so is one that could
    not be decoded in time, so a file that decodes slower than its rate delivers few frames or
    none, never old ones. Belongs to one thread, which decodes (with FFmpeg's own threads).

    Parameters
    ----------
    path : str or path
    rate_hz : float, optional
        Frames per second; the file's own by default.
    loop : bool
        Start over at the end, with ids going on. A clip of up to ``CLIP_BYTES`` of gray pixels is
        then decoded once, here; a longer one every time.
    as_fast_as_possible : bool
        No deadlines: every frame is delivered when asked for, ``t_camera_ns`` is None.
    clock, sleep : callable
        ``perf_counter_ns`` and ``time.sleep``; others in tests.

    Raises
    ------
    UserError
        As ``media.read_frames``, or when neither the file nor ``rate_hz`` gives a rate.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        rate_hz: float | None = None,
        loop: bool = False,
        as_fast_as_possible: bool = False,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        info = probe(path)
        rate = info.rate_hz if rate_hz is None else rate_hz
        if not 0 < rate <= NS_PER_S:
            why = f"{rate} Hz is no frame rate" if rate else "has no frame rate of its own"
            raise UserError(f"{fspath(path)}: {why}; give one in Hz, above 0")
        self.info = info._replace(rate_hz=float(rate))
        self.first_id: int | None = 0
        self.state = CameraState.READY
        self._clock = clock
        self._pacer = None if as_fast_as_possible else Pacer(round(NS_PER_S / rate), clock, sleep)
        self._frames = _looped(path) if loop else read_frames(path)
        self._delivered = 0
        self._end: int | None = None  # how many frames there were, once that is known
        self._index = 0
        self._image = next(self._frames)  # frame self._index, decoded ahead of its time

    def start(self) -> None:
        """Begin: the first frame is due one period later."""
        self.state = CameraState.RUNNING
        if self._pacer is not None:
            self._pacer.start()

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` (H, W) and return its stamp; None after a timeout.

        Sleeps until the frame is due. ``t_camera_ns`` is the deadline, ns after ``start``. Raises
        EndOfStream after the last frame of a file that is not looped, Truncated once after the
        last good frame of a damaged one, RuntimeError before ``start``.
        """
        if self._pacer is None:
            frame_id, t_camera_ns = self._delivered, None
            self._decode_to(frame_id)
        else:
            due = self._wait(self._pacer, timeout_s)
            if due is None:
                return None
            frame_id, t_camera_ns = due, self._pacer.deadline_ns(due)
        np.copyto(out, self._image, casting="no")
        self._delivered += 1
        return Stamp(0, frame_id, t_camera_ns, self._clock())

    def counts(self) -> CameraCounts:
        """Return the frames made and those passed over: made = delivered + lost, always."""
        produced = self._delivered if self._pacer is None else self._pacer.produced
        if self._end is not None:
            produced = min(produced, self._end)
        return CameraCounts(produced, Lost(late=produced - self._delivered))

    def close(self) -> None:
        """Close the file; ``fill`` raises EndOfStream from then on."""
        self._end = self.counts().produced
        self._frames, self._index = iter(()), -1

    def _wait(self, pacer: Pacer, timeout_s: float) -> int | None:
        """Return the id that is due now and decoded; None when ``timeout_s`` passed."""
        began = pacer.skip_late()
        while True:
            self._decode_to(pacer.id)
            left_s = timeout_s - (pacer.skip_late() - began) / NS_PER_S
            if pacer.id == self._index:
                frame_id = pacer.next(max(0.0, left_s))
                if frame_id is None or frame_id == self._index:
                    return frame_id
            # decoding or sleeping took too long: that frame is lost, try the one due now
            elif left_s <= 0:
                return None

    def _decode_to(self, frame_id: int) -> None:
        """Make ``_image`` frame ``frame_id``; the frames before it are passed over."""
        try:
            while self._index < frame_id:
                self._image = next(self._frames)
                self._index += 1
        except (StopIteration, UserError) as stop:
            if self._end is None:
                self._end = self._index + 1
            if isinstance(stop, StopIteration):
                raise EndOfStream from None
            raise


def _looped(path: str | PathLike[str]) -> Iterator[Image]:
    """Return the frames over and over: from memory where they fit, else decoded anew each time."""
    clip: list[Image] = []
    frames, size = read_frames(path), 0
    try:
        for image in frames:
            clip.append(image.copy())  # without the decoder's chroma and padding
            size += image.nbytes
            if size > CLIP_BYTES:
                return _decode_again(path)
    except Truncated as error:
        return _repeat(clip, error)
    return _repeat(clip, None)


def _repeat(clip: list[Image], broken: Truncated | None) -> Iterator[Image]:
    while True:
        yield from clip
        if broken is not None:
            raise broken


def _decode_again(path: str | PathLike[str]) -> Iterator[Image]:
    while True:
        yield from read_frames(path)
