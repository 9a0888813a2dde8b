"""Users' labels: of DeepLabCut, SLEAP and Facemap, all in one form, or one line why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rtface.camera.anatomy import KEYPOINTS
from rtface.train.labels.check import Suspicion, check_labels
from rtface.train.labels.deeplabcut import project_files, read_csv, read_h5
from rtface.train.labels.facemap import read_npy_file
from rtface.train.labels.names import match_name, parse_names
from rtface.train.labels.pictures import Held, Labelled, VideoFrame, frames, stills
from rtface.train.labels.sleap import read_slp
from rtface.train.labels.validate import NothingLabelled
from rtface.types import UserError

__all__ = [
    "Held",
    "Labelled",
    "Suspicion",
    "VideoFrame",
    "check_labels",
    "frames",
    "match_name",
    "parse_names",
    "read_labels",
    "stills",
]

_READERS = {".csv": read_csv, ".h5": read_h5, ".slp": read_slp, ".npy": read_npy_file}


def read_labels(
    path: Path, names: Sequence[str] = KEYPOINTS, given: Mapping[str, str] | None = None
) -> list[Labelled]:
    """Return the labelled pictures of a file or a DeepLabCut project, sorted as they stand there.

    Parameters
    ----------
    path : Path
        ``CollectedData_*.csv`` or ``.h5``, the folder of a DeepLabCut project, ``.slp``,
        ``.pkg.slp``, or ``*_Facemap_refined_data.npy``.
    names : sequence of str
        Keypoints that are wanted, in this order. Labels of others that rtface knows are left out.
    given : mapping, optional
        The user's names to rtface's, for those that are not known by themselves; an empty name
        leaves a keypoint out. ``parse_names`` reads it.

    Raises
    ------
    UserError
        One line: what is wrong, where, and what to do about it.
    """
    if path.is_dir():
        files = project_files(path)
        if not files:
            raise UserError(
                f"{path}: has no labeled-data/*/CollectedData_*.csv or .h5; name the folder of a "
                "DeepLabCut project or a file of labels"
            )
    else:
        files = [path]
    labelled: list[Labelled] = []
    nothing: NothingLabelled | None = None
    for file in files:
        reader = _READERS.get(file.suffix.lower())
        if reader is None:
            raise UserError(
                f"{file}: is none of the files of labels that are read ({', '.join(_READERS)}); "
                "export your labels as one of them"
            )
        try:
            labelled += reader(file, names, given)
        except NothingLabelled as error:  # one folder of a project may still be to do
            nothing = error
    if nothing is not None and not labelled:
        raise nothing
    return labelled
