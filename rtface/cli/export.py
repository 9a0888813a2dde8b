"""The command that writes sessions as other programs' files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where an export was stopped: files that are newer than the session and "
            "were asked for alike are left alone.",
        ),
    ] = False,
) -> None:
    """Write a session as files of other programs; the session stays as it is.

    Several may be asked for at once. Without --camera, files of one camera get its name if there
    are more. Needs `rtface[export]`, and `rtface[nwb]` for NWB; CSV needs nothing.
    """
    from rtface.export.resume import finished, remember
    from rtface.session import open_session
    from rtface.session.layout import ENDINGS, digest

    files = (facemap, nwb, dlc, csv, parquet)
    if not any(files):
        raise UserError("say what to write: --facemap, --nwb, --dlc, --csv or --parquet")
    if (components and not (csv or parquet)) or (about and not nwb) or (as_facemap and not facemap):
        raise UserError(
            "--components goes with --csv and --parquet, --about with --nwb, and "
            "--as-facemap with --facemap"
        )
    if facemap and facemap.suffix in (".csv", ".h5", ".nwb", ".parquet"):
        raise UserError(f"{facemap}: --facemap takes a folder")
    paths = [path.absolute() for path in files if path]
    if len(set(paths)) < len(paths):
        raise UserError(f"{paths[-1]}: is named twice; give each format a file of its own")
    with open_session(folder) as session:
        recorded = [path for path in folder.iterdir() if path.suffix in ENDINGS]
        names = [camera] if camera else list(session.cameras)
        for one in (
            *(_facemap(session, names, facemap, filled, as_facemap) if facemap else ()),
            *(_nwb(session, names, nwb, filled, about) if nwb else ()),
            *_tables(session, names, filled, components, dlc, csv, parquet),
        ):
            asked = digest([session.about.recording, session.about.session, names, one.asked])
            if resume and finished(one.path, asked, recorded):
                print(f"{one.path}: is there already")
            else:
                one.write()
                remember(one.path, asked)


class _Output(NamedTuple):
    """A file to be, what writes it and says so, and what is asked for: JSON-able."""

    path: Path
    write: Callable[[], None]
    asked: dict[str, Any]


def _tables(
    session: Session,
    names: list[str],
    filled: bool,
    components: bool,
    dlc: Path | None,
    csv: Path | None,
    parquet: Path | None,
) -> Iterator[_Output]:
    """Yield what each camera has a file of its own for."""
    from rtface.export.deeplabcut import export_deeplabcut
    from rtface.export.tables import export_csv, export_parquet

    for name in names:
        tables = partial(_table, session, name, len(names) > 1)
        if dlc:
            yield tables(dlc, export_deeplabcut, filled=filled)
        for path, export_ in ((csv, export_csv), (parquet, export_parquet)):
            if path:
                yield tables(path, export_, components=components, filled=filled)


def _table(
    session: Session,
    name: str,
    several: bool,
    out: Path,
    export_: Callable[..., int],
    **options: bool,
) -> _Output:
    path = out.with_stem(f"{out.stem}_{name}") if several else out

    def write() -> None:
        with progress_bar(path.name) as move:
            n = export_(session, name, path, on_progress=move, **options)
        print(f"{name}: {n} rows -> {path}")

    return _Output(path, write, {"camera": name, **options})


def _nwb(
    session: Session, names: list[str], path: Path, filled: bool, about: Path | None
) -> Iterator[_Output]:
    from rtface.export.nwb_about import load_about

    told = load_about(about) if about else None

    def write() -> None:
        from rtface.export.nwb import export_nwb

        with progress_bar(path.name) as move:
            n = export_nwb(
                session, path, names, filled, told, lambda _camera, done, total: move(done, total)
            )
        print(f"{', '.join(names)}: {n} results -> {path}")
        if told is None:
            print("note: archives want the subject's age, sex and description: --about about.toml")

    more = told.model_dump_json() if told else None
    yield _Output(path, write, {"filled": filled, "about": more})


def _facemap(
    session: Session, names: list[str], folder: Path, filled: bool, as_facemap: bool
) -> Iterator[_Output]:
    from rtface.export.facemap import export_facemap, video_of

    def write(name: str) -> None:
        with progress_bar(f"copying {name}") as move:
            done = export_facemap(session, name, folder, filled, as_facemap, move)
        print(
            f"{name}: {done.frames} frames, {done.tracked} tracked"
            + (f", {done.left_out} that cannot be decoded left out" if done.left_out else "")
        )
        for path in done.files:
            print(path)

    for name in names:
        options = {"filled": filled, "as_facemap": as_facemap}
        yield _Output(video_of(session, name, folder), partial(write, name), options)
