"""The processes of a run: started together, ended in order, none left behind."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from typing import Any

from rtface import platform
from rtface.config import Rig
from rtface.orders import masks_to_come
from rtface.process import ENDED, Process, Reports, spawn

#: a child that has not ended this long after it was told to is killed, s
STOP_GRACE_S = 1.5
#: the recorder has longer: what is still in the rings has to be written
RECORD_GRACE_S = 10.0


class Children:
    """All processes of one run. Belongs to the main thread.

    Attributes
    ----------
    all : list of Process
    recorder : Process or None
    reports : Reports
        What they say.
    unclean : int
        Children that had to be killed.
    """

    def __init__(self) -> None:
        self.all: list[Process] = []
        self.recorder: Process | None = None
        self.reports: Reports = queue.SimpleQueue()
        self.unclean = 0
        self._wakes: list[int] = []

    def start(
        self,
        rig: Rig,
        session: str,
        armed: bool,
        label: dict[str, str],
        page: dict[str, Any] | None,
    ) -> None:
        """Start every process that a rig needs; see ``Supervisor`` for the parameters."""
        run: dict[str, Any] = {"rig": rig.model_dump(mode="json"), "session": session}
        for camera in rig.camera:
            wake = platform.Wake.make_descriptor()
            if wake is not None:
                self._wakes.append(wake)
            for role in ("acquire", "track"):
                self._spawn(role, camera, {**run, "camera": camera, "wake": wake, "armed": armed})
            if masks := masks_to_come(rig, camera, session):
                self._spawn("warm", camera, {**run, "camera": camera, "out": str(masks)})
        if rig.record.folder is not None:
            self.recorder = self._spawn("record", "", {**run, "root": rig.record.folder, **label})
        if page:
            self._spawn("view", "", {"settings": page})

    def _spawn(self, role: str, camera: str, job: dict[str, Any]) -> Process:
        process = spawn(role, camera, {"wake": None, **job}, self.reports)
        self.all.append(process)
        return process

    def of(self, *roles: str) -> list[Process]:
        """Return those with one of some roles."""
        return [process for process in self.all if process.role in roles]

    def end(self, failed: bool, listen: Callable[[], None]) -> None:
        """End all within 1.5 s, the recorder within 10 s more, and kill what does not.

        ``listen`` takes what they say meanwhile.
        """
        deadline = time.monotonic() + STOP_GRACE_S
        others = [process for process in self.all if process is not self.recorder]
        # Acquisition first: that closes its ring, and a tracker which has read a closed ring
        # to its end stops with exact counts.
        for process in self.all:
            if process.state == "starting":  # nothing in it is worth waiting for
                process.kill()
        _order_stop(others if failed else self.of("acquire", "view"))
        _wait_for(self.of("acquire"), deadline - 0.7, listen)
        _wait_for(others, deadline - 0.4, listen)
        _order_stop(others)
        _wait_for(others, deadline, listen)
        self._kill_the_rest(others)
        # the recorder last: it takes what the others left in their rings
        _order_stop(self.all)
        _wait_for(self.all, time.monotonic() + RECORD_GRACE_S, listen)
        self._kill_the_rest(self.all)

    def _kill_the_rest(self, processes: list[Process]) -> None:
        for process in processes:
            if process.popen.poll() is None:
                self.unclean += process.role != "view"  # that one may hang on a browser
                process.kill()

    def close(self) -> None:
        """Free what they shared; they have ended."""
        while self._wakes:
            os.close(self._wakes.pop())


def _order_stop(processes: list[Process]) -> None:
    for process in processes:
        process.order("stop")


def _wait_for(processes: list[Process], deadline: float, listen: Callable[[], None]) -> None:
    """Wait until these have ended and all they said was heard."""
    while time.monotonic() < deadline and any(p.state not in ENDED for p in processes):
        listen()
        time.sleep(0.005)
