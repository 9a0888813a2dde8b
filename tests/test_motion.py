"""Motion components: binning, masks, projection and files against plain numpy."""

import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import videofiles
from motion_cases import CASES, Case, frames
from typer.testing import CliRunner

from rtface.cli import app
from rtface.motion import fit
from rtface.motion.areas import areas_of, possible
from rtface.motion.binning import Area, Binner, binned_shape, roi_area
from rtface.motion.fit import Unfittable, chunks, fit_masks
from rtface.motion.masks import Masks, load_masks, save_masks
from rtface.motion.procfile import load_proc, read_proc
from rtface.motion.project import Projector
from rtface.types import UserError

PROCS = Path(__file__).parent / "data" / "facemap_motion"
CLIP = frames(Case(((50, 67),), 2, frames=120))


def blocks(images: np.ndarray, b: int) -> np.ndarray:
    """Facemap's binning, in double precision."""
    n, h, w = images.shape
    cut = images[:, : h // b * b, : w // b * b].astype(float)
    return cut.reshape(n, h // b, b, w // b, b).mean((2, 4))


def motion_of(images: np.ndarray, b: int) -> np.ndarray:
    return np.abs(np.diff(blocks(images, b), axis=0))


def fitted(**options: Any) -> Masks:
    return fit_masks([lambda: CLIP], **({"bin_px": 2, "n_components": 20} | options))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bin_px", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("shape", [(48, 64), (50, 67)])
def test_binning_is_the_nearest_float(
    shape: tuple[int, int], bin_px: int, dtype: type[np.generic]
) -> None:
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (2, *shape), dtype)
    images[1] = np.iinfo(dtype).max  # the largest sums
    out = np.empty(binned_shape(*shape, bin_px), np.float32)
    for image, expected in zip(images, blocks(images, bin_px), strict=True):
        Binner(*shape, bin_px, dtype)(image, out)
        np.testing.assert_array_equal(out, expected.astype(np.float32))


def test_frames_that_are_views_are_binned_alike() -> None:
    image = np.asfortranarray(CLIP[0])
    outs = [np.empty((25, 33), np.float32) for _ in range(2)]
    Binner(50, 67, 2, np.uint8)(image, outs[0])
    Binner(50, 67, 2, np.uint8)(CLIP[0], outs[1])
    np.testing.assert_array_equal(*outs)


@pytest.mark.parametrize("bin_px", [1, 2, 3, 4])
def test_rois_have_facemap_s_edges(bin_px: int) -> None:
    """Ends of numpy.arange over rows from floor to floor, over columns from floor to a fraction."""
    for x, y, w, h in ((8, 4, 43, 37), (0, 0, 50, 60), (5, 7, 11, 13), (3, 3, 32, 32)):
        rows = np.arange(y // bin_px, (y + h - 1) // bin_px)
        columns = np.arange(x // bin_px, (x + w - 1) / bin_px)
        area = roi_area((x, y, w, h), 200, 200, bin_px)
        assert area == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)


def test_a_roi_at_the_edge_ends_with_the_frame() -> None:
    assert roi_area((40, 20, 26, 29), 49, 66, 7) == Area(2, 6, 5, 9)


def test_components_are_those_of_plain_numpy() -> None:
    masks = fitted(movie=True, rois=[(9, 5, 41, 30)])
    names = [area.name for area in masks.areas]
    assert names == ["full", "roi1"]
    moved, binned = motion_of(CLIP, 2), blocks(CLIP, 2)
    np.testing.assert_allclose(masks.average_motion, moved.mean(0), rtol=1e-6)
    np.testing.assert_allclose(masks.average_frame, binned.mean(0), rtol=1e-6)
    for area in masks.areas:
        y0, y1, x0, x1 = area.area
        for basis, vectors, average in (
            (area.motion, moved, masks.average_motion),
            (area.movie, binned[1:], masks.average_frame),
        ):
            assert basis is not None
            x = (vectors - average)[:, y0:y1, x0:x1].reshape(len(vectors), -1)
            x -= x.mean(1, keepdims=True)
            u, s, _ = np.linalg.svd(x.T, full_matrices=False)
            assert basis.masks.dtype == np.float32
            np.testing.assert_allclose(basis.singular, s[:20], rtol=1e-3)
            np.testing.assert_allclose(
                basis.explained, np.square(s[:20]) / np.square(x).sum(), rtol=2e-3
            )
            assert np.abs(u[:, :5].T @ basis.masks[:, :5]).max(0) == pytest.approx(1, abs=1e-4)
            np.testing.assert_allclose(basis.masks.T @ basis.masks, np.eye(20), atol=1e-5)
            np.testing.assert_allclose(basis.masks.sum(0), 0, atol=1e-4)
            largest = np.abs(basis.masks).argmax(0)
            assert (basis.masks[largest, range(20)] > 0).all()


def angle_deg(one: np.ndarray, two: np.ndarray) -> float:
    cosines = np.linalg.svd(one.T.astype(float) @ two)[1]
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


def test_masks_do_not_depend_on_how_many_frames_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for batch in (17, 50, 1000):
        monkeypatch.setattr(fit, "_batch", lambda *_, batch=batch: batch)
        basis = fitted().areas[0].motion
        assert basis is not None
        found.append(basis)
    for other in found[:2]:
        assert angle_deg(other.masks[:, :5], found[2].masks[:, :5]) < 0.1
        assert (np.square(other.masks[:, :5] - found[2].masks[:, :5]).sum(0) < 1e-4).all()  # signs
        assert other.explained.sum() == pytest.approx(found[2].explained.sum(), rel=1e-3)


def test_no_difference_is_taken_between_recordings() -> None:
    jump = np.clip(CLIP[60:].astype(int) + 90, 0, 255).astype(np.uint8)
    masks = fit_masks([lambda: CLIP[:60], lambda: jump], 2, 20)
    expected = np.concatenate([motion_of(CLIP[:60], 2), motion_of(jump, 2)]).mean(0)
    np.testing.assert_allclose(masks.average_motion, expected, rtol=1e-6)
    assert masks.areas[0].motion is not None
    x = np.concatenate([motion_of(CLIP[:60], 2), motion_of(jump, 2)]) - expected
    x = x.reshape(len(x), -1)
    x -= x.mean(1, keepdims=True)
    total = np.square(masks.areas[0].motion.singular) / masks.areas[0].motion.explained
    np.testing.assert_allclose(total, np.square(x).sum(), rtol=1e-4)


def test_long_recordings_are_sampled_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chunks(15_000) == [(0, 15_000)]
    long = chunks(1_000_000)
    assert len(long) == 15
    assert long[0] == (0, 1000)
    assert long[-1] == (999_000, 1_000_000)
    monkeypatch.setattr(fit, "MOST_FRAMES", 60)
    monkeypatch.setattr(fit, "CHUNKS", 3)
    seen = []
    masks = fit_masks([lambda: CLIP], 2, 5, on_progress=lambda *done: seen.append(done))
    assert seen.count((1, 120)) == 1
    assert len([1 for stage, _ in seen if stage == 2]) == 60
    x = np.concatenate([motion_of(CLIP[a : a + 20], 2) for a in (0, 50, 100)])
    x = x.reshape(57, -1) - masks.average_motion.reshape(-1)
    x -= x.mean(1, keepdims=True)
    assert masks.areas[0].motion is not None
    s = np.linalg.svd(x, compute_uv=False)
    np.testing.assert_allclose(masks.areas[0].motion.singular, s[:5], rtol=1e-4)


def test_components_that_carry_nothing_are_left_out() -> None:
    pattern = np.kron(np.random.default_rng(1).integers(0, 2, (4, 4)), np.ones((6, 6)))
    course = np.random.default_rng(2).integers(0, 100, 60)
    images = (100 + course[:, None, None] * pattern).astype(np.uint8)
    basis = fit_masks([lambda: images], 2, 20).areas[0].motion
    assert basis is not None
    assert basis.masks.shape[1] == 1
    assert basis.explained[0] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_projection_is_plain_numpy_s(dtype: type[np.generic]) -> None:
    images = CLIP.astype(dtype) * (1 if dtype is np.uint8 else 200)
    masks = fit_masks([lambda: images], 2, 20, [(9, 5, 41, 30)], movie=True)
    moved, binned = motion_of(images, 2), blocks(images, 2)
    projector = Projector(masks, 8, dtype)
    for t, image in enumerate(images[:30]):
        found = projector(image, True)
        for i, area in enumerate(masks.areas):
            assert area.motion is not None
            assert area.movie is not None
            y0, y1, x0, x1 = area.area
            x = (binned[t] - masks.average_frame)[y0:y1, x0:x1].reshape(-1)
            np.testing.assert_allclose(
                found.movie[i], x @ area.movie.masks[:, :8], atol=1e-5 * np.linalg.norm(x)
            )
            if t:
                d = moved[t - 1][y0:y1, x0:x1]
                assert found.energy[i] == pytest.approx(d.sum(), rel=1e-6)
                x = (d - masks.average_motion[y0:y1, x0:x1]).reshape(-1)
                np.testing.assert_allclose(
                    found.motion[i], x @ area.motion.masks[:, :8], atol=1e-5 * np.linalg.norm(x)
                )


def test_no_motion_without_the_frame_right_before() -> None:
    projector = Projector(fitted(movie=True), 4)
    known = []
    for image, consecutive in zip(
        CLIP, (True, True, False, True, False, False, True), strict=False
    ):
        found = projector(image, consecutive)
        assert np.isfinite(found.movie[0]).all()
        assert np.isfinite(found.motion[0]).all() == np.isfinite(found.energy[0])
        assert np.isnan(found.motion[0]).all() == np.isnan(found.energy[0])
        known.append(bool(np.isfinite(found.energy[0])))
    assert known == [False, True, False, True, False, False, True]
    # and it is the difference to the frame right before, not to the last one that had motion
    assert found.energy[0] == pytest.approx(motion_of(CLIP[5:7], 2)[0].sum(), rel=1e-6)


def test_projection_makes_no_arrays() -> None:
    large = CLIP[:12].repeat(16, 1).repeat(16, 2)
    masks = fit_masks([lambda: large], 4, 5, [(9, 5, 641, 660)], movie=True)
    projector = Projector(masks)
    results = projector(large[0], True)
    tracemalloc.start()
    try:
        for image in large[1:]:
            assert projector(image, True) is results
        now, peak = tracemalloc.get_traced_memory()
        assert (
            peak < 100_000
        )  # a binned frame has 214 kB, the ROI 106, numpy's casting a buffer of 64
        assert now < 3_000
    finally:
        tracemalloc.stop()


def test_a_frame_of_another_kind_is_refused_and_changes_nothing() -> None:
    projector = Projector(fitted(), 4)
    projector(CLIP[0], True)
    for wrong in (CLIP[0][:40], CLIP[0].astype(np.uint16)):
        with pytest.raises(ValueError, match="needs uint8"):
            projector(wrong, True)
    assert projector(CLIP[1], True).energy[0] == pytest.approx(motion_of(CLIP[:2], 2).sum())


def test_masks_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    masks = fitted(movie=True, rois=[(9, 5, 41, 30)])
    save_masks(path, masks)
    again = load_masks(path, (50, 67), 2)
    assert again.identity == masks.identity
    assert again.areas[1].area == masks.areas[1].area
    np.testing.assert_array_equal(again.areas[1].movie.masks, masks.areas[1].movie.masks)  # type: ignore[union-attr]
    assert fitted(movie=True, rois=[(9, 5, 41, 30)]).identity == masks.identity
    assert fitted().identity != masks.identity
    assert [path.name for path in tmp_path.iterdir()] == ["masks.npz"]


def altered(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with np.load(path) as file:
        found = dict(file)
    change(found)
    np.savez(path, **found)


def one_nan(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda found: found[key].__setitem__((3, 3), np.nan)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a missing key": (lambda found: found.pop("average_motion"), "average_motion: is missing"),
    "a missing value": (
        lambda found: found.pop("full_motion_singular"),
        "full_motion_singular: is",
    ),
    "no masks": (lambda found: found.pop("full_motion"), "full: has neither"),
    "NaN": (one_nan("full_motion"), "full: motion: holds NaN"),
    "NaN average": (one_nan("average_frame"), "average_frame: holds NaN"),
    "double": (
        lambda found: found.update(full_motion=found["full_motion"].astype(float)),
        "full_motion: is float64, not float32",
    ),
    "shape": (
        lambda found: found.update(full_motion=found["full_motion"][:-1]),
        "824 rows for 825",
    ),
    "a flat mask": (
        lambda found: found.update(full_motion=found["full_motion"][0]),
        "full_motion: is",
    ),
    "more components than bins": (
        lambda found: found.update(
            full_motion=np.zeros((825, 826), np.float32),
            full_motion_singular=np.zeros(826, np.float32),
            full_motion_explained=np.zeros(826, np.float32),
        ),
        "826 components of 825 bins",
    ),
    "an area outside": (lambda found: found["areas"].__setitem__((0, 1), 26), "areas: full is not"),
    "another bin": (lambda found: found.update(bin=np.array(3, np.int32)), "average_frame: is"),
    "bin 0": (lambda found: found.update(bin=np.array(0, np.int32)), "bin: 0 px"),
    "another version": (lambda found: found.update(version=np.array(2, np.int32)), "version: is 2"),
    "altered": (lambda found: found["full_motion"].__imul__(2), "identity: the file was altered"),
    "names": (lambda found: found.update(names=np.array(["../x"])), "names: must"),
    "objects": (
        lambda found: found.update(names=np.array([{}], object)),
        "is damaged or no masks.npz",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_masks_are_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "masks.npz"
    save_masks(path, fitted())
    change, expected = FAULTS[fault]
    altered(path, change)
    with pytest.raises(UserError, match=expected) as raised:
        load_masks(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "rtface calibrate motion" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_masks_for_other_frames_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    save_masks(path, fitted())
    with pytest.raises(UserError, match="made for frames of 67x50, the camera gives 64x48"):
        load_masks(path, (48, 64))
    with pytest.raises(UserError, match="made with 2 px, 4 px are asked for"):
        load_masks(path, bin_px=4)
    path.write_bytes(b"PK no zip")
    with pytest.raises(UserError, match="is damaged"):
        load_masks(path)
    with pytest.raises(UserError, match="No such file"):
        load_masks(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"n_components": 120}, "120 frames give at most 119, not 120"),
        ({"n_components": 0}, "at least 1"),
        ({"rois": [(50, 10, 20, 20)]}, "ROI 50,10,20,20: not inside the frame of 67x50"),
        ({"rois": [(-1, 10, 20, 20)]}, "not inside"),
        ({"rois": [(10, 10, 1, 1)]}, "holds no bin"),
        ({"bin_px": 17}, "bin: 1 to 16 px"),
        ({"full": False}, "nothing to do"),
        ({"motion": False}, "nothing to do"),
    ],
)
def test_what_cannot_be_fitted_is_said(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        fitted(**options)


def test_videos_that_cannot_be_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    still = np.repeat(CLIP[:1], 60, 0)
    with pytest.raises(UserError, match="nothing moves"):
        fit_masks([lambda: still], 2, 20)
    corner = CLIP[:60].copy()
    corner[:, :20, :20] = 7
    with pytest.raises(UserError, match="every frame is the same there"):
        fit_masks([lambda: corner], 2, 20, [(0, 0, 18, 18)])
    with pytest.raises(UserError, match="no frames"):
        fit_masks([lambda: CLIP[:0]], 2, 20)
    with pytest.raises(UserError, match="frames of different kinds"):
        fit_masks([lambda: CLIP, lambda: CLIP[:, :40]], 2, 20)
    with pytest.raises(UserError, match="do not fit into 1 GB"):
        fit_masks([lambda: np.zeros((2, 480, 640), np.uint8)], 1, 500)


def test_a_file_of_facemap_is_read(tmp_path: Path) -> None:
    proc = read_proc(PROCS / "odd4_proc.npy")
    with (PROCS / "odd4_proc.npy").open("rb") as file:
        expected = np.lib.format.read_array(file, allow_pickle=True).item()
    assert proc.keys() == expected.keys()
    np.testing.assert_array_equal(proc["motMask"][2], expected["motMask"][2])
    assert str(proc) == str(expected)
    masks, notes = load_proc(PROCS / "odd4_proc.npy")
    assert len(notes) == 1
    assert "motion ROIs overlap" in notes[0]
    assert load_proc(PROCS / "odd3_proc.npy").notes == []
    assert [area.name for area in masks.areas] == ["full", "roi1", "roi2"]
    save_masks(tmp_path / "masks.npz", masks)
    assert load_masks(tmp_path / "masks.npz").identity == masks.identity


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def save(path: Path, value: Any, protocol: int = 4) -> None:
    array = np.empty((), object)
    array[()] = value
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(array, file, protocol=protocol)


@pytest.mark.parametrize("protocol", [3, 4])
def test_code_in_a_file_is_not_run(tmp_path: Path, protocol: int) -> None:
    path, ran = tmp_path / "bad_proc.npy", tmp_path / "ran"
    save(path, {"motMask": [_Evil(ran)]}, protocol)
    with pytest.raises(UserError, match=r"refused: it asks for '(posix|nt)\.system'"):
        read_proc(path)
    assert not ran.exists()
    np.load(path, allow_pickle=True)  # it would have been run
    assert ran.exists()


def change(**keys: Any) -> Callable[[dict[str, Any]], object]:
    return lambda proc: proc.update(keys)


PROC_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "settings": (change(motSVD=True), "motSVD: holds settings, not results"),
    "no bin": (lambda proc: proc.pop("sbin"), "sbin: is missing"),
    "bin": (change(sbin=3), "bins"),
    "no masks": (change(motMask=[], movMask=[]), "holds no masks"),
    "NaN": (lambda proc: proc["motMask"][0].__setitem__((0, 0), np.nan), "full: motion: holds NaN"),
    "average": (lambda proc: proc["avgframe"][0].fill(np.nan), "avgframe: holds NaN"),
    "a ROI outside": (
        lambda proc: proc["rois"][0].update(xrange_bin=np.arange(9, 60)),
        "motion ROI 1 is outside",
    ),
    "rows": (lambda proc: proc["motMask"].__setitem__(1, np.ones((7, 2), "f4")), "roi1: motion: 7"),
    "views": (change(Ly=[31, 31], Lx=[45, 45]), "made of 2 views"),
    "no list": (change(Ly=3), "is not as Facemap 1.0 writes it"),
}


@pytest.mark.parametrize("fault", PROC_FAULTS)
def test_files_of_facemap_without_good_masks(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "x_proc.npy"
    proc = read_proc(PROCS / "odd2_proc.npy")
    alter, expected = PROC_FAULTS[fault]
    alter(proc)
    save(path, proc)
    with pytest.raises(UserError, match=expected) as raised:
        load_proc(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_damaged_files_of_facemap(tmp_path: Path) -> None:
    good = (PROCS / "odd2_proc.npy").read_bytes()
    path = tmp_path / "x_proc.npy"
    for n in (0, 5, 60, 200, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:n])
        with pytest.raises(UserError, match=r"x_proc.npy: is (damaged|no \.npy)"):
            read_proc(path)
    np.save(path, np.arange(3))
    with pytest.raises(UserError, match="holds an array"):
        read_proc(path)
    with pytest.raises(UserError, match="No such file"):
        read_proc(tmp_path / "none")


def test_pupil_rois_and_masks_that_are_off_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x_proc.npy"
    proc = read_proc(PROCS / "odd2_proc.npy")
    proc["rois"].append({"rind": 0, "ivid": 0})
    proc["movMask"] = proc["movMask"][1:]  # with movSVD off the first entry is not there
    save(path, proc)
    masks, notes = load_proc(path)
    assert len(notes) == 1
    assert "pupil or blink" in notes[0]
    assert [area.movie for area in masks.areas] == [None, None]
    proc["motMask"][0] = np.zeros((0, 1), np.float32)  # no masks of the whole frame
    save(path, proc)
    assert [area.name for area in load_proc(path).masks.areas] == ["roi1"]


def test_columns_of_a_short_video_that_hold_nothing_are_left_out(tmp_path: Path) -> None:
    """Facemap makes 500 columns for 192 bins in one chunk, most of them zeros."""
    path = tmp_path / "x_proc.npy"
    proc = read_proc(PROCS / "odd3_proc.npy")
    expected = load_proc(PROCS / "odd3_proc.npy").masks.areas[0].motion
    assert expected is not None
    wide = np.zeros((len(proc["motMask"][0]), 500), np.float32)
    wide[:, : proc["motMask"][0].shape[1]] = proc["motMask"][0]
    proc["motMask"][0] = wide
    save(path, proc)
    found = load_proc(path).masks.areas[0].motion
    assert found is not None
    np.testing.assert_array_equal(found.masks, expected.masks)


def test_the_command_fits_a_video(tmp_path: Path) -> None:
    video = tmp_path / "mouse.avi"
    videofiles.write(video, "ffv1", "gray", list(CLIP[:60]))
    out = tmp_path / "masks.npz"
    words = ["calibrate", "motion", "--out", str(out), "--video", str(video), "--bin", "2"]
    words += ["--components", "10", "--roi", "9,5,41,30", "--movie"]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0
    assert "full     motion   10 components of 825 bins" in found.output
    masks = load_masks(out, (50, 67))
    assert (
        masks.identity
        == fit_masks([lambda: CLIP[:60]], 2, 10, [(9, 5, 41, 30)], movie=True).identity
    )
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_command_takes_facemap_s_masks(tmp_path: Path) -> None:
    out = tmp_path / "masks.npz"
    words = ["calibrate", "motion", "--out", str(out), "--from", str(PROCS / "two_views_proc.npy")]
    with pytest.raises(UserError, match="--view"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    found = CliRunner().invoke(app, [*words, "--view", "1"], catch_exceptions=False)
    assert "note: several views" in found.output
    assert load_masks(out).height == CASES["two_views"].sizes[1][0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "one of --video, --live and --from"),
        (["--video", "a.avi", "--from", "b.npy"], "one of --video, --live and --from"),
        (["--video", "none.avi"], "no such file"),
        (["--video", "a.avi", "--roi", "1,2,3"], "--roi 1,2,3: must be X,Y,W,H"),
    ],
)
def test_the_command_refuses(tmp_path: Path, words: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        CliRunner().invoke(
            app,
            ["calibrate", "motion", "--out", str(tmp_path / "m.npz"), *words],
            catch_exceptions=False,
        )


def test_as_many_components_as_can_be_fitted_are_made_and_said() -> None:
    told: list[str] = []
    made = fitted(n_components=500, rois=[(0, 0, 10, 10)], on_fewer=told.append)
    full, roi = (area.motion for area in made.areas)
    assert full is not None
    assert roi is not None
    assert 100 < full.masks.shape[1] <= 119
    assert roi.masks.shape[1] <= roi.masks.shape[0] - 1 < 100
    (why,) = told
    assert why == (
        "at most 119 components of each area instead of 500: "
        "there are 119 differences between frames"
    )
    whole = fitted(n_components=100, on_fewer=told.append)
    assert told == [why]
    assert whole.identity == fitted(n_components=100).identity
    # 5 megapixels without bins: not in 1 GB
    areas = areas_of(1960, 2560, 4, ()).values()
    n, why = possible(areas, 1, 500, 6000)
    assert 200 < n < 500
    assert "1 GB" in why
    with pytest.raises(UserError, match="do not fit"):
        fit._batch(areas, n + 1, 1)
    assert fit._batch(areas, n, 1) >= 16


@pytest.mark.parametrize("film", [CLIP[:1], np.repeat(CLIP[:1], 40, 0)])
def test_frames_without_motion_give_no_masks_at_all(film: np.ndarray) -> None:
    with pytest.raises(Unfittable):
        fit_masks([lambda: film], 2, 20, on_fewer=print)
