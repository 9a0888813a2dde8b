"""What the tracker computes of a frame beside its keypoints, as flat arrays with names."""

from __future__ import annotations

from typing import Any, Protocol

from rtface.types import Float32Array, Image, Pose, SignalLengths

__all__ = ["MovingStage", "PosedStage", "Stage"]


class Stage(Protocol):
    """Some signals of every tracked frame, in order. Belongs to one thread at a time.

    Attributes
    ----------
    lengths : dict of str to int
        How many numbers each signal has; never changes.
    signals : dict of str to ndarray (N,) float32
        Of the frame of the last call.
    """

    @property
    def lengths(self) -> SignalLengths:
        """See above."""

    @property
    def signals(self) -> dict[str, Float32Array]:
        """See above."""

    def about(self) -> dict[str, Any]:
        """Return what ``meta`` says of the signals."""


class MovingStage(Stage, Protocol):
    """A stage that compares a frame with the one before; needs no keypoints."""

    def __call__(self, image: Image, consecutive: bool) -> int:
        """Compute the signals of a frame; return bits of ``Flag``.

        ``consecutive``: it is the exposure right after that of the call before.
        """

    def look(self, image: Image) -> None:
        """See the frame right before the next one; it was passed over, and has no result."""


class PosedStage(Stage, Protocol):
    """A stage that needs the frame's keypoints."""

    def __call__(self, image: Image, pose: Pose) -> int:
        """Compute the signals of a frame; return bits of ``Flag``."""
