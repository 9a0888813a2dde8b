"""ScanImage TIFFs: times of the auxiliary triggers that stand in each frame's description.

Source: ScanImage's documentation of its TIFF header: ``auxTrigger0`` ... ``3`` are the rising edges
since the last frame, ``frameTimestamps_sec`` the frame's own time, all in s of one clock.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from rtface.sync.edges import NO_TIMES, Edges
from rtface.sync.readers import number
from rtface.types import UserError

_NUMBER = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")


def read(path: Path, line: str) -> Edges:
    """Return the edges of auxiliary trigger ``0`` to ``3``; of a folder all its TIFFs in order."""
    try:
        import tifffile
    except ImportError:
        raise UserError("ScanImage needs tifffile; pip install 'rtface[sync]'") from None
    n = number(path, line.removeprefix("aux"), 0, 3)
    trigger = re.compile(rf'auxTrigger{n}"?\s*[=:]\s*\[([^\]]*)\]')
    stamp = re.compile(r'frameTimestamps_sec"?\s*[=:]\s*([-+.\deE]+)')
    edges: list[float] = []
    frames: list[float] = []
    paths = [path] if path.is_file() else sorted(path.glob("*.tif*"))
    for one in paths:
        try:
            with tifffile.TiffFile(one) as file:
                pages: Any = file.pages
                for page in pages:
                    tag = page.tags.get("ImageDescription")
                    text = "" if tag is None else str(tag.value)
                    found, when = trigger.search(text), stamp.search(text)
                    if not found or not when:
                        raise UserError(f"{one}: a frame's description has no auxTrigger{n}")
                    frames.append(float(when[1]))
                    edges += [float(x) for x in _NUMBER.findall(found[1])]
        except tifffile.TiffFileError as error:
            raise UserError(f"{one}: cannot be read ({error}); does it end early?") from None
    # a channel's frames repeat what the first channel's say
    rising = np.unique(np.array(edges, float))
    return Edges(
        rising,
        NO_TIMES,
        min(frames),
        max(frames),
        "s, as frameTimestamps_sec of ScanImage",
        "ScanImage",
        False,
    )
