"""What several commands share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Annotated

import typer

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
