"""The command that puts frames into the clock of a neural recording."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.session import Session
    from rtface.sync.match import Match


class Edge(StrEnum):
    """Which edge begins a pulse."""

    auto = "auto"
    rising = "rising"
    falling = "falling"


class Pulse(StrEnum):
    """What a pulse is."""

    exposure = "exposure"
    trigger = "trigger"


def sync(
    folder: Annotated[Path, typer.Argument(metavar="SESSION", help="Folder of a session.")],
    daq: Annotated[Path, typer.Option(metavar="FILE", help="The neural recording.")],
    line: Annotated[str, typer.Option(metavar="N", help="Its line with the camera's pulses.")],
    camera: Annotated[str | None, typer.Option(help="If the session has several.")] = None,
    anchor: Annotated[
        str,
        typer.Option(
            help="auto; code; start: the first pulse after a silence is the first frame, on your "
            "word; line:BIT:N: the camera's input BIT and line N carry the same signal."
        ),
    ] = "auto",
    edge: Annotated[Edge, typer.Option(help="Which edge begins a pulse.")] = Edge.auto,
    pulse: Annotated[
        Pulse, typer.Option(help="exposure: the camera says when it exposes; trigger: it is told.")
    ] = Pulse.exposure,
    scan: Annotated[
        str | None, typer.Option(metavar="N", help="Line with the microscope's frame clock.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="The recording covers a part of the session only.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The picture; CAMERA.sync.png in the session if left out.")
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Draw none.")] = False,
) -> None:
    """Put a session's frames into the clock of a neural recording, or say why that cannot be done.

    Writes CAMERA.sync.rec and a picture into the session. A match that is not beyond doubt is
    refused: exit code 2, and one line with the reason.
    """
    from rtface.session import open_session
    from rtface.sync.anchor import NoMatch

    with open_session(folder) as session:
        if camera is None and len(session.cameras) > 1:
            raise UserError(f"--camera: which one? There are {', '.join(session.cameras)}")
        name = camera or next(iter(session.cameras))
        try:
            drawn = None if no_picture else out or session.path / f"{name}.sync.png"
            _sync(session, name, daq, line, anchor, edge.value, pulse.value, scan, partial, drawn)
        except NoMatch as error:
            raise UserError(f"no: {name} and line {line} of {daq.name}: {error}") from None


def _sync(
    session: Session,
    name: str,
    daq: Path,
    line: str,
    anchor: str,
    edge: str,
    pulse: str,
    scan: str | None,
    partial: bool,
    out: Path | None,
) -> None:
    from rtface.sync import checks, picture, readers
    from rtface.sync.match import SyncFlag, match
    from rtface.sync.recorded import Recorded, sync_rows, write_sync

    kind, bit, other = _anchor(anchor)
    recorded = Recorded(session, name, pulse, bit)
    frames = recorded.frames
    raw = readers.read(daq, line)
    checks.check_day(raw, session.about.began_unix_ns * 1e-9, float(frames.t_s[-1]))
    exposure_s = frames.exposure_s if pulse == "exposure" else 0.0
    edges = checks.oriented(raw, edge, exposure_s)
    signal = readers.read(daq, other) if other else None
    found = match(frames, edges, kind, signal)
    outside = int(((found.flags & SyncFlag.OUTSIDE) > 0).sum())
    checks.check_extent(outside, len(frames.t_s), partial)
    rows = sync_rows(recorded, found, readers.read(daq, scan) if scan else None)
    about = {
        "session": session.about.session,
        "recording": session.about.recording,
        "camera": name,
        "daq": daq.name,
        "kind_of_daq": edges.kind,
        "clock": edges.clock,
        "line": line,
        "edge": edge,
        "pulse": pulse,
        "scan": scan,
        **_numbers(found),
    }
    path = write_sync(session.path, name, about, rows)
    _say(name, edges.kind, found, rows, pulse)
    print(path)
    if out:
        picture.draw(out, f"{name} in the clock of {daq.name}, line {line}", frames, found)
        print(out)


def _anchor(text: str) -> tuple[str, int | None, str]:
    """Return the kind of anchor, the camera's bit, and the recording's line."""
    kind, *rest = text.split(":", 2)
    if kind in ("auto", "code", "start") and not rest:
        return kind, None, ""
    if kind == "line" and len(rest) == 2 and rest[0].isdecimal() and int(rest[0]) < 63:
        return kind, int(rest[0]), rest[1]
    raise UserError(f"--anchor: '{text}' is not auto, code, start or line:BIT:N")


def _numbers(found: Match) -> dict[str, Any]:
    return {
        "anchor": found.anchor.kind,
        "anchor_votes": found.anchor.votes,
        "anchor_runner_up": found.anchor.runner_up,
        "period_ms": found.period_s * 1e3,
        "drift_ppm": found.drift_ppm,
        "residual_p95_us": found.p95_s * 1e6,
        "pulses": found.n_pulses,
        "glitches": found.n_glitches,
        "frames_lost": found.n_lost,
        "at_odds": found.n_at_odds,
    }


def _say(name: str, kind: str, found: Match, rows: Any, pulse: str) -> None:
    from rtface.sync.match import SyncFlag

    flags = rows["flags"]
    counts = {flag: int(((flags & flag) > 0).sum()) for flag in SyncFlag}
    with_pulse = int((flags & ~SyncFlag.EDGE == 0).sum())
    print(
        f"yes: {name} in the clock of {kind}: {with_pulse} of {len(rows)} frames have a pulse, "
        f"{counts[SyncFlag.NO_PULSE]} a fitted time, "
        f"{counts[SyncFlag.OUTSIDE] + counts[SyncFlag.NO_STAMP]} none"
    )
    print(
        f"residual {found.p95_s * 1e6:.0f} us (95 %), drift {found.drift_ppm:+.2f} ppm, anchor "
        f"{found.anchor.kind} ({found.anchor.votes} agree, next best {found.anchor.runner_up}), "
        f"{found.n_lost} frames known to be lost, {found.n_glitches} edges beside the train, "
        f"{found.n_at_odds} not explained"
    )
    if counts[SyncFlag.EDGE]:
        print(
            f"the exposure time of {counts[SyncFlag.EDGE]} frames is not known: theirs are times "
            f"of the {pulse} edge, not of the midpoint (exposure_us in the rig file)"
        )
    if found.anchor.kind == "start":
        print("nothing but their number ties these pulses to these frames: keep the files together")
