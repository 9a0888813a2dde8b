"""Basler cameras through pypylon itself, on the two cameras that it emulates."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import running

from rtface.acquire import Account
from rtface.camera import open_camera
from rtface.camera.device import DeviceCamera, LinkLost
from rtface.camera.pylon import PylonLink, library
from rtface.camera.sensor import n_buffers, set_up
from rtface.camera.sfnc import NodeRefused
from rtface.camera_config import PylonSection, TriggerSection
from rtface.types import CameraInfo, CameraState, Image, Lost, Stamp, UserError

pytestmark = pytest.mark.cameras

FIRST, SECOND = "0815-0000", "0815-0001"
SECTION = PylonSection(kind="pylon", rate_hz=90.0, serial=FIRST, width=64, height=48)


@pytest.fixture(autouse=True)
def two_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pylon emulate two cameras, also in programs that a test starts."""
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    pylon, _ = library("cam1")
    emulated = pylon.DeviceInfo()
    emulated.SetDeviceClass("BaslerCamEmu")
    look = pylon.TlFactory.EnumerateDevices
    # on networks it looks for cameras for 0.3 s, each time
    monkeypatch.setattr(pylon.TlFactory, "EnumerateDevices", lambda self: look(self, [emulated]))


@pytest.fixture
def opened() -> Iterator[Callable[..., DeviceCamera]]:
    """Open cameras with other keys than SECTION's, and close them after the test."""
    cameras: list[DeviceCamera] = []

    def open_it(**keys: Any) -> DeviceCamera:
        camera = open_camera("cam1", SECTION.model_copy(update=keys))
        assert isinstance(camera, DeviceCamera)
        cameras.append(camera)
        return camera

    yield open_it
    for camera in cameras:
        camera.close()


@pytest.fixture(scope="module")
def any_link() -> Iterator[PylonLink]:
    """A link that is opened once for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYLON_CAMEMU", "2")
        link = PylonLink("cam1", SECTION)
    yield link
    link.close()


def link_of(camera: DeviceCamera) -> PylonLink:
    link = camera._link
    assert isinstance(link, PylonLink)
    return link


def buffer(camera: DeviceCamera) -> Image:
    return np.zeros((camera.info.height, camera.info.width), camera.info.dtype)


def frames(camera: DeviceCamera, n: int, timeout_s: float = 10) -> list[Stamp]:
    """The next n frames' stamps."""
    out, stamps, end = buffer(camera), [], time.monotonic() + timeout_s
    while len(stamps) < n and time.monotonic() < end:
        if stamp := camera.fill(out, 0.05):
            stamps.append(stamp)
    assert len(stamps) == n
    return stamps


def accounted(camera: DeviceCamera, delivered: int) -> None:
    """What the camera made was delivered or is told as lost, as may happen on a busy machine."""
    counts = camera.counts()
    assert counts.produced == delivered + sum(counts.lost)


def test_every_frame_has_its_id_and_the_host_s_time(opened: Callable[..., DeviceCamera]) -> None:
    camera = opened()
    assert camera.info == CameraInfo(48, 64, 8, 90.0)
    assert camera.state == CameraState.READY
    camera.start()
    before_ns = time.perf_counter_ns()
    stamps = frames(camera, 20)
    assert {(stamp.segment, stamp.t_camera_ns) for stamp in stamps} == {(0, None)}
    ids = [stamp.frame_id for stamp in stamps]
    assert ids == sorted(set(ids))
    times = [before_ns, *(stamp.t_host_ns for stamp in stamps), time.perf_counter_ns()]
    assert times == sorted(times)
    assert {stamp.pair for stamp in stamps} == {None}  # the emulator has no clock
    assert camera.counts().produced == ids[-1] - ids[0] + 1
    accounted(camera, 20)
    assert camera.state == CameraState.RUNNING
    assert link_of(camera).alive()
    assert link_of(camera).underruns() == camera.counts().lost.no_buffer


@pytest.mark.parametrize(
    ("pixels", "width", "bits"), [("Mono8", 65, 8), ("Mono12", 64, 12), ("BayerRG8", 64, 8)]
)
def test_pixels_are_what_pypylon_says(
    opened: Callable[..., DeviceCamera], pixels: str, width: int, bits: int
) -> None:
    camera = opened(pixel_format=pixels, width=width, settings={"TestImageSelector": "Testimage2"})
    assert camera.info[:3] == (48, width, bits)
    camera.start()
    link = link_of(camera)
    fetched = link.fetch(1.0)
    assert fetched is not None
    told = link._result.GetArray()
    out = buffer(camera)
    assert out.dtype == told.dtype
    link.copy(fetched, out)
    if pixels.startswith("Mono"):
        np.testing.assert_array_equal(out, told)
        assert bits == 8 or out.max() > 255
    else:
        assert abs(out.mean() - told.mean()) < 2
    # zero copy: the view is of pylon's own buffer, and ends with it
    assert isinstance(fetched.data, memoryview)
    link.requeue()
    with pytest.raises(ValueError, match="released"):
        link.copy(fetched, out)


def test_buffers_last_for_a_fifth_of_a_second(opened: Callable[..., DeviceCamera]) -> None:
    assert n_buffers(SECTION.model_copy(update={"rate_hz": 20.0})) == 16
    camera = opened(rate_hz=500.0, trigger=TriggerSection(source="Software"))
    camera.start()
    device = link_of(camera)._camera
    assert (device.MaxNumBuffer.Value, device.MaxNumQueuedBuffer.Value) == (100, 100)
    assert device.NumQueuedBuffers.Value == 100  # with the driver, not kept back


def test_failed_buffers_are_frames_that_arrived_damaged(
    opened: Callable[..., DeviceCamera],
) -> None:
    camera = opened()
    camera.start()
    took = Account(camera.first_id)
    nodes = link_of(camera).nodes
    nodes.write("ForceFailedBufferCount", 3)
    for _ in range(2):
        for stamp in frames(camera, 5):
            took.take(stamp, camera)
        nodes.execute("ForceFailedBuffer")
    for stamp in frames(camera, 5):
        took.take(stamp, camera)
    told = took.counts(camera)
    assert told["produced"] == told["delivered"] + told["lost_camera"] == stamp.frame_id + 1
    assert (told["delivered"], stamp.segment) == (15, 0)
    assert took.lost == camera.counts().lost
    assert took.lost.incomplete == 6
    # the last frames of all are damaged: no id tells, and yet they count
    nodes.execute("ForceFailedBuffer")
    end = time.monotonic() + 5
    while camera.counts().lost.incomplete < 9 and time.monotonic() < end:
        link_of(camera).fetch(0.05)
    took.finish(camera)
    counts = camera.counts()
    assert (counts.produced, counts.lost.incomplete) == (told["produced"] + 3, 9)
    assert took.counts(camera)["lost_camera"] == told["lost_camera"] + 3
    accounted(camera, 15)


def test_software_trigger(opened: Callable[..., DeviceCamera]) -> None:
    camera = opened(trigger=TriggerSection(source="Software"), exposure_us=1000.0)
    camera.start()
    out = buffer(camera)
    for expected in range(3):
        assert camera.fill(out, 0.1) is None
        assert camera.state == (CameraState.RUNNING if expected else CameraState.WAITING)
        camera.trigger()
        assert frames(camera, 1)[0].frame_id == expected
    assert camera.counts() == (3, Lost(), 0)
    # faster than it exposes: what it did not take is told
    for _ in range(4):
        camera.trigger()
    frames(camera, 1)
    while camera.fill(out, 0.2):
        pass
    counts = camera.counts()
    assert counts.missed_triggers > 0
    assert counts.produced + counts.missed_triggers == 7


def test_exposure_is_set_while_frames_come(opened: Callable[..., DeviceCamera]) -> None:
    camera = opened(exposure_us=2000.0)
    camera.start()
    stamps = frames(camera, 3)
    assert camera.exposure == (2000.0, 1.0, pytest.approx(1e6 / 90))
    assert camera.expose(3000.0).us == 3000.0
    stamps += frames(camera, 6)
    told = [stamp.exposure_time_ns for stamp in stamps]
    assert told == [2_000_000] * 3 + [0] * 4 + [3_000_000] * 2
    with pytest.raises(
        UserError, match="20000 us is not possible; at 90 Hz the camera takes 1 to 11111"
    ):
        camera.expose(20_000.0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"height": 4097}, r"camera.cam1.height: Height cannot be 4097; it takes 1 to 4096$"),
        (
            {"exposure_us": 2e7},
            r"camera.cam1.exposure_us: ExposureTime cannot be 2e\+07; it takes 1 to 1e\+07",
        ),
        ({"gain_db": 60.0}, r"camera.cam1.gain_db: Gain cannot be 60; it takes 0 to 48$"),
        (
            {"pixel_format": "Mono3"},
            r"camera.cam1.pixel_format: PixelFormat cannot be Mono3; it takes Mono8, Mono10, ",
        ),
        (
            {"pixel_format": "RGB8Packed"},
            r"camera.cam1.pixel_format: RGB8Packed at 64 px .* choose 'Mono8' or another gray",
        ),
        (
            {"chunks": ("Timestamp",)},
            r"camera.cam1.chunks: the camera has no ChunkSelector; leave it out$",
        ),
        (
            {"trigger": TriggerSection(source="Line9")},
            r"camera.cam1.trigger.source: TriggerSource cannot be Line9; it takes Software, Line1",
        ),
        (
            {"settings": {"ReverseX": 1.5}},
            r"camera.cam1.settings.ReverseX: ReverseX cannot be 1.5; ReverseX: it is no float$",
        ),
        (
            {"settings": {"DeviceVersion": "3"}},
            r"camera.cam1.settings.DeviceVersion: .* cannot be 3; .* cannot be set now$",
        ),
        (
            {"settings": {"Nope": True}},
            r"camera.cam1.settings.Nope: the camera has no Nope; leave it out$",
        ),
    ],
)
def test_what_it_does_not_take_is_refused(
    any_link: PylonLink, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        set_up(any_link.nodes, SECTION.model_copy(update=keys), "cam1", any_link.alive)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"serial": "77"},
            r"^camera.cam1: there is no camera with serial 77; there are: "
            rf"Emulation {FIRST}, Emulation {SECOND}$",
        ),
        (
            {"serial": None, "model": "Emulation"},
            rf"^camera.cam1.serial: say which camera; there are: Emulation {FIRST}, Emulation",
        ),
        ({"user_id": "left"}, rf"no camera with serial {FIRST} and user_id left; there are"),
    ],
)
def test_which_camera_is_meant_has_to_be_plain(
    opened: Callable[..., DeviceCamera], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        opened(**keys)


def test_a_camera_that_will_not_do_is_not_kept_open(opened: Callable[..., DeviceCamera]) -> None:
    with pytest.raises(UserError, match=r"^camera.cam1.width: Width cannot be 5000; it takes 1 to"):
        opened(width=5000)
    opened().start()


def test_settings_arrive_at_the_camera(any_link: PylonLink) -> None:
    # a whole number into a float feature, and the other way round
    settings = {"ReverseX": True, "BlackLevel": 4, "DigitalShift": 2.0, "DeviceUserID": "left"}
    section = SECTION.model_copy(
        update={"pixel_format": "Mono8", "gain_db": 3.0, "settings": settings}
    )
    set_up(any_link.nodes, section, "cam1", any_link.alive)
    assert {name: any_link.nodes.read(name) for name in settings} == settings
    assert any_link.nodes.read("Gain") == pytest.approx(3.0, abs=0.1)


def test_two_cameras_by_their_serials(opened: Callable[..., DeviceCamera]) -> None:
    one, other = opened(), opened(serial=SECOND, height=32)
    for camera, serial in ((one, FIRST), (other, SECOND)):
        device = link_of(camera)._camera.GetDeviceInfo()
        assert device.GetSerialNumber() == serial
        camera.start()
    for camera in (one, other, one):
        frames(camera, 3)
    assert other.info.height == 32


def pull_out(camera: DeviceCamera) -> None:
    """Have the emulator's driver fail."""
    stream = link_of(camera)._camera.GetStreamGrabberNodeMap()
    stream.GetNode("ImposedError").SetValue("cable pulled")


def fetch_all(link: PylonLink) -> None:
    while True:
        link.fetch(1.0)
        link.requeue()


def test_gone_and_back_is_a_new_segment(opened: Callable[..., DeviceCamera]) -> None:
    camera = opened()
    camera.start()
    frames(camera, 4)
    first = link_of(camera)
    pull_out(camera)
    out, end, before = buffer(camera), time.monotonic() + 5, 4
    while camera.state is not CameraState.GONE and time.monotonic() < end:
        before += camera.fill(out, 0.05) is not None
    assert camera.state is CameraState.GONE
    stamps = frames(camera, 3)
    assert {stamp.segment for stamp in stamps} == {1}
    assert stamps[0].frame_id == 0
    accounted(camera, before + 3)
    assert link_of(camera) is not first


def test_gone_ends_the_run_where_it_shall(opened: Callable[..., DeviceCamera]) -> None:
    camera = opened(on_gone="stop")
    camera.start()
    pull_out(camera)
    with pytest.raises(UserError, match=r"^camera.cam1: is gone: cable pulled; the run stops"):
        frames(camera, 1000)


def test_a_driver_that_failed_is_not_taken_for_a_silent_camera(
    opened: Callable[..., DeviceCamera],
) -> None:
    camera = opened()
    camera.start()
    link = link_of(camera)
    pull_out(camera)
    with pytest.raises(LinkLost, match="cable pulled"):
        fetch_all(link)
    with pytest.raises(LinkLost, match="has stopped"):
        link.fetch(0.01)


def test_nothing_of_a_closed_camera_is_touched(opened: Callable[..., DeviceCamera]) -> None:
    """Pypylon's node maps are freed memory by then: reading one would end the process."""
    camera = opened()
    camera.start()
    link = link_of(camera)
    fetched = link.fetch(1.0)
    camera.close()
    camera.close()
    assert fetched is not None
    with pytest.raises(ValueError, match="released"):
        link.copy(fetched, buffer(camera))
    assert not link.alive()
    assert link.underruns() == 0
    assert link.latch() is None
    for use in (link.start, link.trigger, lambda: link.fetch(0.01)):
        with pytest.raises(LinkLost):
            use()
    assert link.nodes.allowed("Width") == ""
    with pytest.raises(NodeRefused, match="Width: No device"):
        link.nodes.write("Width", 64)


def test_without_pypylon_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypylon", None)
    with pytest.raises(UserError, match=r'camera.cam1.kind: .* pip install "rtface\[pylon\]"$'):
        open_camera("cam1", SECTION)


def test_a_run_accounts_for_every_frame(tmp_path: Path, tiny_bundle: Path) -> None:
    keys = {"kind": "pylon", "serial": SECOND, "pixel_format": "Mono12", "rate_hz": 80.0}
    keys |= {"width": 320, "height": 240}
    camera = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    with running(tmp_path, tiny_bundle, camera) as program:
        time.sleep(2.0)
        code, out, err = program.stop()
    assert code == 0, err
    told = re.search(r"(\d+) produced = (\d+) delivered \+ (\d+) lost", out)
    assert told is not None
    assert int(told[1]) == int(told[2]) + int(told[3])
    assert int(told[2]) > 40
    assert "every frame accounted for: yes" in out
