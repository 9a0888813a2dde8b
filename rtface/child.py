"""What acquisition and tracker processes share: their line to the supervisor, start and end.

The supervisor writes JSON lines to a child's stdin (first its job, then orders) and reads JSON
lines of reports from its stdout. When stdin ends the supervisor is gone, and the child ends too.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from rtface.rings import FrameRingReader
from rtface.types import UserError

#: after the supervisor is gone the loop has this long to close everything in order, s
ORPHAN_GRACE_S = 1.5
#: a busy thread may hold the interpreter for this long before another gets it, s; the default of
#: 5 ms would be in every tail
SWITCH_INTERVAL_S = 1e-4


class Line:
    """The child's end of the line to its supervisor."""

    def __init__(self) -> None:
        # Reports keep the pipe for themselves: whatever a library prints goes to stderr instead.
        self._out = os.dup(1)
        os.dup2(2, 1)
        if sys.platform != "win32":
            os.set_blocking(self._out, False)  # a supervisor that stands still must not stop us
        # Unbuffered: a thread that waits in sys.stdin would hold its lock at interpreter exit.
        self._in = os.fdopen(os.dup(0), "rb", buffering=0)
        self.stopping = False
        #: the supervisor is gone: this process has ``grace_s`` to close everything in order
        self.orphaned = False
        self.grace_s = ORPHAN_GRACE_S
        #: somebody other than the supervisor ended this process
        self.terminated = False
        self._ready = False
        self._orders: deque[dict[str, Any]] = deque()
        text = self._in.readline()
        if not text:  # the supervisor was gone before it could say what to do
            sys.exit(3)
        self.job: dict[str, Any] = json.loads(text)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._in:
            order = json.loads(line)
            if order["cmd"] == "stop":
                self.stopping = True
            else:
                self._orders.append(order)
        self.orphaned = self.stopping = True
        if self._ready:  # else there is nothing yet that is worth closing in order
            time.sleep(self.grace_s)
        os._exit(3)

    def order(self) -> dict[str, Any] | None:
        """Return the next order, or None; never waits."""
        return self._orders.popleft() if self._orders else None

    def report(self, kind: str, **fields: Any) -> None:
        """Tell the supervisor; dropped if nobody reads."""
        self._ready |= kind == "ready"
        line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        # a full or broken pipe means that nobody is listening
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._out, line)


def main(run: Callable[[Line], None]) -> None:
    """Run one child process from its start to its exit code.

    0: ended as asked; 1: a fault of ours (traceback on stderr); 2: a fault the user can mend;
    3: the supervisor is gone; 143: ended by SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's; we are told
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    line = Line()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        line.stopping = line.terminated = True

    signal.signal(signal.SIGTERM, stop)
    try:
        run(line)
        if line.terminated:
            sys.exit(143)
    except UserError as error:
        line.report("error", message=str(error))
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 - the process boundary: everything is reported
        line.report("error", message=f"internal error: {type(error).__name__}: {error}", fault=True)
        with contextlib.suppress(OSError):  # the terminal may be gone, or the log's disk full
            traceback.print_exc()
        sys.exit(1)


def frames_of(line: Line, camera: str) -> FrameRingReader | None:
    """Return a camera's frame ring of this run once it is there; None if told to stop first."""
    while not line.stopping:
        with contextlib.suppress(FileNotFoundError):
            frames = FrameRingReader(camera)
            if frames.session == line.job["session"]:
                return frames
            frames.close()  # left by a run that is just ending
        time.sleep(0.01)
    return None


def quiet_memory() -> None:
    """Stop cyclic garbage collection from pausing the loop; call once everything is built."""
    gc.collect()
    gc.freeze()
    gc.disable()
