"""What a rig file says of a camera's times, and the file that a latency calibration writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from rtface.config import Rig
from rtface.exposure import Timing
from rtface.types import CameraInfo, TimeSource, UserError

FORMAT = 1


class Latency(NamedTuple):
    """A measured delay from a frame's stamp to its delivery.

    Attributes
    ----------
    delay_us, err_us : float
        The delay, and a bound on its error.
    source : TimeSource
        How frames' times were found when it was measured; it holds for that way alone.
    stamp_means : str
        What the rig file said of the stamp.
    about : dict
        For people: date, camera, exposure time, number of flashes ...
    """

    delay_us: float
    err_us: float
    source: TimeSource
    stamp_means: str
    about: dict[str, Any]


def write_latency(path: Path, latency: Latency) -> None:
    """Write a calibration; UserError if the disk refuses."""
    told = {
        "format": FORMAT,
        **latency._asdict(),
        "source": latency.source.name.lower(),
    }
    try:
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def read_latency(path: Path) -> Latency:
    """Read a calibration.

    Raises
    ------
    UserError
        It is missing or damaged; names the file, the key and the remedy.
    """
    remedy = "make it anew with calibration/latency.py, or leave out 'latency'"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is not JSON; {remedy}") from None
    try:
        if told["format"] != FORMAT:
            raise UserError(f"{path}: format {told['format']}, not {FORMAT}; {remedy}")
        delay_us, err_us = float(told["delay_us"]), float(told["err_us"])
        if not (abs(delay_us) < 1e7 and 0 < err_us < 1e7):
            raise UserError(f"{path}: delay_us or err_us is out of range; {remedy}")
        source = TimeSource[str(told["source"]).upper()]
        return Latency(delay_us, err_us, source, str(told["stamp_means"]), dict(told["about"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {error} is missing or makes no sense; {remedy}") from None


def timing_of(rig: Rig, camera: str, info: CameraInfo) -> Timing:
    """Return what the rig file says of a camera's times.

    An undeclared error of the delay is one frame period. With a rolling shutter the midpoint is
    that of the middle row, and the rows at the edges are the error.

    Raises
    ------
    UserError
        The file of a calibration cannot be used, or was made for another meaning of the stamp.
    """
    section = rig.camera[camera]
    period_ns = int(1e9 / info.rate_hz)
    halves, more_us = {
        "midpoint": (0, 0.0),
        "start": (1, 0.0),
        "trigger": (1, section.trigger_delay_us),
        "end": (-1, 0.0),
        "readout_end": (-1, -section.readout_us),
    }[section.stamp_means]
    told = section.exposure_us
    rows_us = section.row_us * (info.height - 1)
    err_us = section.delay_err_us
    timing = Timing(
        period_ns=period_ns,
        delay_ns=int(section.delay_us * 1000),
        delay_err_ns=period_ns if err_us is None else int(err_us * 1000),
        to_midpoint_ns=int(1000 * (more_us + rows_us / 2)),
        half_exposures=halves,
        exposure_ns=None if told == "frame" else round(1000 * (told or 0)),
        midpoint_err_ns=int(1000 * rows_us / 2),
    )
    if section.latency is None:
        return timing
    latency = read_latency(Path(section.latency))
    if latency.stamp_means != section.stamp_means:
        raise UserError(
            f"{section.latency}: was measured with stamp_means = '{latency.stamp_means}', and "
            f"camera.{camera}.stamp_means is '{section.stamp_means}'; measure again"
        )
    return timing._replace(
        measured_ns=round(latency.delay_us * 1000),
        measured_err_ns=round(latency.err_us * 1000),
        calibrated=latency.source,
    )
