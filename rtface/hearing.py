"""What the processes of a run say, and what follows from it."""

from __future__ import annotations

import queue
import time
from typing import Any

from rtface.adjust import Exposures
from rtface.children import Children
from rtface.config import Rig
from rtface.orders import pass_masks, pass_state
from rtface.process import ChildDied, Process
from rtface.types import UserError
from rtface.watch import CameraWatch


class Hearing:
    """Hears all processes of one run. Belongs to the main thread.

    Attributes
    ----------
    faults : list of str
        What went wrong and did not end the run.
    notes : list of str
        What is not as it was asked for, and is no fault.
    recorded : bool
        Whether the recorder was ready: from then on its end does not end the run.
    """

    def __init__(self, rig: Rig, children: Children, exposures: Exposures) -> None:
        self._rig, self._children, self._exposures = rig, children, exposures
        self._watch = CameraWatch()
        self.faults: list[str] = []
        self.notes: list[str] = []
        self.recorded = False

    def take(self) -> bool:
        """Digest what was said since; True if everybody should hear of it at once.

        Raises
        ------
        ChildDied
            A child ended that should not have.
        UserError
            A child met something the user can mend.
        """
        urgent = False
        while True:
            try:
                process, report = self._children.reports.get_nowait()
            except queue.Empty:
                return urgent
            if report is None:
                self._ended(process)
            else:
                urgent |= self._digest(process, report)

    def _digest(self, process: Process, report: dict[str, Any]) -> bool:
        """Take one report; True if everybody should hear of it at once."""
        recorder = self._children.recorder
        kind = report.pop("kind")
        if kind == "counts":
            self._count(process, report)
        elif kind == "error":
            process.error = report["message"]
            if report.get("fault"):
                process.error = f"{process.name}: {process.error}"
        elif kind == "ready":
            process.state, process.info = "running", report
            self.recorded |= process is recorder
        elif kind == "armed":
            process.armed = True
        elif kind == "note":
            self.notes.append(report["text"])
            self._note(report["text"])
        elif kind == "exposure":
            self._exposures.heard(process, report, recorder)
        elif kind == "loop" and process.counts:  # what it says first is whole
            process.counts["loop"] = report["loop"]
        elif kind == "masks":
            pass_masks(process, report, self._children.all, recorder)
        elif kind == "done":
            process.state = "done"
        return bool(kind == "exposure")

    def _count(self, process: Process, report: dict[str, Any]) -> None:
        """Keep a child's counts, and what is new in them."""
        if process.role == "acquire":
            pass_state(self._rig, process, str(report.get("state")), self._children.all)
        process.counts = report
        fault = report.get("fault")
        if fault and fault not in self.faults:
            self.faults.append(fault)
        if process.role == "acquire":
            for text in self._watch.look(process.camera, report):
                self.remark(text)
        elif process.role == "track":
            for text in self._watch.look_at_face(process.camera, report):
                self._note(text)

    def _ended(self, process: Process) -> None:
        code = process.popen.returncode
        if code == 0 and process.state == "done":
            process.state = "ended"
            return
        process.state = process.state if process.state == "killed" else "died"
        recording = process is self._children.recorder and self.recorded
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if process.role == "warm":
            self.remark(process.error or f"{process.name} {how}")
            return
        if process.role == "view":  # nothing hangs on it
            self.notes.append(f"no page: {process.error or f'it {how}'}")
            return
        if process.error and code == 2 and not recording:
            raise UserError(process.error)
        why = process.error or f"{process.name} {how}"
        if recording:
            # the stream is worth more than its recording: go on, and say it
            self.faults.append(f"{why}; the stream went on, 'rtface session repair' mends the rest")
            return
        raise ChildDied(f"{why}; the run was stopped")

    def remark(self, text: str) -> None:
        """Keep what went wrong and did not end the run, here and in the recording."""
        self.faults.append(text)
        self._note(text)

    def _note(self, text: str) -> None:
        """Put what happened into the recording, if there is one."""
        if recorder := self._children.recorder:
            recorder.order("annotate", t_host_ns=time.perf_counter_ns(), text=text)
