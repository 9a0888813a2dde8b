"""Commands that make, of recordings, what a rig needs to know before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtface.cli.common import stop_switch
from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.motion.masks import Masks

#: bin, components, ROIs, whether the whole frame, motion and movie masks
Kind = tuple[int, int, Sequence[tuple[int, int, int, int]], bool, bool, bool]

app = typer.Typer(no_args_is_help=True, help="Make what a rig needs to know of recordings.")


@app.command()
def motion(
    out: Annotated[Path, typer.Option(metavar="masks.npz", help="File to write.")],
    video: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Video of the camera; may be given again."),
    ] = None,
    live: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="SECONDS", help="Of a camera that runs now: so much from now on."
        ),
    ] = None,
    camera: Annotated[str, typer.Option(help="With --live: its name.")] = "cam1",
    proc: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE_proc.npy", help="Take Facemap's masks as they are."),
    ] = None,
    bin_px: Annotated[
        int, typer.Option("--bin", min=1, max=16, help="Side of a block of pixels, px.")
    ] = 4,
    components: Annotated[
        int, typer.Option(min=1, max=2000, help="At most so many for each area.")
    ] = 500,
    roi: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y,W,H", help="Rectangle in px, an area of its own; again."),
    ] = None,
    full: Annotated[bool, typer.Option(help="Masks of the whole frame.")] = True,
    motion_masks: Annotated[
        bool, typer.Option("--motion/--no-motion", help="Of the motion (motSVD).")
    ] = True,
    movie_masks: Annotated[
        bool, typer.Option("--movie/--no-movie", help="Of the frames themselves (movSVD).")
    ] = False,
    view: Annotated[
        int | None, typer.Option(min=0, help="With --from: which of several views at once.")
    ] = None,
) -> None:
    """Make the masks of motion components: of videos, a running camera, or a file of Facemap.

    Writes a picture of the first masks beside them. Nothing in Facemap's file is run.
    """
    from rtface.motion.masks import save_masks
    from rtface.motion.pictures import draw_masks

    if bool(video) + bool(proc) + bool(live) != 1:
        raise UserError("give one of --video, --live and --from")
    if out.suffix != ".npz":
        raise UserError(f"{out}: name a file that ends in .npz for --out")
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"{out}: is a folder or in none that exists; name a file for --out")
    notes: Sequence[str] = ()
    if proc is not None:
        from rtface.motion.procfile import load_proc

        made, notes = load_proc(proc, view)
    else:
        kind = bin_px, components, _rois(roi or []), full, motion_masks, movie_masks
        made = _of_videos(video, kind) if video else _of_camera(camera, live or 0.0, kind)
    save_masks(out, made)
    picture = out.with_suffix(".png")
    draw_masks(picture, made)
    for line in _lines(made):
        print(line)
    for note in notes:
        print(f"note: {note}")
    print(f"masks {made.identity[:12]} -> {out}, picture {picture}")


@app.command()
def whiskers(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
    camera: Annotated[str, typer.Option(help="Which of its cameras.")] = "cam1",
    seconds: Annotated[
        float, typer.Option(min=15, help="How long to watch; the mouse has to whisk meanwhile.")
    ] = 60.0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")] = Path(
        "whiskers.json"
    ),
) -> None:
    """See whether whiskers are tracked well enough for azimuth and phase in rules.

    Runs the rig's camera without its rules. Exit code 2 if they are not; the file is written
    either way, and rules look at it.
    """
    from rtface.accept.whiskers import watch
    from rtface.config import load_rig
    from rtface.rules.gate import write_whiskers

    found = watch(load_rig(rig_file), camera, seconds, stop_switch())
    write_whiskers(out, found)
    print(
        f"{found.rate_hz:.0f} frames per second, {found.tracked:.1%} tracked; all whiskers known "
        f"in {found.known:.1%}; they move {found.clear:.1f} times as much as they jitter, and "
        f"together by {found.agreement:.2f}"
    )
    if fault := found.fault():
        raise UserError(f"not good enough for azimuth and phase: {fault}")
    print(f'good enough; {out} written: put  whiskers = "{out}"  under [camera.{camera}]')


def _rois(texts: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return rectangles from their texts."""
    found = []
    for text in texts:
        try:
            x, y, width, height = (int(word) for word in text.split(","))
        except ValueError:
            raise UserError(
                f"--roi {text}: must be X,Y,W,H in whole px, as 100,50,200,120"
            ) from None
        found.append((x, y, width, height))
    return found


def _of_videos(videos: Sequence[Path], kind: Kind) -> Masks:
    """Return masks of videos."""
    from functools import partial

    from rtface.camera.video import declared_frames, read_frames
    from rtface.motion.fit import fit_masks

    declared = [declared_frames(path) for path in videos]
    total = sum(n or 0 for n in declared) if all(declared) else None
    films = [partial(read_frames, path) for path in videos]
    with _bars({1: "averages", 2: "masks"}, {1: total, 2: total}) as show:
        return fit_masks(films, *kind, show)


def _of_camera(camera: str, seconds: float, kind: Kind) -> Masks:
    """Return masks of what a camera sees from now on, from the ring of the run that has it."""
    from functools import partial

    from rtface.collect import Collector, collect
    from rtface.motion.fit import fit_masks
    from rtface.ring import CLOSED
    from rtface.rings import FrameRingReader

    try:
        frames = FrameRingReader(camera)
    except FileNotFoundError:
        raise UserError(
            f"--live: no camera '{camera}' runs on this machine; start 'rtface run' first, or "
            "give --camera"
        ) from None
    stop = stop_switch()
    with closing(frames), _bars({0: "frames", 1: "averages", 2: "masks"}, {}) as show:
        collector = Collector(frames, seconds, kind[0])
        ended = partial(lambda ring: ring.state == CLOSED, frames.ring)
        if not collect(collector, stop, lambda seen, wanted: show(0, seen, wanted), ended):
            raise UserError(f"--live: camera '{camera}' ended, or this was stopped, before then")
        shape = frames.info.height, frames.info.width
        total = sum(len(stretch) for stretch in collector.stretches)
        return fit_masks(
            [partial(iter, stretch) for stretch in collector.stretches],
            *kind,
            lambda stage, done: show(stage, done, total),
            binned_from=shape,
        )


@contextmanager
def _bars(names: dict[int, str], totals: dict[int, int | None]) -> Iterator[Callable[..., None]]:
    """Give what shows a bar for each stage, from its first step on, on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    console = Console(stderr=True)
    bars = Progress(console=console, disable=not console.is_terminal)
    tasks: dict[int, TaskID] = {}

    def show(stage: int, done: int, total: int | None = None) -> None:
        if not tasks:
            bars.start()  # not before the first frame: a refused file gets one line alone
        if stage not in tasks:
            tasks[stage] = bars.add_task(names[stage], total=total or totals.get(stage))
        bars.update(tasks[stage], completed=done)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()


def _lines(masks: Masks) -> list[str]:
    """Return what was made, a line per area and kind."""
    lines = [f"frames of {masks.width}x{masks.height}, bin {masks.bin_px} px"]
    for area in masks.areas:
        for kind, basis in (("motion", area.motion), ("movie", area.movie)):
            if basis is not None:
                share = float(basis.explained.sum())
                what = (
                    f"{100 * share:.1f} % of the variance" if share == share else "as in the file"
                )
                lines.append(
                    f"{area.name:8} {kind:8} {basis.masks.shape[1]} components of "
                    f"{area.area.pixels} bins, {what}"
                )
    return lines
