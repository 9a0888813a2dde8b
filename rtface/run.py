"""The supervisor: starts acquisition and tracker processes, watches them, answers for them."""

from __future__ import annotations

import contextlib
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from rtface import platform, wire
from rtface.adjust import Exposures, RigFiles
from rtface.children import RECORD_GRACE_S, Children
from rtface.config import Rig
from rtface.control import Control, Outcome
from rtface.hearing import Hearing
from rtface.orders import (
    masks_to_come,
    pass_arming,
    pass_to_recorder,
    pass_trigger,
    refuse_hazard,
)
from rtface.process import ChildDied, Process
from rtface.publish import bind
from rtface.rigfile import RigFile
from rtface.types import UserError

READY_TIMEOUT_S = 60.0
STATUS_EVERY_S = 1.0
TURN_S = 0.05


class Supervisor:
    """Runs one rig. Belongs to the main thread.

    Use ``start``, then ``turn`` until it says that everything ended, then ``stop``, which must be
    called in every case.

    Parameters
    ----------
    rig : Rig
    label : dict, optional
        ``subject`` and ``name`` of the session that is recorded, if one is.
    armed : bool
        Rules fire real lines, from the start on.
    may_arm : callable, optional
        Raises UserError where rules may not be armed with real lines; left out: rules of hazard
        may not.
    page : dict, optional
        Settings of the live page, without its ``control``; left out: there is none.
    files : mapping, optional
        By camera, the rig file it stands in.

    Attributes
    ----------
    session : str
        16 hex digits, new for each run.
    """

    def __init__(
        self,
        rig: Rig,
        label: dict[str, str] | None = None,
        armed: bool = False,
        may_arm: Callable[[], None] | None = None,
        page: dict[str, Any] | None = None,
        files: Mapping[str, RigFile] | None = None,
    ) -> None:
        self.rig = rig
        self._files, self._exposures = RigFiles(rig, files or {}), Exposures(rig)
        self._children = Children()
        self._hearing = Hearing(rig, self._children, self._exposures)
        self._page = page
        self._armed = armed
        self._may_arm = may_arm or (lambda: refuse_hazard(rig))
        self._label = label or {}
        self.session = secrets.token_hex(8)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control: Control | None = None
        self._status_socket: zmq.Socket[bytes] | None = None
        self._status_due = 0.0
        self._status_seq = 0
        self._lifecycle = "starting"
        self._slept_ns = platform.suspended_ns()
        stream = rig.stream
        self.endpoints: dict[str, Any] = {
            "control": f"tcp://{stream.host}:{stream.control_port}",
            "status": f"tcp://{stream.host}:{stream.status_port}",
            "data": {c: f"tcp://{stream.host}:{rig.data_port(c)}" for c in rig.camera},
        }
        if page:
            page["control"] = self.endpoints["control"]

    def start(
        self,
        stop_asked: Callable[[], bool] = lambda: False,
        on_turn: Callable[[Supervisor], None] = lambda _: None,
    ) -> bool:
        """Start everything; True once frames flow, False if ``stop_asked`` came first.

        Raises
        ------
        UserError
            A camera, model or port cannot be used; the message names it.
        """
        if self._armed:
            self._may_arm()
        platform.sweep_stale()
        stream = self.rig.stream
        self._control = Control(self._context, stream.host, stream.control_port)
        socket: zmq.Socket[bytes] = self._context.socket(zmq.PUB)
        bind(socket, stream.host, stream.status_port, "status")
        self._status_socket = socket
        self._children.start(self.rig, self.session, self._armed, self._label, self._page)
        return self._until_running(stop_asked, on_turn)

    def _until_running(
        self, stop_asked: Callable[[], bool], on_turn: Callable[[Supervisor], None]
    ) -> bool:
        """Wait until every process is ready and every camera exposes, or ``stop_asked``."""
        deadline = time.monotonic() + READY_TIMEOUT_S

        def wait_for(done: Callable[[Process], bool], processes: list[Process]) -> bool:
            while not all(done(process) for process in processes):
                if stop_asked():
                    return False
                self.turn()
                on_turn(self)
                if time.monotonic() > deadline:
                    late = ", ".join(p.name for p in processes if not done(p))
                    raise ChildDied(f"{late}: not ready after {READY_TIMEOUT_S:.0f} s")
            return True

        needed = [process for process in self.processes if process.role != "view"]
        if not wait_for(lambda process: process.state != "starting", needed):
            return False
        acquires = self._children.of("acquire")
        for process in acquires:
            process.order("go")
        if not wait_for(lambda process: process.armed, acquires):
            return False
        self._lifecycle = "running"
        self.publish_status()
        return True

    @property
    def faults(self) -> list[str]:
        """What went wrong and did not end the run: the recorder died, or could not go on."""
        return self._hearing.faults

    @property
    def notes(self) -> list[str]:
        """What is not as it was asked for, and is no fault."""
        return self._hearing.notes

    @property
    def processes(self) -> list[Process]:
        """Every process of the run."""
        return self._children.all

    @property
    def _recorder(self) -> Process | None:
        return self._children.recorder

    @property
    def unclean(self) -> int:
        """Children that had to be killed."""
        return self._children.unclean

    @property
    def page(self) -> Process | None:
        """The process of the live page, if there is one."""
        return next(iter(self._children.of("view")), None)

    @property
    def ended(self) -> bool:
        """Whether every child has ended on its own (a video that is not looped)."""
        streams = self._children.of("acquire", "track")
        return all(p.state == "ended" for p in streams)

    def turn(self) -> bool:
        """Do one turn (about 50 ms): reports, requests, status. False once all ended.

        Raises
        ------
        ChildDied
            A child ended that should not have.
        UserError
            A child met something the user can mend.
        """
        urgent = self._hearing.take()
        if self._control:
            self._control.serve(TURN_S, self.status, self.endpoints, self.act)
        if urgent or time.monotonic() >= self._status_due:
            self._look_for_sleep()
            self.publish_status()
        return not self.ended

    def _look_for_sleep(self) -> None:
        """Say it if the machine slept: frames are missing and clocks were found anew."""
        slept_ns = platform.suspended_ns() - self._slept_ns
        if slept_ns > platform.SLEPT_NS:
            self._slept_ns += slept_ns
            self._hearing.remark(f"the machine slept for {slept_ns * 1e-9:.1f} s during the run")

    def act(self, order: str, fields: dict[str, str]) -> Outcome | None:
        """Do what the control port was asked for; UserError says why it cannot be done.

        Returned is what comes of an order that takes a while.
        """
        if order == "write_rig":
            return self._files.write(fields, self.processes)
        if order == "exposure":
            return self._exposures.ask(fields, self.processes)
        if order == "trigger":
            pass_trigger(self.rig, self.processes, fields["camera"])
        elif order in ("arm", "disarm"):
            if order == "arm":
                self._exposures.refuse_arming()
                if self._armed:
                    self._may_arm()
            pass_arming(self.rig, self.processes, order, fields.get("seconds", ""))
        else:
            pass_to_recorder(self._recorder, order, fields)
        return None

    def status(self) -> dict[str, Any]:
        """Return what ``status.`` says: counts, ages, lifecycle and the two clocks together."""
        cameras: dict[str, Any] = {name: self._files.state(name) for name in self.rig.camera}
        for process in self.processes:
            if process.camera:
                cameras[process.camera].update(process.counts)
        recorder = self._recorder
        return {
            "session": self.session,
            "rig": self.rig.name,
            "lifecycle": self._lifecycle,
            "t_host_ns": time.perf_counter_ns(),
            "t_unix_ns": time.time_ns(),
            "cameras": cameras,
            "recording": recorder and {**recorder.counts, "child": recorder.state},
            "children": [
                {"name": p.name, "pid": p.popen.pid, "state": p.state, "error": p.error}
                for p in self.processes
            ],
        }

    def publish_status(self) -> None:
        """Send ``status.`` now and schedule the next."""
        self._status_due = time.monotonic() + STATUS_EVERY_S
        if self._status_socket:
            fields = {"seq": self._status_seq, **self.status()}
            self._status_seq += 1
            self._status_socket.send_multipart(
                wire.encode_map("status.", fields, with_json=True), zmq.NOBLOCK
            )

    def stop(self, failed: bool = False) -> None:
        """End every child within 1.5 s, kill what does not, leave no file; may be called twice."""
        if not self._context.closed:
            self._lifecycle = "failed" if failed else "stopping"
            self.publish_status()
            self._children.end(failed, self._listen)
            if self._recorder and self._recorder.state == "killed" and self._hearing.recorded:
                self.faults.append(
                    f"the recorder was not done after {RECORD_GRACE_S:.0f} s and was killed; "
                    "'rtface session repair' closes its session"
                )
            if not failed:
                self._lifecycle = "ended"
            self.publish_status()
            platform.sweep_stale()
            for camera in self.rig.camera:
                if masks := masks_to_come(self.rig, camera, self.session):
                    masks.unlink(missing_ok=True)
            self._children.close()
            if self._control:
                self._control.close()
            if self._status_socket:
                self._status_socket.close(linger=200)
            self._context.term()
            self._files.close()

    def _listen(self) -> None:
        """Hear what children say while they end, which is no news."""
        with contextlib.suppress(ChildDied, UserError):
            self._hearing.take()


def run_rig(
    rig: Rig,
    stop_asked: Callable[[], bool],
    seconds: float | None = None,
    on_start: Callable[[Supervisor], None] = lambda _: None,
    on_turn: Callable[[Supervisor], None] = lambda _: None,
    label: dict[str, str] | None = None,
    armed: bool = False,
    may_arm: Callable[[], None] | None = None,
    page: dict[str, Any] | None = None,
    files: Mapping[str, RigFile] | None = None,
) -> Supervisor:
    """Run a rig until it ends, ``stop_asked`` says so, or ``seconds`` passed; return it stopped.

    ``label`` has the ``subject`` and ``name`` of the session that is recorded, if one is;
    ``armed`` lets rules fire real lines, from the start on; ``may_arm`` as of ``Supervisor``.
    ``page`` are the settings of the live page; None: there is none. ``files`` as of ``Supervisor``.
    """
    supervisor = Supervisor(rig, label, armed, may_arm, page, files)
    failed = True
    try:
        if supervisor.start(stop_asked, on_turn):
            on_start(supervisor)
            end = time.monotonic() + (math.inf if seconds is None else seconds)
            while not stop_asked() and time.monotonic() < end and supervisor.turn():
                on_turn(supervisor)
        failed = False
    finally:
        supervisor.stop(failed)
    return supervisor
