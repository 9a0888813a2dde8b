"""What several commands share."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from rtface.types import UserError

Seconds = Annotated[
    float | None, typer.Option(min=0.1, help="Stop after this long; Ctrl-C stops at any time.")
]


def stop_switch() -> Callable[[], bool]:
    """Return a function that tells whether Ctrl-C, SIGTERM or a closed terminal asked to stop."""
    asked = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP: so be it
            signal.signal(number, stop)
    return lambda: asked


@contextlib.contextmanager
def naming(
    rig_file: Path | str | None, cameras: Mapping[str, Path] | None = None
) -> Iterator[None]:
    """Put the rig file's name before an error that names one of its keys.

    With several files ``cameras`` says in which each camera is.
    """
    try:
        yield
    except UserError as error:
        named = re.match(r"camera\.(\w+)", str(error))
        if rig_file and named:
            raise UserError(f"{(cameras or {}).get(named[1], rig_file)}: {error}") from None
        raise


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yield what moves it: (done, total)."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
