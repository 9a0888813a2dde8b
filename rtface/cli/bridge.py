"""Commands that hand a stream on to other software, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from rtface.cli.common import Seconds, stop_switch

if TYPE_CHECKING:
    from rtface.bridge.relay import Target

app = typer.Typer(
    no_args_is_help=True,
    help="""Hand keypoints on to LSL, OSC or JSON lines; see docs/bridges.md.

    A bridge is a subscriber: if it hangs or dies, the tracker does not notice. It goes on from run
    to run until Ctrl-C.""",
)

Camera = Annotated[str, typer.Argument(help="Name of the camera.")]
Address = Annotated[str, typer.Argument(help="Its data port.")]
DATA = "tcp://127.0.0.1:5581"


@app.command()
def lsl(camera: Camera = "cam1", address: Address = DATA, seconds: Seconds = None) -> None:
    """Lab Streaming Layer: an outlet of type MoCap that LabRecorder and others find.

    LSL shows its streams to the whole network, unprotected, unless its own configuration says
    otherwise.
    """
    from rtface.bridge.lsl import Lsl

    _run(camera, address, Lsl(camera, _say), "LSL", seconds)


@app.command()
def osc(
    camera: Camera = "cam1",
    address: Address = DATA,
    to: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the receiver listens.")
    ] = "127.0.0.1:9000",
    seconds: Seconds = None,
) -> None:
    """Open Sound Control: one bundle per frame for Bonsai, Max and the like.

    UDP is plain text that promises nothing: datagrams may be lost, and on another machine than
    this one anybody on the way can read them.
    """
    from rtface.bridge.osc import Osc

    _run(camera, address, Osc(camera, to), f"OSC {to}", seconds)


@app.command()
def jsonl(
    camera: Camera = "cam1",
    address: Address = DATA,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1 for clients.")
    ] = 5589,
    seconds: Seconds = None,
) -> None:
    """JSON lines over TCP: for MATLAB (tcpclient, jsondecode), Octave, or `nc 127.0.0.1 5589`.

    A client that does not read fast enough loses whole lines; `missed` counts them.
    """
    from rtface.bridge.jsonl import HOST, JsonLines

    _run(camera, address, JsonLines(port), f"JSON lines {HOST}:{port}", seconds)


def _run(camera: str, address: str, target: Target, where: str, seconds: float | None) -> None:
    from rtface.bridge.relay import relay
    from rtface.client import open_stream
    from rtface.terminal import StatusLine

    stop: Callable[[], bool] = stop_switch()
    try:
        with open_stream(camera, address) as stream, StatusLine() as line:
            label = f"{camera} -> {where}"
            account = relay(stream, target, label, stop, seconds, line.show_text, _say)
    finally:
        target.close()
    print(account)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
