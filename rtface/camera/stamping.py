"""How a simulated camera stamps its frames: when it exposes, what its clock says, when it delivers.

The counterpart of ``rtface.timing``: what is undone there is done here.
"""

from __future__ import annotations

from typing import NamedTuple

#: exposure time of a simulated camera that states none, and how one varies that says it each time
EXPOSURE_NS, EXPOSURE_SWING_NS = 1_000_000, 400_000


class Stamping(NamedTuple):
    """Times of a simulated camera, ns.

    Attributes
    ----------
    delay_ns : int
        From the midpoint of an exposure to the delivery of its frame.
    clock_ppm : float
        How much too fast its clock runs.
    means : str
        Which moment its stamp marks, as ``stamp_means`` of the rig file.
    exposure_ns : int or None
        None: every frame has its own, and says it.
    trigger_delay_ns, readout_ns : int
    pairs : bool
        Whether it latches its clock together with the host's, once a second.
    """

    delay_ns: int = 0
    clock_ppm: float = 0.0
    means: str = "midpoint"
    exposure_ns: int | None = EXPOSURE_NS
    trigger_delay_ns: int = 0
    readout_ns: int = 0
    pairs: bool = False

    def exposure_of(self, frame_id: int) -> int:
        """Return how long a frame is exposed, ns."""
        if self.exposure_ns is not None:
            return self.exposure_ns
        return EXPOSURE_NS + (frame_id * 37 % 101 - 50) * EXPOSURE_SWING_NS // 50

    def stamp(self, exposure_ns: int, due_ns: int) -> int:
        """Return what the camera's clock says of a frame that is delivered at ``due_ns``."""
        half = exposure_ns // 2
        event_ns = (due_ns - self.delay_ns) + {
            "midpoint": 0,
            "start": -half,
            "trigger": -half - self.trigger_delay_ns,
            "end": half,
            "readout_end": half + self.readout_ns,
        }[self.means]
        return self.device(event_ns)

    def device(self, since_start_ns: int) -> int:
        """Return what the camera's clock shows so long after ``start``, ns."""
        return since_start_ns + round(since_start_ns * self.clock_ppm * 1e-6)


#: stamps and delivers in the middle of the exposure, by the host's clock
PLAIN = Stamping()
