"""Sessions whose neurons are known, as files: what the tests of `rtface neural` begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sync_cases import write_rows

from rtface.neural.columns import PUPIL
from rtface.neural.fit import Settings
from rtface.neural.simulate import POINTS, Simulated
from rtface.pupil.record import FIELDS
from rtface.session import layout
from rtface.session.records import RecordWriter, row_dtype
from rtface.session.writer import write_about

_PUPIL = {
    name: FIELDS.index(f"{name.split('.')[1]}_px{two}")
    for name, two in zip(PUPIL, ("2", "", ""), strict=True)
}
#: rise and fall of the simulated kernels are among them: the right model
RIGHT = Settings((0.05, 0.5), gap_s=3.0)
BEGAN_UNIX_NS = 1_790_000_000 * 10**9


def write_session(folder: Path, made: Simulated, rate_hz: float, motion: bool = False) -> Path:
    """Write a simulated behaviour as a session without video: keypoints and the pupil.

    With ``motion`` also motion of two components whose masks never came.
    """
    folder.mkdir(parents=True)
    behaviour = made.behaviour
    lengths = {"pupil": len(FIELDS)}
    pupil = {"fields": list(FIELDS), "box": None, "sigma": 2.0}
    meta: dict[str, Any] = {
        "keypoints": list(POINTS),
        "model": {},
        "signals": lengths,
        "pupil": pupil,
    }
    if motion:
        lengths |= {"motion_energy": 1, "motion": 2}
        areas = [{"name": "full", "motion": 2, "movie": 0}]
        meta["motion"] = {"areas": areas, "masks": None}
    about = layout.About(
        format=layout.FORMAT,
        rtface="0",
        session="aa",
        recording="bb",
        began_host_ns=int(behaviour.t_ns[0]),
        began_unix_ns=BEGAN_UNIX_NS,
        rig={"camera": {"cam1": {"kind": "synthetic"}}},
        rig_sha256="",
        cameras={
            "cam1": layout.CameraAbout(
                height=480, width=640, bits=8, rate_hz=rate_hz, video="none", meta=meta
            )
        },
    )
    write_about(folder, about)
    RecordWriter(folder / layout.CLOCK, "clock", {}, layout.CLOCK_COLUMNS).close()
    (folder / layout.EVENTS).touch()
    seq = np.round((behaviour.t_ns - behaviour.t_ns[0]) * rate_hz / 1e9).astype(np.int64)
    frames = np.zeros(seq[-1] + 1, row_dtype(layout.FRAME_COLUMNS))
    frames["frame_seq"] = frames["frame_id"] = np.arange(len(frames))
    frames["t_camera_ns"] = frames["frame_seq"] * round(1e9 / rate_hz)
    frames["t_host_ns"] = behaviour.t_ns[0] + frames["t_camera_ns"]
    frames["status"] = layout.Status.NO_VIDEO
    write_rows(folder / "cam1.frames.rec", "frames", layout.FRAME_COLUMNS, frames)
    columns = layout.result_columns(len(POINTS), lengths=lengths)
    rows = np.zeros(len(seq), row_dtype(columns))
    rows["seq"], rows["frame_seq"] = np.arange(len(seq)), seq
    rows["exposure_ns"] = rows["t_host_ns"] = behaviour.t_ns
    for i, column in enumerate(behaviour.columns):
        name, _, axis = column.name.rpartition(".")
        values = behaviour.values[:, i]
        if axis in ("x", "y"):
            place = rows["keypoints"][:, POINTS.index(name)]
            place[:, "xy".index(axis)] = np.nan_to_num(values)
            if axis == "x":
                place[:, 2] = 0.9
            place[np.isnan(values), 2] = 0.0
        else:
            rows["pupil"][:, _PUPIL[column.name]] = values
    for name in ("motion_energy", "motion") if motion else ():
        rows[name] = np.nan
    write_rows(folder / "cam1.results.rec", "results", columns, rows)
    return folder


def write_all(
    folder: Path, made: Simulated, rate_hz: float, more: str = "", motion: bool = False
) -> Path:
    """Write a session, its activity and ``neural.toml``; return that."""
    write_session(folder / "session", made, rate_hz, motion)
    np.save(folder / "activity.npy", made.activity.values)
    np.save(folder / "times.npy", made.activity.times_s)
    np.save(folder / "frames.npy", made.behaviour.times_s)
    (folder / "regions.txt").write_text("\n".join(made.activity.regions) + "\n")
    path = folder / "neural.toml"
    path.write_text(
        'session = "session"\nactivity = "activity.npy"\ntimes = "times.npy"\n'
        f'regions = "regions.txt"\nframe_times = "frames.npy"\n{more}\n'
    )
    return path
