"""Pupil and blink against Facemap's own, written down by tests/peers/facemap_pupil_golden.py."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from pupil_cases import CASES, Case, ellipse_mask, frames

from rtface.pupil.facemap import facemap_smooth, wrapped_blink
from rtface.pupil.fit import RobustGaussian

COMMITTED = ROOT / "tests" / "data" / "facemap_pupil"
#: the real clip; named in continuous integration
MADE = os.environ.get("RTFACE_FACEMAP_PUPIL_GOLDEN")
FILES = sorted(
    path for root in (COMMITTED, *([Path(MADE)] if MADE else [])) for path in root.glob("*.npz")
)
#: relative to the largest value
WITHIN = 1e-4


def clip_of(path: Path) -> tuple[Case, np.ndarray]:
    """What Facemap was asked, and the ROI's pixels (N, h, w) that it saw."""
    if path.stem in CASES:
        case = CASES[path.stem]
        x, y, width, height = case.roi
        return case, frames(case)[:, y : y + height, x : x + width]
    with np.load(path) as found:
        about = json.loads(str(found["about"]))
        return Case((480, 640), blink=about["saturation"], **about), found["seen"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fit(path: Path) -> None:
    case, seen = clip_of(path)
    height, width = seen.shape[1:]
    mask = ellipse_mask(height, width) if case.ellipse else np.ones((height, width), bool)
    hidden = np.zeros((height, width), bool)
    for x, y, w, h in case.reflectors:
        hidden |= ellipse_mask(height, width, y, x, h, w)
    fit = RobustGaussian(height, width, case.sigma)
    ours, axes = [], []
    for image in seen:
        dark = np.where(mask, np.maximum(0, case.saturation - image.astype(float)), 0)
        at = np.flatnonzero((dark > 0) & ~hidden)
        found = fit(at, dark.reshape(-1)[at], np.flatnonzero(hidden))
        ours.append([found.area, found.row, found.column])
        axes.append([found.long**2, found.short**2])
    ours, axes = np.array(ours), np.array(axes)
    with np.load(path) as golden:
        theirs = np.column_stack([golden["area"], golden["com"]])
        their_axes = np.sort(golden["axlen"], 1)[:, ::-1]
        print(
            path.stem,
            np.isnan(theirs[:, 0]).sum(),
            np.isnan(ours[:, 0]).sum(),
            np.nanmax(np.abs(ours - theirs) / np.nanmax(theirs, 0), 0),
            np.nanmax(np.abs(axes - their_axes) / np.nanmax(their_axes)),
        )
        smooth = facemap_smooth(golden["area"], golden["com"])
        print(
            np.abs(smooth[0] - golden["area_smooth"]).max(),
            np.abs(smooth[1] - golden["com_smooth"]).max(),
        )
        b = golden["blink"]
        if isinstance(case.blink, int):
            o = np.array([wrapped_blink(i, case.blink, mask) for i in seen])
        else:
            o = np.array(
                [np.where(mask, np.maximum(0, case.blink - i.astype(float)), 0).sum() for i in seen]
            )
        print(type(case.blink), np.abs(b - o).max(), b.max())
