"""Where the GenTL producers of this machine are: the .cti files that vendors install."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rtface.types import UserError

#: the GenTL standard's own variable: folders, as in PATH
VARIABLE = "GENICAM_GENTL64_PATH"

#: where vendors put them when the variable is not set; globs
_USUAL = (
    (
        "C:/Program Files/Teledyne/Spinnaker/cti64/*/*.cti",
        "C:/Program Files/FLIR Systems/Spinnaker/cti64/*/*.cti",
        "C:/Program Files/Basler/pylon */Runtime/x64/*.cti",
        "C:/Program Files/MATRIX VISION/mvIMPACT Acquire/bin/x64/*.cti",
        "C:/Program Files/Allied Vision/Vimba */cti/*.cti",
    )
    if sys.platform == "win32"
    else (
        "/opt/spinnaker/lib/*gentl/*.cti",
        "/opt/pylon*/lib/gentlproducer/gtl/*.cti",
        "/opt/mvIMPACT_Acquire/lib/*/*.cti",
        "/opt/VimbaX*/cti/*.cti",
        "/usr/lib/ids/cti/*.cti",
        "/opt/cvb*/drivers/genicam/*.cti",
    )
)


def find_producers(named: str | None = None) -> list[Path]:
    """Return the producers to load: the named one, or those of the machine, each once.

    Parameters
    ----------
    named : str, optional
        A .cti file, as the rig file names it.

    Raises
    ------
    UserError
        The named one is not there, or none was found; says where it was looked for.
    """
    if named is not None:
        path = Path(named)
        if not path.is_file():
            raise UserError(f"there is no file {path}; name the vendor's .cti file")
        return [path]
    folders = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    found = [path for folder in folders for path in _in_folder(folder)]
    if not found:
        for pattern in _USUAL:
            anchor = Path(pattern).anchor
            found += sorted(Path(anchor).glob(pattern.removeprefix(anchor)))
    unique = list({path.resolve(): path for path in found})
    if not unique:
        where = f"{VARIABLE} = {os.environ[VARIABLE]}" if folders else f"{VARIABLE} is not set"
        raise UserError(
            f"no GenTL producer (.cti) found ({where}); install the camera vendor's driver "
            "(Spinnaker, pylon, Vimba X ...), or name its .cti file as 'producer'"
        )
    return unique


def _in_folder(folder: Path) -> list[Path]:
    if folder.suffix == ".cti" and folder.is_file():  # not as the standard has it, but understood
        return [folder]
    return sorted(folder.glob("*.cti")) if folder.is_dir() else []
