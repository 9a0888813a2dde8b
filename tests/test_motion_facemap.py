"""Motion components against Facemap's own, written down by tests/peers/facemap_motion_golden.py."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, ROOT
from motion_cases import CASES, Case, frames

from rtface.camera.video import read_frames
from rtface.motion.fit import fit_masks
from rtface.motion.masks import AreaMasks, Masks
from rtface.motion.procfile import load_proc, read_proc
from rtface.motion.project import Projector

COMMITTED = ROOT / "tests" / "data" / "facemap_motion"
#: all components, and the real clip; named in continuous integration
MADE = os.environ.get("RTFACE_FACEMAP_MOTION_GOLDEN")
FILES = sorted(
    path
    for root in (COMMITTED, *([Path(MADE)] if MADE else []))
    for path in root.glob("*_proc.npy")
)
#: of the largest value of a component
WITHIN = 1e-4


def name_of(path: Path) -> str:
    return path.name.removesuffix("_proc.npy")


def views_of(path: Path) -> list[np.ndarray]:
    """The frames that Facemap saw, per view."""
    name = name_of(path)
    if name in CASES:
        return [frames(CASES[name], view) for view in range(len(CASES[name].sizes))]
    return [np.load(path.with_name(f"{name}_frames.npy"))]


def projected(masks: Masks, images: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Energy, motion and movie components of every frame, per area."""
    projector = Projector(masks)
    found: list[dict[str, list[Any]]] = [
        {"energy": [], "motion": [], "movie": []} for _ in masks.areas
    ]
    for image in images:
        result = projector(image, True)
        for i, area in enumerate(found):
            area["energy"].append(float(result.energy[i]))
            area["motion"].append(result.motion[i].copy())
            area["movie"].append(result.movie[i].copy())
    return [{key: np.array(value) for key, value in area.items()} for area in found]


def test_the_cases_are_there() -> None:
    assert {name_of(path) for path in COMMITTED.glob("*_proc.npy")} == set(CASES)
    if MADE:
        assert len(list(Path(MADE).glob("clip*_proc.npy"))) == (3 if DATA.is_dir() else 0)
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 150_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{name_of(path)}")
def test_components_on_facemap_s_masks_are_facemap_s(path: Path) -> None:
    """Views at once add up; ROIs belong to one view."""
    proc = read_proc(path)
    sums: dict[str, dict[str, np.ndarray]] = {}
    quirks: dict[str, tuple[Any, ...]] = {}
    for view, images in enumerate(views_of(path)):
        masks = load_proc(path, view).masks
        assert masks.areas[0].name == "full"
        for area, found in zip(masks.areas, projected(masks, images), strict=True):
            if area.name in sums:
                found = {key: value + sums[area.name][key] for key, value in found.items()}
            sums[area.name] = found
            quirks[area.name] = overlap(masks, area)
    assert len(sums) == len(proc["motSVD"])
    for i, (name, found) in enumerate(sorted(sums.items())):
        energy_off, motion_off, movie_off = quirks[name]
        step = -(-len(found["motion"]) // len(proc["motSVD"][i]))
        for ours, theirs in (
            (found["motion"] - motion_off, proc["motSVD"][i]),
            (found["movie"] - movie_off, proc["movSVD"][i]),
        ):
            difference = np.abs(ours[::step] - theirs)[1:]  # its row 0 is a copy of row 1
            sizes = np.abs(theirs[1:]).max(0)
            # one chunk's last component is 0 but for rounding: of the largest one's size
            assert (difference.max(0) <= WITHIN * sizes + 1e-9 * sizes.max()).all()
        energy = np.array(proc["motion"][i]) + energy_off
        early = min(len(energy), 500) - 1  # Facemap's first 500 values come one frame early
        np.testing.assert_allclose(found["energy"][1 : early + 1], energy[:early], rtol=2e-6)
        np.testing.assert_allclose(found["energy"][500:], energy[500:], rtol=2e-6)
        assert np.isnan(found["energy"][0])
        assert np.isnan(found["motion"][0]).all()


def overlap(masks: Masks, area: AreaMasks) -> tuple[Any, ...]:
    """What Facemap takes off an area's energy and components by mistake.

    It subtracts the averages from the bins of each ROI in place, so that a later ROI that overlaps
    has them subtracted before it begins.
    """
    times = np.zeros(masks.average_motion.shape)
    for other in masks.areas:
        if other is area:
            break
        if other.name != "full":
            other.area.of(times)[...] += 1
    times = area.area.of(times)
    motion = (times * area.area.of(masks.average_motion)).reshape(-1)
    movie = (times * area.area.of(masks.average_frame)).reshape(-1)
    assert area.motion is not None
    assert area.movie is not None
    return motion.sum(), motion @ area.motion.masks, movie @ area.movie.masks


def separated(singular: np.ndarray, most: int) -> int:
    """How many leading components stand apart from the rest the most."""
    ratios = singular[:most] / singular[1 : most + 1]
    return int(ratios.argmax()) + 1


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if "two_" not in path.name],
    ids=lambda path: f"{path.parent.name}-{name_of(path)}",
)
def test_our_masks_span_facemap_s_subspace(path: Path) -> None:
    theirs = load_proc(path).masks
    (images,) = views_of(path)
    case = CASES.get(name_of(path), Case(((images.shape[1:]),), theirs.bin_px))
    rois = [roi[1:] for roi in case.rois]
    pieces = [images]
    if len(images) == 2100:  # between the two chunks Facemap passes over frames; we take all
        pieces = [images[:1000], images[1099:2099]]
    recordings = [lambda piece=piece: piece for piece in pieces]
    ours = fit_masks(recordings, theirs.bin_px, 20, rois, movie=True)
    if len(images) <= 100:  # Facemap takes the averages of longer ones from part of the frames
        np.testing.assert_allclose(ours.average_frame, theirs.average_frame, atol=1e-4)
        np.testing.assert_allclose(ours.average_motion, theirs.average_motion, atol=1e-4)
    for mine in ours.areas:
        their = next((area for area in theirs.areas if area.name == mine.name), None)
        if their is None:
            assert case.rois == ()
            continue
        assert mine.area == their.area
        compare(mine, their)


def compare(mine: AreaMasks, their: AreaMasks) -> None:
    for ours, facemap in ((mine.motion, their.motion), (mine.movie, their.movie)):
        assert ours is not None
        assert facemap is not None
        n = separated(ours.singular, min(facemap.masks.shape[1], ours.masks.shape[1] - 1))
        q, _ = np.linalg.qr(facemap.masks[:, :n].astype(float))
        cosines = np.linalg.svd(q.T @ ours.masks[:, :n])[1]
        assert np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))) < 1.0
        # of the variance along our components, theirs hold as much, and so the other way round
        rest = ours.masks * ours.singular
        theirs = np.square(q.T @ rest).sum()
        assert theirs == pytest.approx(np.square(ours.singular[:n]).sum(), rel=1e-3)


@pytest.mark.data
@pytest.mark.skipif(not MADE, reason="needs what the script makes of the real clip")
def test_our_decoder_sees_what_facemap_saw(data: Path) -> None:
    """Luma of limited range is not stretched here; Facemap's library stretches it."""
    seen = np.load(Path(str(MADE)) / "clip4_frames.npy")
    ours = np.array(list(read_frames(data / "facemap_g7c1/cam1_G7c1_1_1second.avi")))
    assert ours.shape == seen.shape
    stretched = np.clip((ours.astype(float) - 16) * 255 / 219, 0, 255)
    assert np.abs(stretched - seen).max() <= 2
