"""The rings: one writer that nobody can hold up, and readers that never get a torn frame."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtface import platform
from rtface.platform import Wake, sweep_stale
from rtface.ring import CLOSED, RECORD_WORDS, RUNNING, STARTING, RingReader, RingWriter
from rtface.rings import FrameRingReader, FrameRingWriter, ResultRingReader, ResultRingWriter
from rtface.types import BBox, CameraInfo, Ledger, Lost, Pose, Stamp, UserError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rings of Windows were never run")

ROOT = Path(__file__).parent.parent
NOBODY = 65534

WRITER = """
import sys
from rtface.ring import RingWriter
ring = RingWriter("cam1.frames", 4, 100, {})
for seq in range(3):
    ring.payloads[ring.begin()][:] = seq
    ring.commit([seq] * 23)
print("ready", flush=True)
sys.stdin.read()
"""
READER = """
from rtface.ring import RingReader
ring = RingReader("cam1.frames")
assert ring.head == 2
print(ring.writer_pid)
"""


def put(ring: RingWriter, value: int) -> int:
    ring.payloads[ring.begin()][:] = value
    return ring.commit(range(value, value + RECORD_WORDS))


@contextlib.contextmanager
def writing_process() -> Iterator[subprocess.Popen[str]]:
    """A process that holds the ring ``cam1.frames`` with records 0, 1 and 2."""
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_record_comes_out_as_it_went_in(ring_dir: Path) -> None:
    writer = RingWriter("cam1.frames", 3, 10_000, {"kind": "frames", "height": 100})
    reader = RingReader("cam1.frames")
    assert reader.description == {"kind": "frames", "height": 100}
    assert (reader.head, reader.state, reader.writer_pid) == (-1, STARTING, os.getpid())
    picture = np.random.default_rng(0).integers(0, 256, 10_000, dtype=np.uint8)
    writer.payloads[writer.begin()][:] = picture
    words = (-(2**63), 2**63 - 1, *range(RECORD_WORDS - 2))
    assert writer.commit(words) == 0
    out = np.zeros(10_000, np.uint8)
    assert reader.read(0, out) == words
    np.testing.assert_array_equal(out, picture)
    writer.beat()
    assert 0 <= time.perf_counter_ns() - reader.heartbeat_ns < 60e9
    reader.close()
    writer.close()
    assert list(ring_dir.iterdir()) == []


@pytest.mark.parametrize("n_slots", [2, 3, 5])
def test_what_is_overwritten_is_told_from_what_can_be_read(n_slots: int) -> None:
    writer = RingWriter("cam1.frames", n_slots, 64, {})
    reader = RingReader("cam1.frames")
    out = np.empty(64, np.uint8)
    for seq in range(2 * n_slots + 1):
        assert put(writer, seq) == seq
        assert reader.oldest == max(0, seq - n_slots + 2)
        # while the next record is being written its slot is gone, and no other
        writer.begin()
        for wanted in range(seq + 1):
            laps = reader.laps
            words = reader.read(wanted, out)
            if wanted >= reader.oldest:
                assert words == tuple(range(wanted, wanted + RECORD_WORDS))
                assert np.all(out == wanted)
                assert reader.laps == laps
            else:
                assert words is None
                assert reader.laps == laps + 1
    reader.close()
    writer.close()


def test_a_lap_during_the_copy_is_seen_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RingWriter("cam1.frames", 2, 64, {})
    reader = RingReader("cam1.frames")
    put(writer, 0)
    copy = np.copyto

    def copy_slowly(out: np.ndarray, data: np.ndarray) -> None:
        copy(out, data)
        put(writer, 1)
        writer.begin()  # the slot that was just copied

    monkeypatch.setattr("rtface.ring.np.copyto", copy_slowly)
    assert reader.read(0, np.empty(64, np.uint8)) is None
    assert reader.laps == 1
    reader.close()
    writer.close()


def test_frames_and_results_keep_every_field() -> None:
    info = CameraInfo(height=20, width=30, bits=12, rate_hz=100.0)
    frames = FrameRingWriter("cam1", info, 0.1, "abc")
    seen = FrameRingReader("cam1")
    assert (seen.info, seen.session, seen.ring.n_slots) == (info, "abc", 11)
    image = np.arange(600, dtype=np.uint16).reshape(20, 30) * 6
    for t_camera_ns in (None, -5):
        frames.begin()[:] = image
        frames.commit(Stamp(1, 17, t_camera_ns, 123), Lost(1, 2, 3, 4))
    for frame_seq, t_camera_ns in enumerate((None, -5)):
        frame = seen.read(frame_seq)
        assert frame is not None
        assert frame.stamp == Stamp(1, 17, t_camera_ns, 123)
        assert (frame.frame_seq, sum(frame.lost)) == (frame_seq, 10)
        np.testing.assert_array_equal(frame.image, image)
    assert seen.newest(after=1) is None
    newest = seen.newest(after=-1)
    assert newest is not None
    assert newest.frame_seq == 1

    results = ResultRingWriter("cam1", 2, 0.1, 100.0, {"session": "abc"})
    read = ResultRingReader("cam1")
    pose = Pose(np.float32([[1, 2, 0.5], [3, 4, 1]]), BBox(-30, 40, 320, 240))
    ledgers = [Ledger(seq, 0, seq, None if seq % 2 else seq, *range(13)) for seq in range(20)]
    for ledger in ledgers[:3]:
        results.write(ledger, pose)
    assert [result.ledger for result in read.new()] == ledgers[:3]
    for ledger in ledgers[3:]:
        results.write(ledger, pose)
    got = read.new()  # 11 slots: 17 new results, of which the last 10 are certain
    assert [result.ledger for result in got] == ledgers[10:]
    assert [result.seq for result in got] == list(range(10, 20))
    assert read.lost == 7
    np.testing.assert_array_equal(got[-1].pose.keypoints, pose.keypoints)
    assert got[-1].pose.crop == pose.crop
    for ring in (frames, seen, results, read):
        ring.close()


def test_signals_come_out_under_their_own_names_in_whatever_order_they_were_named(
    ring_dir: Path,
) -> None:
    named = {"pupil": 3, "brightness": 1, "motion": 2}
    results = ResultRingWriter("cam1", 1, 0.1, 100.0, {"signals": named}, named)
    read = ResultRingReader("cam1")
    given = {name: np.arange(n, dtype=np.float32) + 10 * n for name, n in named.items()}
    pose = Pose(np.zeros((1, 3), np.float32))
    ledger = Ledger(*range(len(Ledger._fields)))
    results.write(ledger, pose, given)
    results.write(ledger, pose, {"motion": given["motion"]})
    first, second = read.new()
    assert set(first.signals) == set(named)
    for name, values in given.items():
        np.testing.assert_array_equal(first.signals[name], values)
    assert np.isnan(second.signals["pupil"]).all()  # what a result does not have is not the last's
    for ring in (results, read):
        ring.close()


def test_a_late_reader_finds_what_the_ring_still_holds() -> None:
    with pytest.raises(FileNotFoundError):
        RingReader("cam1.frames")
    writer = RingWriter("cam1.frames", 4, 64, {})
    for seq in range(10):
        put(writer, seq)
    reader = RingReader("cam1.frames")
    out = np.empty(64, np.uint8)
    assert (reader.head, reader.oldest, reader.laps) == (9, 7, 0)
    assert [reader.read(seq, out) is not None for seq in (5, 6, 7, 8, 9)] == [False] + [True] * 4
    reader.close()
    writer.close()


def test_a_half_made_ring_is_none_yet(ring_dir: Path) -> None:
    (ring_dir / "cam1.frames").touch()
    with pytest.raises(FileNotFoundError):
        RingReader("cam1.frames")
    half = bytearray(65536)  # allocated, header not yet written
    for written in (b"", struct.pack("<qq", 0, len(half))):  # magic comes last
        half[: len(written)] = written
        (ring_dir / "cam1.frames").write_bytes(half)
        with pytest.raises(FileNotFoundError):
            RingReader("cam1.frames")


def test_closing_is_seen_and_leaves_the_last_records(ring_dir: Path) -> None:
    writer = RingWriter("cam1.frames", 4, 64, {})
    reader = RingReader("cam1.frames")
    assert reader.state == STARTING
    writer.set_state(RUNNING)
    assert reader.state == RUNNING
    put(writer, 0)
    writer.close()
    assert list(ring_dir.iterdir()) == []
    assert (reader.state, reader.head) == (CLOSED, 0)
    out = np.empty(64, np.uint8)
    assert reader.read(0, out) is not None
    again = RingWriter("cam1.frames", 4, 64, {})  # the next run: the old reader keeps the old ring
    assert (reader.state, reader.head) == (CLOSED, 0)
    reader.close()
    again.close()


def test_a_second_writer_is_refused_in_one_line() -> None:
    with writing_process() as first:
        with pytest.raises(UserError) as refused:
            RingWriter("cam1.frames", 4, 64, {})
        assert "camera 'cam1' is already being run" in str(refused.value)
        assert "another name" in str(refused.value)
        assert "\n" not in str(refused.value)
        RingWriter("cam2.frames", 4, 64, {}).close()
        # the refusal took nothing from the first
        reader = RingReader("cam1.frames")
        assert reader.head == 2
        assert reader.writer_pid == first.pid
        reader.close()


def test_two_writers_in_one_process_are_refused_too() -> None:
    writer = RingWriter("cam1.frames", 4, 64, {})
    with pytest.raises(UserError, match="already being run"):
        RingWriter("cam1.frames", 4, 64, {})
    put(writer, 0)
    writer.close()


def test_a_killed_writers_ring_is_swept_and_a_live_ones_is_not(ring_dir: Path) -> None:
    live = RingWriter("cam2.frames", 4, 64, {})
    with writing_process() as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (ring_dir / "notes.txt").touch()
    assert sorted(p.name for p in ring_dir.iterdir()) == ["cam1.frames", "cam2.frames", "notes.txt"]
    assert sweep_stale() == ["cam1.frames"]
    assert sorted(p.name for p in ring_dir.iterdir()) == ["cam2.frames", "notes.txt"]
    RingWriter("cam1.frames", 4, 64, {}).close()
    live.close()


def test_a_killed_writers_name_can_be_used_at_once() -> None:
    with writing_process() as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    writer = RingWriter("cam1.frames", 4, 64, {})  # nobody swept
    reader = RingReader("cam1.frames")
    assert (reader.writer_pid, reader.head) == (os.getpid(), -1)
    reader.close()
    writer.close()


def test_a_reader_that_exits_leaves_the_ring_to_others() -> None:
    # multiprocessing.SharedMemory of 3.11 fails this: its resource tracker unlinks
    with writing_process() as writer:
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", READER], capture_output=True, text=True, check=True
            )
            assert int(done.stdout) == writer.pid
        reader = RingReader("cam1.frames")
        assert reader.head == 2
        reader.close()


def test_only_the_owner_can_look(ring_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTFACE_RING_DIR", str(ring_dir / "new"))
    before = os.umask(0)
    try:
        writer = RingWriter("cam1.frames", 4, 64, {})
    finally:
        os.umask(before)
    assert (ring_dir / "new").stat().st_mode & 0o777 == 0o700
    assert (ring_dir / "new" / "cam1.frames").stat().st_mode & 0o777 == 0o600
    writer.close()


def test_the_default_folder_is_in_memory_and_per_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTFACE_RING_DIR")
    assert platform.ring_dir().name == f"rtface-{os.getuid()}"
    if Path("/dev/shm").is_dir():
        assert platform.ring_dir().parent == Path("/dev/shm")


def test_readers_cannot_write() -> None:
    writer = RingWriter("cam1.frames", 4, 64, {})
    mapping = platform.SharedMapping.attach("cam1.frames")
    with pytest.raises(TypeError):
        mapping.buffer[0:1] = b"x"
    mapping.close()
    writer.close()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symlink_in_place_of_a_ring_is_refused(
    ring_dir: Path, tmp_path: Path, dangling: bool
) -> None:
    precious = tmp_path / "precious"
    if not dangling:
        precious.write_bytes(b"mine" * 100_000)
    (ring_dir / "cam1.frames").symlink_to(precious)
    with pytest.raises(UserError):
        RingWriter("cam1.frames", 4, 64, {})
    assert sweep_stale() == []
    if dangling:
        assert not precious.exists()
    else:
        assert precious.read_bytes() == b"mine" * 100_000


def test_readers_do_not_follow_a_symlink(ring_dir: Path) -> None:
    writer = RingWriter("cam2.frames", 4, 64, {})
    (ring_dir / "cam1.frames").symlink_to(ring_dir / "cam2.frames")
    with pytest.raises(UserError, match="symbolic links"):
        RingReader("cam1.frames")
    writer.close()


def test_a_ring_without_room_is_refused_before_anything_is_taken(
    ring_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # taking all that is left and giving it back would already have starved others
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("tried to allocate"))
    room = os.statvfs(ring_dir)
    free = room.f_bavail * room.f_frsize
    n_slots = 2 * free // (1 << 20)
    with pytest.raises(UserError) as refused:
        RingWriter("cam1.frames", n_slots, 1 << 20, {})
    message = str(refused.value)
    asked, left = (float(word) for word in re.findall(r"([\d.]+) MB", message))
    assert asked == pytest.approx(n_slots * ((1 << 20) + 4096) / 1e6, rel=0.01)
    assert left == pytest.approx(free / 1e6, rel=0.1)
    assert "frames_s" in message
    assert "\n" not in message
    assert list(ring_dir.iterdir()) == []


def test_every_page_is_taken_at_the_start(ring_dir: Path) -> None:
    writer = RingWriter("cam1.frames", 16, 100_000, {})
    info = (ring_dir / "cam1.frames").stat()
    assert info.st_blocks * 512 >= info.st_size > 1_600_000
    writer.close()


# In a mount namespace of its own, on a tmpfs of 4 MB that goes with the process.
SMALL_TMPFS = """
import os, pathlib
from rtface.ring import RingWriter
from rtface.types import UserError
folder = pathlib.Path(os.environ["RTFACE_RING_DIR"])
folder.chmod(0o700)
filler = folder / "filler"
filler.write_bytes(bytes(3_500_000))
try:
    RingWriter("cam1.frames", 4, 250_000, {})
except UserError as error:
    print(error)
print(os.listdir(folder))
statvfs = os.fstatvfs
class Plenty:  # another process took the room between the question and the allocation
    f_blocks, f_bavail, f_frsize = 1_000_000, 1_000_000, 4096
os.fstatvfs = lambda _: Plenty
try:
    RingWriter("cam1.frames", 4, 250_000, {})
except UserError:
    print("refused")
print(os.listdir(folder))
os.fstatvfs = statvfs
filler.unlink()
ring = RingWriter("cam1.frames", 4, 250_000, {})
try:
    filler.write_bytes(bytes(10_000_000))
except OSError as error:
    print(error.strerror)
for seq in range(8):
    ring.payloads[ring.begin()][:] = seq
    ring.commit([seq] * 23)
print("written")
"""


def test_a_full_tmpfs_refuses_a_ring_and_never_kills_a_writer(tmp_path: Path) -> None:
    own = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else []), "sh", "-c"]
    mount = 'mount -t tmpfs -o size=4m,mode=700 tmpfs "$RTFACE_RING_DIR"'
    environ = {**os.environ, "RTFACE_RING_DIR": str(tmp_path)}
    try:
        subprocess.run([*own, mount], env=environ, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        pytest.skip(f"cannot mount a small tmpfs: {error}")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount a small tmpfs: {error.stderr.strip()}")
    done = subprocess.run(
        [*own, f'{mount} && exec "$0" -c "$1"', sys.executable, SMALL_TMPFS],
        env=environ, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # a sparse ring ends here with SIGBUS
    refusal, left, refused, left_again, full, written = done.stdout.splitlines()
    assert "a ring of 1 MB does not fit, 1 MB are free" in refusal
    assert (left, refused, left_again) == ("['filler']", "refused", "['filler']")
    assert full == "No space left on device"
    assert written == "written"


# The kernel may refuse although statvfs promised the room (a limit, another process in between).
LIMITED = """
import os, resource
from rtface.ring import RingWriter
from rtface.types import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    RingWriter("cam1.frames", 4, 100_000, {})
except UserError as error:
    print(error)
print(os.listdir(os.environ["RTFACE_RING_DIR"]))
"""


def test_an_allocation_that_fails_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True
    )
    refusal, left = done.stdout.splitlines()
    assert "cam1.frames" in refusal
    assert "does not fit" in refusal
    assert left == "[]"


def refusal() -> str:
    with pytest.raises(UserError) as refused:
        RingWriter("cam1.frames", 4, 64, {})
    message = str(refused.value)
    assert "RTFACE_RING_DIR" in message  # the remedy
    assert "\n" not in message
    with pytest.raises(UserError):
        sweep_stale()
    return message


def test_a_ring_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTFACE_RING_DIR", "/proc/rtface-rings")
    assert refusal().startswith("/proc/rtface-rings: cannot make the ring directory")


def test_a_file_in_place_of_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rings"
    file.touch()
    monkeypatch.setenv("RTFACE_RING_DIR", str(file))
    assert refusal().startswith(f"{file}: ")
    assert file.is_file()


def test_somebody_elses_folder_is_not_used(ring_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/")
    if os.getuid() == 0:
        folder = ring_dir / "theirs"
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
    monkeypatch.setenv("RTFACE_RING_DIR", str(folder))
    assert "belongs to somebody else" in refusal()


def test_a_symlink_to_a_folder_is_not_used(ring_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in a world-writable parent whoever makes the link first would choose where frames go
    (ring_dir / "real").mkdir(mode=0o700)
    (ring_dir / "link").symlink_to(ring_dir / "real")
    monkeypatch.setenv("RTFACE_RING_DIR", str(ring_dir / "link"))
    refusal()
    assert list((ring_dir / "real").iterdir()) == []


UNPRIVILEGED = """
import os, sys
from rtface.ring import RingWriter
from rtface.types import UserError
if os.getuid() == 0:  # root may write anywhere
    os.setuid(int(sys.argv[1]))
try:
    RingWriter("cam1.frames", 4, 64, {})
except UserError as error:
    print(error)
"""


def test_a_folder_that_is_not_writable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:  # others must be able to reach it
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        Path(folder).chmod(0o500)
        monkeypatch.setenv("RTFACE_RING_DIR", folder)
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(NOBODY)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stdout.startswith(f"{folder}: the ring directory is not writable; chmod 700")


def test_faulty_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 slots"):
        RingWriter("cam1.frames", 1, 64, {})
    with pytest.raises(UserError, match=r"ring cam1.frames: its description has 20012 bytes"):
        RingWriter("cam1.frames", 2, 64, {"text": "x" * 20_000})


def test_a_notice_wakes_the_one_who_waits() -> None:
    descriptor = Wake.make_descriptor()
    assert descriptor is not None
    try:
        wake = Wake(descriptor)
        timer = threading.Timer(0.2, Wake(descriptor).notify)
        timer.start()
        start = time.perf_counter()
        wake.wait(20)
        assert 0.1 < time.perf_counter() - start < 10
        timer.join()
        wake.notify()
        wake.notify()
        start = time.perf_counter()
        wake.wait(20)  # what came before the wait is not missed
        assert time.perf_counter() - start < 10
        start = time.perf_counter()
        wake.wait(0.2)  # and two notices are one
        assert time.perf_counter() - start > 0.1
    finally:
        os.close(descriptor)


def test_without_a_descriptor_the_waiter_looks_itself() -> None:
    wake = Wake(None)
    wake.notify()
    start = time.perf_counter()
    wake.wait(20)
    assert time.perf_counter() - start < 10
