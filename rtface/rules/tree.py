"""What an expression consists of, and where in its text each part stands."""

from __future__ import annotations

from dataclasses import dataclass

from rtface.rules.units import Unit


@dataclass(frozen=True, slots=True)
class Number:
    """A constant in the basic units px, s, rad, sd, grey."""

    value: float
    unit: Unit
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Point:
    """A keypoint by its row, or one part of it."""

    row: int
    part: str  # "", "x", "y" or "score"
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    """A signal of the frame or of the rig file."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator (``+ - * /``, ``neg``) and what it is of."""

    function: str
    arguments: tuple[Tree, ...]
    start: int
    end: int


Tree = Number | Point | Name | Call


@dataclass(frozen=True, slots=True)
class Condition:
    """``left > right`` or ``left < right``."""

    left: Tree
    above: bool
    right: Tree
    start: int
