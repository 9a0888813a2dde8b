"""The frames of a file as a camera would deliver them, on a clock that only frames move."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rtface.camera.video import Truncated, read_frames
from rtface.camera_config import MotionSection
from rtface.motion.fit import Unfittable, fit_masks
from rtface.motion.masks import Masks
from rtface.types import CameraInfo, Frame, Image, Lost, Stamp, UserError


class VideoFrames:
    """Yields every frame of a video; frame ``i`` is delivered at ``i`` periods of its rate.

    Attributes
    ----------
    now_ns : int
        The time of the newest frame, ns since the first.
    fault : str
        Why the file ended early; empty while it did not. What came before counts.
    """

    def __init__(self, path: str, rate_hz: float) -> None:
        self._path, self._rate_hz = path, rate_hz
        self.now_ns = 0
        self.fault = ""

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames with stamps; UserError if there is not even one."""
        images = read_frames(self._path, threads=1)
        n = 0
        while True:
            try:
                image = next(images)
            except StopIteration:
                return
            except UserError as error:
                if not n:
                    raise
                self.fault = str(error)
                return
            self.now_ns = round(n * 1e9 / self._rate_hz)
            yield Frame(n, Stamp(0, n, None, self.now_ns), Lost(), image)
            n += 1


def fitted_masks(path: str, section: MotionSection, info: CameraInfo) -> tuple[Masks | None, str]:
    """Return masks of the first ``fit_s`` of a video, as a run makes them of its beginning.

    None, as a run goes on without, if none can be made of it; the text says why there are none, or
    fewer components, and is empty if all is as asked for. UserError as ``fit_masks``.
    """
    wanted = max(2, round(section.fit_s * info.rate_hz))

    def beginning() -> Iterator[Image]:
        try:
            yield from islice(read_frames(path, threads=1), wanted)
        except Truncated:  # said when the frames are tracked
            return

    fewer: list[str] = []
    try:
        masks = fit_masks(
            [beginning], section.bin, section.components, section.roi, on_fewer=fewer.append
        )
    except Unfittable as error:
        return None, f"motion energy alone, without components: {error}"
    except UserError as error:
        raise UserError(f"{path}: motion: {error}") from None
    return masks, "".join(fewer)
