"""A GigE Vision camera on the loopback network: frames, lost packets, and a camera that dies.

The camera is a program of Aravis; harvesters reaches it through a GenTL producer of our own, which
is built from ``gentl/gev.c``. A pixel of the camera's n-th frame is (x + y + n) mod 255, and n
begins shortly before its 16-bit frame ids wrap around.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gentlsim import build_producer

pytestmark = [pytest.mark.cameras, pytest.mark.timeout(180)]
FAKE_CAMERA = "arv-fake-gv-camera-0.8"
PACKAGES = "pkg-config aravis-tools libaravis-dev libusb-1.0-0-dev"

# harvesters replaces the handler of SIGINT and GLib starts threads that stay: all of it happens in
# a process of its own, which tells what it saw in lines of JSON.
COMMON = """
import json, sys, time
import numpy as np
from genicam.gentl import GenericException, IoException, TimeoutException
from harvesters.core import Callback, Harvester

def say(**fields):
    print(json.dumps(fields), flush=True)

def find():
    for _ in range(20):  # each search takes 1 s
        harvester.update()
        if serial in [info.serial_number for info in harvester.device_info_list]:
            return harvester.create({"serial_number": serial})
    sys.exit("camera not found")

def configure(acquirer, width, height):
    nodes = acquirer.remote_device.node_map
    nodes.Width.value, nodes.Height.value = width, height
    nodes.AcquisitionFrameRate.value = 50.0
    acquirer.num_buffers = 32  # a busy machine may keep this program waiting for half a second
    return nodes

def fetch(acquirer):
    with acquirer.fetch(timeout=5) as buffer:
        part = buffer.payload.components[0]
        image = part.data.reshape(part.height, part.width)
        n = int(image[0, 0])
        whole = (np.add.outer(np.arange(part.height), np.arange(part.width)) + n) % 255
        return {
            "id": buffer.module.frame_id, "ns": buffer.timestamp_ns, "n": n,
            "shape": image.shape, "format": part.data_format,
            "intact": bool((image == whole).all()),
        }

producer, serial = sys.argv[1:]
harvester = Harvester()
harvester.add_file(producer)
acquirer = find()
stream = acquirer.data_streams
"""

STREAMING = """
nodes = configure(acquirer, 256, 200)
acquirer.start()
frames = [fetch(acquirer) for _ in range(200)]
time.sleep(1.5)  # the buffers are full after 0.64 s
late = [fetch(acquirer) for _ in range(40)]
say(
    frames=frames, late=late, underruns=stream[0].num_underrun,
    packet=int.from_bytes(acquirer.remote_device.port.read(0x0D04, 4)[1][2:], "big"),
    payload=nodes.PayloadSize.value,
)
acquirer.destroy()
"""

LOSING = """
came = []

class Incomplete(Callback):
    def emit(self, context):
        # harvesters does not hand over the buffer that it dropped; it was queued a moment ago and
        # is the last to be filled again
        (monitor,) = acquirer._new_buffer_event_monitor_dict.values()
        came.append({"complete": False, "id": monitor.buffer.frame_id})

nodes = configure(acquirer, 256, 256)
acquirer.add_callback(acquirer.Events.INCOMPLETE_BUFFER, Incomplete())
acquirer.start()
for _ in range(60):
    came.append({"complete": True, **fetch(acquirer)})
nodes.AcquisitionStop.execute()
time.sleep(1)  # a frame whose end was lost is given up after 0.2 s
say(
    came=came, awaiting=stream[0].num_awaiting_delivery, delivered=stream[0].num_delivered,
    started=stream[0].num_started, underruns=stream[0].num_underrun,
)
acquirer.destroy()
"""

DYING = """
nodes = configure(acquirer, 256, 200)
acquirer.start()
say(before=[fetch(acquirer) for _ in range(20)])
sys.stdin.readline()  # the camera is dead
try:
    while True:
        acquirer.fetch(timeout=1).queue()
except TimeoutException:
    pass
try:
    nodes.Width.value = 128
    failed = None
except GenericException as e:
    failed = type(e).__name__
say(failed=failed, access=acquirer.device.module.access_status)
try:
    acquirer.stop()
except IoException:
    pass
acquirer.destroy()
harvester.update()
say(found=len(harvester.device_info_list))
sys.stdin.readline()  # there is a new one
acquirer = find()
configure(acquirer, 256, 200)
acquirer.start()
say(after=[fetch(acquirer) for _ in range(50)])
acquirer.destroy()
"""


@pytest.fixture(scope="module")
def producer() -> Path:
    """The producer, built. Continuous integration has the packages: there it may not skip."""
    tools = (FAKE_CAMERA, "pkg-config")
    asked = ["pkg-config", "--cflags", "aravis-0.8"]
    if not all(map(shutil.which, tools)) or subprocess.run(asked, capture_output=True).returncode:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"libaravis is not installed; on Debian: apt-get install {PACKAGES}")
    return build_producer("gev")


class Camera:
    """The fake camera, in a process that can be killed and started again."""

    def __init__(self, lost_per_thousand: int = 0) -> None:
        self.serial = f"T{os.getpid()}"
        self.command = [FAKE_CAMERA, "-i", "127.0.0.1", "-s", self.serial]
        self.command += ["-r", str(lost_per_thousand)]
        self.start()

    def start(self) -> None:
        self.popen = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@contextlib.contextmanager
def camera(lost_per_thousand: int = 0) -> Iterator[Camera]:
    one = Camera(lost_per_thousand)
    try:
        yield one
        assert one.popen.poll() is None, "the fake camera ended by itself (is its port taken?)"
    finally:
        one.kill()


class Consumer:
    """A program that uses harvesters; ``told`` is the next thing it says."""

    def __init__(self, program: str, producer: Path, serial: str, log: Path, packet: int) -> None:
        self.log = log
        with log.open("w") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", COMMON + program, str(producer), serial],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "RTFACE_GEV_PACKET": str(packet)},
            )

    def told(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            if line.startswith("{"):
                fields: dict[str, Any] = json.loads(line)
                return fields
        raise AssertionError(self.log.read_text())

    def go_on(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def end(self) -> None:
        """It must have nothing left to say, nor GLib anything to complain about."""
        out, _ = self.popen.communicate(timeout=30)
        errors = self.log.read_text()
        assert (self.popen.returncode, out) == (0, ""), errors
        assert "CRITICAL" not in errors


@contextlib.contextmanager
def consumer(
    program: str, producer: Path, serial: str, folder: Path, packet: int = 1500
) -> Iterator[Consumer]:
    one = Consumer(program, producer, serial, folder / "stderr", packet)
    try:
        yield one
        one.end()
    finally:
        one.popen.kill()
        one.popen.communicate()


def steps(ids: list[int]) -> list[int]:
    """How far apart frame ids are; 0 is no id, so 1 follows 65535."""
    return [(b - a) % 65535 for a, b in pairwise(ids)]


def test_each_frame_arrives_once_and_in_order(producer: Path, tmp_path: Path) -> None:
    with (
        camera() as fake,
        consumer(STREAMING, producer, fake.serial, tmp_path, packet=4000) as program,
    ):
        told = program.told()
    frames, late = told["frames"], told["late"]
    ids = [frame["id"] for frame in frames]
    assert steps(ids) == [1] * 199
    assert 65535 in ids
    assert 0 not in ids
    assert told["packet"] == 4000
    assert told["payload"] == 256 * 200
    assert {(*frame["shape"], frame["format"]) for frame in frames} == {(200, 256, "Mono8")}
    assert all(frame["intact"] for frame in frames)
    assert {(b["n"] - a["n"]) % 255 for a, b in pairwise(frames)} == {1}
    times = [frame["ns"] for frame in frames]
    assert times == sorted(times)
    assert 15e6 < (times[-1] - times[0]) / 199 < 25e6
    # nobody gave buffers back for long: the frames that came then are gone, and each one is counted
    missing = sum(steps([ids[-1], *(frame["id"] for frame in late)])) - len(late)
    assert missing > 20
    assert missing == told["underruns"]


def test_lost_packets_make_incomplete_buffers(producer: Path, tmp_path: Path) -> None:
    with (
        camera(lost_per_thousand=5) as fake,
        consumer(LOSING, producer, fake.serial, tmp_path, packet=500) as program,
    ):
        told = program.told()
    came, underruns = told["came"], told["underruns"]
    complete = [frame for frame in came if frame["complete"]]
    assert all(frame["intact"] for frame in complete)
    # 0.995 ** 144 = 49 % get through
    assert 0.25 < len(complete) / len(came) < 0.75
    # what the stream counted is what harvesters saw
    assert told["delivered"] == len(came) + told["awaiting"]
    assert told["started"] == told["delivered"] + underruns
    # The id comes with the first packet of a frame; where that one was lost it is 0.
    known = [frame["id"] for frame in came if frame["id"]]
    assert len(known) > 0.9 * len(came)
    assert all(0 < step < 100 for step in steps(known))
    assert all(frame["id"] for frame in complete)
    # Complete, incomplete and missing add up; an id is missing if no buffer was free, or if all
    # of the 144 packets of a frame were lost.
    since = came[came.index(complete[0]) :]
    missing = sum(steps([frame["id"] for frame in complete])) + 1 - len(since)
    assert 0 <= missing <= underruns + len(since) // 20


def test_a_camera_that_died_is_found_again(producer: Path, tmp_path: Path) -> None:
    with (
        camera() as fake,
        consumer(DYING, producer, fake.serial, tmp_path) as program,
    ):
        assert steps([frame["id"] for frame in program.told()["before"]]) == [1] * 19
        fake.kill()
        program.go_on()
        assert program.told() == {"failed": "IoException", "access": 3}
        assert program.told() == {"found": 0}
        fake.start()
        program.go_on()
        after = program.told()["after"]
    assert steps([frame["id"] for frame in after]) == [1] * 49
    assert all(frame["intact"] for frame in after)
