"""Facemap's ``_FacemapPose.h5`` and ``_FacemapPose_metadata.pkl``.

The HDF5 file has a group ``/Facemap/<bodypart>`` with ``x``, ``y`` and ``likelihood``, float32 (N,)
each, as Facemap 1.0 writes and reads it (files before 1.0 were tables of pandas).
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rtface.camera.anatomy import KEYPOINTS
from rtface.export.recorded import Recorded
from rtface.types import Float32Array, UserError

#: Facemap's own, in its order. Its loaders ask for each of them.
BODYPARTS = KEYPOINTS[:15]
_COORDINATES = ("x", "y", "likelihood")


def need_h5py() -> None:
    """Raise UserError unless h5py is there."""
    try:
        import h5py as _h5py  # noqa: F401 - only to say in one line that it is missing
    except ImportError:
        raise UserError("Facemap's files need h5py; pip install 'rtface[export]'") from None


def bodyparts(recorded: Recorded) -> dict[str, Float32Array]:
    """Return (N, 3) x, y, likelihood by name: Facemap's 15 in its order, then what else there is.

    Those of the 15 that the network does not have are NaN, NaN, 0.
    """
    nothing = np.full((len(recorded.frame_seq), 3), np.nan, np.float32)
    nothing[:, 2] = 0
    names = recorded.names
    more = [name for name in names if name not in BODYPARTS]
    return {
        name: recorded.keypoints[:, names.index(name)] if name in names else nothing
        for name in (*BODYPARTS, *more)
    }


def write_pose(path: Path, recorded: Recorded) -> None:
    """Write ``_FacemapPose.h5``. OSError if the disk refuses."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in bodyparts(recorded).items():
            # a slash in a name would make a group of its own
            group = file.create_group(f"Facemap/{name.replace('/', '|')}")
            for axis, coordinate in enumerate(_COORDINATES):
                group.create_dataset(coordinate, data=np.ascontiguousarray(values[:, axis]))


def pose_metadata(recorded: Recorded) -> dict[str, Any]:
    """Return what stands in the metadata, under Facemap's keys: plain numbers, texts and lists."""
    fps = recorded.tracks_per_s
    return {
        "batch_size": 1,
        "image_size": ([recorded.height], [recorded.width]),
        "bbox": [0, recorded.height, 0, recorded.width],  # rows first, as Facemap has it
        "total_frames": len(recorded.frame_seq),
        "bodyparts": list(bodyparts(recorded)),
        "inference_speed": fps if math.isfinite(fps) else 0.0,
    }


def write_metadata(path: Path, recorded: Recorded) -> None:
    """Write ``_FacemapPose_metadata.pkl``. OSError if the disk refuses."""
    path.write_bytes(pickle.dumps(pose_metadata(recorded), 4))
