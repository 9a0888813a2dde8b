"""Pupil and blink against Facemap's own, written down by tests/peers/facemap_pupil_golden.py."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, ROOT
from pupil_cases import CASES, Case, ellipse_mask, frames

from rtface.pupil.estimator import PupilEstimator
from rtface.pupil.facemap import facemap_axes, facemap_nothing, facemap_smooth, wrapped_blink
from rtface.pupil.fit import RobustGaussian
from rtface.types import BBox

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


def masks_of(case: Case, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The eye and what reflections hide, (h, w) bool."""
    mask = ellipse_mask(*shape) if case.ellipse else np.ones(shape, bool)
    hidden = np.zeros(shape, bool)
    for x, y, w, h in case.reflectors:
        hidden |= ellipse_mask(*shape, y, x, h, w)
    return mask, hidden


def test_the_cases_are_there() -> None:
    assert {path.stem for path in COMMITTED.glob("*.npz")} == set(CASES)
    if MADE:
        assert len(list(Path(MADE).glob("clip*.npz"))) == (2 if DATA.is_dir() else 0)
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 60_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fit_is_facemap_s(path: Path) -> None:
    case, seen = clip_of(path)
    mask, hidden = masks_of(case, seen.shape[1:])
    fit = RobustGaussian(*seen.shape[1:], case.sigma)
    nothing = facemap_nothing(case.sigma, bool(case.reflectors))
    ours, axes = [], []
    for image in seen:
        dark = np.where(mask, np.maximum(0, case.saturation - image.astype(float)), 0)
        at = np.flatnonzero((dark > 0) & ~hidden)
        found = fit(at, dark.reshape(-1)[at], np.flatnonzero(hidden))
        empty = math.isnan(found.area)
        ours.append(nothing if empty else (found.area, found.row, found.column))
        length, direction = facemap_axes(found.long, found.short, found.angle)
        axes.append(np.full((2, 2), np.nan) if empty else direction * np.sqrt(length))
    with np.load(path) as golden:
        theirs = np.column_stack([golden["area"], golden["com"]])
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        assert np.nanmax(np.abs(np.array(ours) - theirs) / np.nanmax(theirs, 0)) < WITHIN
        # both ways along an axis are right
        their_axes = golden["axdir"] * np.sqrt(golden["axlen"])[:, None]
        ellipse = np.einsum("nij,nkj->nik", axes, axes)
        expected = np.einsum("nij,nkj->nik", their_axes, their_axes)
        assert np.nanmax(np.abs(ellipse - expected)) < WITHIN * np.nanmax(expected)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_stream_is_facemap_s_fit_in_full_frame_px(path: Path) -> None:
    case, seen = clip_of(path)
    mask, _ = masks_of(case, seen.shape[1:])
    x, y, width, height = case.roi
    estimator = PupilEstimator(
        BBox(*case.roi),
        case.size,
        saturation=case.saturation,
        sigma=case.sigma,
        reflections=[BBox(x + rx, y + ry, w, h) for rx, ry, w, h in case.reflectors],
        ellipse=mask,
    )
    frame = np.zeros(case.size, np.uint8)
    found = []
    for image in seen:
        frame[y : y + height, x : x + width] = image
        found.append(estimator(frame)[:3])
    ours = np.array(found)
    with np.load(path) as golden:
        theirs = np.column_stack([golden["area"], golden["com"][:, ::-1] + [x, y]])
    theirs[theirs[:, 0] == facemap_nothing(case.sigma, False)[0]] = np.nan  # nothing is nothing
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    assert np.nanmax(np.abs(ours - theirs) / np.nanmax(theirs, 0)) < WITHIN


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_smoothing_is_facemap_s(path: Path) -> None:
    with np.load(path) as golden:
        area, com = facemap_smooth(golden["area"], golden["com"])
        np.testing.assert_allclose(area, golden["area_smooth"], rtol=1e-12)
        np.testing.assert_allclose(com, golden["com_smooth"], rtol=1e-12)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_blink_is_facemap_s(path: Path) -> None:
    case, seen = clip_of(path)
    mask, _ = masks_of(case, seen.shape[1:])
    if isinstance(case.blink, int):
        ours = [wrapped_blink(image, case.blink, mask) for image in seen]
    else:
        estimator = PupilEstimator(
            BBox(0, 0, *seen.shape[:0:-1]), seen.shape[1:], saturation=case.blink, ellipse=mask
        )
        ours = [estimator(image).blink for image in seen]
    with np.load(path) as golden:
        np.testing.assert_allclose(ours, golden["blink"], rtol=1e-6)
