"""The procedural face knows where it is; the synthetic camera keeps time and admits its losses."""

import time

import numpy as np
import pytest

from rtface.camera.anatomy import KEYPOINTS, Anatomy
from rtface.camera.face import HEADROOM, Face
from rtface.camera.synthetic import SyntheticCamera, SyntheticTruth
from rtface.types import CameraCounts, Lost

SIZE = (160, 120)


class Clock:
    """A clock that only sleep moves."""

    def __init__(self):
        self.now = 5_000_000

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += round(seconds * 1e9)


def camera(rate_hz=100.0, seed=3):
    clock = Clock()
    made = SyntheticCamera(*SIZE, rate_hz, seed, clock=clock, sleep=clock.sleep)
    made.start()
    return made, clock, np.zeros(SIZE[::-1], np.uint8)


def test_names_follow_facemap_with_whisker_three_before_two():
    assert len(KEYPOINTS) == len(set(KEYPOINTS)) == 16
    assert KEYPOINTS.index("whisker(III)") + 1 == KEYPOINTS.index("whisker(II)")


@pytest.mark.parametrize("seed", range(8))
def test_the_face_points_where_it_says(seed):
    one = Face(seed, 240, 320)
    image, xy = one.render(0.4)
    assert image.shape == (240, 320)
    assert image.dtype == np.uint8
    assert xy.shape == (16, 2)
    assert xy.dtype == np.float32
    assert np.array_equal(xy, Anatomy(seed, 240, 320).points(0.4))
    assert HEADROOM <= image.min() <= image.max() <= 255 - HEADROOM
    at = dict(zip(KEYPOINTS, xy, strict=True))
    ahead = -1 if one.facing == "left" else 1
    for part in ("eye", "pupil"):
        assert ahead * (at[f"{part}(front)"][0] - at[f"{part}(back)"][0]) > 0
        assert at[f"{part}(top)"][1] < at[f"{part}(bottom)"][1]
    assert ahead * (at["nose(tip)"][0] - at["eye(front)"][0]) > 0
    assert at["nose(top)"][1] < at["nose(bottom)"][1]


def test_facing_mirrors_the_face():
    left, right = (Face(4, 120, 160, facing=side).render(0.2) for side in ("left", "right"))
    assert np.array_equal(left[0], right[0][:, ::-1])
    np.testing.assert_allclose(left[1][:, 0], 159 - right[1][:, 0], atol=1e-4)


def test_the_loop_closes_and_seeds_differ():
    one = Anatomy(5, 240, 320)
    np.testing.assert_allclose(one.points(0.0), one.points(1.0), atol=1e-3)
    steps = np.stack([one.points(i / 96) for i in range(97)])
    assert np.abs(np.diff(steps, axis=0)).max() < 12  # no seam anywhere, blinks included
    assert np.ptp(steps, axis=0).max() > 3
    assert np.abs(one.points(0.3) - Anatomy(6, 240, 320).points(0.3)).max() > 5


@pytest.mark.parametrize("name", ["nose(tip)", "nose(bottom)", "mouth", "lowerlip"])
def test_pixels_of_the_muzzle_move_with_their_keypoint(name):
    one = Face(2, 480, 640, facing="left")
    k = KEYPOINTS.index(name) - KEYPOINTS.index("lowerlip")
    rest = one._to_px(one._still[k])
    y, x = np.mgrid[0:480, 0:640]
    # replace the painted face by one soft dot at the keypoint's resting place
    one.__dict__["_base"] = np.exp(-((x - rest[0]) ** 2 + (y - rest[1]) ** 2) / 8).astype(
        np.float32
    )
    moved = 0.0
    for phase in (0.05, 0.3, 0.62):
        image = one._base.copy()
        one._paint_muzzle(image, one.motion(phase))
        centre = np.array([(image * x).sum(), (image * y).sum()]) / image.sum()
        truth = one.points(phase)[KEYPOINTS.index(name)]
        assert np.abs(centre - truth).max() < 0.15
        moved = max(moved, float(np.abs(truth - rest).max()))
    assert moved > 1


def test_the_drawn_pupil_is_where_the_truth_says():
    one = Face(7, 480, 640, facing="left")
    one._glints = np.zeros((0, 2))
    one._levels |= {"fur": 200.0, "eye": 0.9, "pupil": 0.1}
    one.__dict__["_base"] = np.full((480, 640), 200, np.float32)
    phase = next(p for p in np.linspace(0, 1, 50) if one.motion(p).open > 0.9)
    image = one._base.copy()
    one._paint_eye(image, one.motion(phase))
    rows, columns = np.nonzero(image < 100)
    front, back = (one.points(phase)[KEYPOINTS.index(f"pupil({n})")] for n in ("front", "back"))
    middle = (front + back) / 2
    assert np.abs([columns.mean(), rows.mean()] - middle).max() < 1
    area = np.pi / 4 * np.linalg.norm(front - back) ** 2
    assert abs(len(rows) / area - 1) < 0.1


def test_frames_depend_on_their_id_alone():
    first, _, out = camera()
    again, clock, other = camera()
    truth = SyntheticTruth(*SIZE, 100.0, 3)
    seen = {}
    for _ in range(5):
        stamp = first.fill(out, 1.0)
        seen[stamp.frame_id] = out.copy()
    clock.now += 35_000_000  # frames 0 and 1 are lost to this one
    stamp = again.fill(other, 1.0)
    assert stamp.frame_id == 2
    assert np.array_equal(other, seen[stamp.frame_id])
    assert np.array_equal(again.truth(stamp.frame_id), truth.at(stamp.frame_id))
    assert not np.array_equal(seen[3], seen[4])


def test_noise_neither_wraps_nor_biases():
    made, _, out = camera()
    made.fill(out, 1.0)
    clean = Face(3, SIZE[1], SIZE[0], loop_s=made.known.loop_s).render(0.0)[0]
    noise = out.astype(int) - clean
    assert np.abs(noise).max() <= HEADROOM
    assert abs(noise.mean()) < 0.1
    assert 2.5 < noise.std() < 3.5


@pytest.mark.parametrize("rate_hz", [30.0, 100.0, 500.0])
def test_the_face_moves_at_its_own_speed_at_any_rate(rate_hz):
    slow = SyntheticTruth(*SIZE, rate_hz, 3)
    per_second = slow.loop_index(round(rate_hz))
    assert per_second == 32
    assert slow.loop_index(round(rate_hz * slow.loop_s)) == 0
    assert np.array_equal(slow.at(0), slow.at(round(rate_hz * slow.loop_s)))


def test_deadlines_are_absolute():
    made, clock, out = camera()
    start = clock.now
    assert made.fill(out, 0.002) is None
    for i in range(6):
        clock.now += 3_000_000  # the work of the caller
        stamp = made.fill(out, 1.0)
        assert (stamp.segment, stamp.frame_id) == (0, i)
        assert stamp.t_camera_ns == (i + 1) * 10_000_000
        assert stamp.t_host_ns == start + stamp.t_camera_ns
    assert made.counts() == CameraCounts(6, Lost())


def test_frames_that_come_too_late_are_lost_and_counted():
    made, clock, out = camera()
    for delivered, pause_ms in enumerate((0, 5, 14, 35, 2, 120, 0, 19.99, 0.5), start=1):
        clock.now += round(pause_ms * 1e6)
        stamp = made.fill(out, 1.0)
        age = clock.now - 5_000_000 - stamp.t_camera_ns
        assert 0 <= age <= 10_000_000
        counts = made.counts()
        assert counts.produced == delivered + sum(counts.lost) == stamp.frame_id + 1
        assert sum(counts.lost) == counts.lost.late
    assert made.counts().lost.late > 10
    made.close()
    made.close()


def test_a_real_clock_is_kept():
    made = SyntheticCamera(*SIZE, 200.0, 1)
    out = np.empty(SIZE[::-1], np.uint8)
    made.start()
    start = time.perf_counter_ns()
    stamps = [made.fill(out, 1.0) for _ in range(20)]
    late = [s.t_host_ns - start - s.t_camera_ns for s in stamps]
    assert min(late) > -1_000_000
    assert made.counts().produced == 20 + made.counts().lost.late


def test_the_loop_fits_in_memory_at_any_size():
    for width, height in ((64, 48), (640, 480), (1280, 1024), (1936, 1216)):
        n = SyntheticTruth(width, height, 100.0, 0).n_loop
        assert 16 <= n <= 128
        assert n * width * height < 120e6
