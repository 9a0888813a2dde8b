"""The command that writes sessions as other programs' files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtface.cli.common import progress_bar
from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.session import Session


def export(
    folder: Annotated[Path, typer.Argument(metavar="SESSION", help="Folder of a session.")],
    facemap: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for files that Facemap opens.")
    ] = None,
    nwb: Annotated[
        Path | None, typer.Option(metavar="FILE.nwb", help="Everything, for pynwb and DANDI.")
    ] = None,
    dlc: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keypoints as DeepLabCut has them: .csv or .h5."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="A table, one row per result.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="The same table, small and quick.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Every one if left out.")] = None,
    filled: Annotated[
        bool,
        typer.Option("--filled", help="Keypoints of `rtface replay --recompute --fill`."),
    ] = False,
    components: Annotated[
        bool,
        typer.Option("--components", help="With --csv and --parquet: motion components, too."),
    ] = False,
    about: Annotated[
        Path | None,
        typer.Option(metavar="about.toml", help="With --nwb: subject and experiment."),
    ] = None,
    as_facemap: Annotated[
        bool,
        typer.Option("--as-facemap", help="Repeat also what Facemap gets wrong in _proc.npy."),
    ] = False,
) -> None:
    """Write a session as files of other programs; the session stays as it is.

    Several may be asked for at once. Without --camera, files of one camera get its name if there
    are more. Needs `rtface[export]`, and `rtface[nwb]` for NWB; CSV needs nothing.
    """
    from rtface.session import open_session

    asked = (facemap, nwb, dlc, csv, parquet)
    if not any(asked):
        raise UserError("say what to write: --facemap, --nwb, --dlc, --csv or --parquet")
    if (components and not (csv or parquet)) or (about and not nwb) or (as_facemap and not facemap):
        raise UserError(
            "--components goes with --csv and --parquet, --about with --nwb, and "
            "--as-facemap with --facemap"
        )
    if facemap and facemap.suffix in (".csv", ".h5", ".nwb", ".parquet"):
        raise UserError(f"{facemap}: --facemap takes a folder")
    files = [path.absolute() for path in asked if path]
    if len(set(files)) < len(files):
        raise UserError(f"{files[-1]}: is named twice; give each format a file of its own")
    with open_session(folder) as session:
        names = [camera] if camera else list(session.cameras)
        if facemap:
            for name in names:
                _facemap(session, name, facemap, filled, as_facemap)
        if nwb:
            _nwb(session, names, nwb, filled, about)
        for name in names:
            several = len(names) > 1
            for out, write in _tables(session, name, filled, components, dlc, csv, parquet):
                path = out.with_stem(f"{out.stem}_{name}") if several else out
                with progress_bar(f"{path.name}") as move:
                    n = write(path, move)
                print(f"{name}: {n} rows -> {path}")


Write = Callable[[Path, Callable[[int, int], None]], int]


def _tables(
    session: Session,
    name: str,
    filled: bool,
    components: bool,
    dlc: Path | None,
    csv: Path | None,
    parquet: Path | None,
) -> Iterator[tuple[Path, Write]]:
    """Yield the files of one camera and what writes them."""
    from rtface.export.deeplabcut import export_deeplabcut
    from rtface.export.tables import export_csv, export_parquet

    if dlc:
        yield dlc, lambda path, move: export_deeplabcut(session, name, path, filled, move)
    for out, write in ((csv, export_csv), (parquet, export_parquet)):
        if out:
            yield (
                out,
                lambda path, move, to=write: to(  # type: ignore[misc]
                    session, name, path, components, filled, move
                ),
            )


def _nwb(session: Session, names: list[str], path: Path, filled: bool, about: Path | None) -> None:
    from rtface.export.nwb import export_nwb
    from rtface.export.nwb_about import load_about

    told = load_about(about) if about else None
    with progress_bar(path.name) as move:
        n = export_nwb(
            session, path, names, filled, told, lambda _camera, done, total: move(done, total)
        )
    print(f"{', '.join(names)}: {n} results -> {path}")
    if told is None:
        print("note: archives want the subject's age, sex and description: --about about.toml")


def _facemap(session: Session, name: str, folder: Path, filled: bool, as_facemap: bool) -> None:
    from rtface.export.facemap import export_facemap

    with progress_bar(f"copying {name}") as move:
        done = export_facemap(session, name, folder, filled, as_facemap, move)
    print(
        f"{name}: {done.frames} frames, {done.tracked} tracked"
        + (f", {done.left_out} that cannot be decoded left out" if done.left_out else "")
    )
    for path in done.files:
        print(path)
