"""pynwb, nwbinspector, movement and pandas open what is exported, and find what was recorded.

``RTFACE_READERS_PYTHON`` names their Python: ``tests/peers/readers_env.py FOLDER`` makes one.
"""

import json
import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import ROOT
from made_sessions import (
    BEGAN_NS,
    BEGAN_UNIX_NS,
    LOST_AT,
    OVERWRITTEN,
    SKIPPED,
    make_session,
    write_records,
)

import rtface
from rtface.export.deeplabcut import export_deeplabcut
from rtface.export.nwb import export_nwb
from rtface.export.nwb_about import load_about
from rtface.export.tables import export_csv, export_parquet
from rtface.motion.masks import load_masks
from rtface.ring import NONE_WORD
from rtface.session import Session
from rtface.session.layout import Status
from rtface.session.records import Column, row_dtype

PYTHON = os.environ.get("RTFACE_READERS_PYTHON")
FACEMAP = os.environ.get("RTFACE_FACEMAP_PYTHON")
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="RTFACE_READERS_PYTHON names no Python with readers"),
    pytest.mark.timeout(240),
    # of libraries, not of rtface
    pytest.mark.filterwarnings("default"),
]
ABOUT = """
[experiment]
experimenter = ["Doe, Jane"]
institution = "University"
lab = "Faces"
experiment_description = "A mouse on a wheel."
[subject]
sex = "F"
age = "P90D"
description = "wild type"
"""


class Read(NamedTuple):
    """What the programs said."""

    told: dict[str, Any]
    arrays: dict[str, np.ndarray]


def written(session: Session, folder: Path, components: bool = True) -> Read:
    """Export a session in every way and have it read."""
    folder.mkdir(exist_ok=True)
    about = folder / "about.toml"
    about.write_text(ABOUT)
    export_nwb(session, folder / "session.nwb", about=load_about(about))
    camera = next(iter(session.cameras))
    for ending in ("csv", "h5"):
        export_deeplabcut(session, camera, folder / f"dlc.{ending}")
    export_csv(session, camera, folder / "table.csv", components)
    export_parquet(session, camera, folder / "table.parquet", components)
    done = subprocess.run(
        [str(PYTHON), str(ROOT / "tests" / "peers" / "readers_open.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    with np.load(folder / "read.npz") as arrays:
        found = {key: arrays[key] for key in arrays.files}
    return Read(json.loads((folder / "read.json").read_text()), found)


def findings(read: Read) -> list[Any]:
    """What the inspector found, but for the suggestion that a counter could be a bool."""
    allowed = "BEST_PRACTICE_SUGGESTION", "check_column_binary_capability"
    return [one for one in read.told["inspector"] if tuple(one[:2]) != allowed]


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    """The same type and the same bits."""
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def assert_keypoints(read: Read, session: Session) -> None:
    """In NWB, DeepLabCut's files and both tables: as recorded."""
    camera = session.cameras["cam1"]
    results, frames = camera.results[:], camera.frames[:]
    nodes = read.told["skeletons"]["pose_cam1"]["nodes"]
    assert len(nodes) == len(camera.names)
    for k, node in enumerate(nodes):
        where = f"nwb/pose_cam1/{node}"
        assert_same(read.arrays[where], results["keypoints"][:, k, :2])
        assert_same(read.arrays[f"{where}.confidence"], results["keypoints"][:, k, 2])
        for name in ("table.csv", "table.parquet"):
            for axis, letter in enumerate(("x", "y", "score")):
                column = read.arrays[f"{name}/{camera.names[k]}_{letter}"]
                assert_same(column.astype(np.float32), results["keypoints"][:, k, axis])
    by_name = read.arrays["session.nwb/names"].tolist()  # movement sorts what NWB holds
    assert sorted(by_name) == sorted(nodes)
    by_movement = read.arrays["session.nwb/keypoints"].astype(np.float32)
    assert_same(by_movement[:, [by_name.index(node) for node in nodes]], results["keypoints"])
    held = frames["status"] == Status.IN_VIDEO
    shown = frames[held]["frame_seq"] if held.any() else frames["frame_seq"]
    wanted = np.full((len(shown), len(camera.names), 3), np.nan, np.float32)
    wanted[..., 2] = 0
    here = np.isin(results["frame_seq"], shown)
    wanted[np.searchsorted(shown, results["frame_seq"][here])] = results["keypoints"][here]
    for name in ("dlc.csv", "dlc.h5"):
        assert read.arrays[f"{name}/names"].tolist() == camera.names
        assert_same(read.arrays[f"{name}/keypoints"].astype(np.float32), wanted)
        assert read.arrays[f"{name}/index"].tolist() == list(range(len(shown)))


def assert_ledger(read: Read, session: Session) -> None:
    """Times, counts and losses of every result and every frame."""
    camera = session.cameras["cam1"]
    results, frames = camera.results[:], camera.frames[:]
    for column in camera.results.columns:
        if not column.shape:
            wanted = results[column.name]
            assert_same(read.arrays[f"nwb/results_cam1/{column.name}"], wanted)
            assert_same(read.arrays[f"table.csv/{column.name}"], wanted)
            assert_same(read.arrays[f"table.parquet/{column.name}"], wanted)
    for column in camera.frames.columns:
        assert_same(read.arrays[f"nwb/frames_cam1/{column.name}"], frames[column.name])
    unix = read.arrays["table.parquet/exposure_unix_ns"]
    assert_same(unix, session.unix_ns(results["exposure_ns"]))
    for name in ("unix_time",):
        assert_same(read.arrays[f"nwb/{name}"], session.clock[:]["t_unix_ns"])


def synced(folder: Path) -> Any:
    """Write the frames' times in a neural recording, as matching them does."""
    columns = (
        Column("frame_seq", "<i8"),
        Column("t_daq_s", "<f8", (), "s of the recording: midpoint of the exposure"),
        Column("flags", "<i8"),
    )
    rows = np.zeros(200, row_dtype(columns))
    rows["frame_seq"] = np.arange(200)
    rows["t_daq_s"] = 3.5 + np.arange(200) / 199.999
    rows["flags"] = 4
    told = {"session": "5e55", "recording": "abcd", "camera": "cam1"}
    write_records(folder / "cam1.sync.rec", "sync", told, columns, [rows])
    return rows


def test_a_session_with_losses(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "session")
    sync = synced(folder)
    with rtface.open_session(folder) as session:
        read = written(session, tmp_path / "out")
        assert_keypoints(read, session)
        assert_ledger(read, session)
        camera = session.cameras["cam1"]
        results = camera.results[:]
        for name in ("motion_energy", "motion", "running"):
            assert_same(read.arrays[f"nwb/{name}_cam1"], results[name])
        for i, name in enumerate(camera.about.meta["pupil"]["fields"]):
            assert_same(read.arrays[f"nwb/pupil_cam1/{name}"], results["pupil"][:, i])
            assert_same(read.arrays[f"table.parquet/pupil_{name}"], results["pupil"][:, i])
        for i in range(5):
            assert_same(read.arrays[f"table.parquet/motion_{i}"], results["motion"][:, i])
        masks = load_masks(folder / "cam1.masks.npz", camera.about.shape).areas[0].motion
        assert masks is not None
        assert_same(
            read.arrays["nwb/motion_masks_cam1_full/image_mask"],
            masks.masks.T.reshape(5, 12, 16),
        )
    told, arrays = read
    assert findings(read) == []
    assert told["invalid"] == []
    for name, column in (("t_daq_s", "t_daq_s"), ("sync_flags", "flags")):
        assert_same(arrays[f"nwb/frames_cam1/{name}"], sync[column])
    # the first exposure came before the first delivery, so the file begins there
    zero_ns = int(results["exposure_ns"][0])
    assert zero_ns < BEGAN_NS
    seconds = arrays["nwb/pose_cam1/nose_tip.t"]
    assert np.abs(seconds - (results["exposure_ns"] - zero_ns) * 1e-9).max() < 1e-9
    assert_same(seconds, arrays["nwb/pupil_cam1/edge_area_px2.t"])
    start_ns = BEGAN_UNIX_NS - (BEGAN_NS - zero_ns)
    start = datetime.fromisoformat(told["start"])
    assert start.tzinfo is not None
    assert abs(start.timestamp() * 1e9 - start_ns) < 1500
    frames_s = arrays["nwb/frames_cam1/exposure_s"]
    gone = np.isin(np.arange(200), OVERWRITTEN)
    assert np.array_equal(np.isnan(frames_s), gone)
    # of frames that were not tracked: between their neighbours, by less than the queue's jitter
    for seq in SKIPPED:
        assert abs(frames_s[seq] - (seq * 0.005 - 0.002 - (zero_ns - BEGAN_NS) * 1e-9)) < 5e-4
    assert arrays["nwb/frames_cam1/lost_link"].tolist() == [
        NONE_WORD if seq in OVERWRITTEN else int(seq >= LOST_AT) for seq in range(200)
    ]
    events = told["texts"]
    assert events["nwb/session_events/event"] == ["began", "annotation", "ended"]
    assert events["nwb/session_events/annotation"][1] == "drop of milk"
    assert "cameras cam1 overwritten: 2" in events["nwb/session_events/annotation"][2]
    assert told["units"]["nwb/pupil_cam1/edge_area_px2"] == "px^2"
    assert told["subject"] == {"id": "m12", "sex": "F"}
    assert told["skeletons"]["pose_cam1"]["edges"] == [[0, 1]]
    assert told["sources"] == {"pose_cam1": None}


@pytest.mark.parametrize("parts", [1, 3])
def test_a_session_with_video(session_folder: Path, tmp_path: Path, parts: int) -> None:
    folder = tmp_path / "sessions" / "day3"
    shutil.copytree(session_folder, folder)
    if parts > 1:
        import export_cases

        export_cases.encode_again(folder, 0.5)
    with rtface.open_session(folder) as session:
        read = written(session, tmp_path / "sessions" / "nwb")
        assert_keypoints(read, session)
        assert_ledger(read, session)
        frames = session.cameras["cam1"].frames[:]
    assert findings(read) == []
    video = read.told["videos"]["video_cam1"]
    files = sorted(path.name for path in folder.glob("cam1.*.mkv"))
    assert len(files) >= parts
    assert video["files"] == [f"../day3/{name}" for name in files]
    held = frames[frames["status"] == Status.IN_VIDEO]
    starts = np.flatnonzero(np.diff(held["video_part"], prepend=-1))
    assert video["starts"] == starts.tolist()
    assert len(read.arrays["nwb/video_cam1.t"]) == len(held)
    assert read.told["sources"] == {"pose_cam1": "video_cam1"}


def test_a_demo_session_opens_everywhere(tmp_path: Path) -> None:
    """pynwb with a clean report, Facemap's loaders, movement and pandas."""
    from programs import RTFACE

    if not FACEMAP:
        assert not os.environ.get("CI"), "RTFACE_FACEMAP_PYTHON names no Python with Facemap"
        pytest.skip("RTFACE_FACEMAP_PYTHON names no Python with Facemap")
    words = ["demo", "--seconds", "4", "--record", str(tmp_path / "rec"), "--subject", "m12"]
    done = subprocess.run([RTFACE, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "rec").iterdir()
    out = tmp_path / "out"
    with rtface.open_session(folder) as session:
        read = written(session, out, components=False)
        assert findings(read) == []
        assert_keypoints(read, session)
        assert_ledger(read, session)
        from test_export_opens import BODYPARTS, opened

        from rtface.export.facemap import export_facemap

        exported = export_facemap(session, "cam1", out)
        there = opened(out, f"cam1_{folder.name}")
        camera = session.cameras["cam1"]
        assert there.told["frames"] == there.told["decoded"] == exported.frames
        seqs = camera.frames[:]
        held = seqs[seqs["status"] == Status.IN_VIDEO]["frame_seq"]
        results = camera.results[:]
        rows = np.searchsorted(held, results["frame_seq"])
        for i, name in enumerate(BODYPARTS):
            if name in camera.names:
                wanted = results["keypoints"][:, camera.names.index(name)]
                found = there.arrays["keypoints"][:, i].T[rows].astype(np.float32)
                assert_same(found, wanted)
        assert there.told["window"]["rois"] == [0, 2]
        # a demo of a few seconds has no masks yet: the energy, and zeros in place of components,
        # which Facemap's window draws nothing for, since it divides by how much they vary
        assert there.told["window"]["traces"] == ["fullSVD", "pupil0", "blink0"]
        assert np.isnan(there.arrays["window_traces"][0]).all()
        assert np.isfinite(there.arrays["window_traces"][1:]).all()
        proc = np.load(out / f"cam1_{folder.name}_proc.npy", allow_pickle=True).item()
        assert not proc["motSVD"][0].any()
        known = np.flatnonzero(np.isfinite(results["motion_energy"][:, 0]))
        assert len(known) > 0.9 * len(results) > 50
        assert_same(proc["motion"][0][rows[known]], results["motion_energy"][known, 0])
