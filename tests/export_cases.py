"""Records with everything that can be exported, and the frames that go with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from motion_cases import Case, frames

from rtface.export.recorded import Motion, Pupil, Recorded, Roi, Trace
from rtface.motion.fit import fit_masks
from rtface.motion.project import Projector
from rtface.session import layout, open_session
from rtface.session.records import Records, seal
from rtface.session.video import VideoWriter
from rtface.types import UInt8Image

#: as the shipped network's, and one that Facemap does not know
NAMES = ("eye(back)", "nose(tip)", "whisker(III)", "whisker(II)", "pupil(top)")
#: more than the 500 that Facemap works on at once; 48 x 64 px
CASE = Case(((48, 64),), 4, frames=620)
ROIS = ((5, 3, 30, 25), (36, 20, 27, 26))


def images() -> UInt8Image:
    return frames(CASE)


def motion(
    missing: tuple[int, ...] = (), rois: tuple[tuple[int, int, int, int], ...] = ROIS
) -> Motion:
    """Components of the frames; ``missing`` are frames without one right before."""
    pictures = images()
    masks = fit_masks([lambda: pictures], CASE.bin_px, 8, rois, movie=True)
    projector = Projector(masks)
    energy, moved, seen = [], [], []
    for i, image in enumerate(pictures):
        found = projector(image, i not in missing)
        energy.append(found.energy.copy())
        moved.append([values.copy() for values in found.motion])
        seen.append([values.copy() for values in found.movie])
    turned = [tuple(np.array(area) for area in zip(*one, strict=True)) for one in (moved, seen)]
    return Motion(masks, np.array(energy), *turned)


def keypoints(n: int, missing: tuple[int, ...] = ()) -> np.ndarray:
    """Points that wander, (n, K, 3)."""
    random = np.random.default_rng(5)
    made = np.empty((n, len(NAMES), 3), np.float32)
    made[:, :, :2] = 10 + np.cumsum(random.normal(size=(n, len(NAMES), 2)) * 0.1, axis=0)
    made[:, :, 2] = random.uniform(0.5, 1, (n, len(NAMES)))
    made[list(missing)] = np.nan, np.nan, 0
    return made


def record(
    with_motion: Motion | None, eye: bool = False, missing: tuple[int, ...] = ()
) -> Recorded:
    """A record of these frames; ``missing`` were not tracked."""
    n = CASE.frames
    random = np.random.default_rng(6)
    tracked = np.ones(n, bool)
    tracked[list(missing)] = False
    made = Recorded(
        *CASE.sizes[0],
        np.arange(n, dtype=np.int64),
        NAMES,
        keypoints(n, missing),
        tracked,
        250.0,
        with_motion,
    )
    if not eye:
        return made
    area = 50 + np.cumsum(random.normal(size=n))
    centre = 8 + random.normal(size=(n, 2))
    area[list(missing)] = np.nan
    centre[list(missing)] = np.nan
    blink = 1000 + random.normal(size=n)
    blink[list(missing)] = np.nan
    reflection = np.zeros((16, 20), bool)
    reflection[4:6, 7:10] = True
    return made._replace(
        pupils=(
            Pupil(
                Roi("pupil", 6, 4, 20, 16, 120.0, reflection=reflection),
                area,
                centre,
                random.normal(size=(n, 2, 2)),
                random.uniform(1, 9, (n, 2)),
            ),
        ),
        blinks=(Trace(Roi("blink", 30, 5, 18, 12, 150.0), blink),),
        running=(Trace(Roi("running", 20, 24, 22, 20), random.normal(size=(n, 2))),),
    )


def replace_records(path: Path, rows: Records) -> None:
    """Write other records into a file of records."""
    size = rows.dtype.itemsize
    raw = rows.tobytes()
    records = [seal(raw[at : at + size - 4]) for at in range(0, len(raw), size)]
    path.write_bytes(path.read_bytes()[:16384] + b"".join(records))


def encode_again(folder: Path, part_s: float = 0.5) -> None:
    """Turn a session of FFV1 into one of H.264 in several parts."""
    with open_session(folder) as session:
        about, camera = session.about, session.cameras["cam1"]
        rows = camera.frames[:].copy()
        images = [image.copy() for _, image in camera.images()]
    for path in folder.glob("cam1.*.mkv"):
        path.unlink()
    writer = VideoWriter(folder, "cam1", camera.about.info, "x264", 18, part_s)
    for row, image in zip(rows, images, strict=True):
        placed = writer.encode(image, int(row["t_host_ns"]))
        row["video_part"], row["video_pts_ms"], row["video_crc"] = placed
    writer.close()
    replace_records(folder / layout.frames_name("cam1"), rows)
    cameras = {"cam1": camera.about.model_copy(update={"video": "x264"})}
    again = about.model_copy(update={"cameras": cameras})
    (folder / layout.ABOUT).write_bytes(layout.encode_about(again))
