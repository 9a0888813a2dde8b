import importlib.util

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from rtface.percentiles import Normaliser, percentile_affine
from rtface.pose import BBox, PoseEstimator, Resampler
from rtface.types import Pose

SIZES = [(480, 640), (646, 864), (540, 720), (479, 641), (100, 90), (1024, 1280), (192, 256)]


@pytest.mark.parametrize("shape", SIZES)
def test_pixels_and_coordinates_agree(shape: tuple[int, int]) -> None:
    # The centroid of a blob tells, to a hundredth of a pixel, where its pixels went.
    height, width = shape
    y, x = np.mgrid[0:height, 0:width]
    true = np.array([0.37 * width, 0.61 * height])
    sigma = width / 40
    blob = np.exp(-((x - true[0]) ** 2 + (y - true[1]) ** 2) / (2 * sigma**2))
    resampler = Resampler(shape, (192, 256))
    seen = resampler(np.rint(255 * blob).astype(np.uint8)).astype(float)
    rows, columns = np.mgrid[0:192, 0:256]
    weight = np.where(seen > 20, seen, 0)
    centroid = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    found = resampler.to_frame(centroid.astype(np.float32))
    np.testing.assert_allclose(found, true, atol=0.1 * resampler.scale)


@given(
    st.integers(16, 2000),
    st.integers(16, 2000),
    st.floats(0, 255, width=32),
    st.floats(0, 191, width=32),
)
def test_coordinates_round_trip(height: int, width: int, x: float, y: float) -> None:
    resampler = Resampler((height, width), (192, 256))
    xy = np.array([x, y], np.float32)
    np.testing.assert_allclose(resampler.to_input(resampler.to_frame(xy)), xy, atol=1e-3)


def test_bbox_moves_the_origin() -> None:
    image = np.zeros((480, 640), np.uint8)
    image[300, 400] = 255
    resampler = Resampler(image.shape, (64, 64), BBox(380, 280, 64, 64))
    seen = resampler(image)
    row, column = np.unravel_index(np.argmax(seen), seen.shape)
    np.testing.assert_allclose(
        resampler.to_frame(np.array([column, row], np.float32)), [400, 300], atol=1e-3
    )


def test_frame_is_centred_with_zeros_around() -> None:
    resampler = Resampler((100, 100), (192, 256))
    seen = resampler(np.full((100, 100), 200, np.uint8))
    assert (resampler.pad_x, resampler.pad_y) == (32, 0)
    assert not seen[:, :32].any()
    assert not seen[:, -32:].any()
    assert (seen[:, 32:-32] == 200).all()


def test_halving_keeps_thin_lines() -> None:
    # Bilinear alone would miss most one-pixel whiskers at a third of the size.
    image = np.zeros((576, 768), np.uint8)
    image[:, 100::50] = 255
    seen = Resampler(image.shape, (144, 192))(image)
    assert (seen.max(axis=0) > 0).sum() >= len(range(100, 768, 50))


def test_16_bit_is_shown_as_8_bit() -> None:
    image = np.random.default_rng(0).integers(0, 256, (480, 640)).astype(np.uint16)
    eight = Resampler(image.shape, (192, 256))(image.astype(np.uint8)).copy()
    sixteen = Resampler(image.shape, (192, 256), bits=12)(image << 4)
    np.testing.assert_array_equal(eight, sixteen)


def test_percentiles_go_to_0_and_1() -> None:
    image = np.random.default_rng(0).normal(120, 20, (192, 256)).clip(0, 255).astype(np.uint8)
    scale, shift = percentile_affine(image)
    low, high = np.percentile(image, [1, 99])
    assert low * scale + shift == pytest.approx(0, abs=1e-6)
    assert high * scale + shift == pytest.approx(1, abs=1e-6)


class Affines:
    """An engine that keeps what it was to normalise by."""

    names = ("spot",)
    input_shape = (192, 256)

    def __init__(self) -> None:
        self.told: list[tuple[float, float]] = []

    def infer(self, image: np.ndarray, scale: float, shift: float) -> np.ndarray:
        self.told.append((scale, shift))
        return np.zeros((1, 3), np.float32)


def test_a_stream_is_normalised_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    frames = [
        rng.normal(60 + 20 * i, 8, (192, 256)).clip(0, 255).astype(np.uint8) for i in range(5)
    ]
    own = [percentile_affine(frame) for frame in frames]
    told = {}
    for mode in ("per frame", "frozen", "adapting"):
        engine = Affines()
        estimate = PoseEstimator(engine, (192, 256), normaliser=Normaliser(mode, 2))
        for frame in frames:
            estimate(frame)
        told[mode] = engine.told
    assert told["per frame"] == own
    assert told["frozen"][1] == told["frozen"][4] != own[4]
    assert own[3] != told["adapting"][4] != own[4]


@pytest.mark.parametrize("shape", [(8, 4096), (1, 640), (640, 1), (2, 2)])
def test_strips_are_no_error(shape: tuple[int, int]) -> None:
    pose = PoseEstimator(BrightestPixel(), shape)(np.full(shape, 7, np.uint8))
    assert np.isfinite(pose.keypoints).all()


def test_a_black_frame_does_not_divide_by_zero() -> None:
    scale, shift = percentile_affine(np.zeros((192, 256), np.uint8))
    assert np.isfinite([scale, shift]).all()


class BrightestPixel:
    """An engine that finds the brightest pixel: enough to test the whole way there and back."""

    names = ("spot",)
    input_shape = (192, 256)

    def infer(self, image: np.ndarray, scale: float, shift: float) -> np.ndarray:
        row, column = np.unravel_index(np.argmax(image), image.shape)
        return np.array([[column, row, image.max() * scale + shift]], np.float32)


@pytest.mark.parametrize("shape", SIZES)
def test_estimator_finds_a_spot_in_frame_coordinates(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    y, x = shape[0] // 3, shape[1] // 4
    radius = max(2, shape[1] // 60)
    image[y - radius : y + radius + 1, x - radius : x + radius + 1] = 250
    pose = PoseEstimator(BrightestPixel(), shape)(image)
    assert np.abs(pose.xy[0] - [x, y]).max() <= radius + 2 * shape[1] / 256
    assert pose.xy.dtype == pose.score.dtype == np.float32


def test_pictures_show_keypoints_of_any_name() -> None:
    path = ROOT / "docs" / "make_pictures.py"
    spec = importlib.util.spec_from_file_location("make_pictures", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    xy = np.array([[20, 20], [60, 40]], np.float32)
    pose = Pose(np.column_stack([xy, [0.9, 0.9]]).astype(np.float32))
    picture = made.overlay(np.zeros((80, 100), np.uint8), pose, ("left_ear", "nose(tip)"), ())
    assert tuple(picture[20, 20]) == made.OTHER
    assert tuple(picture[40, 60]) == made.COLOURS["nose"]
