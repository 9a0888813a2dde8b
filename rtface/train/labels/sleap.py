"""Labels of SLEAP: ``.slp`` with its videos, ``.pkg.slp`` with the pictures inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from rtface.camera.anatomy import KEYPOINTS
from rtface.train.labels.names import match_names
from rtface.train.labels.pictures import Held, Labelled, VideoFrame
from rtface.train.labels.validate import NothingLabelled, validated
from rtface.types import UInt8Image, UserError


def read_slp(
    path: Path, names: Sequence[str] = KEYPOINTS, given: Mapping[str, str] | None = None
) -> list[Labelled]:
    """Return the pictures that were labelled by hand in a SLEAP file; see ``read_labels``.

    What a network predicted is left out. A video is looked for where it was when it was labelled
    and beside the file. Needs the extra ``labels``.
    """
    try:
        import sleap_io
    except ImportError:
        raise UserError(
            f"{path}: reading files of SLEAP needs sleap-io; pip install 'rtface[labels]'"
        ) from None
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    try:
        labels = sleap_io.load_slp(str(path), open_videos=False)
    # sleap-io and h5py raise what they like for a damaged file
    except Exception as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise UserError(
            f"{path}: is not a file that SLEAP wrote ({why}); save it again in SLEAP"
        ) from error
    parts = list(
        dict.fromkeys(node for skeleton in labels.skeletons for node in skeleton.node_names)
    )
    ours = match_names(path, parts, given)
    column = {
        part: names.index(our)
        for part, our in zip(parts, ours, strict=True)
        if our is not None and our in names
    }
    labelled = []
    order = {id(video): number for number, video in enumerate(labels.videos)}
    for frame in sorted(labels, key=lambda f: (order[id(f.video)], f.frame_idx)):
        instances = frame.user_instances
        if not instances:
            continue
        picture, group = _picture(path, frame.video, order[id(frame.video)], int(frame.frame_idx))
        if len(instances) > 1:
            raise UserError(
                f"{path}: {Labelled(picture, _EMPTY, '', '').where} has {len(instances)} animals "
                "and rtface tracks one face; remove the others in SLEAP"
            )
        points = np.full((len(names), 2), np.nan, np.float32)
        values = instances[0].numpy(invisible_as_nan=True)
        for part, xy in zip(instances[0].skeleton.node_names, values, strict=True):
            if part in column:
                points[column[part]] = xy
        labelled.append(Labelled(picture, points, group, group))
    if not labelled:
        raise NothingLabelled(
            f"{path}: nothing is labelled by hand in its {len(labels)} frames; predictions are not "
            "used: correct some in SLEAP"
        )
    return validated(path, labelled, names)


_EMPTY = np.empty((0, 2), np.float32)


def _picture(
    source: Path, video: Any, number: int, index: int
) -> tuple[Path | VideoFrame | Held, str]:
    """Return the picture of a labelled frame, and its group."""
    if _embedded(video):
        origin = video.source_video.filename if video.source_video is not None else None
        name = _file_name(origin) if isinstance(origin, str) else f"video {number}"
        held = Held(f"{source} {name} frame {index}", partial(_read, source, video, index))
        return held, Path(name).stem
    if isinstance(video.filename, list):
        try:
            path = _found(source, video.filename[index])
        except IndexError:
            raise UserError(
                f"{source}: labels picture {index} of a sequence of {len(video.filename)}; "
                "save it again in SLEAP"
            ) from None
        return path, path.parent.name
    path = _found(source, video.filename)
    return VideoFrame(path, index), path.stem


def _embedded(video: Any) -> bool:
    """Whether the pictures are in the file itself; known without opening anything."""
    about: dict[str, Any] = video.backend_metadata or {}
    return about.get("filename") == "." or bool(about.get("has_embedded_images"))


def _read(source: Path, video: Any, index: int) -> UInt8Image:
    """Return a picture that is inside the file, (H, W)."""
    try:
        if not video.is_open:
            video.open()
        image = np.asarray(video[index])
    # sleap-io and its decoders raise what they like
    except Exception as error:
        raise UserError(
            f"{source}: the picture of frame {index} cannot be read; save the package again in "
            "SLEAP"
        ) from error
    if image.shape[-1] == 3:
        return np.asarray(np.round(image @ np.array([0.299, 0.587, 0.114])), np.uint8)
    return np.asarray(image[..., 0], np.uint8)


def _file_name(path: str) -> str:
    return PureWindowsPath(path).name  # splits at both kinds of slashes


def _found(source: Path, filename: str) -> Path:
    """Return where a video or picture is, or where it should be.

    Of a project that came from elsewhere the longest end of the path that exists beside the file
    is taken.
    """
    path = Path(filename)
    if path.is_file():
        return path
    here = source.resolve().parent
    parts = [part for part in PureWindowsPath(filename).parts if part.strip("\\/")]
    guesses = (here.joinpath(*parts[i:]) for i in range(len(parts)))
    return next((guess for guess in guesses if guess.is_file()), path)
