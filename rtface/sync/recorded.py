"""A camera of a session for ``match``, and what came of it back into the session."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.ring import NONE_WORD
from rtface.session import CameraSession, Session, layout
from rtface.session.records import Column, Records, RecordWriter, row_dtype
from rtface.sync.edges import Edges
from rtface.sync.grid import Floats
from rtface.sync.match import Frames, Match, SyncFlag
from rtface.types import UserError

#: clocks before and after a restart are tied by what was delivered so long beside it, ns
BESIDE_NS = 5_000_000_000
#: exposure times that differ by less are the same one, s
SAME_S = 1e-6
COLUMNS = (
    Column("frame_seq", "<i8"),
    Column("t_daq_s", "<f8", (), "s of the recording: midpoint of the exposure"),
    Column("residual_us", "<f8", (), "us"),
    Column("scan_frame", "<f8", (), "frames of the microscope"),
    Column("flags", "<i8"),
)


class Recorded:
    """What a session knows of one camera's frames.

    Attributes
    ----------
    rows : structured array (N,)
        ``<camera>.frames.rec``.
    known : ndarray (N,) bool
        Whether the frame's stamp is known; ``frames`` holds those alone.
    frames : Frames
    to_midpoint_s : ndarray (N,) float64
        From the rising edge of the pulse to the exposure's midpoint; NaN where that is not known.
    """

    def __init__(self, session: Session, name: str, pulse: str, bit: int | None = None) -> None:
        if name not in session.cameras:
            has = ", ".join(session.cameras)
            raise UserError(f"{session.path}: no camera '{name}'; there is {has}")
        camera = session.cameras[name]
        self.rows: Records = camera.frames[:]
        self.known = self.rows["t_host_ns"] != NONE_WORD
        if not self.known.any():
            raise UserError(f"{camera.frames.path}: holds no frame")
        rows = self.rows[self.known]
        section = session.about.rig["camera"][name]
        own_s = rows["exposure_time_ns"] * 1e-9
        fixed = section.get("exposure_us")
        if isinstance(fixed, int | float):
            said_s = own_s[own_s > 0]
            # once another was set, a frame that says none may have either
            if (np.abs(said_s - fixed * 1e-6) < SAME_S).all():
                own_s = np.where(own_s > 0, own_s, fixed * 1e-6)
        rolling_us = float(section.get("row_us") or 0) * (camera.about.height - 1)
        later_us = rolling_us / 2
        if pulse == "trigger":
            later_us += float(section.get("trigger_delay_us") or 0)
        self.to_midpoint_s = np.full(len(self.rows), np.nan)
        self.to_midpoint_s[self.known] = np.where(own_s > 0, own_s / 2 + later_us * 1e-6, np.nan)
        t_s, err_s = _times(camera, rows)
        if (np.diff(t_s) <= 0).any():
            raise UserError(f"{camera.frames.path}: the frames' times do not rise")
        self.frames = Frames(
            t_s,
            rows["frame_id"].astype(np.int64),
            rows["segment"].astype(np.int64),
            bool(self.known[0]) and int(rows["frame_seq"][0]) == 0,
            err_s,
            float(np.median(own_s)),
            None if bit is None else (rows["line_status"] >> bit & 1).astype(bool),
        )


def _times(camera: CameraSession, rows: Records) -> tuple[Floats, float]:
    """Return the best times of frames there are, s since the first, and their random error, s."""
    stamps, host = rows["t_camera_ns"], rows["t_host_ns"]
    if (stamps != NONE_WORD).all():
        t = one_clock(stamps, host, rows["segment"])
        return (t - t[0]) * 1e-9, 0.0
    results = camera.results[:]
    if len(results) > 1:
        # exposure estimates of what was tracked; the frames between by the camera's counter
        exposure = np.interp(rows["frame_seq"], results["frame_seq"], results["exposure_ns"])
        return (exposure - exposure[0]) * 1e-9, float(np.median(results["exposure_err_ns"])) * 1e-9
    return (host - host[0]) * 1e-9, 1e-3


def one_clock(
    stamps: npt.NDArray[np.int64], host: npt.NDArray[np.int64], segment: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the camera's times as if no restart had begun another clock, ns, (N,).

    The clocks before and after a restart are tied by their quickest deliveries in the seconds
    beside it: over longer, the camera's clock drifts against the host's, by more than a frame.
    """
    behind, t = host - stamps, stamps.copy()
    starts = np.flatnonzero(np.diff(segment, prepend=segment[0] - 1))
    shift, before = 0, slice(0, 0)
    for first, end in itertools.pairwise(np.append(starts, len(stamps))):
        own = slice(first, end)
        if first:
            ended = behind[before][host[before] >= host[first - 1] - BESIDE_NS].min()
            begun = behind[own][host[own] <= host[first] + BESIDE_NS].min()
            shift += int(begun - ended)
        t[own] += shift
        before = own
    return t


def sync_rows(recorded: Recorded, found: Match, scan: Edges | None) -> Records:
    """Return the records (N,) of ``<camera>.sync.rec``, one per record of ``frames.rec``."""
    made = np.zeros(len(recorded.rows), row_dtype(COLUMNS))
    made["frame_seq"] = recorded.rows["frame_seq"]
    made["t_daq_s"] = made["residual_us"] = made["scan_frame"] = np.nan
    made["flags"] = SyncFlag.NO_STAMP
    known = recorded.known
    to_midpoint = recorded.to_midpoint_s[known]
    no_exposure = np.isnan(to_midpoint)
    made["t_daq_s"][known] = found.pulse_s + np.where(no_exposure, 0, to_midpoint)
    made["residual_us"][known] = found.residual_s * 1e6
    made["flags"][known] = found.flags | np.where(no_exposure, SyncFlag.EDGE, 0)
    if scan is not None and len(scan.rising_s) > 1:
        number = np.arange(len(scan.rising_s), dtype=np.float64)
        made["scan_frame"] = np.interp(
            made["t_daq_s"], scan.rising_s, number, left=np.nan, right=np.nan
        )
    return made


def write_sync(folder: Path, camera: str, about: dict[str, Any], rows: Records) -> Path:
    """Write ``<camera>.sync.rec`` whole or not at all, in place of an older one."""
    path = folder / layout.sync_name(camera)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        writer = RecordWriter(part, "sync", about, COLUMNS)
        size = rows.dtype.itemsize
        raw = rows.tobytes()
        for at in range(0, len(raw), size):
            writer.append(raw[at : at + size - 4])
        writer.flush()
        os.fsync(writer.fileno())
        writer.close()
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return path
