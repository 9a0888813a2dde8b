"""Pickles of strangers, read without running anything.

A pickle is a program for a machine with a stack. The machine here knows the instructions that
tables of numbers need and makes dicts, lists, tuples, numbers, text and bytes. It never imports and
never calls what a file names: a name that its caller does not know is refused, and what a known
name makes is up to the caller.
"""

from __future__ import annotations

import io
import pickletools
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from rtface.types import UserError


class Refused(Exception):
    """What a pickle asks for is no part of the kind of file that it should be."""


class Name(NamedTuple):
    """Something that a pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file that ``run`` refuses or finds damaged.

    Raises
    ------
    UserError
        Names the file.
    """
    try:
        yield
    except Refused as error:
        raise UserError(f"{path}: refused: {error}; nothing in it was run") from None
    except (
        *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
        *(zlib.error, EOFError, RuntimeError, NotImplementedError, MemoryError),
    ) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: is damaged ({detail}); get it again") from None


def _nothing_outside(_identity: Any) -> Any:
    raise Refused("it refers to something outside itself")


def run(
    program: bytes | IO[bytes],
    kind: str,
    names: Collection[Name],
    made: Callable[[Any, Any], Any],
    built: Callable[[Any, Any], None],
    persistent: Callable[[Any], Any] = _nothing_outside,
) -> Any:
    """Return what a pickle describes.

    Parameters
    ----------
    program : bytes or binary file
        A file is read up to the pickle's end.
    kind : str
        What it should be, for errors: "a table of tensors".
    names : collection of Name
        What it may name.
    made : callable
        Returns what a call of something (a known name, else refuse it) with arguments makes.
    built : callable
        Gives a thing that was made its state, in place.
    persistent : callable
        Returns what an identity outside the pickle stands for.

    Raises
    ------
    Refused
        It asks for an instruction or a name that such a file has no need of.
    Exception
        ValueError, TypeError, LookupError, AttributeError or EOFError: it is damaged.
    """
    file = io.BytesIO(program) if isinstance(program, bytes) else program
    return _Machine(kind, names, made, built, persistent).run(file)


class _Machine:
    """Follows a pickle's instructions, as far as tables of numbers have them."""

    def __init__(
        self,
        kind: str,
        names: Collection[Name],
        made: Callable[[Any, Any], Any],
        built: Callable[[Any, Any], None],
        persistent: Callable[[Any], Any],
    ) -> None:
        self._kind, self._names = kind, names
        self._built = built
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "GLOBAL": lambda names: self._name(*names.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._pop(2)),
            "BINPERSID": lambda _: self._push(persistent(*self._pop(1))),
            "REDUCE": lambda _: self._push(made(*self._pop(2))),
            "BUILD": lambda _: self._build(*self._pop(2)),
            "MARK": lambda _: self._mark(),
            "EMPTY_TUPLE": lambda _: self._push(()),
            "EMPTY_LIST": lambda _: self._push([]),
            "EMPTY_DICT": lambda _: self._push({}),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._push(tuple(self._pop(1))),
            "TUPLE2": lambda _: self._push(tuple(self._pop(2))),
            "TUPLE3": lambda _: self._push(tuple(self._pop(3))),
            "SETITEM": lambda _: self._set(self._pop(2)),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "APPEND": lambda _: self._extend(self._pop(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "NONE": lambda _: self._push(None),
            "NEWTRUE": lambda _: self._push(True),
            "NEWFALSE": lambda _: self._push(False),
            "MEMOIZE": lambda _: self._keep(len(self._memo)),
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
        }
        for name in ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"):
            self._steps[name] = self._push
        for name in ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"):
            self._steps[name] = self._push
        for name in ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"):
            self._steps[name] = self._push
        for name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._steps[name] = self._keep
        for name in ("GET", "BINGET", "LONG_BINGET"):
            self._steps[name] = lambda key: self._push(self._memo[key])

    def run(self, program: IO[bytes]) -> Any:
        """Return what the pickle describes."""
        for code, argument, _ in pickletools.genops(program):
            if code.name == "STOP":
                (result,) = self._stack
                return result
            step = self._steps.get(code.name)
            if step is None:
                raise Refused(f"its pickle uses {code.name}, which {self._kind} does not")
            step(argument)
        raise ValueError("it ends early")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, n: int) -> list[Any]:
        if len(self._stack) < n:
            raise ValueError("nothing left on its stack")
        taken = self._stack[-n:]
        del self._stack[-n:]
        return taken

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _keep(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    def _name(self, module: str, name: str) -> None:
        named = Name(str(module), str(name))
        if named not in self._names:
            raise Refused(f"it asks for {str(named)[:80]!r}, which {self._kind} does not")
        self._push(named)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise Refused("it sets items of something other than a dict")
        target.update(zip(items[0::2], items[1::2], strict=True))

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise Refused("it appends to something other than a list")
        target.extend(items)

    def _build(self, target: Any, state: Any) -> None:
        self._built(target, state)
        self._push(target)
