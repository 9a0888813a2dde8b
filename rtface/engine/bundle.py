"""A model bundle: a folder with ``model.onnx``, ``model.json`` and reference frames."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtface.engine.cpu import saturates_here
from rtface.face import Crop, check_names
from rtface.types import Engine, UserError

DEFAULT = Path(__file__).parent.parent / "models" / "default"
FORMAT = 1
#: files of a bundle's quantised network: for CPUs, and for TensorRT, which wants another graph
INT8_CPU, INT8_TENSORRT = "model.int8.onnx", "model.int8.trt.onnx"
#: files whose hashes are checked, if model.json has them
FILES = ("model.onnx", "reference.npz", INT8_CPU, INT8_TENSORRT)
#: ways from a frame to the input that there are
NORMALISATIONS = ("percentile-1-99", "facemap")
#: largest difference from the reference keypoints that counts as the same result, input px
TOLERANCE_PX = 0.5
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
#: seeds of synthetic mice whose faces are the reference frames
REFERENCE_SEEDS = (11, 12)


class NotHere(UserError):
    """A runtime or precision that this machine or bundle does not have; nothing is broken."""


def edges(names: Sequence[str]) -> list[list[int]]:
    """Return the pairs of places in ``names`` to join in a drawing, where both ends are there."""
    return [[names.index(a), names.index(b)] for a, b in SKELETON if {a, b} <= set(names)]


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its hashes are right and its metadata is complete.

    Attributes
    ----------
    names : tuple of str
        The K keypoints, in the order of the output.
    skeleton : tuple of (int, int)
        Pairs of keypoints to join in a drawing.
    input_shape : (height, width), px
    crop : Crop or None
        How its crop lies about a face; None: it was trained on whole frames.
    """

    folder: Path
    name: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    input_shape: tuple[int, int]
    sha256: str
    about: dict[str, Any]
    crop: Crop | None = None

    def __post_init__(self) -> None:
        if self.input_dtype not in (np.uint8, np.float32):
            raise ValueError(f"input.dtype: {self.input_dtype}, not uint8 or float32")
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation: {self.normalisation} is not known")

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """Type of the pixels that the network takes: uint8, or float32."""
        return np.dtype(str(self.about["input"].get("dtype", "uint8")))

    @property
    def normalisation(self) -> str:
        """How a frame becomes the input: ``percentile-1-99`` (``pose``), ``facemap``."""
        return str(self.about.get("normalisation", "percentile-1-99"))

    @property
    def onnx(self) -> bytes:
        """The network's file."""
        return (self.folder / "model.onnx").read_bytes()

    @property
    def sure(self) -> float:
        """Scores above this are believed; the peak of an unsure map may lie anywhere."""
        return self.crop.sure if self.crop else 0.5

    @property
    def fp32_head(self) -> bool:
        """Whether its last convolution is FP32 also where the rest is BF16.

        Peaks of Facemap's maps are 3 cells wide: in BF16 cells about them become equal, the first
        is taken, and its offsets are other ones. Peaks of rtface's networks are narrow.
        """
        return self.normalisation == "facemap"

    def file_of(self, precision: str) -> Path:
        """Return the file that CPUs run for a precision; NotHere if there is none for this one."""
        if precision not in ("int8", "int8-bf16"):
            return self.folder / "model.onnx"
        if INT8_CPU not in self.about["sha256"]:
            raise NotHere(
                f"{self.folder}: has no INT8 network; make one from your own frames: "
                f"rtface model quantize {self.folder} --video FILE"
            )
        if saturates_here() and not self.about["int8"]["reduced_range"]:
            raise NotHere(
                f"{self.folder / INT8_CPU}: needs VNNI, which this processor lacks (its sums would "
                "overflow); use fp32, or 'rtface model quantize' on this machine"
            )
        if precision == "int8-bf16" and self.about["int8"].get("with_bf16") is not True:
            raise NotHere(
                f"{self.folder / INT8_CPU}: was not made and judged with BF16 beside it; use int8 "
                "or bf16, or 'rtface model quantize' on a machine with OpenVINO and BF16"
            )
        return self.folder / INT8_CPU

    def reference(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return reference images (N, H, W), scales (N,), shifts (N,), keypoints (N, K, 3)."""
        with np.load(self.folder / "reference.npz", allow_pickle=False) as data:
            return data["image"], data["scale"], data["shift"], data["keypoints"]

    def shift_px(self, engine: Engine) -> float:
        """Return the largest shift of a sure keypoint of the reference frames, px of the input."""
        largest = 0.0
        for image, scale, shift, expected in zip(*self.reference(), strict=True):
            found = engine.infer(image, float(scale), float(shift))
            moved = np.hypot(*(found - expected)[expected[:, 2] > self.sure, :2].T)
            largest = max(largest, float(moved.max(initial=0.0)))
        return largest

    def check(self, engine: Engine) -> None:
        """Run the reference frames; UserError if keypoints moved by more than TOLERANCE_PX."""
        images, scales, shifts, expected = self.reference()
        n = len(images)
        shapes = [(n, *self.input_shape), (n,), (n,), (n, len(self.names), 3)]
        found_shapes = [one.shape for one in (images, scales, shifts, expected)]
        if not n or found_shapes != shapes or images.dtype != self.input_dtype:
            raise UserError(
                f"{self.folder / 'reference.npz'}: has {images.dtype} images and shapes "
                f"{found_shapes}, not {self.input_dtype} and {shapes}; export the bundle again"
            )
        for image, scale, shift, keypoints in zip(images, scales, shifts, expected, strict=True):
            found = engine.infer(image, float(scale), float(shift))
            if not np.isfinite(found).all():
                raise UserError(
                    f"{self.folder / 'model.onnx'}: gives keypoints that are not finite numbers; "
                    "its weights are damaged: export the bundle again"
                )
            sure = keypoints[:, 2] > self.sure
            moved = np.abs(found[sure, :2] - keypoints[sure, :2])
            if not np.all(moved <= TOLERANCE_PX):
                raise UserError(
                    f"{self.folder}: {type(engine).__name__} moves keypoints of the reference "
                    f"frames by {moved.max():.2f} px (at most {TOLERANCE_PX}); update the runtime "
                    "or export the bundle again"
                )


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check every file against its hash; ``default`` is the shipped one.

    Raises
    ------
    UserError
        Something is missing or damaged; names the file, the key and the remedy.
    """
    folder = DEFAULT if str(path) == "default" else Path(path)
    remedy = (
        "reinstall rtface" if folder == DEFAULT else "export or copy the bundle again, all files"
    )
    manifest = folder / "model.json"
    try:
        about = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{manifest}: no such file; a bundle is a folder with model.json and model.onnx"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{manifest}: cannot be read ({error}); {remedy}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{manifest}: format: must be {FORMAT}; {remedy}, or update rtface")
    try:
        bundle = Bundle(
            folder=folder,
            name=str(about["name"]),
            names=tuple(str(name) for name in about["keypoints"]),
            skeleton=tuple((int(a), int(b)) for a, b in about.get("skeleton", [])),
            input_shape=(int(about["input"]["height"]), int(about["input"]["width"])),
            sha256=str(about["sha256"]["model.onnx"]),
            about=about,
            crop=Crop.parse(about["crop"]) if "crop" in about else None,
        )
        if bundle.crop:
            check_names(bundle.names)
        hashes = {str(name): str(value) for name, value in about["sha256"].items()}
        _check_int8(about, hashes)
    except KeyError as error:
        raise UserError(f"{manifest}: {error.args[0]}: missing; {remedy}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{manifest}: wrong contents ({error}); {remedy}") from None
    for name in FILES:
        if name not in hashes:
            continue
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"{folder / name}: {error.strerror}; {remedy}") from None
        if hashlib.sha256(data).hexdigest() != hashes[name]:
            raise UserError(f"{folder / name}: damaged (its hash is not model.json's); {remedy}")
    try:
        bundle.reference()
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder / 'reference.npz'}: wrong contents ({error}); {remedy}") from None
    return bundle


def _check_int8(about: dict[str, Any], hashes: dict[str, str]) -> None:
    """Raise KeyError or TypeError where a quantised file is not described."""
    hashes["reference.npz"]
    if INT8_CPU in hashes and not isinstance(about["int8"]["reduced_range"], bool):
        raise TypeError("int8.reduced_range: is neither true nor false")
