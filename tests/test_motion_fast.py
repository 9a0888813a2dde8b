"""Motion components from 8-bit masks: against float32 ones, and what happens where they fail."""

import tracemalloc

import numpy as np
import onnx
import pytest

from rtface.motion import int8
from rtface.motion.binning import Area
from rtface.motion.int8 import BLOCK, Int8Product, fast_product
from rtface.motion.masks import AreaMasks, Basis, Masks
from rtface.motion.project import Projector
from rtface.motion.rounding import round_masks

H, W, BIN, C = 240, 320, 2, 120
ROWS, COLUMNS = H // BIN, W // BIN


class Scene:
    """Frames in which smooth spots come and go, some a thousand times as strong, and noise."""

    def __init__(self, seed: int, dtype: type = np.uint8) -> None:
        self.random = np.random.default_rng(seed)
        self.top = np.iinfo(dtype).max
        self.dtype = dtype
        places = np.random.default_rng(0)
        y, x = np.mgrid[:H, :W]
        self.spots = [
            np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2))
            for cy, cx, size in zip(
                places.uniform(0, H, 30),
                places.uniform(0, W, 30),
                places.uniform(2, 40, 30),
                strict=True,
            )
        ]

    def frames(self, n: int) -> np.ndarray:
        strength = self.random.standard_normal((n, 30)) * np.geomspace(50, 1, 30)
        images = 100 + np.tensordot(strength, self.spots, 1)
        images += self.random.normal(0, 4, images.shape)
        return np.clip(images * self.top / 255, 0, self.top).astype(self.dtype)


def binned(images: np.ndarray) -> np.ndarray:
    cut = images.reshape(len(images), ROWS, BIN, COLUMNS, BIN)
    return cut.mean((2, 4)).astype(np.float32)


def basis(vectors: np.ndarray, n: int = C) -> Basis:
    x = vectors - vectors.mean(1, keepdims=True)
    u, s, _ = np.linalg.svd(x.T, full_matrices=False)
    unknown = np.full(n, np.nan, np.float32)
    return Basis(u[:, :n].astype(np.float32), s[:n].astype(np.float32), unknown)


@pytest.fixture(scope="module")
def masks() -> Masks:
    """Masks of the whole frame and of a ROI that is too small for 8 bits to matter."""
    images = binned(Scene(1).frames(200))
    moved = np.abs(np.diff(images, axis=0))
    average_frame, average_motion = images.mean(0), moved.mean(0)
    full, roi = Area(0, ROWS, 0, COLUMNS), Area(10, 40, 20, 61)
    d, b = moved - average_motion, images - average_frame
    areas = (
        AreaMasks("full", full, basis(d.reshape(len(d), -1)), basis(b.reshape(len(b), -1))),
        AreaMasks("roi1", roi, basis(d[:, 10:40, 20:61].reshape(len(d), -1), 20), None),
    )
    return Masks(H, W, BIN, average_frame, average_motion, areas, "")


@pytest.fixture(autouse=True)
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other things must not decide what is tested."""
    monkeypatch.setattr(int8, "_ns", _untimed(int8._ns))


def _untimed(measure):
    def untimed(product, vectors, out):
        times = list(measure(product, vectors, out))
        return [0 if isinstance(product, Int8Product) else 1 for _ in times]

    return untimed


@pytest.mark.slow
def test_components_are_within_a_hundredth_of_their_deviation(masks: Masks) -> None:
    """On frames that the masks were not made of, of the first and the last component alike."""
    exact, fast = Projector(masks), Projector(masks, fast=True)
    assert exact.note == fast.note == ""
    found: list[list[np.ndarray]] = [[], []]
    for i, image in enumerate(Scene(2).frames(150)):
        for projector, kept in zip((exact, fast), found, strict=True):
            result = projector(image, i > 0)
            parts = (*result.motion, *result.movie, result.energy)
            kept.append(np.concatenate(parts, dtype=np.float64))
    one, two = (np.stack(kept[1:]) for kept in found)
    error = np.sqrt(np.square(two - one).mean(0)) / one.std(0)
    assert error[:C].max() < 0.01
    assert error[:C].min() > 1e-6  # it is another computation
    # the small ROI, movie components and energy are the float32 ones
    np.testing.assert_array_equal(one[:, C:], two[:, C:])
    assert np.isnan(found[1][0][:C]).all()  # the first frame has none before it


def test_sixteen_bit_frames_are_as_exact(masks: Masks) -> None:
    by = np.float32(65535 / 255)
    basis_of = masks.areas[0].motion
    area = AreaMasks("full", masks.areas[0].area, basis_of, None)
    wide = Masks(H, W, BIN, masks.average_frame * by, masks.average_motion * by, (area,), "")
    projectors = [Projector(wide, 50, np.uint16, fast) for fast in (False, True)]
    rows = [
        [p(image, i > 0).motion[0].astype(float) for p in projectors]
        for i, image in enumerate(Scene(3, np.uint16).frames(60))
    ]
    both = np.array(rows[1:])
    error = np.sqrt(np.square(both[:, 1] - both[:, 0]).mean(0)) / both[:, 0].std(0)
    assert error.shape == (50,)
    assert error.max() < 0.01


def test_the_vector_is_not_rounded() -> None:
    """Masks that 8 bits hold exactly: what is left is what the vector's 16 bits leave."""
    random = np.random.default_rng(4)
    pixels = 5 * (BLOCK - 1) + 7  # a last run that is not full
    whole = random.integers(-127, 128, (pixels, 9)).astype(np.float32)
    whole[:: BLOCK - 1] = 127  # so that the factor of every run is 1
    vector = random.standard_normal(pixels).astype(np.float32)
    spike = vector.copy()
    spike[3] = 900  # one bin that is far above all others
    found = np.empty(9, np.float32)
    product = Int8Product(whole, np.ones(9, np.float32))
    for scaled in (vector, -1e-6 * vector, spike, 1e5 * spike):
        product(scaled, found)
        most = np.abs(scaled).max() * np.linalg.norm(whole, axis=0).max()
        np.testing.assert_allclose(found, scaled @ whole, atol=2e-5 * most)
    product(np.zeros(pixels, np.float32), found)
    np.testing.assert_array_equal(found, 0)


def test_masks_of_any_length_and_with_unknown_deviations(masks: Masks) -> None:
    """Facemap's masks are as long as its singular values, which its file may not have."""
    motion = masks.areas[0].motion
    assert motion is not None
    long = motion.masks * motion.singular
    vector = (binned(Scene(5).frames(2))[1] - masks.average_frame).reshape(-1)
    out = np.empty(C, np.float32)
    Int8Product(long, np.full(C, np.nan, np.float32))(vector, out)
    noise = np.linalg.norm(vector) * motion.singular
    assert (np.abs(out - vector @ long) < 0.01 * noise).all()


def test_rounding_lets_components_alone_rather_than_masks() -> None:
    """Where bins move together, carrying errors on beats the nearest number."""
    random = np.random.default_rng(6)
    smooth = np.cumsum(random.standard_normal((62, 40)), 0)
    u, s, _ = np.linalg.svd(smooth - smooth.mean(0), full_matrices=False)
    masks, sd = u[:, :20].astype(np.float32), s[:20].astype(np.float32)
    vectors = (random.standard_normal((500, 20)) * sd) @ masks.T
    numbers, factors = round_masks(masks, sd, 31)
    assert numbers.shape == (2, 31, 20)
    assert np.abs(numbers.astype(int)).max() <= 127
    carried = (numbers * factors[:, None]).reshape(62, 20)
    nearest = np.rint(masks.reshape(2, 31, 20) / factors[:, None]) * factors[:, None]
    errors = [
        np.square(vectors @ (rounded - masks)).mean()
        for rounded in (carried, nearest.reshape(62, 20))
    ]
    assert errors[0] < errors[1] / 10
    assert np.abs(carried - masks).max() < 8 * factors.max()


def test_a_processor_that_computes_otherwise_is_found_out(
    masks: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Int8Product.__call__

    def saturating(self: Int8Product, vector: np.ndarray, out: np.ndarray) -> None:
        right(self, vector, out)
        np.clip(out, -0.5, 0.5, out=out)

    monkeypatch.setattr(Int8Product, "__call__", saturating)
    check_exact(masks, "8-bit products are off by")


def test_a_runtime_without_the_operator_is_named(
    masks: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = int8._model
    monkeypatch.setattr(
        int8, "_model", lambda *parts: model(*parts).replace(b"MatMulNBits", b"MatMulNBots")
    )
    check_exact(masks, "ONNX Runtime")


def test_where_it_is_no_faster_the_exact_way_is_kept(
    masks: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = int8._ns
    monkeypatch.setattr(int8, "_ns", lambda *of: [2 - t for t in measured(*of)])
    check_exact(masks, "no faster here")


def check_exact(masks: Masks, why: str) -> None:
    """The fast way cannot be had: one line says so, and the components are the exact ones."""
    projectors = [Projector(masks, fast=fast) for fast in (False, True)]
    assert projectors[0].note == ""
    assert projectors[1].note.startswith("fast motion components: ")
    assert why in projectors[1].note
    assert projectors[1].note.endswith("; exact ones are computed")
    assert "\n" not in projectors[1].note
    for i, image in enumerate(Scene(7).frames(3)):
        one, two = (projector(image, i > 0) for projector in projectors)
        np.testing.assert_array_equal(one.motion[0], two.motion[0])


def test_the_model_written_by_hand_is_what_onnx_reads() -> None:
    numbers = np.arange(2 * 3 * BLOCK, dtype=np.uint8).reshape(2, 3, BLOCK)
    factors = np.arange(6, dtype=np.float32).reshape(2, 3)
    model = onnx.load_from_string(int8._model(numbers, factors))
    onnx.checker.check_model(model)
    (node,) = model.graph.node
    assert (node.domain, node.op_type) == ("com.microsoft", "MatMulNBits")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert attributes == {
        "K": 3 * BLOCK,
        "N": 2,
        "bits": 8,
        "block_size": BLOCK,
        "accuracy_level": 4,
    }
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(stored["masks"], numbers)
    np.testing.assert_array_equal(stored["factors"], factors.reshape(-1))
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["x", "y"]


def test_nothing_is_kept_per_frame(masks: Masks) -> None:
    projector = Projector(masks, fast=True)
    images = Scene(8).frames(4)
    for image in images:
        projector(image, True)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        for image in images:
            projector(image, True)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept - before < 20_000  # an array of results per frame would be 40 kB
    assert peak - before < 150_000  # numpy casts through buffers


def test_the_speed_of_noise_decides() -> None:
    random = np.random.default_rng(9)
    wide = random.standard_normal((3000, 300)).astype(np.float32)
    product, why = fast_product(wide, np.ones(300, np.float32))
    assert product is not None
    assert why == ""
