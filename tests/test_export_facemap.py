"""Sessions as a video and keypoints of Facemap; whatever cannot be is one line."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import export_cases
import h5py
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from made_sessions import make_session
from programs import RTFACE

from rtface.camera.video import read_frames
from rtface.export.facemap import export_facemap
from rtface.export.facemap_pose import BODYPARTS
from rtface.export.facemap_proc import proc_dict
from rtface.export.recorded import pieces_of
from rtface.export.resume import KEPT
from rtface.export.take import placed, recorded
from rtface.facemap.weights import NAMES as FACEMAP_NAMES
from rtface.session import layout, open_session, records
from rtface.session.verify import verify
from rtface.types import UserError


def test_keypoints_of_frames() -> None:
    dtype = np.dtype([("frame_seq", "<i8"), ("keypoints", "<f4", (2, 3))])
    results = np.zeros(3, dtype)
    results["frame_seq"] = 4, 6, 9
    results["keypoints"] = np.arange(18).reshape(3, 2, 3)
    keypoints, tracked = placed(np.array([3, 4, 7, 9, 12]), [results[:2], results[2:]], 2)
    assert tracked.tolist() == [False, True, False, True, False]
    assert np.array_equal(keypoints[tracked], results["keypoints"][[0, 2]])
    assert np.isnan(keypoints[~tracked, :, :2]).all()
    assert (keypoints[~tracked, :, 2] == 0).all()
    assert placed(np.zeros(0, np.int64), [results], 2)[0].shape == (0, 2, 3)


def test_facemap_s_names_are_known() -> None:
    assert tuple(FACEMAP_NAMES) == BODYPARTS


def test_components_and_running_of_a_session(tmp_path: Path, monkeypatch: Any) -> None:
    """What is read piece by piece is what was recorded, in the rows of its frames."""
    folder = make_session(tmp_path / "session")
    for chunk in (3000, 1 << 22):
        monkeypatch.setattr(records, "CHUNK_BYTES", chunk)
        with open_session(folder) as session:
            camera = session.cameras["cam1"]
            results = camera.results[:]
            frame_seq = np.setdiff1d(np.arange(205), [0, 90, 91])  # not in the video; five too many
            found = recorded(folder, camera, frame_seq)
        assert found.motion is not None
        assert [values.shape for values in found.motion.motion] == [(202, 5), (202, 2)]
        wanted = np.full((205, 7), np.nan, np.float32)
        wanted[results["frame_seq"]] = results["motion"]
        for values, part in zip(found.motion.motion, (slice(5), slice(5, 7)), strict=True):
            pieces = list(pieces_of(values))
            assert (len(pieces) > 2) == (chunk == 3000)
            assert np.array_equal(np.concatenate(pieces), wanted[frame_seq, part], equal_nan=True)
        (running,) = found.running
        assert running.roi[:5] == ("running", 4, 4, 32, 32)
        shifts = np.full((205, 2), np.nan)
        shifts[results["frame_seq"]] = results["running"][:, 2:]
        assert np.array_equal(running.values, shifts[frame_seq], equal_nan=True)


def test_energy_stays_where_no_masks_came(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "session")
    (folder / layout.masks_name("cam1")).unlink()
    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        results, frame_seq = camera.results[:], np.arange(200)
        found = recorded(folder, camera, frame_seq)
    assert found.motion is not None
    wanted = np.full((200, 2), np.nan, np.float32)
    wanted[results["frame_seq"]] = results["motion_energy"]
    assert np.array_equal(found.motion.energy, wanted, equal_nan=True)
    proc = proc_dict(found, [["a.avi"]])
    assert proc["fullSVD"]
    assert proc["sbin"] == 4
    assert proc["movSVD"] == []
    assert [trace.shape for trace in proc["motSVD"]] == [(200, 1)] * 2  # Facemap needs some
    assert not any(trace.any() for trace in proc["motSVD"])
    for i, energy in enumerate(proc["motion"]):
        known = np.isfinite(wanted[:, i])
        assert np.array_equal(energy[known], wanted[known, i])
    assert [roi["rtype"] for roi in proc["rois"]][:1] == ["motion SVD"]


@pytest.fixture
def some_missing(session_folder: Path, tmp_path: Path) -> Path:
    """The session, but results of frames 10 to 19 and pixels of frames 30 and 31 are gone."""
    folder = tmp_path / "day3"
    shutil.copytree(session_folder, folder)
    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        results, frames = camera.results[:].copy(), camera.frames[:].copy()
    gone = np.isin(results["frame_seq"], range(10, 20))
    assert gone.any()
    frames["status"][30:32] = layout.Status.NOT_WRITTEN
    export_cases.replace_records(folder / layout.results_name("cam1"), results[~gone])
    export_cases.replace_records(folder / layout.frames_name("cam1"), frames)
    return folder


def test_a_session_becomes_a_video_and_a_pose_file(some_missing: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    moved: list[tuple[int, int]] = []
    with open_session(some_missing) as session:
        camera = session.cameras["cam1"]
        done = export_facemap(
            session, "cam1", out, on_progress=lambda *progress: moved.append(progress)
        )
        frames = camera.frames[:]
        held = frames["frame_seq"][frames["status"] == layout.Status.IN_VIDEO]
        results = camera.results[:]
        wanted = [image.copy() for _, image in camera.images()]
    name = "cam1_day3"
    endings = (".avi", "_FacemapPose.h5", "_FacemapPose_metadata.pkl")
    assert done.files == tuple(out / f"{name}{ending}" for ending in endings)
    assert sorted(out.iterdir()) == list(done.files)  # nothing else is left
    tracked = np.isin(held, results["frame_seq"])
    assert (~tracked).sum() >= 10
    assert (done.frames, done.tracked, done.left_out) == (len(held), tracked.sum(), 0)
    assert moved[-1] == (len(held), len(frames))

    video = out / f"{name}.avi"
    for image, other in zip(wanted, read_frames(video), strict=True):
        assert np.array_equal(image, other)
    with av.open(video) as container:
        assert container.streams.video[0].frames == len(held)

    with h5py.File(out / f"{name}_FacemapPose.h5") as file:
        assert list(file) == ["Facemap"]
        assert set(file["Facemap"]) == set(BODYPARTS)
        nose, paw = (
            np.stack([group[c][:] for c in ("x", "y", "likelihood")], 1)
            for group in (file["Facemap/nose(tip)"], file["Facemap/paw"])
        )
        assert file["Facemap/paw/x"].dtype == np.float32
    assert nose.shape == (len(held), 3)
    by_seq = dict(zip(results["frame_seq"].tolist(), results["keypoints"][:, 2], strict=True))
    assert [31 in held, 10 in by_seq] == [False, False]
    assert [seq for seq in held.tolist() if seq in by_seq] == held[tracked].tolist()
    assert np.array_equal(nose[tracked], [by_seq[seq] for seq in held[tracked].tolist()])
    assert np.isnan(nose[~tracked, :2]).all()
    assert (nose[~tracked, 2] == 0).all()
    assert np.isnan(paw[:, :2]).all()
    assert (paw[:, 2] == 0).all()

    metadata = pickle.loads((out / f"{name}_FacemapPose_metadata.pkl").read_bytes())
    assert metadata.pop("inference_speed") > 1
    assert metadata == {
        "batch_size": 1,
        "image_size": ([240], [320]),
        "bbox": [0, 240, 0, 320],
        "total_frames": len(held),
        "bodyparts": list(BODYPARTS),
    }


def test_parts_of_h264_become_one_file(session_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "day3"
    shutil.copytree(session_folder, folder)
    export_cases.encode_again(folder)
    assert len(list(folder.glob("*.mkv"))) > 1
    with open_session(folder) as session:
        assert verify(folder) == []
        done = export_facemap(session, "cam1", tmp_path / "out")
        wanted = [image.copy() for _, image in session.cameras["cam1"].images()]
    video = done.files[0]
    assert video.suffix == ".mp4"
    for image, other in zip(wanted, read_frames(video), strict=True):
        assert np.array_equal(image, other)
    with av.open(video) as container:
        assert container.streams.video[0].frames == len(wanted)
        frame = next(container.decode(video=0))
        assert frame.color_range == ColorRange.JPEG  # 0 to 255


def test_frames_that_cannot_be_decoded_are_left_out(session_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "day3"
    shutil.copytree(session_folder, folder)
    path = folder / "cam1.0000.mkv"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_session(folder) as session:
        done = export_facemap(session, "cam1", tmp_path / "out")
        n = len(session.cameras["cam1"].frames)
    assert done.frames > 10
    assert done.left_out == n - done.frames > 10
    assert len(list(read_frames(done.files[0]))) == done.frames


def test_filled_results_are_taken_if_asked(session_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "day3"
    shutil.copytree(session_folder, folder)
    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        seqs = camera.frames[:]["frame_seq"].astype(np.int64)
        with pytest.raises(UserError, match=r"cam1.filled.rec: is not there.*--fill"):
            recorded(folder, camera, seqs, filled=True)
        shutil.copy(folder / "cam1.results.rec", folder / "cam1.filled.rec")
        size = camera.results.dtype.itemsize
        with (folder / "cam1.filled.rec").open("r+b") as file:
            file.truncate(16384 + 5 * size)
        assert recorded(folder, camera, seqs, filled=True).tracked.sum() == 5
        assert recorded(folder, camera, seqs).tracked.sum() > 5


def refused(*words: str | Path) -> str:
    done = subprocess.run(
        [RTFACE, "export", *map(str, words)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("rtface: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_command(session_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = subprocess.run(
        [RTFACE, "export", session_folder, "--facemap", out, "--camera", "cam1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    head, *files = done.stdout.splitlines()
    assert "frames, " in head
    assert "tracked" in head
    assert sorted(map(Path, files)) == sorted(p for p in out.iterdir() if p.name != KEPT)


def test_what_is_refused(session_folder: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    assert f"{blocked}: cannot be written" in refused(session_folder, "--facemap", blocked)
    with pytest.raises(UserError, match="is not a session"):
        open_session(tmp_path / "nothing")
    with (
        open_session(session_folder) as session,
        pytest.raises(UserError, match="has no camera 'cam2', only cam1"),
    ):
        export_facemap(session, "cam2", tmp_path / "out")


def test_a_session_without_video_is_refused(session_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "day3"
    shutil.copytree(session_folder, folder)
    (folder / "cam1.0000.mkv").unlink()
    out = tmp_path / "out"
    with open_session(folder) as session, pytest.raises(UserError, match="there is no video"):
        export_facemap(session, "cam1", out)
    assert list(out.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(session_folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with open_session(session_folder) as session, pytest.raises(UserError, match="cannot be wri"):
        export_facemap(session, "cam1", tmp_path)


def test_h5py_is_asked_for_before_anything_is_copied(session_folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['h5py'] = None\n"
        "from rtface.cli import main\n"
        f"sys.argv[1:] = ['export', {str(session_folder)!r}, '--facemap', {str(tmp_path)!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "rtface: Facemap's files need h5py; pip install 'rtface[export]'\n"
    assert list(tmp_path.iterdir()) == []
