"""Where the face is looked for: the finder alone, told what a network would see."""

from __future__ import annotations

import re

import numpy as np
import pytest
from faces import INPUT, NAMES, SHAPE, Mouse, finder, watch
from hypothesis import given, settings
from hypothesis import strategies as st

from rtface.face import CROP, SURE, Crop, FaceFinder, State, check_names
from rtface.show import camera_line
from rtface.types import BBox, Pose
from rtface.watch import CameraWatch

WHOLE = BBox(0, 0, 640, 480)


def settled(mouse: Mouse, follow: bool = True, within: int = 60) -> FaceFinder:
    eyes = finder(follow)
    for _ in range(within):
        watch(eyes, mouse, 1)
        if eyes.state is State.SETTLED:
            return eyes
    raise AssertionError(f"{eyes.state} after {within} frames")


@pytest.mark.parametrize("muzzle", [170.0, 260.0, 320.0])
def test_settles_on_the_crop_within_ten_frames(muzzle: float) -> None:
    mouse = Mouse(180, 160, muzzle)
    mouse.jitter = 0.3
    eyes = settled(mouse, within=10)
    np.testing.assert_allclose(eyes.box, mouse.wanted(), atol=0.02 * eyes.box.width)
    assert eyes.box.height * 4 == eyes.box.width * 3  # the input's shape, to the pixel
    assert eyes.face
    # the definition itself: the muzzle is half of the input's width
    assert muzzle * INPUT[1] / eyes.box.width == pytest.approx(CROP.muzzle_px, rel=0.02)


@pytest.mark.parametrize(("x", "y"), [(30, 30), (540, 400), (300, 200), (560, 40), (60, 430)])
def test_a_small_face_anywhere_is_found_by_tiles(x: float, y: float) -> None:
    mouse = Mouse(x, y, 72)
    assert mouse.seen_in(WHOLE).score.max() < 0.5  # too small in the whole frame
    eyes = settled(mouse, within=1 + 9 + 16 + 10)
    np.testing.assert_allclose(eyes.box, mouse.wanted(), atol=3)


def test_tiles_overlap_by_half_and_reach_every_edge() -> None:
    eyes = finder()
    boxes = watch(eyes, Mouse(0, 0, 1), 26)
    assert eyes.box == WHOLE  # and again from the beginning
    assert not eyes.face
    for width, height in ((400, 300), (256, 192)):
        tiles = [box for box in boxes if (box.width, box.height) == (width, height)]
        assert all(tile.fits(*SHAPE) for tile in tiles)
        for axis, (size, end) in enumerate(((width, 640), (height, 480))):
            starts = sorted({tile[axis] for tile in tiles})
            assert (starts[0], starts[-1] + size) == (0, end)
            assert max(np.diff(starts)) <= 0.51 * size
        assert len(set(tiles)) == len(tiles) == {400: 9, 256: 16}[width]


@pytest.mark.parametrize(
    ("eye", "nose", "found"), [(0.6, 0.1, True), (0.6, 0.04, False), (0.4, 0.1, False)]
)
def test_beside_a_certain_eye_a_faint_nose_is_enough(eye: float, nose: float, found: bool) -> None:
    eyes, mouse = finder(), Mouse(180, 160, 260)
    for _ in range(30):
        pose = mouse.seen_in(eyes.box)
        pose.keypoints[:, 2] *= eye / 0.9
        pose.keypoints[-1, 2] *= nose / eye
        eyes.update(pose)
    assert (eyes.state is State.SETTLED) == found


def test_a_settled_crop_does_not_follow_a_faint_nose() -> None:
    mouse = Mouse(250, 200, 150)
    eyes = settled(mouse)
    kept = eyes.box
    for nose, moved in ((0.1, False), (0.9, True)):
        for _ in range(300):
            pose = mouse.seen_in(eyes.box)
            pose.keypoints[-1] = (*(pose.keypoints[-1, :2] + 40), nose)
            eyes.update(pose)
        assert eyes.face
        assert (eyes.box != kept) == moved


def test_a_face_that_is_told_to_and_fro_is_settled_on() -> None:
    """Told too far left where the crop is too far left, by more than it is."""
    eyes, mouse = finder(), Mouse(180, 160, 260)
    for _ in range(20):
        pose = mouse.seen_in(eyes.box)
        middle = eyes.box.x + eyes.box.width / 2
        if eyes.box != WHOLE:
            pose.keypoints[:, 0] -= 1.1 * (middle - mouse.wanted().x - mouse.wanted().width / 2)
        else:
            pose.keypoints[:, 0] += 40
        eyes.update(pose)
        if eyes.state is State.SETTLED:
            break
    assert eyes.state is State.SETTLED
    np.testing.assert_allclose(eyes.box, mouse.wanted(), atol=8)


def test_a_face_at_the_edge_has_a_crop_beyond_the_frame() -> None:
    mouse = Mouse(40, 60, 150)
    eyes = settled(mouse)
    assert eyes.box.x < 0
    assert eyes.box.y < 0
    np.testing.assert_allclose(eyes.box, mouse.wanted(), atol=3)


def test_the_face_leaves_and_comes_back_elsewhere() -> None:
    mouse = Mouse(150, 150, 100)
    eyes = settled(mouse)
    kept = eyes.box
    mouse.hidden = True
    boxes = watch(eyes, mouse, 100)
    assert (eyes.state, eyes.face) == (State.SETTLED, True)  # for a second nothing is said
    boxes += watch(eyes, mouse, 1)
    assert (eyes.state, eyes.face) == (State.LOST, False)
    boxes += watch(eyes, mouse, 500)
    assert set(boxes) == {kept}  # for five more it is waited for
    assert eyes.about() == {"state": "lost", "crop": list(eyes.box), "no_face_s": 6.01}
    search = watch(eyes, mouse, 400)
    assert search.count(kept) == 300  # now and then another place
    assert len(set(search)) == 1 + 26
    mouse.x, mouse.y, mouse.hidden = 480, 300, False
    watch(eyes, mouse, 4 * 26 + 10)
    assert eyes.state is State.SETTLED
    np.testing.assert_allclose(eyes.box, mouse.wanted(), atol=3)
    assert eyes.about()["no_face_s"] == 0


@pytest.mark.parametrize("hidden", [80, 300, 900])
def test_a_mouse_behind_its_paw_is_not_lost(hidden: int) -> None:
    mouse = Mouse(250, 200, 150)
    eyes = settled(mouse)
    kept = eyes.box
    mouse.hidden = True
    watch(eyes, mouse, hidden)
    assert eyes.face == (hidden <= 100)
    mouse.hidden = False
    watch(eyes, mouse, 4)
    assert (eyes.state, eyes.box, eyes.face) == (State.SETTLED, kept, True)


def test_some_anchors_out_of_sight_are_no_loss() -> None:
    mouse = Mouse(250, 200, 150)
    eyes = settled(mouse)
    for _ in range(300):
        pose = mouse.seen_in(eyes.box)
        pose.keypoints[[1, 3], 2] = 0.1  # shut lids
        eyes.update(pose)
    assert eyes.state is State.SETTLED
    for _ in range(101):
        pose = mouse.seen_in(eyes.box)
        pose.keypoints[[0, 1, 3], 2] = 0.1  # three of the five
        eyes.update(pose)
    assert eyes.state is State.LOST


def test_a_slow_drift_is_followed_and_the_size_stays() -> None:
    mouse = Mouse(200, 150, 120)
    eyes = settled(mouse)
    size = eyes.box[2:]
    before = eyes.box
    for _ in range(600):  # 10 px/s
        mouse.x += 0.1
        mouse.y += 0.05
        mouse.muzzle += 0.02
        (box,) = watch(eyes, mouse, 1)
        assert max(abs(box.x - before.x), abs(box.y - before.y)) <= 1  # pixel by pixel
        before = box
    assert eyes.box[2:] == size
    middle = np.array([eyes.box.x, eyes.box.y]) + np.array(size) / 2
    wanted = mouse.wanted()
    behind = np.array([wanted.x + wanted.width / 2, wanted.y + wanted.height / 2]) - middle
    # behind by the time constant and the dead band, and not by more
    assert 2 <= behind[0] <= 10 * 2.2 + 0.02 * size[0] + 1
    mouse_stops = watch(eyes, mouse, 1500)[-1]
    wanted = mouse.wanted()
    assert abs(wanted.x + wanted.width / 2 - mouse_stops.x - size[0] / 2) <= 0.02 * size[0] + 1
    assert len(set(watch(eyes, mouse, 500))) == 1


def test_a_still_animal_never_moves_the_crop() -> None:
    mouse = Mouse(200, 150, 120)
    mouse.jitter = 1.0
    eyes = settled(mouse)
    boxes = set()
    for frame in range(2000):
        mouse.x = 200 + 3 * np.sin(frame / 200)  # it breathes, a little out and in
        boxes |= set(watch(eyes, mouse, 1))
    assert len(boxes) == 1


def test_hold_stays_where_it_was_found() -> None:
    mouse = Mouse(200, 150, 120)
    eyes = settled(mouse, follow=False)
    mouse.x += 20
    assert len(set(watch(eyes, mouse, 1000))) == 1
    mouse.hidden = True
    assert len(set(watch(eyes, mouse, 2000))) == 1  # not even when it is gone
    assert not eyes.face
    mouse.hidden = False
    watch(eyes, mouse, 1)
    assert eyes.face


def test_frames_passed_over_count_as_time() -> None:
    def moved(frames: int) -> int:
        mouse = Mouse(200, 150, 120)
        eyes = settled(mouse)
        before = eyes.box.x
        mouse.x += 30
        watch(eyes, mouse, 200 // frames, frames)
        return eyes.box.x - before

    assert moved(1) == pytest.approx(moved(5), abs=1)
    mouse = Mouse(200, 150, 120)
    eyes = settled(mouse)
    mouse.hidden = True
    watch(eyes, mouse, 2, 10_000)
    assert eyes.face  # a stall of the machine is no absence


@pytest.mark.parametrize("box", [BBox(100, 50, 320, 240), WHOLE])
def test_a_given_box_is_only_judged(box: BBox) -> None:
    mouse = Mouse(200, 150, 120)
    eyes = finder(box=box)
    mouse.hidden = True
    assert set(watch(eyes, mouse, 5)) == {box}
    assert (eyes.face, eyes.state) == (False, State.SEARCHING)
    mouse.hidden, mouse.muzzle = False, 190
    assert set(watch(eyes, mouse, 5)) == {box}
    assert eyes.face
    mouse.hidden = True
    assert set(watch(eyes, mouse, 700)) == {box}
    assert (eyes.face, eyes.state) == (False, State.LOST)


def test_a_false_alarm_goes_on_with_the_search() -> None:
    mouse = Mouse(250, 200, 200)
    eyes = finder()
    watch(eyes, mouse, 1)
    assert (eyes.state, eyes.face) == (State.SETTLING, True)
    mouse.hidden = True
    watch(eyes, mouse, 1)
    assert not eyes.face
    watch(eyes, mouse, 2)
    assert eyes.state is State.SEARCHING
    assert (eyes.box.width, eyes.box.height) == (400, 300)  # the next place


def test_a_restless_face_is_not_waited_for_longer_than_a_second() -> None:
    mouse = Mouse(250, 200, 200)
    eyes = finder()
    for frame in range(101):
        assert (eyes.state is State.SETTLED) == (frame == 100)
        mouse.x = 250 + 15 * (frame % 3)
        watch(eyes, mouse, 1)


def points(scale: float = 1.0, score: float = 0.9) -> Pose:
    mouse = Mouse(250, 200, 150)
    pose = mouse.seen_in(BBox(100, 90, 360, 270))
    pose.keypoints[:, :2] *= scale
    pose.keypoints[:, 2] = score
    return pose


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.__setitem__(np.s_[:, :2], 100),  # all in one place
        lambda p: p.__setitem__(np.s_[:], np.nan),
        lambda p: p.__setitem__(np.s_[:, :2], np.inf),
        lambda p: p.__setitem__(np.s_[5, 0], np.nan),
        lambda p: p.__setitem__(np.s_[5, 0], p[5, 0] + 300),  # a muzzle of more than six eyes
        lambda p: p.__setitem__(np.s_[5, :2], p[2, :2] + 10),  # and of less than two
        lambda p: p.__setitem__(np.s_[:, 2], 0.8 * SURE),
        lambda p: p.__setitem__(np.s_[[0, 5], 2], 0.8 * SURE),  # a corner and the nose
    ],
)
def test_what_is_no_face_is_not_believed(change: object) -> None:
    eyes = finder()
    eyes.update(points())
    assert eyes.face
    eyes.restart()
    pose = points()
    change(pose.keypoints)  # type: ignore[operator]
    eyes.update(pose)
    assert not eyes.face


@pytest.mark.parametrize(("sure", "believed"), [(0.04, True), (0.06, False)])
def test_a_network_says_which_scores_are_believed(sure: float, believed: bool) -> None:
    eyes = FaceFinder(SHAPE, NAMES, INPUT, CROP._replace(sure=sure))
    eyes.update(points(score=0.05))
    assert eyes.face == believed


numbers = st.floats(width=32) | st.floats(-100, 900, width=32)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(numbers, min_size=18, max_size=18), min_size=1, max_size=12),
    st.booleans(),
    st.integers(1, 10**9),
)
def test_whatever_a_network_says_there_is_a_box(
    poses: list[list[float]], sure: bool, frames: int
) -> None:
    eyes = finder()
    for pose in poses:
        keypoints = np.array(pose, np.float32).reshape(6, 3)
        if sure:
            keypoints[:, 2] = 1
        for one in (keypoints, points(score=0.9).keypoints):
            eyes.update(Pose(one), frames)
            x, y, width, height = eyes.box
            assert 16 <= width <= 1280
            assert 12 <= height <= 960
            assert 0 <= x + width / 2 <= 640  # it may stick out, not lie beside
            assert 0 <= y + height / 2 <= 480


def test_the_lids_are_not_needed_and_the_rest_is() -> None:
    check_names(["nose(tip)", "eye(back)", "eye(front)"])
    with pytest.raises(ValueError, match=r"without eye\(back\), nose\(tip\)"):
        FaceFinder(SHAPE, ["eye(front)", "eye(top)"], INPUT)
    assert {"eye(front)", "eye(back)", "nose(tip)"} < set(NAMES)


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"muzzle_px": 128},
        {"muzzle_px": 0, "along": 0, "down": 0},
        {"muzzle_px": 128, "along": "x", "down": 0},
        {"muzzle_px": float("nan"), "along": 0, "down": 0},
        {"muzzle_px": 128, "along": 0, "down": 0, "sure": 0},
        {"muzzle_px": 128, "along": 0, "down": 0, "sure": 1.5},
    ],
)
def test_a_crop_that_makes_no_sense_is_refused(told: object) -> None:
    with pytest.raises(ValueError):
        Crop.parse(told)
    assert Crop.parse({"muzzle_px": 128, "along": 0.42, "down": 0.2}) == CROP
    assert Crop.parse(CROP._replace(sure=0.04)._asdict()).sure == 0.04


def test_the_status_line_and_the_recording_say_it_once() -> None:
    counts = {"tracked": 1, "skipped": 0, "subscribers": 0}

    def told(state: str, seconds: float = 0.0) -> dict[str, object]:
        face = {"state": state, "crop": [1, 2, 3, 4], "no_face_s": seconds}
        return {**counts, "face": face}

    assert camera_line("cam1", {**counts, "face": None}).endswith("subscribers 0")
    assert camera_line("cam1", told("settled")).endswith("subscribers 0")
    assert camera_line("cam1", told("searching", 0.5)).endswith("  looking for the face")
    assert camera_line("cam1", told("lost", 12.3)).endswith("  NO FACE for 12 s")
    watch = CameraWatch()
    said = [
        watch.look_at_face("cam1", one)
        for one in (
            *(told("searching", 1), told("searching", 6), told("searching", 7), told("settling")),
            *(told("settled"), told("settled"), told("lost", 1.5), told("lost", 2.5), counts),
        )
    ]
    assert [len(one) for one in said] == [0, 1, 0, 0, 1, 0, 1, 0, 0]
    assert re.fullmatch(r"camera cam1: no face since \d\d:\d\d:\d\d", said[1][0])
    assert said[4] == ["camera cam1: found the face, crop [1, 2, 3, 4]"]
