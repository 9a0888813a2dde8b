"""Frames of a microscope: when each was taken, and whether everybody counts as many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats
from rtface.types import UserError


class Clock(NamedTuple):
    """What is known of the frames of an imaging recording, of all planes.

    Attributes
    ----------
    edges_s : ndarray or None
        Of its frame clock: when each began, s.
    tiff_s : ndarray or None
        Of its TIFFs, likewise; NaN if they do not say.
    """

    edges_s: Floats | None = None
    tiff_s: Floats | None = None

    def __bool__(self) -> bool:
        return self.edges_s is not None or self.tiff_s is not None


def volumes(name: str, clock: Clock, n: int, n_planes: int) -> tuple[Floats, Floats]:
    """Return the times (n,) of a recording's volumes, s, and how late each plane is (n_planes,).

    Parameters
    ----------
    name : str
        For errors.
    clock : Clock
    n, n_planes : int
        Volumes that there is activity of, and frames of each.

    Raises
    ------
    UserError
        The frame clock, the TIFFs and the activity do not agree in number, or nobody says when.
    """
    expected = n * n_planes
    counts = {"edges": clock.edges_s, "frames of the TIFFs": clock.tiff_s}
    for what, found in counts.items():
        # clock and TIFFs may go on while the last volume is not saved, and no longer
        if found is not None and not expected <= len(found) <= expected + n_planes:
            who = "the frame clock " if what == "edges" else "there are "
            raise UserError(
                f"{name}: has {n} frames of {n_planes} planes, and {who}{len(found)} {what}, not "
                f"{expected}; are they of this recording?"
            )
    begins = clock.tiff_s if clock.edges_s is None else clock.edges_s
    if begins is None or not np.isfinite(begins).all():
        raise UserError(
            f"{name}: its TIFFs say no times (ScanImage's do); give frame_clock and line, or times"
        )
    if len(begins) < 2:
        raise UserError(f"{name}: of {len(begins)} frames no times can be had")
    of_volume = begins[:expected].reshape(n, n_planes)
    late_s = np.median(of_volume - of_volume[:, :1], axis=0)
    return of_volume[:, 0] + float(np.median(np.diff(begins))) / 2, late_s
