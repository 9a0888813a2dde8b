"""The command that accepts a rig with its hands on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtface.cli.common import naming, stop_switch
from rtface.types import UserError


def accept(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
    tracking_s: Annotated[
        float,
        typer.Option("--tracking", min=15, metavar="SECONDS", help="How long frames are counted."),
    ] = 300.0,
    drill_s: Annotated[
        float,
        typer.Option("--drill", min=5, metavar="SECONDS", help="How long a line's chain is timed."),
    ] = 60.0,
    most_lost: Annotated[
        float,
        typer.Option("--lost", min=0, max=1, help="Part of its frames that a camera may lose."),
    ] = 0.001,
    yes: Annotated[bool, typer.Option("--yes", help="The rig is clear: do not ask.")] = False,
) -> None:
    """Try a rig whole, with its lines fired for real, so that rules of hazard may arm.

    About ten minutes, hands on the rig and no animal in it: every line, frames lost, whether the
    camera sees each pulse, the whole way from the exposure to the line, and that the line goes off
    when the tracker is stopped or killed. The report lies beside the rig file; a changed rig file
    has to be accepted again. Exit code 1 if a step failed or a rule of hazard may not arm.
    """
    from rtface.accept.acceptance import accept as steps_of
    from rtface.accept.acceptance import owners_of, report_text
    from rtface.accept.record import meaning, write_report
    from rtface.accept.steps import FAILED, obstacles
    from rtface.config import load_rig

    rig = load_rig(rig_file)
    if not rig.rule:
        raise UserError(f"{rig_file}: has no rules, so there is nothing to accept")
    of = meaning(rig_file)
    longest = {name: rig.output[name].max_pulse_ms for name in owners_of(rig)}
    told = ", ".join(f"{name} (pulses up to {ms:g} ms)" for name, ms in longest.items())
    print(f"This fires for real: {told}. No animal, and nobody's eyes, before them.")
    if not yes:
        typer.confirm("Is the rig clear?", abort=True)
    stop_asked = stop_switch()
    steps = []
    with naming(rig_file):
        for step in steps_of(rig, tracking_s, drill_s, most_lost, stop_asked):
            steps.append(step)
            print(step.line(), flush=True)
    if meaning(rig_file) != of:
        raise UserError(f"{rig_file}: was changed meanwhile; nothing was accepted")
    path = write_report(rig_file, of, steps)
    held = obstacles(rig, steps)
    text = report_text(rig_file, steps, held)
    path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\nreport: {path}")
    if held or any(step.outcome == FAILED for step in steps):
        raise typer.Exit(1)
