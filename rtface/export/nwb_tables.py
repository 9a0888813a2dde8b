"""Signals, masks, ledger and losses of a camera as objects of NWB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hdmf.common import DynamicTable, ElementIdentifiers, VectorData
from pynwb import TimeSeries
from pynwb.behavior import PupilTracking

from rtface.export.nwb_columns import Pieces, packed
from rtface.export.results import Times
from rtface.export.tables import column, part, pupil_unit
from rtface.motion.masks import load_masks
from rtface.ring import NONE_WORD
from rtface.session import CameraSession, layout
from rtface.session.layout import Status
from rtface.session.records import RecordFile, Records
from rtface.types import Flag, TimeSource

Array = npt.NDArray[Any]
_NONE = f"{NONE_WORD}: none"
#: of columns whose names do not say it
_SAID = {
    "flags": "sum of " + ", ".join(f"{flag.value} {flag.name}" for flag in Flag),
    "time_source": ", ".join(f"{source.value} {source.name}" for source in TimeSource),
    "status": "what became of the pixels: "
    + ", ".join(f"{status.value} {status.name}" for status in Status),
    "t_camera_ns": f"camera's own clock, ns; {_NONE}",
    "t_host_ns": "delivery to this machine, perf_counter, ns",
    "exposure_ns": "midpoint of the exposure, perf_counter, ns",
    "exposure_err_ns": "bound on the error of exposure_ns, ns",
    "skipped": "frames passed over for newer ones, cumulative",
    "lost_camera": "frames that never came from the camera, cumulative",
    "frame_id": "the camera's own counter",
    "frame_seq": "frames that came, counted from 0",
    "seq": "results, counted from 0; -1: computed later from the video",
    "t_daq_s": "midpoint of the exposure in the clock of the neural recording, s",
    "residual_us": "what the match with the neural recording leaves, us",
    "scan_frame": "frames of the microscope",
}


class Clock(NamedTuple):
    """Turns times of the rig's clock (``perf_counter_ns``) into s of the file, from ``zero_ns``."""

    zero_ns: int

    def seconds(self, t_ns: Array) -> Array:
        """Return (N,) float64, s; NaN where the time is none."""
        # the difference first: its float is right to less than a ns for a month
        return np.where(t_ns == NONE_WORD, np.nan, (t_ns - self.zero_ns) * 1e-9)


class Parts(NamedTuple):
    """Open files of a camera and what is known of its times."""

    folder: Path
    camera: CameraSession
    results: Pieces
    times: Times
    clock: Clock
    result_s: Array


def timing(t_s: Array, first: Any = None) -> dict[str, Any]:
    """Return how times are given: a rate where they are exactly regular, else each of them."""
    steps = np.diff(t_s)
    if len(steps) > 1 and np.ptp(steps) < 2e-9:  # as of a file's frame rate, rounded to ns
        rate = (len(t_s) - 1) / float(t_s[-1] - t_s[0])
        return {"starting_time": float(t_s[0]), "rate": rate}
    return {"timestamps": packed(t_s) if first is None else first}


def add_signals(behavior: Any, parts: Parts, like: Any) -> None:
    """Add motion energy, components, running and the pupil, as far as there are any."""
    camera, lengths = parts.camera, parts.camera.about.signals
    times = timing(parts.result_s, like)

    def series(name: str, unit: str, about: str, take: Callable[[Records], Array]) -> Any:
        data = parts.results.column(take)
        return TimeSeries(name=name, data=data, unit=unit, description=about, **times)

    words = {key: told for _, key, told in layout.told_columns(camera.about)}
    for key, unit, about in (
        ("motion_energy", "grey levels", "Sum of |difference| over the bins of an area"),
        ("motion", "grey levels", "Motion components (Facemap's motSVD), area after area"),
        ("movie", "grey levels", "Movie components (Facemap's movSVD), area after area"),
        ("running", "px per frame", "Shift of the treadmill since the frame before"),
        ("neural", "deviations", "Neural activity as predicted from the frame"),
    ):
        if key in lengths:
            columns = f"; columns: {', '.join(words[key])}" if key in words else _areas(camera, key)
            text = f"{about}{columns}. NaN: not known."
            name = f"{key}_{camera.name}"
            behavior.add(series(name, unit, text, column(key)))
    if "pupil" in lengths:
        pupil = PupilTracking(name=f"pupil_{camera.name}")
        for i, word in enumerate(words["pupil"]):
            about = f"{word} of the pupil (docs/pupil.md of rtface). NaN: not known."
            pupil.add_timeseries(series(word, pupil_unit(word), about, part("pupil", i)))
        behavior.add(pupil)


def _areas(camera: CameraSession, key: str) -> str:
    counts = [f"{a['name']} {a[key]}" for a in camera.about.meta["motion"]["areas"] if a[key]]
    return f"; columns of each: {', '.join(counts)}"


def masks_tables(parts: Parts) -> Iterator[Any]:
    """Yield a table of masks of each area and kind."""
    camera = parts.camera
    path = parts.folder / layout.masks_name(camera.name)
    if "motion" not in camera.about.signals and "movie" not in camera.about.signals:
        return
    if not path.exists():
        return
    masks = load_masks(path, camera.about.shape)
    for area in masks.areas:
        top, bottom, left, right = area.area
        for kind, basis in (("motion", area.motion), ("movie", area.movie)):
            if basis is None:
                continue
            n = basis.masks.shape[1]
            weights = basis.masks.T.reshape(n, bottom - top, right - left)
            yield DynamicTable(
                name=f"{kind}_masks_{camera.name}_{area.name}",
                description=f"Masks of {kind} components of the area {area.name}: rows {top} to "
                f"{bottom} and columns {left} to {right} (ends not included) of the frame "
                f"binned by {masks.bin_px} px. Identity {masks.identity}.",
                columns=[
                    _vector("image_mask", "weight of each bin", packed(weights)),
                    _vector("singular_value", "grey levels", basis.singular),
                    _vector("explained", "share of the variance, 0 to 1", basis.explained),
                ],
            )


def _vector(name: str, about: str, data: Any) -> Any:
    return VectorData(name=name, description=about, data=data)


def records_table(name: str, about: str, pieces: Pieces, more: Sequence[Any] = ()) -> Any:
    """Return a table of every column of records that is one number."""
    columns = [
        _vector(
            c.name,
            _SAID.get(c.name, c.unit or c.name),
            pieces.column(column(c.name)),
        )
        for c in pieces.file.columns
        if not c.shape
    ]
    numbers = ElementIdentifiers(name="id", data=np.arange(pieces.n))
    return DynamicTable(name=name, description=about, id=numbers, columns=[*more, *columns])


def add_tables(behavior: Any, parts: Parts, frames: Pieces, sync: RecordFile | None) -> None:
    """Add the ledger of every result and what is known of every frame, with losses and sync."""
    camera = parts.camera
    ledger = "Ledger of every result: when each stage was done, what was lost before it."
    behavior.add(records_table(f"results_{camera.name}", ledger, parts.results))
    about = (
        "Every frame that came from the camera, also those that are not in the video or were not "
        "tracked; lost_* count frames that never came, cumulative."
    )
    seconds = _vector(
        "exposure_s",
        "midpoint of the exposure, s from the beginning of the session; NaN: not known",
        packed(parts.clock.seconds(parts.times.exposure_ns)),
    )
    more = [seconds]
    if sync is not None and len(sync) == frames.n:
        pieces = Pieces(sync, lambda _done, _total: None)
        more += [
            _vector(
                "sync_flags" if c.name == "flags" else c.name,
                _SAID.get(c.name, c.unit or c.name),
                pieces.column(column(c.name)),
            )
            for c in sync.columns
            if not c.shape and c.name != "frame_seq"
        ]
    behavior.add(records_table(f"frames_{camera.name}", about, frames, more))
