"""Facemap's own loaders, and its window, open what is exported; needs an environment with Facemap.

``RTFACE_FACEMAP_PYTHON`` names its Python: ``python tests/peers/facemap_env.py FOLDER`` makes one.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import export_cases
import numpy as np
import pytest
from conftest import ROOT

from rtface.export.facemap import export_facemap, write_facemap
from rtface.export.facemap_pose import BODYPARTS
from rtface.export.facemap_proc import proc_dict
from rtface.export.recorded import Motion, Recorded
from rtface.motion.masks import AreaMasks
from rtface.motion.procfile import read_proc
from rtface.session import open_session

PEERS = ROOT / "tests" / "peers"
PYTHON = os.environ.get("RTFACE_FACEMAP_PYTHON")
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="RTFACE_FACEMAP_PYTHON names no Python with Facemap"),
    pytest.mark.timeout(180),
]


class Opened(NamedTuple):
    """What Facemap said of a name in a folder."""

    folder: Path
    name: str
    told: dict[str, Any]
    arrays: dict[str, np.ndarray]


def opened(folder: Path, name: str) -> Opened:
    for _ in range(
        3
    ):  # Qt aborts now and then, whatever it shows; a file that aborts it always does
        done = subprocess.run(
            [str(PYTHON), str(PEERS / "facemap_opens.py"), str(folder), name],
            capture_output=True,
            text=True,
            timeout=170,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        if done.returncode >= 0:
            break
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    with np.load(folder / f"{name}_read.npz") as arrays:
        found = {key: arrays[key] for key in arrays.files}
    return Opened(folder, name, json.loads((folder / f"{name}_read.json").read_text()), found)


def written(folder: Path, name: str, found: Recorded, as_facemap: bool = False) -> Opened:
    """A record and its frames, opened."""
    sys.path.insert(0, str(PEERS))
    from facemap_motion_golden import write

    write(folder / f"{name}.avi", export_cases.images())
    write_facemap(folder, name, found, [[str(folder / f"{name}.avi")]], as_facemap)
    return opened(folder, name)


def assert_pose(there: Opened, found: Recorded) -> None:
    """Keypoints, as its functions and its window have them."""
    told, keypoints = there.told, there.arrays["keypoints"]
    n = len(found.frame_seq)
    assert tuple(told["bodyparts"]) == BODYPARTS
    assert told["frames"] == told["decoded"] == n == told["metadata"]["total_frames"]
    assert told["size"] == [[found.height], [found.width]]
    assert keypoints.shape == (3, 15, n)
    for i, name in enumerate(BODYPARTS):
        wanted = np.full((n, 3), np.nan, np.float32)
        wanted[:, 2] = 0
        if name in found.names:
            wanted = found.keypoints[:, found.names.index(name)]
        assert np.array_equal(keypoints[:, i].T, wanted, equal_nan=True)
    known = [name for name in BODYPARTS if name in found.names]
    assert told["there"] == known
    # the inputs of its prediction of neural activity, of the keypoints that there are
    assert told["inputs_shape"] == [n, 2 * len(known)]
    assert told["inputs_finite"]
    if "window" not in told:
        assert not os.environ.get("CI"), "Facemap's window did not open"
        return
    window = told["window"]
    assert (window["frames"], tuple(window["labels"])) == (n, BODYPARTS)
    assert np.array_equal(there.arrays["window_x"], keypoints[0], equal_nan=True)
    seen = keypoints[:, :, window["frame"]]
    wanted = seen[:2, seen[2] > 0]
    assert np.allclose(there.arrays["window_shown"], wanted)
    assert wanted.size


@pytest.mark.parametrize("codec", ["ffv1", "x264"])
def test_a_session(session_folder: Path, tmp_path: Path, codec: str) -> None:
    folder, out = tmp_path / "day3", tmp_path / "out"
    shutil.copytree(session_folder, folder)
    if codec == "x264":
        export_cases.encode_again(folder)
    with open_session(folder) as session:
        done = export_facemap(session, "cam1", out)
        camera = session.cameras["cam1"]
        results = camera.results[:]
        keypoints = np.full((done.frames, 3, 3), np.nan, np.float32)
        keypoints[:, :, 2] = 0
        keypoints[results["frame_seq"]] = results["keypoints"]
        found = Recorded(
            *camera.about.shape,
            np.arange(done.frames),
            tuple(camera.names),
            keypoints,
            np.ones(done.frames, bool),
        )
        images = np.array([image.copy() for _, image in camera.images()])
    there = opened(out, "cam1_day3")
    assert_pose(there, found)
    seen = there.arrays["seen"]
    assert np.array_equal(seen, images[: len(seen)])  # grey levels as they were recorded
    assert len(seen) > 10


#: numbers that Facemap finds by itself, or that depend on when it ran
NOT_COMPARED = ("save_path", "filenames", "interpolated")


def assert_like(ours: Any, theirs: Any, where: str) -> None:
    """The same types all the way down, and arrays of the same type and axes."""
    if isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray), where
        assert (ours.dtype, ours.ndim) == (theirs.dtype, theirs.ndim), where
    elif isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key in theirs:
            assert_like(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for one, other in zip(ours, theirs, strict=True):
            assert_like(one, other, where)
    else:  # a whole number may be numpy's
        plain = theirs.item() if isinstance(theirs, np.generic) else theirs
        assert type(ours) is type(plain), where


def test_motion_as_facemap_s_own(tmp_path: Path) -> None:
    """Facemap takes the file as settings and writes one like it; its window shows ours."""
    found = export_cases.record(export_cases.motion())
    there = written(tmp_path, "motion", found, as_facemap=True)
    assert_pose(there, found)
    ours = read_proc(tmp_path / "motion_proc.npy")
    theirs = read_proc(tmp_path / "again" / "motion_proc.npy")
    assert set(ours) == {*theirs, "interpolated"}
    for key in set(theirs) - set(NOT_COMPARED):
        assert_like(ours[key], theirs[key], key)
    for one, other in zip(ours["motion"], theirs["motion"], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6)
    for key in ("sbin", "Ly", "Lx", "LYbin", "LXbin", "fullSVD"):
        assert ours[key] == theirs[key]
    for one, other in zip(ours["rois"], theirs["rois"], strict=True):
        for key in ("yrange", "xrange", "yrange_bin", "xrange_bin"):
            assert np.array_equal(one[key], other[key])
    # 620 frames are one stretch for Facemap too; its averages are of 600 of them
    np.testing.assert_allclose(ours["avgframe"], theirs["avgframe"], atol=2)
    if "window" in there.told:
        window = there.told["window"]
        assert window["processed"]
        assert window["rois"] == [1, 1]
        assert window["traces"] == ["fullSVD", "motSVD0", "motSVD1"]
        traces = there.arrays["window_traces"]
        assert traces.shape == (3, len(found.frame_seq))
        for trace, components in zip(traces, ours["motSVD"], strict=True):
            wanted = np.linalg.norm(components, axis=1) / components[:, 0].std()
            np.testing.assert_allclose(trace, wanted, rtol=1e-4)


def test_everything_with_frames_missing(tmp_path: Path) -> None:
    missing = 100, 101, 300
    moving = export_cases.motion(missing, export_cases.ROIS[:1])
    found = export_cases.record(moving, True, (*missing, 301))
    there = written(tmp_path, "eye", found)
    assert_pose(there, found)
    ours = read_proc(tmp_path / "eye_proc.npy")
    theirs = read_proc(tmp_path / "again" / "eye_proc.npy")
    for key in set(theirs) - set(NOT_COMPARED):
        assert_like(ours[key], theirs[key], key)
    assert_like(proc_dict(found, [["a.avi"]]), ours, "")
    if "window" in there.told:
        window = there.told["window"]
        assert window["rois"] == [1, 0, 2, 3]
        assert window["traces"] == ["fullSVD", "motSVD0", "pupil0", "blink0", "run0"]
        traces = there.arrays["window_traces"]
        assert traces.shape[1] == len(found.frame_seq)
        assert np.isfinite(traces).all()


def test_motion_energy_without_masks(tmp_path: Path) -> None:
    """A run in which no masks came: Facemap opens it and shows what there is."""
    moving = export_cases.motion()
    bare = tuple(AreaMasks(one.name, one.area, None, None) for one in moving.masks.areas)
    nothing = tuple(np.empty((len(moving.energy), 0), np.float32) for _ in bare)
    masks = replace(moving.masks, areas=bare)
    found = export_cases.record(Motion(masks, moving.energy, nothing, nothing))
    there = written(tmp_path, "energy", found)
    assert_pose(there, found)
    ours = read_proc(tmp_path / "energy_proc.npy")
    theirs = read_proc(tmp_path / "again" / "energy_proc.npy")
    for key in ("motion", "motSVD", "motMask", "motMask_reshape", "avgmotion", "rois"):
        assert_like(ours[key], theirs[key], key)
    for one, other in zip(ours["motion"], theirs["motion"], strict=True):
        assert one.shape == other.shape
    if "window" in there.told:
        assert there.told["window"]["rois"] == [1, 1]
