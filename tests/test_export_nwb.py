"""NWB files as they are written; what other programs read in them: ``test_export_readers.py``."""

from pathlib import Path

import h5py
import numpy as np
from made_sessions import make_session

from rtface.export.nwb import export_nwb
from rtface.session import open_session


def test_names_that_become_one_in_nwb_stay_apart(tmp_path: Path) -> None:
    names = ["ear.L", "ear-L", "ear_L", "ear_L_2", "..."]
    folder = make_session(tmp_path / "session", 60, names=names)
    with open_session(folder) as session:
        export_nwb(session, tmp_path / "a.nwb")
        keypoints = session.cameras["cam1"].results[:]["keypoints"]
    with h5py.File(tmp_path / "a.nwb") as file:
        pose = file["processing/behavior/pose_cam1"]
        series = [one for one in pose.values() if isinstance(one, h5py.Group) and "data" in one]
        told = {one.attrs["description"]: one["data"][:] for one in series}
    assert len(told) == len(names)
    for k, name in enumerate(names):
        np.testing.assert_array_equal(told[f"Keypoint {name}."], keypoints[:, k, :2])
