"""Which of rtface's keypoints a user's keypoint is: by name, by a common variant, or as told."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

from rtface.camera.anatomy import KEYPOINTS
from rtface.types import UserError

_SIDES = {
    "top": ("top", "upper"),
    "bottom": ("bottom", "lower"),
    "front": ("front", "anterior"),
    "back": ("back", "rear", "posterior"),
    "tip": ("tip",),
    "r": ("r", "right"),
}
#: whiskers by number and, as Facemap once named them, by row and arc
_WHISKERS = {"I": ("i", "1", "c1"), "II": ("ii", "2", "d1"), "III": ("iii", "3", "c2", "d2")}


def _variants() -> Iterator[tuple[str, str]]:
    """Yield (letters and digits of a variant, our name)."""
    for name in KEYPOINTS:
        part, _, side = name.rstrip(")").partition("(")
        if not side:
            yield part, name
            continue
        parts = ("eye", "eyelid") if part == "eye" else (part,)
        for one in parts:
            for other in _WHISKERS.get(side) or _SIDES[side]:
                for words in permutations((one, other)):
                    yield "".join(words), name
    yield from (("bottomlip", "lowerlip"), ("bridge", "nosebridge"))


_KNOWN = dict(_variants())


def match_name(theirs: str) -> str | None:
    """Return our name for a user's: ``nose_tip``, ``Eye-Back`` and ``eyeback`` are known.

    Left and right of a picture say nothing about front and back and are not guessed.
    """
    return theirs if theirs in KEYPOINTS else _KNOWN.get(_plain(theirs))


def match_names(
    source: Path, theirs: Sequence[str], given: Mapping[str, str] | None = None
) -> list[str | None]:
    """Return our name for each of ``theirs``; None for those that are left out.

    Parameters
    ----------
    source : Path
        The file they come from, for messages.
    theirs : sequence of str
    given : mapping, optional
        Theirs to ours, before any guess; an empty name leaves a keypoint out, and its own name
        keeps one that rtface does not know.

    Raises
    ------
    UserError
        A name that is not known, one that is given and not there, or two that are the same.
    """
    given = given or {}
    if missing := [name for name in given if name not in theirs]:
        raise UserError(
            f"{source}: has no keypoint {missing[0]!r} that --names or --keep speaks of; "
            f"it has {', '.join(theirs)}"
        )
    ours = [given[name] if name in given else match_name(name) for name in theirs]
    unknown = [name for name, our in zip(theirs, ours, strict=True) if our is None]
    if unknown:
        hints = ", ".join(f"{name!r}{_hint(name)}" for name in unknown)
        first = unknown[0]
        nearest = _nearest(first) or KEYPOINTS[0]
        raise UserError(
            f"{source}: rtface has no keypoint {hints}; say which it is (--names "
            f"'{first}={nearest}'), keep it as one of your own (--keep '{first}') or leave it out "
            f"(--names '{first}=')"
        )
    for name in filter(None, ours):
        if name not in KEYPOINTS and given.get(name) != name:  # kept under its own name
            raise UserError(f"--names: rtface has no keypoint {name!r}{_hint(name)}")
        if ours.count(name) > 1:
            both = [one for one, our in zip(theirs, ours, strict=True) if our == name]
            raise UserError(
                f"{source}: {' and '.join(map(repr, both))} are both {name!r}; "
                f"leave one out (--names '{both[1]}=')"
            )
    if not any(ours):
        raise UserError(f"{source}: --names leaves every keypoint out; keep at least one")
    return [our or None for our in ours]


def parse_names(texts: Iterable[str]) -> dict[str, str]:
    """Return what ``--names`` says: each text is ``theirs=ours,...`` or the path of a TOML file.

    The file has one line ``"theirs" = "ours"`` per keypoint, in a table ``[names]`` or without.
    """
    given: dict[str, str] = {}
    for text in texts:
        pairs = _from_toml(Path(text)) if text.endswith(".toml") else _from_text(text)
        for theirs, ours in pairs:
            if given.setdefault(theirs, ours) != ours:
                raise UserError(f"--names: {theirs!r} is given twice; keep one of them")
    return given


def _from_text(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split(","):
        theirs, equals, ours = pair.partition("=")
        if not (equals and theirs.strip()):
            raise UserError(f"--names: {pair!r} is not 'theirs=ours'; e.g. 'snout=nose(tip)'")
        yield theirs.strip(), ours.strip()


def _from_toml(path: Path) -> Iterator[tuple[str, str]]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check --names") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not TOML ({error}); names with (...) need quotes") from error
    table = table.get("names", table)
    for theirs, ours in table.items() if isinstance(table, dict) else ((path.name, table),):
        if not isinstance(ours, str):
            raise UserError(f'{path}: {theirs!r} is not text; write "{theirs}" = "nose(tip)"')
        yield theirs, ours


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _nearest(name: str) -> str | None:
    near = difflib.get_close_matches(_plain(name), _KNOWN, 1, 0.55)
    return _KNOWN[near[0]] if near else None


def _hint(name: str) -> str:
    nearest = _nearest(name)
    return f" (did you mean {nearest!r}?)" if nearest else ""
