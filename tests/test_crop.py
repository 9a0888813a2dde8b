"""Boxes that move and reach beyond the frame: pixels, coordinates, and pictures with a face."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from faces import INPUT, SHAPE, SQUARE_FACE, SquareEngine, square
from hypothesis import given, settings
from hypothesis import strategies as st

from rtface.face import CROP, State
from rtface.pose import MOST_SAMPLERS, PoseEstimator, Resampler, find_face, finder_for
from rtface.types import BBox, Float32Array, UInt8Image

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)
boxes = st.builds(
    BBox, st.integers(-150, 120), st.integers(-150, 90), st.integers(1, 200), st.integers(1, 200)
)


def padded(box: BBox) -> np.ndarray:
    """The pixels of a box, with zeros beyond the frame, the slow way."""
    out = np.zeros((box.height, box.width), np.uint8)
    for y in range(box.height):
        for x in range(box.width):
            if 0 <= y + box.y < 60 and 0 <= x + box.x < 90:
                out[y, x] = PICTURE[y + box.y, x + box.x]
    return out


@settings(max_examples=60, deadline=None)
@given(boxes, st.booleans())
def test_beyond_the_frame_is_black_and_all_else_exact(box: BBox, deep: bool) -> None:
    resampler = Resampler((60, 90), (24, 32), box, bits=12 if deep else 8)
    seen = resampler(PICTURE.astype(np.uint16) << 4 if deep else PICTURE)
    alone = Resampler((box.height, box.width), (24, 32))  # the box as a frame of its own
    np.testing.assert_array_equal(seen, alone(padded(box)))
    np.testing.assert_allclose(resampler.offset, alone.offset + np.float32(box[:2]), atol=1e-4)
    assert resampler.fitted.base is not None
    assert resampler.fitted.size > 0


@settings(max_examples=60, deadline=None)
@given(boxes, st.floats(0, 31, width=32), st.floats(0, 23, width=32))
def test_coordinates_are_mapped_there_and_back(box: BBox, x: float, y: float) -> None:
    resampler = Resampler((60, 90), (24, 32), box)
    xy = np.float32([x, y])
    np.testing.assert_allclose(resampler.to_input(resampler.to_frame(xy)), xy, atol=1e-3)
    # the corners of the fitted part are those of the box
    edge = np.float32([resampler.pad_x - 0.5, resampler.pad_y - 0.5])
    np.testing.assert_allclose(resampler.to_frame(edge), [box.x - 0.5, box.y - 0.5], atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=1, max_size=8))
def test_where_a_box_was_before_does_not_matter(places: list[tuple[int, int]]) -> None:
    moving = Resampler((60, 90), (24, 32), BBox(5, 5, 48, 36))
    for x, y in places:
        moving.move(x, y)
        fresh = Resampler((60, 90), (24, 32), BBox(x, y, 48, 36))
        np.testing.assert_array_equal(moving(PICTURE), fresh(PICTURE))
        np.testing.assert_array_equal(moving.offset, fresh.offset)
        assert moving.fitted.shape == fresh.fitted.shape
        assert moving.bbox == fresh.bbox


def test_percentiles_are_of_the_frame_and_not_of_what_is_beyond() -> None:
    gray = np.full((60, 90), 200, np.uint8)
    resampler = Resampler((60, 90), (24, 32), BBox(-24, -10, 64, 48))
    seen = resampler(gray)
    assert (resampler.fitted == 200).all()
    assert (seen == 0).sum() + resampler.fitted.size >= seen.size - 60  # but for one blended line
    assert Resampler((60, 90), (24, 32), BBox(400, 400, 64, 48)).fitted.shape == (24, 32)


def test_an_origin_that_moves_allocates_nothing() -> None:
    image = square(300, 200, 80)
    estimator = PoseEstimator(SquareEngine(), SHAPE)
    resampler = Resampler(SHAPE, INPUT, BBox(-5, 0, 320, 240))
    buffers = resampler.input, resampler._canvas
    tracemalloc.start()
    try:
        for x in (0, 1, -40, 500, 3):
            resampler.move(x, 7)
            resampler(image)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for x in range(-50, 50):
            resampler.move(x, x)
        assert tracemalloc.get_traced_memory()[1] - before < 4096  # views, no pixels
    finally:
        tracemalloc.stop()
    assert buffers[0] is resampler.input
    assert buffers[1] is resampler._canvas
    for width in range(100, 200):
        estimator.at(image, BBox(0, 0, width, 100))
    assert len(estimator._samplers) == MOST_SAMPLERS
    same = estimator._sampler(BBox(0, 0, width, 100))
    assert estimator._sampler(BBox(-9, 4, width, 100)) is same


def estimator(mode: str = "follow", bits: int = 8) -> PoseEstimator:
    engine = SquareEngine()
    finder = finder_for(CROP, engine, SHAPE, mode, rate_hz=100.0)
    return PoseEstimator(engine, SHAPE, bits, finder=finder)


@pytest.mark.parametrize(("x", "y", "side"), [(300, 240, 230), (400, 150, 100), (90, 400, 50)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_face_in_a_picture(x: int, y: int, side: int, bits: int) -> None:
    image = square(x, y, side, dtype=np.uint8 if bits == 8 else np.uint16)
    pose, box = find_face(estimator(bits=bits), image)
    assert pose.face
    assert pose.crop == box
    np.testing.assert_allclose(pose.xy, [x, y] + side * SQUARE_FACE, atol=0.03 * side)
    muzzle = side * 1.2042
    assert box.width == pytest.approx(2 * muzzle, rel=0.03, abs=4)
    # every picture begins anew, and gives the same
    other, _ = find_face(estimator(bits=bits), image)
    np.testing.assert_array_equal(other.keypoints, pose.keypoints)


def test_pictures_one_after_the_other_do_not_know_of_each_other() -> None:
    eyes = estimator()
    images = [square(300, 240, 230), square(90, 400, 50), np.zeros(SHAPE, np.uint8)]
    alone = [find_face(estimator(), image) for image in images]
    for i in (0, 1, 2, 1, 0):
        pose, box = find_face(eyes, images[i])
        assert box == alone[i][1]
        np.testing.assert_array_equal(pose.keypoints, alone[i][0].keypoints)
    assert (pose.face, alone[2][0].face) == (True, False)
    assert alone[2][1] == BBox(0, 0, 640, 480)


class Restless(SquareEngine):
    """Sees the square now a little to the left, now to the right."""

    side = 10.0

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        found = super().infer(image, scale, shift)
        self.side *= -1
        found[:, 0] += self.side
        return found


def test_a_still_that_is_never_seen_twice_in_the_same_place_is_settled_on() -> None:
    eyes = PoseEstimator(engine := Restless(), SHAPE, finder=finder_for(CROP, engine, SHAPE))
    assert eyes.finder is not None
    image = square(300, 240, 230)
    for _ in range(eyes.finder.patience):
        eyes(image)
    assert eyes.finder.state is State.SETTLING  # live it is waited for
    pose, box = find_face(eyes, image)
    assert pose.face
    assert eyes.finder.state is State.SETTLED
    assert box.width == pytest.approx(2 * 1.2042 * 230, rel=0.1)
    # with a box of one's own there is nothing to settle
    fixed = finder_for(CROP, engine, SHAPE, "bbox", box)
    assert find_face(PoseEstimator(engine, SHAPE, finder=fixed), image)[0].face


class Mistaken(SquareEngine):
    """Sees a face once, the last time that a still is looked at."""

    looks, patience = 0, 0

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        found = super().infer(image, scale, shift)
        self.looks += 1
        found[:, 2] = 0.9 if self.looks == self.patience else 0.1
        return found


def test_a_face_that_was_seen_once_is_none() -> None:
    eyes = PoseEstimator(engine := Mistaken(), SHAPE, finder=finder_for(CROP, engine, SHAPE))
    assert eyes.finder is not None
    engine.patience = eyes.finder.patience
    pose, box = find_face(eyes, square(300, 240, 230))
    assert engine.looks > engine.patience
    assert (pose.face, box) == (False, BBox(0, 0, 640, 480))


@pytest.mark.parametrize("mode", ["follow", "hold", "off"])
@pytest.mark.parametrize("value", [0, 255, None])
def test_frames_without_a_face_are_said_and_never_nan(mode: str, value: int | None) -> None:
    eyes = estimator(mode)
    rng = np.random.default_rng(0)
    for _ in range(40):
        image = np.full(SHAPE, value or 0, np.uint8)
        if value is None:
            image = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        pose = eyes(image)
        assert not pose.face
        assert np.isfinite(pose.keypoints).all()
        assert pose.crop is not None
    pose, _ = find_face(eyes, image)
    assert not pose.face


def test_a_film_in_which_everything_happens() -> None:
    eyes = estimator()
    finder = eyes.finder
    assert finder is not None
    seen = []
    black = np.zeros(SHAPE, np.uint8)
    for frame in range(1400):
        image = square(250 + 0.1 * min(frame, 600), 200, 60) if not 700 < frame < 850 else black
        pose = eyes(image)
        if frame % 50 == 0:  # what recomputing relies on
            assert pose.crop is not None
            again = PoseEstimator(SquareEngine(), SHAPE).at(image, pose.crop)
            np.testing.assert_array_equal(again.keypoints, pose.keypoints)
        seen.append((finder.state, pose.face, pose.crop))
    states = [state for state, _, _ in seen]
    assert states.index(State.SETTLED) < 26
    assert [face for _, face, _ in seen[50:801]] == [True] * 751  # 1 s is waited
    assert not any(face for _, face, _ in seen[802:850])
    assert all(face for _, face, _ in seen[850:])
    crops = {crop for state, _, crop in seen[100:] if state is not State.SEARCHING}
    assert len({crop[2:] for crop in crops}) == 1
    assert len(crops) > 20  # it followed
