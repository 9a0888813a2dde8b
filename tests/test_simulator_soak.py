"""Long runs of real harvesters on a simulated camera: exact images, flat memory, many starts."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gentlsim import DELIVERED, Simulator
from programs import account, running, wait_until
from test_simulator import camera, clip, simulate

from rtface.rings import FrameRingReader

pytestmark = pytest.mark.cameras


class Watcher:
    """Reads the frames of a run from its ring and compares each with the clip."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._pictures = pictures
        self._ring = FrameRingReader("cam1")
        self._next = 0
        self.stamps: list[tuple[int, int]] = []
        self.wrong = self.gone = 0

    def look(self) -> None:
        head = self._ring.ring.head
        while self._next <= head:
            frame = self._ring.read(self._next)
            self._next += 1
            if frame is None:
                self.gone += 1
                continue
            stamp = frame.stamp
            assert stamp.t_camera_ns is not None
            self.stamps.append((stamp.frame_id, stamp.t_camera_ns))
            shown = self._pictures[stamp.frame_id % len(self._pictures)]
            self.wrong += not np.array_equal(frame.image, shown)


@pytest.mark.timeout(200)
def test_a_minute_at_200_hz_is_bit_identical(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = clip(40, 480, 640)
    simulator = simulate(monkeypatch, tmp_path, width=640, height=480, clip=pictures)
    extra = "[ring]\nframes_s = 6.0\n"
    with running(tmp_path, tiny_bundle, camera(simulator), extra=extra) as program:
        watcher = Watcher(pictures)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            watcher.look()
            time.sleep(0.01)
        counts = program.counts()
        code, out, err = program.stop()
    assert code == 0, err
    assert counts["segment"] == 0
    assert (watcher.wrong, watcher.gone) == (0, 0)
    stamps = np.array(watcher.stamps)
    log = simulator.log()
    assert len(stamps) > 11_000
    at = np.searchsorted(log["frame_id"], stamps[:, 0])
    assert (log["frame_id"][at] == stamps[:, 0]).all()
    assert (log["device_ns"][at] == stamps[:, 1]).all()
    assert (log["what"][at] == DELIVERED).all()
    told = account(out)
    # what the camera lost is what its log says, up to the last frame that was delivered
    upto = log[log["index"] < log["index"][0] + told["produced"]]
    assert told["delivered"] == (upto["what"] == DELIVERED).sum()
    assert told["lost"] == (upto["what"] != DELIVERED).sum()
    assert "every frame accounted for: yes" in out


IN_ONE_PROCESS = """
import gc, sys, time
import numpy as np
from rtface.acquire import Account
from rtface.camera.genicam import open_genicam
from rtface.camera_config import GenicamSection

def anonymous_kb():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0])

def handles():
    import os
    return len(os.listdir("/proc/self/fd"))

cti, rate, opens, starts, n_frames = sys.argv[1], *map(int, sys.argv[2:])
section = GenicamSection(kind="genicam", producer=cti, rate_hz=float(rate))
image = np.zeros((96, 128), np.uint8)
seen = []
for cycle in range(opens):
    camera = open_genicam("cam1", section)
    for start in range(starts):
        account = Account(camera.first_id)
        camera.start()
        while account.delivered < n_frames:
            stamp = camera.fill(image, 0.05)
            if stamp is not None:
                account.take(stamp, camera)
                if account.delivered % 10_000 == 0:
                    seen.append((anonymous_kb(), handles()))
        camera._link._acquirer.stop()
        if start % 20 == 19:
            gc.collect()
            seen.append((anonymous_kb(), handles()))
    camera.close()
    if starts == 1 and n_frames < 10_000:
        gc.collect()
        seen.append((anonymous_kb(), handles()))
print(seen)
"""


def memory(simulator: Simulator, rate: int, opens: int, starts: int, frames: int) -> list[Any]:
    arguments = map(str, (simulator.cti, rate, opens, starts, frames))
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen: list[Any] = eval(done.stdout)
    print(seen)
    return seen


@pytest.mark.timeout(300)
def test_a_hundred_thousand_frames_leave_memory_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(monkeypatch, tmp_path, rate_max_hz=2000.0)
    seen = memory(simulator, 2000, 1, 1, 100_000)
    assert len(seen) == 10
    assert seen[-1][0] - seen[1][0] < 1000  # kB
    assert seen[-1][1] == seen[1][1]


@pytest.mark.timeout(300)
def test_two_hundred_starts_leave_memory_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(monkeypatch, tmp_path)
    seen = memory(simulator, 500, 1, 200, 5)
    assert len(seen) == 10
    assert seen[-1][0] - seen[1][0] < 1000  # kB
    assert seen[-1][1] == seen[1][1]


@pytest.mark.timeout(120)
def test_a_camera_that_is_opened_again_costs_no_more_than_its_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bindings never free the node map of a camera that was closed: 0.35 MB of this one."""
    simulator = simulate(monkeypatch, tmp_path)
    seen = memory(simulator, 500, 30, 1, 5)
    assert (seen[-1][0] - seen[5][0]) / 24 < 500  # kB
    assert seen[-1][1] == seen[5][1]


COMES_AND_GOES = """
import sys
from pathlib import Path
import numpy as np
from rtface.camera.genicam import open_genicam
from rtface.camera_config import GenicamSection
from rtface.child import quiet_memory
from rtface.types import CameraState

def anonymous_kb():
    text = Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0])

section = GenicamSection(kind="genicam", producer=sys.argv[1], rate_hz=50.0)
camera = open_genicam("cam1", section)
image = np.zeros((camera.info.height, camera.info.width), np.uint8)
quiet_memory()
camera.start()
for life in range(5):
    delivered = 0
    while delivered < 40:
        stamp = camera.fill(image, 0.05)
        delivered += stamp is not None
    assert stamp.segment == life
    print(anonymous_kb(), flush=True)
    while life < 4 and camera.state is not CameraState.GONE:
        camera.fill(image, 0.05)
camera.close()
"""


@pytest.mark.timeout(120)
def test_a_large_camera_that_comes_back_leaves_memory_flat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acquisition runs without garbage collection, and the buffers of one life are 37 MB."""
    simulator = simulate(monkeypatch, tmp_path, width=1920, height=1200)
    command = [sys.executable, "-c", COMES_AND_GOES, str(simulator.cti)]
    seen = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                seen.append(int(line))
                if len(seen) == 5:
                    break
                simulator.kill()
                wait_until(lambda: not simulator.acquiring(), 10)
                simulator.revive()
            assert process.wait(20) == 0
        finally:
            process.kill()
    print(seen)
    assert len(seen) == 5
    assert (seen[-1] - seen[0]) / 4 < 2000  # kB
