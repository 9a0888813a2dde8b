"""What Facemap's keypoint network makes of inputs, for tests/test_neural_facemap.py.

    python tests/peers/facemap_neural_golden.py out/facemap_neural  # all, with training
    python tests/peers/facemap_neural_golden.py --small tests/data/facemap_neural  # the committed

Makes a virtual environment of its own, installs Facemap there and runs itself in it (``--python
PATH`` names one that has Facemap already). Writes for each network its weights as Facemap's users
write them, ``<case>.pth``, and ``<case>.npz`` with inputs, latents and predictions; without
``--small`` also a network of Facemap's own size, and what its training reaches.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from facemap_env import main

ROOT = Path(__file__).resolve().parent.parent.parent
#: keypoints x 2, targets, latents, medium, taps, samples
SMALL = {"small": (6, 5, 24, 12, 41, 300)}
LARGE = {"whole": (30, 128, 256, 50, 201, 2000)}
ITERATIONS = 120


def prepare(out: Path, small: bool) -> None:
    """Write inputs; for training a session whose neurons are known."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "ask").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, (n_in, *_, n) in (SMALL if small else SMALL | LARGE).items():
        x = np.cumsum(random.standard_normal((n, n_in)), 0)
        np.save(out / "ask" / f"{name}.npy", ((x - x.mean(0)) / x.std(0)).astype(np.float32))
    if small:
        return
    sys.path.insert(0, str(ROOT))
    from rtface.neural.simulate import simulate

    made = simulate(seconds=240, rate_hz=25, sample_s=0.32, per_region=30, noise=0.7, seed=4)
    x = made.behaviour.values
    y = made.activity.values
    z = (y - y.mean(1, keepdims=True)) / y.std(1, keepdims=True)
    _, _, v = np.linalg.svd(z, full_matrices=False)
    np.savez(
        out / "ask" / "training.npz",
        x=((x - x.mean(0)) / x.std(0)).astype(np.float32),
        y=(v[:8].T * np.linalg.svd(z, compute_uv=False)[:8]).astype(np.float32),
        tcam=made.behaviour.times_s,
        tneural=made.activity.times_s,
    )


def ask(out: Path) -> None:
    """Run Facemap on everything in ``out``; runs in Facemap's environment."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import torch
    from facemap.neural_prediction.neural_model import KeypointsNetwork

    cpu = torch.device("cpu")
    for path in sorted((out / "ask").glob("*.npy")):
        name = path.stem
        n_in, n_out, n_latents, n_med, taps, _ = (SMALL | LARGE)[name]
        torch.manual_seed(1)
        model = KeypointsNetwork(
            n_in=n_in, n_out=n_out, n_latents=n_latents, n_med=n_med, kernel_size=taps
        )
        model.eval()
        x = np.load(path)
        with torch.no_grad():
            predicted, latents = model(torch.from_numpy(x)[None])
        torch.save(model.state_dict(), out / f"{name}.pth")
        found = {"latents": latents[0].numpy(), "predicted": predicted[0].numpy()}
        np.savez_compressed(out / f"{name}.npz", x=x, **found)
        print(name, {key: value.shape for key, value in found.items()}, flush=True)
    training = out / "ask" / "training.npz"
    if training.exists():
        with np.load(training) as file:
            data = {key: file[key] for key in file.files}
        torch.manual_seed(0)
        model = KeypointsNetwork(n_in=data["x"].shape[1], n_out=data["y"].shape[1])
        _, explained, *_, judged = model.train_model(
            data["x"], data["y"], data["tcam"], data["tneural"], n_iter=ITERATIONS, device=cpu
        )
        print(f"training reaches {explained:.4f}", flush=True)
        told = {"explained": explained, "judged": judged, "iterations": ITERATIONS}
        np.savez_compressed(out / "training.npz", **data, **told)
    shutil.rmtree(out / "ask")


if __name__ == "__main__":
    main(__file__, __doc__, prepare, ask)
