"""A session as Facemap's files: a video that it can open, and what is known of each frame of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rtface.export import facemap_pose, film
from rtface.export.facemap_proc import proc_dict
from rtface.export.npyfile import write_dict
from rtface.export.recorded import Recorded
from rtface.export.results import camera_of
from rtface.export.take import recorded
from rtface.session import CameraSession, Session
from rtface.types import UserError


class Exported(NamedTuple):
    """What was written of one camera: files, frames in the video, how many tracked and left out."""

    files: tuple[Path, ...]
    frames: int
    tracked: int
    left_out: int


def export_facemap(
    session: Session,
    camera: str,
    folder: Path,
    filled: bool = False,
    as_facemap: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Exported:
    """Write one camera of a session as files that Facemap 1.0 opens.

    ``<name>.mp4`` (or ``.avi``), ``<name>_FacemapPose.h5``, ``<name>_FacemapPose_metadata.pkl``
    and, if there is more than keypoints, ``<name>_proc.npy``; ``<name>`` is the camera and the
    session's folder. What is there is replaced when all of it is complete. From any thread.

    Parameters
    ----------
    session : Session
    camera : str
    folder : Path
        Made if it is not there.
    filled : bool
        Take the results that ``rtface replay --recompute --fill`` wrote.
    as_facemap : bool
        Repeat what Facemap gets wrong in ``_proc.npy``; see ``proc_dict``.
    on_progress : callable
        Told frames done and their number, at most.

    Raises
    ------
    UserError
        No such camera, no video, h5py is missing, records are damaged, or the folder cannot be
        written.
    """
    facemap_pose.need_h5py()
    source = camera_of(session, camera)
    try:
        # beside the files to be: they can then be put in place at once
        aside = folder / f".export-{name_of(session, camera)}"
        shutil.rmtree(aside, ignore_errors=True)  # of an export that was killed
        aside.mkdir(parents=True)
        try:
            return _export(session, source, folder, aside, filled, as_facemap, on_progress)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); check the folder and the "
            "space there"
        ) from None


def name_of(session: Session, camera: str) -> str:
    """Return what the names of all files of a camera begin with."""
    # the camera first: Facemap tells views of a folder apart by the beginning of their names
    return f"{camera}_{session.path.resolve().name}"


def video_of(session: Session, camera: str, folder: Path) -> Path:
    """Return the video to be; of a camera's files it is the last that is put in place."""
    ending = film.container_of(camera_of(session, camera))
    return folder / f"{name_of(session, camera)}.{ending}"


def _export(
    session: Session,
    camera: CameraSession,
    folder: Path,
    aside: Path,
    filled: bool,
    as_facemap: bool,
    on_progress: Callable[[int, int], None],
) -> Exported:
    name, video = name_of(session, camera.name), video_of(session, camera.name, folder)
    total = len(camera.frames)
    copied = film.copy_video(
        session.path, camera, aside / video.name, lambda done: on_progress(done, total)
    )
    found = recorded(session.path, camera, copied.frame_seq, filled)
    write_facemap(aside, name, found, [[str(folder.resolve() / video.name)]], as_facemap)
    written = []
    for path in sorted(aside.iterdir(), key=lambda path: path.name == video.name):
        os.replace(path, folder / path.name)
        written.append(folder / path.name)
    tracked = int(found.tracked.sum())
    return Exported(tuple(sorted(written)), len(found.frame_seq), tracked, copied.left_out)


def write_facemap(
    folder: Path, name: str, found: Recorded, filenames: list[list[str]], as_facemap: bool = False
) -> None:
    """Write the pose files of a record and, if there is more than keypoints, ``_proc.npy``.

    OSError if the disk refuses.
    """
    pose = folder / f"{name}_FacemapPose"
    facemap_pose.write_pose(pose.with_name(f"{pose.name}.h5"), found)
    facemap_pose.write_metadata(pose.with_name(f"{pose.name}_metadata.pkl"), found)
    if found.motion or found.pupils or found.blinks or found.running:
        with (folder / f"{name}_proc.npy").open("wb") as file:
            write_dict(file, proc_dict(found, filenames, as_facemap))
