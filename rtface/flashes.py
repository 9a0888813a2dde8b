"""The delay that no clock fit can see, from a light that was switched at known times. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.types import UserError

Array = npt.NDArray[Any]

#: a frame that saw the light for less than this part of its exposure, or for all but this part,
#: does not say when
EDGE = 0.08
#: so many frames that caught a switch are needed
FEWEST = 20


class Flashes(NamedTuple):
    """What switches of a light say about the times of frames.

    Attributes
    ----------
    late_ns : float
        By how much the stated midpoints of exposures are too late.
    err_ns : float
        Bound on the error of that: three standard errors of the line.
    exposure_ns : float
        The exposure time that the frames show.
    since_ns, part : ndarray (N,)
        Stated midpoint minus switch, ns, and the part of the exposure after the switch, 0 to 1; of
        the frames that caught one.
    residual_ns : ndarray (N,)
        How far each is from the line.
    """

    late_ns: float
    err_ns: float
    exposure_ns: float
    since_ns: Array
    part: Array
    residual_ns: Array


def fit_flashes(switch_ns: Array, exposure_ns: Array, brightness: Array) -> Flashes:
    """Return how late stated exposure times are.

    A frame whose exposure holds a switch is partly lit: of an exposure of length e whose true
    midpoint is m, the part ``(m + e / 2 - t) / e`` lies after a switch at t. Frames at all phases
    draw that line; its slope is 1 / e, and where it is a half the midpoint is the switch.

    Parameters
    ----------
    switch_ns : ndarray (S,)
        When the light was switched: on first, then off, on ... ; apart by some frames at least.
    exposure_ns : ndarray (F,)
        Stated midpoint of each frame's exposure, rising.
    brightness : ndarray (F,)
        Mean grey value where the light shines.

    Raises
    ------
    UserError
        The light is not seen, or too few frames caught a switch.
    """
    dark, bright = np.percentile(brightness, [5, 95])
    if bright - dark < 10:
        raise UserError(
            f"the light is not seen: grey values from {dark:.0f} to {bright:.0f}; point --roi at "
            "it, make it brighter, or check that it is switched"
        )
    lit = (brightness - dark) / (bright - dark)
    # the levels again, from frames that are wholly dark or lit
    dark, bright = brightness[lit < 0.05].mean(), brightness[lit > 0.95].mean()
    lit = (brightness - dark) / (bright - dark)
    since, part = _caught(switch_ns, exposure_ns, lit)
    if len(since) < FEWEST:
        raise UserError(
            f"only {len(since)} frames caught a switch of the light, {FEWEST} are needed; run "
            "longer, or make the exposure longer"
        )
    kept = np.ones(len(since), bool)
    for _ in range(5):
        slope, at_zero = np.polyfit(since[kept], part[kept], 1)
        if slope <= 0:
            raise UserError("frames grow darker after the light is switched on; check its wiring")
        residual = (part - at_zero - slope * since) / slope
        spread = 1.4826 * np.median(np.abs(residual[kept])) + 1.0
        kept = np.abs(residual) < 4 * spread
    late = (0.5 - at_zero) / slope
    standard = float(np.std(residual[kept]) / np.sqrt(kept.sum()))
    return Flashes(
        float(late),
        3 * standard,
        float(1 / slope),
        since[kept],
        part[kept],
        residual[kept],
    )


def _caught(switch_ns: Array, exposure_ns: Array, lit: Array) -> tuple[Array, Array]:
    """Return (stated midpoint - switch, part of the exposure after it) of partly lit frames.

    Each belongs to the switch that is nearest once the typical lateness is taken out: the median
    distance from a switch to the frame in which the change is seen.
    """
    on = np.arange(len(switch_ns)) % 2 == 0
    changed = np.flatnonzero((lit[1:] > 0.5) != (lit[:-1] > 0.5)) + 1
    seen_on = lit[changed] > 0.5
    shift = _typical(switch_ns, on, exposure_ns[changed], seen_on)
    since, part = [], []
    for k in np.flatnonzero((lit > EDGE) & (lit < 1 - EDGE)):
        if k == 0 or k == len(lit) - 1 or (lit[k - 1] > 0.5) == (lit[k + 1] > 0.5):
            continue  # a flicker, not a switch
        rising = lit[k + 1] > 0.5
        mine = switch_ns[on == rising]
        nearest = mine[np.abs(exposure_ns[k] - shift - mine).argmin()]
        since.append(exposure_ns[k] - nearest)
        part.append(lit[k] if rising else 1 - lit[k])
    return np.array(since, float), np.array(part, float)


def _typical(switch_ns: Array, on: Array, change_ns: Array, seen_on: Array) -> float:
    """Return the median time from a switch to the first later frame that shows it."""
    waits = []
    # back by less than to the switch before: stated times may be early, too
    apart = min(
        float(np.diff(switch_ns[on == way]).min()) if (on == way).sum() > 1 else 1e8
        for way in (True, False)
    )
    for at, rising in zip(switch_ns, on, strict=True):
        after = change_ns[(seen_on == rising) & (change_ns > at - 0.4 * apart)]
        if len(after):
            waits.append(after[0] - at)
    if not waits:
        raise UserError("no frame shows the light being switched")
    return float(np.median(waits))
