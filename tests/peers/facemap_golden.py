"""What Facemap itself makes of frames, written down for tests/test_facemap_parity.py.

    python tests/peers/facemap_golden.py out/facemap_golden          # all cases
    python tests/peers/facemap_golden.py --small tests/data/facemap  # the few that are committed

Makes a virtual environment of its own, installs Facemap there and runs itself in it (``--python
PATH`` names one that has Facemap already). Frames and weights are made here, by rtface's
environment; Facemap's own network class, pre- and post-processing then run on them, frame by frame.

One folder per set of weights: ``weights.pt`` and one ``<case>.npz`` per frame and box with
``frame``, ``bbox`` (x, y, width, height), ``keypoints`` (K, 3) and ``peaks`` (K, 2), the two
highest values of each heat map, highest first. For weights of tests/data/*.pt the folder holds
their name instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from facemap_env import main

ROOT = Path(__file__).parent.parent.parent
TRAINED = ROOT / "tests" / "data"
#: x, y, width, height in a frame of 640x480; None is the whole frame
BOXES = {
    "whole": None,
    "square": (200, 100, 256, 256),
    "large": (150, 20, 400, 400),
    "odd": (31, 17, 333, 333),
    "wide": (10, 150, 600, 210),
    "tall": (333, 5, 180, 470),
    "small_wide": (301, 211, 240, 101),
    "small_tall": (97, 45, 101, 240),
}
#: name: channels, seed
RANDOM = {
    "random0": ((8, 16, 32, 32, 50), 0),
    "random1": ((8, 16, 32, 32, 50), 1),
    "random2": ((12, 20, 28, 36, 44), 2),
}
SMALL = {"tiny": ((3, 4, 6, 6, 8), 5)}
SMALL_BOXES = {
    "whole": None,
    "square": (12, 8, 64, 64),
    "wide": (5, 30, 100, 41),
    "tall": (60, 3, 37, 90),
}


def frames() -> dict[str, np.ndarray]:
    """Return frames of two synthetic mice, and one of coarse and fine random texture."""
    from rtface.camera.film import Film

    found = {}
    for seed, time_s in ((11, 0.0), (12, 3.2)):
        film = Film(seed, 640, 480)
        image = np.empty((480, 640), np.uint8)
        film.draw(film.face.snap(film.script.at(time_s)), image)
        found[f"mouse{seed}"] = image
    random = np.random.default_rng(3)
    coarse = np.kron(random.normal(0, 40, (24, 32)), np.ones((20, 20)))
    found["texture"] = np.clip(coarse + random.normal(120, 25, (480, 640)), 0, 255).astype(np.uint8)
    return found


def small_frames() -> dict[str, np.ndarray]:
    """Return a frame of a mouse of 160x120 px, and one of odd size."""
    image = frames()["mouse11"]
    return {"mouse": np.ascontiguousarray(image[::4, ::4]), "odd": image[101:218, 90:243].copy()}


def state(channels: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Return random weights whose normalisation does something everywhere."""
    import torch

    from rtface.train.fmnet import FMnet

    torch.manual_seed(seed)
    network = FMnet(channels, 15)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            module.weight.data.normal_(1, 0.5)  # some below zero
            module.bias.data.normal_(0, 0.3)
    return network.state_dict()


def prepare(out: Path, small: bool) -> None:
    """Write weights, frames and boxes: what Facemap is to be asked."""
    import torch

    images, boxes = (small_frames(), SMALL_BOXES) if small else (frames(), BOXES)
    sets: dict[str, tuple[tuple[int, ...], int] | Path] = dict(SMALL if small else RANDOM)
    for path in sorted(TRAINED.glob("*.pt")):
        sets[path.stem] = path
    for name, made in sets.items():
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if isinstance(made, Path):
            (folder / "weights.txt").write_text(f"{made.name}\n")
        else:
            torch.save(state(*made), folder / "weights.pt")
        for image_name, image in images.items():
            for box_name, box in boxes.items():
                height, width = image.shape
                box = box or (0, 0, width, height)
                if box[0] + box[2] <= width and box[1] + box[3] <= height:
                    np.savez_compressed(
                        folder / f"{image_name}_{box_name}.npz", frame=image, bbox=np.array(box)
                    )


def ask(out: Path) -> None:
    """Run Facemap on everything in ``out``; runs in Facemap's environment."""
    import torch
    from facemap.pose import facemap_network, pose_helper_functions, transforms

    torch.set_num_threads(1)
    device = torch.device("cpu")
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        named = folder / "weights.txt"
        weights = TRAINED / named.read_text().strip() if named.exists() else folder / "weights.pt"
        tensors = torch.load(weights, weights_only=True)
        tensors = tensors.get("state_dict", tensors)
        channels = [len(tensors[f"Conv.conv{k}.conv.conv_1.2.weight"]) for k in range(5)]
        n = len(tensors["Conv2_1x1.conv0.weight"])
        network = facemap_network.FMnet(1, n, list(range(n)), channels, device)
        network.load_state_dict(tensors)
        network.eval()
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as data:
                frame, (x, y, width, height) = data["frame"], data["bbox"].tolist()
            image, size, pads = transforms.preprocess_img(
                frame[None, None].astype(np.float32),
                (y, y + height, x, x + width),
                add_padding=width != height,
                resize=(width, height) != (256, 256),
                device=device,
            )
            xs, ys, likelihood = pose_helper_functions.predict(network, image)
            xs, ys = transforms.adjust_keypoints(
                xs,
                ys,
                crop_xy=(x, y),
                padding=pads,
                current_size=(256, 256),
                desired_size=size,
            )
            with torch.no_grad():
                heat = network(image)[0].flatten(2)
            np.savez_compressed(
                path,
                frame=frame,
                bbox=np.array([x, y, width, height]),
                keypoints=torch.stack([xs, ys, likelihood], -1)[0].numpy().astype(np.float32),
                peaks=heat.topk(2, -1).values[0].numpy(),
            )
        print(f"{folder.name}: channels {channels}, {n} keypoints", flush=True)


if __name__ == "__main__":
    main(__file__, __doc__, prepare, ask)
