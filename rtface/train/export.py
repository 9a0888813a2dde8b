"""Writing a model bundle: one ONNX file with everything from uint8 to keypoints inside it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from torch import nn

from rtface.engine.bundle import REFERENCE_SEEDS, edges
from rtface.face import CROP
from rtface.percentiles import percentile_affine
from rtface.pose import Resampler
from rtface.train.data import FRAME_SHAPE, INPUT_SHAPE, KEYPOINTS, box_of, face_of, synthetic_frames
from rtface.train.network import Network, decode
from rtface.train.score import PEAKS, Scoring
from rtface.types import UserError

OPSET = 17


class Deployed(nn.Module):
    """The network as it is shipped: uint8 picture, scale and shift in, keypoints out.

    Parameters
    ----------
    network : Network
    scoring : Scoring
        Turns a peak and a spread into the score.
    """

    def __init__(self, network: Network, scoring: Scoring) -> None:
        super().__init__()
        self.network = network
        self.scoring = scoring

    def forward(
        self, image: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
    ) -> torch.Tensor:
        """Return keypoints (K, 3) of ``image`` (H, W) uint8; the network sees scale*image+shift."""
        seen = image.to(torch.float32) * scale + shift
        found = decode(self.network(seen[None, None]))[0]
        return torch.cat([found[:, :2], self.scoring.of(found[:, 2:3], found[:, 3:])], 1)


def write_onnx(network: Network, path: Path, scoring: Scoring) -> None:
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
            Deployed(network, scoring).eval(),
            example,
            str(path),
            input_names=["image", "scale", "shift"],
            output_names=["keypoints"],
            opset_version=OPSET,
            dynamo=False,
        )


def read_network(path: Path, names: Sequence[str], wanted: Sequence[str]) -> Network:
    """Return the network in an ONNX file that ``write_onnx`` wrote, to be trained further.

    In the file each normalisation is part of the convolution before it; here it becomes one that
    adds the bias and does nothing else.

    Parameters
    ----------
    path : Path
    names : sequence of str
        The file's keypoints.
    wanted : sequence of str
        Those of the network to return; what the file does not know starts from nothing.

    Raises
    ------
    UserError
        The file holds another network.
    """
    graph = onnx.load(str(path)).graph
    tensors = {one.name: one for one in graph.initializer}
    weights_of = [node.input[1:] for node in graph.node if node.op_type == "Conv"]
    wrong = UserError(f"{path}: is not a network of this recipe; start from the shipped one")
    if any(len(names) != 2 or not set(names) <= set(tensors) for names in weights_of):
        raise wrong
    stored = [
        [torch.from_numpy(onnx.numpy_helper.to_array(tensors[name]).copy()) for name in names]
        for names in weights_of
    ]
    network = Network(len(wanted))
    modules = list(network.modules())
    convolutions = [m for m in modules if isinstance(m, nn.Conv2d)]
    body, head = convolutions[:-1], convolutions[-1]
    if [w.shape for w, _ in stored[:-1]] != [c.weight.shape for c in body]:
        raise wrong
    if stored[-1][0].shape != (4 * len(names), *head.weight.shape[1:]):
        raise wrong
    for conv, (weight, bias) in zip(body, stored[:-1], strict=True):
        conv.weight.data = weight
        if conv.bias is not None:
            conv.bias.data = bias
            continue
        norm = modules[modules.index(conv) + 1]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.bias.data = bias
        norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
    weight, bias = stored[-1]
    for here, name in enumerate(wanted):
        if name in names:
            there = _rows(len(names), names.index(name))
            for row, theirs in zip(_rows(len(wanted), here), there, strict=True):
                head.weight.data[row] = weight[theirs]
                head.bias.data[row] = bias[theirs]  # type: ignore[union-attr]
    return network


def _rows(n: int, keypoint: int) -> tuple[int, int, int, int]:
    """Return which of a head's 4n outputs belong to one keypoint: heat, x, y, spread."""
    return keypoint, n + 2 * keypoint, n + 2 * keypoint + 1, 3 * n + keypoint


def write_bundle(
    network: Network,
    out_dir: Path,
    name: str,
    training: dict[str, Any],
    scores: dict[str, Any],
    scoring: Scoring = PEAKS,
    names: Sequence[str] = KEYPOINTS,
    card: str = "",
) -> None:
    """Write ``model.onnx``, ``reference.npz``, ``model.json`` and the model card.

    Everything is made beside ``out_dir`` first and then moved in file by file, ``model.json``
    last, so no half-written file is ever seen; the checksums in ``model.json`` tell a mixed
    bundle from a whole one.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".bundle-") as folder:
        made = Path(folder)
        write_onnx(network, made / "model.onnx", scoring)
        _write_reference(made / "model.onnx", made / "reference.npz")
        files: tuple[str, ...] = ("model.onnx", "reference.npz")
        sums = {file: hashlib.sha256((made / file).read_bytes()).hexdigest() for file in files}
        about = {
            "format": 1,
            "name": name,
            "keypoints": list(names),
            "skeleton": edges(names),
            "input": {"height": INPUT_SHAPE[0], "width": INPUT_SHAPE[1]},
            "crop": CROP._replace(sure=scoring.sure)._asdict(),
            "score": scoring._asdict(),
            "normalisation": "percentile-1-99",
            "sha256": sums,
            "licence": "BSD-3-Clause",
            "training": training,
            "scores": scores,
        }
        (made / "model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        if card:
            (made / "MODEL_CARD.md").write_text(card, encoding="utf-8")
            files = (*files, "MODEL_CARD.md")
        for file in (*files, "model.json"):
            os.replace(made / file, out_dir / file)


def _write_reference(model: Path, path: Path) -> None:
    """Write the model's own fp32 answers on two synthetic faces, for engines to be held to."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    images, scales, shifts, answers = [], [], [], []
    for seed in REFERENCE_SEEDS:
        ((frame, points),) = synthetic_frames(seed, [0.0])
        image = Resampler(FRAME_SHAPE, INPUT_SHAPE, box_of(face_of(points)))(frame).copy()
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
