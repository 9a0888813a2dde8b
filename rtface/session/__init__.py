"""Recorded sessions: ``rtface.open_session(path)`` and what it returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtface.session import layout, packets
from rtface.session.events import Event, last_ended, read_events
from rtface.session.layout import About, CameraAbout
from rtface.session.records import RecordFile, Records, expect
from rtface.types import BBox, Float32Array, Image, UserError

if TYPE_CHECKING:
    import pandas

__all__ = ["CameraSession", "Session", "open_session"]


class CameraSession:
    """One camera of a session, read from disk piece by piece. Belongs to one thread.

    Attributes
    ----------
    about : CameraAbout
        Size, rate, and everything its stream said about itself (``meta``).
    names : list of str
        The keypoints.
    results : RecordFile
        ``len(results)``; ``results[a:b]`` is a structured array with ``seq``, the ledger and
        ``keypoints`` (K, 3): x and y in px, score 0 to 1; since format 2 with ``crop`` (4,):
        left, top, width and height of what the network got, px; since format 3 with the signals
        of the rig, float32: ``motion_energy``, ``motion``, ``movie``, ``running``, ``pupil``,
        ``neural``.
    frames : RecordFile
        One record per frame, in order of ``frame_seq``: its stamps, what became of its pixels
        (``status``, see ``Status``) and their place in the video.
    """

    def __init__(self, folder: Path, name: str, about: CameraAbout, format: int) -> None:
        self.name, self.about = name, about
        self.names = about.keypoints
        self._folder = folder
        with ExitStack() as stack:  # closes what was opened if the next cannot be
            self.results = stack.enter_context(RecordFile(folder / layout.results_name(name)))
            self.frames = stack.enter_context(RecordFile(folder / layout.frames_name(name)))
            columns = layout.result_columns(len(self.names), format, about.signals)
            expect(self.results, columns)
            expect(self.frames, layout.FRAME_COLUMNS)
            stack.pop_all()

    def keypoints(self, start: int = 0, stop: int | None = None) -> Float32Array:
        """Return (N, K, 3) float32 of results ``start`` to before ``stop``: x, y (px), score."""
        return layout.keypoints_of(self.results[start:stop])

    def signal(self, name: str, start: int = 0, stop: int | None = None) -> Float32Array:
        """Return (N, C) float32 of a signal of results ``start`` to before ``stop``.

        ``motion_energy``, ``motion``, ``movie``, ``running``, ``pupil`` or ``neural``; what its
        columns are says ``about.meta``.

        Raises
        ------
        UserError
            The rig did not ask for it.
        """
        if name not in self.about.signals:
            has = ", ".join(self.about.signals) or "none"
            raise UserError(f"{self.results.path}: no signal '{name}' was recorded; there is {has}")
        return np.ascontiguousarray(self.results[start:stop][name], np.float32)

    def exposure_s(self, start: int = 0, stop: int | None = None) -> Any:
        """Return (N,) float64: exposure's midpoint of results, s of ``perf_counter``."""
        return self.results[start:stop]["exposure_ns"] * 1e-9

    def daq_s(self, start: int = 0, stop: int | None = None) -> Any:
        """Return (N,) float64: exposure's midpoint of results, s of the neural recording's clock.

        NaN where the recording did not see the frame.

        Raises
        ------
        UserError
            ``rtface sync`` was not run for this camera.
        """
        path = self._folder / layout.sync_name(self.name)
        if not path.exists():
            raise UserError(f"{path}: is not there; 'rtface sync' makes it")
        with RecordFile(path) as file:
            rows = file[:]
        seq = self.results[start:stop]["frame_seq"]
        at = np.searchsorted(rows["frame_seq"], seq)
        at[at == len(rows)] = 0
        return np.where(rows["frame_seq"][at] == seq, rows["t_daq_s"][at], np.nan)

    def images(self) -> Iterator[tuple[Records, Image]]:
        """Yield the record of each frame that is in the video, and its image (H, W).

        A frame that cannot be decoded is passed over: what is yielded always belongs together.

        Raises
        ------
        UserError
            At the end, if frames were passed over in a session that has ended. In one that grows
            or was broken off the last frames may not be in the file yet.
        """
        passed_over = 0
        for path, rows in layout.parts_of(self._folder, self.name):
            wanted = layout.places_of(rows)
            at = 0
            for pts_ms, image in packets.images(path, self.about.shape, wanted):
                while at < len(wanted) and wanted[at][0] < pts_ms:
                    at += 1
                    passed_over += 1
                if at < len(wanted) and wanted[at][0] == pts_ms:
                    yield rows[at], image
                    at += 1
            passed_over += len(wanted) - at
        if passed_over and last_ended(read_events(self._folder / layout.EVENTS)[0]):
            raise UserError(
                f"{self.frames.path}: {passed_over} frames of the video cannot be decoded; 'rtface "
                "session repair' puts that on record"
            )

    def to_pandas(self, start: int = 0, stop: int | None = None) -> pandas.DataFrame:
        """Return results as a table, indexed by ``seq``.

        The ledger, x, y and score of each keypoint by name, the crop, motion energy of each area
        and everything about the pupil; components are many: see ``signal``. Needs pandas.
        """
        try:
            import pandas
        except ImportError:
            raise UserError("tables need pandas; pip install pandas") from None
        records = self.results[start:stop]
        columns = {c.name: records[c.name] for c in self.results.columns if not c.shape}
        xy = layout.keypoints_of(records)
        for k, name in enumerate(self.names):
            for axis, letter in enumerate(("x", "y", "score")):
                columns[f"{name}_{letter}"] = xy[:, k, axis]
        if any(column.name == "crop" for column in self.results.columns):
            for axis, letter in enumerate(BBox._fields):
                columns[f"crop_{letter}"] = records["crop"][:, axis]
        for name, key, words in layout.told_columns(self.about):
            columns |= {f"{name}{w}": records[key][:, i] for i, w in enumerate(words)}
        return pandas.DataFrame(columns).set_index("seq")

    def close(self) -> None:
        """Close the files."""
        self.results.close()
        self.frames.close()


class Session:
    """A recorded session, finished, broken off or still growing. Belongs to one thread.

    Attributes
    ----------
    path : Path
    about : About
        ``session.json``: who, when, the resolved rig, and its hash.
    cameras : dict of str to CameraSession
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self.about: About = layout.read_about(self.path)
        self.cameras: dict[str, CameraSession] = {}
        try:
            for name, about in self.about.cameras.items():
                self.cameras[name] = CameraSession(self.path, name, about, self.about.format)
            self.clock = RecordFile(self.path / layout.CLOCK)
            expect(self.clock, layout.CLOCK_COLUMNS)
        except UserError:
            self.close()
            raise

    @property
    def events(self) -> list[Event]:
        """Everything that happened, oldest first, read now."""
        return read_events(self.path / layout.EVENTS)[0]

    @property
    def ended(self) -> Event | None:
        """The event that closed the session, None if it is growing or was broken off."""
        return last_ended(self.events)

    def unix_ns(self, t_host_ns: Any) -> Any:
        """Return times of ``perf_counter_ns`` as ns since 1970 (UTC), by the recorded clock pairs.

        Between pairs along a line, so that a wall clock that was set moves no other time.
        """
        pairs = self.clock[:]
        if not len(pairs):
            return np.asarray(t_host_ns) + (self.about.began_unix_ns - self.about.began_host_ns)
        host, offset = pairs["t_host_ns"], pairs["t_unix_ns"] - pairs["t_host_ns"]
        first = offset[0]
        moved = np.interp(t_host_ns, host, (offset - first).astype(float))
        return np.asarray(t_host_ns) + first + moved.astype(np.int64)

    def close(self) -> None:
        """Close the files; may be called twice."""
        for camera in self.cameras.values():
            camera.close()
        if hasattr(self, "clock"):
            self.clock.close()

    def __enter__(self) -> Session:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def open_session(path: str | PathLike[str]) -> Session:
    """Open a recorded session, also while it grows or after it was broken off.

    Nothing is loaded: records and images are read, and records checked, when they are asked for.

    Parameters
    ----------
    path : str or path
        The session's folder.

    Raises
    ------
    UserError
        The folder holds no session that can be read; the message says why.

    Examples
    --------
    >>> with rtface.open_session("recordings/2026-11-24_10-00-00") as session:  # doctest: +SKIP
    ...     camera = session.cameras["cam1"]
    ...     nose = camera.keypoints()[:, camera.names.index("nose(tip)"), :2]
    """
    return Session(path)
