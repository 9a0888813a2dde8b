"""A recording as one figure for a lab book: traces, events, ages, losses. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtface.session import CameraSession, Session, layout
from rtface.session.events import LOOP_EVENTS, shown
from rtface.types import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

#: points drawn across the figure; more are drawn as the span from least to greatest
COLUMNS = 1500
TRACES = ("eye(top)", "eye(bottom)", "whisker(II)", "nose(tip)", "mouth", "lowerlip")
#: which of the pupil's numbers is drawn
PUPIL = "edge_area_px2"
_EVENTS_NOT_DRAWN = ("began", "ended", "repaired", *LOOP_EVENTS)


def spans(t: Array, y: Array, columns: int = COLUMNS) -> tuple[Array, Array, Array]:
    """Return (time, least, greatest) of at most ``columns`` equal stretches of samples.

    Nothing that stands out is lost, however short; NaN is passed over.

    Parameters
    ----------
    t, y : ndarray (N,)
    """
    if len(t) <= columns:
        return t, y, y
    edges = np.linspace(0, len(t), columns + 1).astype(int)[:-1]
    low = np.fmin.reduceat(y, edges)
    high = np.fmax.reduceat(y, edges)
    return t[edges], low, high


class Traces:
    """What is drawn of one camera, taken from its session in pieces.

    Attributes
    ----------
    t_s : ndarray (N,) float64
        Exposure's midpoint since the session began, s.
    xy : ndarray (N, K, 2) float32
        px.
    age_ms, lost, skipped : ndarray (N,)
        Delivery to done in ms; cumulative counts since the session began.
    signals : list of (title, ndarray (N,))
        Motion energy of each area, and the pupil's area, where they were recorded.
    """

    def __init__(self, camera: CameraSession, began_ns: int) -> None:
        t, xy, age, lost, skipped = [], [], [], [], []
        wanted = [
            (f"{prefix}{word}", name, column)
            for prefix, name, words in layout.told_columns(camera.about)
            for column, word in enumerate(words)
            if name == "motion_energy" or word == PUPIL
        ]
        signals: list[list[Array]] = [[] for _ in wanted]
        for records in camera.results.chunks():
            t.append((records["exposure_ns"] - began_ns) * 1e-9)
            xy.append(layout.keypoints_of(records)[:, :, :2])
            age.append((records["t_done_ns"] - records["t_host_ns"]) * 1e-6)
            lost.append(records["lost_camera"])
            skipped.append(records["skipped"])
            for (_, name, column), pieces in zip(wanted, signals, strict=True):
                pieces.append(records[name][:, column].astype(float))
        if not t:
            raise UserError(f"{camera.results.path}: no results, there is nothing to draw")
        self.t_s: Array = np.concatenate(t)
        self.xy: Array = np.concatenate(xy)
        self.age_ms: Array = np.concatenate(age)
        self.lost: Array = np.concatenate(lost)
        self.skipped: Array = np.concatenate(skipped)
        self.signals = [
            (title.replace("_", " "), np.concatenate(pieces))
            for (title, _, _), pieces in zip(wanted, signals, strict=True)
        ]
        self.lost, self.skipped = self.lost - self.lost[0], self.skipped - self.skipped[0]


def plot(session: Session, out: Path, camera: str | None = None) -> None:
    """Draw one camera of a session (the first unless named) into an image or PDF file.

    Raises
    ------
    UserError
        matplotlib is missing, there is no such camera, nothing was recorded, or the file cannot
        be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("figures need matplotlib; pip install 'rtface[plot]'") from None
    camera = camera or next(iter(session.cameras))
    if camera not in session.cameras:
        raise UserError(f"{session.path}: no camera '{camera}'; {', '.join(session.cameras)}")
    recording = session.cameras[camera]
    traces = Traces(recording, session.about.began_host_ns)
    n = len(traces.signals)
    figure = Figure(figsize=(11, 7.5 + n), layout="constrained")
    heights = {"height_ratios": [4, *[0.9] * n, 1.3, 1]}
    rows = figure.subplots(3 + n, 1, sharex=True, gridspec_kw=heights)
    top, middle, bottom = rows[0], rows[-2], rows[-1]
    for axes, (name, values) in zip(rows[1:-2], traces.signals, strict=True):
        _line(axes, traces.t_s, values, name)
        axes.set_title(name, fontsize=9)
    about = session.about
    who = " ".join(part for part in (about.subject, about.name) if part)
    title = shown(f"{session.path.name}   {camera}   {who}".strip())
    figure.suptitle(title, fontsize=11, parse_math=False)
    _draw_keypoints(top, recording, traces)
    _draw_ages(middle, traces)
    _draw_losses(bottom, traces, session, camera)
    for event in session.events:
        if event.kind in _EVENTS_NOT_DRAWN:
            continue
        at = (event.t_host_ns - about.began_host_ns) * 1e-9
        for axes in rows:
            axes.axvline(at, color="#888888", linewidth=0.7, linestyle=":")
        label = shown(str(event.fields.get("text", event.kind.replace("_", " "))))[:40]
        where = top.get_xaxis_transform()
        top.text(at, 1.0, f" {label}", transform=where, fontsize=7, va="bottom", parse_math=False)
    try:
        figure.savefig(out, dpi=130)
    except (OSError, ValueError) as error:
        raise UserError(f"{out}: cannot be written ({error})") from None


def _line(axes: Axes, t: Array, y: Array, label: str, offset: float = 0.0) -> None:
    at, low, high = spans(t, y)
    if low is high:
        axes.plot(at, y + offset, linewidth=0.8, label=label)
    else:
        axes.fill_between(at, low + offset, high + offset, linewidth=0.4, label=label, step="post")


def _draw_keypoints(axes: Axes, recording: CameraSession, traces: Traces) -> None:
    """Draw the vertical place of some keypoints, one below the other, in px from their medians."""
    shown = [name for name in TRACES if name in recording.names] or recording.names[:6]
    ys = [traces.xy[:, recording.names.index(name), 1].astype(float) for name in shown]
    moved = [y - np.nanmedian(y) for y in ys]
    room = max(2.0, 1.6 * max(float(np.nanpercentile(np.abs(y), 99)) for y in moved))
    for i, y in enumerate(moved):
        # down in the picture is down in the figure
        _line(axes, traces.t_s, -np.clip(y, -room, room), shown[i], -i * room)
    axes.set_yticks([-i * room for i in range(len(shown))], shown)
    axes.set_title(f"height of keypoints; from line to line {room:.0f} px", fontsize=9)


def _draw_ages(axes: Axes, traces: Traces) -> None:
    at, low, high = spans(traces.t_s, traces.age_ms)
    if low is high:
        axes.plot(at, low, linewidth=0.8)
    else:
        axes.fill_between(at, low, high, linewidth=0.4, step="post")
    p50, p99 = np.percentile(traces.age_ms, [50, 99])
    axes.set_ylabel("age (ms)")
    axes.set_title(f"delivered to done: p50 {p50:.2f} ms, p99 {p99:.2f} ms", fontsize=9)
    axes.set_ylim(0, max(1.0, 1.5 * float(p99)))


def _draw_losses(axes: Axes, traces: Traces, session: Session, camera: str) -> None:
    for values, label in ((traces.lost, "lost before delivery"), (traces.skipped, "not tracked")):
        axes.step(traces.t_s, values, where="post", linewidth=1, label=label)
    gone = recorder_gaps(session.cameras[camera], session.about.began_host_ns)
    for start, stop in gone:
        axes.axvspan(start, max(stop, start + 1e-3), color="#d62728", alpha=0.3)
    axes.set_ylabel("frames")
    axes.set_xlabel("time since the session began (s)")
    title = f"; {len(gone)} gap(s) in the video (red)" if gone else ""
    axes.set_title(f"losses{title}", fontsize=9)
    axes.legend(fontsize=7, loc="upper left", frameon=False)


def recorder_gaps(camera: CameraSession, began_ns: int) -> list[tuple[float, float]]:
    """Return stretches (from, to; s since the session began) of which there are no pixels."""
    gaps: list[tuple[float, float]] = []
    start = last = 0.0
    inside = False
    for records in camera.frames.chunks():
        for record in records:
            without = record["status"] not in (layout.Status.IN_VIDEO, layout.Status.NO_VIDEO)
            known = record["t_host_ns"] > 0
            now = (record["t_host_ns"] - began_ns) * 1e-9 if known else last
            if without and not inside:
                start, inside = now, True
            elif inside and not without:
                gaps.append((start, now))
                inside = False
            last = now
    return [*gaps, (start, last)] if inside else gaps
