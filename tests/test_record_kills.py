"""SIGKILL of the recorder at a hundred random moments; hostile bytes in every file it writes."""

import json
import random
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtface.camera_config import SyntheticSection
from rtface.config import Rig
from rtface.rings import FrameRingWriter, ResultRingWriter
from rtface.session import open_session
from rtface.session.events import Event, decode_event
from rtface.session.layout import Status, decode_about, digest
from rtface.session.records import (
    HEADER_BYTES,
    MAGIC,
    decode_header,
    intact,
    row_dtype,
    seal,
)
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
            ledger = Ledger(seq, 0, seq, seq, now, now, now, now, now, now, now, now, 0, 1, 0, 0, 0)
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
    old = [s for s, t in list(rings.delivered.items()) if s >= first and t < killed_ns - 1e9]
    assert set(old) <= set(results["frame_seq"].tolist())
    assert set(old) <= set(frames["frame_seq"].tolist())
    if video != "none":
        assert set(old) <= set(shown)
    return len(old)


def kill_one(root: Path, rings: Rings, i: int, after_s: float) -> int:
    """Kill a recorder; how many frames were old enough to be demanded, and were there."""
    video = ("ffv1", "none")[i % 4 == 3]
    with recorder(root, video) as popen:
        assert popen.stdout
        # from before it says that it is ready to some parts of the video later
        if i % 10:
            popen.stdout.readline()
        time.sleep(after_s)
        popen.kill()
        killed_ns = time.perf_counter_ns()
    for folder in root.iterdir() if root.exists() else ():
        if (folder / "session.json").exists():  # else it had not begun
            return check_repaired(folder, rings, killed_ns, video)
    return 0


@pytest.mark.timeout(600)
def test_a_hundred_kills(tmp_path: Path, rings: Rings) -> None:
    dice = random.Random(1)
    with ThreadPoolExecutor(4) as pool:  # four recorders read the same rings
        jobs = [
            pool.submit(kill_one, tmp_path / str(i), rings, i, dice.uniform(0, 2.2))
            for i in range(N_KILLS)
        ]
        readable = sum(job.result() for job in jobs)
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


def sealed_header(told: object) -> bytes:
    text = json.dumps(told).encode()[: HEADER_BYTES - 16]
    return struct.pack("<8sII", MAGIC, len(text), zlib.crc32(text)) + text.ljust(
        HEADER_BYTES - 16, b"\0"
    )


ODD = (None, True, -1, 0, 2**63, 1e400, -(10**40), "", "x" * 5000, [], {}, [[]], "\ud800", "../x")


def odd(told: Any, dice: random.Random) -> Any:
    """A JSON value with one thing in it replaced, removed or doubled."""
    if isinstance(told, dict) and told and dice.random() < 0.8:
        key = dice.choice(list(told))
        if dice.random() < 0.15:
            return {k: v for k, v in told.items() if k != key}
        return {**told, key: odd(told[key], dice)}
    if isinstance(told, list) and told and dice.random() < 0.8:
        at = dice.randrange(len(told))
        if dice.random() < 0.1:
            return [*told, told[at]]
        return [*told[:at], odd(told[at], dice), *told[at + 1 :]]
    return dice.choice(ODD)


@pytest.mark.timeout(300)
def test_a_hundred_thousand_hostile_inputs(small_session: Path) -> None:
    """The readers' own arithmetic: an error or what is left, and never anything else.

    Half of them are damaged bytes, which checksums find; the other half are nonsense with the
    right checksum, which they do not.
    """
    dice = random.Random(2)
    about = (small_session / "session.json").read_bytes()
    told = json.loads(about)
    del told["check"]
    line = (small_session / "events.log").read_bytes().splitlines(keepends=True)[0]
    records = (small_session / "cam1.results.rec").read_bytes()
    length = int.from_bytes(records[8:12], "little")
    head = json.loads(records[16 : 16 + length])
    size = row_dtype(decode_header(records)[1]).itemsize
    body = records[HEADER_BYTES : HEADER_BYTES + 5 * size]

    def nonsense_about() -> None:
        new = odd(told, dice)
        check = {"check": digest(new)} if isinstance(new, dict) else {}
        text = json.dumps({**new, **check} if isinstance(new, dict) else new)
        decode_about(text.encode("utf-8", "surrogatepass"))

    def nonsense_event() -> None:
        text = json.dumps(odd({"event": "ended", "t_host_ns": 5, "cameras": {"a": 1}}, dice))
        if decode_event(b"%08x " % zlib.crc32(text.encode()) + text.encode()) is None:
            raise ValueError("no event")

    def check_records() -> None:
        if not intact(damaged(body, dice), size).all():
            raise ValueError("damaged")

    def check_event() -> None:
        if decode_event(damaged(line, dice)) is None:
            raise ValueError("damaged")

    readers = {
        "bytes of session.json": lambda: decode_about(damaged(about, dice)),
        "session.json": nonsense_about,
        "bytes of a header": lambda: decode_header(damaged(records[:HEADER_BYTES], dice)),
        "header": lambda: decode_header(sealed_header(odd(head, dice))),
        "bytes of records": check_records,
        "bytes of an event": check_event,
        "event": nonsense_event,
    }
    refused = dict.fromkeys(readers, 0)
    n, deadline = 0, time.monotonic() + 200
    while n < 100_000 and time.monotonic() < deadline:
        for kind, read in readers.items():
            n += 1
            try:
                read()
            except ValueError as error:
                refused[kind] += 1
                assert len(str(error)) < 10_000  # noqa: PT017
    assert n >= 100_000
    assert all(count > n / len(readers) * 0.2 for count in refused.values()), refused


def hostile(folder: Path, dice: random.Random) -> None:
    """Put nonsense with the right checksums into one of a session's files."""
    kind = dice.randrange(4)
    if kind == 0:
        told = json.loads((folder / "session.json").read_bytes())
        del told["check"]
        new = odd(told, dice)
        if isinstance(new, dict):
            new = {**new, "check": digest(new)}
        (folder / "session.json").write_text(json.dumps(new))
    elif kind == 1:
        told = {"event": "ended", "t_host_ns": 5, "cameras": {"cam1": {"frames": 1}}}
        text = json.dumps(odd(told, dice)).encode()
        with (folder / "events.log").open("ab") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))
    else:
        name = dice.choice(["cam1.frames.rec", "cam1.results.rec", "clock.rec"])
        raw = (folder / name).read_bytes()
        told = json.loads(raw[16 : 16 + int.from_bytes(raw[8:12], "little")])
        body = raw[HEADER_BYTES:]
        if kind == 2:
            (folder / name).write_bytes(sealed_header(odd(told, dice)) + body)
            return
        dtype = row_dtype(decode_header(raw)[1])
        rows = np.frombuffer(body, dtype).copy()
        field = dice.choice(
            [f for f in dtype.names or () if f not in ("crc", "keypoints", "frame_id")]
        )
        at = dice.randrange(len(rows))
        value = dice.choice([-1, 0, 7, 2**62, -(2**63), rows[field][at] + 1000])
        if np.issubdtype(dtype[field].base, np.integer):
            least = np.iinfo(dtype[field].base)
            value = np.clip(value, least.min, least.max)
        rows[field][at] = value
        sealed = [seal(row.tobytes()[:-4]) for row in rows]
        (folder / name).write_bytes(raw[:HEADER_BYTES] + b"".join(sealed))


@pytest.mark.timeout(400)
def test_hostile_folders(small_session: Path, tmp_path: Path) -> None:
    """Whole folders through every reader: an error in one line, or a session that is right.

    After repair every image is that of its record: a hole in the video moves nothing.
    """
    dice = random.Random(3)
    names = [p.name for p in small_session.iterdir()]
    repaired = refused = lines = shown = 0
    deadline = time.monotonic() + 200
    for i in range(600):
        if time.monotonic() > deadline:
            break
        folder = tmp_path / f"f{i}"
        shutil.copytree(small_session, folder)
        if i % 2:
            hostile(folder, dice)
        else:
            for name in dice.sample(names, dice.choice((1, 1, 2, 3))):
                raw = damaged((small_session / name).read_bytes(), dice)
                (folder / name).unlink()
                if dice.random() < 0.9:  # else it is missing
                    (folder / name).write_bytes(raw)
        for look in (verify, read_all, repair):
            try:
                look(folder)
            except UserError as error:
                lines += len(str(error).splitlines()) - 1
                if look is repair:
                    refused += 1
                    break
        else:
            if not verify(folder):
                repaired += 1
                shown += read_all(folder)
        shutil.rmtree(folder)
    assert lines == 0
    assert repaired > 100
    assert refused > 10
    assert shown > 100 * 100


def read_all(folder: Path) -> int:
    """Read whatever there is to read; how many images were right."""
    with open_session(folder) as session:
        assert isinstance(session.ended, Event | None)
        session.unix_ns(5)
        n = 0
        for camera in session.cameras.values():
            camera.keypoints()
            for record, image in camera.images():
                assert np.array_equal(image, picture(int(record["frame_id"])))
                n += 1
    return n


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["a bit", "a page", "the codec", "a part"])
def test_damage_in_the_middle_of_a_video(small_session: Path, what: str) -> None:
    dice = random.Random(4)
    part = small_session / "cam1.0000.mkv"
    raw = bytearray(part.read_bytes())
    if what == "a part":
        part.unlink()
    for _ in range(1 if what == "a part" else 30):
        new = bytearray(raw)
        at = dice.randrange(len(raw) // 4, 3 * len(raw) // 4)
        if what == "a bit":
            new[at] ^= 1 << dice.randrange(8)
        elif what == "a page":
            new[at : at + 4096] = bytes(len(new[at : at + 4096]))
        elif what == "the codec":
            new[raw.index(b"V_FFV1") + dice.randrange(6)] ^= 1 << dice.randrange(6)
        if what != "a part":
            part.write_bytes(new)
        if verify(small_session):  # else the bit was in what nothing depends on
            repair(small_session)
            assert verify(small_session) == []
        assert read_all(small_session) > 20
        with open_session(small_session) as session:
            status = session.cameras["cam1"].frames[:]["status"]
        assert set(status.tolist()) <= {Status.IN_VIDEO, Status.NOT_WRITTEN}


@pytest.mark.timeout(120)
def test_damaged_times_put_no_frame_in_the_place_of_another(
    small_session: Path, tmp_path: Path
) -> None:
    """A flipped bit in the time of a cluster lays its frames over those of another one."""
    part = (small_session / "cam1.0000.mkv").read_bytes()
    n = 0
    for cluster in re.finditer(b"\x1f\x43\xb6\x75", part):
        time_at = part.index(b"\xe7", cluster.end())
        for bit in range(8 * (part[time_at + 1] & 0x7F)):
            folder = tmp_path / f"{cluster.start()}-{bit}"
            shutil.copytree(small_session, folder)
            new = bytearray(part)
            new[time_at + 2 + bit // 8] ^= 1 << bit % 8
            (folder / "cam1.0000.mkv").write_bytes(new)
            repair(folder)
            assert verify(folder) == []
            assert read_all(folder) > 20
            n += 1
    assert n >= 16
