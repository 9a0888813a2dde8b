"""A camera's frame ids as numbers that only grow, and why some are missing. Pure."""

from __future__ import annotations

from rtface.types import Lost

_LAST_16 = (1 << 16) - 1
_LAST_32 = (1 << 32) - 1


class IdCounter:
    """Follows a camera's own frame counter through its wraps.

    GigE Vision 1.x counts in 16 bits and leaves out 0 (65535 is followed by 1); other cameras count
    in 32 or 64 bits, and do have 0. The width is not announced: it is told by where the counter
    stood when it fell. A counter that falls has wrapped only if there was time for it.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def step(self, raw: int, at_most: int = _LAST_16 // 2) -> int | None:
        """Return by how many frames ``raw`` is later than the id before: 1 where none is missing.

        ``at_most`` is how many frames there was time for. None where ``raw`` is not later at all,
        and no wrap explains it: the counter began anew. The first id is a step of 1.
        """
        last, self._last = self._last, raw
        if last is None:
            return 1
        if raw > last:
            return raw - last
        if last <= _LAST_16:
            step = raw - last + _LAST_16 + (1 if raw == 0 else 0)  # one longer with a 0
        elif last <= _LAST_32:
            step = raw - last + _LAST_32 + 1
        else:
            return None
        return step if step <= at_most else None


def causes(missing: int, incomplete: int, underruns: int) -> Lost:
    """Return why ``missing`` frames did not come.

    Parameters
    ----------
    missing : int
        Ids that are missing.
    incomplete : int
        Frames that arrived damaged since the last whole one.
    underruns : int
        How often the driver says it had no free buffer since the last whole frame.
    """
    damaged = min(incomplete, missing)
    no_buffer = min(underruns, missing - damaged)
    return Lost(missing - damaged - no_buffer, damaged, no_buffer)


def add(one: Lost, other: Lost) -> Lost:
    """Return the sum of two counts, cause by cause."""
    return Lost(*(a + b for a, b in zip(one, other, strict=True)))


def missed_triggers(apart_ns: int, period_ns: int, step: int) -> int:
    """Return how many triggers exposed nothing between two frames.

    A trigger that the camera did not take leaves no gap in its ids, but one in its times. Longer
    than a few periods is a pause of whoever triggers, not a row of missed ones.

    Parameters
    ----------
    apart_ns : int
        Time between the two exposures by the camera's clock.
    period_ns : int
        Nominal time between triggers.
    step : int
        By how many frames the second is later.
    """
    extra = round(apart_ns / period_ns) - step
    return extra if 0 < extra <= LONGEST_RUN else 0


#: more triggers than this in a row are not missed but were never given
LONGEST_RUN = 4
