"""Commands for networks: which there are, what is in them, and Facemap's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rtface.types import UserError

app = typer.Typer(
    no_args_is_help=True,
    help="""List, look at, try, import and fetch networks.

    A network is a folder (a *bundle*) with model.onnx, model.json and reference frames; its path
    goes to **--bundle** or into a rig file. For Facemap's:

    **rtface model fetch facemap**, then the line it prints.""",
)

Bundle = Annotated[
    str, typer.Argument(metavar="[BUNDLE]", help="Folder of a bundle; the shipped one by default.")
]


@app.command("list")
def list_(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Bundles, or folders of them, to list as well."),
    ] = None,
) -> None:
    """List the shipped network, those in ~/.rtface/models and those in folders given."""
    from rtface.bundles import list_bundles

    for entry in list_bundles(folders or ()):
        if entry.bundle is None:
            print(f"{'(refused)':24} {entry.fault}")
            continue
        height, width = entry.bundle.input_shape
        what = f"{len(entry.bundle.names)} keypoints, {width}x{height}"
        print(f"{entry.bundle.name:24} {what:22} {entry.bundle.sha256[:12]}  {entry.folder}")


@app.command()
def info(bundle: Bundle = "default") -> None:
    """Say what stands in a network's card: keypoints, input, hash, licence, training, scores."""
    from rtface.bundles import card
    from rtface.engine.bundle import load_bundle

    for what, text in card(load_bundle(bundle)):
        print(f"{what:12} {text}")


@app.command()
def verify(
    bundle: Bundle = "default",
    runtime: Annotated[
        str | None, typer.Option(help="What to run it in; every one that starts here if left out.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16, fp16, int8 or int8-bf16; every one if left out.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
) -> None:
    """Run a network's reference frames here: largest shift in px, and ms per frame.

    Exit code 2 and one line if a file is missing, altered or wrong, or keypoints moved.
    """
    from rtface.bundles import verify as run_reference
    from rtface.engine import RUNTIMES
    from rtface.engine.bundle import TOLERANCE_PX, NotHere, load_bundle

    load_bundle(bundle)  # what is wrong with it is said before what runtimes make of it
    if runtime and runtime not in RUNTIMES:
        raise UserError(f"--runtime: there is no '{runtime}'; use one of {', '.join(RUNTIMES)}")
    kinds = RUNTIMES[runtime] if runtime else {kind for of in RUNTIMES.values() for kind in of}
    if precision and precision not in kinds:
        raise UserError(
            f"--precision: there is no '{precision}'; use one of {', '.join(sorted(kinds))}"
        )
    faults = []
    for name in [runtime] if runtime else list(RUNTIMES):
        for kind in RUNTIMES[name]:
            if precision not in (None, kind):
                continue
            label = f"{name} {kind}"
            try:
                found = run_reference(bundle, name, threads, kind)
            except NotHere as error:
                if runtime and kind in (precision, "fp32"):
                    raise  # asked for by name
                print(f"{label:18} not here: {error}")
                continue
            except UserError as error:
                if kind == "fp32":
                    raise
                faults.append(f"{label}: {error}")
                continue
            print(
                f"{label:18} {found.frames} reference frames: largest shift "
                f"{found.shift_px:.4f} px of the input (at most {TOLERANCE_PX} where sure), "
                f"scores within {found.score_change:.1e}; {found.ms_per_frame:.2f} ms per frame"
            )
    if faults:
        raise UserError("; ".join(faults))


@app.command()
def bench(
    bundle: Bundle = "default",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.05, help="How long each is timed.")] = 1.0,
) -> None:
    """Time a network in every runtime and precision that this machine can start.

    p50 and p99, of the network alone and of the whole way from a frame of 640x480 px; and the
    largest shift of the reference frames' keypoints from FP32. What does not start says why.
    """
    from rtface.engine.bundle import load_bundle
    from rtface.modelbench import bench as measured

    print(
        f"{'':20}{'network, ms':>15}{'whole, ms':>15}{'shift':>10}\n"
        f"{'':20}{'p50':>8}{'p99':>7}{'p50':>8}{'p99':>7}{'px':>10}"
    )
    faults = []
    for row in measured(load_bundle(bundle), threads, seconds):
        label = f"{row.runtime} {row.precision}"
        if row.fault:
            faults.append(f"{label:20}not: {row.fault}")
            continue
        times = "".join(f"{p50:8.2f}{p99:7.2f}" for p50, p99 in (row.network_ms, row.whole_ms))
        print(f"{label:20}{times}{row.shift_px:10.4f}", flush=True)
    print("\n".join(faults))


@app.command()
def quantize(
    video: Annotated[
        list[Path],
        typer.Option(metavar="FILE", help="A recording of your own, or a folder of stills."),
    ],
    bundle: Bundle = "default",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where; ~/.rtface/models/NAME-int8 if left out."),
    ] = None,
    reduced_range: Annotated[
        bool | None,
        typer.Option(
            "--reduced-range/--full-range",
            help="Weights of 7 bits, which CPUs without VNNI need; by default as this one does.",
        ),
    ] = None,
) -> None:
    """Make the INT8 networks of a bundle from your own frames (needs the extra `quantize`).

    Frames of each recording are tracked as live; on those that were not used for it keypoints may
    move by at most 0.5 px of the full frame (p99), or INT8 is refused. Give several recordings
    with several --video; each has to hold.
    """
    from rich.console import Console

    from rtface.bundles import models_dir
    from rtface.engine.bundle import load_bundle
    from rtface.quantize import LIMIT_PX
    from rtface.quantize import quantize as made_from

    network = load_bundle(bundle)
    to = out or models_dir() / f"{network.name}-int8"
    console = Console(stderr=True)

    def on_progress(text: str) -> None:
        if console.is_terminal:
            console.print(text, highlight=False)

    made = made_from(network, _recordings(video), to, reduced_range, on_progress)
    for one in made:
        frames = sum(shift.frames for shift in one.shifts.values())
        print(
            f"{one.file}: {one.layers} layers, {100 * one.share:.0f} % of the arithmetic, in 8 "
            f"bits; keypoints move by {one.p99_px:.2f} px (p99 of the worst recording, {frames} "
            f"other frames in all, at most {LIMIT_PX})"
        )
    print(f"{to}; time it: rtface model bench {to}")


def _recordings(paths: list[Path]) -> dict[str, list[Path]]:
    """Return each recording's files: a video is one, a folder has stills."""
    found = {}
    for path in paths:
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        if not files:
            raise UserError(f"--video: {path}: is an empty folder")
        found[str(path)] = files
    return found


@app.command("import")
def import_(
    state: Annotated[Path, typer.Argument(metavar="STATE.pt", help="Weights, of torch.save.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder of the bundle.")],
    names: Annotated[
        str,
        typer.Option(
            help="Keypoints in the order of the channels, with commas between; Facemap's 15 by "
            "default."
        ),
    ] = "",
) -> None:
    """Make a bundle of the weights of a Facemap network (needs the extra `model`).

    Nothing in the file is run. Also for networks of Facemap's shape with other keypoints.
    """
    try:
        from rtface.facemap.convert import import_weights
    except ImportError as error:
        raise UserError(
            f"import needs the package onnx ({error}); pip install 'rtface[model]'"
        ) from None
    words = [name.strip() for name in names.split(",")] if names else []
    bundle = import_weights(state, out, words)
    widths = ",".join(map(str, bundle.about["training"]["channels"]))
    print(
        f"{len(bundle.names)} keypoints, channels {widths} -> {out}; "
        f"try it: rtface model verify {out}"
    )


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(metavar="facemap", help="Whose network.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="A web folder with the files, if not osf.io."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Folder; by default ~/.rtface/facemap."),
    ] = None,
) -> None:
    """Download Facemap's published weights; goes on where it was cut.

    The hash of what comes is kept; another file under the same name is refused later.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from rtface.bundles import models_dir
    from rtface.facemap.fetch import STATE, TERMS
    from rtface.facemap.fetch import fetch as download

    if what != "facemap":
        raise UserError(f"fetch: there is no '{what}'; only facemap can be fetched")
    print(TERMS)
    folder = to or models_dir().parent / "facemap"
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bar = Progress(
        *columns, TransferSpeedColumn(), console=console, disable=not console.is_terminal
    )
    tasks: dict[str, Any] = {}

    def on_progress(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            bar.start()  # not before the first byte: a refusal gets one line alone
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=done, total=total)

    try:
        paths = download(folder, source, on_progress)
    finally:
        if tasks:
            bar.stop()
    for path in paths:
        print(f"{path}: {path.stat().st_size} bytes, hash in {path.name}.sha256")
    print(f"make a bundle of it: rtface model import {folder / STATE} --out {models_dir()}/facemap")
