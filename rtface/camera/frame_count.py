"""The account of one real camera: what it made by its own ids, and what became of that. Pure."""

from __future__ import annotations

from collections.abc import Callable

from rtface.camera.ids import IdCounter, add, causes, missed_triggers
from rtface.types import Lost

#: a counter that falls may have wrapped if it is this many frames on, or twice as many as there was
#: time for
WRAP_AT_LEAST = 1000


class FrameCount:
    """Counts frames through wraps, gaps and segments; made = delivered + lost at any time.

    Parameters
    ----------
    period_ns : int
        Nominal time between frames or triggers.
    by_line : bool
        Whether a line triggers each frame: then missed triggers are told by the camera's times.

    Attributes
    ----------
    segment : int
        Counts how often the camera's counter began anew.
    missed : int
        Triggers that exposed nothing.
    """

    def __init__(self, period_ns: int, by_line: bool) -> None:
        self._period_ns, self._by_line = period_ns, by_line
        self.segment = self.missed = 0
        self._produced, self._lost = 0, Lost()
        self.begin(0, 0, 0)

    def begin(self, incomplete: int, underruns: int, now_ns: int) -> None:
        """Begin a segment; the driver's own counts stand at these values."""
        self._ids = IdCounter()
        self._id = -1
        self._t_camera_ns: int | None = None
        self._incomplete, self._underruns = incomplete, underruns
        self._delivered_ns = now_ns

    def end(self, incomplete: int) -> None:
        """End a segment: what was damaged after its last whole frame belongs to it."""
        self._produced, self._lost = self.told(incomplete)
        self._incomplete = incomplete

    def take(
        self,
        raw_id: int,
        t_camera_ns: int | None,
        t_host_ns: int,
        incomplete: int,
        underruns: Callable[[], int],
    ) -> int:
        """Take in a whole frame; return its id, counted on. A restarted counter is a new segment.

        Parameters
        ----------
        raw_id : int
            As the camera counts: it wraps.
        t_camera_ns, t_host_ns : int
            The camera's clock, or None; when it was delivered.
        incomplete : int
            Damaged frames so far, by the driver's count.
        underruns : callable
            Returns how often the driver had no free buffer so far; asked only at a gap.
        """
        room = WRAP_AT_LEAST + 2 * (t_host_ns - self._delivered_ns) // self._period_ns
        step = self._ids.step(raw_id, room)
        if step is None:
            self.end(incomplete)
            self.segment += 1
            self.begin(incomplete, underruns(), t_host_ns)
            step = self._ids.step(raw_id, room) or 1
        self._delivered_ns = t_host_ns
        self._id = raw_id if self._id < 0 else self._id + step
        self._produced += step
        damaged = incomplete - self._incomplete
        if step > 1 or damaged:
            lost = causes(step - 1, damaged, underruns() - self._underruns)
            self._lost = add(self._lost, lost)
            self._incomplete = incomplete
            # those that the driver has counted already may show as a gap some frames later
            self._underruns += lost.no_buffer
        if self._by_line and t_camera_ns is not None:
            if self._t_camera_ns is not None:
                apart_ns = t_camera_ns - self._t_camera_ns
                self.missed += missed_triggers(apart_ns, self._period_ns, step)
            self._t_camera_ns = t_camera_ns
        return self._id

    def told(self, incomplete: int) -> tuple[int, Lost]:
        """Return the frames made and those lost by cause; ``incomplete`` as in ``take``."""
        # before a segment's first whole frame nobody knows whether damaged ones are of this run
        damaged = incomplete - self._incomplete if self._id >= 0 else 0
        return self._produced + damaged, add(self._lost, Lost(incomplete=damaged))
