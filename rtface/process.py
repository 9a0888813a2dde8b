"""One child process of the supervisor: how it is started, told and heard."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any


class ChildDied(Exception):
    """A child ended that should not have; the message is the line to show."""


@dataclass
class Process:
    """One child: its process, the last it said, and what became of it."""

    role: str
    camera: str
    popen: subprocess.Popen[bytes]
    state: str = "starting"
    counts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def name(self) -> str:
        """As shown to people: role and camera."""
        return f"{self.role} {self.camera}"

    def order(self, cmd: str) -> None:
        """Send an order; a child that is gone is noticed elsewhere."""
        stdin = self.popen.stdin
        with contextlib.suppress(BrokenPipeError, ValueError):
            if stdin:
                stdin.write(json.dumps({"cmd": cmd}).encode() + b"\n")
                stdin.flush()


#: what children said, oldest first; None when a child has ended
Reports = queue.SimpleQueue[tuple[Process, dict[str, Any] | None]]


def spawn(role: str, camera: str, job: dict[str, Any], reports: Reports) -> Process:
    """Start ``python -m rtface.<role>``, give it its job, and collect what it says."""
    wake = job["wake"]
    popen = subprocess.Popen(
        [sys.executable, "-m", f"rtface.{role}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=() if wake is None else (wake,),
        # Ctrl-C is for the supervisor alone, which then ends its children in order
        process_group=None if sys.platform == "win32" else 0,
    )
    process = Process(role, camera, popen)
    with contextlib.suppress(BrokenPipeError):
        if popen.stdin:
            popen.stdin.write(json.dumps(job).encode() + b"\n")
            popen.stdin.flush()
    threading.Thread(target=_listen, args=(process, reports), daemon=True).start()
    return process


def _listen(process: Process, reports: Reports) -> None:
    """Read a child's reports until its end of the pipe closes, in a thread of its own."""
    if process.popen.stdout:
        for text in process.popen.stdout:
            with contextlib.suppress(ValueError):
                reports.put((process, json.loads(text)))
    process.popen.wait()
    reports.put((process, None))
