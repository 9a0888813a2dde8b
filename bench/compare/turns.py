"""From the times of frames to one row per peer: medians over turns, and ratios within turns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def turn_of(ns: Sequence[int], cpu_ns: int) -> dict[str, float]:
    """Return one turn's p50 and p99 in ms, its frames per second and CPU ms per frame."""
    ms = np.asarray(ns) / 1e6
    p50, p99 = np.percentile(ms, (50, 99))
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "fps": len(ms) / float(ms.sum()) * 1000,
        "cpu_ms": cpu_ns / len(ms) / 1e6,
        "frames": len(ms),
    }


def rows(
    turns: Mapping[str, Sequence[Mapping[str, float]]],
    about: Mapping[str, Mapping[str, Any]],
    than: str = "",
) -> list[dict[str, Any]]:
    """Return the table: those whose names begin as the first's are what others are compared with.

    With ``than`` a peer's name: how many times faster than that one each is, instead.

    ``turns`` has as many turns for every peer that could be measured, taken side by side; what
    disturbs the machine for a whole turn is in both parts of its ratio. A peer without turns is
    shown with the reason, ``why`` of ``about``.
    """
    first = next(iter(about), "")
    which = [than] if than else [name for name in about if name.startswith(first)]
    references = {name: turns.get(name, []) for name in which}
    title = "times faster than" if than else "times"
    table = []
    for name in about:
        row: dict[str, Any] = {"peer": name}
        mine = turns.get(name, [])
        for key in ("p50_ms", "p99_ms", "fps", "cpu_ms"):
            row[key] = round(statistics.median(t[key] for t in mine), 3) if mine else "-"
        for reference, theirs in references.items():
            for key, what in (("p50_ms", ""), ("cpu_ms", "CPU, ")):
                both = list(zip(mine, theirs, strict=False))
                ratios = [
                    other[key] / one[key] if than else one[key] / other[key] for one, other in both
                ]
                row[f"{what}{title} {reference}"] = (
                    round(statistics.median(ratios), 1) if ratios else "-"
                )
        row["frames"] = sum(int(t["frames"]) for t in mine)
        parameters = about[name].get("parameters")
        row["note"] = about[name].get("why") or (
            f"{parameters / 1e6:.1f} M parameters, random" if parameters else ""
        )
        table.append(row)
    return table
