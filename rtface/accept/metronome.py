"""A rule that comes true three times a second, whatever the mouse does: for `rtface accept`."""

from rtface.types import Ledger, Pose, Signals

#: half of the time from one beat to the next
HALF_NS = 160_000_000


def rule(ledger: Ledger, pose: Pose, signals: Signals) -> bool:
    """Return True in every other stretch of ``HALF_NS`` of exposure time."""
    return ledger.exposure_ns // HALF_NS % 2 == 0
