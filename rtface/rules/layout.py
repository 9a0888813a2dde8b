"""Where the numbers that expressions name stand in the signals of a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from rtface.rules.units import GREY, ONE, PX, PX2, RAD, Unit


class Stage(IntEnum):
    """After which stage of a frame a signal exists."""

    POSE = 1
    MOTION = 2
    PUPIL = 3


class Source(NamedTuple):
    """One number of a frame, or a row of ``length`` that are told apart by an index.

    ``frames_late``, ``late_s``: by how many frames, and how much besides, it describes the past.
    """

    signal: str
    place: int
    unit: Unit
    stage: Stage
    length: int = 0
    low: float = -math.inf
    high: float = math.inf
    frames_late: float = 0.0
    eye_open: bool = False  # means nothing while the eye is shut or no pupil is seen
    late_s: float = 0.0


Layout = Mapping[str, Source]

_SUFFIXES = {"_px2": PX2, "_px": PX, "_rad": RAD}
_GREY = ("blink", "saturation")
_SHUT_TOO = ("blink", "openness", "saturation", "score")


def layout_of(about: Mapping[str, Any]) -> dict[str, Source]:
    """Return the signals of a camera by the names that expressions use.

    Parameters
    ----------
    about : mapping
        ``motion``, ``running``, ``pupil`` and ``neural`` as ``meta`` has them (``Stages.about``);
        None or left out: not computed.
    """
    found: dict[str, Source] = {}
    if motion := about.get("motion"):
        places = {"motion": 0, "movie": 0}
        for i, area in enumerate(motion["areas"]):
            name = area["name"]
            found[f"motion_energy.{name}"] = Source(
                "motion_energy", i, GREY, Stage.MOTION, low=0.0, frames_late=0.5
            )
            for kind, late in (("motion", 0.5), ("movie", 0.0)):
                count = area[kind]
                if count:
                    found[f"{kind}.{name}"] = Source(
                        kind, places[kind], GREY, Stage.MOTION, count, frames_late=late
                    )
                places[kind] += count
    if running := about.get("running"):
        for i, name in enumerate(running["fields"]):
            found[f"running.{name}"] = Source("running", i, PX, Stage.MOTION, frames_late=0.5)
    if pupil := about.get("pupil"):
        for i, field in enumerate(pupil["fields"]):
            found.update(_pupil(i, field))
        found["blink"] = found["pupil.blink"]
    if neural := about.get("neural"):
        late_s = neural["lag_ns"] * 1e-9
        for i, field in enumerate(neural["fields"]):
            found[f"neural.{field}"] = Source("neural", i, ONE, Stage.PUPIL, late_s=late_s)
    return found


def _pupil(place: int, field: str) -> dict[str, Source]:
    name, unit = field, GREY if field in _GREY else ONE
    for suffix, its_unit in _SUFFIXES.items():
        if field.endswith(suffix):
            name, unit = field.removesuffix(suffix), its_unit
            break
    sized = unit is PX2 or name in ("long", "short", "blink", "openness", "saturation")
    scored = name.endswith("score")
    source = Source(
        "pupil",
        place,
        unit,
        Stage.PUPIL,
        low=0.0 if sized or scored else -math.inf,
        high=1.0 if scored else math.inf,
        frames_late=3.0 if "_smooth" in name else 0.0,
        eye_open=name not in _SHUT_TOO,
    )
    return {f"pupil.{name}": source}
