"""A fitted model as a folder: its weights, a sidecar that says what they mean, and one hash."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtface.neural.activity import Activity, Floats, Ints, Moments
from rtface.neural.columns import Column
from rtface.neural.model import Common, Keypoints, Linear, Model
from rtface.neural.network import read_network
from rtface.neural.scaling import Scaling, joint_of
from rtface.types import Float32Array, UserError

FORMAT = 1
SIDECAR, ARRAYS, STATE = "neural.json", "neural.npz", "model.pth"
MOST_OUTPUTS, MOST_LAG_S, MOST_BYTES = 256, 60, 4 << 20
Name = Annotated[str, Field(min_length=1, max_length=100)]


class Sidecar(BaseModel):
    """``neural.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: int
    kind: Literal["linear", "facemap"]
    columns: list[tuple[Name, Name]] = Field(min_length=1, max_length=20_000)
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    hold_s: list[Annotated[float, Field(gt=0)]]
    outputs: list[Name] = Field(min_length=1, max_length=MOST_OUTPUTS)
    lag_s: float = Field(ge=-MOST_LAG_S, le=MOST_LAG_S)
    masks: str | None = None
    taus_s: list[Annotated[float, Field(ge=0, le=3600)]] = Field(default_factory=list)
    period_ns: int = Field(0, ge=0, le=10**10)
    animal: int | None = None
    about: dict[str, Any] = Field(description="scores, and what it was fitted to")
    sha256: dict[str, str]

    @model_validator(mode="after")
    def _lengths_agree(self) -> Sidecar:
        if not len(self.columns) == len(self.mean) == len(self.std) == len(self.hold_s):
            raise ValueError("columns, mean, std and hold_s have different lengths")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column stands twice")
        if self.kind == "facemap" and not self.period_ns:
            raise ValueError("a network has no period_ns")
        if self.kind == "linear" and not self.taus_s:
            raise ValueError("a linear model has no taus_s")
        return self


class Units(NamedTuple):
    """The neurons that a model was fitted to, N of them; NaN and 0 for those that were left out.

    Attributes
    ----------
    names, regions : tuple of str
    mean, std : ndarray (N,) float64
        Of their activity where the model was fitted.
    readout : ndarray (C, N) float32
        From what the model predicts to deviations of each.
    """

    names: tuple[str, ...]
    regions: tuple[str, ...]
    mean: Floats
    std: Floats
    readout: Float32Array


def units_of(activity: Activity, which: Ints, known: Moments, readout: Float32Array) -> Units:
    """Return all units of a recording; ``readout`` (C, n) is of ``which`` (n,) of them."""
    n = len(activity.units)
    mean, std, whole = np.full(n, np.nan), np.full(n, np.nan), np.zeros((len(readout), n))
    mean[which], std[which], whole[:, which] = known.mean[which], known.std[which], readout
    return Units(activity.units, activity.regions, mean, std, whole.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that was read.

    Attributes
    ----------
    folder : Path
    sha256 : str
        Of the sidecar, which holds those of the weights: names the model in every message.
    model : Model
    units : Units or None
        Imported weights say nothing of units.
    about : mapping
        Scores, and what it was fitted to.
    """

    folder: Path
    sha256: str
    model: Model
    units: Units | None
    about: Mapping[str, Any]


def save_bundle(
    folder: Path,
    model: Model,
    about: Mapping[str, Any],
    units: Units | None = None,
    state: Path | None = None,
    animal: int | None = None,
) -> Bundle:
    """Write a model and return it as it is read again.

    ``state``: of a network, its file of weights, which is copied byte by byte.

    Raises
    ------
    UserError
        The disk refuses.
    """
    common = model.common
    if len(common.outputs) > MOST_OUTPUTS or abs(common.lag_s) > MOST_LAG_S:
        raise UserError(
            f"{folder}: {len(common.outputs)} outputs, {common.lag_s:.1f} s late; at most "
            f"{MOST_OUTPUTS} and {MOST_LAG_S} s are possible"
        )
    arrays: dict[str, Any] = {"precision": common.scaling.precision}
    if units is not None:
        arrays |= {f"units_{name}": np.asarray(value) for name, value in units._asdict().items()}
    if isinstance(model, Linear):
        arrays |= {"weights": model.weights, "bias": model.bias}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SIDECAR).unlink(missing_ok=True)  # a half-written folder is none
        np.savez(folder / ARRAYS, **arrays)
        if state is not None and state.resolve() != (folder / STATE).resolve():
            shutil.copyfile(state, folder / STATE)
        files = [ARRAYS, *([STATE] if isinstance(model, Keypoints) else [])]
        told = Sidecar(
            format=FORMAT,
            kind="linear" if isinstance(model, Linear) else "facemap",
            columns=[(column.name, column.group) for column in common.columns],
            mean=[float(one) for one in common.scaling.mean],
            std=[float(one) for one in common.scaling.std],
            hold_s=[float(one) for one in common.scaling.hold_s],
            outputs=list(common.outputs),
            lag_s=common.lag_s,
            masks=common.masks,
            taus_s=list(model.taus_s) if isinstance(model, Linear) else [],
            period_ns=model.period_ns if isinstance(model, Keypoints) else 0,
            animal=animal,
            about=dict(about),
            sha256={name: _hash(folder / name) for name in files},
        )
        text = json.dumps(told.model_dump(mode="json"), indent=1) + "\n"
        (folder / SIDECAR).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
    return load_bundle(folder)


def load_bundle(folder: Path) -> Bundle:
    """Read a model; nothing in its files is run.

    Raises
    ------
    UserError
        A file is missing, was changed, or does not fit the others.
    """
    path = folder / SIDECAR
    try:
        text = path.read_bytes()[:MOST_BYTES]
        told = Sidecar.model_validate_json(text)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); 'rtface neural fit' makes such a folder"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg'].lower()}; fit it again") from None
    if told.format != FORMAT:
        raise UserError(f"{path}: format {told.format}, not {FORMAT}; fit it again")
    needed = [ARRAYS, *([STATE] if told.kind == "facemap" else [])]
    for name in needed:
        if _hash(folder / name) != told.sha256.get(name):
            raise UserError(f"{folder / name}: is missing or was changed since it was written")
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / ARRAYS}: is damaged ({error})") from None
    columns = tuple(Column(*column) for column in told.columns)
    joint = joint_of(columns)
    _check_array(folder, arrays, "precision", (len(joint), len(joint)))
    holds_s = np.array(told.hold_s)
    common = Common(
        columns,
        Scaling(np.array(told.mean), np.array(told.std), holds_s, joint, arrays["precision"]),
        tuple(told.outputs),
        told.lag_s,
        told.masks,
    )
    model = _linear(folder, told, common, arrays)
    if model is None:
        network = read_network(folder / STATE, told.animal)
        check_shapes(folder / STATE, network.mix.shape[0], network.readout.shape[1], common)
        model = Keypoints(common, network, told.period_ns)
    digest = hashlib.sha256(text).hexdigest()
    units = _units(folder, arrays, len(common.outputs))
    return Bundle(folder, digest, model, units, told.about)


def _units(folder: Path, arrays: dict[str, Any], n_outputs: int) -> Units | None:
    found = [arrays.get(f"units_{name}") for name in Units._fields]
    if all(one is None for one in found):
        return None
    names, regions, mean, std, readout = found
    n = 0 if names is None else len(names)
    expected = ((n,), (n,), (n,), (n,), (n_outputs, n))
    for name, one, shape in zip(Units._fields, found, expected, strict=True):
        if one is None or one.shape != shape:
            raise UserError(f"{folder / ARRAYS}: units_{name}: is not of shape {shape}")
    texts = [tuple(str(one) for one in np.asarray(part)) for part in (names, regions)]
    return Units(texts[0], texts[1], np.asarray(mean), np.asarray(std), np.asarray(readout))


def check_shapes(path: Path, n_inputs: int, n_outputs: int, common: Common) -> None:
    """Raise UserError unless a network has as many inputs and outputs as its sidecar says."""
    if n_inputs != len(common.columns):
        raise UserError(
            f"{path}: takes {n_inputs} numbers ({n_inputs // 2} keypoints), not "
            f"{len(common.columns)}; name its keypoints in its order with keypoints"
        )
    if n_outputs != len(common.outputs):
        raise UserError(f"{path}: predicts {n_outputs} numbers, not {len(common.outputs)}")


def _linear(
    folder: Path, told: Sidecar, common: Common, arrays: dict[str, Any]
) -> Linear | Keypoints | None:
    if told.kind != "linear":
        return None
    expected = {
        "weights": (len(common.outputs), len(common.columns) * len(told.taus_s)),
        "bias": (len(common.outputs),),
    }
    for name, shape in expected.items():
        _check_array(folder, arrays, name, shape)
    return Linear(common, tuple(told.taus_s), arrays["weights"], arrays["bias"])


def _check_array(folder: Path, arrays: dict[str, Any], name: str, shape: tuple[int, ...]) -> None:
    found = arrays.get(name)
    if found is None or found.shape != shape or found.dtype != np.float32:
        raise UserError(f"{folder / ARRAYS}: {name}: is not of shape {shape}; fit it again")
    if not np.isfinite(found).all():
        raise UserError(f"{folder / ARRAYS}: {name}: has values that are not finite numbers")


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
