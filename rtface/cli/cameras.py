"""The command that lists cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtface.types import UserError


def cameras(
    producer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.cti",
            help="The vendor's GenTL producer; looked for in GENICAM_GENTL64_PATH and the usual "
            "folders if left out.",
        ),
    ] = None,
) -> None:
    """List the GenICam cameras of this machine, each with its table of a rig file.

    All that is printed is a rig file with every camera: `rtface cameras > rig.toml`. A camera that
    another program uses is listed without its features.
    """
    from rtface.camera.device import LinkLost
    from rtface.camera.listing import describe, look, rig_table
    from rtface.camera.producers import find_producers

    files = find_producers(None if producer is None else str(producer))
    for file in files:
        print(f"# producer {file}")
    n_cameras = 0
    try:
        for facts in look(files):
            n_cameras += 1
            print("\n" + "\n".join(describe(facts)))
            if not facts.fault:
                named = None if producer is None else producer.resolve()
                print("\n".join(rig_table(facts, f"cam{n_cameras}", named)))
    except LinkLost as error:
        raise UserError(f"{', '.join(map(str, files))}: {error}") from None
    if not n_cameras:
        raise UserError(
            "no camera found; is it plugged in and powered, does the vendor's own viewer see it, "
            "and is that viewer closed?"
        )
