"""Keypoints of recorded files: every frame of videos and stills into one CSV file."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from os import PathLike, fspath
from pathlib import Path

from rtface.camera.video import declared_frames, probe, read_frames
from rtface.face import State
from rtface.facemap_pose import FacemapEstimator
from rtface.pose import PoseEstimator
from rtface.types import CameraInfo, Image, Pose, UserError

#: called after every frame: the file, how many of its frames are done, how many it declares
Progress = Callable[[str, int, int | None], None]
Estimator = PoseEstimator | FacemapEstimator
#: frames at a file's beginning in which the face is looked for before the first is tracked, and
#: the rate of what states none
FIRST_FRAMES, STILL_HZ = 32, 25.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What was tracked: files and frames done, how long it took in s, frames without a face."""

    files: int
    frames: int
    seconds: float
    no_face: int = 0


def header(names: Iterable[str]) -> list[str]:
    """Return the columns of the CSV file for keypoints of these names."""
    return ["source", "frame", *(f"{n}_{c}" for n in names for c in ("x", "y", "score"))]


def rows(
    source: str, images: Iterable[Image], estimate: Callable[[Image], Pose]
) -> Iterator[list[str]]:
    """Yield one line of the CSV file per image: px with 3 decimals, scores with 4.

    Pure apart from what ``images`` and ``estimate`` do; what they raise passes through.
    """
    for frame, image in enumerate(images):
        pose = estimate(image)
        line = [source, str(frame)]
        for (x, y), score in zip(pose.xy.tolist(), pose.score.tolist(), strict=True):
            line += [f"{x:.3f}", f"{y:.3f}", f"{score:.4f}"]
        yield line


def look_ahead(estimator: Estimator, path: str | PathLike[str], rate_hz: float) -> None:
    """Find the face of a file before its first frame is tracked.

    Looks at its first frames again and again, as if they were a film (a still: one frame), until
    the face is settled on. If it is not, the search begins with the first frame, as live.
    """
    finder = estimator.finder
    if finder is None:
        return
    finder.restart(rate_hz or STILL_HZ)
    first: list[Image] = []
    with suppress(UserError):  # said when the frames are tracked
        first.extend(islice(read_frames(path), FIRST_FRAMES))
    for image in islice(cycle(first), finder.patience + len(first)):
        estimator(image)
        if finder.state is State.SETTLED:
            return
    finder.settle_now()
    if finder.state is not State.SETTLED:
        finder.restart()


class _Counting:
    """Counts frames without a face."""

    def __init__(self, estimate: Callable[[Image], Pose]) -> None:
        self._estimate = estimate
        self.no_face = 0

    def __call__(self, image: Image) -> Pose:
        """Return the pose of one image."""
        pose = self._estimate(image)
        self.no_face += not pose.face
        return pose


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn whatever a file system may refuse into one line; inputs raise UserError themselves."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); check --out, the space on that disk, "
            "and that no other program has the file open"
        ) from error


def track_files(
    paths: Sequence[str | PathLike[str]],
    out_csv: str | PathLike[str],
    estimator_factory: Callable[[CameraInfo], Estimator],
    on_progress: Progress | None = None,
) -> Summary:
    """Track every frame of every file and write the poses to ``out_csv``.

    The lines go to ``<out_csv>.part``, which replaces ``out_csv`` when all files are done; what
    was written so far stays there when something else stops the work. Runs in the calling thread.

    Parameters
    ----------
    paths : sequence of str or path
        Videos and stills; written as given into the column ``source``.
    out_csv : str or path
    estimator_factory : callable
        Builds the estimator for frames of one kind; called once per kind, before any tracking.
        All must have the same keypoints.
    on_progress : callable, optional
        Gets (file, frames done, frames declared or None) after every frame.

    Raises
    ------
    UserError
        Before anything is done: a file cannot be read, ``out_csv`` cannot be written or is one
        of the inputs. At the end: files broke off; the frames before that point are in
        ``out_csv`` and so are all other files.
    """
    began = time.perf_counter()
    out = Path(out_csv)
    if not paths:
        raise UserError("no files to track; name at least one video or image")
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file for --out")
    infos = [probe(path) for path in paths]
    for path in paths:
        if out.exists() and os.path.samefile(path, out):
            raise UserError(f"{fspath(path)}: is also the output; name another file for --out")
    # stills by the thousand share one estimator per size
    kinds = [info._replace(rate_hz=0.0) for info in infos]
    estimators = {kind: estimator_factory(kind) for kind in dict.fromkeys(kinds)}
    part = out.with_name(f"{out.name}.part")
    frames = no_face = 0
    faults: list[str] = []
    with (
        _writing(out),
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header(estimators[kinds[0]].engine.names))
        for path, kind, info in zip(paths, kinds, infos, strict=True):
            source, done = fspath(path), 0
            estimate = _Counting(estimators[kind])
            try:
                declared = declared_frames(path)
                look_ahead(estimators[kind], path, info.rate_hz)
                for line in rows(source, read_frames(path), estimate):
                    writer.writerow(line)
                    done += 1
                    if on_progress is not None:
                        on_progress(source, done, declared)
            except UserError as error:
                faults.append(str(error))
            frames += done
            no_face += estimate.no_face
    with _writing(out):
        os.replace(part, out)
    if faults:
        raise UserError(f"{'; '.join(faults)}; all frames before that are in {out}")
    return Summary(len(paths), frames, time.perf_counter() - began, no_face)
