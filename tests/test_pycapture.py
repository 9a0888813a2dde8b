"""PyCapture2's calls on real harvesters: Viky's virtual camera and our own simulated ones.

Cases with a camera run in one other process for each of the two producers: harvesters takes Ctrl-C
away, and a producer is loaded by one user of it at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gentlsim import Simulator

import rtface.camera.pycapture as pc
from rtface.camera.embedded import FIELDS, in_order, pins, read_words
from rtface.camera.producers import VARIABLE
from rtface.camera.pycapture.embedded import Told, cycle_time, words
from rtface.camera.pycapture.values import EMBEDDED
from rtface.clock import CYCLE_WRAP_NS, cycle_ns

pytestmark = pytest.mark.cameras

pytest.importorskip("harvesters")
pytest.importorskip("genicam")
import pycapture_cases as cases  # noqa: E402

#: for a case, with the start of its process; less than what pytest gives a test
CASE_S = 50


class Elsewhere:
    """Another process, in which cases run one after another."""

    def __init__(self) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"))

    def __call__(self, case: Callable[..., None], *args: Any) -> None:
        """Run a case there; what it raises is raised here. One that hangs ends with its process."""
        running = self._process.submit(cases.run, case, *args)
        done, _ = wait([running], CASE_S)
        if not done:
            for worker in list(self._process._processes.values()):
                worker.kill()
            self.close()
            self._process = ProcessPoolExecutor(1, get_context("spawn"))
            pytest.fail(f"{case.__name__} takes more than {CASE_S} s")
        running.result()

    def close(self) -> None:
        self._process.shutdown()


@pytest.fixture(scope="module")
def at_viky() -> Iterator[Elsewhere]:
    process = Elsewhere()
    yield process
    process.close()


@pytest.fixture(scope="module")
def at_simulator() -> Iterator[Elsewhere]:
    process = Elsewhere()
    yield process
    process.close()


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("t_ns", [0, 124_999, 125_000, 999_999_999, 127_999_999_999, 10**18 + 7])
def test_cycle_time_is_what_rtface_reads(t_ns: int) -> None:
    seconds, cycles, offset = cycle_time(t_ns)
    assert (seconds < 128, cycles < 8000, offset < 3072) == (True, True, True)
    word = int.from_bytes(words(Told(0, t_ns, 0, 0, 0), ("timestamp",)), "big")
    assert word == seconds << 25 | cycles << 12 | offset
    assert 0 <= t_ns % CYCLE_WRAP_NS - cycle_ns(word) <= 82  # ns: 1/24.576 MHz is 41, twice rounded


def test_words_stand_in_the_order_of_cameras() -> None:
    field_of = dict(zip(EMBEDDED, FIELDS, strict=True))
    told = Told(2**32 + 5, None, 0b1010, 16, 8)
    on = ("ROIPosition", "GPIOPinState", "frameCounter", "timestamp")
    image = np.frombuffer(words(told, on), np.uint8).reshape(1, 16)
    read = read_words(image, in_order(field_of[name] for name in on))
    assert (read["timestamp"], read["frame_counter"], read["roi"]) == (0, 5, 16 << 16 | 8)
    assert pins(read["gpio"]) == 0b1010


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("VIDEO_MODE", "setFormat7Configuration"),
        ("FRAMERATE", "FRAME_RATE"),
        ("startSyncCapture", "setTriggerMode"),
        ("BUS_CALLBACK_TYPE", "getNumOfCameras"),
    ],
)
def test_what_is_not_offered_says_what_to_use_instead(name: str, remedy: str) -> None:
    assert remedy in cases.refused(getattr, pc, name)
    assert not hasattr(pc, "__wrapped__")
    assert not hasattr(pc, "Camara")


def test_without_the_extra_that_is_one_line() -> None:
    script = """
import sys
sys.modules.update(dict.fromkeys(["harvesters", "harvesters.core", "genicam"]))
import rtface.camera.pycapture as pc
try:
    pc.BusManager().getNumOfCameras()
except pc.Fc2error as error:
    print(error)
"""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CASE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rtface[genicam]" in done.stdout


def test_images_convert_and_say_what_to_use_instead(tmp_path: Path) -> None:
    gray = pc.Image(np.arange(12, dtype=np.uint8), 3, 4)
    assert gray.getData().reshape(3, 4)[2, 3] == 11
    bgr = gray.convert(pc.PIXEL_FORMAT.BGR)
    assert bgr.getPixelFormat() == pc.PIXEL_FORMAT.BGR
    assert bgr.getData().reshape(3, 4, 3)[2, 3].tolist() == [11, 11, 11]
    assert (bgr.getStride(), bgr.getDataSize(), bgr.getBitsPerPixel()) == (12, 36, 24)
    deep = pc.Image(np.array([255, 7] * 4, np.uint8), 1, 4, "Mono16")  # 0x07FF
    assert deep.convert(pc.PIXEL_FORMAT.MONO8).getData().tolist() == [7, 7, 7, 7]
    mosaic = pc.Image(np.full(16, 9, np.uint8), 4, 4, "BayerGR8")
    assert mosaic.getBayerTileFormat() == pc.BAYER_FORMAT.GRBG
    assert mosaic.convert(pc.PIXEL_FORMAT.MONO8).getData().tolist() == [9] * 16
    assert "cv2.cvtColor" in cases.refused(mosaic.convert, pc.PIXEL_FORMAT.BGR)
    path = tmp_path / "frame.pgm"
    gray.save(str(path).encode())
    assert path.read_bytes() == b"P5 4 3 255\n" + bytes(range(12))
    assert "cv2.imwrite" in cases.refused(gray.save, tmp_path / "frame.png")
    assert "No such" in cases.refused(
        gray.save, tmp_path / "none" / "frame.raw", pc.IMAGE_FILE_FORMAT.RAW
    )


# -- Viky: a camera of another vendor, with few features -------------------------------------------


def test_a_camera_with_few_features_says_what_it_has_and_lacks(at_viky: Elsewhere) -> None:
    at_viky(cases.few_features)


def test_images_are_the_oldest_or_the_newest_or_late(at_viky: Elsewhere) -> None:
    at_viky(cases.capture)


def test_images_go_to_a_callback(at_viky: Elsewhere) -> None:
    at_viky(cases.callbacks)


def test_without_a_driver_that_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr("rtface.camera.producers._USUAL", ())
    assert "no GenTL producer" in cases.refused(pc.BusManager().getNumOfCameras)


# -- our own simulator: all that Point Grey's scripts use ------------------------------------------


def test_settings_mean_the_same_as_in_pycapture2(at_simulator: Elsewhere, tmp_path: Path) -> None:
    at_simulator(cases.settings, tmp_path)


@pytest.mark.parametrize(
    "keys",
    [
        {"rate_hz": 200},
        {"rate_hz": 200, "names": "pgr", "tl_type": "GEV", "tick_hz": 10**6, "line_padding": 8},
    ],
    ids=["sfnc", "pgr"],
)
def test_what_is_embedded_is_what_the_camera_knows(
    at_simulator: Elsewhere, tmp_path: Path, keys: dict[str, Any]
) -> None:
    at_simulator(cases.embedded, tmp_path, keys)


def test_a_region_leaves_a_format_that_pycapture2_has_not(
    at_simulator: Elsewhere, tmp_path: Path
) -> None:
    at_simulator(cases.formats, tmp_path)


def test_another_thread_may_stop(at_simulator: Elsewhere, tmp_path: Path) -> None:
    at_simulator(cases.stopped, tmp_path)


def test_triggers_expose_and_losses_are_told(at_simulator: Elsewhere, tmp_path: Path) -> None:
    at_simulator(cases.triggered, tmp_path)


def test_an_unplugged_camera_is_an_error_and_can_come_back(
    at_simulator: Elsewhere, tmp_path: Path
) -> None:
    at_simulator(cases.unplugged, tmp_path)


def test_a_lab_script_runs_after_its_import_was_changed(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, {"serial": "17023355", "model": "Blackfly", **cases.READY})
    text = (Path(__file__).parent / "data" / "pycapture_script.py").read_text()
    changed = text.replace(
        "import PyCapture2\n", "import rtface.camera.pycapture as PyCapture2\n", 1
    )
    assert changed != text
    script = tmp_path / "script.py"
    script.write_text(changed)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, **simulator.env, VARIABLE: str(simulator.cti.parent)},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=CASE_S,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    told = {line[0]: line[1:] for line in lines}
    assert told["serial"] == ["17023355"]
    assert told["region"] == ["160 120"]
    assert (told["shutter"], told["gain"], told["converted"]) == (["2.0"], ["3.0"], ["230400"])
    frames = [line[1].split()[0] for line in lines if line[0] == "frame"]
    assert frames == [str(n) for n in range(10)]
    log = simulator.log()["device_ns"]
    steps = [int(line[1]) for line in lines if line[0] == "step"]
    assert steps == np.diff(log // 125_000).tolist()
    assert "done" in told
