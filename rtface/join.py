"""Several rig files as one rig: their cameras run under one supervisor and one clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rtface.camera_config import Section
from rtface.config import MAX_CAMERAS, MAX_NAME, Rig, parse_rig
from rtface.types import UserError

#: sections of which a run has one
SHARED = ("engine", "stream", "ring", "record", "loop")
#: tables whose entries have names, of all files together
NAMED = ("signal", "zone", "output", "rule")


def join_rigs(rigs: Sequence[tuple[Path, Rig]]) -> Rig:
    """Return the rig that runs the cameras of all files, in their order.

    A section that one file leaves at its defaults is as another file has it. The name is that of
    all, with '-' between.

    Parameters
    ----------
    rigs : sequence of (path, Rig)
        At least one, as ``load_rig`` returns them.

    Raises
    ------
    UserError
        Two files contradict each other, or have too many cameras together; names both and the key.
    """
    if len(rigs) == 1:
        return rigs[0][1]
    joined = rigs[0][1].model_dump()
    owner = dict.fromkeys(rigs[0][1].camera, rigs[0][0])
    for path, rig in rigs[1:]:
        for camera, section in rig.camera.items():
            if camera in owner:
                raise UserError(
                    f"{owner[camera]} and {path}: camera.{camera} is in both; "
                    "give each camera a name of its own"
                )
            owner[camera] = path
            joined["camera"][camera] = section.model_dump()
    if len(owner) > MAX_CAMERAS:
        files = " and ".join(str(path) for path in dict.fromkeys(owner.values()))
        raise UserError(
            f"{files}: camera: {len(owner)} cameras in all, and at most {MAX_CAMERAS} run "
            "together; leave one out"
        )
    for key in NAMED:
        named: dict[str, Path] = {}
        for path, rig in rigs:
            for name, section in getattr(rig, key).items():
                if name in named:
                    raise UserError(
                        f"{named[name]} and {path}: {key}.{name} is in both; rename one of them"
                    )
                named[name] = path
                joined[key][name] = section.model_dump()
                if key == "rule" and section.camera is None:  # the first of its own file
                    joined[key][name]["camera"] = next(iter(rig.camera))
    for key in SHARED:
        joined[key] = _shared(rigs, key).model_dump()
    names = dict.fromkeys(rig.name for _, rig in rigs)  # files that have none are all called 'rig'
    joined["name"] = "-".join(names)[:MAX_NAME]
    # checked again: with more cameras the ports of one may be those of another
    return parse_rig(joined, " and ".join(str(path) for path, _ in rigs))


def _shared(rigs: Sequence[tuple[Path, Rig]], key: str) -> Section:
    """Return a section of which there is one: that of the file that does not leave it as it is."""
    first, default = rigs[0][0], type(getattr(rigs[0][1], key))()
    chosen: Section = default
    owner: Path | None = None
    for path, rig in rigs:
        section: Section = getattr(rig, key)
        if section == default:
            continue
        if owner is None:
            chosen, owner = section, path
        elif section != chosen:
            one, other = chosen.model_dump(), section.model_dump()
            name = next(name for name in one if one[name] != other[name])
            raise UserError(
                f"{owner} and {path}: {key}.{name}: {one[name]!r} and {other[name]!r}; a run has "
                f"one [{key}]: write the same into both, or leave it out of one"
            )
    if key == "record" and owner not in (None, first) and chosen.model_dump()["start"] == "line":
        # the input line is that of the run's first camera, which is in another file
        raise UserError(
            f"{first} and {owner}: record.start: 'line' of {owner} means a line of its own first "
            f"camera; name {owner} first"
        )
    return chosen
