"""rtface on a GigE Vision camera on the loopback network: damaged frames, and a pulled cable."""

from pathlib import Path

import numpy as np
import pytest
from programs import account, running, wait_until
from test_gev import camera, producer

from rtface.rings import FrameRingReader

__all__ = ["producer"]  # a fixture
pytestmark = [pytest.mark.cameras, pytest.mark.timeout(180)]
RIG = """kind = "genicam"
producer = "{producer}"
serial = "{serial}"
width = 256
height = 256
pixel_format = "Mono8"
rate_hz = 50.0
"""
PATTERN = np.add.outer(np.arange(256), np.arange(256))


class Looker:
    """Reads the frames of a run and compares each with what the camera draws."""

    def __init__(self) -> None:
        self.ring = FrameRingReader("cam1")
        self.next = self.broken = self.whole = 0

    def look(self) -> None:
        while self.next <= self.ring.ring.head:
            frame = self.ring.read(self.next)
            self.next += 1
            assert frame is not None
            right = np.array_equal(frame.image, (PATTERN + int(frame.image[0, 0])) % 255)
            self.whole += right
            self.broken += not right


def test_damaged_frames_are_counted_and_never_delivered(
    producer: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTFACE_GEV_PACKET", "1500")
    with camera(lost_per_thousand=5) as fake:
        text = RIG.format(producer=producer, serial=fake.serial)
        extra = "[ring]\nframes_s = 10.0\n"
        with running(tmp_path, tiny_bundle, text, extra=extra) as program:
            looker = Looker()

            def enough() -> bool:
                looker.look()
                return looker.whole > 200

            wait_until(enough, 60)
            lost = program.counts()["lost"]
            code, out, err = program.stop()
    assert code == 0, err
    told = account(out)
    assert looker.broken == 0
    assert "every frame accounted for: yes" in out
    assert told["produced"] == told["delivered"] + told["lost"]
    assert lost["incomplete"] > 20  # 45 packets to a frame: a fifth of them lacks one
    assert told["lost"] >= lost["incomplete"]


def test_a_gige_camera_that_died_comes_back_as_a_new_segment(
    producer: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    with camera() as fake:
        text = RIG.format(producer=producer, serial=fake.serial)
        with running(tmp_path, tiny_bundle, text) as program:
            wait_until(lambda: program.counts()["delivered"] > 50, 30)
            fake.kill()
            wait_until(lambda: program.counts()["state"] == "gone", 40)
            fake.start()
            wait_until(lambda: program.counts()["segment"] == 1, 60)
            at = program.counts()["delivered"]
            wait_until(lambda: program.counts()["delivered"] > at + 50, 30)
            code, out, err = program.stop()
    assert code == 1
    assert "camera cam1: gone" in err
    assert "every frame accounted for: yes" in out
