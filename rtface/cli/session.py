"""Commands for recorded sessions."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rtface.cli.common import progress_bar, stop_switch
from rtface.types import UserError

app = typer.Typer(no_args_is_help=True, help="Look at, check and repair recorded sessions.")

Folder = Annotated[Path, typer.Argument(metavar="SESSION", help="Folder of a recorded session.")]


@app.command()
def info(folder: Folder) -> None:
    """Say what a session holds."""
    from rtface.session import open_session
    from rtface.session.events import LOOP_EVENTS, shown
    from rtface.session.verify import count_camera

    with open_session(folder) as session:
        about, ended = session.about, session.ended
        state = f"ended ({ended.fields.get('why')})" if ended else "growing, or broken off"
        lines: list[tuple[str, Any]] = [
            ("subject", about.subject or "-"),
            ("name", about.name or "-"),
            ("began", _local(about.began_unix_ns)),
            ("on", f"{about.host}, rtface {about.rtface}"),
            ("state", state),
        ]
        for name, camera in session.cameras.items():
            size = f"{camera.about.width}x{camera.about.height} px"
            counts = count_camera(session.path, name)
            n, results = counts.pop("frames"), counts.pop("results")
            lost = counts.pop("results_lost")
            kinds = ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in counts.items())
            model = camera.about.meta.get("model", {})
            lines += [
                (name, f"{size}, {camera.about.rate_hz:g} Hz, video {camera.about.video}"),
                ("  frames", f"{n} ({kinds})"),
                ("  results", f"{results}" + (f", {lost} lost" if lost else "")),
                ("  network", f"{model.get('name')} {str(model.get('sha256'))[:12]}"),
            ]
            if results:
                ends = [camera.results[i : i + 1]["exposure_ns"][0] for i in (0, results - 1)]
                lines.append(("  lasts", f"{(ends[1] - ends[0]) * 1e-9:.1f} s"))
        fired = sum(e.fields.get("outcome") == "fired" for e in session.events)
        decided = sum(e.kind == "decision" for e in session.events)
        if decided:
            lines.append(("rules", f"{decided} decisions, {fired} fired"))
        remarks = [e for e in session.events if e.kind not in ("began", "ended", *LOOP_EVENTS)]
        for event in remarks[:20]:
            at = (event.t_host_ns - about.began_host_ns) * 1e-9
            text = shown(f"{event.kind} {event.fields.get('text', '')}")
            lines.append((f"at {at:.2f} s", text))
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    lines.append(("size", f"{n_bytes / 1e6:.1f} MB"))
    for what, text in lines:
        print(f"{what:12} {text}")


def _local(unix_ns: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(unix_ns // 1_000_000_000))


@app.command()
def verify(folder: Folder) -> None:
    """Check every record, count and video file; exit code 2 if something is wrong."""
    from rtface.session.verify import verify as check

    found = check(folder, _say_file)
    if not found:
        print(f"{folder}: whole")
        return
    for finding in found:
        print(f"{finding.file}: {finding.what}")
    raise UserError(f"{folder}: not whole; 'rtface session repair {folder}' mends what can be")


@app.command()
def repair(folder: Folder) -> None:
    """Mend a session that broke off or was damaged; what is set aside is kept beside it."""
    from rtface.session.repair import repair as mend
    from rtface.session.verify import verify as check

    done = mend(folder, _say_file)
    for line in done:
        print(line)
    if left := check(folder, _say_file):
        raise UserError(f"{folder}: cannot be mended: {left[0].file}: {left[0].what}")
    print(f"{folder}: {'repaired' if done else 'whole, nothing to do'}")


def _say_file(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{name}\r", end="", file=sys.stderr, flush=True)


def replay(
    folder: Folder,
    pace: Annotated[
        float, typer.Option(min=0, help="2: twice as fast as recorded; 0: as fast as possible.")
    ] = 1.0,
    wait: Annotated[bool, typer.Option("--wait", help="Begin with the first subscriber.")] = False,
    recorded_times: Annotated[
        bool,
        typer.Option("--recorded-times", help="Leave all times as recorded; they are then old."),
    ] = False,
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Publish nothing: track the video again and compare."),
    ] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="With --recompute: track also what was skipped live.")
    ] = False,
    bundle: Annotated[
        str | None, typer.Option(help="With --recompute: where the network is now.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="With --recompute of lossy video: p99 allowed, px.")
    ] = 1.0,
) -> None:
    """Put a session back on the wire, or track its video again and compare."""
    from rtface.session import open_session

    if not math.isfinite(pace):
        raise UserError("--pace is a number; 0 is as fast as possible")
    if (fill or bundle) and not recompute:
        raise UserError("--fill and --bundle go with --recompute")
    with open_session(folder) as session:
        if recompute or fill:
            _recompute(session, bundle, fill, tolerance)
            return
        from rtface.replay import replay as publish

        with progress_bar("replaying") as move:
            sent = publish(session, pace, recorded_times, wait, stop_switch(), move, _say_where)
    print(f"{sent} results sent")


def _say_where(endpoints: dict[str, Any]) -> None:
    for camera, address in endpoints["data"].items():
        print(f"{camera} is replayed at {address}", file=sys.stderr)


def _recompute(session: Any, bundle: str | None, fill: bool, tolerance: float) -> None:
    from rtface.process import ChildDied
    from rtface.recompute import recompute

    wrong = []
    for camera in session.cameras:
        with progress_bar(f"tracking {camera}") as move:
            found = recompute(session, camera, bundle, fill, move)
        print(
            f"{camera}: {found.identical} of {found.compared} results identical, distance p99 "
            f"{found.p99_px:.3f} px, max {found.max_px:.3f} px"
            + (f"; {found.without_pixels} without pixels" if found.without_pixels else "")
            + (f"; {found.filled} filled into {camera}.filled.rec" if fill else "")
        )
        if found.motion:
            print(
                f"{camera}: motion of {found.motion_identical} of {found.motion} results "
                f"identical, at most {found.motion_off:.3f} standard deviations off"
            )
        same = found.identical == found.compared > 0 and found.motion_identical == found.motion
        close = found.compared > 0 and found.p99_px <= tolerance
        if not (same if found.lossless else close):
            wrong.append(camera)
    if wrong:
        raise ChildDied(
            f"{session.path}: {', '.join(wrong)} differs from what was recorded, or nothing could "
            "be compared; another machine, runtime or version may round differently"
        )


def plot(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(help="PNG, PDF or SVG; session.png in its folder if left out.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="The first one if left out.")] = None,
) -> None:
    """Draw a session as one figure: traces, events, ages, losses."""
    from rtface.plot import plot as draw
    from rtface.session import open_session

    out = out or folder / "session.png"
    with open_session(folder) as session:
        draw(session, out, camera)
    print(out)
