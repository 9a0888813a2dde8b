"""A webcam through OpenCV: gray frames with the host's times, and no word about what it lost."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from rtface.camera_config import UvcSection
from rtface.types import (
    CameraCounts,
    CameraInfo,
    CameraState,
    EndOfStream,
    Image,
    Lost,
    Stamp,
    UserError,
)

#: OpenCV's numbers of the properties that are used, the same in every version
WIDTH, HEIGHT, RATE = 3, 4, 5
#: without a frame for so long, ns: it is silent; it cannot be read any more
SILENT_NS, GONE_NS = 1_000_000_000, 2_000_000_000
#: first and longest time between two looks for a camera that is gone, s
LOOK_S, LOOK_AT_MOST_S = 0.5, 5.0
#: a camera that fails at once is asked again after this, s
RETRY_S = 0.02
#: how far the rate that the camera reports may be from the one asked for
RATE_TOLERANCE = 0.05


class Capture(Protocol):
    """What is used of ``cv2.VideoCapture``, from which the names are."""

    def isOpened(self) -> bool:
        """Return whether the device was opened."""

    def grab(self) -> bool:
        """Wait for the next frame; False if there is none."""

    def retrieve(self) -> tuple[bool, Any]:
        """Decode the frame that was grabbed: whether that went well, and (H, W, 3) BGR."""

    def get(self, prop: int, /) -> float:
        """Return a property."""

    def set(self, prop: int, value: float, /) -> bool:
        """Ask for a property; the device takes what it has."""

    def release(self) -> None:
        """Close the device."""


class UvcCamera:
    """A webcam through OpenCV. Belongs to the thread that made it.

    A frame's id is the number of frames grabbed before it, its only time that of the host when it
    was grabbed. What the camera or its driver lost leaves no trace here and is not invented; only a
    frame that was grabbed and could not be decoded is known, and counted as ``incomplete``.

    Nothing is read before the first ``fill``: frames that wait in the driver would be stamped late.

    Parameters
    ----------
    name : str
        The camera's name in the rig file, for messages.
    section : UvcSection
        ``device`` may be a path that stays the same when the camera is plugged in again, such as
        ``/dev/v4l/by-id/...``; a number need not.
    open_capture : callable, optional
        Opens the device of that number or name; OpenCV by default.
    clock, sleep : callable
        ``perf_counter_ns`` and ``time.sleep``; others in tests.

    Raises
    ------
    UserError
        OpenCV is missing, the device cannot be opened, or gives another size or rate than asked.
    """

    def __init__(
        self,
        name: str,
        section: UvcSection,
        open_capture: Callable[[int | str], Capture] | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._key, self._section = f"camera.{name}", section
        self._open = open_capture or opencv(name)
        self._clock, self._sleep = clock, sleep
        self.first_id: int | None = 0
        self.state = CameraState.READY
        self._capture: Capture | None = self._open(section.device)
        try:
            height, width = self._set_up(self._capture)
        except UserError:
            self._capture.release()
            raise
        self.info = CameraInfo(height, width, 8, section.rate_hz)
        self._segment = self._grabbed = 0  # frames grabbed in this segment
        self._delivered = self._damaged = 0
        self._reopened = self._closed = False
        self._heard_ns = 0  # when the newest frame was grabbed, or the device opened
        self._look_s, self._look_at_ns = LOOK_S, 0

    def start(self) -> None:
        """Begin; the camera streams from the first ``fill`` on."""
        self.state = CameraState.RUNNING
        self._heard_ns = self._clock()

    def fill(self, out: Image, timeout_s: float) -> Stamp | None:
        """Write the next frame into ``out`` (H, W) uint8 and return its stamp; None without one.

        OpenCV blocks until a frame is there, so ``timeout_s`` cannot be kept while the camera is
        silent: a call then takes as long as the driver waits (about 1 s with V4L2). Raises
        EndOfStream after ``close``, and UserError when the camera is gone and ``on_gone`` is
        'stop', or when its frames are not what it said.
        """
        if self._closed:
            raise EndOfStream
        capture = self._capture or self._look()
        if capture is None or not capture.grab():
            if capture is not None:
                self._failed(capture)
            self._sleep(min(timeout_s, RETRY_S))
            return None
        t_host_ns = self._clock()
        self._heard(t_host_ns)
        frame_id = self._grabbed
        self._grabbed += 1
        good, image = capture.retrieve()
        if not good:
            self._damaged += 1
            return None
        self._to_gray(image, out)
        self._delivered += 1
        return Stamp(self._segment, frame_id, None, t_host_ns)

    def counts(self) -> CameraCounts:
        """Return the frames that were grabbed: what was lost before is not known."""
        return CameraCounts(self._delivered + self._damaged, Lost(incomplete=self._damaged))

    def close(self) -> None:
        """Free the device; ``fill`` raises EndOfStream from then on."""
        self._closed = True
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _set_up(self, capture: Capture) -> tuple[int, int]:
        """Ask for size and rate, read back what came of it and return (height, width)."""
        asked, device = self._section, self._section.device
        if not capture.isOpened():
            raise UserError(
                f"{self._key}.device: {device!r} cannot be opened; see that the camera is plugged "
                "in, that no other program uses it and that you may read it (group 'video')"
            )
        if asked.width or asked.height:
            # OpenCV passes a size on once it has both
            capture.set(WIDTH, asked.width or capture.get(WIDTH))
            capture.set(HEIGHT, asked.height or capture.get(HEIGHT))
        capture.set(RATE, asked.rate_hz)
        width, height = int(capture.get(WIDTH)), int(capture.get(HEIGHT))
        rate = capture.get(RATE)
        if min(width, height) < 1:
            raise UserError(f"{self._key}.device: {device!r} gives no pictures; name another")
        wanted = asked.width or width, asked.height or height
        if wanted != (width, height):
            key = "width" if wanted[0] != width else "height"
            raise UserError(
                f"{self._key}.{key}: {wanted[0]}x{wanted[1]} px was asked for, the camera offers "
                f"{width}x{height}; write that, or leave out width and height"
            )
        # 0 or less: it does not say
        if rate > 0 and abs(rate / asked.rate_hz - 1) > RATE_TOLERANCE:
            raise UserError(
                f"{self._key}.rate_hz: {asked.rate_hz:g} Hz was asked for, the camera offers "
                f"{rate:g} at {width}x{height} px; write that, or another size"
            )
        return height, width

    def _heard(self, now_ns: int) -> None:
        """Take note of a frame: after the device was opened again it begins a segment."""
        self._heard_ns, self._look_s = now_ns, LOOK_S
        self.state = CameraState.RUNNING
        if self._reopened:
            self._reopened = False
            self._segment += 1
            self._grabbed = 0

    def _failed(self, capture: Capture) -> None:
        """Take note that no frame came: nothing, silent or gone, by how long ago the last did."""
        silent_ns = self._clock() - self._heard_ns
        if silent_ns >= GONE_NS or not capture.isOpened():
            capture.release()
            self._capture = None
            if self._section.on_gone == "stop":
                raise UserError(
                    f"{self._key}.device: {self._section.device!r} cannot be read any more after "
                    f"{self._delivered} frames; see its cable, or set on_gone = 'wait'"
                )
            self.state = CameraState.GONE
            self._look_later()
        elif silent_ns >= SILENT_NS and self.state == CameraState.RUNNING:
            self.state = CameraState.SILENT

    def _look(self) -> Capture | None:
        """Open the device again if it is time to and it is there.

        Another camera in its place, with another size or rate, is not taken for it.
        """
        if self._clock() < self._look_at_ns:
            return None
        capture = self._open(self._section.device)
        try:
            same = self._set_up(capture) == (self.info.height, self.info.width)
        except UserError:
            same = False
        if not same:
            capture.release()
            self._look_later()
            return None
        self._capture, self._reopened = capture, True
        self._heard_ns = self._clock()
        return capture

    def _look_later(self) -> None:
        self._look_at_ns = self._clock() + round(self._look_s * 1e9)
        self._look_s = min(2 * self._look_s, LOOK_AT_MOST_S)

    def _to_gray(self, image: Any, out: Image) -> None:
        """Write the gray values of a picture into ``out``, the one copy."""
        colour = image.ndim == 3 and image.shape[2] == 3
        if (
            image.shape[:2] != out.shape
            or image.dtype != np.uint8
            or not (colour or image.ndim == 2)
        ):
            raise UserError(
                f"{self._key}.device: delivers {image.dtype} pictures of {image.shape}, not the "
                f"uint8 gray or BGR of {out.shape} that it said; set another width and height"
            )
        if colour:
            import cv2

            cv2.cvtColor(image, cv2.COLOR_BGR2GRAY, dst=out)
        else:
            np.copyto(out, image)


def opencv(name: str) -> Callable[[int | str], Capture]:
    """Return what opens a device through OpenCV; UserError where that is not installed."""
    # read once, on import: a line in the rig's terms is raised instead of OpenCV's own warnings,
    # and a silent camera is noticed after 1 s instead of 10
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
    try:
        import cv2
    except ImportError:
        raise UserError(
            f"camera.{name}.kind: 'uvc' needs OpenCV, which is not installed here: "
            'pip install "rtface[uvc]"'
        ) from None
    cv2.setNumThreads(1)  # the other cores are the trackers'

    def open_capture(device: int | str) -> Capture:
        # by name OpenCV would try its file readers first, which hang on some cameras
        is_camera = isinstance(device, int) or device.startswith("/dev/")
        api = cv2.CAP_V4L2 if is_camera and sys.platform == "linux" else cv2.CAP_ANY
        capture: Capture = cv2.VideoCapture(device, api)
        return capture

    return open_capture
