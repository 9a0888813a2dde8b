import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtface import percentiles as module
from rtface.percentiles import Normaliser, Percentiles, affine, percentiles
from rtface.types import Image

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
PERCENT = st.floats(0, 100) | st.sampled_from([0.0, 1.0, 50.0, 99.0, 100.0])


def wide(kind: type) -> st.SearchStrategy[Image]:
    return arrays(kind, SIZES)


def narrow(kind: type) -> st.SearchStrategy[Image]:
    """Few grey levels, so that many pixels share one."""
    top = np.iinfo(kind).max
    levels = st.sampled_from([0, 1, top // 2, top // 2 + 1, top - 1, top])
    return arrays(kind, SIZES, elements=levels)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_they_are_numpy_s_to_the_last_bit(kind: type) -> None:
    @settings(max_examples=300, deadline=None)
    @given(wide(kind) | narrow(kind), PERCENT, PERCENT)
    def check(image: Image, low: float, high: float) -> None:
        assert percentiles(image, low, high) == tuple(np.percentile(image, [low, high]))

    check()


@settings(max_examples=300, deadline=None)
@given(wide(np.uint8) | narrow(np.uint8), PERCENT, PERCENT)
def test_counting_gives_what_the_histogram_gives(image: Image, low: float, high: float) -> None:
    places = [module._place(percent, image.size, False) for percent in (low, high)]
    counted = module._by_counting(image, places)
    assert counted is None or counted == module._by_histogram(image, places)


@pytest.mark.parametrize("seed", range(20))
def test_large_pictures_are_counted(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = np.clip(
        random.normal(random.uniform(0, 255), random.uniform(0, 60), (480, 640)), 0, 255
    )
    image = image.astype(np.uint8)[:, : 640 - seed]  # parts of frames are not contiguous
    places = [module._place(percent, image.size, False) for percent in (1, 99)]
    assert module._by_counting(image, places) is not None
    assert percentiles(image) == tuple(np.percentile(image, [1, 99]))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_in_single_precision_they_are_torch_s(kind: type) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(1)
    for shape in ((480, 640), (1024, 1280), (101, 240)):
        # neighbours in order differ, so that a slightly other place would show
        image = random.integers(0, np.iinfo(kind).max, shape, dtype=kind)
        pixels = torch.from_numpy(image.astype(np.float32))
        expected = [float(torch.quantile(pixels, share)) for share in (0.01, 0.99)]
        np.testing.assert_allclose(percentiles(image, single=True), expected, rtol=1e-7)


@pytest.mark.parametrize("image", [np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.float32)])
def test_what_has_none_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="needs uint8 or uint16"):
        percentiles(image)


def test_a_picture_of_one_grey_gives_numbers() -> None:
    for kind in (np.uint8, np.uint16):
        image = np.full((20, 30), 200, kind)
        assert affine(percentiles(image)) == (1.0, -200.0)
        assert affine(percentiles(image), least=0.0) == (1.0, -200.0)
    assert affine(Percentiles(10, 10.5), least=0.0) == (2.0, -20.0)


def flat(low: int, high: int) -> Image:
    """A picture whose percentiles are these."""
    return np.repeat(np.array([low, high], np.uint8), 50).reshape(10, 10)


def test_each_frame_by_itself() -> None:
    normalise = Normaliser()
    for low, high in ((0, 100), (50, 250)):
        scale, shift = normalise(flat(low, high))
        assert scale == pytest.approx(1 / (high - low))
        assert low * scale + shift == pytest.approx(0)


def test_frozen_after_the_first_frames() -> None:
    normalise = Normaliser("frozen", frames=2)
    assert normalise(flat(0, 100)) == pytest.approx((0.01, 0.0))
    settled = normalise(flat(20, 140))  # means: 10 and 120
    assert settled == pytest.approx((1 / 110, -10 / 110))
    assert normalise(flat(200, 255)) == settled
    assert normalise(flat(0, 1)) == settled


def test_adapting_forgets_with_its_time_constant() -> None:
    normalise = Normaliser("adapting", frames=20)
    for _ in range(200):
        normalise(flat(0, 100))
    for _ in range(20):
        scale, shift = normalise(flat(100, 200))
    # the span is the same; 1/e of the way from 100 back to 0 is left
    assert scale == pytest.approx(0.01)
    assert -shift / scale == pytest.approx(100 * (1 - np.exp(-1)), rel=1e-6)


def test_adapting_begins_with_means() -> None:
    normalise = Normaliser("adapting", frames=1000)
    normalise(flat(0, 100))
    scale, shift = normalise(flat(100, 200))
    assert (scale, shift) == pytest.approx((0.01, -0.5))


@pytest.mark.parametrize(("mode", "frames"), [("sometimes", 10), ("frozen", 0), ("adapting", 0.5)])
def test_wrong_choices_are_refused(mode: str, frames: float) -> None:
    with pytest.raises(ValueError, match=r"normalise|frames"):
        Normaliser(mode, frames)
