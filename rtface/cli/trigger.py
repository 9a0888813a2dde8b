"""Commands about rules and the lines they fire."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rtface.types import UserError

app = typer.Typer(no_args_is_help=True, help="Rules and the lines that they fire.")
Control = Annotated[str, typer.Option(help="Control port of the run.")]
DEFAULT_CONTROL = "tcp://127.0.0.1:5580"


@app.command()
def arm(
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="For so long; loop.arm_s of the rig at most.")
    ] = None,
    control: Control = DEFAULT_CONTROL,
) -> None:
    """Let the rules of a run fire; dry ones go on firing nothing real."""
    _order("arm", control, **({} if seconds is None else {"seconds": f"{seconds:g}"}))
    print("armed")


@app.command()
def disarm(control: Control = DEFAULT_CONTROL) -> None:
    """Let nothing fire from now on, and switch every line off."""
    _order("disarm", control)
    print("disarmed")


def _order(order: str, control: str, **fields: Any) -> None:
    from rtface.client import ask

    try:
        answer = ask(order, control, **fields)
    except TimeoutError as error:
        raise UserError(str(error)) from None
    if not answer.get("ok"):
        raise UserError(f"{control}: {answer.get('error')}")


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="SESSION")],
    camera: Annotated[str | None, typer.Option(help="The first with rules if left out.")] = None,
    rig: Annotated[
        Path | None, typer.Option(metavar="RIG.toml", help="Other rules: what they would do.")
    ] = None,
) -> None:
    """Decide again on every frame of a recording, and compare; exit code 1 if anything differs."""
    from rtface.config import load_rig
    from rtface.process import ChildDied
    from rtface.retrigger import counts, redecide
    from rtface.session import open_session

    with open_session(folder) as session:
        names = [n for n, one in session.cameras.items() if one.about.meta.get("rules")]
        if camera is not None and camera not in session.cameras:
            raise UserError(f"{folder}: no camera '{camera}'; {', '.join(session.cameras)}")
        if not names:
            raise UserError(f"{folder}: was recorded without rules")
        found = redecide(session, camera or names[0], load_rig(rig) if rig else None)
    print(f"recorded: {counts(found.recorded)}")
    print(f"again:    {counts(found.again)}")
    if rig is not None:
        print("all the same" if found.same else "not the same")
        return
    if not found.whole:
        print("the session began during the run: what filters had learnt before is not on record")
    elif not found.same:
        raise ChildDied(f"{folder}: decisions differ from those that were recorded")
    else:
        print(f"all {len(found.recorded)} decisions are the same")


@app.command("test")
def try_lines(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")],
    times: Annotated[int, typer.Option(min=1, max=1000, help="Pulses for each line.")] = 10,
    pulse_ms: Annotated[float, typer.Option(min=0.1, max=1000, help="How long each is.")] = 5.0,
) -> None:
    """Fire every line of a rig file some times, for real, and report when it answered."""
    from contextlib import closing

    from rtface.accept.lines import try_line
    from rtface.config import load_rig
    from rtface.outputs.make import make_outputs

    rig = load_rig(rig_file)
    if not rig.output:
        raise UserError(f"{rig_file}: has no [output.NAME]")
    for name, section in rig.output.items():
        width_us = round(min(pulse_ms, section.max_pulse_ms) * 1e3)
        with closing(make_outputs(rig, [name], dry=False)[name]) as output:
            print(f"{name}: {section.kind}, {try_line(output, times, width_us).text()}")
