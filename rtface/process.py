"""One child process of the supervisor: how it is started, told and heard."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any


class ChildDied(Exception):
    """A child ended that should not have; the message is the line to show."""


# Ctrl-C is for the supervisor alone, which then ends its children in order
if sys.platform == "win32":
    _PROCESS_GROUP = None
    _CREATION_FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _PROCESS_GROUP = 0
    _CREATION_FLAGS = 0


#: states of a child that is gone
#: a process that was killed is waited for so long, s
KILLED_WITHIN_S = 1.0
ENDED = ("ended", "died", "killed")


@dataclass
class Process:
    """One child: its process, the last it said, and what became of it."""

    role: str
    camera: str
    popen: subprocess.Popen[bytes]
    state: str = "starting"
    armed: bool = False  # its camera exposes, or waits for triggers
    arming_orders: int = 0  # to arm or disarm its rules, passed to it
    counts: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] | None = None  # what it said when it was ready
    error: str | None = None

    @property
    def name(self) -> str:
        """As shown to people: role and camera (the recorder serves all)."""
        return f"{self.role} {self.camera}".strip()

    @property
    def may_be_armed(self) -> bool:
        """Whether a tracker's rules are armed, or may be by now without another order.

        What it says counts once it has heard all that it was told.
        """
        loop = self.counts.get("loop")
        if loop is None or loop["orders"] < self.arming_orders:
            return True
        return bool(loop["armed"] or loop["arms_itself"])

    def kill(self) -> None:
        """End it without asking; one that a driver or a disk holds fast is left to the system."""
        self.popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(KILLED_WITHIN_S)
        self.state = "killed"

    def order(self, cmd: str, **fields: Any) -> bool:
        """Send an order; False if the child does not take it. Never waits.

        A child that is gone is noticed elsewhere.
        """
        return _write_line(self.popen, {"cmd": cmd, **fields})


#: what children said, oldest first; None when a child has ended
Reports = queue.SimpleQueue[tuple[Process, dict[str, Any] | None]]


def spawn(role: str, camera: str, job: dict[str, Any], reports: Reports) -> Process:
    """Start ``python -m rtface.<role>``, give it its job, and collect what it says."""
    wake = job["wake"]
    popen = subprocess.Popen(
        # -P: files in the user's folder must not stand in for modules of the library
        [sys.executable, "-P", "-m", f"rtface.{role}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=() if wake is None else (wake,),
        process_group=_PROCESS_GROUP,
        creationflags=_CREATION_FLAGS,
        # a second thread for sums of a frame's size spends its time waiting, on a core of others
        env={"OPENBLAS_NUM_THREADS": "1", **os.environ},
    )
    process = Process(role, camera, popen)
    _write_line(popen, job)
    if sys.platform != "win32" and popen.stdin:
        os.set_blocking(popen.stdin.fileno(), False)  # a child that stands still must not stop us
    threading.Thread(target=_listen, args=(process, reports), daemon=True).start()
    return process


def _write_line(popen: subprocess.Popen[bytes], message: dict[str, Any]) -> bool:
    """Write one line past the file object, which would try again at exit what failed here.

    Whole or not at all: a line of up to 4096 bytes (PIPE_BUF) is never cut by a full pipe.
    """
    if popen.stdin:
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(popen.stdin.fileno(), json.dumps(message).encode() + b"\n")
            return True
    return False


def _listen(process: Process, reports: Reports) -> None:
    """Read a child's reports until its end of the pipe closes, in a thread of its own."""
    if process.popen.stdout:
        for text in process.popen.stdout:
            with contextlib.suppress(ValueError):
                reports.put((process, json.loads(text)))
    process.popen.wait()
    reports.put((process, None))
