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
    runtime: Annotated[str, typer.Option(help="What to run it in.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of the network.")] = 1,
) -> None:
    """Run a network's reference frames here: largest shift in px, and ms per frame.

    Exit code 2 and one line if a file is missing, altered or wrong, or keypoints moved.
    """
    from rtface.bundles import verify as run_reference
    from rtface.engine.bundle import TOLERANCE_PX

    found = run_reference(bundle, runtime, threads)
    print(
        f"{found.frames} reference frames: largest shift {found.shift_px:.4f} px of the input "
        f"(at most {TOLERANCE_PX} where sure), scores within {found.score_change:.1e}; "
        f"{found.ms_per_frame:.2f} ms per frame"
    )


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
