"""Make tests/data/fmnet_small.pt: a small network of Facemap's shape with trained weights.

    RTFACE_DATA=... python tests/peers/train_small.py      # minutes; needs the extra ``train``
    python tests/peers/facemap_golden.py --small tests/data/facemap

Trained weights have peaks that random ones have not. They saw stills under MIT and say nothing
about how well a network of this shape could do.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from rtface.facemap.weights import NAMES
from rtface.train import data, fit, fmnet

CHANNELS = (4, 8, 16, 16, 24)
OUT = Path(__file__).parent.parent / "data" / "fmnet_small.pt"


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    bank = data.stills_bank(data.split(data.read_facemap(Path(os.environ["RTFACE_DATA"])), 0)[0])
    network = fmnet.FMnet(CHANNELS, 15)
    # Facemap's 15 keypoints: those that nobody labelled keep the weights they began with
    points = torch.full((len(bank.points), 15, 2), float("nan"))
    points[:, [NAMES.index(name) for name in data.KEYPOINTS if name in NAMES]] = bank.points[
        :, [k for k, name in enumerate(data.KEYPOINTS) if name in NAMES]
    ]
    schedule = fit.Schedule(500, 8, 2e-3, strength=0.3)
    fitted = fit.fit(
        network, fmnet.loss, [bank._replace(points=points)], [1.0], schedule, report=told
    )
    torch.save(fitted.state_dict(), OUT)
    print(f"written: {OUT}")


def told(step: int, value: float) -> None:
    if step % 50 == 0:
        print(step, round(value, 3), flush=True)


if __name__ == "__main__":
    main()
