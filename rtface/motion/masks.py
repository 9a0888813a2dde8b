"""Masks of motion and movie components, and their file ``masks.npz``."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.motion.binning import MOST_BIN, Area
from rtface.types import Float32Array, UserError

#: of the file; another one is refused
VERSION = 1
#: larger files hold no masks, bytes
MOST_BYTES = 8 << 30
FULL = "full"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Basis:
    """Masks of one kind (motion or movie) of one area.

    Attributes
    ----------
    masks : ndarray (P, C) float32
        One column per component, one row per bin of the area, row by row. Of unit length if rtface
        made them; Facemap's may be longer.
    singular : ndarray (C,) float32
        Singular values, grey levels; NaN where a file of Facemap does not say.
    explained : ndarray (C,) float32
        Share of the variance about the average (spatial mean of every frame removed), 0 to 1;
        NaN where a file of Facemap does not say.
    """

    masks: Float32Array
    singular: Float32Array
    explained: Float32Array


@dataclass(frozen=True, slots=True)
class AreaMasks:
    """Masks of the whole frame or of one ROI; at least one of ``motion`` and ``movie`` is there."""

    name: str
    area: Area
    motion: Basis | None
    movie: Basis | None


@dataclass(frozen=True)
class Masks:
    """What turns frames of one size into motion and movie components.

    Attributes
    ----------
    height, width : int
        Of the frames, px.
    bin_px : int
        Side of the blocks that are averaged, px.
    average_frame, average_motion : ndarray (h, w) float32
        Means of binned frames and of |difference| of consecutive ones, grey levels.
    areas : tuple of AreaMasks
        ``full`` (if there are masks of the whole frame), then ``roi1``, ``roi2``...
    source : str
        SHA-256 of what they were made of: the frames' pixels, or Facemap's file.
    """

    height: int
    width: int
    bin_px: int
    average_frame: Float32Array
    average_motion: Float32Array
    areas: tuple[AreaMasks, ...]
    source: str

    @cached_property
    def identity(self) -> str:
        """SHA-256 of everything above: equal masks have equal identities."""
        digest = hashlib.sha256()
        for key, value in _entries(self):
            digest.update(f"{key} {value.dtype.str} {value.shape}\n".encode())
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()


def save_masks(path: Path, masks: Masks) -> None:
    """Write ``masks.npz``; what is there is replaced when the new file is complete."""
    part = path.with_name(f"{path.name}.part")
    entries: dict[str, Any] = {"identity": np.array(masks.identity), **dict(_entries(masks))}
    try:
        with part.open("wb") as file:
            np.savez(file, **entries)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); check the folder and the space there"
        ) from None


def load_masks(
    path: Path, frame: tuple[int, int] | None = None, bin_px: int | None = None
) -> Masks:
    """Return the masks of a file.

    Parameters
    ----------
    path : Path
    frame : tuple of int, optional
        Height and width of the frames that they are meant for, px; others are refused.
    bin_px : int, optional
        The bin that they must have; another is refused.

    Raises
    ------
    UserError
        The file cannot be read, is damaged, lacks something, or is for other frames.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise UserError(f"{path}: holds more than {MOST_BYTES >> 30} GiB; no masks do")
        with np.load(path, allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a masks.npz") from None
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        detail = " ".join(str(error).split())[:100]
        raise UserError(
            f"{path}: is damaged or no masks.npz ({detail}); make it again with "
            "rtface calibrate motion"
        ) from None
    masks = _Reader(path, found).masks()
    if frame is not None and frame != (masks.height, masks.width):
        raise UserError(
            f"{path}: height, width: made for frames of {masks.width}x{masks.height}, the camera "
            f"gives {frame[1]}x{frame[0]}; make masks of this camera's video"
        )
    if bin_px is not None and bin_px != masks.bin_px:
        raise UserError(
            f"{path}: bin: made with {masks.bin_px} px, {bin_px} px are asked for; "
            f"set the bin to {masks.bin_px} or make masks again"
        )
    return masks


def basis_fault(area: AreaMasks) -> str:
    """Return what is wrong with the shapes and numbers of an area's masks; empty if nothing is."""
    if area.motion is None and area.movie is None:
        return "has neither motion nor movie masks"
    for kind, basis in (("motion", area.motion), ("movie", area.movie)):
        if basis is None:
            continue
        pixels, n = basis.masks.shape
        if pixels != area.area.pixels:
            return f"{kind}: {pixels} rows for {area.area.pixels} bins of the area"
        if not 1 <= n <= pixels:
            return f"{kind}: {n} components of {pixels} bins"
        if basis.singular.shape != (n,) or basis.explained.shape != (n,):
            return f"{kind}: not one singular value and share per component"
        if not np.isfinite(basis.masks).all():
            return f"{kind}: holds NaN or infinity"
    return ""


def _entries(masks: Masks) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield what stands in the file, but for the identity."""
    yield "version", np.array(VERSION, np.int32)
    yield "height", np.array(masks.height, np.int32)
    yield "width", np.array(masks.width, np.int32)
    yield "bin", np.array(masks.bin_px, np.int32)
    yield "source", np.array(masks.source)
    yield "average_frame", masks.average_frame
    yield "average_motion", masks.average_motion
    yield "names", np.array([area.name for area in masks.areas])
    yield "areas", np.array([area.area for area in masks.areas], np.int32).reshape(-1, 4)
    for area in masks.areas:
        for kind, basis in (("motion", area.motion), ("movie", area.movie)):
            if basis is not None:
                yield f"{area.name}_{kind}", basis.masks
                yield f"{area.name}_{kind}_singular", basis.singular
                yield f"{area.name}_{kind}_explained", basis.explained


class _Reader:
    """Takes what a file holds apart; every fault names the file and the key."""

    def __init__(self, path: Path, found: dict[str, npt.NDArray[Any]]) -> None:
        self._path, self._found = path, found

    def masks(self) -> Masks:
        version = self._whole("version")
        if version != VERSION:
            raise self._fault("version", f"is {version}, this rtface reads {VERSION}")
        height, width, bin_px = (self._whole(key) for key in ("height", "width", "bin"))
        if min(height, width) < 1 or not 1 <= bin_px <= min(height, width, MOST_BIN):
            raise self._fault("bin", f"{bin_px} px in frames of {width}x{height}")
        shape = height // bin_px, width // bin_px
        average_frame, average_motion = (
            self._floats(key, shape) for key in ("average_frame", "average_motion")
        )
        for key, array in (("average_frame", average_frame), ("average_motion", average_motion)):
            if not np.isfinite(array).all():
                raise self._fault(key, "holds NaN or infinity")
        names = [str(name) for name in self._get("names", (-1,), "U")]
        places = self._get("areas", (len(names), 4), "i")
        if not names or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
            raise self._fault("names", "must name at least one area, each once, in small letters")
        areas = tuple(
            self._area(name, Area(*place), shape)
            for name, place in zip(names, places.tolist(), strict=True)
        )
        source = str(self._get("source", (), "U"))
        masks = Masks(height, width, bin_px, average_frame, average_motion, areas, source)
        if masks.identity != str(self._get("identity", (), "U")):
            raise self._fault("identity", "the file was altered after it was made")
        return masks

    def _area(self, name: str, area: Area, shape: tuple[int, int]) -> AreaMasks:
        if not (0 <= area.y0 < area.y1 <= shape[0] and 0 <= area.x0 < area.x1 <= shape[1]):
            raise self._fault("areas", f"{name} is not inside {shape[0]}x{shape[1]} bins")
        made = AreaMasks(name, area, self._basis(f"{name}_motion"), self._basis(f"{name}_movie"))
        if fault := basis_fault(made):
            raise self._fault(name, fault)
        return made

    def _basis(self, key: str) -> Basis | None:
        if key not in self._found:
            return None
        masks = self._floats(key, (-1, -1))
        one = (masks.shape[1],)
        return Basis(
            masks, self._floats(f"{key}_singular", one), self._floats(f"{key}_explained", one)
        )

    def _whole(self, key: str) -> int:
        return int(self._get(key, (), "i"))

    def _floats(self, key: str, shape: tuple[int, ...]) -> Float32Array:
        array = self._get(key, shape, "f")
        if array.dtype != np.float32:
            raise self._fault(key, f"is {array.dtype}, not float32")
        return array

    def _get(self, key: str, shape: tuple[int, ...], kind: str) -> npt.NDArray[Any]:
        """Return an array of this kind and shape, in which -1 stands for any length."""
        if key not in self._found:
            raise self._fault(key, "is missing")
        array = self._found[key]
        fits = len(array.shape) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits or array.dtype.kind != kind:
            raise self._fault(key, f"is {array.dtype} {array.shape}")
        return array

    def _fault(self, key: str, what: str) -> UserError:
        return UserError(f"{self._path}: {key}: {what}; make it again with rtface calibrate motion")
