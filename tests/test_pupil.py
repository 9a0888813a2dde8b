"""The pupil on drawn eyes with known truth, on the synthetic mouse and on a real film."""

import math
from typing import Any

import numpy as np
import pytest

from rtface.camera.media import read_frames
from rtface.camera.synthetic import SyntheticCamera
from rtface.pupil.box import EyeBox
from rtface.pupil.edge import RAYS, _outline, find_edge
from rtface.pupil.estimator import PupilEstimator
from rtface.pupil.fit import RobustGaussian
from rtface.pupil.record import FIELDS, Pupil, PupilFlag
from rtface.pupil.smooth import CausalMedian
from rtface.types import BBox, Pose, UInt8Image, UserError

SHAPE = 140, 180
BOX = BBox(30, 20, 120, 100)
EYE_NAMES = ("eye(front)", "eye(back)", "eye(top)", "eye(bottom)")
PUPIL_NAMES = ("pupil(front)", "pupil(back)", "pupil(top)", "pupil(bottom)")


def eye(
    x: float = 92.3,
    y: float = 71.6,
    radius: float = 17.0,
    pupil: float = 30.0,
    opened: float = 1.0,
    light: float = 1.0,
    glints: tuple[tuple[float, float], ...] = (),
    seed: int = 0,
) -> UInt8Image:
    """An eye in fur: 110 wide, 84 high about (90, 70), iris 60, fur 130, lids 115."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    ball = 1 - np.hypot((columns - 90) / 55, (rows - 70) / (42 * max(opened, 1e-3)))
    socket = 1 - np.hypot((columns - 90) / 55, (rows - 70) / 42)
    image = np.where(socket > 0, 115.0, 130.0)
    image += np.clip(ball * 40, 0, 1) * (60 - image)
    inside = np.clip(radius - np.hypot(columns - x, rows - y) + 0.5, 0, 1) * (ball > 0)
    image += inside * (pupil - image)
    for gx, gy in glints:
        image += (240 - image) * np.exp(-((columns - gx) ** 2 + (rows - gy) ** 2) / 8) * (ball > 0)
    noise = np.random.default_rng(seed).normal(0, 3, SHAPE)
    return np.clip(image * light + noise, 0, 255).astype(np.uint8)


def pose(names: tuple[str, ...], **moved: Any) -> Pose:
    """The drawn eye's own keypoints; ``moved`` gives x, y (, score) of some."""
    places = {
        "eye(front)": (35, 70),
        "eye(back)": (145, 70),
        "eye(top)": (90, 28),
        "eye(bottom)": (90, 112),
        "pupil(front)": (75.3, 71.6),
        "pupil(back)": (109.3, 71.6),
        "pupil(top)": (92.3, 54.6),
        "pupil(bottom)": (92.3, 88.6),
    } | {f"{'eye' if key[0] == 'e' else 'pupil'}({key[2:]})": at for key, at in moved.items()}
    return Pose(np.array([(*places[name][:2], 0.9) for name in names], np.float32))


def flags(found: Pupil) -> PupilFlag:
    return PupilFlag(found.flags)


def test_even_disc() -> None:
    """At sigma 2 Facemap's ellipse is the disc; at 2.5 it is 1.56 times as large."""
    rows, columns = np.mgrid[:61, :75]
    at = np.flatnonzero(np.hypot(columns - 40.2, rows - 28.7) < 15)
    for sigma, factor in ((2.0, 1.0), (2.5, 1.5625)):
        found = RobustGaussian(61, 75, sigma)(at, np.ones(len(at)))
        assert found.area == pytest.approx(factor * len(at), rel=0.02)
        assert (found.column, found.row) == pytest.approx((40.2, 28.7), abs=0.1)
    ellipse = np.flatnonzero(np.hypot((columns - 40) / 3, rows - 28) < 8)
    found = RobustGaussian(61, 75, 2.0)(ellipse, np.ones(len(ellipse)))
    assert found.long / found.short == pytest.approx(2)  # 3, but Facemap allows no more
    assert found.angle == pytest.approx(0, abs=0.01)
    assert math.isnan(RobustGaussian(61, 75, 2.0)(at[:0], np.ones(0)).area)


@pytest.mark.parametrize("radius", [8.0, 17.0, 30.0])
def test_both_estimates_of_a_plain_eye(radius: float) -> None:
    found = PupilEstimator(BOX, SHAPE)(eye(radius=radius))
    true = math.pi * radius**2
    assert found.area_px2 == pytest.approx(true, rel=0.08)
    assert found.edge_area_px2 == pytest.approx(true, rel=0.03)
    for x, y in ((found.x_px, found.y_px), (found.edge_x_px, found.edge_y_px)):
        assert (x, y) == pytest.approx((92.3, 71.6), abs=0.3)
    assert found.score > 0.8
    assert flags(found) == 0
    assert len(FIELDS) == len(found) - 1 == 20


def test_a_given_saturation_is_used_as_it_is() -> None:
    found = PupilEstimator(BOX, SHAPE, saturation=47.0)(eye())
    assert found.saturation == 47.0
    image = eye()[20:120, 30:150].astype(float)
    rows, columns = np.mgrid[:100, :120]
    ellipse = ((columns - 59.5) / 60) ** 2 + ((rows - 49.5) / 50) ** 2 <= 1
    assert found.blink == pytest.approx(np.maximum(0, 47 - image)[ellipse].sum(), rel=1e-6)
    assert 30 < PupilEstimator(BOX, SHAPE)(eye()).saturation < 60


def test_sixteen_bit() -> None:
    found = PupilEstimator(BOX, SHAPE, dtype=np.uint16)(eye().astype(np.uint16) * 200)
    assert found.edge_area_px2 == pytest.approx(math.pi * 17**2, rel=0.03)


def test_reflections() -> None:
    """A glint in the pupil: bright spots and given regions fill the hole it leaves."""
    glints = ((99.0, 77.0),)
    image = eye(glints=glints)
    true = math.pi * 17**2
    none = PupilEstimator(BOX, SHAPE, reflections=())(image)
    found = PupilEstimator(BOX, SHAPE)(image)
    told = PupilEstimator(BOX, SHAPE, reflections=[BBox(92, 70, 15, 15)])(image)

    def off(x: float, y: float) -> float:
        return math.hypot(x - 92.3, y - 71.6)

    assert off(none.x_px, none.y_px) > 0.8
    for one in (found, told):
        assert off(one.x_px, one.y_px) < 0.5
        assert one.area_px2 == pytest.approx(true, rel=0.06)
    for one in (none, found, told):  # the outline does not mind
        assert one.edge_area_px2 == pytest.approx(true, rel=0.03)
        assert off(one.edge_x_px, one.edge_y_px) < 0.3


def test_lids_that_cover_a_third() -> None:
    """The outline goes on behind the lid; all dark pixels are those that are seen."""
    estimator = PupilEstimator(BOX, SHAPE)
    estimator(eye(y=50, radius=20))
    image = eye(y=50, radius=20)
    image[:42] = 125
    found = estimator(image)
    assert found.edge_area_px2 == pytest.approx(math.pi * 400, rel=0.06)
    assert found.area_px2 < 0.9 * math.pi * 400


def test_blinks_are_found_and_flashes_are_none() -> None:
    estimator = PupilEstimator(BOX, SHAPE)
    opened = [1, 1, 1, 0.2, 0.02, 0.1, 0.5, 1, 1, 1, 1, 1]
    light = [1, 1, 1, 1, 1, 1, 1, 1, 1.6, 0.6, 1.6, 1]
    found = [
        estimator(eye(opened=o, light=g, seed=i))
        for i, (o, g) in enumerate(zip(opened, light, strict=True))
    ]
    shut = [bool(one.flags & PupilFlag.SHUT) for one in found]
    assert shut[3:6] == [True] * 3
    assert not any(shut[:3] + shut[7:])
    assert all(math.isnan(one.edge_area_px2) and one.score == 0 for one in found[3:6])
    assert found[4].openness < 0.3
    for one in found[8:]:
        assert one.openness > 0.9
        assert one.edge_area_px2 == pytest.approx(math.pi * 17**2, rel=0.04)
    assert found[4].blink < 0.2 * found[0].blink  # Facemap's darkness


def test_bright_pupil_and_the_change() -> None:
    estimator = PupilEstimator(BOX, SHAPE, polarity="auto")
    levels = [30, 30, 190, 190, 30, 30]
    found = [estimator(eye(pupil=p, glints=((80, 60),), seed=i)) for i, p in enumerate(levels)]
    assert [bool(one.flags & PupilFlag.BRIGHT) for one in found] == [p > 60 for p in levels]
    changed = [bool(one.flags & PupilFlag.POLARITY_CHANGED) for one in found]
    assert changed == [False, False, True, False, True, False]
    for one in found:
        assert one.edge_area_px2 == pytest.approx(math.pi * 17**2, rel=0.04)
        assert one.area_px2 == pytest.approx(math.pi * 17**2, rel=0.1)
        assert not one.flags & PupilFlag.SHUT
    only = PupilEstimator(BOX, SHAPE, polarity="bright")(eye(pupil=190))
    assert only.edge_area_px2 == pytest.approx(math.pi * 17**2, rel=0.04)
    assert flags(only) == PupilFlag.BRIGHT


def test_the_network_s_points() -> None:
    names = (*EYE_NAMES, *PUPIL_NAMES)
    estimator = PupilEstimator(BOX, SHAPE, names)
    found = estimator(eye(), pose(names))
    assert found.points_area_px2 == pytest.approx(math.pi * 17**2, rel=1e-5)
    assert (found.points_x_px, found.points_y_px) == pytest.approx((92.3, 71.6), abs=1e-4)
    assert found.points_score == pytest.approx(0.9)
    assert flags(found) == 0
    away = pose(names, p_front=(40, 71.6), p_back=(74, 71.6))
    assert flags(estimator(eye(), away)) == PupilFlag.DISAGREES
    large = pose(names, p_front=(60, 71.6), p_back=(124, 71.6), p_top=(92, 40), p_bottom=(92, 103))
    assert flags(estimator(eye(), large)) == PupilFlag.DISAGREES
    away.keypoints[4, 2] = 0.1  # a point that is not sure of itself says nothing
    assert flags(estimator(eye(), away)) == 0
    assert estimator(eye()).points_score == 0  # no pose, no points


def test_box_by_keypoints() -> None:
    estimator = PupilEstimator(None, SHAPE, EYE_NAMES)
    blind = estimator(eye())
    assert flags(blind) == PupilFlag.NO_BOX | PupilFlag.NO_PUPIL
    assert math.isnan(blind.area_px2)
    found = estimator(eye(), pose(EYE_NAMES))
    assert found.edge_area_px2 == pytest.approx(math.pi * 17**2, rel=0.03)
    assert (found.x_px, found.y_px) == pytest.approx((92.3, 71.6), abs=0.3)


def test_box_moves_seldom_and_not_with_blinks() -> None:
    random = np.random.default_rng(0)
    box = EyeBox(SHAPE, EYE_NAMES)
    regions = set()

    def see(dx: float, n: int, **moved: Any) -> None:
        for _ in range(n):
            one = pose(EYE_NAMES, **moved)
            one.keypoints[:, :2] += random.normal((dx, 0), 1, (4, 2))
            region = box.update(one)
            assert region is not None
            regions.add(region.box)

    see(0, 60)
    first = set(regions)
    assert len(first) <= 2
    see(0, 40, e_top=(90, 66), e_bottom=(90, 74))  # a long blink
    assert regions == first
    see(12, 60)  # a knock
    assert box.region is not None
    assert 8 <= box.region.box.x - max(one.x for one in first) <= 16
    assert len(regions) <= len(first) + 4
    nobody = pose(EYE_NAMES)
    nobody.keypoints[:, 2] = 0.1
    assert box.update(nobody) is box.region


def test_smoothing_is_causal_and_three_frames_late() -> None:
    smooth = CausalMedian(7, 2)
    step = [smooth(0.0 if t < 20 else 1.0, math.nan) for t in range(40)]
    assert [value for value, _ in step].index(1.0) == 23
    assert math.isnan(step[-1][1])
    assert smooth(99.0, 5.0) == [1.0, 5.0]  # an outlier, and a value after none
    # blinks leave the smoothed area where it was
    estimator = PupilEstimator(BOX, SHAPE)
    found = [estimator(eye(opened=0.02 if 4 <= i < 8 else 1, seed=i)) for i in range(10)]
    smoothed = [one.area_smooth_px2 for one in found]
    assert max(smoothed) / min(smoothed) < 1.05
    assert math.isnan(found[5].edge_area_px2)


@pytest.mark.parametrize("image", [0, 255, 90])
def test_nothing_to_see_is_no_error(image: int) -> None:
    estimator = PupilEstimator(BOX, SHAPE, polarity="auto")
    random = np.random.default_rng(1)
    for i in range(12):
        picture = np.full(SHAPE, image, np.uint8)
        if i % 2:
            picture[:] = random.integers(0, 256, SHAPE)
        found = estimator(picture)
        assert found.score < 0.5
    assert flags(found) & PupilFlag.NO_PUPIL or found.score < 0.5


def test_edge_needs_a_contrast() -> None:
    image = np.full((60, 60), 80, np.float32)
    nothing = find_edge(image, np.zeros((60, 60), bool), 30, 30, 10, 1, 3.0)
    assert nothing.score == 0
    assert math.isnan(nothing.area)


def test_bad_input() -> None:
    for settings, message in (
        ({"box": BBox(100, 20, 120, 100)}, r"pupil: box 100,20,120,100: not inside .* 180x140"),
        ({"box": BBox(10, 20, 4, 100)}, "at least 8x8"),
        ({"saturation": 0.0}, "saturation: above 0, at most 255, not 0"),
        ({"saturation": 300.0}, "saturation: above 0, at most 255, not 300"),
        ({"sigma": 0.0}, "sigma: above 0"),
        ({"sigma": -2.0}, "sigma: above 0"),
        ({"ellipse": np.zeros((100, 120), bool)}, "ellipse holds no pixel"),
        ({"ellipse": np.ones((100, 100), bool)}, r"ellipse is \(100, 100\), not \(100, 120\)"),
        ({"polarity": "light"}, "polarity:"),
        ({"adapt_frames": 0}, "adapt_frames: at least 1"),
        ({"reflections": [BBox(170, 20, 20, 20)]}, "reflections: 170,20,20,20 is not inside"),
        ({"box": None, "names": ("eye(front)",)}, r"has no eye\(back\), eye\(top\)"),
        ({"box": None, "names": EYE_NAMES, "reflections": [BOX]}, "need a box"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            PupilEstimator(**{"box": BOX, "frame_shape": SHAPE, **settings})
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="needs uint8"):
        PupilEstimator(BOX, SHAPE)(np.zeros((10, 10), np.uint8))


def mouse(seed: int, step: int, polarity: str) -> tuple[np.ndarray, np.ndarray, SyntheticCamera]:
    """What is found in every ``step``-th frame of 64 s at 100 Hz, with keypoints 1 px off."""
    camera = SyntheticCamera(640, 480, 100, seed)
    known = camera.known
    estimator = PupilEstimator(None, (480, 640), known.names, polarity=polarity)  # type: ignore[arg-type]
    random = np.random.default_rng(seed)
    image = np.empty((480, 640), np.uint8)
    found, truth = [], []
    for i in range(0, 6400, step):
        camera._draw(i, image)
        true = known.at(i)
        xy = true.keypoints + random.normal(0, 1, true.keypoints.shape)
        keypoints = np.column_stack([xy, np.full(len(xy), 0.9)]).astype(np.float32)
        found.append(estimator(image, Pose(keypoints)))
        truth.append((true.pupil_area_px2, *true.pupil_px, true.state.lids, true.state.scan))
    return np.array(found), np.array(truth), camera


@pytest.mark.parametrize("seed", [0, 1])
def test_synthetic_mouse(seed: int) -> None:
    """Flashes, scanning light, glints, knocks and blinks: area, centre, polarity, blinks."""
    step = 16
    found, truth, camera = mouse(seed, step, "auto")
    column = {name: i for i, name in enumerate(Pupil._fields)}
    bits = found[:, -1].astype(int)
    shut = (bits & PupilFlag.SHUT) > 0
    good = ~shut & (found[:, column["score"]] >= 0.3)
    assert good.mean() > 0.95
    edge = found[good][:, column["edge_area_px2"] :][:, :3]
    assert np.corrcoef(edge[:, 0], truth[good, 0])[0, 1] >= 0.99
    assert np.median(edge[:, 0] / truth[good, 0]) == pytest.approx(1, abs=0.03)
    assert np.median(np.hypot(*(edge[:, 1:] - truth[good, 1:3]).T)) < 0.2
    facemap = found[good][:, :3]
    assert np.corrcoef(facemap[:, 0], truth[good, 0])[0, 1] > 0.97
    bright = (bits & PupilFlag.BRIGHT) > 0
    assert (bright == (truth[:, 4] > 0.5))[~shut].mean() > 0.98
    t_s = np.arange(len(found)) * step / 100
    blinks = [e for e in camera.known.events(0, 6400) if e.kind == "blink"]
    assert len(blinks) == 6
    hits = [shut[(t_s >= e.start_s) & (t_s <= e.end_s)].any() for e in blinks]
    assert sum(hits) >= 5  # so few frames see a blink of 0.2 s once, maybe at its end
    assert not shut[truth[:, 3] > 0.7].any()


@pytest.mark.data
def test_real_film_has_no_blinks(data: Any) -> None:
    film = data / "mouse_pupil/pupil_640x480_352frames.mp4"
    estimator = PupilEstimator(BBox(190, 160, 230, 175), (480, 640))
    found = [estimator(image) for image in list(read_frames(film))[::2]]
    assert len(found) == 176
    assert not any(one.flags & (PupilFlag.SHUT | PupilFlag.BRIGHT) for one in found)
    scores = np.array([one.score for one in found])
    assert (scores > 0.3).mean() > 0.95
    areas = np.array([[one.area_px2, one.edge_area_px2] for one in found])[scores > 0.3]
    assert np.corrcoef(areas.T)[0, 1] > 0.9


def test_rays_that_agree_with_nothing_are_no_outline_and_no_error() -> None:
    radii = np.linspace(0.5, 40, RAYS)
    for clear in (np.ones(RAYS, bool), np.arange(RAYS) % 4 == 0):
        outline, agree = _outline(radii, clear, 1e-6)
        assert outline.shape == (RAYS,)
        assert agree < 12
    picture = np.random.default_rng(3).integers(0, 256, (40, 60)).astype(np.float32)
    hidden = np.zeros(picture.shape, bool)
    for radius in (2.0, 5.0, 11.0):
        for sign in (1, -1):
            find_edge(picture, hidden, 30.0, 20.0, radius, sign, 0.01)
