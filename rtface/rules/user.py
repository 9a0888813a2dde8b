"""A rule that is a function in a file of the user's."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rtface.types import Float32Array, Ledger, Pose, Signals, UserError

#: gets the ledger so far, the pose and the signals; returns True, False or None (not known)
Function = Callable[[Ledger, Pose, Signals], Any]


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


def call(function: Function, ledger: Ledger, pose: Pose, signals: Signals) -> float:
    """Return 1, 0 or NaN for what a user's function says; whatever it raises goes on."""
    seen = Pose(read_only(pose.keypoints), pose.crop, pose.face)
    views = MappingProxyType({name: read_only(array) for name, array in signals.items()})
    said = function(ledger, seen, views)
    if said is None:
        return float("nan")
    if isinstance(said, (bool, np.bool_)):
        return 1.0 if said else 0.0
    raise TypeError(f"returned {type(said).__name__}; return True, False or None")
