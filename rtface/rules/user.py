"""A rule that is a function in a file of the user's."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rtface.rules.filters import NAN
from rtface.rules.functions import Sight
from rtface.types import Float32Array, Ledger, Pose, Signals, UserError

#: gets the ledger so far, the pose and the signals; returns True, False or None (not known)
Function = Callable[[Ledger, Pose, Signals], Any]

#: given up after so many frames over its budget in a row, or one so many times over it
OVERRUNS, FAR_OVER = 3, 20


def load_function(path: str, key: str) -> Function:
    """Run a file and return its function ``rule``.

    Raises
    ------
    UserError
        Names the key: the file is not there, fails, or has no such function.
    """
    if not Path(path).is_file():
        raise UserError(f"{key}: there is no file {path}; it is looked for from the rig's folder")
    try:
        found = runpy.run_path(path).get("rule")
    except Exception as error:
        raise UserError(f"{key}: {path} failed: {type(error).__name__}: {error}") from error
    except SystemExit:
        raise UserError(f"{key}: {path} ends the program; take sys.exit out") from None
    if not callable(found):
        raise UserError(f"{key}: {path} has no function named 'rule'; add it")
    function: Function = found
    return function


def read_only(array: Float32Array) -> Float32Array:
    """Return a view that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view


class UserRule:
    """Calls a user's function until it fails or is too slow.

    Parameters
    ----------
    function : callable
    budget_ns : int
        Of one call.
    clock_ns : callable or None
        None: nobody watches the budget.

    Attributes
    ----------
    broken : str
        Why it is not called any more, or empty.
    """

    def __init__(
        self, function: Function, budget_ns: int, clock_ns: Callable[[], int] | None
    ) -> None:
        self._function, self._budget_ns = function, budget_ns
        self._clock_ns = clock_ns or (lambda: 0)
        self._over = 0
        self.broken = ""

    def read(self, sight: Sight) -> float:
        """Return 1, 0 or NaN for what it says of a frame; never raises."""
        if self.broken or sight.frame is None:
            return NAN
        start_ns = self._clock_ns()
        try:
            said = _call(self._function, *sight.frame)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (it may raise anything)
            self.broken = f"{type(error).__name__}: {error}"
            return NAN
        took_ns = self._clock_ns() - start_ns
        self._over = self._over + 1 if took_ns > self._budget_ns else 0
        if self._over >= OVERRUNS or took_ns > FAR_OVER * self._budget_ns:
            budget_us = self._budget_ns / 1e3
            self.broken = f"took {took_ns / 1e3:.0f} us, its budget is {budget_us:.0f} us"
            return NAN
        return said


def _call(function: Function, ledger: Ledger, pose: Pose, signals: Signals) -> float:
    seen = Pose(read_only(pose.keypoints), pose.crop, pose.face)
    views = MappingProxyType({name: read_only(array) for name, array in signals.items()})
    said = function(ledger, seen, views)
    if said is None:
        return NAN
    if isinstance(said, (bool, np.bool_)):
        return 1.0 if said else 0.0
    raise TypeError(f"returned {type(said).__name__}; return True, False or None")
