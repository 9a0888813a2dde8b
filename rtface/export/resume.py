"""Which files of an export are done: each with what it was asked for, kept beside them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from rtface.export.results import put_in_place

#: a JSON object in the folder of the files: name of each to the digest of what was asked for
KEPT = ".rtface-export.json"


def finished(path: Path, asked: str, sources: Iterable[Path]) -> bool:
    """Return whether a file is there, as asked for, and newer than everything it is made of.

    As files are put in place when they are complete, it is then whole.
    """
    try:
        made_ns = path.stat().st_mtime_ns
        newest_ns = max((source.stat().st_mtime_ns for source in sources), default=0)
    except OSError:
        return False
    return newest_ns < made_ns and _kept(path.parent).get(path.name) == asked


def remember(path: Path, asked: str) -> None:
    """Keep what a file that is complete was asked for; UserError if the disk refuses."""
    kept = _kept(path.parent) | {path.name: asked}
    with put_in_place(path.parent / KEPT) as part:
        part.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _kept(folder: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):  # then nothing is known, and all is made anew
        kept = json.loads((folder / KEPT).read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            return kept
    return {}
