"""``runtime = "auto"``: CPU runtimes are tried on the bundle's own frames; the fastest is taken."""

from __future__ import annotations

import time

import numpy as np

from rtface.engine import CPU_RUNTIMES, RUNTIMES, Started, start_engine
from rtface.engine.bundle import Bundle
from rtface.types import Engine, UserError

#: how long each is timed, s, and in how many turns, so that all see the same hour
TIMED_S, TURNS = 0.1, 3
#: inexact ones must be this much faster than the fastest exact one to be worth it
WORTH = 0.9
#: shift of a keypoint that ``auto`` allows on the reference frames, px of the input: half of what
#: ``Bundle.check`` does, because nobody asked for it by name
ALLOWED_PX = 0.25


def fastest(bundle: Bundle, threads: int = 1, precision: str | None = None) -> Started:
    """Return what answers soonest among the CPU runtimes and precisions that start and agree.

    Parameters
    ----------
    bundle : Bundle
    threads : int
    precision : str, optional
        Only this one.

    Raises
    ------
    UserError
        None starts; the line says why.
    """
    started: list[Started] = []
    told: list[str] = []
    for runtime in CPU_RUNTIMES:
        for kind in RUNTIMES[runtime]:
            if precision not in (None, kind):
                continue
            try:
                one = start_engine(bundle, runtime, threads, kind)
            except UserError as error:
                told.append(f"{runtime} {kind} not: {error}")
                continue
            moved = bundle.shift_px(one.engine)
            if moved > ALLOWED_PX:
                told.append(f"{one.label} not: moves reference keypoints by {moved:.2f} px")
            else:
                started.append(one)
    if not started:
        raise UserError(f"engine.runtime: auto: nothing starts; {'; '.join(told)}")
    ms = _times_ms(bundle, [one.engine for one in started])
    # as if an inexact one were that much slower
    handicap = [1 if one.precision == "fp32" else WORTH for one in started]
    worth = [t / by for t, by in zip(ms, handicap, strict=True)]
    best = int(np.argmin(worth))
    taken = started[best]
    slower = [
        f"{one.label} {t:.2f}" for t, one in zip(ms, started, strict=True) if one is not taken
    ]
    beside = f" (others: {', '.join(slower)})" if slower else ""
    why = "; ".join([f"{taken.label} takes {ms[best]:.2f} ms{beside}", *told])
    return taken._replace(why=why)


def _times_ms(bundle: Bundle, engines: list[Engine]) -> list[float]:
    """Return the median time of each, ms, measured in turns."""
    image, scale, shift, _ = (part[0] for part in bundle.reference())
    scale, shift = float(scale), float(shift)
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(TURNS):
        for engine, took in zip(engines, times, strict=True):
            for _ in range(3):
                engine.infer(image, scale, shift)
            end = time.perf_counter() + TIMED_S / TURNS
            while (start := time.perf_counter()) < end:
                engine.infer(image, scale, shift)
                took.append(time.perf_counter() - start)
    return [1e3 * float(np.median(took)) for took in times]
