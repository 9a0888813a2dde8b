"""Makes the shipped network's INT8 files from the real recordings; run again with new weights.

Where keypoints move too far nothing is written and the exit code is 2. The recordings are those of
``RTFACE_DATA`` (default ../shared/data); ``--only`` for a network that is made for some of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

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


def recordings(data: Path, names: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of recordings."""
    found = {name: sorted(data.glob(RECORDINGS[name])) for name in names}
    if missing := [name for name, files in found.items() if not files]:
        sys.exit(f"{data}: has no {', '.join(missing)}; set RTFACE_DATA")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--out", type=Path, help="folder of the bundle to write; left out: its own")
    data = Path(os.environ.get("RTFACE_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--only", nargs="+", default=list(RECORDINGS), choices=RECORDINGS)
    args = parser.parse_args()
    try:
        bundle = load_bundle(args.bundle)
        made = quantize(
            bundle, recordings(data, args.only), args.out or bundle.folder, False, print
        )
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for one in made:
        print(
            f"{one.file}: {one.layers} layers, {100 * one.share:.0f} % of the arithmetic, in 8 bits"
        )
        for name, shift in one.shifts.items():
            print(f"  {name:24}", *(f"{k} {v:.3g}" for k, v in shift._asdict().items()))


if __name__ == "__main__":
    main()
