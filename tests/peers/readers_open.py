"""Opens exports with the programs that they are for; see tests/test_export_readers.py.

    READERS_PYTHON tests/peers/readers_open.py FOLDER

Runs in the environment of ``readers_env.py``, where rtface is not. Of the files ``session.nwb``,
``dlc.csv``, ``dlc.h5``, ``table.csv`` and ``table.parquet`` in the folder it writes what it read:
``read.npz`` (arrays by ``file/name``) and ``read.json``.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

#: rows of DeepLabCut's header
HEADER = [0, 1, 2]


def nwb(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Everything in a file of NWB, by its path there, and what the inspector and validator say."""
    from nwbinspector import inspect_nwbfile
    from pynwb import NWBHDF5IO, TimeSeries, validate
    from pynwb.core import DynamicTable

    arrays: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    with NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        for thing in file.objects.values():
            where = f"nwb/{thing.name}"
            if isinstance(thing, TimeSeries):
                if type(thing.parent).__name__ in ("PoseEstimation", "PupilTracking"):
                    where = f"nwb/{thing.parent.name}/{thing.name}"
                units[where] = thing.unit
                if thing.rate is None:
                    arrays[f"{where}.t"] = np.asarray(thing.timestamps)
                else:
                    n = len(thing.data) or int(thing.num_samples)
                    arrays[f"{where}.t"] = thing.starting_time + np.arange(n) / thing.rate
                if len(thing.data):
                    arrays[where] = thing.data[:]
                if (confidence := getattr(thing, "confidence", None)) is not None:
                    arrays[f"{where}.confidence"] = confidence[:]
            elif isinstance(thing, DynamicTable):
                for column in thing.colnames:
                    arrays[f"{where}/{column}"] = np.asarray(thing[column].data[:])
        poses = [
            thing for thing in file.objects.values() if type(thing).__name__ == "PoseEstimation"
        ]
        videos = {
            thing.name: {
                "files": [str(name) for name in thing.external_file[:]],
                "starts": [int(frame) for frame in thing.starting_frame[:]],
            }
            for thing in file.acquisition.values()
            if type(thing).__name__ == "ImageSeries"
        }
        told = {
            "identifier": file.identifier,
            "start": file.session_start_time.isoformat(),
            "session_id": file.session_id,
            "subject": {"id": file.subject.subject_id, "sex": file.subject.sex},
            "units": units,
            "skeletons": {
                pose.name: {
                    "nodes": [str(node) for node in pose.skeleton.nodes[:]],
                    "edges": np.asarray(pose.skeleton.edges[:]).tolist(),
                }
                for pose in poses
            },
            "sources": {
                pose.name: pose.source_video.name if pose.source_video else None for pose in poses
            },
            "videos": videos,
        }
    found = list(inspect_nwbfile(nwbfile_path=str(path)))
    told["inspector"] = [
        [one.importance.name, one.check_function_name, one.message] for one in found
    ]
    told["invalid"] = [str(error) for error in validate(path=str(path))]
    return told, arrays


def moved(path: Path) -> dict[str, np.ndarray]:
    """Keypoints of a file of DeepLabCut, or of NWB, as ``movement`` has them, (N, K, 3)."""
    from movement.io import load_poses

    if path.suffix == ".nwb":
        found = load_poses.from_nwb_file(str(path), pose_estimation_key="pose_cam1")
    else:
        found = load_poses.from_dlc_file(str(path), fps=200)
    xy = found.position.values[..., 0].transpose(0, 2, 1)
    score = found.confidence.values[..., 0]
    return {
        f"{path.name}/keypoints": np.concatenate([xy, score[..., None]], 2),
        f"{path.name}/names": found.keypoints.values.astype(str),
    }


def tables(folder: Path) -> dict[str, np.ndarray]:
    """The tables, as pandas has them."""
    import pandas

    arrays: dict[str, np.ndarray] = {}
    for name, read in (("table.csv", pandas.read_csv), ("table.parquet", pandas.read_parquet)):
        if (folder / name).exists():
            found = read(folder / name)
            arrays |= {f"{name}/{column}": found[column].to_numpy() for column in found}
    found = pandas.read_hdf(folder / "dlc.h5")
    arrays["dlc.h5/index"] = found.index.to_numpy()
    again = pandas.read_csv(folder / "dlc.csv", header=HEADER, index_col=0)
    arrays["dlc.csv/index"] = again.index.to_numpy()
    assert list(again.columns) == list(found.columns)
    return arrays


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    out = Path(sys.argv[1])
    told, arrays = nwb(out / "session.nwb")
    for one in ("dlc.csv", "dlc.h5", "session.nwb"):
        arrays |= moved(out / one)
    arrays |= tables(out)
    np.savez(
        out / "read.npz", **{key: value for key, value in arrays.items() if value.dtype != "O"}
    )
    told["texts"] = {key: value.tolist() for key, value in arrays.items() if value.dtype == "O"}
    (out / "read.json").write_text(json.dumps(told))
