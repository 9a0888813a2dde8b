"""A thousand simulated sessions: are frames matched with the right pulses, or refused?

Half of the coded sessions have late triggers, half have one left out. Rates of 30 to 300 Hz, 1 to
10 minutes; missed pulses, glitches, dropped and extra frames; the camera, the recording, or both
begin late or end early. Each also as uniform strobes of which the recording missed the beginning,
so that there is no anchor: those have to be refused. So have the code of another session, and
uniform strobes in silence of which a pulse at one end is missing.
"""

from __future__ import annotations

import collections
import time
from typing import Any

import _report
import numpy as np

from rtface.sync.anchor import NoMatch
from rtface.sync.edges import Edges
from rtface.sync.match import Frames, match
from rtface.sync.simulate import Simulated, Wrong, simulate

#: farther off than this is another pulse; the nearest two are 3.3 ms apart
WRONG_S = 0.3e-3


def judged(frames: Frames, edges: Edges, truth_s: np.ndarray) -> tuple[str, float]:
    """Return ``exact``, ``WRONG`` or ``refused``, and the largest error, s."""
    try:
        found = match(frames, edges)
    except NoMatch:
        return "refused", 0.0
    error = float(np.nanmax(np.abs(found.pulse_s - truth_s)))
    return ("exact" if error < WRONG_S else "WRONG"), error


def sessions(seed: int) -> tuple[str, Simulated, Simulated, Simulated, Simulated]:
    """Return a coded session, and uniform ones: without an anchor, a first, and a last pulse."""
    random = np.random.default_rng(seed)
    kind = "late" if seed % 2 == 0 else "left_out"
    rate = float(random.choice([30.0, 60.0, 100.0, 150.0, 200.0, 300.0]))
    lasts = float(random.uniform(60, 600))
    bad = Wrong(
        missed_pulses=float(random.choice([0, 1e-4, 1e-3])),
        glitches=float(random.choice([0, 1e-4, 1e-3])),
        dropped_frames=float(random.choice([0, 5e-3, 2e-2])),
        extra_frames=float(random.choice([0, 2e-5, 1e-4])),
        ppm=100.0,
    )
    late = float(random.choice([0, random.uniform(0, 20)]))
    camera = (late, lasts - float(random.choice([0, random.uniform(0, 10)])))
    recorded = (
        float(random.choice([-5, random.uniform(0.1, 20)])),
        lasts + float(random.choice([5, -random.uniform(0, 10)])),
    )
    coded = simulate(seed, kind, rate, lasts, camera, recorded, bad)
    cut = (float(random.uniform(0.1, 20)), recorded[1])
    uniform = simulate(seed, "uniform", rate, lasts, camera, cut, bad)
    quiet = simulate(seed, "uniform", rate, lasts, wrong=Wrong(0, 0, 0, 0, 0))
    rising = quiet.edges.rising_s
    headless = quiet._replace(edges=quiet.edges._replace(rising_s=rising[1:]))
    tailless = quiet._replace(edges=quiet.edges._replace(rising_s=rising[:-1]))
    return kind, coded, uniform, headless, tailless


def run(n: int) -> list[dict[str, Any]]:
    """Return counts by kind of session."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    worst: dict[str, float] = collections.defaultdict(float)
    before: Simulated | None = None
    for seed in range(n):
        kind, coded, *uniform = sessions(seed)
        cases = [(f"coded, {kind}", coded.frames, coded.edges, coded.truth_s)]
        names = (
            "uniform, no anchor",
            "uniform, first pulse missing",
            "uniform, last pulse missing",
        )
        cases += [
            (name, s.frames, s.edges, s.truth_s) for name, s in zip(names, uniform, strict=True)
        ]
        if before is not None:
            nobody = np.full(len(coded.truth_s), np.inf)  # any match is wrong
            cases.append(("another session's recording", coded.frames, before.edges, nobody))
        before = coded
        for name, frames, edges, truth in cases:
            outcome, error = judged(frames, edges, truth)
            counts[name][outcome] += 1
            worst[name] = max(worst[name], error)
    return [
        {
            "sessions": name,
            "n": sum(count.values()),
            "exact": count["exact"],
            "refused": count["refused"],
            "wrong": count["WRONG"],
            "largest error, us": worst[name] * 1e6 if count["exact"] else 0.0,
        }
        for name, count in counts.items()
    ]


def main() -> None:
    """Run, print and write."""
    parser = _report.parser(__doc__.splitlines()[0])
    args = parser.parse_args()
    began = time.perf_counter()
    rows = run(40 if args.quick else 1000)
    _report.table("Matching", rows)
    _report.write("sync", args, {"rows": rows, "took_s": time.perf_counter() - began})


if __name__ == "__main__":
    main()
