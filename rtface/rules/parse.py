"""The text of an expression as a tree. Nothing of it is ever run as Python.

::

    condition = sum ( ">" | "<" ) sum
    sum       = product { ( "+" | "-" ) product }
    product   = factor { ( "*" | "/" ) factor }
    factor    = "-" factor | "(" sum ")" | number | function "(" sum { "," sum } ")" | name
    number    = 12.5, also with a unit: 12.5 px/s
    name      = a keypoint, a keypoint's .x .y .score, a signal of the frame, or one of the rig's

Keypoints stand as the network calls them, ``nose(tip)``; odd names in quotes, ``'left ear'.x``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence

from rtface.rules.tree import Call, Condition, Name, Number, Point, Tree
from rtface.rules.units import ONE, WRITTEN, S
from rtface.types import UserError

#: functions and how many arguments each takes, least and most
FUNCTIONS = {
    "speed": (1, 1),
    "distance": (2, 2),
    "angle": (3, 3),
    "azimuth": (2, 8),
    "depth": (2, 2),
    "rate": (1, 1),
    "z": (2, 2),
    "smooth": (2, 2),
    "one_euro": (3, 3),
    "phase": (2, 3),
    "amplitude": (2, 2),
    "setpoint": (2, 2),
    "forecast": (2, 3),
    "abs": (1, 1),
    "min": (2, 8),
    "max": (2, 8),
}
MAX_LENGTH, MAX_DEPTH = 500, 30

_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?!\w|\.)|(?:\d+\.?\d*|\.\d+)")
_UNIT = re.compile(rf"\s*({'|'.join(sorted(WRITTEN, key=len, reverse=True))})(/s)?(?![\w])")
_UNKNOWN_UNIT = re.compile(r"\s*\w+")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*(?:\[\d{1,6}\])?")
_LIKE_A_KEYPOINT = re.compile(r"[A-Za-z_]\w*\([^()<>]*\)")
_PART = re.compile(r"\.(x|y|score)(?!\w)")


class Marked(UserError):
    """A fault in an expression: one line, and below it the expression with the place marked.

    ``whose``: the named signals on the way to it, innermost first.
    """

    def __init__(self, text: str, start: int, end: int, message: str, whose: str = "") -> None:
        self.text, self.start, self.end, self.message = text, start, end, message
        shown = "".join(c if c.isprintable() else " " for c in text)
        marks = "^" * max(1, min(end, len(shown)) - start)
        where = f"{whose}: " if whose else ""
        super().__init__(f"{where}{message}\n    {shown}\n    {' ' * start}{marks}")
        self.whose = whose

    def within(self, key: str) -> Marked:
        """Return the same fault, named as that of a key unless it is already named."""
        return Marked(self.text, self.start, self.end, self.message, self.whose or key)


def parse(text: str, keypoints: Sequence[str]) -> Tree:
    """Return the tree of an expression; ``Marked`` (a UserError) says where it is wrong."""
    parser = _Parser(text, keypoints)
    tree = parser.sum()
    parser.end()
    return tree


def parse_condition(text: str, keypoints: Sequence[str]) -> Condition:
    """Return the trees of a comparison; ``Marked`` (a UserError) says where it is wrong."""
    parser = _Parser(text, keypoints)
    left = parser.sum()
    start = parser.at
    if not (sign := parser.take("<>")):
        parser.fault(parser.at, parser.at + 1, "a comparison is needed here: > or <")
    if parser.take("="):
        parser.fault(start, start + 2, "use > or < alone; of measured numbers none are equal")
    right = parser.sum()
    parser.end()
    return Condition(left, sign == ">", right, start)


def suggestion(text: str, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` if a known name is like it, else which there are."""
    known = list(known)
    if close := difflib.get_close_matches(text, known, 1, 0.5):
        return f"; did you mean {close[0]}?"
    shown = ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")
    return f"; there are: {shown}" if shown else "; there is none"


class _Parser:
    def __init__(self, text: str, keypoints: Sequence[str]) -> None:
        self.text, self.at, self._depth = text, 0, 0
        self._rows = {name: row for row, name in enumerate(keypoints)}
        self._longest_first = sorted(self._rows, key=len, reverse=True)
        if len(text) > MAX_LENGTH:
            raise UserError(f"has {len(text)} characters; {MAX_LENGTH} are allowed")
        self._skip()

    def fault(self, start: int, end: int, message: str) -> None:
        """Refuse the expression."""
        raise Marked(self.text, start, end, message)

    def take(self, symbols: str) -> str:
        """Return the next character if it is one of these, and pass over it."""
        if self.at < len(self.text) and self.text[self.at] in symbols:
            self.at += 1
            symbol = self.text[self.at - 1]
            self._skip()
            return symbol
        return ""

    def end(self) -> None:
        """Refuse anything that is left."""
        if self.at < len(self.text):
            self.fault(self.at, self.at + 1, "not understood from here on; + - * / ( ) , are known")

    def sum(self) -> Tree:
        left = self._product()
        while sign := self.take("+-"):
            right = self._product()
            left = Call(sign, (left, right), left.start, right.end)
        return left

    def _product(self) -> Tree:
        left = self._factor()
        while sign := self.take("*/"):
            right = self._factor()
            left = Call(sign, (left, right), left.start, right.end)
        return left

    def _factor(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.fault(self.at, self.at + 1, f"nested more than {MAX_DEPTH} deep")
        start = self.at
        if self.take("-"):
            inner = self._factor()
            tree: Tree = Call("neg", (inner,), start, inner.end)
        elif self.take("("):
            tree = self.sum()
            self._close(start)
        else:
            tree = self._atom()
        self._depth -= 1
        return tree

    def _close(self, start: int) -> int:
        end = self.at + 1
        if not self.take(")"):
            self.fault(start, start + 1, "this bracket is not closed")
        return end

    def _atom(self) -> Tree:
        start = self.at
        if found := _NUMBER.match(self.text, start):
            return self._number(found)
        row = self._keypoint()
        if row is not None:
            part = _PART.match(self.text, self.at)
            end = self._pass(part.end() if part else self.at)
            return Point(row, part[1] if part else "", start, end)
        if name := _NAME.match(self.text, start):
            after = name.end()
            while after < len(self.text) and self.text[after].isspace():
                after += 1
            if self.text[after : after + 1] == "(":
                return self._call(name[0], after)
            return Name(name[0], start, self._pass(name.end()))
        if start >= len(self.text):
            self.fault(start, start + 1, "something is missing here")
        self.fault(start, start + 1, "a number, a signal or a function is expected here")
        raise AssertionError

    def _number(self, found: re.Match[str]) -> Number:
        start, value, unit = self.at, float(found[0]), ONE
        end = found.end()
        if written := _UNIT.match(self.text, end):
            scale, unit = WRITTEN[written[1]]
            value, end = value * scale, written.end()
            if written[2]:
                unit = unit.over(S)
        elif wrong := _UNKNOWN_UNIT.match(self.text, end):
            units = ", ".join(WRITTEN)
            self.fault(start, wrong.end(), f"unknown unit; there are {units}, also with /s")
        if not math.isfinite(value):
            self.fault(start, end, "this number is too large")
        return Number(value, unit, start, self._pass(end))

    def _keypoint(self) -> int | None:
        """Return the row of the keypoint that begins here, and pass over it."""
        text, at = self.text, self.at
        if text[at : at + 1] in ("'", '"'):
            end = text.find(text[at], at + 1)
            if end < 0:
                self.fault(at, at + 1, "this quote is not closed")
            name = text[at + 1 : end]
            if name not in self._rows:
                self.fault(at, end + 1, f"no keypoint '{name}'{suggestion(name, self._rows)}")
            self.at = end + 1
            return self._rows[name]
        for name in self._longest_first:
            end = at + len(name)
            if text.startswith(name, at) and not re.match(r"\w|\(", text[end : end + 1]):
                self.at = end
                return self._rows[name]
        return None

    def _call(self, name: str, opening: int) -> Call:
        start = self.at
        if name not in FUNCTIONS:
            like = _LIKE_A_KEYPOINT.match(self.text, start)
            whole = like[0] if like else name
            known = [*self._rows, *FUNCTIONS]
            self.fault(
                start,
                start + len(whole),
                f"no keypoint or function '{whole}'{suggestion(whole, known)}",
            )
        self.at = opening
        self.take("(")
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        end = self._close(opening)
        least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            self.fault(start, end, f"{name} takes {wanted} arguments, not {len(arguments)}")
        return Call(name, tuple(arguments), start, end)

    def _pass(self, end: int) -> int:
        self.at = end
        self._skip()
        return end

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
