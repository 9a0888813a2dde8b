"""INT8 for a network by the user's own frames: as many layers as leave keypoints where they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.engine import cpu, start_engine
from rtface.engine.bundle import INT8_CPU, INT8_TENSORRT, TOLERANCE_PX, Bundle, NotHere, load_bundle
from rtface.engine.onnx import OnnxEngine
from rtface.quantize.frames import Seen, Shift, shift_of, split, watch
from rtface.types import Engine, UserError

#: largest p99 of the shift against FP32 in any recording, px of the full frame
LIMIT_PX = 0.5
#: of the multiplications in 8 bits that hold, so many must be left once BF16 may stand beside
LEAST_WITH_BF16 = 0.75
#: frames of a recording by which ranges are found, and layers judged one by one
RANGE_FRAMES, LAYER_FRAMES = 40, 20


class Quantised(NamedTuple):
    """One of the two files.

    Attributes
    ----------
    file : str
    model : bytes
    in_float : tuple of str
        Layers that were left in float, beside those that always are.
    layers : int
        How many are in 8 bits.
    share : float
        Of all multiplications in convolutions that are in 8 bits.
    shifts : dict of str to Shift
        By recording, on frames that it was not made by.
    bf16_shifts : dict of str to Shift
        Likewise with all else in BF16; empty where this machine cannot tell.
    with_bf16 : bool
        Whether keypoints stay then, too.
    """

    file: str
    model: bytes
    in_float: tuple[str, ...]
    layers: int
    share: float
    shifts: dict[str, Shift]
    bf16_shifts: dict[str, Shift]
    with_bf16: bool

    @property
    def p99_px(self) -> float:
        """Of the worst recording."""
        return _worst(self.shifts)


def quantize(
    bundle: Bundle,
    recordings: Mapping[str, Sequence[Path]],
    out: Path,
    reduced_range: bool | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Quantised]:
    """Write a bundle with INT8 networks for CPUs and for TensorRT; return what was made.

    Parameters
    ----------
    bundle : Bundle
    recordings : mapping of str to sequence of path
        Name -> its files: one video, or stills. Each has to hold on its own.
    out : Path
        Folder to write; may be the bundle's own.
    reduced_range : bool, optional
        Weights of 7 bits in the file for CPUs; by default where this processor needs it.
    on_progress : callable, optional
        Gets a line now and then.

    Raises
    ------
    UserError
        The package onnx is missing, the frames do not do, or keypoints move too far whatever is
        left in float; nothing is written then.
    """
    try:
        from rtface.quantize.graphs import Quantizer
    except ImportError as error:
        raise UserError(
            f"quantize needs the package onnx ({error}); pip install 'rtface[quantize]'"
        ) from None
    if reduced_range is None:
        reduced_range = cpu.saturates_here()
    halves = {name: split(seen) for name, seen in watch(bundle, recordings, on_progress).items()}
    made_by = {name: seen for name, (seen, _) in halves.items()}
    judged_by = {name: seen for name, (_, seen) in halves.items()}
    _check_sure(bundle, judged_by)
    on_progress("finding the ranges of all layers")
    sparse = [_some(seen, RANGE_FRAMES) for seen in made_by.values()]
    quantizer = Quantizer(bundle.onnx, (feed for seen in sparse for feed in seen.feeds()))
    if not quantizer.layers:
        raise UserError(f"{bundle.folder / 'model.onnx'}: has no convolutions to quantise")
    made = []
    for file, write in (
        (INT8_CPU, lambda layers: quantizer.for_cpu(layers, reduced_range)),
        (INT8_TENSORRT, quantizer.for_tensorrt),
    ):
        choose = _Chooser(bundle, file, write, made_by, judged_by, on_progress)
        made.append(choose(quantizer.layers, quantizer.multiplications))
    _write(bundle, out, made, halves, reduced_range)
    return made


class _Chooser(NamedTuple):
    """Finds which layers may be in 8 bits in one of the files."""

    bundle: Bundle
    file: str
    write: Callable[[Collection[str]], bytes]
    made_by: Mapping[str, Seen]
    judged_by: Mapping[str, Seen]
    on_progress: Callable[[str], None]

    def __call__(self, layers: Mapping[str, int], multiplications: int) -> Quantised:
        """Take one layer after the other as long as keypoints stay; UserError if none does.

        First those that move keypoints least for what they cost: errors of layers add up by their
        squares.
        """
        few = {name: _some(seen, LAYER_FRAMES) for name, seen in self.made_by.items()}
        # medians, because a keypoint that jumps to another peak would decide a mean
        harm = {
            layer: np.mean([shift.p50 for shift in self._shifts([layer], few).values()])
            for layer in layers
        }
        taken: list[str] = []
        p99s = []
        without: Quantised | None = None
        for layer in sorted(layers, key=lambda layer: harm[layer] ** 2 / layers[layer]):
            p99s.append(_worst(self._shifts([*taken, layer], self.made_by)))
            if p99s[-1] <= LIMIT_PX:
                taken.append(layer)
        while taken:
            model = self.write(taken)
            engine = _engine(self.bundle, model)
            shifts = self._shifts_of(engine, self.judged_by)
            share = sum(layers[layer] for layer in taken) / multiplications
            if without and share < LEAST_WITH_BF16 * without.share:
                return without
            p99s.append(_worst(shifts))
            # what every start compares
            reference_px = self.bundle.shift_px(engine)
            self.on_progress(
                f"{self.file}: {len(taken)} of {len(layers)} layers, {100 * share:.0f} % of the "
                f"arithmetic, in 8 bits: p99 {p99s[-1]:.2f} px, reference {reference_px:.2f} px"
            )
            if p99s[-1] <= LIMIT_PX and reference_px <= TOLERANCE_PX:
                in_float = tuple(layer for layer in layers if layer not in taken)
                made = Quantised(
                    self.file, model, in_float, len(taken), share, shifts, *self._in_bf16(model)
                )
                if made.with_bf16 or not made.bf16_shifts:
                    return made
                # with a few layers less in 8 bits all others may be BF16
                without = without or made
                self.on_progress(f"{self.file}: a layer goes back to float, for BF16")
            del taken[-1]
        if without:
            return without
        raise UserError(
            f"{self.bundle.folder}: INT8 is refused: keypoints move by {min(p99s):.2f} px or more "
            f"(p99, {self.file}; at most {LIMIT_PX} px), whichever layers stay in float; use "
            "bf16 or fp32, or record again as your mouse is tracked: sharp and lit"
        )

    def _shifts(self, layers: Sequence[str], recordings: Mapping[str, Seen]) -> dict[str, Shift]:
        """Return how far keypoints move with these layers in 8 bits."""
        return self._shifts_of(_engine(self.bundle, self.write(layers)), recordings)

    def _shifts_of(self, engine: Engine, recordings: Mapping[str, Seen]) -> dict[str, Shift]:
        sure = self.bundle.sure
        return {name: shift_of(engine, seen, sure) for name, seen in recordings.items()}

    def _in_bf16(self, model: bytes) -> tuple[dict[str, Shift], bool]:
        """Return the shifts with all that is in float in BF16, and whether they will do."""
        if self.file != INT8_CPU or (engine := _bf16_engine(self.bundle, model)) is None:
            return {}, False
        shifts = self._shifts_of(engine, self.judged_by)
        reference_px = self.bundle.shift_px(engine)
        self.on_progress(
            f"{self.file}, the rest in BF16: p99 {_worst(shifts):.2f} px, reference "
            f"{reference_px:.2f} px"
        )
        return shifts, _worst(shifts) <= LIMIT_PX and reference_px <= TOLERANCE_PX


def _worst(shifts: Mapping[str, Shift]) -> float:
    return max(shift.p99 for shift in shifts.values())


def _engine(bundle: Bundle, model: bytes) -> Engine:
    """Return a graph in ONNX Runtime, whichever it is for: it is computed as it says."""
    with _as_bundle(bundle, model) as made:
        return OnnxEngine(made)


def _bf16_engine(bundle: Bundle, model: bytes) -> Engine | None:
    """Return a graph with all that is in float in BF16; None where that cannot run."""
    try:
        from rtface.engine.openvino import OpenVinoEngine

        with _as_bundle(bundle, model) as made:
            return OpenVinoEngine(made, precision="bf16")
    except (ImportError, NotHere):
        return None


@contextmanager
def _as_bundle(bundle: Bundle, model: bytes) -> Iterator[Bundle]:
    """Give the bundle with another network, as long as engines read its file."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.onnx").write_bytes(model)
        yield replace(bundle, folder=Path(folder))


def _some(seen: Seen, n: int) -> Seen:
    """Return at most n frames, evenly."""
    return seen.of(np.arange(len(seen.images))[:: max(1, -(-len(seen.images) // n))])


def _check_sure(bundle: Bundle, recordings: Mapping[str, Seen]) -> None:
    for name, seen in recordings.items():
        share = float((seen.keypoints[..., 2] > bundle.sure).mean())
        if share < 0.5:
            raise UserError(
                f"{name}: the network is sure of {100 * share:.0f} % of its keypoints only, so "
                "INT8 cannot be judged by it; record again as your mouse is tracked"
            )


def _write(
    bundle: Bundle,
    out: Path,
    made: Sequence[Quantised],
    halves: Mapping[str, tuple[Seen, Seen]],
    reduced_range: bool,
) -> None:
    """Write the bundle with the new files, ``model.json`` last; what is there stays until then."""
    about: dict[str, Any] = json.loads(json.dumps(bundle.about))
    about["int8"] = {
        "reduced_range": reduced_range,
        "with_bf16": any(one.with_bf16 for one in made),
        "limit_px": LIMIT_PX,
        "made_by": {name: len(seen.images) for name, (seen, _) in halves.items()},
        "files": {
            one.file: {
                "layers": one.layers,
                "share": round(one.share, 3),
                "in_float": list(one.in_float),
                "shift_px": _rounded(one.shifts),
                "bf16_px": _rounded(one.bf16_shifts),
            }
            for one in made
        },
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as folder:
            work = Path(folder)
            files = [one.file for one in made]
            for one in made:
                (work / one.file).write_bytes(one.model)
                about["sha256"][one.file] = hashlib.sha256(one.model).hexdigest()
            if out.resolve() != bundle.folder.resolve():
                for name in ("model.onnx", "reference.npz", "MODEL_CARD.md"):
                    if (bundle.folder / name).exists():
                        shutil.copyfile(bundle.folder / name, work / name)
                        files.append(name)
            text = json.dumps(about, indent=1) + "\n"
            (work / "model.json").write_text(text, encoding="utf-8")
            _check(bundle, work)
            for name in (*files, "model.json"):
                os.replace(work / name, out / name)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from None


def _check(bundle: Bundle, folder: Path) -> None:
    """Raise UserError if what was written does not run, or moves the reference keypoints."""
    for name in ("model.onnx", "reference.npz"):
        if not (folder / name).exists():
            shutil.copyfile(bundle.folder / name, folder / name)
    written = load_bundle(folder)
    if not (cpu.saturates_here() and not written.about["int8"]["reduced_range"]):
        start_engine(written, "onnxruntime", precision="int8")


def _rounded(shifts: Mapping[str, Shift]) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(value, 3) for key, value in shift._asdict().items()}
        for name, shift in shifts.items()
    }
