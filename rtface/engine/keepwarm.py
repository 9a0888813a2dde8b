"""A GPU that gets nothing to do lowers its clocks, so that the next frame takes far longer."""

from __future__ import annotations

from collections.abc import Callable


class KeepWarm:
    """Lets a GPU work while no new frame comes; belongs to the tracker's thread.

    Parameters
    ----------
    run : callable or None
        Lets the GPU run the last frame again, and does not wait; None: there is no GPU.
    every_ms : int
        After how long without a frame, and how often from then on; 0: never.

    Attributes
    ----------
    every_ns : int
        0: never.
    """

    def __init__(self, run: Callable[[], None] | None, every_ms: int) -> None:
        self._run = run
        self.every_ns = every_ms * 1_000_000 if run else 0
        self._busy_ns = 0

    def used(self, now_ns: int) -> None:
        """Note that a frame was just computed."""
        self._busy_ns = now_ns

    def tend(self, now_ns: int) -> None:
        """Begin a run if it is time; call while no frame is there."""
        if self._run and self.every_ns and now_ns - self._busy_ns >= self.every_ns:
            self._run()
            self._busy_ns = now_ns
