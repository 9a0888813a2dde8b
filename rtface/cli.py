"""The command line: thin, one function per command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rtface import __version__
from rtface.types import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Mouse-face keypoints from a live camera, every frame accounted for and timed.

    Start with **rtface demo**, then **rtface listen** in a second terminal. For your own camera:
    **rtface init rig.toml**, **rtface check rig.toml**, **rtface run rig.toml**.

    Exit codes: 0 done; 1 something of rtface died while running; 2 something you can mend (one
    line says what).""",
)

Seconds = Annotated[
    float | None, typer.Option(min=0.1, help="Stop after this long; Ctrl-C stops at any time.")
]


def main() -> None:
    """Run the command line; the one place that turns errors into a line and an exit code."""
    from rtface.process import ChildDied

    try:
        app()
    except UserError as error:
        print(f"rtface: {error}", file=sys.stderr)
        sys.exit(2)
    except ChildDied as error:
        print(f"rtface: {error}", file=sys.stderr)
        sys.exit(1)


def _stop_switch() -> Callable[[], bool]:
    """Return a function that tells whether Ctrl-C, SIGTERM or a closed terminal asked to stop."""
    asked = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP: so be it
            signal.signal(number, stop)
    return lambda: asked


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    seconds: Seconds = None,
    rate: Annotated[float, typer.Option(min=1, max=2000, help="Frames per second.")] = 100.0,
    seed: Annotated[int, typer.Option(min=0, max=999, help="Which mouse.")] = 7,
) -> None:
    """Track a synthetic mouse, publish its keypoints, and compare them with the exact truth."""
    from rtface.config import SyntheticSection
    from rtface.demo import TruthCheck, demo_rig
    from rtface.engine.bundle import load_bundle
    from rtface.run import Supervisor, run_rig
    from rtface.show import StatusLine, summary

    rig = demo_rig(rate, seed)
    section = rig.camera["cam1"]
    assert isinstance(section, SyntheticSection)
    names = load_bundle(rig.engine.bundle).names
    check: list[TruthCheck] = []
    with StatusLine() as line:

        def on_start(supervisor: Supervisor) -> None:
            check.append(TruthCheck("cam1", section, names))
            _say_where(supervisor.endpoints)

        def on_turn(supervisor: Supervisor) -> None:
            for one in check:
                one.update()
            line.show(supervisor.status())

        supervisor = run_rig(rig, _stop_switch(), seconds, on_start, on_turn)
    print(summary(supervisor.status(), supervisor.unclean))
    for one in check:
        one.update()
        print(one.report())
        one.close()


@app.command()
def run(
    rig_file: Annotated[
        Path | None, typer.Argument(metavar="RIG.toml", help="Written by `rtface init`.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Play this file as the camera instead of a rig file.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=2000, help="With --video: frames per second.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="With --video: start again.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="With --video: as fast as possible.")
    ] = False,
    seconds: Seconds = None,
) -> None:
    """Track the cameras of a rig file (or one video) until Ctrl-C."""
    from rtface.config import Rig, VideoSection, load_rig
    from rtface.run import run_rig
    from rtface.show import StatusLine, summary

    if (rig_file is None) == (video is None):
        raise UserError("give either a rig file or --video FILE; 'rtface init' writes a rig file")
    if rig_file:
        if rate or loop or fast:
            raise UserError("--rate, --loop and --fast go with --video; the rig file has its own")
        rig = load_rig(rig_file)
    else:
        section = VideoSection(kind="video", file=str(video), rate_hz=rate, loop=loop, fast=fast)
        rig = Rig(name="video", camera={"cam1": section})
    with StatusLine() as line:
        supervisor = run_rig(
            rig,
            _stop_switch(),
            seconds,
            on_start=lambda supervisor: _say_where(supervisor.endpoints),
            on_turn=lambda supervisor: line.show(supervisor.status()),
        )
    print(summary(supervisor.status(), supervisor.unclean))


def _say_where(endpoints: dict[str, Any]) -> None:
    for camera, address in endpoints["data"].items():
        listen = "rtface listen" if camera == "cam1" else f"rtface listen {camera} {address}"
        print(f"{camera} is published at {address}; see it with: {listen}", file=sys.stderr)


@app.command()
def listen(
    camera: Annotated[str, typer.Argument(help="Name of the camera.")] = "cam1",
    address: Annotated[str, typer.Argument(help="Its data port.")] = "tcp://127.0.0.1:5581",
    json: Annotated[
        bool, typer.Option("--json", help="Every message as one JSON line on stdout.")
    ] = False,
    latest: Annotated[
        bool, typer.Option("--latest", help="Only the newest message, never older than 50 ms.")
    ] = False,
    seconds: Seconds = None,
) -> None:
    """Show the keypoints that arrive: a live table, or JSON lines for other programs."""
    from rtface.listen import listen_json, listen_table

    stop = _stop_switch()
    (listen_json if json else listen_table)(camera, address, latest, seconds, stop)


@app.command()
def track(
    files: Annotated[list[Path], typer.Argument(help="Videos or stills.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    bundle: Annotated[str, typer.Option(help="Folder of the network.")] = "default",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
) -> None:
    """Track every frame of recorded files into one CSV file, as fast as possible."""
    from rich.console import Console
    from rich.progress import Progress

    from rtface.engine import make_engine
    from rtface.engine.bundle import load_bundle
    from rtface.offline import track_files
    from rtface.pose import PoseEstimator

    engine = make_engine(load_bundle(bundle), "onnxruntime", threads)
    console = Console(stderr=True)
    progress = Progress(console=console, disable=not console.is_terminal)
    tasks: dict[str, Any] = {}

    def on_progress(source: str, done: int, total: int | None) -> None:
        if source not in tasks:
            progress.start()  # not before the first frame: a refused file gets one line alone
            tasks[source] = progress.add_task(Path(source).name, total=total)
        progress.update(tasks[source], completed=done)

    try:
        done_work = track_files(
            files,
            out,
            lambda info: PoseEstimator(engine, (info.height, info.width), info.bits),
            on_progress,
        )
    finally:
        if tasks:
            progress.stop()
    print(
        f"{done_work.frames} frames of {done_work.files} file(s) -> {out} "
        f"({done_work.frames / max(done_work.seconds, 1e-9):.0f} frames/s)"
    )


@app.command()
def init(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
) -> None:
    """Write a commented rig file to start from."""
    from rtface.config import TEMPLATE

    try:
        with rig_file.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise UserError(f"{rig_file}: exists already; name another file or remove it") from None
    except OSError as error:
        raise UserError(f"{rig_file}: cannot be written ({error.strerror})") from None
    print(f"{rig_file} written; edit it, then: rtface check {rig_file}")


@app.command()
def check(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
) -> None:
    """Say what a rig file would run, and try everything short of running it."""
    from rtface.check import check_rig
    from rtface.config import load_rig

    for what, finding in check_rig(load_rig(rig_file)):
        print(f"{what:16} {finding}")
    print(f"{rig_file} is ready: rtface run {rig_file}")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder with facemap_g7c1 and schroeder_face.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Time for fitting alone.")] = 20.0,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Leave out one video and four animals; judge by them.")
    ] = False,
    holdout_bundle: Annotated[
        Path | None, typer.Option(help="A bundle made with --holdout, to copy its scores from.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and views.")] = 0,
) -> None:
    """Train a network on labelled stills and synthetic faces (needs the extra `train`)."""
    try:
        import torch as _torch  # noqa: F401 - only to say in one line that it is missing
    except ImportError:
        raise UserError("training needs PyTorch; pip install 'rtface[train]'") from None
    from rtface.train import train as fit_and_write

    scores = fit_and_write(data, out, minutes, holdout, seed, holdout_bundle=holdout_bundle)
    for source, score in scores["these_weights"].items():
        print(f"{source}: mean error and that of a constant predictor, px")
        for row in score["rows"]:
            print(f"  {row['name']:18} {row['error_px']:7.2f} {row['constant_px']:7.2f}")
