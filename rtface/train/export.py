"""Writing a model bundle: one ONNX file with everything from uint8 to keypoints inside it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from torch import nn

from rtface.pose import Resampler, percentile_affine
from rtface.train.card import model_card
from rtface.train.data import FRAME_SHAPE, INPUT_SHAPE, KEYPOINTS, synthetic_frames
from rtface.train.network import Network, decode
from rtface.types import UserError

OPSET = 17
#: edges for drawing, by name
SKELETON = (
    ("eye(back)", "eye(bottom)"),
    ("eye(bottom)", "eye(front)"),
    ("eye(front)", "eye(top)"),
    ("eye(top)", "eye(back)"),
    ("pupil(back)", "pupil(bottom)"),
    ("pupil(bottom)", "pupil(front)"),
    ("pupil(front)", "pupil(top)"),
    ("pupil(top)", "pupil(back)"),
    ("nose(top)", "nose(tip)"),
    ("nose(tip)", "nose(bottom)"),
    ("nose(bottom)", "mouth"),
    ("mouth", "lowerlip"),
    ("whisker(I)", "whisker(II)"),
    ("whisker(II)", "whisker(III)"),
)
#: demonstration seeds whose faces are the reference inputs
REFERENCE_SEEDS = (11, 12)


class Deployed(nn.Module):
    """The network as it is shipped: uint8 picture, scale and shift in, keypoints out."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
    ) -> torch.Tensor:
        """Return keypoints (K, 3) of ``image`` (H, W) uint8; the network sees scale*image+shift."""
        seen = image.to(torch.float32) * scale + shift
        return decode(*self.network(seen[None, None]))[0]


def write_onnx(network: Network, path: Path) -> None:
    """Write ``network`` with preprocessing and decoding into one ONNX file."""
    example = (
        torch.zeros(INPUT_SHAPE, dtype=torch.uint8),
        torch.tensor(1 / 255),
        torch.tensor(0.0),
    )
    with warnings.catch_warnings():
        # the exporter that needs no further package is called legacy by torch 2.13
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Deployed(network).eval(),
            example,
            str(path),
            input_names=["image", "scale", "shift"],
            output_names=["keypoints"],
            opset_version=OPSET,
            dynamo=False,
        )


def read_network(path: Path) -> Network:
    """Return the network in an ONNX file that ``write_onnx`` wrote, to be trained further.

    In the file each normalisation is part of the convolution before it; here it becomes one that
    adds the bias and does nothing else. A file with fewer channels grows: the new ones start at
    random, and nothing that was there before listens to them yet, so the keypoints are the same.

    Raises
    ------
    UserError
        The file holds another network.
    """
    graph = onnx.load(str(path)).graph
    tensors = {one.name: one for one in graph.initializer}
    weights_of = [node.input[1:] for node in graph.node if node.op_type == "Conv"]
    if any(len(names) != 2 or not set(names) <= set(tensors) for names in weights_of):
        raise UserError(f"{path}: is not a network of this recipe; leave out --start")
    stored = [
        [torch.from_numpy(onnx.numpy_helper.to_array(tensors[name]).copy()) for name in names]
        for names in weights_of
    ]
    network = Network(len(KEYPOINTS))
    modules = list(network.modules())
    convolutions = [m for m in modules if isinstance(m, nn.Conv2d)]
    if len(stored) != len(convolutions) or any(
        any(was > now for was, now in zip(weight.shape, conv.weight.shape, strict=True))
        or weight.shape[2:] != conv.weight.shape[2:]
        for conv, (weight, _) in zip(convolutions, stored, strict=True)
    ):
        raise UserError(f"{path}: is not a network of this recipe; leave out --start")
    for conv, (weight, bias) in zip(convolutions, stored, strict=True):
        outputs, inputs = weight.shape[:2]
        conv.weight.data[:outputs, inputs:] = 0
        conv.weight.data[:outputs, :inputs] = weight
        if conv.bias is not None:
            conv.bias.data[:outputs] = bias
            continue
        norm = modules[modules.index(conv) + 1]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.bias.data[:outputs] = bias
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
    return network


def write_bundle(
    network: Network, out_dir: Path, name: str, training: dict[str, Any], scores: dict[str, Any]
) -> None:
    """Write ``model.onnx``, ``reference.npz``, ``model.json`` and the model card.

    Everything is made beside ``out_dir`` first and then moved in file by file, ``model.json``
    last, so no half-written file is ever seen; the checksums in ``model.json`` tell a mixed
    bundle from a whole one.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".bundle-") as folder:
        made = Path(folder)
        write_onnx(network, made / "model.onnx")
        _write_reference(made / "model.onnx", made / "reference.npz")
        files: tuple[str, ...] = ("model.onnx", "reference.npz")
        sums = {file: hashlib.sha256((made / file).read_bytes()).hexdigest() for file in files}
        about = {
            "format": 1,
            "name": name,
            "keypoints": list(KEYPOINTS),
            "skeleton": [[KEYPOINTS.index(a), KEYPOINTS.index(b)] for a, b in SKELETON],
            "input": {"height": INPUT_SHAPE[0], "width": INPUT_SHAPE[1]},
            "normalisation": "percentile-1-99",
            "sha256": sums,
            "licence": "BSD-3-Clause",
            "training": training,
            "scores": scores,
        }
        (made / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        if scores:
            (made / "MODEL_CARD.md").write_text(model_card(about), encoding="utf-8")
            files = (*files, "MODEL_CARD.md")
        for file in (*files, "model.json"):
            os.replace(made / file, out_dir / file)


def _write_reference(model: Path, path: Path) -> None:
    """Write the model's own fp32 answers on two synthetic faces, for engines to be held to."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    resampler = Resampler(FRAME_SHAPE, INPUT_SHAPE)
    images, scales, shifts, answers = [], [], [], []
    for seed in REFERENCE_SEEDS:
        ((frame, _),) = synthetic_frames(seed, [0.0])
        image = resampler(frame).copy()
        scale, shift = np.array(percentile_affine(image), np.float32)
        images.append(image)
        scales.append(scale)
        shifts.append(shift)
        feed = {"image": image, "scale": np.array(scale), "shift": np.array(shift)}
        answers.append(session.run(["keypoints"], feed)[0])
    np.savez_compressed(
        path,
        image=np.stack(images),
        scale=np.stack(scales),
        shift=np.stack(shifts),
        keypoints=np.stack(answers),
    )
