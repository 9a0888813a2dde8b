"""How bright light, iris and pupil are, so that thresholds follow them; and how open the eye is."""

from __future__ import annotations

import math

#: where the threshold lies, from the pupil's level to the iris'
_BETWEEN = 0.4
#: an iris brighter than this part of the fur is not told from lids
_MOST_IRIS = 0.88
#: the eye counts as shut below, as open again above; of what is usually seen of it
SHUT, OPEN = 0.5, 0.65
#: an eye as open as this hides nothing of the pupil
_WIDE = 0.85
#: what is usually seen is forgotten within so many frames
_FORGET = 5000


class Levels:
    """Grey levels on both sides of the pupil's edge, in units of the surround's; slowly adapting.

    The mean of the first ``frames``, then exponential with that time constant.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.inside = self.outside = math.nan
        self._n = 0

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return self._n > 0

    @property
    def threshold(self) -> float:
        """The level between both, a little on the pupil's side: the iris is not even."""
        return self.inside + _BETWEEN * (self.outside - self.inside)

    def update(self, inside: float, outside: float) -> None:
        """Take in one frame's."""
        self._n = min(self._n + 1, self._frames)
        if self._n == 1:
            self.inside, self.outside = inside, outside
        else:
            self.inside += (inside - self.inside) / self._n
            self.outside += (outside - self.outside) / self._n


def lid_level(iris: float, light: float) -> float:
    """Return the level between the iris and lids as bright as the surround; NaN if too alike."""
    return (iris + light) / 2 if iris < _MOST_IRIS * light else math.nan


class Lids:
    """How open the eye is: the part of it that is seen, of what is usually seen.

    ``openness`` is 0 to about 1, NaN while it cannot be told; ``shut`` has a hysteresis.
    """

    def __init__(self) -> None:
        self.openness = math.nan
        self.shut = False
        self._usual = 0.0

    @property
    def trust(self) -> float:
        """How far an outline may be believed, 0 to 1: lids half shut have edges of their own."""
        if math.isnan(self.openness):
            return 1.0
        return min(1.0, max(0.0, (self.openness - SHUT) / (_WIDE - SHUT)))

    def update(self, seen: float) -> None:
        """Take in which part of the eye's mask does not look like lids, 0 to 1; NaN: unknown."""
        if math.isnan(seen):
            self.openness, self.shut = math.nan, False
            return
        self._usual = max(seen, self._usual * (1 - 1 / _FORGET))
        self.openness = seen / self._usual if self._usual > 0 else math.nan
        self.shut = self.openness < (OPEN if self.shut else SHUT)
