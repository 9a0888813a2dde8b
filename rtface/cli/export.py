"""The command that writes sessions as other programs' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    folder: Annotated[Path, typer.Argument(metavar="SESSION", help="Folder of a session.")],
    facemap: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for files that Facemap opens.")
    ],
    camera: Annotated[str | None, typer.Option(help="Every one if left out.")] = None,
    filled: Annotated[
        bool,
        typer.Option("--filled", help="Keypoints of `rtface replay --recompute --fill`."),
    ] = False,
    as_facemap: Annotated[
        bool,
        typer.Option("--as-facemap", help="Repeat also what Facemap gets wrong in _proc.npy."),
    ] = False,
) -> None:
    """Write a session as files of Facemap: a copy of the video, keypoints, and what else there is.

    Nothing is encoded again and the session stays as it is. Needs `rtface[export]`.
    """
    from rich.console import Console
    from rich.progress import Progress

    from rtface.export.facemap import export_facemap
    from rtface.session import open_session

    console = Console(stderr=True)
    with open_session(folder) as session:
        for name in [camera] if camera else session.cameras:
            with Progress(
                console=console, disable=not console.is_terminal, transient=True
            ) as progress:
                task = progress.add_task(f"copying {name}", total=None)

                def move(done: int, total: int) -> None:
                    progress.update(task, completed=done, total=total)  # noqa: B023

                done = export_facemap(session, name, facemap, filled, as_facemap, move)
            print(
                f"{name}: {done.frames} frames, {done.tracked} tracked"
                + (f", {done.left_out} that cannot be decoded left out" if done.left_out else "")
            )
            for path in done.files:
                print(path)
