"""Labelled pictures for training and evaluation: real stills under MIT and synthetic faces."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from rtface.camera import anatomy
from rtface.camera.film import Film
from rtface.camera.script import PERIOD_S
from rtface.camera.truth import visible
from rtface.face import CROP
from rtface.train.bank import Bank, banks_by_size
from rtface.types import BBox, Float32Array, UInt8Image, UserError

#: what the network learns: nobody labelled the others on real pictures
KEYPOINTS = tuple(
    name for name in anatomy.KEYPOINTS if name not in ("nose(r)", "nosebridge", "paw")
)
_EYE = ("top", "front", "bottom", "back")
_LEARNED = [anatomy.KEYPOINTS.index(name) for name in KEYPOINTS]
#: (height, width) of a synthetic frame, px
FRAME_SHAPE = (480, 640)
#: (height, width) of the network's input, px
INPUT_SHAPE = (192, 256)

#: what a network that is judged never sees: the second video of Facemap's mouse, and one of four
#: parts of the Schroeder lab's animals (FG003 alone faces right)
HELD_OUT_VIDEO = "cam1_G7c1_2"
FOLDS = (
    ("FG003", "Hedes", "Natalia", "Oephelia"),
    ("Eos", "FG001", "Io", "Janus"),
    ("FG002", "Iris", "SS113", "Elias"),
    ("Giuseppina", "Ladon", "SS109", "eye3"),
)

#: seeds below this belong to demonstrations and tests
FIRST_TRAINING_SEED = 1000

_SCHROEDER = {"nose": "nose(tip)"}
for _part, _name in (("pupil", "pupil"), ("eyelid", "eye")):
    _SCHROEDER |= {f"dorsal{_part}": f"{_name}(top)", f"ventral{_part}": f"{_name}(bottom)"}


class Still(NamedTuple):
    """One labelled picture on disk.

    Attributes
    ----------
    path : Path
    points : ndarray (K, 2) float32
        px of the picture, pixel centres at integers; NaN where not labelled.
    group : str
        The video or the animal; data are split by it, never at random.
    recording : str
        The video or the session.
    """

    path: Path
    points: Float32Array
    group: str
    recording: str


def face_of(points: Float32Array, names: Sequence[str] = KEYPOINTS) -> Float32Array:
    """Return x and y of a face's middle and its muzzle's length, px, from keypoints (K, 2).

    The muzzle goes from the middle of the eye to the nose. Without labels of both, the labelled
    points' rectangle tells, as if it were that of all points.
    """
    face = anchored_face(points, names)
    if face is not None:
        return face
    least, most = np.nanmin(points, 0), np.nanmax(points, 0)
    return np.array([*(least + most) / 2, max((most - least).max(), 16.0)], np.float32)


def anchored_face(points: Float32Array, names: Sequence[str] = KEYPOINTS) -> Float32Array | None:
    """Return what ``face_of`` does, or None where not both eye and nose are labelled."""
    eye = _mean(points[[names.index(f"eye({part})") for part in _EYE]])
    nose = points[names.index("nose(tip)")]
    muzzle = np.hypot(*(nose - eye))
    if not (np.isfinite(muzzle) and muzzle > 0):
        return None
    x, y = eye + CROP.along * (nose - eye)
    return np.array([x, y + CROP.down * muzzle, muzzle], np.float32)


def box_of(face: Float32Array) -> BBox:
    """Return the crop that a face of ``face_of`` asks for, px."""
    width = round(float(face[2]) * INPUT_SHAPE[1] / CROP.muzzle_px)
    height = round(width * INPUT_SHAPE[0] / INPUT_SHAPE[1])
    x, y = face[0] - (width - 1) / 2, face[1] - (height - 1) / 2
    return BBox(round(float(x)), round(float(y)), width, height)


def face_in(box: BBox) -> Float32Array:
    """Return the face that asks for a crop: the inverse of ``box_of``, to half a px."""
    x, y = box.x + (box.width - 1) / 2, box.y + (box.height - 1) / 2
    return np.array([x, y, box.width * CROP.muzzle_px / INPUT_SHAPE[1]], np.float32)


def _mean(points: Float32Array) -> Float32Array:
    known = points[np.isfinite(points).all(1)]
    return np.asarray(known.mean(0) if len(known) else np.full(2, np.nan), np.float32)


def read_gray(path: Path) -> UInt8Image:
    """Return a picture (H, W) uint8."""
    with av.open(str(path)) as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="gray"))


def read_facemap(data_dir: Path) -> list[Still]:
    """Return Facemap's demo stills: 12 keypoints by hand, one mouse, two videos.

    Rows in which the labeller slipped by one point (``label_ok`` False) are left out.
    """
    folder = data_dir / "facemap_g7c1"
    rows = _rows(folder / "labels.csv")
    same = {name: name for name in KEYPOINTS}
    kept = [row for row in rows if row["label_ok"] == "True"]
    return [
        Still(folder / row["file"], _points(row, same), row["video"], row["video"]) for row in kept
    ]


def read_schroeder(data_dir: Path) -> list[Still]:
    """Return the Schroeder lab's stills: nose, four eyelid and four pupil points, 16 animals.

    Their left and right are the picture's; here front is where the nose is.
    """
    folder = data_dir / "schroeder_face"
    stills = []
    for row in _rows(folder / "labels.csv"):
        front, back = ("left", "right") if row["facing"] == "left" else ("right", "left")
        columns = _SCHROEDER | {
            f"{front}pupil": "pupil(front)",
            f"{back}pupil": "pupil(back)",
            f"{front}eyelid": "eye(front)",
            f"{back}eyelid": "eye(back)",
        }
        points = _points(row, columns)
        stills.append(Still(folder / row["file"], points, row["animal"], row["session"]))
    return stills


def split(stills: list[Still], fold: int) -> tuple[list[Still], list[Still]]:
    """Return what a network of a fold is trained on, and what it is judged by."""
    out = (HELD_OUT_VIDEO, *FOLDS[fold])
    return [s for s in stills if s.group not in out], [s for s in stills if s.group in out]


def stills_bank(stills: list[Still]) -> Bank:
    """Read the pictures of ``stills``, which must be of one size.

    A group with many pictures is drawn more often than one with few, but not in proportion.
    """
    sizes = Counter(still.group for still in stills)
    weights = [sizes[still.group] ** -0.5 for still in stills]
    return _bank(((read_gray(s.path), s.points) for s in stills), weights)


def synthetic_bank(first_seed: int, n_faces: int, per_face: int = 8) -> Bank:
    """Draw ``n_faces`` animals from ``first_seed`` on, each at ``per_face`` random moments."""
    rng = np.random.default_rng(first_seed)
    seeds = range(first_seed, first_seed + n_faces)
    frames = (
        frame
        for seed in seeds
        for frame in synthetic_frames(seed, rng.uniform(0, PERIOD_S, per_face))
    )
    return _bank(frames, [1.0] * (n_faces * per_face))


def synthetic_frames(
    seed: int, times_s: Iterable[float]
) -> Iterator[tuple[UInt8Image, Float32Array]]:
    """Yield frames of one animal and its keypoints (K, 2) in px, NaN where something hides them.

    Those beyond the edge of the picture are labelled, with where they are.
    """
    height, width = FRAME_SHAPE
    film = Film(seed, width, height)
    for t_s in times_s:
        state = film.face.snap(film.script.at(t_s))
        image = np.empty(FRAME_SHAPE, np.uint8)
        film.draw(state, image)
        xy = film.face.points(state)
        inside = ((xy >= 0) & (xy <= [width - 1, height - 1])).all(1)
        xy[inside & ~visible(film.face, state)] = np.nan
        yield image, xy[_LEARNED]


def _bank(frames: Iterable[tuple[UInt8Image, Float32Array]], weights: Sequence[float]) -> Bank:
    """Keep pictures of one size and their keypoints; faces are where these say."""
    return banks_by_size(((image, xy, face_of(xy)) for image, xy in frames), weights)[0]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"cannot read the labels {path}: {error.strerror}") from error


def _points(row: dict[str, str], columns: dict[str, str]) -> Float32Array:
    """Return (K, 2) float32 from a row; ``columns`` maps names in the file to ours."""
    points = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
    for column, name in columns.items():
        for axis, letter in enumerate("xy"):
            text = row.get(f"{column}_{letter}") or "nan"
            points[KEYPOINTS.index(name), axis] = float(text)
    return points
