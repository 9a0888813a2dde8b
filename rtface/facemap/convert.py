"""From a state of Facemap's network to a model bundle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rtface import facemap_pose
from rtface.camera.film import Film
from rtface.engine.bundle import FORMAT, REFERENCE_SEEDS, Bundle, edges
from rtface.engine.onnx import OnnxEngine
from rtface.facemap.graph import INPUT_SHAPE, write_graph
from rtface.facemap.weights import NAMES, Weights, read_weights
from rtface.types import BBox, UInt8Image, UserError

LICENCE = (
    "Of the weights, not rtface's: Facemap's are published with code under GPL-3 and data under "
    "CC BY-NC 4.0; for your own, say here what holds"
)
_FRAME_SHAPE = (480, 640)


def import_weights(path: Path, out: Path, names: Sequence[str] = ()) -> Bundle:
    """Write the bundle of a state of Facemap's network; ``out`` must be new or empty.

    Parameters
    ----------
    path : Path
        What ``torch.save`` wrote.
    out : Path
        Folder of the bundle.
    names : sequence of str
        The K keypoints in the order of the channels; Facemap's own by default, if K is 15.

    Raises
    ------
    UserError
        The file is refused, the names do not fit, or ``out`` cannot be written.
    """
    weights = read_weights(path)
    names = _names(path, weights, names)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not empty; name a new folder with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as folder:
            about = _write(weights, Path(folder), path, out.name, names)
            out.mkdir(exist_ok=True)
            for file in (*about["sha256"], "model.json"):  # model.json last: then it is whole
                os.replace(Path(folder) / file, out / file)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from None
    return _bundle(out, about)


def _names(path: Path, weights: Weights, names: Sequence[str]) -> tuple[str, ...]:
    k = weights.n_keypoints
    if not names:
        if k != len(NAMES):
            raise UserError(
                f"{path}: has {k} keypoints, not Facemap's {len(NAMES)}; name them in the order "
                "of its channels: --names a,b,c"
            )
        return NAMES
    if len(names) != k or len(set(names)) != k or not all(names):
        raise UserError(
            f"--names: {len(names)} names ({len(set(names))} different) for the {k} keypoints of "
            f"{path}; give {k} different ones"
        )
    return tuple(names)


def _write(
    weights: Weights, folder: Path, source: Path, name: str, names: tuple[str, ...]
) -> dict[str, Any]:
    """Write all files of the bundle into ``folder`` and return what stands in model.json."""
    model = write_graph(weights)
    onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    about: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "keypoints": list(names),
        "skeleton": edges(names),
        "input": {"height": INPUT_SHAPE[0], "width": INPUT_SHAPE[1], "dtype": "float32"},
        "normalisation": facemap_pose.NORMALISATION,
        "score": "facemap: logistic function of the heat map's peak, 0.5 to 1",
        "sha256": {},
        "licence": LICENCE,
        "training": {
            "imported_from": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "architecture": "FMnet",
            "channels": list(weights.channels),
        },
    }
    sums = about["sha256"]
    sums["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    _write_reference(_bundle(folder, about))
    sums["reference.npz"] = hashlib.sha256((folder / "reference.npz").read_bytes()).hexdigest()
    text = json.dumps(about, indent=1) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")
    return about


def _bundle(folder: Path, about: dict[str, Any]) -> Bundle:
    return Bundle(
        folder=folder,
        name=about["name"],
        names=tuple(about["keypoints"]),
        skeleton=tuple((a, b) for a, b in about["skeleton"]),
        input_shape=INPUT_SHAPE,
        sha256=about["sha256"]["model.onnx"],
        about=about,
    )


def _write_reference(bundle: Bundle) -> None:
    """Write ONNX Runtime's own answers on two synthetic faces, for engines to be held to."""
    engine = OnnxEngine(bundle)
    height, width = _FRAME_SHAPE
    fit = facemap_pose.SquareFit(BBox(0, 0, width, height), bundle.input_shape)
    images, affines, answers = [], [], []
    for seed in REFERENCE_SEEDS:
        image, *affine = facemap_pose.prepare(_face(seed), fit)
        images.append(np.round(image))  # whole numbers take a third of the room
        affines.append(affine)
        answers.append(engine.infer(images[-1], *affine))  # type: ignore[arg-type]
    scales, shifts = np.array(affines, np.float32).T
    np.savez_compressed(
        bundle.folder / "reference.npz",
        image=np.stack(images),
        scale=scales,
        shift=shifts,
        keypoints=np.stack(answers),
    )


def _face(seed: int) -> UInt8Image:
    """Return a frame of a synthetic mouse."""
    height, width = _FRAME_SHAPE
    film = Film(seed, width, height)
    image = np.empty(_FRAME_SHAPE, np.uint8)
    film.draw(film.face.snap(film.script.at(0.0)), image)
    return image
