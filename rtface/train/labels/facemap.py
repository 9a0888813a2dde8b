"""Labels that Facemap's refinement saves: ``<model>_Facemap_refined_data.npy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from rtface.camera.anatomy import KEYPOINTS
from rtface.train.labels.names import match_names
from rtface.train.labels.pictures import Held, Labelled
from rtface.train.labels.unpickle import read_npy
from rtface.train.labels.validate import validated
from rtface.types import UInt8Image, UserError

_REMEDY = "is it a *_Facemap_refined_data.npy?"


def read_npy_file(
    path: Path, names: Sequence[str] = KEYPOINTS, given: Mapping[str, str] | None = None
) -> list[Labelled]:
    """Return the labelled pictures of a Facemap file; see ``read_labels``.

    Its pictures are cut to the bounding box and padded, and so are its keypoints. They are
    floating point numbers normalised by their percentiles; here each video's are stretched from
    its darkest to its brightest pixel. Facemap knows only the newest video's path: the others are
    groups of their own by number.
    """
    content = read_npy(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no labels but {type(content).__name__}; {_REMEDY}")
    for key in ("imgs", "keypoints", "bodyparts"):
        if key not in content:
            raise UserError(f"{path}: has no {key!r}; {_REMEDY}")
    parts = [str(name) for name in content["bodyparts"]]
    ours = match_names(path, parts, given)
    videos = _per_video(content["imgs"], 3), _per_video(content["keypoints"], 3)
    if len(videos[0]) != len(videos[1]):
        raise UserError(
            f"{path}: 'imgs' is of {len(videos[0])} videos and 'keypoints' of {len(videos[1])}; "
            "save it again in Facemap"
        )
    labelled = []
    for number, (images, keypoints) in enumerate(zip(*videos, strict=True)):
        images, keypoints = _checked(path, number, images, keypoints, len(parts))
        group, indices = _origin(path, content, number, len(images))
        for frame, image, xy in zip(indices, images, keypoints, strict=True):
            points = np.full((len(names), 2), np.nan, np.float32)
            for name, at in zip(ours, xy, strict=True):
                if name in names:
                    points[names.index(name)] = at
            held = Held(f"{path} {group} frame {frame}", _Kept(image))
            labelled.append(Labelled(held, points, group, group))
    return validated(path, labelled, names)


class _Kept:
    """A picture in memory that is handed out when asked for."""

    def __init__(self, image: UInt8Image) -> None:
        self._image = image

    def __call__(self) -> UInt8Image:
        return self._image


def _per_video(value: Any, dimensions: int) -> list[Any]:
    """Return one array per video, whether there is a list of them or one alone."""
    if isinstance(value, np.ndarray) and value.dtype != object and value.ndim == dimensions:
        return [value]
    return list(value) if isinstance(value, list | np.ndarray) else [value]


def _checked(
    path: Path, number: int, images: Any, keypoints: Any, n_parts: int
) -> tuple[UInt8Image, np.ndarray]:
    """Return pictures (N, H, W) uint8 and points (N, parts, 2) of one video."""
    for key, value, ndim in (("imgs", images, 3), ("keypoints", keypoints, 3)):
        if not isinstance(value, np.ndarray) or value.ndim != ndim or value.dtype.kind not in "fiu":
            raise UserError(f"{path}: {key!r} of video {number} is no array of numbers; {_REMEDY}")
    if len(images) != len(keypoints) or keypoints.shape[1] != n_parts or keypoints.shape[2] < 2:
        raise UserError(
            f"{path}: video {number} has {len(images)} pictures and keypoints of shape "
            f"{keypoints.shape} for {n_parts} bodyparts; save it again in Facemap"
        )
    if images.dtype != np.uint8:
        low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 1.0)
        if not np.isfinite([low, high]).all():
            raise UserError(
                f"{path}: pictures of video {number} have pixels that are no numbers; refine "
                "pictures that are not all of one grey"
            )
        images = np.round((images - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return images, keypoints[..., :2]


def _origin(path: Path, content: dict[str, Any], number: int, n: int) -> tuple[str, list[int]]:
    """Return a video's name and which frames were labelled, as far as the file knows."""
    video = content.get("video_path")
    indices = content.get("frame_ind")
    if number or not isinstance(video, str):
        return f"video {number} of {path.stem}", list(range(n))
    frames = np.asarray(indices).ravel() if indices is not None else np.arange(0)
    if frames.dtype.kind not in "iu" or len(frames) != n:
        frames = np.arange(n)
    return PureWindowsPath(video).stem, [int(frame) for frame in frames]
