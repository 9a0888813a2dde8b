"""Orders that are answered once it is known what came of them: areas, a camera's exposure time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent import futures
from typing import Any

from rtface.config import Rig
from rtface.control import ANSWER_WITHIN_S, Outcome
from rtface.motion.binning import roi_area
from rtface.process import Process
from rtface.rigfile import AREAS, Boxes, RigFile, areas_of, check_areas, read_boxes
from rtface.rules_config import rules_of
from rtface.types import UserError


class RigFiles:
    """The rig files of a run, by camera, and a thread that writes into one of them at a time.

    A disk that hangs holds nobody up, an order to disarm or the end of the run least of all.
    """

    def __init__(self, rig: Rig, files: Mapping[str, RigFile]) -> None:
        self._rig, self._files = rig, files
        self._writing: Outcome | None = None

    def state(self, camera: str) -> dict[str, Any]:
        """Return what the status says: the file, and the areas that stand in it now."""
        file = self._files.get(camera)
        section = (file.rig if file else self._rig).camera[camera]
        return {"rig_file": str(file.path) if file else None, "areas": areas_of(section)}

    def write(self, fields: Mapping[str, str], processes: Iterable[Process]) -> Outcome:
        """Have areas of a camera written into its rig file.

        Raises
        ------
        UserError
            There is no such camera or file, the areas cannot be, or one is being written.
        """
        camera = fields["camera"]
        if camera not in self._rig.camera:
            raise UserError(
                f"there is no camera {camera!r}; there are {', '.join(self._rig.camera)}"
            )
        wanted = {name: read_boxes(fields[name]) for name in AREAS if fields[name]}
        if not wanted:
            raise UserError(f"write_rig needs one of {', '.join(AREAS)}")
        file = self._files.get(camera)
        if file is None:
            raise UserError("this run has no rig file to write to; copy the lines into one")
        info = _acquire(processes, camera).info
        assert info is not None
        section, height, width = file.rig.camera[camera], info["height"], info["width"]
        check_areas(section, camera, wanted, height, width)
        for roi in wanted.get("roi", []):
            assert section.motion is not None
            roi_area((roi[0], roi[1], roi[2], roi[3]), height, width, section.motion.bin)
        if self._writing is not None and not self._writing.done():
            raise UserError(f"{file.path}: is just being written")
        self._writing = Outcome()
        arguments = file, camera, wanted, self._writing
        # the interpreter waits for threads of a pool, and so for a disk; not for this one
        threading.Thread(target=_write, args=arguments, name="rig file", daemon=True).start()
        return self._writing

    def close(self) -> None:
        """Give what is being written a moment more; a file is changed whole or not at all."""
        if self._writing is not None:
            futures.wait([self._writing], ANSWER_WITHIN_S)


def _write(file: RigFile, camera: str, wanted: Mapping[str, Boxes], outcome: Outcome) -> None:
    try:
        backup = file.write(camera, wanted)
    except UserError as error:
        outcome.set_exception(error)
    else:
        outcome.set_result({"file": str(file.path), "backup": str(backup)})


class Exposures:
    """Exposure times on their way to cameras and back. Belongs to the supervisor's thread."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._number = itertools.count()
        self._asked: dict[int, tuple[str, float, Outcome]] = {}

    def ask(self, fields: Mapping[str, str], processes: Iterable[Process]) -> Outcome:
        """Have a camera expose for so long; its outcome has what the camera made of it.

        Raises
        ------
        UserError
            There is no such camera, or its rules do not allow it.
        """
        camera, processes = _known(self._rig, fields), list(processes)
        if not fields["us"]:
            raise UserError("exposure needs us, the exposure time in microseconds")
        exposure_us = float(fields["us"])
        section = self._rig.camera[camera]
        if not isinstance(section.exposure_us, float):
            for key, how in (("latency", "measured"), ("delay_err_us", "declared")):
                if getattr(section, key) is not None:
                    raise UserError(
                        f"camera.{camera}.{key}: its delay was {how} with the exposure as it is; "
                        "write exposure_us into the rig file"
                    )
        self._heed_rules(camera, exposure_us, processes)
        now = time.monotonic()
        if any(asked == camera and until > now for asked, until, _ in self._asked.values()):
            raise UserError(f"camera {camera}: an exposure time is just being set")
        acquire, number, outcome = _acquire(processes, camera), next(self._number), Outcome()
        if not acquire.order("exposure", id=number, us=exposure_us):
            raise UserError(f"camera {camera} does not listen; its exposure time is as it was")
        self._asked[number] = (camera, now + ANSWER_WITHIN_S, outcome)
        return outcome

    def _heed_rules(self, camera: str, exposure_us: float, processes: Iterable[Process]) -> None:
        """Raise UserError if rules look at this camera that were made for another exposure time."""
        rules = rules_of(self._rig, camera)
        for name, rule in rules.items():
            if rule.hazard:
                raise UserError(
                    f"rule.{name}: hazard = true: its rig was accepted with its exposure time; "
                    "change that in the rig file and accept it again"
                )
        if not rules:
            return
        if any(p.may_be_armed for p in processes if (p.role, p.camera) == ("track", camera)):
            raise UserError(
                "rules are armed, or may be by now, and another exposure is another picture; "
                "disarm first"
            )
        declared = self._rig.camera[camera].exposure_us
        if isinstance(declared, float) and exposure_us > declared:
            raise UserError(
                f"camera.{camera}.exposure_us = {declared:g}: its rules leave out frames that saw "
                "their light for so long and no longer; write the longer time into the rig file"
            )

    def refuse_arming(self) -> None:
        """Raise UserError while a camera that rules look at has not said what it exposes for."""
        for camera, _, _ in self._asked.values():
            if rules_of(self._rig, camera):
                raise UserError(
                    f"camera {camera}: an exposure time is just being set, and another exposure "
                    "is another picture; arm again once the camera has answered"
                )

    def heard(self, acquire: Process, report: dict[str, Any], recorder: Process | None) -> None:
        """Take in what became of one."""
        number, exposure = int(report["id"]), report.get("exposure")
        camera, _, outcome = self._asked.pop(number, ("", 0.0, Outcome()))
        if exposure is None:
            outcome.set_exception(UserError(str(report["error"])))
            return
        acquire.counts["exposure"] = exposure
        outcome.set_result({"camera": camera, **exposure})
        if recorder:
            told = {"asked_us": report["asked_us"], "exposure_us": exposure["us"]}
            recorder.order("exposure", t_host_ns=report["t_host_ns"], camera=acquire.camera, **told)


def _known(rig: Rig, fields: Mapping[str, str]) -> str:
    """Return the camera that an order names; UserError if there is none."""
    camera = fields["camera"]
    if camera not in rig.camera:
        raise UserError(f"there is no camera {camera!r}; there are {', '.join(rig.camera)}")
    return camera


def _acquire(processes: Iterable[Process], camera: str) -> Process:
    """Return the process of a camera; UserError as long as that is not ready."""
    for process in processes:
        if (process.role, process.camera) == ("acquire", camera) and process.info is not None:
            return process
    raise UserError(f"camera {camera} is not ready yet")
