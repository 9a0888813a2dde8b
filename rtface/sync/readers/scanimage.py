"""ScanImage TIFFs: times of the auxiliary triggers that stand in each frame's description.

Source: ScanImage's documentation of its TIFF header: ``auxTrigger0`` ... ``3`` are the rising edges
since the last frame, ``frameTimestamps_sec`` the frame's own time, all in s of one clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.sync.edges import NO_TIMES, Edges
from rtface.sync.readers import number
from rtface.types import UserError

_NUMBER = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")
_STAMP = re.compile(r'frameTimestamps_sec"?\s*[=:]\s*([-+.\deE]+)')


def read(path: Path, line: str) -> Edges:
    """Return the edges of auxiliary trigger ``0`` to ``3``; of a folder all its TIFFs in order."""
    n = number(path, line.removeprefix("aux"), 0, 3)
    trigger = re.compile(rf'auxTrigger{n}"?\s*[=:]\s*\[([^\]]*)\]')
    edges: list[float] = []
    frames: list[float] = []
    for one, text in _descriptions(path):
        found, when = trigger.search(text), _STAMP.search(text)
        if not found or not when:
            raise UserError(f"{one}: a frame's description has no auxTrigger{n}")
        frames.append(float(when[1]))
        edges += [float(x) for x in _NUMBER.findall(found[1])]
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


def frame_times(path: Path) -> npt.NDArray[np.float64]:
    """Return when each frame was taken (n,), s of ScanImage's clock; of all channels once.

    Of TIFFs of other programs NaN for every page. UserError if it is no TIFF, or not whole.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist")
    stamps: list[float] = []
    for one, text in _descriptions(path):
        found = _STAMP.search(text)
        stamps.append(float(found[1]) if found else np.nan)
        if np.isnan(stamps[-1]) != np.isnan(stamps[0]):
            raise UserError(f"{one}: of its frames not all have frameTimestamps_sec")
    if not stamps:
        raise UserError(f"{path}: has no TIFF in it")
    times = np.array(stamps)
    return np.asarray(times[np.diff(times, prepend=np.nan) != 0])


def _descriptions(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is said of each page: of a file, or of all TIFFs of a folder in their order."""
    try:
        import tifffile
    except ImportError:
        raise UserError("ScanImage needs tifffile; pip install 'rtface[sync]'") from None
    for one in [path] if path.is_file() else sorted(path.glob("*.tif*")):
        try:
            with tifffile.TiffFile(one) as file:
                pages: Any = file.pages
                for page in pages:
                    tag = page.tags.get("ImageDescription")
                    yield one, "" if tag is None else str(tag.value)
        except tifffile.TiffFileError as error:
            raise UserError(f"{one}: cannot be read ({error}); does it end early?") from None
