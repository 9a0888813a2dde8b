"""Hands what the rings and the ports tell to every viewer, at most so often a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from rtface.types import UserError
from rtface.view.judge import judge
from rtface.view.link import SILENT_S, RunLink
from rtface.view.past import Past
from rtface.view.source import Source
from rtface.view.viewer import Viewer

#: statuses that are compared with the newest, one a second
REMEMBERED = 10
#: viewers that may be paused at a time: each holds up to 30 MB
MOST_PAUSED = 4
#: how long the results of the newest frames are waited for, s
RESULTS_WAIT_S = 0.4


class Hub:
    """Viewers and sources. Belongs to one event loop.

    Parameters
    ----------
    link : RunLink
    rate_hz : float
        Pictures and batches of rows a second, at most.
    most_viewers : int
    """

    def __init__(self, link: RunLink, rate_hz: float, most_viewers: int) -> None:
        self.link = link
        self.viewers: set[Viewer] = set()
        self.sources: dict[str, Source] = {}
        self._period_s = 1 / rate_hz
        self._most_viewers = most_viewers
        self._runs = 0
        self._before: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._metas_sent: dict[str, dict[str, Any]] = {}
        self._told_status: tuple[float, bool] = (0.0, False)
        self._pausing = 0

    # --- viewers ---

    def join(self) -> Viewer:
        """Return a new viewer.

        Raises
        ------
        UserError
            There are too many.
        """
        if len(self.viewers) >= self._most_viewers:
            raise UserError(
                f"{len(self.viewers)} viewers are connected, the most this page serves; "
                "close one, or start it with more --viewers"
            )
        viewer = Viewer()
        self.viewers.add(viewer)
        self._tell_status(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        viewer.close()
        viewer.keep({})
        self.viewers.discard(viewer)

    def watch(self, viewer: Viewer, camera: str) -> None:
        """Show a viewer this camera; an unknown one stands for the first."""
        cameras = list(self.link.status.get("cameras", {}))
        viewer.camera = camera if camera in cameras else next(iter(cameras), "")
        viewer.keep({})
        viewer.rows_from(self.sources.get(viewer.camera))
        self._tell_meta(viewer)
        self._tell_status(viewer)

    async def pause(self, viewer: Viewer) -> list[int]:
        """Keep the ring's last seconds for a viewer; return the frames that there are.

        Raises
        ------
        UserError
            No run is seen, or too many are paused already.
        """
        source = self.sources.get(viewer.camera)
        if source is None:
            raise UserError("there is no run to step back in")
        if self._pausing + sum(bool(one.past) for one in self.viewers) >= MOST_PAUSED:
            raise UserError(f"{MOST_PAUSED} viewers are paused already; let one of them go on")
        self._pausing += 1
        try:
            past = await asyncio.to_thread(
                Past,
                viewer.camera,
                source.session,
                source.run,
                source.t0_ns,
                lambda: viewer.closed,
            )
            await results_of(source, past.last)
            rows = source.rows.part(source.rows.oldest, source.rows.count)
            await asyncio.to_thread(past.encode, rows)
        except FileNotFoundError:
            raise UserError("the run has just ended") from None
        finally:
            self._pausing -= 1
        if not viewer.closed:
            viewer.keep(past.pictures)
        return list(past.pictures)

    def heard_status(self) -> dict[str, Any]:
        """Return the newest status; empty if none came lately."""
        return self.link.status if self.link.silent_s < SILENT_S else {}

    # --- its own task ---

    async def run(self) -> None:
        """Serve viewers until cancelled."""
        due = time.monotonic()
        try:
            while True:
                self.turn()
                due = max(due + self._period_s, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
        finally:
            for source in self.sources.values():
                source.close()

    def turn(self) -> None:
        """Look at everything once."""
        self._follow_run()
        self._tell_changes()
        for camera, source in self.sources.items():
            watching = [viewer for viewer in self.viewers if viewer.camera == camera]
            if not watching:
                source.sleep()
                continue
            source.take()
            for viewer in watching:
                viewer.rows_from(source)
            eager = [viewer for viewer in watching if viewer.wants_picture]
            if eager and (picture := source.picture()):
                for viewer in eager:
                    viewer.show(picture)

    def _follow_run(self) -> None:
        """Open the rings of the run that the ports tell of, and close those of another."""
        session = self.link.status.get("session")
        for camera, source in list(self.sources.items()):
            if source.session != session:
                source.close()
                del self.sources[camera]
        for camera, meta in self.link.metas.items():
            fits = meta.get("session") == session and self.link.status.get("lifecycle") == "running"
            if fits and camera not in self.sources:
                with contextlib.suppress(FileNotFoundError, ValueError, UserError):
                    self.sources[camera] = Source(camera, meta, self._runs + 1 & 0xFFFF)
                    self._runs += 1

    def _tell_changes(self) -> None:
        status = self.link.status
        here = bool(status) and self.link.silent_s < SILENT_S
        state = (self.link.heard_s, here)
        if state != self._told_status:
            if here and self.link.heard_s != self._told_status[0]:
                if self._before and self._before[-1].get("session") != status.get("session"):
                    self._before.clear()
                self._before.append(status)
            self._told_status = state
            cameras = status.get("cameras", {})
            for viewer in self.viewers:
                # none yet, or that of an earlier run
                if not viewer.camera or (cameras and viewer.camera not in cameras):
                    self.watch(viewer, "")
                self._tell_status(viewer)
        for camera, source in self.sources.items():
            told = {"run": source.run, "meta": self.link.metas.get(camera)}
            if told != self._metas_sent.get(camera):
                self._metas_sent[camera] = told
                for viewer in self.viewers:
                    if viewer.camera == camera:
                        self._tell_meta(viewer)

    def _tell_meta(self, viewer: Viewer) -> None:
        source = self.sources.get(viewer.camera)
        if source is not None:
            viewer.tell(
                "meta",
                {
                    "meta": self.link.metas.get(viewer.camera),
                    "run": source.run,
                    "columns": source.columns,
                    "camera": viewer.camera,
                },
            )

    def _tell_status(self, viewer: Viewer) -> None:
        status = self.heard_status()
        findings = judge(status, self._before[0] if self._before else {}, viewer.camera)
        viewer.tell(
            "status",
            {
                "status": status,
                "findings": [finding._asdict() for finding in findings],
                "camera": viewer.camera,
                "viewers": len(self.viewers),
                "control": self.link.control,
            },
        )


async def results_of(source: Source, frame_seq: int) -> None:
    """Wait until the result of a frame, or of a later one, was taken up; not for long."""
    until = time.monotonic() + RESULTS_WAIT_S
    while source.newest_frame < frame_seq and time.monotonic() < until:
        await asyncio.sleep(0.01)
