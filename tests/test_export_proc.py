"""Facemap's ``_proc.npy``: what is written comes back, by numpy and by our own reader."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import export_cases
import h5py
import numpy as np
import pytest

from rtface.export.facemap import write_facemap
from rtface.export.facemap_pose import BODYPARTS
from rtface.export.facemap_proc import filled, filled_pieces, proc_dict
from rtface.export.facemap_rois import pixels_of
from rtface.export.npyfile import write_dict
from rtface.export.recorded import Motion, Rows
from rtface.motion.binning import roi_area
from rtface.motion.masks import Masks
from rtface.motion.procfile import load_proc, read_proc


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


def test_gaps_cross_pieces() -> None:
    random = np.random.default_rng(2)
    for share in (0.0, 0.05, 0.5, 0.97, 1.0):
        rows = random.normal(size=(9000, 3)).astype(np.float32)
        rows[random.random(9000) < share] = np.nan
        rows[3000:8500] = np.nan  # longer than what is made at a time
        cuts = np.sort(random.integers(0, 9000, 12))
        found = np.concatenate([rows[:0], *filled_pieces(np.split(rows, cuts))])
        known = np.isfinite(rows[:, 0])
        if not known.any():
            assert (found == 0).all()
            continue
        wanted = [
            np.interp(np.arange(9000), np.flatnonzero(known), rows[known, i]) for i in range(3)
        ]
        np.testing.assert_allclose(found.T, wanted, atol=2e-6)
        assert np.array_equal(found[known], rows[known])


@pytest.mark.parametrize("as_facemap", [False, True])
def test_rows_that_are_not_in_memory_give_the_same_file(
    tmp_path: Path, motion: Motion, as_facemap: bool
) -> None:
    def streamed(values: Any) -> Rows:
        return Rows(values.shape, lambda: iter(np.split(values, [0, 1, 7, 100, 101, 350])))

    lazy = motion._replace(
        motion=tuple(map(streamed, motion.motion)), movie=tuple(map(streamed, motion.movie))
    )
    for name, one in (("held", motion), ("lazy", lazy)):
        write_facemap(tmp_path, name, export_cases.record(one), [["m.avi"]], as_facemap)
    held, read = ((tmp_path / f"{name}_proc.npy").read_bytes() for name in ("held", "lazy"))
    assert held == read


def test_rows_that_are_too_few_are_noticed() -> None:
    rows = Rows((3, 2), lambda: iter([np.zeros((2, 2), np.float32)]))
    with pytest.raises(ValueError, match="8 bytes short"):
        npy({"rows": rows})


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
