"""The live page: a command of its own, and what `run` and `demo` need of it."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtface.cli.common import stop_switch

if TYPE_CHECKING:
    from rtface.run import Supervisor

PORT = 8780
#: pictures a second and pages at a time, unless told otherwise: of 32 that are sent 30 and more are
#: seen, because now and then two meet in one refresh of the screen, and the newer one is shown
RATE_HZ, VIEWERS = 32.0, 16

PagePort = Annotated[
    int, typer.Option("--view-port", min=1, max=65535, help="Port of the live page.")
]


def page_settings(port: int) -> dict[str, Any]:
    """Return the settings of a page for this machine, beside a run."""
    return {
        "control": "",
        "host": "127.0.0.1",
        "port": port,
        "token": None,
        "rate_hz": RATE_HZ,
        "viewers": VIEWERS,
    }


def has_display() -> bool:
    """Whether somebody sits here to whom a browser can be shown."""
    if not sys.stderr.isatty():
        return False
    graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(graphical) or sys.platform in ("win32", "darwin")


class SayPage:
    """Says once where the page of a run is, or why there is none."""

    def __init__(self, port: int, open_it: bool) -> None:
        self._address = f"http://127.0.0.1:{port}/"
        self._open, self._said = open_it, False

    def __call__(self, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        """Look whether there is something to say; call it in every turn."""
        page = supervisor.page
        if self._said or page is None or page.state == "starting":
            return
        self._said = True
        if page.state == "running":
            say(f"see it at {self._address}")
            if self._open and has_display():
                webbrowser.open(self._address)
        else:
            say(f"no page: {page.error or 'its process ended'}")


def view(
    control: Annotated[
        str, typer.Option(help="Control port of the run to show.")
    ] = "tcp://127.0.0.1:5580",
    host: Annotated[
        str, typer.Option(help="Address to serve at; any but 127.0.0.1 asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = PORT,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Has the token; without it a new one is made."),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=1, max=120, help="Pictures a second, at most.")
    ] = RATE_HZ,
    viewers: Annotated[int, typer.Option(min=1, max=100, help="Pages at a time.")] = VIEWERS,
    open_it: Annotated[
        bool, typer.Option("--open", help="Open it in this machine's browser.")
    ] = False,
) -> None:
    """Show what the tracker sees, and how late and how well, as a page in a browser.

    Needs a run on this machine, now or later; goes on from run to run until Ctrl-C. Whatever
    becomes of it, the tracker does not notice.
    """
    from rtface.platform import step_back
    from rtface.view.access import is_loopback, make_token
    from rtface.view.serve import NICE, Settings, serve

    elsewhere = not is_loopback(host)
    token = make_token(token_file) if elsewhere or token_file else None
    settings = Settings(control, host, port, token, rate, viewers)

    def ready() -> None:
        print(f"see it at {settings.address}", file=sys.stderr)
        if elsewhere:
            print(
                f"from elsewhere: {settings.address_elsewhere}\n"
                "who has the token sees everything and may record, annotate and set the exposure; "
                "it travels in the clear: use it in a network that you trust, or an SSH tunnel",
                file=sys.stderr,
            )
        if open_it:
            webbrowser.open(settings.address)

    step_back(NICE)
    serve(settings, stop_switch(), ready)
