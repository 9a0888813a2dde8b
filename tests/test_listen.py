"""What ``rtface listen`` says of each topic, from real publishers in real processes."""

import contextlib
import os
import pty
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import golden
import numpy as np
import pytest
import zmq
from conftest import free_ports
from programs import RTFACE, SMALL, running, wait_until
from test_client import META, result

from rtface.listen import status_address
from rtface.publish import Publisher
from rtface.topics import Tally, TopicListener
from rtface.wire import Message

LINE = re.compile(
    r"cam1  (\w+) +([\d.]+|-) Hz  sent -> received p50 ([\d.]+|-) max ([\d.]+|-) ms  missed (\d+|-)"
    r"(.*)"
)
EXPOSED = re.compile(
    r"cam1  frame \d+ exposed at [\d.]+ s \+- [\d.]+ ms "
    r"\((delivery|device clock|latched pairs|frame counter|fast), (calibrated|declared delay)\)"
)


def listen(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RTFACE, "listen", *words], capture_output=True, text=True, check=False)


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, ...]]:
    """The last line of each topic: rate, median age, largest age, missed, note."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    exposed = [EXPOSED.fullmatch(line) for line in lines if "exposed" in line]
    assert exposed, done.stdout
    assert all(exposed), done.stdout
    found = [LINE.fullmatch(line) for line in lines if "exposed" not in line]
    assert all(found), done.stdout
    return {line[1]: line.groups()[1:] for line in found if line}


@contextlib.contextmanager
def publishing(
    seqs_that_never_come: tuple[int, ...] = (), neural: bool = False
) -> Iterator[tuple[Publisher, str]]:
    """A publisher of 100 results a second that leaves out some numbers."""
    port = free_ports(1)[0]
    meta = META | {"neural": {"bundle": "b", "fields": ["pc1"], "lag_ns": 0}} if neural else META
    lengths = {"neural": 1} if neural else {}
    publisher = Publisher("cam1", golden.SESSION, meta, "127.0.0.1", port, lengths)
    signals = {"neural": np.ones(1, np.float32)} if neural else {}
    ending = threading.Event()

    def publish() -> None:
        seq = 0
        while not ending.wait(0.01):
            publisher.tend()
            if publisher.subscribers:
                if seq not in seqs_that_never_come:
                    publisher.send(replace(result(seq), signals=signals))
                seq += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield publisher, f"tcp://127.0.0.1:{port}"
    finally:
        ending.set()
        thread.join()
        publisher.close()


def message(seq: int, **fields: int) -> Message:
    return Message("pose.cam1.", seq, fields)


def test_tally() -> None:
    now = 0
    tally = Tally("pose.cam1.", window_s=1.0, clock=lambda: now)
    assert tally.rate_hz == 0
    assert tally.ages_ms is None
    for seq in (5, 6, 9, 10):  # 7 and 8 are missing; what was before 5 is none of ours
        now += 100_000_000
        tally.add(message(seq, t_done_ns=now - 2_000_000 * (1 + (seq == 9))))
    assert (tally.received, tally.missed) == (4, 2)
    assert tally.rate_hz == pytest.approx(10)
    assert tally.ages_ms == pytest.approx((2, 4))
    now += 2_000_000_000
    assert tally.rate_hz == 0
    assert tally.silent_s == pytest.approx(2)
    tally.add(message(0))  # a new run
    tally.add(message(1))
    assert tally.missed == 2
    now += 250_000_000
    assert tally.rate_hz == pytest.approx(2)


def test_a_topic_without_numbers_has_no_gaps() -> None:
    tally = Tally("meta.cam1.", numbered=False)
    tally.add(message(0))
    tally.add(message(0))
    assert (tally.received, tally.missed, tally.ages_ms) == (2, None, None)


def test_a_listener_counts_what_is_not_ours(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as strange:
        strange.setsockopt(zmq.LINGER, 0)
        port = strange.bind_to_random_port("tcp://127.0.0.1")
        one = TopicListener(context, f"tcp://127.0.0.1:{port}", Tally("status."))
        assert strange.recv() == b"\1status."
        strange.send_multipart([b"status.", b"\xc1 no msgpack"])
        assert one.socket.poll(5000)
        one.take()
        assert (one.foreign, one.tally.received) == (1, 0)
        one.socket.close()


@pytest.mark.slow
def test_every_topic_of_a_run(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program:
        control = f"tcp://127.0.0.1:{program.control}"
        words = ("cam1", program.data, "--control", control, "--seconds", "2.2")
        found = rows(listen(*words, "--topics", "pose,fast,meta,status"))
        assert list(found) == ["pose", "fast", "meta", "status"]
        for topic in ("pose", "fast", "status"):
            rate, p50, largest, missed, _ = found[topic]
            assert float(rate) > (0.05 if topic == "status" else 10)
            assert 0 < float(p50) <= float(largest) < 1000
            assert missed == "0"
        assert found["status"][4].strip() == "running"
        assert found["meta"][1:4] == ("-", "-", "-")
        assert float(found["meta"][0]) > 0.05
        # another program's data port: its status is not ours to show
        assert status_address("cam1", program.data.replace("127.0.0.1", "localhost"), control)
        with pytest.raises(LookupError, match="another run"):
            status_address("cam1", "tcp://127.0.0.1:9", control)
        with pytest.raises(LookupError, match="another run"):
            status_address("cam2", program.data, control)


@pytest.mark.slow
def test_gaps_are_counted_in_every_topic() -> None:
    with publishing(seqs_that_never_come=(50, 51, 60)) as (_, address):
        nobody = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        words = ("cam1", address, "--control", nobody, "--topics", "fast,status")
        found = rows(listen(*words, "--seconds", "2.5"))
    assert found["pose"][3] == found["fast"][3] == "3"
    assert f"no answer from {nobody}; give --control" in found["status"][4]
    assert found["status"][:4] == ("-", "-", "-", "-")


@pytest.mark.slow
def test_neural_activity_is_a_topic_like_others() -> None:
    with publishing(seqs_that_never_come=(50,), neural=True) as (_, address):
        found = rows(listen("cam1", address, "--topics", "neural", "--seconds", "1.9"))
    assert list(found) == ["pose", "neural"]
    assert float(found["neural"][0]) > 20
    assert found["neural"][3] == "1"


@pytest.mark.slow
def test_fast_is_made_only_if_asked_for() -> None:
    with publishing() as (publisher, address):
        found = rows(listen("cam1", address, "--topics", "meta", "--seconds", "1.3"))
        assert list(found) == ["pose", "meta"]
        assert not publisher._fast_wanted
        found = rows(listen("cam1", address, "--topics", "meta", "--latest", "--seconds", "1.3"))
        assert list(found) == ["fast", "meta"]
        assert "stale" in found["fast"][4]
        assert publisher._fast_wanted


@pytest.mark.slow
def test_silence_is_told() -> None:
    with publishing(seqs_that_never_come=tuple(range(20, 10_000))) as (_, address):
        found = rows(listen("cam1", address, "--topics", "", "--seconds", "3.3"))
    assert "no message for" in found["pose"][4]


def test_a_terminal_gets_both_tables() -> None:
    with publishing() as (_, address):
        reader, writer = pty.openpty()
        words = ["listen", "cam1", address, "--topics", "meta", "--seconds", "2"]
        popen = subprocess.Popen(
            [RTFACE, *words],
            stdout=writer,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "50"},
        )
        os.close(writer)
        seen = read_to_end(reader)
        assert popen.wait(20) == 0
    for word in ("sent -> received p50 ms", "missed", "meta", "nose(tip)", "score"):
        assert word in seen


def read_to_end(descriptor: int) -> str:
    """What a terminal got until its program ended."""
    parts = []
    with contextlib.suppress(OSError):  # how Linux says that nobody is at the other end
        while part := os.read(descriptor, 65536):
            parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def test_a_closed_pipe_is_a_normal_end() -> None:
    with publishing() as (_, address):
        popen = subprocess.Popen(
            [RTFACE, "listen", "cam1", address, "--topics", ""],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert popen.stdout is not None
        assert popen.stderr is not None
        assert LINE.fullmatch(popen.stdout.readline().rstrip())
        popen.stdout.close()
        wait_until(lambda: popen.poll() is not None, 20)
        assert (popen.returncode, popen.stderr.read()) == (0, "")
        popen.stderr.close()
