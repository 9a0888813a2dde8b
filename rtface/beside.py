"""What a session has beside frames and results: masks, exposure times, rules and lines."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.config import Rig
from rtface.event_ring import EventRingReader
from rtface.session import layout
from rtface.session.writer import SessionWriter

#: a tracker tells what it decided right after the result of the frame, s
_AFTER_RESULT_S = 0.01


class Kept(NamedTuple):
    """A masks file's bytes, its identity, and if it was made in the run, since which frame."""

    data: bytes
    identity: str
    frame_seq: int | None


class Beside:
    """Keeps masks and events, and puts them into whichever session is open. For one thread.

    Masks are read once: a file that is moved or made anew later is not what the tracker uses.

    Parameters
    ----------
    rig : Rig
    metas : mapping
        What each camera's stream says of itself.
    events : mapping
        The event ring of every camera that has rules.
    """

    def __init__(
        self, rig: Rig, metas: Mapping[str, dict[str, Any]], events: Mapping[str, EventRingReader]
    ) -> None:
        self._events = events
        self._masks: dict[str, Kept] = {}
        #: the last word on each camera's arming: a session that begins later has it, too
        self._arming: dict[str, dict[str, Any]] = {}
        #: exposure times that were set in the run: not those of the rig file
        self._exposures: dict[str, dict[str, Any]] = {}
        self._notes: list[str] = []
        for camera, meta in metas.items():
            motion = rig.camera[camera].motion
            if motion and motion.masks:
                self._read(camera, Path(motion.masks), (meta.get("motion") or {}).get("masks"))

    @property
    def lost(self) -> int:
        """Events that were overwritten before they were read."""
        return sum(ring.lost for ring in self._events.values())

    def meta(self, camera: str, meta: dict[str, Any]) -> dict[str, Any]:
        """Return what stands in ``session.json``: with the masks that the camera has by now."""
        made = self._masks.get(camera)
        if made is None or made.frame_seq is None:
            return meta
        return {**meta, "motion": {**meta["motion"], "masks": made.identity}}

    def begin(self, session: SessionWriter, t_host_ns: int) -> None:
        """Put what is known so far into a session that begins; OSError if the disk refuses."""
        for camera, made in self._masks.items():
            _put(session, camera, made, t_host_ns)
        for camera, event in self._arming.items():
            _tell(session, camera, event)
        for told in self._exposures.values():
            session.event("exposure", t_host_ns, **told)
        for note in self._notes:
            session.event("annotation", t_host_ns, text=note)

    def masks(
        self, session: SessionWriter | None, camera: str, order: dict[str, Any], t_host_ns: int
    ) -> None:
        """Keep masks that were made in the run, for this session and those to come."""
        noted = len(self._notes)
        frame_seq = int(order["frame_seq"])
        self._read(camera, Path(order["path"]), order["identity"], frame_seq)
        if session is None:
            return
        if len(self._notes) > noted:
            session.event("annotation", t_host_ns, text=self._notes[-1])
        elif camera in self._masks:
            _put(session, camera, self._masks[camera], t_host_ns)

    def exposure(
        self, session: SessionWriter | None, order: dict[str, Any], t_host_ns: int
    ) -> None:
        """Note an exposure time that was set, for this session and those to come."""
        told = {key: order[key] for key in ("camera", "asked_us", "exposure_us")}
        told["text"] = f"{told['camera']}: {told['exposure_us']:g} us"
        self._exposures[order["camera"]] = told
        if session is not None:
            session.event("exposure", t_host_ns, **told)

    def _read(
        self, camera: str, path: Path, identity: str | None, frame_seq: int | None = None
    ) -> None:
        try:
            data = path.read_bytes()
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                found = str(file["identity"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            self._notes.append(f"{path}: the masks of {camera} cannot be kept ({error})")
            return
        if found != identity:
            self._notes.append(f"{path}: is no longer what {camera}'s components are of")
            return
        self._masks[camera] = Kept(data, found, frame_seq)

    def take(self, session: SessionWriter | None, last: bool = False) -> None:
        """Take in what happened since; with ``last`` also what is about to be told.

        Decisions belong to the session that has their frame, or to none.
        """
        if last and self._events and session is not None:
            time.sleep(_AFTER_RESULT_S)
        for camera, ring in self._events.items():
            for event in ring.new():
                if event["kind"] == "rules" and not event.get("rule"):
                    self._arming[camera] = event
                if session is not None and _belongs(event, session, camera):
                    _tell(session, camera, event)


def _belongs(event: dict[str, Any], session: SessionWriter, camera: str) -> bool:
    if event["kind"] != "decision":
        return True
    writer, seq = session.cameras[camera], int(event["frame_seq"])
    return writer.first <= seq and (writer.last is None or seq <= writer.last)


def _tell(session: SessionWriter, camera: str, event: dict[str, Any]) -> None:
    told = dict(event)
    kind = str(told.pop("kind"))
    when = int(told.get("decided_ns") or told.get("t_ns") or time.perf_counter_ns())
    session.event(kind, when, camera=camera, **told)


def _put(session: SessionWriter, camera: str, made: Kept, t_host_ns: int) -> None:
    """Copy masks into a session, without which its components mean nothing."""
    (session.folder / layout.masks_name(camera)).write_bytes(made.data)
    if made.frame_seq is not None:
        told = {"camera": camera, "identity": made.identity, "frame_seq": made.frame_seq}
        session.event("masks", t_host_ns, **told)
