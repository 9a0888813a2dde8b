"""The command line: thin, one function per command, grouped as a user meets them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rtface import __version__
from rtface.cli import (
    accept,
    bridge,
    calibrate,
    cameras,
    export,
    live,
    model,
    neural,
    offline,
    prepare,
    session,
    sync,
    train,
    trigger,
    view,
)
from rtface.types import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Mouse-face keypoints from a live camera, every frame accounted for and timed.

    Start with **rtface demo**, then **rtface listen** in a second terminal. For your own camera:
    **rtface init rig.toml** and **rtface cameras**, **rtface check rig.toml**, **rtface run
    rig.toml**. Add **--record DIR** to keep everything.

    Exit codes: 0 done; 1 something of rtface died while running; 2 something you can mend (one
    line says what).""",
)


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


# in the order of --help
for _command in (
    live.demo,
    live.run,
    live.listen,
    view.view,
    prepare.init,
    cameras.cameras,
    prepare.check,
    accept.accept,
    prepare.doctor,
    session.replay,
    session.plot,
    export.export,
    sync.sync,
    offline.track,
    train.train,
    train.distill,
):
    app.command()(_command)
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(session.app, name="session")
app.add_typer(bridge.app, name="bridge")
app.add_typer(model.app, name="model")
app.add_typer(trigger.app, name="trigger")
app.add_typer(neural.app, name="neural")
