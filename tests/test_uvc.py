"""A webcam's rules with a scripted capture, and OpenCV's own class on a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videofiles import MS, pictures, write

from rtface.acquire import Account
from rtface.camera import open_camera
from rtface.camera.uvc import HEIGHT, RATE, WIDTH, UvcCamera
from rtface.camera_config import UvcSection
from rtface.types import CameraInfo, CameraState, EndOfStream, Lost, Stamp, UserError

SECTION = UvcSection(kind="uvc", device=0, rate_hz=50.0)
BLOCKED = "blocked"  # no frame, told only after 1 s, as V4L2 does


class World:
    """One webcam, which can be unplugged, and the time; each grab takes one period of 20 ms."""

    def __init__(self) -> None:
        self.now = 5_000 * MS
        self.offers: dict[int, float] = {WIDTH: 64, HEIGHT: 48, RATE: 50}
        self.takes_any = False
        self.plugged = True
        self.script: Iterator[bool | str] = iter(())  # of the next grabs; then all are good
        self.retrieved: Callable[[], tuple[bool, Any]] = lambda: (True, self.image)
        self.image = np.zeros((48, 64), np.uint8)
        self.captures: list[FakeCapture] = []
        self.opened_at: list[int] = []

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def open(self, device: int | str) -> FakeCapture:
        assert device == SECTION.device
        self.opened_at.append(self.now)
        self.captures.append(FakeCapture(self))
        return self.captures[-1]

    def camera(self, **keys: Any) -> UvcCamera:
        return UvcCamera("cam1", SECTION.model_copy(update=keys), self.open, self.clock, self.sleep)


class FakeCapture:
    """The part of cv2.VideoCapture that is used."""

    def __init__(self, world: World) -> None:
        self.world, self.opened = world, world.plugged
        self.told: dict[int, float] = {}

    def isOpened(self) -> bool:
        return self.opened

    def grab(self) -> bool:
        assert self.opened
        how = next(self.world.script, True)
        self.world.now += 1_000 * MS if how == BLOCKED else 20 * MS if how else 0
        return how is True and self.world.plugged

    def retrieve(self) -> tuple[bool, Any]:
        return self.world.retrieved()

    def get(self, prop: int) -> float:
        return (self.told if self.world.takes_any else self.world.offers).get(
            prop, self.world.offers[prop]
        )

    def set(self, prop: int, value: float) -> bool:
        self.told[prop] = value
        return self.world.takes_any

    def release(self) -> None:
        self.opened = False


@pytest.fixture
def world() -> World:
    return World()


def buffer(camera: UvcCamera) -> np.ndarray:
    return np.full((camera.info.height, camera.info.width), 7, np.uint8)


def fill_until(
    camera: UvcCamera, reached: Callable[[Stamp | None], bool], at_most: int = 2000
) -> Stamp | None:
    out = buffer(camera)
    for _ in range(at_most):
        stamp = camera.fill(out, 0.05)
        if reached(stamp):
            return stamp
    raise AssertionError("never reached")


def test_frames_are_counted_and_stamped_by_the_host_when_grabbed(world: World) -> None:
    camera = world.camera()
    assert camera.info == CameraInfo(48, 64, 8, 50.0)
    assert (camera.state, camera.first_id) == (CameraState.READY, 0)
    start = world.now

    def slow() -> tuple[bool, Any]:
        world.now += 3 * MS  # decoding comes after the stamp
        return True, world.image

    world.retrieved = slow
    camera.start()
    out = buffer(camera)
    stamps = [camera.fill(out, 0.05) for _ in range(5)]
    assert stamps == [Stamp(0, i, None, start + (20 + 23 * i) * MS) for i in range(5)]
    assert (out == 0).all()
    assert camera.counts() == (5, Lost(), 0)
    assert camera.state == CameraState.RUNNING
    camera.close()
    camera.close()
    with pytest.raises(EndOfStream):
        camera.fill(out, 0.05)
    assert not world.captures[0].opened


def test_colour_becomes_gray_and_gray_stays(world: World) -> None:
    pytest.importorskip("cv2")
    rng = np.random.default_rng(1)
    world.image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    camera = world.camera()
    camera.start()
    out = buffer(camera)
    assert camera.fill(out, 0.05)
    expected = world.image @ np.array([0.114, 0.587, 0.299])  # BT.601, blue first
    assert np.abs(out - expected).max() <= 1
    world.image = world.image[:, :, 0].copy()
    assert camera.fill(out, 0.05)
    np.testing.assert_array_equal(out, world.image)


def test_other_pictures_than_it_said_end_the_run(world: World) -> None:
    camera = world.camera()
    camera.start()
    world.image = np.zeros((24, 32, 3), np.uint8)
    with pytest.raises(UserError, match=r"camera.cam1.device: delivers uint8 pictures of \(24, 32"):
        camera.fill(buffer(camera), 0.05)


def test_size_and_rate_are_asked_for(world: World) -> None:
    world.takes_any = True
    camera = world.camera(width=320, height=240, rate_hz=120.0)
    assert camera.info == CameraInfo(240, 320, 8, 120.0)
    # OpenCV passes a size on only as a pair
    assert world.camera(height=240).info[:2] == (240, 64)
    assert world.captures[-1].told[WIDTH] == 64


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"width": 800}, r"camera.cam1.width: 800x48 px was asked for, the camera offers 64x48"),
        ({"height": 600}, r"camera.cam1.height: 64x600 px was asked for, the camera offers 64x48"),
        ({"rate_hz": 100.0}, r"camera.cam1.rate_hz: 100 Hz was asked for, the camera offers 50"),
        ({"rate_hz": 47.0}, r"camera.cam1.rate_hz"),
    ],
)
def test_what_it_does_not_offer_is_refused(
    world: World, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        world.camera(**keys)
    assert "\n" not in str(caught.value)
    assert not world.captures[0].opened


def test_a_rate_near_by_or_untold_is_taken(world: World) -> None:
    assert world.camera(rate_hz=49.0).info.rate_hz == 49.0
    world.offers[RATE] = 0
    assert world.camera(rate_hz=200.0).info.rate_hz == 200.0


def test_no_device_or_no_pictures(world: World) -> None:
    world.plugged = False
    with pytest.raises(UserError, match=r"camera.cam1.device: 0 cannot be opened; .* plugged"):
        world.camera()
    world.plugged = True
    world.offers[WIDTH] = 0
    with pytest.raises(UserError, match="no pictures"):
        world.camera()


def test_a_frame_that_cannot_be_decoded_is_a_known_loss(world: World) -> None:
    camera = world.camera()
    camera.start()
    good = iter([True, False, True])
    world.retrieved = lambda: (next(good), world.image)
    out, account = buffer(camera), Account(camera.first_id)
    stamps = [camera.fill(out, 0.05) for _ in range(3)]
    assert [stamp and stamp.frame_id for stamp in stamps] == [0, None, 2]
    for stamp in stamps:
        if stamp:
            account.take(stamp, camera)
    assert camera.counts() == (3, Lost(incomplete=1), 0)
    assert account.lost == Lost(incomplete=1)
    told = account.counts(camera)
    assert told["produced"] == told["delivered"] + told["lost_camera"]


@pytest.mark.parametrize("how", [False, BLOCKED])
def test_silent_then_well_again(world: World, how: bool | str) -> None:
    camera = world.camera()
    camera.start()
    out = buffer(camera)
    assert camera.fill(out, 0.05)
    heard, before = world.now, world.now
    world.script = iter([how] * (1 if how else 60))
    while camera.state == CameraState.RUNNING:
        before = world.now
        assert camera.fill(out, 0.05) is None
        assert how or world.now - before == 20 * MS  # it does not spin
    assert camera.state == CameraState.SILENT
    assert before - heard <= 1_000 * MS <= world.now - heard
    stamp = fill_until(camera, bool)
    assert stamp is not None
    assert stamp[:2] == (0, 1)  # the same segment: nothing was opened anew
    assert camera.state == CameraState.RUNNING
    assert len(world.captures) == 1


def test_unplugged_and_back_is_a_new_segment(world: World) -> None:
    camera = world.camera()
    camera.start()
    account = Account(camera.first_id)

    def deliver(n: int) -> Stamp:
        for _ in range(n):
            stamp = fill_until(camera, bool)
            assert stamp is not None
            account.take(stamp, camera)
        return stamp

    assert deliver(4)[:2] == (0, 3)
    heard, world.plugged = world.now, False
    states = [CameraState.RUNNING]
    out = buffer(camera)
    while world.now < heard + 19_000 * MS:
        assert camera.fill(out, 0.05) is None
        if camera.state != states[-1]:
            states.append(camera.state)
    assert states == [CameraState.RUNNING, CameraState.SILENT, CameraState.GONE]
    looks = np.diff([at - heard for at in world.opened_at[1:]]) / 1e9
    assert world.opened_at[1] - heard >= 2_500 * MS
    np.testing.assert_allclose(looks, [1, 2, 4, 5], atol=0.05)
    # another camera in its place is not taken for it
    world.plugged, world.offers[WIDTH] = True, 128
    fill_until(camera, lambda _: len(world.opened_at) == 7)
    assert camera.state == CameraState.GONE
    # it comes back, and is mute at first
    world.offers[WIDTH] = 64
    world.script = iter([False] * 20)
    assert deliver(1)[:2] == (1, 0)
    assert camera.state == CameraState.RUNNING
    assert deliver(2)[:2] == (1, 2)
    assert sum(capture.opened for capture in world.captures) == 1
    told = account.counts(camera)
    assert (told["produced"], told["delivered"], told["lost_camera"]) == (7, 7, 0)
    # gone again: the looks are close to each other as they were at first
    world.plugged = False
    fill_until(camera, lambda _: camera.state == CameraState.GONE)
    gone = world.now
    fill_until(camera, lambda _: len(world.opened_at) == 9)
    assert world.opened_at[-1] - gone < 600 * MS


def test_back_but_mute_is_looked_for_again(world: World) -> None:
    camera = world.camera()
    camera.start()
    world.captures[0].opened = False  # closed by the driver: there is nothing to wait for
    world.script = iter([False] * 200)
    world.captures[0].grab = lambda: False  # type: ignore[method-assign]
    assert camera.fill(buffer(camera), 0.05) is None
    assert camera.state == CameraState.GONE
    fill_until(camera, lambda _: len(world.captures) == 3)
    assert camera.state == CameraState.GONE  # never one moment of running
    stamp = fill_until(camera, bool)
    assert stamp is not None
    assert stamp[:2] == (1, 0)  # only what delivers is a segment


def test_gone_ends_the_run_where_it_shall(world: World) -> None:
    camera = world.camera(on_gone="stop")
    camera.start()
    fill_until(camera, bool)
    world.plugged = False
    with pytest.raises(UserError, match=r"camera.cam1.device: 0 cannot be read any more after 1 "):
        fill_until(camera, lambda _: False)


def test_without_opencv_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r'camera.cam1.kind: .* pip install "rtface\[uvc\]"'):
        open_camera("cam1", SECTION)


def test_opencv_itself_on_a_file(tmp_path: Path) -> None:
    """OpenCV reads files through the same class: each frame once, gone, then from the start."""
    pytest.importorskip("cv2")
    world, images = World(), pictures(6)
    clip = write(tmp_path / "clip.mkv", "ffv1", "gray", images)
    section = UvcSection(kind="uvc", device=str(clip), rate_hz=50.0)
    camera = UvcCamera("cam1", section, None, world.clock, world.sleep)
    assert camera.info == CameraInfo(48, 64, 8, 50.0)
    camera.start()
    out = buffer(camera)
    for segment in (0, 1):
        for i, image in enumerate(images):
            while (stamp := camera.fill(out, 0.05)) is None:
                assert i == 0  # none is left out
            assert stamp[:3] == (segment, i, None)
            assert np.abs(out.astype(int) - image).max() <= 1  # by way of BGR
    assert camera.counts() == (12, Lost(), 0)
    camera.close()
    with pytest.raises(UserError, match=r"camera.cam1.rate_hz: 30 Hz .* offers 50 at 64x48"):
        open_camera("cam1", section.model_copy(update={"rate_hz": 30.0}))
    with pytest.raises(UserError, match=r"camera.cam1.width: 640x48 px .* offers 64x48"):
        open_camera("cam1", section.model_copy(update={"width": 640}))
    for device in (str(tmp_path / "none.avi"), 63, "/dev/null"):
        with pytest.raises(UserError, match=r"camera.cam1.device: .* cannot be opened"):
            open_camera("cam1", section.model_copy(update={"device": device}))
