"""Commands that come before a run: write a rig file, try it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtface.cli.common import naming
from rtface.types import UserError


def init(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
) -> None:
    """Write a commented rig file to start from."""
    from rtface.template import TEMPLATE

    try:
        with rig_file.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise UserError(f"{rig_file}: exists already; name another file or remove it") from None
    except OSError as error:
        raise UserError(f"{rig_file}: cannot be written ({error.strerror})") from None
    print(f"{rig_file} written; edit it, then: rtface check {rig_file}")


def check(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
) -> None:
    """Say what a rig file would run, and try everything short of running it."""
    from rtface.check import check_rig
    from rtface.config import load_rig

    with naming(rig_file):
        for what, finding in check_rig(load_rig(rig_file)):
            print(f"{what:16} {finding}")
    print(f"{rig_file} is ready: rtface run {rig_file}")


def doctor(
    disk: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder whose speed and room are looked at.")
    ] = Path("."),
    bundle: Annotated[
        str, typer.Option(metavar="DIR", help="Network to try: a folder, or the shipped one.")
    ] = "default",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Look at this machine: what it offers, and what to do about what is not good.

    Takes about 5 seconds. Exit code 2 if something prevents running.
    """
    import time

    from rich.console import Console

    from rtface.doctor import report, steps
    from rtface.doctor.finding import Verdict, worst

    if not disk.is_dir():
        raise UserError(f"{disk}: no such folder; make it or name another with --disk")
    start = time.monotonic()
    console, progress = Console(), Console(stderr=True)
    found = []
    for step in steps(bundle, disk):
        with progress.status(step.doing):  # nothing where stderr is no terminal
            findings = step.findings()
        found += [(step.topic, finding) for finding in findings]
        if json:
            continue
        if console.is_terminal:
            report.show(console, step.topic, findings)
        else:
            print("\n".join(report.plain_lines(step.topic, findings)), flush=True)
    judged = [finding for _, finding in found]
    if json:
        print(report.document(found, time.monotonic() - start))
    else:
        print(report.closing_line(judged))
    if worst(judged) is Verdict.FAULT:
        raise typer.Exit(2)
