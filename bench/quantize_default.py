"""Makes the shipped network's INT8 files from the real recordings; run again with new weights.

Where keypoints move too far nothing is written and the exit code is 2. The recordings are those of
``RTFACE_DATA`` (default ../shared/data); ``--only`` for a network that is made for some of them,
``--scale 640 480`` as if a camera of that size had recorded them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2

from rtface.camera.video import read_frames
from rtface.engine.bundle import load_bundle
from rtface.quantize import quantize
from rtface.types import UserError

ROOT = Path(__file__).parent.parent
#: name -> files below the folder of recordings; not headfixed_side: its eye is shut and the light
#: visible, so that half of its keypoints are guesses, which jump between peaks for any rounding
RECORDINGS = {
    "facemap_g7c1 clip": "facemap_g7c1/*.avi",
    "facemap_g7c1 stills": "facemap_g7c1/cam1_G7c1_*/*.jpg",
    "schroeder_face stills": "schroeder_face/frames/*",
}
#: of one mouse on one day, as one's own is
OWN = {"facemap_g7c1 first video": "facemap_g7c1/cam1_G7c1_1/*.jpg"}


def recordings(data: Path, names: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of recordings."""
    found = {name: sorted(data.glob((RECORDINGS | OWN)[name])) for name in names}
    if missing := [name for name, files in found.items() if not files]:
        sys.exit(f"{data}: has no {', '.join(missing)}; set RTFACE_DATA")
    return found


def scaled(
    found: dict[str, list[Path]], size: tuple[int, int], folder: Path
) -> dict[str, list[Path]]:
    """Write all frames of recordings in another size (width, height), px; return their files."""
    made: dict[str, list[Path]] = {}
    for name, files in found.items():
        made[name] = []
        (folder / name).mkdir()
        for image in (image for file in files for image in read_frames(file)):
            made[name].append(folder / name / f"{len(made[name]):05d}.png")
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(made[name][-1]), small)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--out", type=Path, help="folder of the bundle to write; left out: its own")
    data = Path(os.environ.get("RTFACE_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--only", nargs="+", default=list(RECORDINGS), choices=RECORDINGS | OWN)
    parser.add_argument("--scale", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"), help="px")
    args = parser.parse_args()
    try:
        bundle = load_bundle(args.bundle)
        found = recordings(data, args.only)
        with tempfile.TemporaryDirectory() as folder:
            if args.scale:
                found = scaled(found, tuple(args.scale), Path(folder))
            made = quantize(bundle, found, args.out or bundle.folder, False, print)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for one in made:
        print(
            f"{one.file}: {one.layers} layers, {100 * one.share:.0f} % of the arithmetic, in 8 bits"
        )
        for what, shifts in (("", one.shifts), (", BF16 beside", one.bf16_shifts)):
            for name, shift in shifts.items():
                told = (f"{k} {v:.3g}" for k, v in shift._asdict().items())
                print(f"  {name + what:38}", *told)


if __name__ == "__main__":
    main()
