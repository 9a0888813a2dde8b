"""Facemap's way in and out, against the same steps in torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rtface.facemap_pose import FacemapEstimator, SquareFit, facemap_estimator, prepare
from rtface.types import BBox, Float32Array


class Echo:
    """Says that keypoint 0 is at the input's origin, 1 at its far corner, and keeps the input."""

    names = ("a", "b")
    input_shape = (256, 256)

    def infer(self, image: Float32Array, scale: float, shift: float) -> Float32Array:
        self.seen = image * np.float32(scale) + np.float32(shift)
        return np.array([[0, 0, 0.5], [256, 256, 1]], np.float32)


def in_torch(image: np.ndarray, box: BBox) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Normalise, crop, pad with zeros, resize; return it with left, top and side of the square."""
    pixels = torch.from_numpy(image.astype(np.float32))
    low, high = torch.quantile(pixels, 0.01), torch.quantile(pixels, 0.99)
    pixels = (pixels - low) / (high - low)
    pixels = pixels[box.y : box.y + box.height, box.x : box.x + box.width]
    side = max(box.width, box.height) + abs(box.width - box.height) % 2
    left, top = (side - box.width) // 2, (side - box.height) // 2
    pixels = functional.pad(pixels, (left, side - box.width - left, top, side - box.height - top))
    resized = functional.interpolate(pixels[None, None], size=(256, 256), mode="bilinear")
    return resized[0, 0].numpy(), (left, top, side)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 640, 480),
        (3, 5, 240, 101),
        (3, 5, 101, 240),
        (11, 7, 255, 257),
        (0, 0, 256, 256),
        (300, 17, 333, 333),
        (639, 0, 1, 480),
        (5, 5, 1, 1),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_network_sees_what_torch_would_make(box: tuple[int, ...], kind: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (480, 640), dtype=kind)
    engine, where = Echo(), BBox(*box)
    pose = FacemapEstimator(engine, (480, 640), where)(image)
    expected, (left, top, side) = in_torch(image, where)
    np.testing.assert_allclose(engine.seen, expected, atol=2e-6)
    corner = [where.x - left, where.y - top]
    np.testing.assert_array_equal(pose.xy, [corner, [corner[0] + side, corner[1] + side]])
    np.testing.assert_array_equal(pose.score, np.float32([0.5, 1]))
    assert pose.crop == where


@pytest.mark.parametrize("box", [(0, 0, 1, 600), (0, 0, 1280, 3), (7, 3, 2, 590)])
def test_a_box_between_two_rows_of_the_input_is_all_padding(box: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (600, 1280), dtype=np.uint8)
    engine, where = Echo(), BBox(*box)
    FacemapEstimator(engine, image.shape, where)(image)
    expected, _ = in_torch(image, where)
    np.testing.assert_allclose(engine.seen, expected, atol=2e-6)


def test_a_frame_of_one_grey_gives_numbers() -> None:
    engine = Echo()
    FacemapEstimator(engine, (50, 60))(np.full((50, 60), 7, np.uint8))
    np.testing.assert_array_equal(engine.seen, 0)


def test_percentiles_are_those_of_the_whole_frame() -> None:
    image = np.zeros((100, 100), np.uint8)
    image[50:] = 200
    fit = SquareFit(BBox(0, 50, 50, 50), (256, 256))
    network_input, scale, shift = prepare(image, fit)
    np.testing.assert_allclose(network_input * scale + shift, 1)


def test_other_boxes_may_be_asked_for() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    estimate = FacemapEstimator(Echo(), (90, 120))
    first = estimate(image).keypoints
    for x in range(30):
        box = BBox(x, 3, 40, 50)
        np.testing.assert_array_equal(
            estimate.at(image, box).keypoints,
            FacemapEstimator(Echo(), (90, 120), box)(image).keypoints,
        )
    np.testing.assert_array_equal(estimate(image).keypoints, first)


def test_only_facemap_s_networks_get_it() -> None:
    assert facemap_estimator("percentile-1-99", Echo(), (90, 120)) is None
    assert isinstance(facemap_estimator("facemap", Echo(), (90, 120)), FacemapEstimator)
