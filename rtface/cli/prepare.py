"""Commands that come before a run: write a rig file, try it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtface.types import UserError


def init(
    rig_file: Annotated[Path, typer.Argument(metavar="RIG.toml")] = Path("rig.toml"),
) -> None:
    """Write a commented rig file to start from."""
    from rtface.config import TEMPLATE

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

    for what, finding in check_rig(load_rig(rig_file)):
        print(f"{what:16} {finding}")
    print(f"{rig_file} is ready: rtface run {rig_file}")
