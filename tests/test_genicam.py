"""The genicam camera on real harvesters and the simulator: what each frame says, and each fault."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gentlsim import DELIVERED, NO_BUFFER, Simulator

from rtface.acquire import Account
from rtface.camera.device import DeviceCamera
from rtface.camera.genicam import open_genicam
from rtface.camera_config import GenicamSection, TriggerSection
from rtface.config import parse_rig
from rtface.exposure import FrameTimer
from rtface.timing import timing_of
from rtface.types import CameraState, Lost, Stamp, UserError

Opened = Callable[..., "Run"]


class Run:
    """A camera in this process, and what acquisition counts of it."""

    def __init__(self, simulator: Simulator, **fields: Any) -> None:
        told = {"rate_hz": 200.0, **fields}
        section = GenicamSection(kind="genicam", producer=str(simulator.cti), **told)
        self.simulator = simulator
        self.camera: DeviceCamera = open_genicam("cam1", section)
        info = self.camera.info
        self.image = np.zeros((info.height, info.width), info.dtype)
        self.images: list[np.ndarray] = []
        self.stamps: list[Stamp] = []
        self.states: list[CameraState] = []
        self.account = Account(self.camera.first_id)
        self.camera.start()

    def take(self, n: int, timeout_s: float = 10) -> list[Stamp]:
        """Take n more frames."""
        goal, end = len(self.stamps) + n, time.monotonic() + timeout_s
        while len(self.stamps) < goal:
            assert time.monotonic() < end, f"{len(self.stamps)} of {goal} frames"
            stamp = self.camera.fill(self.image, 0.05)
            if self.states[-1:] != [self.camera.state]:
                self.states.append(self.camera.state)
            if stamp is not None:
                self.account.take(stamp, self.camera)
                self.stamps.append(stamp)
                self.images.append(self.image.copy())
        return self.stamps[-n:]

    def counts(self) -> dict[str, Any]:
        counts = self.account.counts(self.camera)
        assert counts["produced"] == counts["delivered"] + counts["lost_camera"]
        return counts

    def log(self, what: int = DELIVERED) -> np.ndarray:
        """What the camera says it did, up to the newest frame that arrived."""
        log = self.simulator.log()
        last = log["index"][log["what"] == DELIVERED][len(self.stamps) - 1]
        return log[(log["what"] == what) & (log["index"] <= last)]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    runs: list[Run] = []

    def open_one(keys: dict[str, Any], **fields: Any) -> Run:
        simulator = Simulator(tmp_path / str(len(runs)), {"width": 64, "height": 48, **keys})
        for name, value in simulator.env.items():
            monkeypatch.setenv(name, value)
        runs.append(Run(simulator, **fields))
        return runs[-1]

    yield open_one
    for run in runs:
        run.camera.close()


def test_a_host_that_is_late_loses_frames_for_want_of_buffers(opened: Opened) -> None:
    run = opened({})
    run.take(20)
    time.sleep(0.6)  # 120 frames, and 40 buffers
    run.take(60)
    lost = len(run.log(NO_BUFFER))
    assert lost > 30
    assert run.counts()["lost"] == Lost(no_buffer=lost)._asdict()


def test_silence_is_told_and_loses_nothing(opened: Opened) -> None:
    run = opened({"silent": {40: 1700}})
    run.take(80)
    assert run.states == [CameraState.RUNNING, CameraState.SILENT, CameraState.RUNNING]
    assert run.counts()["lost_camera"] == 0
    assert {s.segment for s in run.stamps} == {0}


@pytest.mark.parametrize("names", ["sfnc", "pgr"])
@pytest.mark.parametrize("layout", ["Custom", "GEV", "U3V"])
def test_what_the_camera_sends_along(opened: Opened, names: str, layout: str) -> None:
    chunks = ("Timestamp", "FrameID", "ExposureTime", "LineStatusAll")
    run = opened(
        {"names": names, "tl_type": layout, "tick_hz": 8000 if names == "pgr" else 10**9},
        chunks=chunks,
        exposure_us=1500.0,
    )
    run.take(10)
    run.simulator.level(0, 0b101)
    late = run.take(30)[-5:]
    assert {s.exposure_time_ns for s in run.stamps} == {1_500_000}
    assert {s.line_status & 0b101 for s in run.stamps[:8]} == {0}
    assert {s.line_status & 0b101 for s in late} == {0b101}
    log = run.log()
    assert [s.frame_id for s in run.stamps] == log["frame_id"].tolist()
    off_ns = np.array([s.t_camera_ns for s in run.stamps]) - log["device_ns"]
    assert (np.abs(off_ns) <= (125_000 if names == "pgr" else 0)).all()


@pytest.mark.cameras
@pytest.mark.parametrize(("names", "chunks"), [("sfnc", ()), ("pgr", ("ExposureTime",))])
def test_exposure_is_set_while_frames_come(
    opened: Opened, names: str, chunks: tuple[str, ...]
) -> None:
    run = opened(
        {"names": names, "automatic": int(names == "pgr")}, chunks=chunks, exposure_us=1000.0
    )
    now = run.camera.exposure
    assert now is not None
    assert now == (1000.0, now.least_us, pytest.approx(5000, rel=1e-3))  # a frame, the camera's own
    run.take(800)
    assert run.camera.expose(3500.0).us == 3500.0
    run.take(400)
    with pytest.raises(UserError, match=r"5001 us is not possible; at 200 Hz the camera takes \d"):
        run.camera.expose(5001.0)
    told = np.array([stamp.exposure_time_ns for stamp in run.stamps])
    changed = int(np.flatnonzero(told != 1_000_000)[0])
    assert 790 <= changed <= 840
    assert set(told[:changed]) == {1_000_000}
    assert set(told[changed + 4 :]) == {3_500_000}
    assert set(told[changed : changed + 4]) <= ({0} if not chunks else {1_000_000, 3_500_000})
    # and the times that are told of the frames are those at which the camera exposed them
    section = {
        "kind": "genicam", "rate_hz": 200.0, "stamp_means": "start", "exposure_us": 1000.0,
        "delay_us": 1200.0, "delay_err_us": 500.0,
    }  # fmt: skip
    timer = FrameTimer(
        timing_of(parse_rig({"camera": {"cam1": section}}, "t"), "cam1", run.camera.info)
    )
    middles = run.log()["middle_ns"]
    for i, (stamp, middle_ns) in enumerate(zip(run.stamps, middles, strict=True)):
        found = timer(stamp)
        if i > 600:
            off_ns = abs(found.exposure_ns - middle_ns)
            assert off_ns <= found.exposure_err_ns, i
            # closer than half of the change is, if a frame knows its exposure time
            assert off_ns < 600_000 or not stamp.exposure_time_ns, i


def test_the_clock_is_latched_once_a_second(opened: Opened) -> None:
    run = opened({"drift_ppm": 200.0})
    run.take(500)
    pairs = list(dict.fromkeys(s.pair for s in run.stamps))
    assert len(pairs) in (3, 4)
    device, host, within = np.array(pairs).T
    assert (within < 50_000_000).all()
    drift_ppm = (np.diff(device) - np.diff(host)) / np.diff(host) * 1e6
    allowed = (within[1:] + within[:-1]) / np.diff(host) * 1e6
    assert (np.abs(drift_ppm - 200) <= allowed + 1).all()


def test_without_a_clock_there_are_no_times(opened: Opened) -> None:
    run = opened({"has_timestamp": 0, "latch": 0})
    run.take(5)
    assert {(s.t_camera_ns, s.pair) for s in run.stamps} == {(None, None)}


@pytest.mark.parametrize(
    ("pixels", "bits"),
    [
        ("Mono8", 8),
        ("Mono10", 10),
        ("Mono12", 12),
        ("Mono16", 16),
        ("Mono10p", 10),
        ("Mono12p", 12),
        ("Mono12Packed", 12),
    ],
)
def test_native_bits_arrive(opened: Opened, pixels: str, bits: int) -> None:
    n, height, width = 20, 48, 64
    frames = np.random.default_rng(5).integers(0, 1 << bits, (n, height, width), np.uint16)
    run = opened({"pixel_format": pixels, "clip": packed(pixels, frames), "line_padding": 4})
    assert run.camera.info.bits == bits
    run.take(30)
    for image, shown in zip(run.images, run.log()["clip_index"], strict=True):
        assert np.array_equal(image, frames[shown])


def packed(pixels: str, frames: np.ndarray) -> np.ndarray:
    """The clip as the camera stores it."""
    if pixels == "Mono8":
        return frames.astype(np.uint8)
    if pixels.endswith("p"):
        bits = int(pixels[4:6])
        each = (frames.reshape(-1, 1) >> np.arange(bits)) & 1
        return np.packbits(each.astype(np.uint8).ravel(), bitorder="little")
    if pixels == "Mono12Packed":
        first, second = frames.reshape(-1, 2).T
        low = (first & 15) | (second & 15) << 4
        return np.stack([first >> 4, low, second >> 4], 1).astype(np.uint8)
    return frames.astype("<u2")


def test_region_strobe_and_trigger_are_set(opened: Opened) -> None:
    run = opened(
        {"width": 128, "height": 96},
        width=64,
        height=48,
        offset_x=32,
        offset_y=16,
        strobe_line="Line2",
        gain_db=6.0,
        exposure_us=800.0,
        trigger=TriggerSection(source="Line0", activation="RisingEdge", overlap="ReadOut"),
        trigger_delay_us=100.0,
    )
    read = run.camera._link.nodes.read  # type: ignore[attr-defined]
    told = {
        "Width": 64,
        "Height": 48,
        "OffsetX": 32,
        "OffsetY": 16,
        "Gain": 6.0,
        "ExposureTime": 800.0,
        "TriggerMode": "On",
        "TriggerSource": "Line0",
        "TriggerOverlap": "ReadOut",
        "TriggerDelay": 100.0,
        "LineSource": "ExposureActive",
        "LineMode": "Output",
    }
    assert {name: read(name) for name in told} == told
    assert run.camera.state is CameraState.WAITING
    run.simulator.edge()
    run.take(1)
    assert run.camera.info.rate_hz == 200.0  # the trigger's, as the rig file says


def test_without_the_extra_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "some.cti").touch()
    program = f"""
import sys
sys.modules["harvesters"] = sys.modules["genicam"] = None
from rtface.camera.genicam import open_genicam
from rtface.camera_config import GenicamSection
from rtface.types import UserError
try:
    open_genicam("cam1", GenicamSection(
        kind="genicam", rate_hz=50.0, producer={str(tmp_path / "some.cti")!r}))
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'pip install "rtface[genicam]"' in done.stdout, done.stderr


def test_one_producer_that_does_not_load_is_in_nobody_s_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(tmp_path / "sim", {})
    for name, value in simulator.env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "broken.cti").write_text("nothing that loads")
    (tmp_path / "good.cti").symlink_to(simulator.cti)
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(tmp_path))
    section = GenicamSection(kind="genicam", rate_hz=100.0)
    camera = open_genicam("cam1", section)
    camera.close()
    (tmp_path / "good.cti").unlink()
    with pytest.raises(UserError, match=r"broken.cti: is no GenTL producer that loads"):
        open_genicam("cam1", section)
