"""A session as a file of NWB: keypoints, signals, video by reference, events, clocks, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rtface.export.nwb_about import About
from rtface.export.results import camera_of, put_in_place, results_file, times_of
from rtface.ring import NONE_WORD
from rtface.session import Session
from rtface.session.records import RecordFile
from rtface.types import UserError

#: told the camera, rows done and their number
Progress = Callable[[str, int, int], None]


def export_nwb(
    session: Session,
    path: Path,
    cameras: Sequence[str] = (),
    filled: bool = False,
    about: About | None = None,
    on_progress: Progress = lambda _camera, _done, _total: None,
) -> int:
    """Write a session as one NWB file; return the number of results in it.

    Times are s of the rig's ``perf_counter`` since ``session_start_time``. Videos are named, not
    copied: the file has to stay where it is beside the session. Arrays are the same bits as
    recorded. What is there is replaced when all is written. From any thread; memory does not grow
    with components, and by about 100 bytes for each frame.

    Parameters
    ----------
    session : Session
    path : Path
        Ends in ``.nwb``.
    cameras : sequence of str
        All by default.
    filled : bool
        Take the results that ``rtface replay --recompute --fill`` wrote.
    about : About, optional
        Subject and experiment.
    on_progress : callable
        Told camera, results done and their number.

    Raises
    ------
    UserError
        pynwb or ndx-pose is missing, no such camera, no results, damaged records, or the disk
        refuses.
    """
    try:
        import ndx_pose as _pose  # noqa: F401 - only to say in one line what is missing
        import pynwb
    except ImportError:
        raise UserError("NWB needs pynwb and ndx-pose; pip install 'rtface[nwb]'") from None
    from rtface.export.nwb_camera import add_camera
    from rtface.export.nwb_columns import new_file

    if path.suffix != ".nwb":
        raise UserError(f"{path}: name a file that ends in .nwb")
    names = list(cameras) or list(session.cameras)
    for name in names:
        camera_of(session, name)
    n = 0
    with ExitStack() as stack:
        part = stack.enter_context(put_in_place(path))
        opened = []
        for name in names:
            camera = session.cameras[name]
            results = stack.enter_context(results_file(session.path, camera, filled))
            if not len(results):
                raise UserError(f"{results.path}: holds no results; leave {name} out (--camera)")
            opened.append((camera, results, times_of(camera.frames, results)))
            n += len(results)
        firsts = [_first(times.exposure_ns) for _, _, times in opened]
        zero_ns = min([session.about.began_host_ns, *firsts])
        nwb = _file(session, zero_ns, about or About(), names)
        for camera, results, times in opened:
            sync = _sync(session.path, camera.name, stack)
            told = _of(on_progress, camera.name)
            add_camera(nwb, session.path, camera, results, times, zero_ns, path, sync, told)
        file = stack.enter_context(new_file(part))
        with pynwb.NWBHDF5IO(file=file, mode="w") as io:
            # all datasets in turns, not one after the other: each piece of records is read once
            io.write(nwb, exhaust_dci=False)
    return n


def _of(on_progress: Progress, camera: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(camera, done, total)


def _first(exposure_ns: Any) -> int:
    known = exposure_ns[exposure_ns != NONE_WORD]
    return int(known.min())


def _sync(folder: Path, camera: str, stack: ExitStack) -> RecordFile | None:
    """Open the frames' times in the clock of a neural recording, if there are any."""
    path = folder / f"{camera}.sync.rec"
    return stack.enter_context(RecordFile(path)) if path.is_file() else None


def _file(session: Session, zero_ns: int, about: About, cameras: Sequence[str]) -> Any:
    from pynwb import NWBFile, TimeSeries
    from pynwb.file import Subject

    told, experiment = session.about, about.experiment
    unix_ns = int(session.unix_ns(zero_ns))
    # not through a float, which would round to 0.2 us
    start = datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC)
    start = (start + timedelta(microseconds=unix_ns % 1_000_000_000 // 1000)).astimezone()
    which = "" if len(cameras) == len(session.cameras) else "-" + "-".join(cameras)
    more = experiment.model_dump(exclude_none=True, exclude={"session_description"})
    nwb = NWBFile(
        session_description=experiment.session_description
        or f"Face of a head-fixed animal, tracked by rtface {told.rtface}.",
        identifier=told.recording + which,
        session_start_time=start,
        session_id=told.name or session.path.resolve().name,
        source_script=f"rtface export (session recorded by rtface {told.rtface})",
        source_script_file_name="rtface",
        **{key: value for key, value in more.items() if value},
    )
    nwb.subject = Subject(
        subject_id=told.subject or "unknown", **about.subject.model_dump(exclude_none=True)
    )
    clock = session.clock[:]
    nwb.add_acquisition(
        TimeSeries(
            name="unix_time",
            data=clock["t_unix_ns"],
            timestamps=(clock["t_host_ns"] - zero_ns) * 1e-9,
            unit="ns",
            description="Wall clock: ns since 1970 (UTC), read together with the clock of all "
            f"times in this file. That is perf_counter of {told.host or 'no machine'}; its zero "
            f"is at {zero_ns} ns.",
        )
    )
    _add_events(nwb, session, zero_ns)
    return nwb


def _add_events(nwb: Any, session: Session, zero_ns: int) -> None:
    """Add the session's log: what happened, when, and whatever belongs to it as text."""
    table = nwb.create_events_table(
        name="session_events",
        description="What happened while the session was recorded, stamped by the machine that "
        "recorded; 'ended' has the counts of all frames and results.",
        source_description="rtface",
    )
    table.add_column(name="event", description="kind: began, annotation, disk_low, ended ...")
    for event in session.events:
        text = event.fields.get("text") or "; ".join(_flat(event.fields))
        seconds = (event.t_host_ns - zero_ns) * 1e-9
        table.add_event(timestamp=seconds, annotation=str(text), event=event.kind)


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield ``name: value`` of all that is in a map, and in maps in it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}: {value}"
