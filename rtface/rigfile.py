"""A rig file on disk, changed in place: areas of a camera, and nothing else of it.

Comments, order and spelling stay as they are. What is written was read and checked first; a file
that somebody else has changed meanwhile is left alone.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import os
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit
from tomlkit.exceptions import TOMLKitError

from rtface.camera_config import AnyCamera
from rtface.config import Rig, parse_rig
from rtface.types import BBox, UserError

#: rectangles of one area: left, top, width, height, px
Boxes = list[list[int]]
BACKUP = ".bak"


class Place(NamedTuple):
    """Where an area stands in a camera's section, and what it may be.

    Attributes
    ----------
    keys : tuple of str
    most : int
        Rectangles.
    least_px : int
        Of each side.
    needed : bool
        There has to be one.
    """

    keys: tuple[str, ...]
    most: int = 1
    least_px: int = 16
    needed: bool = False


#: areas by the names that the control port has for them
AREAS = {
    "bbox": Place(("bbox",)),
    "roi": Place(("motion", "roi"), most=8, least_px=1),
    "pupil": Place(("pupil", "box"), least_px=8),
    "running": Place(("running", "box"), needed=True),
}


def areas_of(section: AnyCamera) -> dict[str, Boxes]:
    """Return the areas that a camera's section may have, with those that it has."""
    found: dict[str, Boxes] = {"bbox": [list(section.bbox)] if section.bbox else []}
    if section.motion and section.motion.masks is None:
        found["roi"] = [list(roi) for roi in section.motion.roi]
    if section.pupil:
        found["pupil"] = [list(section.pupil.box)] if section.pupil.box else []
    if section.running:
        found["running"] = [list(section.running.box)]
    return found


def read_boxes(text: str) -> Boxes:
    """Return rectangles from ``left,top,width,height;...``; ``none`` is none."""
    if text == "none":
        return []
    return [[int(number) for number in box.split(",")] for box in text.split(";")]


def check_areas(
    section: AnyCamera, camera: str, wanted: Mapping[str, Boxes], height: int, width: int
) -> None:
    """Raise UserError unless a camera of this size, px, can have these areas."""
    there = areas_of(section)
    for name, boxes in wanted.items():
        place = AREAS[name]
        key = ".".join(("camera", camera, *place.keys))
        if name not in there:
            table = f"[camera.{camera}.{place.keys[0]}]"
            masked = name == "roi" and section.motion
            why = "its masks have areas of their own" if masked else f"there is no {table}"
            raise UserError(f"{key}: cannot be set: {why}")
        if len(boxes) > place.most or (place.needed and not boxes):
            raise UserError(f"{key}: {len(boxes)} given; it has {place.most} at most")
        if name == "pupil" and not boxes and section.pupil and section.pupil.reflections != "auto":
            raise UserError(f"{key}: reflections need a box; give one, or take them out")
        for box in boxes:
            text = f"{key}: {','.join(map(str, box))}"
            if not BBox(*box).fits(height, width):
                raise UserError(f"{text} reaches beyond the frame of {width}x{height} px")
            if min(box[2:]) < place.least_px:
                raise UserError(f"{text} is too small; at least {place.least_px} px a side")


class RigFile:
    """A rig file as it was when it was read. Belongs to one thread at a time.

    Attributes
    ----------
    path : Path
    rig : Rig
        What stands in it now, as far as rtface knows.

    Raises
    ------
    UserError
        It cannot be read.
    """

    def __init__(self, path: Path, rig: Rig) -> None:
        self.path, self.rig = path, rig
        self._digest = _digest(_read(path))
        self._written = False

    def write(self, camera: str, wanted: Mapping[str, Boxes]) -> Path:
        """Put areas of a camera into the file; return where it lies as it was before the first.

        Raises
        ------
        UserError
            The file was changed by somebody else, cannot be written, or would no longer be a rig.
        """
        data = _read(self.path)
        if _digest(data) != self._digest:
            raise UserError(
                f"{self.path}: was changed since this run began; start again, or copy the lines "
                "into it"
            )
        text = data.decode("utf-8-sig")
        new = edited(text.replace("\r\n", "\n"), camera, wanted, self.path)
        rig = parse_rig(tomllib.loads(new), str(self.path), self.path.parent)
        if "\r\n" in text:
            new = new.replace("\n", "\r\n")
        encoded = data[: len(data) - len(text.encode())] + new.encode()  # with its byte order mark
        backup = _replace(self.path, encoded, self._written)
        self.rig, self._digest, self._written = rig, _digest(encoded), True
        return backup


def edited(text: str, camera: str, wanted: Mapping[str, Boxes], path: Path) -> str:
    """Return a rig file's text with these areas; everything else is as it was, and ends a line.

    Raises
    ------
    UserError
        The file is written in a way in which that cannot be done.
    """
    if not text.endswith("\n"):
        text += "\n"  # else a line that is added changes the last one, too
    for name, boxes in wanted.items():
        expected = tomllib.loads(text)
        place = AREAS[name]
        value: Any = boxes if place.most > 1 else boxes[0] if boxes else None
        _put(expected["camera"][camera], place.keys, value)
        for put in (_put_into, _put):
            with contextlib.suppress(TOMLKitError, LookupError, TypeError, ValueError):
                document = tomlkit.parse(text)
                put(document["camera"][camera], place.keys, value)
                new = tomlkit.dumps(document)
                candidates = [new] if put is _put_into else [_moved_up(text, new), new]
                text = next((one for one in candidates if tomllib.loads(one) == expected), text)
            if tomllib.loads(text) == expected:
                break
        else:
            raise UserError(f"{path}: cannot be changed by rtface; copy the lines into it")
    return text


def _put(section: Any, keys: Sequence[str], value: Any) -> None:
    """Put a value into a section, with all that stands around it; None takes it away."""
    for key in keys[:-1]:
        section = section[key]
    if value is None:
        section.pop(keys[-1], None)
    else:
        section[keys[-1]] = value


def _put_into(section: Any, keys: Sequence[str], value: Any) -> None:
    """Put a value into the list that is there, so that its lines and their comments stay.

    Raises
    ------
    LookupError
        There is no list.
    """
    for key in keys:
        section = section[key]
    if value is None:
        raise LookupError(keys[-1])
    old = section.unwrap()
    if not all(isinstance(box, list) for box in value):
        for i, number in enumerate(value):
            section[i] = number
        return
    # whole rectangles that stay keep their comments, wherever others went
    matcher = difflib.SequenceMatcher(None, list(map(tuple, old)), list(map(tuple, value)), False)
    for _, first, end, begin, stop in reversed(matcher.get_opcodes()):
        both = min(end - first, stop - begin)
        for i in range(both):
            for j, number in enumerate(value[begin + i]):
                section[first + i][j] = number
        for i in reversed(range(first + both, end)):
            del section[i]
        for i in reversed(range(begin + both, stop)):
            section.insert(first + both, value[i])


def _moved_up(old: str, new: str) -> str:
    """Return ``new`` with the one line that was added right below a key, not below comments.

    Tables that are commented out often follow a camera's: a key below them would become theirs as
    soon as they are not.
    """
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    if len(after) != len(before) + 1:
        return new
    pairs = itertools.zip_longest(before, after)
    at = next(i for i, (one, other) in enumerate(pairs) if one != other)
    line, to = after.pop(at), at
    while to and (not after[to - 1].strip() or after[to - 1].lstrip().startswith("#")):
        to -= 1
    after.insert(to, line)
    return "".join(after)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _replace(path: Path, data: bytes, again: bool) -> Path:
    """Replace a file in one step and return where its backup lies; UserError if it cannot be.

    ``again``: the backup is that of the first time.
    """
    path = path.resolve()  # a link stays one
    backup, fresh = path.with_name(path.name + BACKUP), path.with_name(f".{path.name}.new")
    try:
        if not os.access(path, os.W_OK):
            raise PermissionError(0, "it is read-only")
        try:
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, fresh)
            if not (again and backup.exists()):
                shutil.copyfile(path, backup)
                shutil.copystat(path, backup)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); copy the lines into it"
        ) from None
    return backup
