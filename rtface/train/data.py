"""Labelled pictures for training and evaluation: real stills under MIT and synthetic faces.

A still is read once, halved as ``rtface.pose.Resampler`` halves it, and kept as uint8 in one
tensor per source, so that a batch costs one gather and one warp.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch

from rtface.camera import anatomy
from rtface.camera.film import Film
from rtface.camera.script import PERIOD_S
from rtface.camera.truth import visible
from rtface.pose import Resampler
from rtface.types import Float32Array, UInt8Image, UserError

#: what the network learns: nobody labelled the others on real pictures
KEYPOINTS = tuple(
    name for name in anatomy.KEYPOINTS if name not in ("nose(r)", "nosebridge", "paw")
)
_LEARNED = [anatomy.KEYPOINTS.index(name) for name in KEYPOINTS]
#: (height, width) of a synthetic frame, px
FRAME_SHAPE = (480, 640)
#: (height, width) of the network's input, px
INPUT_SHAPE = (192, 256)

#: what the held-out recipe never sees; both facings are among the animals (FG003 faces right)
HELD_OUT_VIDEO = "cam1_G7c1_2"
HELD_OUT_ANIMALS = ("FG003", "Hedes", "Natalia", "Oephelia")

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


class Bank(NamedTuple):
    """Pictures of one source and one size, ready to be warped into the network's input.

    Attributes
    ----------
    images : Tensor (N, H, W) uint8
        Pictures, halved as often as ``Resampler`` halves them.
    points : Tensor (N, K, 2) float32
        Keypoints in px of the halved pictures; NaN where not labelled.
    step : float
        px of a halved picture per px of the input in the fit that ``Resampler`` makes.
    pad : (float, float)
        The left and top padding of that fit, px of the input.
    """

    images: torch.Tensor
    points: torch.Tensor
    step: float
    pad: tuple[float, float]


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


def split(stills: list[Still]) -> tuple[list[Still], list[Still]]:
    """Return what the held-out recipe trains on, and what it is judged by."""
    out = (HELD_OUT_VIDEO, *HELD_OUT_ANIMALS)
    return [s for s in stills if s.group not in out], [s for s in stills if s.group in out]


def stills_bank(stills: list[Still]) -> Bank:
    """Read the pictures of ``stills``, which must be of one size."""
    return _bank((read_gray(s.path), s.points) for s in stills)


def synthetic_bank(first_seed: int, n_faces: int, per_face: int = 8) -> Bank:
    """Draw ``n_faces`` animals from ``first_seed`` on, each at ``per_face`` random moments."""
    rng = np.random.default_rng(first_seed)
    seeds = range(first_seed, first_seed + n_faces)
    return _bank(
        frame
        for seed in seeds
        for frame in synthetic_frames(seed, rng.uniform(0, PERIOD_S, per_face))
    )


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


def _bank(frames: Iterable[tuple[UInt8Image, Float32Array]]) -> Bank:
    """Keep pictures of one size and their keypoints; each is halved as it comes."""
    fit: Resampler | None = None
    halved, points = [], []
    for image, xy in frames:
        fit = fit or Resampler(image.shape, INPUT_SHAPE)
        halved.append(fit.halved(image).astype(np.uint8))
        points.append(xy)
    assert fit is not None
    at = (np.stack(points) + 0.5) * (fit.step / fit.scale) - 0.5
    return Bank(
        torch.from_numpy(np.stack(halved)),
        torch.from_numpy(at.astype(np.float32)),
        fit.step,
        (fit.pad_x, fit.pad_y),
    )


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
