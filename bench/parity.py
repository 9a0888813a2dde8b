"""Motion components, pupil and blink beside Facemap's own, one command.

    python bench/parity.py --python /path/to/facemap/bin/python --doc docs/accuracy.md

Facemap (an environment of its own, made unless ``--python`` names one) processes the cases of the
tests and, where RTFACE_DATA is, real clips. Prints by how much rtface's numbers differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, as the tracker has it

import _report
import numpy as np
from _accuracy_tables import put

from rtface.motion.fit import fit_masks
from rtface.motion.procfile import load_proc, read_proc
from rtface.pupil.estimator import PupilEstimator
from rtface.types import BBox

PEERS = _report.ROOT / "tests" / "peers"
sys.path.insert(0, str(_report.ROOT / "tests"))  # what they compare is compared here
import test_motion_facemap as motion  # noqa: E402
import test_pupil_facemap as pupil  # noqa: E402

MOTION, PUPIL = "Motion components beside Facemap", "Pupil and blink beside Facemap"


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--python", help="of an environment that has Facemap")
    parser.add_argument("--doc", type=Path, help="page whose marked tables are replaced")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = {kind: Path(folder) / kind for kind in ("motion", "pupil")}
        for kind, out in made.items():
            words = [str(PEERS / f"facemap_{kind}_golden.py"), str(out)]
            words += ["--python", args.python] if args.python else []
            words += ["--small"] if args.quick else []
            subprocess.run([sys.executable, *words], check=True, stdout=sys.stderr)
        tables = {
            MOTION: [motion_row(path) for path in sorted(made["motion"].glob("*_proc.npy"))],
            PUPIL: [pupil_row(path) for path in sorted(made["pupil"].glob("*.npz"))],
        }
    for title, rows in tables.items():
        _report.table(title, rows)
    _report.write("parity", args, {"tables": tables})
    if args.doc:
        put(tables, args.doc)


def motion_row(path: Path) -> dict[str, Any]:
    """Return the largest differences of one case, over its areas; views at once add up."""
    proc, sums = read_proc(path), {}
    off: dict[str, Any] = {}
    views = motion.views_of(path)
    for view, images in enumerate(views):
        masks = load_proc(path, view).masks
        for area, found in zip(masks.areas, motion.projected(masks, images), strict=True):
            before = sums.get(area.name)
            sums[area.name] = (
                {key: value + before[key] for key, value in found.items()} if before else found
            )
            off[area.name] = motion.overlap(masks, area)
    energy = components = movie = 0.0
    for i, (name, found) in enumerate(sorted(sums.items())):
        energy_off, motion_off, movie_off = off[name]
        step = -(-len(found["motion"]) // len(proc["motSVD"][i]))
        components = max(components, _off(found["motion"] - motion_off, proc["motSVD"][i], step))
        movie = max(movie, _off(found["movie"] - movie_off, proc["movSVD"][i], step))
        theirs = np.array(proc["motion"][i]) + energy_off
        early = min(len(theirs), 500) - 1  # a frame early in the first 500
        ours = found["energy"]
        for mine, their in ((ours[1 : early + 1], theirs[:early]), (ours[500:], theirs[500:])):
            if len(mine):
                energy = max(energy, float(np.abs(mine / their - 1).max()))
    angle, variance, n = subspace(path, views) if len(views) == 1 else (float("nan"),) * 3
    height, width = views[0].shape[1:]
    return {
        "case": motion.name_of(path),
        "frames": f"{len(views[0])} of {width}x{height}",
        "bin": load_proc(path, 0).masks.bin_px,
        "areas": len(sums),
        "motSVD": f"{components:.0e}",
        "movSVD": f"{movie:.0e}",
        "motion": f"{energy:.0e}",
        "leading components": "-" if np.isnan(n) else int(n),
        "angle, degrees": "-" if np.isnan(angle) else f"{angle:.2f}",
        "variance, %": "-" if np.isnan(variance) else f"{variance:+.3f}",
    }


def _off(ours: np.ndarray, theirs: np.ndarray, step: int) -> float:
    """Return the largest difference of a component, of its largest value; row 0 is a copy."""
    sizes = np.abs(theirs[1:]).max(0)
    real = sizes > 1e-6 * sizes.max()  # of one chunk the last component is rounding
    off = float((np.abs(ours[::step] - theirs)[1:] / np.where(real, sizes, np.inf)).max())
    assert np.isfinite(off)
    return off


def subspace(path: Path, views: list[np.ndarray]) -> tuple[float, float, int]:
    """Compare masks of the whole frame: largest angle, and how much more variance ours hold, %."""
    theirs, (images,) = load_proc(path).masks, views
    pieces = [images]
    if len(images) == 2100:  # between the two chunks Facemap passes over frames; we take all
        pieces = [images[:1000], images[1099:2099]]
    ours = fit_masks([lambda piece=piece: piece for piece in pieces], theirs.bin_px, 20)
    mine, their = ours.areas[0].motion, theirs.areas[0].motion
    assert mine is not None
    assert their is not None
    n = motion.separated(mine.singular, min(their.masks.shape[1], mine.masks.shape[1] - 1))
    q, _ = np.linalg.qr(their.masks[:, :n].astype(float))
    cosines = np.linalg.svd(q.T @ mine.masks[:, :n])[1]
    angle = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    theirs_hold = np.square(q.T @ (mine.masks * mine.singular)).sum()
    return angle, 100 * float(np.square(mine.singular[:n]).sum() / theirs_hold - 1), n


def pupil_row(path: Path) -> dict[str, Any]:
    """Return the largest differences of the stream from Facemap's file, of the largest value."""
    case, seen = pupil.clip_of(path)
    mask, _ = pupil.masks_of(case, seen.shape[1:])
    height, width = seen.shape[1:]
    estimator = PupilEstimator(
        BBox(0, 0, width, height),
        (height, width),
        saturation=case.saturation,
        sigma=case.sigma,
        reflections=[BBox(*reflector) for reflector in case.reflectors],
        ellipse=mask,
    )
    blinks = PupilEstimator(
        BBox(0, 0, width, height), (height, width), saturation=float(case.blink), ellipse=mask
    )
    found = [(*estimator(image)[:3], blinks(image).blink) for image in seen]
    with np.load(path) as golden:
        theirs = np.column_stack([golden["area"], golden["com"][:, ::-1], golden["blink"]])
    ours, some = np.array(found), np.isfinite(np.array(found)[:, 0])
    off = np.abs(ours - theirs)[some].max(0) / np.nanmax(theirs[some], 0)
    wraps = isinstance(case.blink, int)
    return {
        "case": path.stem,
        "frames": f"{len(seen)} of {width}x{height}",
        "sigma": float(case.sigma),
        "reflections": len(case.reflectors),
        "area": f"{off[0]:.0e}",
        "centre": f"{off[1:3].max():.0e}",
        "blink": "file wraps" if wraps else f"{off[3]:.0e}",
    }


if __name__ == "__main__":
    main()
