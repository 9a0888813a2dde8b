"""Keypoints of imported weights against Facemap's own, written down by tests/peers."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.facemap.convert import import_weights
from rtface.facemap.weights import NAMES, read_weights
from rtface.facemap_pose import facemap_estimator
from rtface.types import BBox

DATA = ROOT / "tests" / "data"
COMMITTED = DATA / "facemap"
#: the many cases that tests/peers/facemap_golden.py makes; named in continuous integration
MADE = os.environ.get("RTFACE_FACEMAP_GOLDEN")
ROOTS = (COMMITTED, Path(MADE)) if MADE else (COMMITTED,)
FOLDERS = sorted(weights.parent for root in ROOTS for weights in root.glob("*/weights.*"))
#: how far a keypoint may lie from Facemap's, px, and how far its likelihood
WITHIN_PX, WITHIN = 1e-3, 1e-5
#: two peaks of a heat map that differ by less may change places
TIE = 1e-5


def weights_of(folder: Path) -> Path:
    named = folder / "weights.txt"
    return DATA / named.read_text().strip() if named.exists() else folder / "weights.pt"


def test_the_cases_are_there() -> None:
    assert len(list(COMMITTED.glob("tiny/*.npz"))) == 8
    if MADE:
        assert len(list(Path(MADE).glob("random*/*.npz"))) == 72
    assert len(list(COMMITTED.glob("fmnet_small/*.npz"))) == 8


@pytest.mark.parametrize(
    "folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}"
)
def test_keypoints_are_facemap_s(folder: Path, tmp_path: Path) -> None:
    state = weights_of(folder)
    k = read_weights(state).n_keypoints
    names = NAMES if k == len(NAMES) else [f"k{i}" for i in range(k)]
    import_weights(state, tmp_path / "net", names)
    bundle = load_bundle(tmp_path / "net")
    engine = make_engine(bundle, "onnxruntime")
    worst, worst_score, n, ties, off = 0.0, 0.0, 0, [], []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            frame, box, expected, peaks = (
                data[key] for key in ("frame", "bbox", "keypoints", "peaks")
            )
        estimate = facemap_estimator(bundle.normalisation, engine, frame.shape, BBox(*box.tolist()))
        assert estimate is not None
        found = estimate(frame).keypoints
        assert found.dtype == np.float32
        moved = np.abs(found - expected)
        near = peaks[:, 0] - peaks[:, 1] < TIE * peaks[:, 0]
        for i in np.flatnonzero(near):
            ties.append(f"{path.stem}: {names[i]}: {peaks[i]}, moved {moved[i, :2]} px")
        far = (moved[:, :2] > WITHIN_PX).any(1)
        off += [f"{path.stem}: {names[i]}: {moved[i]}" for i in np.flatnonzero(far & ~near)]
        n += k
        worst = max(worst, *moved[~(far & near), :2].flat)
        worst_score = max(worst_score, *moved[:, 2])
    print(f"{folder}: {n} keypoints, at most {worst:.1e} px and {worst_score:.1e} from Facemap's")
    print("\n".join(f"near-tie: {tie}" for tie in ties))
    assert n >= 8 * k
    assert not off
    assert worst_score < WITHIN
    assert len(ties) <= 0.01 * n
