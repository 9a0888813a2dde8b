"""Sessions as Facemap's files: what is written comes back, and whatever cannot be is one line."""

import io
import os
import pickle
import pickletools
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
from programs import RTFACE

from rtface.camera.video import read_frames
from rtface.export.facemap import export_facemap, write_facemap
from rtface.export.facemap_pose import BODYPARTS
from rtface.export.facemap_proc import filled, proc_dict
from rtface.export.facemap_rois import pixels_of
from rtface.export.npyfile import write_dict
from rtface.export.recorded import Motion, placed, recorded
from rtface.facemap.weights import NAMES as FACEMAP_NAMES
from rtface.motion.binning import roi_area
from rtface.motion.masks import Masks
from rtface.motion.procfile import load_proc, read_proc
from rtface.session import layout, open_session
from rtface.session.verify import verify
from rtface.types import UserError


def npy(content: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    write_dict(file, content)
    return file.getvalue()


EVERYTHING = {
    "none": None,
    "yes": True,
    "no": False,
    "numbers": [0, -1, 255, 2**31, -(2**40), 0.5, float("inf")],
    "text": "Mäuse / \u2603",
    "tuple": (1.0, 2.0),
    "empty": [[], (), {}],
    "arrays": [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.int32)[::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.ones((2, 2), bool),
        np.zeros((0, 1), np.float32),
        np.array(3, np.int64),
    ],
}


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted, strict=True)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


def test_a_dict_comes_back_by_numpy_and_by_our_reader(tmp_path: Path) -> None:
    raw = npy(EVERYTHING)
    assert_same(np.load(io.BytesIO(raw), allow_pickle=True).item(), EVERYTHING)
    path = tmp_path / "a.npy"
    path.write_bytes(raw)
    assert_same(read_proc(path), EVERYTHING)


def test_the_pickle_names_what_every_numpy_has() -> None:
    raw = npy(EVERYTHING)
    start = raw.index(b"\x80\x04")
    names = {a for code, a, _ in pickletools.genops(raw[start:]) if code.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    assert pickle.loads(raw[start:]).shape == ()


@pytest.mark.parametrize("bad", [{1, 2}, np.array(["a"]), np.arange(3, dtype=">i4"), np.float64])
def test_what_has_no_place_in_the_file(bad: Any) -> None:
    with pytest.raises(TypeError, match="no place"):
        npy({"bad": bad})


def test_gaps_are_filled_along_lines() -> None:
    nan = np.nan
    assert filled(np.array([nan, 1, nan, nan, 4, nan])).tolist() == [1, 1, 2, 3, 4, 4]
    assert filled(np.full(3, nan)).tolist() == [0, 0, 0]
    assert filled(np.zeros((0, 2))).shape == (0, 2)
    rows = np.array([[0, 0], [nan, 5], [2, 4]], np.float32)
    assert filled(rows).tolist() == [[0, 0], [1, 2], [2, 4]]
    assert filled(rows).dtype == np.float32
    assert np.isnan(rows[1, 0])  # what came in stays


@pytest.mark.parametrize("bin_px", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("roi", [(0, 0, 20, 16), (5, 3, 30, 25), (33, 20, 31, 28), (8, 8, 56, 40)])
def test_a_motion_roi_gives_facemap_the_same_bins(
    roi: tuple[int, int, int, int], bin_px: int
) -> None:
    height, width = 49, 66
    area = roi_area(roi, height, width, bin_px)
    x, y, w, h = pixels_of(area, bin_px)
    assert x >= 0 <= y
    assert x + w <= width
    assert y + h <= height
    # Facemap's own formulas, as docs/motion.md has them
    rows = np.arange(np.floor(y / bin_px), np.floor((y + h - 1) / bin_px)).astype(int)
    columns = np.arange(np.floor(x / bin_px), np.floor(x + w - 1) / bin_px).astype(int)
    assert rows.tolist() == list(range(area.y0, area.y1))
    assert columns.tolist() == list(range(area.x0, area.x1))


@pytest.fixture(scope="module")
def motion() -> Motion:
    return export_cases.motion(missing=(100, 101, 300))


def test_masks_come_back(tmp_path: Path, motion: Motion) -> None:
    found = export_cases.record(motion, eye=True, missing=(100, 101))
    write_facemap(tmp_path, "m", found, [["m.avi"]])
    masks, notes = load_proc(tmp_path / "m_proc.npy")
    same_masks(masks, motion.masks)
    assert "pupil or blink" in notes[0]  # what it says of Facemap's own
    with h5py.File(tmp_path / "m_FacemapPose.h5") as file:
        assert set(file["Facemap"]) == {*BODYPARTS, "pupil(top)"}
        assert np.array_equal(file["Facemap/pupil(top)/x"], found.keypoints[:, 4, 0], True)


def same_masks(found: Masks, wanted: Masks) -> None:
    for name in ("height", "width", "bin_px"):
        assert getattr(found, name) == getattr(wanted, name)
    assert np.array_equal(found.average_frame, wanted.average_frame)
    assert np.array_equal(found.average_motion, wanted.average_motion)
    assert [area.name for area in found.areas] == [area.name for area in wanted.areas]
    for one, other in zip(found.areas, wanted.areas, strict=True):
        assert one.area == other.area
        for mine, theirs in ((one.motion, other.motion), (one.movie, other.movie)):
            assert mine is not None
            assert theirs is not None
            assert np.array_equal(mine.masks, theirs.masks)
    last, wanted_last = found.areas[-1], wanted.areas[-1]
    assert last.motion is not None
    assert wanted_last.motion is not None
    assert np.array_equal(last.motion.singular, wanted_last.motion.singular)


@pytest.mark.parametrize("areas", [slice(0, 1), slice(1, 3)], ids=["full", "rois"])
@pytest.mark.parametrize("kinds", ["motion", "movie"])
def test_part_of_the_masks_comes_back(
    tmp_path: Path, motion: Motion, areas: slice, kinds: str
) -> None:
    """No masks of the whole frame, or of one kind."""
    nothing = np.zeros((export_cases.CASE.frames, 0), np.float32)
    other = "movie" if kinds == "motion" else "motion"
    kept = [
        type(area)(area.name, area.area, **{kinds: getattr(area, kinds), other: None})
        for area in motion.masks.areas[areas]
    ]
    masks = Masks(
        *(getattr(motion.masks, name) for name in list(Masks.__dataclass_fields__)[:5]),
        tuple(kept),
        "source",
    )
    part = Motion(
        masks,
        motion.energy[:, areas],
        **{kinds: getattr(motion, kinds)[areas], other: (nothing,) * len(kept)},
    )
    write_facemap(tmp_path, "m", export_cases.record(part), [["m.avi"]])
    proc = read_proc(tmp_path / "m_proc.npy")
    short, off = ("mot", "mov") if kinds == "motion" else ("mov", "mot")
    assert proc["fullSVD"] == (areas.start == 0)
    assert proc[f"{off}SVD"] == proc[f"{off}Mask"] == []
    assert len(proc[f"{short}SVD"]) == len(proc["motion"]) == (1 if areas.start == 0 else 3)
    if areas.start:
        assert proc[f"{short}SVD"][0].shape == (0, 1)
        assert proc["motion"][0].shape == (0,)
    found = load_proc(tmp_path / "m_proc.npy").masks
    assert [area.area for area in found.areas] == [area.area for area in kept]
    for one, wanted in zip(found.areas, kept, strict=True):
        assert np.array_equal(getattr(one, kinds).masks, getattr(wanted, kinds).masks)
        assert getattr(one, other) is None


def test_rows_are_of_their_own_frames_unless_facemap_s_are_asked_for(motion: Motion) -> None:
    found = export_cases.record(motion)
    right, quirks = (proc_dict(found, [["a.avi"]], as_facemap=a) for a in (False, True))
    for i in range(3):
        energy, components, movie = motion.energy[:, i], motion.motion[i], motion.movie[i]
        known = np.isfinite(energy)
        assert known.sum() == len(energy) - 4
        assert np.array_equal(right["motion"][i][known], energy[known])
        assert right["motion"][i][0] == energy[1]
        between = energy[[99, 102]]
        assert between.min() < right["motion"][i][100] < between.max()
        assert np.array_equal(quirks["motion"][i][:499], right["motion"][i][1:500])
        assert quirks["motion"][i][499] == 0
        assert np.array_equal(quirks["motion"][i][500:], right["motion"][i][500:])
        assert np.array_equal(right["motSVD"][i][known], components[known])
        assert np.array_equal(right["motSVD"][i][0], components[1])
        assert np.array_equal(right["motSVD"][i], quirks["motSVD"][i])
        assert np.array_equal(right["movSVD"][i], movie)
        assert np.array_equal(quirks["movSVD"][i][0], movie[1])
        assert np.array_equal(quirks["movSVD"][i][1:], movie[1:])
    assert np.flatnonzero(right["interpolated"]).tolist() == [0, 100, 101, 300]


def test_a_short_record_has_facemap_s_quirk_too(motion: Motion) -> None:
    n = 30
    short = Motion(
        motion.masks,
        motion.energy[:n],
        *(tuple(values[:n] for values in kind) for kind in motion[2:]),
    )
    found = export_cases.record(short)._replace(frame_seq=np.arange(n))
    made = proc_dict(found, [["a.avi"]], as_facemap=True)["motion"][0]
    assert np.array_equal(made, [*motion.energy[1:n, 0], 0])


def test_pupil_blink_and_running_without_masks(tmp_path: Path) -> None:
    found = export_cases.record(None, eye=True, missing=(7, 8))
    write_facemap(tmp_path, "eye", found, [["eye.avi"]])
    proc = read_proc(tmp_path / "eye_proc.npy")
    pupil = proc["pupil"][0]
    for key in ("area", "com"):
        assert np.flatnonzero(np.isnan(pupil[key].reshape(620, -1)).any(1)).tolist() == [7, 8]
        assert np.isfinite(pupil[f"{key}_smooth"]).all()
    assert pupil["axdir"].shape == (620, 2, 2)
    assert np.isfinite(proc["blink"][0]).all()
    assert proc["running"][0].shape == (620, 2)
    assert [roi["rind"] for roi in proc["rois"]] == [0, 2, 3]
    roi = proc["rois"][0]
    assert (roi["yrange"][[0, -1]].tolist(), roi["xrange"][[0, -1]].tolist()) == ([4, 19], [6, 25])
    assert roi["ellipse"].shape == (16, 20)
    assert 0.7 < roi["ellipse"].mean() < 0.8  # pi / 4
    (reflection,) = roi["reflector"]
    assert reflection["ellipse"].all()
    assert reflection["yrange"].tolist() == [4, 5]
    assert not proc["fullSVD"]
    assert proc["motMask"] == []


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
    assert sorted(map(Path, files)) == sorted(out.iterdir())


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
