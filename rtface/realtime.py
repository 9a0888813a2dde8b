"""Real-time priority of this process: it runs as soon as its frame is there."""

from __future__ import annotations

import contextlib
import os
import sys

from rtface.types import UserError


def take_realtime(priority: int) -> None:
    """Give every thread that this process has now ``SCHED_FIFO``; threads made later have it not.

    Parameters
    ----------
    priority : int
        1 to 99; 0 changes nothing.

    Raises
    ------
    UserError
        The system refuses, or has no such thing.
    """
    if not priority:
        return
    if sys.platform != "linux":
        raise UserError("engine.priority: only Linux has SCHED_FIFO; leave it out")
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setscheduler(int(thread), policy, os.sched_param(priority))
    except PermissionError:
        raise UserError(
            f"engine.priority: this user may not take SCHED_FIFO {priority}; "
            "`rtface doctor` says how to allow it, or leave it out"
        ) from None


def give_back_realtime() -> None:
    """Return every thread of this process to the ordinary scheduler."""
    if sys.platform == "linux":
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))
