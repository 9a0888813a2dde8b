"""Commands that make a network of one's own; PyTorch is imported only by them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from rtface.types import BBox, UserError

#: suspicious labels that are shown
SHOWN = 12

Out = Annotated[Path, typer.Option(metavar="BUNDLE", help="New folder for the network.")]
Start = Annotated[
    str, typer.Option(metavar="BUNDLE", help="Network to start from; the shipped one by default.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of what is drawn by lot.")]


def train(
    labels: Annotated[
        list[Path],
        typer.Argument(
            metavar="LABELS...",
            help="CollectedData_*.csv or .h5 or a project of DeepLabCut, .slp of SLEAP, "
            "*_Facemap_refined_data.npy.",
        ),
    ],
    out: Out,
    start: Start = "default",
    names: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THEIRS=OURS,...",
            help="Which of rtface's keypoints yours are, where that is not clear; an empty name "
            "leaves one out; or a TOML file.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Keypoints of yours that rtface does not know."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How long to learn; 400 by default.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="How long to learn, about, instead of steps.")
    ] = None,
    seed: Seed = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="Learn from every picture; nothing judges the result.")
    ] = False,
) -> None:
    """Tune a network to labels of your own mouse (needs the extra `train`).

    About a fifth of the videos or folders is held out and judges the result; of a single one its
    last fifth. Takes about two minutes on two slow cores.
    """
    _need_torch()
    if steps is not None and minutes is not None:
        raise UserError("--steps and --minutes both say how long to learn; give one of them")
    from rtface.engine.bundle import load_bundle
    from rtface.train import tune
    from rtface.train.labels import check_labels, parse_names
    from rtface.train.lesson import plan_lesson, read
    from rtface.train.mirror import lonely

    tune.check_out(out)
    first = load_bundle(start)
    kept = [name.strip() for text in keep or () for name in text.split(",") if name.strip()]
    keypoints, labelled = read(labels, first.names, parse_names(names or ()), kept)
    for name in lonely(keypoints):
        print(f"note: {name} has no partner on the other side, so no picture is mirrored")
    groups = len({one.group for one in labelled})
    print(f"{len(labelled)} labelled pictures in {groups} videos or folders")
    if found := check_labels(labelled, keypoints):
        print(f"{len(found)} labels look wrong; look at them again:")
        _table([one._asdict() for one in found[:SHOWN]], ("where", "keypoint", "why"))
        if len(found) > SHOWN:
            print(f"... and {len(found) - SHOWN} more")
    task = plan_lesson(keypoints, labelled, seed, everything)
    print(f"held out: {task.how}", flush=True)
    with _progress() as report:
        plan = tune.Plan(steps or tune.STEPS, minutes, seed)
        made = tune.tune(first, task, plan, out, report)
    _verdict(made)
    print(f"{out} written ({made.steps} steps); try it: rtface run --video FILE --bundle {out}")


def distill(
    teacher: Annotated[str, typer.Option(metavar="BUNDLE", help="Network to learn from.")],
    video: Annotated[
        list[Path], typer.Option(metavar="FILE", help="Of your rig; may be repeated.")
    ],
    out: Out,
    start: Start = "default",
    frames: Annotated[int, typer.Option(min=5, help="Frames to ask the teacher about.")] = 300,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to learn, about.")] = 10.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How long to learn, instead of minutes.")
    ] = None,
    bbox: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            metavar="X Y WIDTH HEIGHT",
            help="Where a Facemap-type teacher is to look, px; the whole frame by default.",
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Make a fast network for one rig from a slow one (needs the extra `train`).

    The teacher labels the most different frames of the videos; the end of each video judges.
    """
    _need_torch()
    from rtface.engine.bundle import load_bundle
    from rtface.train import distill as slow
    from rtface.train import tune

    tune.check_out(out)
    first, knows = load_bundle(start), load_bundle(teacher)
    plan = tune.Plan(steps or tune.STEPS, None if steps else minutes, seed)
    asked = slow.Teacher(knows, BBox(*bbox) if bbox else None)
    with _progress() as report:
        made = slow.distill(asked, first, video, frames, plan, out, report)
    print(f"learned from {made.learned} frames, judged by {made.held}; the teacher is the truth")
    _verdict(made.tuned)
    rows = [
        {"network": f"teacher, {knows.name}", "ms per frame": made.speeds.teacher_ms},
        {"network": f"student, {out.name}", "ms per frame": made.speeds.student_ms},
    ]
    _table(rows, ("network", "ms per frame"))
    print(f"(medians, one thread, on the same frames in turn)\n{out} written")


def _need_torch() -> None:
    try:
        import torch
    except ImportError:
        raise UserError("training needs PyTorch; pip install 'rtface[train]'") from None
    torch.set_num_threads(1)  # learning and drawing of pictures run side by side
    try:
        import onnx as _onnx  # noqa: F401 - only to say in one line that it is missing
    except ImportError:
        raise UserError("training needs onnx; pip install 'rtface[train]'") from None


@contextmanager
def _progress() -> Iterator[Callable[[str, float, float], None]]:
    """Show what is being done: bars with the loss on a terminal, else a line for each thing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def report(what: str, done: float, loss: float) -> None:
            if what not in tasks:
                for task in tasks.values():
                    progress.update(task, completed=1.0)
                tasks[what] = progress.add_task(what, total=1.0)
                if not console.is_terminal:
                    print(f"{what} ...", file=sys.stderr, flush=True)
            shown = "" if math.isnan(loss) else f", loss {loss:.2f}"
            progress.update(tasks[what], completed=done, description=what + shown)

        yield report


def _verdict(made: Any) -> None:
    """Print what held-out pictures say, if there are any."""
    judged = made.judged
    if judged is None:
        print("nothing was held out: how far off it is, nobody knows")
        return
    titles = {
        "name": "keypoint",
        "n": "n",
        "error_px": "mean px",
        "median_px": "median px",
        "error_eye_pct": "% of eye",
        "start_px": "before",
        "start_median_px": "median before",
        "constant_px": "constant",
    }
    rows = [{title: row[key] for key, title in titles.items()} for row in judged.rows]
    _table(rows, tuple(titles.values()))
    before, after = judged.faces
    print(f"a face was found in {100 * after:.0f} % of them, before in {100 * before:.0f} %")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows under their titles; numbers to the right, one decimal."""
    texts = [list(columns), *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [bool(rows) and isinstance(rows[0][column], int | float) for column in columns]
    for line in texts:
        cells = zip(line, widths, right, strict=True)
        print("  ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in cells).rstrip())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.1f}"
    return str(value)
