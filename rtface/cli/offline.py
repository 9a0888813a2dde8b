"""Commands that work on recorded files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rtface.types import UserError


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
    start: Annotated[
        Path | None, typer.Option(help="A bundle of this recipe to train further.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and views.")] = 0,
) -> None:
    """Train a network on labelled stills and synthetic faces (needs the extra `train`)."""
    try:
        import torch as _torch  # noqa: F401 - only to say in one line that it is missing
    except ImportError:
        raise UserError("training needs PyTorch; pip install 'rtface[train]'") from None
    from rtface.train import train as fit_and_write

    scores = fit_and_write(
        data, out, minutes, holdout, seed, holdout_bundle=holdout_bundle, start=start
    )
    these = scores["these_weights"]
    minute = these.pop("minute")["overall_median_eye_pct"]
    print(f"synthetic minutes: median error {minute:.2f} % of the eye's width")
    for source, score in these.items():
        print(f"{source}: mean error and that of a constant predictor, px")
        for row in score["rows"]:
            print(f"  {row['name']:18} {row['error_px']:7.2f} {row['constant_px']:7.2f}")
