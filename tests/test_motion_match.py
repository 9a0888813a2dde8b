"""Whether a live picture fits the masks: real and synthetic faces, moved, lit and swapped."""

import csv
from collections import defaultdict
from pathlib import Path

import av
import numpy as np
import pytest

from rtface.camera.synthetic import SyntheticCamera
from rtface.motion.binning import Binner
from rtface.motion.masks import Masks
from rtface.motion.match import LiveAverage, compare_average
from rtface.motion.project import Projector

BIN, MARGIN = 4, 40


def masks_of(average: np.ndarray, bin_px: int = BIN) -> Masks:
    h, w = average.shape
    return Masks(h * bin_px, w * bin_px, bin_px, average, np.zeros_like(average), (), "")


def binned(image: np.ndarray, bin_px: int = BIN) -> np.ndarray:
    h, w = (n // bin_px for n in image.shape)
    cut = image[: h * bin_px, : w * bin_px].astype(np.float32)
    return cut.reshape(h, bin_px, w, bin_px).mean((1, 3))


@pytest.fixture(scope="module")
def faces() -> dict[int, np.ndarray]:
    """Frames (40, 480, 640) of two synthetic animals, over 8 s."""
    found = {}
    for seed in (3, 4):
        camera = SyntheticCamera(640, 480, 200.0, seed, nuisances=False)
        found[seed] = np.empty((40, 480, 640), np.uint8)
        for i, image in enumerate(found[seed]):
            camera._draw(40 * i, image)
    return found


def seen(images: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    """The average of frames cut out so that the picture lies x, y px further right and down."""
    mean = images.mean(0)
    h, w = mean.shape
    return binned(mean[MARGIN - y : h - MARGIN - y, MARGIN - x : w - MARGIN - x])


def test_the_same_view_fits_whatever_the_light(faces: dict[int, np.ndarray]) -> None:
    masks = masks_of(seen(faces[3][::2]))
    later = seen(faces[3][1::2])  # other moments: the animal moved
    ramp = np.linspace(0.7, 1.3, later.shape[1], dtype=np.float32)
    for live in (later, 0.5 * later + 40, 1.3 * later - 10, later * ramp, later + 400 * ramp):
        match = compare_average(masks, live)
        assert match.fits, match
        assert match.why == ""
        assert match.correlation > 0.9
        assert np.hypot(*match.shift_px) < 2


@pytest.mark.parametrize("shift", [(6, 0), (0, -7), (9, 5), (-20, 13), (33, -30)])
def test_a_camera_that_moved_is_measured_and_refused(
    faces: dict[int, np.ndarray], shift: tuple[int, int]
) -> None:
    match = compare_average(masks_of(seen(faces[3][::2])), seen(faces[3][1::2], *shift))
    assert not match.fits
    assert match.shift_px == pytest.approx(shift, abs=1.5)
    across, down = "right" if shift[0] > 0 else "left", "down" if shift[1] > 0 else "up"
    assert match.why.startswith("the camera moved: ")
    assert shift[0] == 0 or across in match.why
    assert shift[1] == 0 or down in match.why
    assert "\n" not in match.why


def test_less_than_a_bin_is_allowed(faces: dict[int, np.ndarray]) -> None:
    for shift in ((2, 0), (-1, 2), (0, 3)):
        match = compare_average(masks_of(seen(faces[3])), seen(faces[3], *shift))
        assert match.fits, match
        assert match.shift_px == pytest.approx(shift, abs=1)


def test_finer_bins_find_the_same_shift(faces: dict[int, np.ndarray]) -> None:
    one, two = faces[3][0].astype(np.float32), faces[3][0].astype(np.float32)
    match = compare_average(masks_of(binned(one[16:, 24:], 1), 1), binned(two[:-16, :-24], 1))
    assert not match.fits
    assert match.shift_px == pytest.approx((24, 16), abs=0.2)


@pytest.mark.parametrize(
    ("name", "flip"),
    [
        ("mirrored beside", np.s_[:, ::-1]),
        ("upside down beside", np.s_[::-1, ::-1]),
        ("mirrored and upside down", np.s_[::-1, :]),
    ],
)
def test_a_turned_picture_is_named(
    faces: dict[int, np.ndarray], name: str, flip: tuple[slice, slice]
) -> None:
    match = compare_average(masks_of(seen(faces[3][::2])), seen(faces[3][1::2])[flip])
    assert not match.fits
    assert name in match.why


def test_another_animal_and_no_picture_are_refused(faces: dict[int, np.ndarray]) -> None:
    masks = masks_of(seen(faces[3]))
    noise = np.random.default_rng(0).normal(100, 20, masks.average_frame.shape)
    even = np.full_like(masks.average_frame, 17)
    for live in (seen(faces[4]), noise.astype(np.float32), even):
        match = compare_average(masks, live)
        assert not match.fits
        assert match.why.startswith("the picture is not that of the masks")
        assert "make masks of this view" in match.why


def test_another_shape_is_the_programmer_s_fault() -> None:
    with pytest.raises(ValueError, match="needs"):
        compare_average(masks_of(np.zeros((12, 16), np.float32)), np.zeros((12, 15), np.float32))


def test_the_mean_of_live_frames_comes_from_the_projector(faces: dict[int, np.ndarray]) -> None:
    masks = masks_of(binned(faces[3].mean(0)))
    projector, average = Projector(masks), LiveAverage(masks.average_frame.shape)
    with pytest.raises(ValueError, match="no frames"):
        average.mean()
    for image in faces[3]:
        projector(image, True)
        average.add(projector.binned)
    assert average.frames == 40
    assert average.mean().dtype == np.float32
    np.testing.assert_allclose(average.mean(), masks.average_frame, rtol=1e-5)
    one = np.empty(masks.average_frame.shape, np.float32)
    Binner(480, 640, BIN, np.uint8)(faces[3][-1], one)
    np.testing.assert_array_equal(projector.binned, one)


@pytest.mark.data
def test_real_sessions_are_told_apart(data: Path) -> None:
    """Halves of a session's stills fit; another animal, and a mirrored picture, never do."""
    folder = data / "schroeder_face"
    stills: dict[tuple[str, str], list[Path]] = defaultdict(list)
    with (folder / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            path = folder / row["file"]
            stills[row["animal"], row["session"]].append(
                path if path.exists() else folder / "frames" / row["file"]
            )
    halves = {}
    for (animal, session), paths in sorted(stills.items()):
        if len(paths) >= 16 and len(halves) < 6:  # means of fewer are those of single moments
            images = [binned(_still(path)) for path in sorted(paths)[:16]]
            halves[animal, session] = np.mean(images[::2], 0), np.mean(images[1::2], 0)
    assert len({animal for animal, _ in halves}) == 4
    keys = list(halves)
    for key, other in zip(keys, keys[1:] + keys[:1], strict=True):
        masks = masks_of(halves[key][0])
        assert compare_average(masks, halves[key][1]).fits, key
        live = halves[key][1][:, ::-1] if other[0] == key[0] else halves[other][1]
        assert not compare_average(masks, live).fits, (key, other)


def _still(path: Path) -> np.ndarray:
    with av.open(path) as container:
        frame = next(container.decode(video=0))
        return frame.to_ndarray(format="gray")
