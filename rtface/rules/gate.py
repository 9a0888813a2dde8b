"""Whether the whiskers of a rig are tracked well enough for azimuth and phase: measured, kept.

Without the truth: points that are tracked move together, and move much more than they jitter;
guesses do neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.types import Float32Array, UserError

FORMAT = 1
#: the face's axis: from the first to the second
NOSE, EYE = "nose(tip)", "eye(front)"
WHISKER = "whisker"
#: where angles are shown about, unless a rule says otherwise: it stays
BASE = "mouth"
#: what has to be kept: frames per second; parts of the frames; correlation; amplitude over noise
RATE_HZ, TRACKED, KNOWN, AGREEMENT, CLEAR = 98.0, 0.9, 0.95, 0.6, 3.0
#: a keypoint below this score is not known
MIN_SCORE = 0.3
#: of one window, and what is slower than a whisk, s
WINDOW_S, SLOW_S = 0.5, 0.25
#: windows that whisk, and windows at rest, as parts of all
LIVELY, STILL = 0.8, 0.2

Array = npt.NDArray[np.float64]


class Whiskers(NamedTuple):
    """How well the whiskers of a camera are tracked.

    Attributes
    ----------
    rate_hz : float
        Of the frames.
    tracked, known : float
        Part of the frames that were tracked; of those, in which all points are known.
    agreement : float
        Correlation of the whiskers' movements along the face while they whisk, median of pairs.
    clear : float
        How much they move while they whisk against how much they jitter at rest.
    model : str
        SHA-256 of the network.
    """

    rate_hz: float
    tracked: float
    known: float
    agreement: float
    clear: float
    model: str

    def fault(self) -> str:
        """Return the first thing that is not good enough, or an empty text."""
        for value, least, text in (
            (self.rate_hz, RATE_HZ, "{:.0f} frames per second, {:g} are needed"),
            (self.tracked, TRACKED, "{:.0%} of the frames were tracked, {:.0%} are needed"),
            (self.known, KNOWN, "all whiskers are known in {:.0%} of the frames, needed: {:.0%}"),
            (self.clear, CLEAR, "they move {:.1f} times as much as they jitter, needed: {:g}"),
            (self.agreement, AGREEMENT, "they move together by {:.2f}, needed: {:g}"),
        ):
            if not value >= least:
                return text.format(value, least)
        return ""


def measure(
    keypoints: Float32Array,
    t_s: Array,
    names: Sequence[str],
    rate_hz: float,
    tracked: float,
    model: str,
) -> Whiskers:
    """Return how well whiskers are tracked in a stretch of frames in which the mouse whisks.

    Parameters
    ----------
    keypoints : ndarray (T, K, 3) float32
    t_s : ndarray (T,)
        Exposures, s.
    names : sequence of str
        Of the keypoints.
    rate_hz, tracked, model
        As in ``Whiskers``.

    Raises
    ------
    UserError
        The network has no such keypoints, or there are too few frames.
    """
    rows = [row for row, name in enumerate(names) if name.startswith(WHISKER)]
    if len(rows) < 2 or not {NOSE, EYE} <= set(names):
        raise UserError(
            f"this network has not the keypoints that are needed: {NOSE}, {EYE} and two of "
            f"'{WHISKER}...'"
        )
    n = round(WINDOW_S * rate_hz)
    if len(t_s) < 20 * n:
        raise UserError(f"{len(t_s)} frames are too few; watch for longer")
    needed = [*rows, names.index(NOSE), names.index(EYE)]
    known = float((keypoints[:, needed, 2] >= MIN_SCORE).all(axis=1).mean())
    nose, eye = keypoints[:, names.index(NOSE), :2], keypoints[:, names.index(EYE), :2]
    axis = np.median(nose - eye, axis=0).astype(float)
    along = (keypoints[:, rows, :2] - eye[:, None]) @ (axis / np.hypot(*axis))
    fast = along - _smoothed(along, round(SLOW_S * rate_hz))
    jitter = np.diff(along, n=2, axis=0) / np.sqrt(6)
    windows = len(fast) // n
    moves = fast[: windows * n].reshape(windows, n, -1).std(axis=1)
    jitters = jitter[: (windows - 1) * n].reshape(windows - 1, n, -1).std(axis=1)
    strength = moves.mean(axis=1)
    lively = np.flatnonzero(strength >= np.quantile(strength, LIVELY))
    still = np.quantile(jitters, STILL, axis=0)
    clear = float(np.median(moves[lively].mean(axis=0) / np.maximum(still, 1e-3)))
    both = [
        np.corrcoef(fast[w * n : (w + 1) * n, i], fast[w * n : (w + 1) * n, j])[0, 1]
        for w in lively
        for i, j in combinations(range(len(rows)), 2)
    ]
    agreement = float(np.median(np.nan_to_num(both)))
    return Whiskers(rate_hz, tracked, known, agreement, clear, model)


def _smoothed(x: Array, n: int) -> Array:
    """Return the mean of the ``n`` samples around each, (T, C)."""
    kernel = np.ones(max(1, n)) / max(1, n)
    return np.stack([np.convolve(column, kernel, "same") for column in x.T], 1)


def write_whiskers(path: Path, found: Whiskers) -> None:
    """Write what was measured; UserError if the disk refuses."""
    try:
        path.write_text(json.dumps({"format": FORMAT, **found._asdict()}, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def read_whiskers(path: Path) -> Whiskers:
    """Return what was measured; UserError if the file cannot be used."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("format") != FORMAT:
            raise ValueError
        numbers = {key: float(told[key]) for key in Whiskers._fields[:-1]}
        return Whiskers(**numbers, model=str(told["model"]))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{path}: is damaged; make it anew with rtface calibrate whiskers"
        ) from None


def why_not(camera: str, path: str | None, model: str) -> str:
    """Return why a camera's whiskers must not be used, or an empty text.

    Parameters
    ----------
    path : str, optional
        As the rig file says under ``whiskers``.
    model : str
        SHA-256 of the network that runs.
    """
    remedy = (
        "measure that with the mouse on the rig: rtface calibrate whiskers RIG.toml "
        f"--camera {camera}"
    )
    if path is None:
        return f"needs whiskers that are tracked well, and camera.{camera} names no proof; {remedy}"
    found = read_whiskers(Path(path))
    if found.model != model:
        return f"needs whiskers that are tracked well, and {path} is of another network; {remedy}"
    if fault := found.fault():
        return f"needs whiskers that are tracked well, and by {path} {fault}"
    return ""


def about_whiskers(
    camera: str, path: str | None, model: str, names: Sequence[str]
) -> dict[str, Any] | None:
    """Return what ``meta`` says of whiskers whose angles may be used; None if they may not.

    Raises
    ------
    UserError
        The file of the rig's proof cannot be used.
    """
    points = [name for name in names if name.startswith(WHISKER)]
    if not points or not {BASE, NOSE, EYE} <= set(names) or why_not(camera, path, model):
        return None
    return {"base": BASE, "points": points, "axis": [NOSE, EYE], "least_score": MIN_SCORE}
