"""One page about a match: residuals, both clocks, the code, what is missing. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rtface.sync.code import LATE
from rtface.sync.grid import Floats
from rtface.sync.match import RESIDUAL_S, Frames, Match, SyncFlag
from rtface.types import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: points drawn at most
MOST = 20_000
#: of the code, this much is drawn, s
SHOWN_S = 30.0


def lateness(t_s: Floats) -> Floats:
    """Return (N - 2,) how far each inner time is behind the middle of its neighbours, s."""
    return np.asarray(t_s[1:-1] - 0.5 * (t_s[:-2] + t_s[2:]))


def draw(out: Path, title: str, frames: Frames, found: Match) -> None:
    """Draw a match.

    Parameters
    ----------
    out : Path
        PNG, PDF or SVG.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("the picture needs matplotlib; pip install 'rtface[sync]'") from None
    minutes = (frames.t_s - frames.t_s[0]) / 60
    figure = Figure(figsize=(8, 10))
    figure.subplots_adjust(left=0.15, right=0.97, top=0.91, bottom=0.06, hspace=0.55)
    axes = figure.subplots(4, 1)
    try:
        figure.suptitle(f"{title}\n{_verdict(found)}", fontsize=10)
        _residuals(axes[0], minutes, found)
        _clocks(axes[1], minutes, frames, found)
        _code(axes[2], frames, found)
        _missing(axes[3], minutes, frames, found)
        for of_session in (axes[0], axes[1], axes[3]):
            of_session.set_xlim(0, minutes[-1])
            of_session.set_xlabel("session (min)")
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:
        raise UserError(f"{out}: cannot be drawn ({error})") from None


def _verdict(found: Match) -> str:
    n_pulses = int(np.count_nonzero(~np.isnan(found.residual_s)))
    n_fitted = int(np.count_nonzero(found.flags & SyncFlag.NO_PULSE))
    n = len(found.flags)
    return (
        f"yes: {n_pulses} of {n} frames have a pulse, {n_fitted} a fitted time, "
        f"{n - n_pulses - n_fitted} none"
    )


def _residuals(axes: Axes, minutes: Floats, found: Match) -> None:
    step = max(1, len(minutes) // MOST)
    us = found.residual_s * 1e6
    axes.plot(minutes[::step], us[::step], ",", color="tab:blue")
    axes.axhline(found.p95_s * 1e6, color="0.5", lw=0.8)
    axes.axhline(-found.p95_s * 1e6, color="0.5", lw=0.8)
    widest = float(np.nanmax(np.abs(us)))
    axes.set_ylim(-1.2 * widest - 1, 1.2 * widest + 1)
    axes.set_ylabel("pulse - fit (us)")
    axes.set_title(
        f"residuals: 95 % within {found.p95_s * 1e6:.0f} us (grey); "
        f"{RESIDUAL_S * 1e6:.0f} us is the limit",
        fontsize=9,
        loc="left",
    )


def _clocks(axes: Axes, minutes: Floats, frames: Frames, found: Match) -> None:
    seen = ~np.isnan(found.pulse_s)
    x, y = frames.t_s[seen] - frames.t_s[0], found.pulse_s[seen]
    beside = y - x - np.polyval(np.polyfit(x, y - x, 1), x)
    # a mean per second: the grain of single pulses is in the picture above
    starts = np.flatnonzero(np.diff(np.floor(x), prepend=-1) > 0)
    n = np.diff(np.append(starts, len(x)))
    means = [np.add.reduceat(values, starts) / n for values in (minutes[seen], beside)]
    axes.plot(means[0], means[1] * 1e3, color="tab:green", lw=1)
    axes.set_ylabel("beside the line (ms)")
    axes.set_title(
        f"recording's clock against the camera's: {found.drift_ppm:+.2f} ppm, and beside that line",
        fontsize=9,
        loc="left",
    )


def _code(axes: Axes, frames: Frames, found: Match) -> None:
    seen = np.flatnonzero(~np.isnan(found.pulse_s))
    part = seen[found.pulse_s[seen] < found.pulse_s[seen[0]] + SHOWN_S]
    x = found.pulse_s[part]
    # across a lost frame the middle of the neighbours is not where the frame should be
    alone = np.diff(x)
    alike = np.abs(alone / found.period_s - 1) < 2 * LATE
    good = alike[:-1] & alike[1:]
    if good.any():
        late_s, own_s = lateness(x)[good], lateness(frames.t_s[part])[good]
        axes.plot(x[1:-1][good], late_s * 1e3, color="tab:blue", lw=2.5, alpha=0.5, label="pulses")
        axes.plot(x[1:-1][good], own_s * 1e3, color="tab:orange", lw=0.8, label="frames")
        axes.legend(fontsize=8, loc="upper right")
    axes.set_ylabel("late (ms)")
    anchor = found.anchor
    axes.set_title(
        f"first {SHOWN_S:.0f} s; anchor: {anchor.kind}, {anchor.votes} marks agree, next best "
        f"{anchor.runner_up}",
        fontsize=9,
        loc="left",
    )
    axes.set_xlabel("recording (s)")


def _missing(axes: Axes, minutes: Floats, frames: Frames, found: Match) -> None:
    lost = np.flatnonzero((np.diff(frames.frame_id) > 1) & (np.diff(frames.segment) == 0))
    rows = {
        "gaps": minutes[lost],
        "no pulse": minutes[(found.flags & SyncFlag.NO_PULSE) > 0],
        "outside": minutes[(found.flags & SyncFlag.OUTSIDE) > 0],
    }
    axes.eventplot(list(rows.values()), lineoffsets=[2, 1, 0], linelengths=0.7, linewidths=0.8)
    axes.set_yticks([2, 1, 0], [f"{name} ({len(t)})" for name, t in rows.items()], fontsize=8)
    axes.set_ylim(-0.6, 2.6)
    axes.set_title(
        f"{found.n_pulses} pulses, {found.n_lost} frames known to be lost, {found.n_glitches} "
        f"edges beside the train, {found.n_at_odds} not explained",
        fontsize=9,
        loc="left",
    )
