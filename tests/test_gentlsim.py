"""The simulated cameras themselves, through harvesters: other tests take their word for truth."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genicam import genapi, gentl
from genicam.gentl import TimeoutException
from gentlsim import (
    DELIVERED,
    DROPPED,
    INCOMPLETE,
    NO_BUFFER,
    TRIGGER_MISSED,
    Simulator,
)
from harvesters.core import Callback, Harvester, ImageAcquirer

pytestmark = pytest.mark.cameras

Build = Callable[..., Simulator]


@dataclass
class Frame:
    id: int
    ns: int
    data: np.ndarray


class Count(Callback):
    """Of incomplete buffers, which harvesters keeps to itself."""

    def __init__(self) -> None:
        self.n = 0

    def emit(self, context: Any) -> None:
        self.n += 1


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    def build(*cameras: dict[str, Any]) -> Simulator:
        simulator = Simulator(tmp_path, *cameras)
        monkeypatch.setenv("RTFACE_GENTL_SIM", simulator.env["RTFACE_GENTL_SIM"])
        return simulator

    return build


@contextlib.contextmanager
def searching(simulator: Simulator) -> Iterator[Harvester]:
    handler = signal.getsignal(signal.SIGINT)
    harvester = Harvester()
    try:
        harvester.add_file(str(simulator.cti))
        harvester.update()
        yield harvester
    finally:
        harvester.reset()
        signal.signal(signal.SIGINT, handler)  # create() took it


@contextlib.contextmanager
def opened(simulator: Simulator) -> Iterator[ImageAcquirer]:
    with searching(simulator) as harvester:
        camera = harvester.create(0)
        camera.num_buffers = 40
        camera.timeout_period_on_update_event_data_call = 20
        yield camera
        camera.stop()


def grab(camera: ImageAcquirer, n: int, timeout: float = 5) -> list[Frame]:
    """Fetch until n complete frames are there or nothing comes for the timeout."""
    frames = []
    for _ in range(n):
        try:
            buffer = camera.fetch(timeout=timeout, is_raw=True)
        except TimeoutException:
            break
        data = np.frombuffer(buffer.raw_buffer, np.uint8).copy()
        frames.append(Frame(buffer.frame_id, buffer.timestamp_ns, data))
        buffer.parent.queue_buffer(buffer)
    return frames


def missing(camera: ImageAcquirer, seconds: float = 0.15) -> bool:
    return not grab(camera, 1, seconds)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def test_clip_arrives_as_it_is_and_the_log_says_when(build: Build) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (7, 480, 640), np.uint8)
    simulator = build({"clip": clip, "rate_hz": 200, "clock_start_ns": 5_000, "first_id": 3})
    with opened(simulator) as camera:
        camera.start()
        frames = grab(camera, 40)
    log = simulator.log()[:40]
    assert [f.id for f in frames] == list(range(3, 43)) == log["frame_id"].tolist()
    assert [f.ns for f in frames] == log["device_ns"].tolist()
    assert all(np.array_equal(f.data, clip[i % 7].ravel()) for i, f in enumerate(frames))
    assert set(np.diff(log["device_ns"])) == {5_000_000}
    assert (log["delivery_ns"] > log["middle_ns"]).all()
    assert log["clip_index"].tolist() == [i % 7 for i in range(40)]


def test_region_padding_and_chunks(build: Build) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (3, 120, 160), np.uint8)
    simulator = build(
        {"clip": clip, "width": 160, "height": 120, "line_padding": 12, "exposure_us": 700}
    )
    with opened(simulator) as camera:
        nodes = camera.remote_device.node_map
        assert (nodes.Width.max, nodes.Width.inc, nodes.OffsetX.max) == (160, 4, 0)
        nodes.Width.value, nodes.Height.value = 64, 40
        nodes.OffsetX.value, nodes.OffsetY.value = 96, 30
        assert (nodes.Width.max, nodes.OffsetX.max) == (64, 96)
        nodes.ChunkModeActive.value = True
        for chunk in ("FrameID", "ExposureTime", "Timestamp"):
            nodes.ChunkSelector.value = chunk
            nodes.ChunkEnable.value = True
        camera.start()
        with pytest.raises(genapi.AccessException):
            nodes.Width.value = 32
        for i in range(3):
            with camera.fetch(timeout=5) as buffer:
                image = buffer.payload.components[0]
                assert (image.width, image.height, image.x_offset) == (64, 40, 96)
                assert buffer.module.padding_x == 12
                lines = np.frombuffer(buffer.module.raw_buffer, np.uint8)[: 76 * 40]
                seen = lines.reshape(40, 76)[:, :64]
                assert np.array_equal(seen, clip[i, 30:70, 96:160])
                assert nodes.ChunkFrameID.value == buffer.module.frame_id == i
                assert nodes.ChunkTimestamp.value == buffer.timestamp_ns
                assert nodes.ChunkExposureTime.value == 700


def test_what_gets_lost_on_the_way(build: Build) -> None:
    simulator = build(
        {
            "width": 64,
            "height": 48,
            "rate_hz": 500,
            "drop": {5: 2, 20: 1},
            "incomplete": {10: 1},
            "delay": {15: 60},
            "silent": {30: 50},
        }
    )
    with opened(simulator) as camera:
        count = Count()
        camera.add_callback(camera.Events.INCOMPLETE_BUFFER, count)
        camera.start()
        frames = grab(camera, 40)
    log = simulator.log()
    ids = [f.id for f in frames]
    lost = {5: DROPPED, 6: DROPPED, 10: INCOMPLETE, 20: DROPPED}
    assert ids == [i for i in range(44) if i not in lost]
    assert count.n == 1
    assert log["what"][:44].tolist() == [lost.get(i, DELIVERED) for i in range(44)]
    assert np.diff(log["device_ns"])[[28, 29, 30]].tolist() == [2_000_000, 52_000_000, 2_000_000]
    assert log["delivery_ns"][15] - log["middle_ns"][15] > 60e6
    arrived = log["delivery_ns"][:44][log["what"][:44] != DROPPED]
    assert (np.diff(arrived) > 0).all()


def test_without_free_buffers_frames_are_lost_and_counted(build: Build) -> None:
    simulator = build({"width": 64, "height": 48, "rate_hz": 500})
    with opened(simulator) as camera:
        camera.num_buffers = 4
        camera.start()
        wait_for(lambda: len(simulator.log()) >= 20)
        frames = grab(camera, 5)
        underruns = camera.data_streams[0].num_underrun
    log = simulator.log()
    assert [f.id for f in frames[:4]] == [0, 1, 2, 3]
    assert frames[4].id >= 20
    assert (log["what"][4 : frames[4].id] == NO_BUFFER).all()
    assert underruns >= 16


def test_short_ids_wrap_and_skip_zero(build: Build) -> None:
    keys = {"width": 64, "height": 48, "rate_hz": 400, "id_bits": 16, "first_id": 65530}
    with opened(build(keys | {"tl_type": "GEV"})) as camera:
        camera.start()
        assert [f.id for f in grab(camera, 9)] == [*range(65530, 65536), 1, 2, 3]


def test_triggers(build: Build) -> None:
    keys = {"width": 64, "height": 48, "rate_max_hz": 200, "exposure_us": 2000}
    simulator = build(keys)
    with opened(simulator) as camera:
        nodes = camera.remote_device.node_map
        nodes.TriggerSource.value = "Software"
        nodes.TriggerMode.value = "On"
        camera.start()
        assert missing(camera)
        for node, value in ((nodes.TriggerSource, "Line0"), (nodes.TriggerActivation, "AnyEdge")):
            with pytest.raises(genapi.AccessException):  # as with many a real camera
                node.value = value
        before = time.monotonic_ns()
        nodes.TriggerSoftware.execute()
        nodes.TriggerSoftware.execute()  # too early: the camera exposes
        assert [f.id for f in grab(camera, 1)] == [0]
        camera.stop()
        nodes.TriggerMode.value = "Off"
        nodes.TriggerSource.value = "Line0"
        nodes.TriggerMode.value = "On"
        camera.start()
        for i in range(3):
            time.sleep(0.01)
            simulator.edge()
            assert [f.id for f in grab(camera, 1)] == [i]
        time.sleep(0.01)
        simulator.level(0, 1)
        assert len(grab(camera, 1)) == 1
        assert nodes.LineStatusAll.value == 1
        time.sleep(0.01)
        simulator.edge(n=3)  # of edges at once only the first counts
        wait_for(simulator.edges_seen)
        assert len(grab(camera, 1)) == 1
        assert missing(camera)
    log = simulator.log()
    what = [DELIVERED, TRIGGER_MISSED, *[DELIVERED] * 5, TRIGGER_MISSED, TRIGGER_MISSED]
    assert sorted(log["what"]) == sorted(what)
    exposed = log[log["what"] == DELIVERED]
    assert exposed["index"].tolist() == [0, *range(5)]
    assert 1_000_000 <= exposed["middle_ns"][0] - before < 1_000_000_000


def test_death_and_return(build: Build) -> None:
    simulator = build({"width": 64, "height": 48, "rate_hz": 200}, {"serial": "OTHER"})
    with searching(simulator) as harvester:
        assert [d.serial_number for d in harvester.device_info_list] == ["SIM00001", "OTHER"]
        camera = harvester.create({"serial_number": "SIM00001"})
        camera.start()
        assert len(grab(camera, 5)) == 5
        simulator.kill()
        wait_for(lambda: not simulator.acquiring())
        grab(camera, 20, 0.1)
        with pytest.raises(gentl.IoException):
            _ = camera.remote_device.node_map.DeviceTemperature.value
        assert camera.device.module.access_status == gentl.DEVICE_ACCESS_STATUS_LIST(3)
        with contextlib.suppress(gentl.GenericException, genapi.GenericException):
            camera.stop()
        harvester.update()
        assert [d.serial_number for d in harvester.device_info_list] == ["OTHER"]
        simulator.revive()
        harvester.update()
        camera = harvester.create({"serial_number": "SIM00001"})
        camera.start()
        assert [f.id for f in grab(camera, 5)] == [0, 1, 2, 3, 4]
        camera.stop()
    log = simulator.log()
    again = log[log["segment"] == 1]
    assert again["index"][:5].tolist() == [0, 1, 2, 3, 4]
    assert 1_000_000_000 <= again["device_ns"][0] < 3_000_000_000  # its clock began anew


def test_clock_can_be_read_and_drifts(build: Build) -> None:
    simulator = build({"drift_ppm": 1000, "clock_start_ns": 77_000_000_000})
    with opened(simulator) as camera:
        nodes = camera.remote_device.node_map
        pairs = []
        for _ in range(2):
            tries = []
            for _ in range(20):
                before = time.monotonic_ns()
                nodes.TimestampLatch.execute()
                after = time.monotonic_ns()
                tries.append((after - before, before, nodes.TimestampLatchValue.value))
            pairs.append(min(tries))
            time.sleep(0.5)
        (trip0, host0, device0), (trip1, host1, device1) = pairs
    slack = (trip0 + trip1) / (host1 - host0) * 1e6
    assert slack < 500
    assert abs((device1 - device0) / (host1 - host0) * 1e6 - 1e6 - 1000) <= slack
    assert device0 > 77_000_000_000


def test_old_names_and_packed_pixels(build: Build) -> None:
    values = np.random.default_rng(1).integers(0, 4096, (2, 48, 64)).astype(np.uint16)
    low, high = values[..., ::2], values[..., 1::2]
    packed = np.stack([low & 255, low >> 8 | (high & 15) << 4, high >> 4], -1).astype(np.uint8)
    keys = {"clip": packed, "pixel_format": "Mono12p", "names": "pgr", "tick_hz": 8000}
    simulator = build({"width": 64, "height": 48} | keys)
    with opened(simulator) as camera:
        nodes = camera.remote_device.node_map
        nodes.AcquisitionFrameRateAuto.value = "Off"
        nodes.AcquisitionFrameRateEnabled.value = True
        assert nodes.GevTimestampTickFrequency.value == 8000
        assert not hasattr(nodes, "TimestampLatch")
        camera.start()
        with camera.fetch(timeout=5) as buffer:
            assert buffer.payload.components[0].data_format == "Mono12p"
            raw = np.frombuffer(buffer.module.raw_buffer, np.uint8)
            assert np.array_equal(raw, packed[0].ravel())
            assert np.array_equal(buffer.payload.components[0].data, values[0].ravel())
            ticks = buffer.module.timestamp
            with pytest.raises(gentl.NotAvailableException):
                _ = buffer.module.timestamp_ns
        camera.stop()
        assert ticks == simulator.log()["device_ns"][0] * 8000 // 10**9
        nodes.PixelFormat.value = "Mono8"  # the camera can do that too
        camera.start()
        with camera.fetch(timeout=5) as buffer:
            assert np.array_equal(buffer.payload.components[0].data, (values[0] >> 4).ravel())
