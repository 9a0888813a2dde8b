"""Commands that work on recorded files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtface.cli.common import naming, stop_switch
from rtface.types import CameraInfo, UserError

if TYPE_CHECKING:
    from rtface.config import Rig
    from rtface.many.plan import Outcome


def track(
    files: Annotated[list[Path], typer.Argument(help="Videos or stills.")],
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    sessions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Instead: a session of each video, in this folder."),
    ] = None,
    bundle: Annotated[str, typer.Option(help="Folder of the network.")] = "default",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    face: Annotated[
        str,
        typer.Option(
            help="follow: find the face of each file, then follow it slowly; hold: stay where it "
            "was found; off: the whole frame."
        ),
    ] = "follow",
    workers: Annotated[
        int, typer.Option(min=1, max=512, help="With --sessions: so many videos at once.")
    ] = 1,
    rig: Annotated[
        Path | None,
        typer.Option(
            metavar="rig.toml",
            help="With --sessions: network, motion, pupil and running as its camera has them.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --sessions: on this Ray cluster; `local`: of --workers cores here.",
        ),
    ] = None,
) -> None:
    """Track every frame of recorded files, into one CSV file or a session of each.

    Runs as fast as possible. Sessions that are there already are left alone, so that a run that
    was stopped can be started again.
    """
    if face not in ("follow", "hold", "off"):
        raise UserError(f"--face: follow, hold or off, not '{face}'")
    if (out is None) == (sessions is None):
        raise UserError("give one of --out, for a CSV file, and --sessions, for sessions")
    if sessions is not None:
        _to_sessions(files, sessions, _rig(rig, bundle, threads, face), rig, workers, ray)
    elif out is not None:
        if rig or ray or workers > 1:
            raise UserError("--rig, --ray and --workers go with --sessions")
        _to_csv(files, out, bundle, threads, face)


def _rig(rig: Path | None, bundle: str, threads: int, face: str) -> Rig:
    """Return what holds for every video: a rig file, or the options."""
    from rtface.config import load_rig, parse_rig

    if rig is not None:
        if (bundle, threads, face) != ("default", 1, "follow"):
            raise UserError("--rig says the network and how a face is followed; leave out the rest")
        return load_rig(rig)
    path = bundle if bundle == "default" else str(Path(bundle).absolute())
    camera = {"cam1": {"kind": "video", "file": "video", "face": face}}
    engine = {"bundle": path, "threads": threads}
    return parse_rig({"name": "track", "camera": camera, "engine": engine}, "track")


def _to_sessions(
    files: list[Path],
    sessions: Path,
    rig: Rig,
    rig_file: Path | None,
    workers: int,
    ray: str | None,
) -> None:
    from rtface.engine.bundle import load_bundle
    from rtface.many.cluster import run_cluster
    from rtface.many.plan import plan
    from rtface.many.workers import run_local
    from rtface.process import ChildDied

    try:
        sessions.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{sessions}: cannot be made ({error.strerror})") from None
    with naming(rig_file):
        jobs, faults = plan(files, sessions, rig, load_bundle(rig.engine.bundle))
    with _Shown(len(jobs)) as shown:
        for outcome in faults:
            shown.done(outcome)
        stop = stop_switch()
        if ray is None:
            finished = run_local(jobs, workers, shown.move, shown.done, stop)
        else:
            finished = run_cluster(jobs, ray, workers, shown.done, stop)
    counts = shown.told()
    if not finished:
        raise ChildDied(f"stopped, {counts}; the same command goes on")
    print(f"{counts} -> {sessions}")
    if shown.faults:
        raise ChildDied(f"{shown.faults} videos are not whole or were not tracked; see above")


class _Shown:
    """Says what became of each video, and shows progress on a terminal."""

    def __init__(self, n_jobs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._all = self._bar.add_task("videos", total=n_jobs)
        self._tasks: dict[str, Any] = {}
        self.faults = self.skipped = self.made = self.frames = 0

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def move(self, video: str, done: int) -> None:
        """Show how far a video is."""
        if video not in self._tasks:
            self._tasks[video] = self._bar.add_task(Path(video).name, total=None)
        self._bar.update(self._tasks[video], completed=done)

    def done(self, outcome: Outcome) -> None:
        """Say what became of a video."""
        if outcome.video in self._tasks:
            self._bar.remove_task(self._tasks.pop(outcome.video))
        self._bar.advance(self._all)
        if outcome.fault:
            self.faults += 1
            self._console.print(f"rtface: {outcome.fault}", markup=False, soft_wrap=True)
        if outcome.note:
            text = f"note: {outcome.video}: {outcome.note}"
            self._console.print(text, markup=False, soft_wrap=True)
        self.skipped += outcome.skipped
        if outcome.frames and not outcome.skipped:
            self.made += 1
            self.frames += outcome.frames
            self._console.print(
                f"{outcome.frames} frames -> {outcome.folder}", markup=False, soft_wrap=True
            )

    def told(self) -> str:
        """Return the counts in words."""
        return (
            f"{self.made} sessions made ({self.frames} frames), {self.skipped} there already, "
            f"{self.faults} faults"
        )


def _to_csv(files: list[Path], out: Path, bundle: str, threads: int, face: str) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from rtface.engine import make_engine
    from rtface.engine.bundle import load_bundle
    from rtface.facemap_pose import FacemapEstimator, facemap_estimator
    from rtface.offline import track_files
    from rtface.pose import PoseEstimator, finder_for

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
