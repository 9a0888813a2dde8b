"""A fast network for one rig from a slow one: it learns what the slow one says of its videos."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtface.camera.video import declared_frames, probe, read_frames
from rtface.engine import make_engine
from rtface.engine.bundle import Bundle, load_bundle
from rtface.face import SURE
from rtface.facemap_pose import NORMALISATION, facemap_estimator
from rtface.pose import PoseEstimator, finder_for
from rtface.train.choose import HELD_OUT, evenly, most_different, thumbnail
from rtface.train.labels import Held, Labelled, VideoFrame, frames
from rtface.train.lesson import Lesson
from rtface.train.predictions import Finder
from rtface.train.tune import Plan, Report, Tuned, check_out, tune
from rtface.types import BBox, Float32Array, Pose, UInt8Image, UserError

#: frames of which thumbnails are kept, of all videos together
CANDIDATES = 3000
#: of a Facemap-type network the least sure part of each keypoint's frames labels nothing: its
#: likelihood is 0.5 for an empty map and has no scale that means the same for two networks
UNSURE_PART = 0.1
#: frames that speeds are measured on, and of those that come first and do not count
TIMED, WARM = 60, 5


class Looked(NamedTuple):
    """What was seen of a video.

    Attributes
    ----------
    frames : int
        How many it has.
    numbers : list of int
        Frames that thumbnails were kept of, evenly spread.
    thumbnails : ndarray (N, D) float32
    """

    frames: int
    numbers: list[int]
    thumbnails: Float32Array


class Speeds(NamedTuple):
    """Median ms from a frame to its keypoints, one thread, turn by turn on the same frames."""

    teacher_ms: float
    student_ms: float


def look_through(video: Path, most: int, report: Callable[[int], None]) -> Looked:
    """Decode a video and keep thumbnails of at most ``2 * most`` frames, evenly spread.

    ``report`` gets how many frames were decoded.
    """
    stride, numbers, small, n = 1, list[int](), list[Float32Array](), 0
    for number, image in enumerate(read_frames(video)):
        n = number + 1
        report(n)
        if number % stride == 0:
            numbers.append(number)
            small.append(thumbnail(image))
        if len(numbers) > 2 * most:  # how long it is was not known: half of them go
            stride, numbers, small = 2 * stride, numbers[::2], small[::2]
    return Looked(n, numbers, np.stack(small))


def choose(looked: Sequence[Looked], n: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return for each video the frames to learn from and those that judge; pure.

    The last fifth of each video judges, evenly spread; the most different frames of what comes
    before are learned from, wherever they are. ``n`` counts both.

    Parameters
    ----------
    looked : sequence of Looked
        Thumbnails of all must have one length; others count as videos of their own kind.
    n : int
    """
    n_held = max(len(looked), round(HELD_OUT * n))
    held, pool = [], list[tuple[int, int, Float32Array]]()
    for video, (total, numbers, small) in enumerate(looked):
        end = total - max(1, round(HELD_OUT * total))
        late = [number for number in numbers if number >= end] or [total - 1]
        held.append([late[i] for i in evenly(len(late), max(1, n_held // len(looked)))])
        before = zip(numbers, small, strict=True)
        pool += [(video, number, one) for number, one in before if number < end]
    train: list[list[int]] = [[] for _ in looked]
    kinds = sorted({len(one) for _, _, one in pool})
    for kind in kinds:
        alike = [one for one in pool if len(one[2]) == kind]
        share = round((n - n_held) * len(alike) / len(pool))
        for i in most_different(np.stack([one[2] for one in alike]), max(1, share)):
            train[alike[i][0]].append(alike[i][1])
    return train, held


class Teacher:
    """Says where keypoints are in pictures of any size, each by itself.

    Parameters
    ----------
    bundle : Bundle
    box : BBox, optional
        Where a network that finds no face by itself is to look; the whole frame by default.
    """

    def __init__(self, bundle: Bundle, box: BBox | None = None) -> None:
        self.bundle, self._box = bundle, box
        facemap = bundle.normalisation == NORMALISATION
        #: scores above this are believed; None: likelihoods of Facemap's kind
        self.sure = None if facemap else bundle.crop.sure if bundle.crop else SURE
        self._engine = make_engine(bundle, "onnxruntime")
        self._find = None if facemap else Finder(bundle)
        self._kept: dict[tuple[int, ...], Callable[[UInt8Image], Pose]] = {}

    def __call__(self, image: UInt8Image) -> Pose:
        """Return the pose of a picture (H, W)."""
        return self._find(image) if self._find else self.live(image)

    def live(self, image: UInt8Image) -> Pose:
        """Return the pose as the next frame of a video; one inference."""
        shape = image.shape[0], image.shape[1]
        if shape not in self._kept:
            if self._box and not self._box.fits(*shape):
                raise UserError(f"--bbox: does not fit a frame of {shape[1]}x{shape[0]} px")
            bundle, engine = self.bundle, self._engine
            facemap = facemap_estimator(bundle.normalisation, engine, shape, self._box)
            finder = None if facemap else finder_for(bundle.crop, engine, shape)
            self._kept[shape] = facemap or PoseEstimator(engine, shape, finder=finder)
        return self._kept[shape](image)


def limits(scores: Float32Array, sure: float | None) -> Float32Array:
    """Return the score (K,) that a keypoint has to have to be learned, from those of N frames.

    Parameters
    ----------
    scores : ndarray (N, K)
    sure : float or None
        What is believed of an rtface network; None: they are likelihoods of Facemap's kind, 0.5
        and more.
    """
    if sure is not None:
        return np.full(scores.shape[1], sure, np.float32)
    least = np.quantile(scores, UNSURE_PART, axis=0)
    return np.maximum(least, np.nextafter(np.float32(0.5), np.float32(1))).astype(np.float32)


def speeds(
    teacher: Callable[[UInt8Image], Pose],
    student: Callable[[UInt8Image], Pose],
    images: Sequence[UInt8Image],
) -> Speeds:
    """Return the median times of two ways from frame to keypoints, turn by turn."""
    took: list[list[float]] = [[], []]
    for image in [*images[:WARM], *images]:
        for times, estimate in zip(took, (teacher, student), strict=True):
            began = time.perf_counter()
            estimate(image)
            times.append(time.perf_counter() - began)
    warm = min(WARM, len(images))
    return Speeds(*(1e3 * float(np.median(times[warm:])) for times in took))


class Distilled(NamedTuple):
    """What came of it: the tuned network, how many frames were labelled, and both speeds."""

    tuned: Tuned
    learned: int
    held: int
    speeds: Speeds


def distill(
    teacher: Teacher,
    start: Bundle,
    videos: Sequence[Path],
    n_frames: int,
    plan: Plan,
    out: Path,
    report: Report,
) -> Distilled:
    """Teach ``start`` what the teacher says of some videos; write the bundle ``out``.

    Raises
    ------
    UserError
        A video cannot be read, the teacher is sure of nothing, or as ``tune`` does.
    """
    check_out(out)
    nothing = float("nan")
    infos = [probe(video) for video in videos]  # refused before any is read
    looked = []
    for video in videos:
        what, declared = f"looking through {video.name}", declared_frames(video) or 0

        def told(n: int, what: str = what, declared: int = declared) -> None:
            if n % 50 == 1:
                report(what, min(1.0, n / declared) if declared else 0.0, nothing)

        looked.append(look_through(video, max(2, CANDIDATES // len(videos) // 2), told))
        report(what, 1.0, nothing)
    parts = choose(looked, n_frames)
    total = sum(len(numbers) for part in parts for numbers in part)
    done = 0

    def progress() -> None:
        nonlocal done
        done += 1
        report("asking the teacher", done / total, nothing)

    said = [list(_asked(teacher, videos, part, progress)) for part in parts]
    if not said[0]:
        raise UserError("the videos have no frame to learn from; give longer ones")
    both = [[pose for _, pose in part] for part in said]
    least = limits(np.stack([pose.score for pose in both[0]]), teacher.sure)
    names = (*start.names, *(name for name in teacher.bundle.names if name not in start.names))
    train, held = (
        [_labelled(one, pose, teacher.bundle.names, names, least) for one, pose in part]
        for part in said
    )
    train = [one for one in train if np.isfinite(one.points).any()]
    held = [one for one in held if np.isfinite(one.points).any()]
    if not train:
        raise UserError(
            f"{teacher.bundle.folder}: is sure of nothing in these videos; show it some it knows"
        )
    how = f"{len(held)} frames of the last fifth of each video, as the teacher saw them"
    about = {
        "teacher": {"name": teacher.bundle.name, "sha256": teacher.bundle.sha256},
        "learned_from": len(train),
        "groups": sorted({one.group for one in train}),
        "least_score": [round(float(one), 4) for one in least],
    }
    task = Lesson(names, train, held, how, "the teacher's labels", about)
    tuned = tune(start, task, plan, out, report)
    same = infos[0].height, infos[0].width
    images = [image for image, _ in frames([*held, *train]) if image.shape == same][:TIMED]
    student = Teacher(load_bundle(out))
    return Distilled(tuned, len(train), len(held), speeds(teacher.live, student.live, images))


def _asked(
    teacher: Teacher,
    videos: Sequence[Path],
    numbers: Sequence[Sequence[int]],
    progress: Callable[[], None],
) -> Iterator[tuple[Labelled, Pose]]:
    """Yield every frame asked for, kept in memory, with what the teacher says of it."""
    none = np.empty((0, 2), np.float32)
    for video, wanted in zip(videos, numbers, strict=True):
        asked = [
            Labelled(VideoFrame(video, number), none, video.name, video.name)
            for number in sorted(wanted)
        ]
        for one, (image, _) in zip(asked, frames(asked), strict=True):
            kept = np.ascontiguousarray(image)
            pose = teacher(kept)
            progress()
            yield one._replace(picture=Held(one.where, partial(np.asarray, kept))), pose


def _labelled(
    one: Labelled, pose: Pose, theirs: Sequence[str], names: Sequence[str], least: Float32Array
) -> Labelled:
    """Return a picture with those of the teacher's keypoints that it is sure of."""
    points = np.full((len(names), 2), np.nan, np.float32)
    if pose.face:
        for k in np.flatnonzero(pose.score >= least).tolist():
            points[names.index(theirs[k])] = pose.xy[k]
    return one._replace(points=points)
