"""SIGKILL of the recorder at a hundred random moments; hostile bytes in every file it writes."""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtface.config import Rig, SyntheticSection
from rtface.rings import FrameRingWriter, ResultRingWriter
from rtface.session import open_session
from rtface.session.events import decode_event, read_events
from rtface.session.layout import Status, decode_about
from rtface.session.records import HEADER_BYTES, decode_header, intact, row_dtype
from rtface.session.repair import repair
from rtface.session.verify import verify
from rtface.types import CameraInfo, Ledger, Lost, Pose, Stamp, UserError

pytestmark = pytest.mark.soak
INFO = CameraInfo(64, 64, 8, 200.0)
SESSION = "0123456789abcdef"
N_KILLS = 100


def picture(frame_seq: int) -> np.ndarray:
    """A frame that says which it is: its number in base 2 in the first row, the rest follows."""
    image = np.full((64, 64), frame_seq * 7 % 256, np.uint8)
    image[0, :32] = [255 * (frame_seq >> bit & 1) for bit in range(32)]
    return image


def keypoints(frame_seq: int) -> np.ndarray:
    return (np.arange(6, dtype=np.float32) + frame_seq).reshape(2, 3)


class Rings:
    """Camera and tracker in a thread: both rings are fed at 200 Hz until the end."""

    def __init__(self) -> None:
        about = {"session": SESSION, "keypoints": ["a", "b"], "model": {}}
        self.frames = FrameRingWriter("cam1", INFO, 2.0, SESSION)
        self.results = ResultRingWriter("cam1", 2, 30.0, 200.0, about)
        self.delivered: dict[int, int] = {}
        self._stop = False
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        seq, due = 0, time.perf_counter()
        while not self._stop:
            now = time.perf_counter_ns()
            self.frames.begin()[...] = picture(seq)
            self.frames.commit(Stamp(0, seq, seq, now), Lost())
            ledger = Ledger(seq, 0, seq, seq, now, now, now, now, now, now, 0, 1, 0, 0, 0)
            self.results.write(ledger, Pose(keypoints(seq)))
            self.delivered[seq] = now
            seq, due = seq + 1, due + 0.005
            time.sleep(max(0.0, due - time.perf_counter()))

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.frames.close()
        self.results.close()


@pytest.fixture
def rings(ring_dir: Path) -> Iterator[Rings]:
    rings = Rings()
    yield rings
    rings.close()


def recorder(root: Path, video: str) -> "subprocess.Popen[bytes]":
    rig = Rig(
        camera={"cam1": SyntheticSection(kind="synthetic", width=64, height=64, rate_hz=200.0)}
    )
    told = rig.model_dump(mode="json")
    told["record"] |= {"folder": str(root), "video": video, "part_s": 1.0, "stop_free_mb": 1}
    job = {"rig": told, "session": SESSION, "root": str(root), "wake": None}
    popen = subprocess.Popen(
        [sys.executable, "-m", "rtface.record"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert popen.stdin
    popen.stdin.write(json.dumps(job).encode() + b"\n")
    popen.stdin.flush()
    return popen


def check_content(folder: Path, rings: Rings, killed_ns: int, video: str) -> int:
    """Everything older than 1 s at the kill is there and is what was delivered; how much is it."""
    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        results, frames = camera.results[:], camera.frames[:]
        assert (results["keypoints"] == [keypoints(s) for s in results["frame_seq"]]).all()
        assert results["frame_seq"].tolist() == list(
            range(results["frame_seq"][0], results["frame_seq"][-1] + 1)
        )
        shown = []
        for record, image in camera.images():
            assert np.array_equal(image, picture(int(record["frame_seq"])))
            shown.append(int(record["frame_seq"]))
    first = int(frames["frame_seq"][0])
    old = [s for s, t in rings.delivered.items() if s >= first and t < killed_ns - 1e9]
    assert set(old) <= set(results["frame_seq"].tolist())
    assert set(old) <= set(frames["frame_seq"].tolist())
    if video != "none":
        assert set(old) <= set(shown)
    return len(old)


@pytest.mark.timeout(600)
def test_a_hundred_kills(tmp_path: Path, rings: Rings) -> None:
    dice = random.Random(1)
    readable = 0
    for i in range(N_KILLS):
        video = ("ffv1", "none")[i % 4 == 3]
        root = tmp_path / str(i)
        with recorder(root, video) as popen:
            assert popen.stdout
            # from before it says that it is ready to some parts of the video later
            if i % 10:
                popen.stdout.readline()
            time.sleep(dice.uniform(0, 2.2))
            popen.kill()
            killed_ns = time.perf_counter_ns()
        for folder in root.iterdir() if root.exists() else ():
            if not (folder / "session.json").exists():
                continue  # it had not begun
            readable += check_repaired(folder, rings, killed_ns, video)
    assert readable > 20 * N_KILLS


def check_repaired(folder: Path, rings: Rings, killed_ns: int, video: str) -> int:
    assert verify(folder)
    repair(folder)
    assert verify(folder) == []
    with open_session(folder) as session:
        if not len(session.cameras["cam1"].results):
            assert killed_ns - session.about.began_host_ns < 1e9
            return 0
        status = session.cameras["cam1"].frames[:]["status"]
        assert set(status.tolist()) <= {Status.IN_VIDEO, Status.NO_VIDEO, Status.NOT_WRITTEN}
    return check_content(folder, rings, killed_ns, video)


@pytest.fixture
def small_session(tmp_path: Path, rings: Rings) -> Path:
    """A session of a second or so that ended well."""
    with recorder(tmp_path / "rec", "ffv1") as popen:
        assert popen.stdin
        assert popen.stdout
        popen.stdout.readline()
        time.sleep(1.5)
        popen.stdin.write(b'{"cmd": "stop"}\n')
        popen.stdin.flush()
        assert popen.wait(20) == 0
    (folder,) = (tmp_path / "rec").iterdir()
    assert verify(folder) == []
    return folder


def damaged(raw: bytes, dice: random.Random) -> bytes:
    """The bytes with some bits flipped, cut short, with a hole, or with pieces in wrong places."""
    new = bytearray(raw)
    for _ in range(dice.choice((1, 1, 1, 3, 20))):
        at = dice.randrange(len(new)) if new else 0
        kind = dice.randrange(5)
        if kind == 0 and new:
            new[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del new[at:]
        elif kind == 2:
            new[at : at + dice.randrange(64)] = bytes(dice.randrange(64))
        elif kind == 3:
            new[at:at] = dice.randbytes(dice.randrange(32))
        else:
            new[at : at + 16] = new[: dice.randrange(64)]
    return bytes(new)


@pytest.mark.timeout(300)
def test_a_hundred_thousand_hostile_inputs(small_session: Path) -> None:
    """The readers' own arithmetic: an error or what is left, and never anything else."""
    dice = random.Random(2)
    about = (small_session / "session.json").read_bytes()
    log = (small_session / "events.log").read_bytes()
    records = (small_session / "cam1.results.rec").read_bytes()
    head, size = records[:400].rstrip(b"\0"), row_dtype(decode_header(records)[1]).itemsize
    body = records[HEADER_BYTES : HEADER_BYTES + 5 * size]
    line = log.splitlines(keepends=True)[0]
    refused = {"about": 0, "header": 0, "records": 0, "events": 0}
    n, deadline = 0, time.monotonic() + 200
    while n < 100_000 and time.monotonic() < deadline:
        for kind in refused:
            n += 1
            try:
                if kind == "about":
                    decode_about(damaged(about, dice))
                elif kind == "header":
                    decode_header(damaged(records[:HEADER_BYTES], dice))
                elif kind == "records":
                    refused[kind] += not intact(damaged(body, dice), size).all()
                else:
                    refused[kind] += decode_event(damaged(line, dice)) is None
            except ValueError:
                refused[kind] += 1
    assert n >= 100_000
    assert head
    # nearly all of them are no longer what they were; the rest changed nothing that is read
    assert all(count > n / 4 * 0.3 for count in refused.values()), refused


@pytest.mark.timeout(300)
def test_hostile_folders(small_session: Path, tmp_path: Path) -> None:
    """Whole folders through open, verify and repair: an error in one line, or a clean session."""
    dice = random.Random(3)
    names = [p.name for p in small_session.iterdir()]
    repaired = refused = lines = 0
    deadline = time.monotonic() + 100
    for i in range(400):
        if time.monotonic() > deadline:
            break
        folder = tmp_path / f"f{i}"
        folder.mkdir()
        for name in names:
            shutil.copy(small_session / name, folder / name)
        for name in dice.sample(names, dice.choice((1, 1, 2, 3))):
            raw = damaged((small_session / name).read_bytes(), dice)
            (folder / name).unlink()
            if dice.random() < 0.9:  # else it is missing
                (folder / name).write_bytes(raw)
        try:
            verify(folder)
            with open_session(folder) as session:
                read_events(folder / "events.log")
                sum(1 for _ in session.cameras["cam1"].images())
        except UserError:
            pass
        try:
            repair(folder)
        except UserError as error:
            refused += 1
            lines += len(str(error).splitlines())
            continue
        assert verify(folder) == [], i
        repaired += 1
    assert repaired > 100
    assert lines == refused > 10
