"""Commands that work on recorded files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rtface.types import CameraInfo, UserError


def track(
    files: Annotated[list[Path], typer.Argument(help="Videos or stills.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    bundle: Annotated[str, typer.Option(help="Folder of the network.")] = "default",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    face: Annotated[
        str,
        typer.Option(
            help="follow: find the face of each file, then follow it slowly; hold: stay where it "
            "was found; off: the whole frame."
        ),
    ] = "follow",
) -> None:
    """Track every frame of recorded files into one CSV file, as fast as possible."""
    from rich.console import Console
    from rich.progress import Progress

    from rtface.engine import make_engine
    from rtface.engine.bundle import load_bundle
    from rtface.facemap_pose import FacemapEstimator, facemap_estimator
    from rtface.offline import track_files
    from rtface.pose import PoseEstimator, finder_for

    if face not in ("follow", "hold", "off"):
        raise UserError(f"--face: follow, hold or off, not '{face}'")
    network = load_bundle(bundle)
    engine = make_engine(network, "onnxruntime", threads)
    console = Console(stderr=True)
    progress = Progress(console=console, disable=not console.is_terminal)
    tasks: dict[str, Any] = {}

    def estimator(info: CameraInfo) -> PoseEstimator | FacemapEstimator:
        shape = info.height, info.width
        if made := facemap_estimator(network.normalisation, engine, shape):
            return made
        finder = finder_for(network.crop, engine, shape, face)
        return PoseEstimator(engine, shape, info.bits, finder=finder)

    def on_progress(source: str, done: int, total: int | None) -> None:
        if source not in tasks:
            progress.start()  # not before the first frame: a refused file gets one line alone
            tasks[source] = progress.add_task(Path(source).name, total=total)
        progress.update(tasks[source], completed=done)

    try:
        done_work = track_files(
            files,
            out,
            estimator,
            on_progress,
        )
    finally:
        if tasks:
            progress.stop()
    print(
        f"{done_work.frames} frames of {done_work.files} file(s) -> {out} "
        f"({done_work.frames / max(done_work.seconds, 1e-9):.0f} frames/s)"
        + (f"; no face in {done_work.no_face} of them" if done_work.no_face else "")
    )
