"""Files of records and events: what is written comes back, what is damaged is found."""

import errno
import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtface.session.events import (
    Event,
    EventWriter,
    decode_event,
    encode_event,
    is_growing,
    read_events,
)
from rtface.session.records import (
    HEADER_BYTES,
    Column,
    RecordFile,
    RecordWriter,
    decode_header,
    encode_header,
    row_dtype,
)
from rtface.types import UserError

_opened: list[RecordFile] = []


@pytest.fixture(autouse=True)
def close_files() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def opened(path: Path) -> RecordFile:
    _opened.append(RecordFile(path))
    return _opened[-1]


COLUMNS = (Column("seq", "<i8"), Column("xy", "<f4", (2, 3), "px"))
SIZE = 8 + 24 + 4


def row(i: int) -> bytes:
    return struct.pack("<q6f", i, *(i + np.arange(6)))


def written(path: Path, n: int = 10) -> Path:
    writer = RecordWriter(path, "test", {"camera": "cam1"}, COLUMNS)
    for i in range(n):
        writer.append(row(i))
    writer.flush()
    writer.close()
    return path


def test_records_come_back(tmp_path: Path) -> None:
    file = opened(written(tmp_path / "a.rec"))
    assert file.about["kind"] == "test"
    assert file.about["camera"] == "cam1"
    assert file.columns == COLUMNS
    assert len(file) == 10
    part = file[3:6]
    assert part["seq"].tolist() == [3, 4, 5]
    assert part["xy"].shape == (3, 2, 3)
    assert part["xy"][0].ravel().tolist() == [3, 4, 5, 6, 7, 8]
    assert file[7:]["seq"].tolist() == [7, 8, 9]
    assert len(file[10:20]) == 0
    assert file.damaged() == []
    assert file.torn_bytes() == 0
    # the file as its document says it: no library needed
    raw = file.path.read_bytes()
    assert len(raw) == HEADER_BYTES + 10 * SIZE
    length, crc = struct.unpack_from("<II", raw, 8)
    assert zlib.crc32(raw[16 : 16 + length]) == crc
    assert json.loads(raw[16 : 16 + length])["columns"][1] == ["xy", "<f4", [2, 3], "px"]


def test_a_growing_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.rec")
    file = opened(path)
    with path.open("ab") as more:
        more.write(b"half a record")
        more.flush()
        assert len(file) == 10
        assert file.torn_bytes() == 13
        assert file[:]["seq"][-1] == 9


@given(at=st.integers(0, 10 * SIZE - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_costs_its_record_alone(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "flip.rec"
    path.unlink(missing_ok=True)
    raw = bytearray(written(path).read_bytes())
    raw[HEADER_BYTES + at] ^= 1 << bit
    path.write_bytes(raw)
    file = opened(path)
    hit = at // SIZE
    assert file.damaged() == [hit]
    assert len(file[:hit]) == hit
    assert len(file[hit + 1 :]) == 9 - hit
    with pytest.raises(UserError, match=f"first is number {hit}.*repair"):
        _ = file[:]
    file.close()


def test_zeros_at_the_end_are_no_records(tmp_path: Path) -> None:
    """What a power cut may leave of a file that was growing."""
    path = written(tmp_path / "a.rec")
    path.write_bytes(path.read_bytes() + bytes(3 * SIZE))
    assert opened(path).damaged() == [10, 11, 12]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw[:100], "cut short after 100 bytes"),
        (lambda raw: b"x" + raw[1:], "not a file of rtface records"),
        (lambda raw: raw[:20] + b"x" + raw[21:], "damaged header"),
        (lambda _: header({"version": 9, "columns": []}), "version 9"),
        (lambda _: header({"version": 1}), "makes no sense"),
        (lambda _: header([]), "makes no sense"),
        (lambda _: header({"version": 1, "columns": [["a", "O", [], ""]]}), "column 'a'"),
        (lambda _: header({"version": 1, "columns": [["a", "<i8", [2**40], ""]]}), "column 'a'"),
        (lambda _: header({"version": 1, "columns": [["a", "<i8", [999999], ""]]}), "bytes, more"),
        (lambda _: header({"version": 1, "columns": [["a", "<i8", [-1], ""]]}), "column 'a'"),
        (lambda _: header({"version": 1, "columns": [["a", "<i8", [], ""]] * 2}), "."),
    ],
)
def test_headers_that_cannot_be_used(tmp_path: Path, change: object, told: str) -> None:
    path = written(tmp_path / "a.rec")
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"a\.rec: .*{told}.*verify"):
        RecordFile(path)


def header(told: object) -> bytes:
    text = json.dumps(told).encode()
    return struct.pack("<8sII", b"RTFACE\r\n", len(text), zlib.crc32(text)) + text.ljust(
        HEADER_BYTES - 16, b"\0"
    )


def test_the_header_round_trips() -> None:
    told, columns = decode_header(encode_header("k", {"a": 1}, COLUMNS))
    assert columns == COLUMNS
    assert told["a"] == 1
    assert row_dtype(columns).itemsize == SIZE
    with pytest.raises(ValueError, match="too long"):
        encode_header("k", {"a": "x" * HEADER_BYTES}, COLUMNS)


def test_a_record_of_another_size_is_refused(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "a.rec", "test", {}, COLUMNS)
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        writer.append(b"abc")
    writer.close()


def test_a_disk_that_refuses_leaves_whole_records(tmp_path: Path) -> None:
    """A file size limit cuts a write in the middle of a record, as a full disk does."""
    limit = HEADER_BYTES + 5 * SIZE + 7
    code = (
        "import resource, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_session_records import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "writer = RecordWriter(Path(sys.argv[1]), 'test', {}, COLUMNS)\n"
        "for i in range(9): writer.append(row(i))\n"
        "try: writer.flush()\n"
        "except OSError as error: print(error.errno)\n"
    )
    path = tmp_path / "a.rec"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "27"  # EFBIG
    file = opened(path)
    assert file.torn_bytes() == 0
    assert file[:]["seq"].tolist() == [0, 1, 2, 3, 4]


def test_events_come_back(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    writer = EventWriter(path)
    sent = [Event("began", 5, {}), Event("annotation", 2**60, {"text": 'a "b"\n\u00e9', "n": [1]})]
    for event in sent:
        writer.write(event)
    writer.close()
    assert read_events(path) == (sent, 0)
    with path.open("ab") as file:
        file.write(encode_event(Event("torn", 6, {}))[:-9])
    assert read_events(path) == (sent, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"00000000 {}\n",
        b"zzzzzzzz {}",
        encode_event(Event("a", 1, {})).replace(b"a", b"b"),
        *(b"%08x " % zlib.crc32(text) + text for text in (b"{}", b"[]", b"7", b'{"event": 1}')),
        b"%08x " % zlib.crc32(b"[" * 60000) + b"[" * 60000,
        b"%08x " % zlib.crc32(b'{"event":1,"t_host_ns":1e999}') + b'{"event":1,"t_host_ns":1e999}',
    ],
)
def test_lines_that_are_no_events(line: bytes) -> None:
    assert decode_event(line) is None


def test_who_looks_needs_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS takes an exclusive lock on files alone that are open for writing, as POSIX does."""
    import fcntl

    events = tmp_path / "events.log"
    events.touch()
    flock = fcntl.flock

    def as_nfs(descriptor: int, kind: int) -> None:
        readable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if kind & fcntl.LOCK_EX and readable:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", as_nfs)
    assert not is_growing(events)
    with events.open("ab") as writer:
        flock(writer.fileno(), fcntl.LOCK_EX)
        assert is_growing(events)
    assert not is_growing(events)
    assert not is_growing(tmp_path / "none")

    def without_locks(_descriptor: int, _kind: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    assert not is_growing(events)


def test_a_look_leaves_no_lock_with_a_process_that_is_being_started(tmp_path: Path) -> None:
    """A child has its parent's locks until it runs its own program."""
    events = tmp_path / "events.log"
    events.touch()
    done = threading.Event()

    def start_processes() -> None:
        while not done.is_set():
            subprocess.run(["true"], check=True)

    thread = threading.Thread(target=start_processes)
    thread.start()
    try:
        assert sum(is_growing(events) for _ in range(3000)) == 0
    finally:
        done.set()
        thread.join()
