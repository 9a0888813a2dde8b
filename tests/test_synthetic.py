"""The synthetic mouse knows exactly what it shows; its camera keeps time and admits its losses."""

import time

import numpy as np
import pytest

from rtface.camera.anatomy import KEYPOINTS
from rtface.camera.face import HEADROOM
from rtface.camera.film import Film
from rtface.camera.script import PERIOD_S, Script, State
from rtface.camera.synthetic import SyntheticCamera
from rtface.camera.truth import SyntheticTruth, visible
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


@pytest.fixture(scope="module")
def film():
    return Film(7, 640, 480, facing="left")


def draw(film, **state):
    """Draw a state given by what differs from rest; return picture, keypoints and the state."""
    snapped = film.face.snap(State(**state))
    image = np.empty((film.face.height, film.face.width), np.uint8)
    film.draw(snapped, image)
    return image, dict(zip(KEYPOINTS, film.face.points(snapped), strict=True)), snapped


def test_names_are_facemaps_in_its_order_then_the_pupil():
    assert KEYPOINTS[:15] == (
        *("eye(back)", "eye(bottom)", "eye(front)", "eye(top)", "lowerlip", "mouth"),
        *("nose(bottom)", "nose(r)", "nose(tip)", "nose(top)", "nosebridge", "paw"),
        *("whisker(I)", "whisker(III)", "whisker(II)"),
    )
    assert len(set(KEYPOINTS)) == 19


@pytest.mark.parametrize("seed", range(6))
def test_the_face_points_where_it_says(seed):
    film = Film(seed, 320, 240)
    image, at, _ = draw(film)
    assert HEADROOM <= image.min() <= image.max() <= 255 - HEADROOM
    assert np.std(image) > 10
    ahead = -1 if film.face.facing == "left" else 1
    for part in ("eye", "pupil"):
        assert ahead * (at[f"{part}(front)"][0] - at[f"{part}(back)"][0]) > 0
        assert at[f"{part}(top)"][1] < at[f"{part}(bottom)"][1]
    assert ahead * (at["nose(tip)"][0] - at["eye(front)"][0]) > 0
    assert at["nose(top)"][1] < at["nose(bottom)"][1]


def test_facing_mirrors_the_face():
    state = {"whisk": 0.6, "nose_y": 0.03, "gaze_x": 0.2, "shift_x": 0.01, "paw_v": 0.5}
    left, right = (draw(Film(4, 160, 120, facing=side), **state) for side in ("left", "right"))
    assert np.array_equal(left[0], right[0][:, ::-1])
    for name, xy in left[1].items():
        np.testing.assert_allclose(xy, [159 - right[1][name][0], right[1][name][1]], atol=1e-4)


# --- the script: what happens, and when


def test_the_minute_closes_and_is_the_seeds_own():
    one = Script(5)
    np.testing.assert_allclose(one.at(0.25), one.at(PERIOD_S + 0.25), atol=1e-4)
    around = np.array([one.at(t) for t in (-0.004, -0.002, 0.0, 0.002)])
    assert np.abs(np.diff(around, axis=0)).max() < 0.02, "a seam"
    assert Script(5).at(31.7) == one.at(31.7)
    assert Script(6).at(31.7) != one.at(31.7)


def test_everything_happens_within_a_minute_and_when_it_says():
    script = Script(8)
    of = {e.kind: [x for x in script.events if x.kind == e.kind] for e in script.events}
    assert set(of) == {
        *("whisk", "whisking", "sniff", "blink", "saccade", "lick", "groom", "paw"),
        *("flash", "scan", "bump"),
    }
    assert all(0 < e.start_s < e.end_s < PERIOD_S for e in script.events)

    def at(e, part):
        return script.at(e.start_s + part * (e.end_s - e.start_s))

    # the first and last of a bout are small
    rises = [at(e, 1.0).whisk - at(e, 0.0).whisk for e in of["whisk"]]
    assert np.median(rises) > 0.3
    assert min(rises) > 0
    assert all(at(e, 0.3).lids < 0.02 < 0.5 < at(e, 1.0).lids for e in of["blink"])
    assert all(at(e, 0.5).mouth > 0.99 for e in of["lick"])
    assert all(at(e, 0.5).paw_v < 0.7 for e in of["groom"])
    assert all(at(e, 0.5).paw_v < 1.1 for e in of["paw"])
    assert all(at(e, 0.5).gain - script.at(e.start_s - 0.01).gain > 0.1 for e in of["flash"])
    assert [at(e, 0.5).scan for e in of["scan"]] == [1.0]
    away, back = (np.hypot(at(e, 1).shift_x, at(e, 1).shift_y) for e in of["bump"])
    assert away > 0.008
    assert back < 0.001


def test_nothing_happens_that_is_not_on_record():
    script = Script(9)
    times = np.arange(0, PERIOD_S, 0.004)
    states = [script.at(t) for t in times]

    def during(kind):
        spans = [(e.start_s, e.end_s) for e in script.events if e.kind == kind]
        return np.array([any(a <= t <= b for a, b in spans) for t in times])

    blinking, licking = during("blink"), during("lick")
    assert all(blinking[i] for i, s in enumerate(states) if s.lids < 0.35)
    assert all(licking[i] for i, s in enumerate(states) if s.mouth > 0.5)
    whisk = np.array([s.whisk for s in states])
    assert np.abs(np.diff(whisk))[~during("whisking")[1:]].max() < 0.01


def test_without_nuisances_the_mouse_does_the_same_and_the_rig_nothing():
    calm, busy = Script(8, nuisances=False), Script(8)
    rig = {"flash", "scan", "bump"}
    assert calm.events == [e for e in busy.events if e.kind not in rig]
    for t in np.linspace(0, 60, 50):
        a, b = calm.at(t), busy.at(t)
        assert (a.gain, a.scan, a.shift_x, a.shift_y) == (1, 0, 0, 0)
        assert (a.whisk, a.nose_y, a.mouth, a.gaze_x) == (b.whisk, b.nose_y, b.mouth, b.gaze_x)
    assert Film(8, 64, 48, nuisances=False).face.spout is None


def test_events_go_on_through_the_loops():
    script = Script(3)
    late = script.events_between(10 * PERIOD_S, 11 * PERIOD_S)
    assert len(late) == len(script.events)
    assert late[0].start_s == pytest.approx(script.events[0].start_s + 10 * PERIOD_S)
    halves = [script.events_between(*span) for span in ((5, 40), (40, 90))]
    assert halves[0] + halves[1] == script.events_between(5, 90)


# --- the picture: pixels are where the truth says


@pytest.mark.parametrize(
    ("name", "part", "steps"),
    [
        ("nose(tip)", "nose", [(0.0, 0.06), (0.03, -0.06), (-0.03, 0.02)]),
        ("nose(bottom)", "nose", [(0.0, 0.06), (0.03, -0.06)]),
        ("nose(r)", "nose", [(0.0, 0.06), (0.03, -0.06)]),
        ("mouth", "jaw", [(0.25,), (0.5,)]),
        ("lowerlip", "jaw", [(0.25,), (0.5,)]),
        ("whisker(I)", "pad", [(0.0,), (0.5,), (1.0,)]),
        ("whisker(II)", "pad", [(0.0,), (0.5,), (1.0,)]),
        ("whisker(III)", "pad", [(0.0,), (0.5,), (1.0,)]),
    ],
)
def test_pixels_move_with_their_keypoint(name, part, steps):
    film = Film(2, 640, 480, facing="left", nuisances=False)
    face, margin = film.face, film.face.margin
    face.contrast = 0  # no whiskers
    face.levels["fur"] = 0.0  # no tongue
    fields = {"nose": ("nose_x", "nose_y"), "jaw": ("mouth",), "pad": ("whisk",)}[part]
    one = getattr(film, f"_{part}")

    def truth(step):
        return face.points(State(**dict(zip(fields, step, strict=True))))[KEYPOINTS.index(name)]

    # where the keypoint rests when nothing is displaced: the dot is painted into the fur there
    still = {"nose": (0.0, 0.0), "jaw": (0.0,), "pad": (0.4,)}[part]
    rest = truth(still) if part != "pad" else face.to_px(_roots()[name])
    y, x = np.mgrid[0 : face.fur.shape[0], 0 : face.fur.shape[1]] - margin
    face.fur[:] = np.exp(-((x - rest[0]) ** 2 + (y - rest[1]) ** 2) / 8)
    moved = 0.0
    rows, columns = one._where
    for step in steps:
        image = one._paint_at(step)
        centre = np.array([(image * x[rows, columns]).sum(), (image * y[rows, columns]).sum()])
        assert np.abs(centre / image.sum() - truth(step)).max() < 0.35
        moved = max(moved, float(np.abs(truth(step) - rest).max()))
    assert moved > 1


def _roots():
    from rtface.camera.anatomy import WHISKERS

    return dict(zip(("whisker(I)", "whisker(II)", "whisker(III)"), WHISKERS[:3, :2], strict=True))


def test_whiskers_swing_forward_over_the_chin(film):
    back, forward = film.face.whisker_lines(0.0), film.face.whisker_lines(1.0)
    assert (forward[:, -1, 0] < back[:, -1, 0]).all()
    still, _, _ = draw(film, whisk=0.0)
    swung, _, _ = draw(film, whisk=1.0)
    changed = np.abs(still.astype(int) - swung) > 8
    tips = np.round(film.face.to_px(film.face.whisker_lines(1.0)[:, 5])).astype(int)
    assert sum(changed[y - 2 : y + 3, x - 2 : x + 3].any() for x, y in tips) >= 6


@pytest.mark.parametrize("scan", [0.0, 1.0])
def test_the_drawn_pupil_is_where_the_truth_says(scan):
    film = Film(7, 640, 480, facing="left", nuisances=False)
    face = film.face
    face.levels |= {"eye": 0.9, "pupil": 0.1}
    film.face._eye.glints[:] = 0
    with_pupil, at, state = draw(film, gaze_x=0.1, gaze_y=-0.05, pupil=0.45, scan=scan)
    no_pupil, _, _ = draw(film, gaze_x=0.1, gaze_y=-0.05, pupil=0.0, scan=scan)
    difference = with_pupil.astype(int) - no_pupil
    rows, columns = np.nonzero(np.abs(difference) > np.abs(difference).max() / 2)
    assert (difference[rows, columns] > 0).all() == bool(scan), "bright while scanning, else dark"
    middle = (at["pupil(front)"] + at["pupil(back)"]) / 2
    assert np.abs([columns.mean(), rows.mean()] - middle).max() < 0.6
    area = np.pi / 4 * np.linalg.norm(at["pupil(front)"] - at["pupil(back)"]) ** 2
    assert abs(len(rows) / area - 1) < 0.05
    assert visible(face, state)[-4:].all()


def test_truth_gives_the_pupils_area_and_centre():
    truth = SyntheticTruth(640, 480, 100.0, 7)
    one = truth.at(1234)
    width = np.linalg.norm(one.keypoints[-2] - one.keypoints[-4])
    assert one.pupil_area_px2 == pytest.approx(np.pi / 4 * width**2, rel=1e-3)
    np.testing.assert_allclose(one.pupil_px, one.keypoints[-4:].mean(0), atol=0.01)
    assert one.state == truth.state(1234)
    eye = one.keypoints[KEYPOINTS.index("eye(back)")] - one.keypoints[KEYPOINTS.index("eye(front)")]
    assert truth.eye_width_px == pytest.approx(np.linalg.norm(eye), rel=1e-4)


def test_shut_lids_hide_the_pupil_and_a_paw_what_it_covers(film):
    shut, _, state = draw(film, lids=0.0)
    same, _, _ = draw(film, lids=0.0, pupil=0.6, gaze_x=0.2)
    assert np.array_equal(shut, same)
    assert not visible(film.face, state)[-4:].any()
    assert visible(film.face, State())[: KEYPOINTS.index("nosebridge")].all()
    tip = KEYPOINTS.index("nose(tip)")
    free, _, _ = draw(film)
    covered, at, state = draw(film, paw_u=0.02, paw_v=0.0)
    assert not visible(film.face, state)[tip]
    assert visible(film.face, state)[KEYPOINTS.index("paw")]
    x, y = np.round(at["nose(tip)"]).astype(int)
    around = (slice(y - 3, y + 4), slice(x + 1, x + 8))
    assert np.abs(covered[around].astype(int) - free[around]).max() > 10


def test_a_knock_moves_picture_and_truth_by_the_same_whole_pixels(film):
    still, before, _ = draw(film)
    moved, after, state = draw(film, shift_x=0.0125, shift_y=-0.005)
    assert (state.shift_x * 640, state.shift_y * 640) == (8, -3)
    assert np.array_equal(moved[:-3, 8:], still[3:, :-8])
    for name, xy in before.items():
        np.testing.assert_allclose(after[name] - xy, [8, -3], atol=1e-4)


def test_light_changes_brightness_and_nothing_else(film):
    normal, at, _ = draw(film)
    bright, same, _ = draw(film, gain=1.5)
    ratio = bright[normal < 120].astype(float).mean() / normal[normal < 120].mean()
    assert ratio == pytest.approx(1.5, rel=0.02)
    assert bright.max() <= 255 - HEADROOM
    assert all(np.array_equal(at[name], same[name]) for name in at)


def test_a_prepared_film_paints_nothing_new():
    film = Film(3, *SIZE)
    film.prepare()
    parts = (film._nose, film._jaw, film._pad)
    known = [len(part._changes) for part in parts]
    assert min(known) > 20
    out = np.empty(SIZE[::-1], np.uint8)
    for t in np.arange(0, PERIOD_S, 0.037):
        film.draw(film.face.snap(film.script.at(t)), out)
    fresh = sum(len(part._changes) for part in parts) - sum(known)
    assert fresh <= 0.02 * sum(known)


@pytest.mark.parametrize("size", [(64, 64), (641, 479), (1936, 1216)])
def test_any_size_is_drawn_and_fits_in_memory(size):
    film = Film(1, *size)
    out = np.empty(size[::-1], np.uint8)
    for t in (0.0, 10.0, 20.0):
        film.draw(film.face.snap(film.script.at(t)), out)
    one_step = sum(part._rest.nbytes for part in (film._nose, film._jaw, film._pad))
    assert one_step * film.face.whisk_steps < 600e6


# --- the camera


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
    assert np.array_equal(again.known.points(2), truth.at(2).keypoints)
    assert not np.array_equal(seen[3], seen[4])


def test_noise_neither_wraps_nor_biases():
    made, _, out = camera()
    made.fill(out, 1.0)
    clean = np.empty_like(out)
    made._film.draw(made.known.state(0), clean)
    noise = out.astype(int) - clean
    assert np.abs(noise).max() <= HEADROOM
    assert abs(noise.mean()) < 0.1
    assert 2.5 < noise.std() < 3.5


def test_the_face_moves_at_its_own_speed_at_any_rate():
    slow, fast = (SyntheticTruth(*SIZE, rate_hz, 3) for rate_hz in (50.0, 500.0))
    assert fast.state(3210) == slow.state(321)
    assert fast.state(round(PERIOD_S * 500) + 10) == fast.state(10)
    assert fast.events(0, 32000) == slow.events(0, 3200) == Script(3).events


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


def test_what_drawing_costs_delays_no_delivery(monkeypatch):
    made, clock, out = camera()
    draw, drawn = made._film.draw, []

    def slow(state, image):
        clock.now += drawn_ns
        drawn.append(drawn_ns)
        draw(state, image)

    monkeypatch.setattr(made._film, "draw", slow)
    start, drawn_ns = clock.now, 4_000_000
    stamps = [made.fill(out, 1.0) for _ in range(5)]
    assert [stamp.t_host_ns - start for stamp in stamps] == [s.t_camera_ns for s in stamps]
    assert (len(drawn), made.counts()) == (5, CameraCounts(5, Lost()))
    # drawn too late it is lost; what comes instead shows the id it says, and the stream goes on
    drawn_ns = 25_000_000
    late = [made.fill(out, 0.05) for _ in range(4)]
    again, _, twin = camera()
    again._draw(late[-1].frame_id, twin)
    assert np.array_equal(out, twin)
    assert made.counts().lost.late == late[-1].frame_id + 1 - 9


def test_a_real_clock_is_kept():
    made = SyntheticCamera(*SIZE, 200.0, 1)
    out = np.empty(SIZE[::-1], np.uint8)
    made.start()
    start = time.perf_counter_ns()
    stamps = [made.fill(out, 1.0) for _ in range(20)]
    late = [s.t_host_ns - start - s.t_camera_ns for s in stamps]
    assert min(late) > -1_000_000
    assert made.counts().produced == 20 + made.counts().lost.late
