"""A board on a serial line: the reference firmware compiled for this machine, and its twin."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import board
import pytest
from board import Board, Running
from hypothesis import given, settings
from hypothesis import strategies as st

from rtface.outputs import LineEvent, Pulse
from rtface.outputs.board import START, BoardClock, Decoder, Message, crc8, encode
from rtface.outputs.serial import SerialOutput
from rtface.rules_config import SerialSection
from rtface.types import UserError

HERE = Path(__file__).parent
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
needs_terminals = pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals")
pytestmark = needs_terminals
BOARDS = ["twin", pytest.param("firmware", marks=needs_compiler)]


@contextlib.contextmanager
def a_board(kind: str, folder: Path, **options: int) -> Iterator[Running]:
    run = board.running_firmware(folder, **options) if kind == "firmware" else None
    with run or board.running(**options) as one:
        yield one


_open: list[SerialOutput] = []


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def output(port: str, longest_us: int = 10_000, **keys: Any) -> SerialOutput:
    line = SerialOutput("laser", SerialSection(kind="serial", port=port, **keys), longest_us)
    _open.append(line)
    return line


def tend(line: SerialOutput, seconds: float, until: Any = lambda events: False) -> list[LineEvent]:
    """Look after a line as the tracker's loop does; the longest turn must not wait."""
    events: list[LineEvent] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until(events):
        events += line.poll(time.perf_counter_ns())
        time.sleep(0.001)
    return events


def whats(events: list[LineEvent]) -> list[str]:
    return [event.what for event in events]


def get_up(line: SerialOutput) -> None:
    tend(line, 5, lambda _: line.up)
    assert line.up
    tend(line, 0.15)  # a keepalive was heard, and some duty is earned


def fire(line: SerialOutput, n: int, width_us: int) -> list[LineEvent]:
    assert line.fire(Pulse(n, "puff", n, 0, width_us)) is not None
    over = {"off", "refused", "lost", "down"}
    events = tend(line, 3, lambda events: over & set(whats(events)))
    # this machine may run the board late; a note says so
    return [event for event in events if event.what != "note"]


@pytest.mark.parametrize("kind", BOARDS)
def test_a_pulse_is_acknowledged_with_the_boards_clock(kind: str, tmp_path: Path) -> None:
    with a_board(kind, tmp_path) as one:
        line = output(one.port)
        get_up(line)
        on, off = fire(line, 7, 5_000)
        assert (on.what, off.what, on.n, off.n) == ("on", "off", 7, 7)
        width_us = off.detail["board_us"] - on.detail["board_us"]
        assert 5_000 <= width_us < 50_000
        time.sleep(0.05)
        (_, rose), (_, fell) = one.changes[-2:]
        assert [level for level, _ in one.changes[-2:]] == [1, 0]
        # where we believe it was, and by how much at most that is wrong
        for event, true_ns in ((on, rose), (off, fell)):
            late_ns = true_ns - event.detail["line_ns"]
            assert -2e6 < late_ns < event.detail["line_err_ns"] + 2e6
        line.close()


@pytest.mark.parametrize("kind", BOARDS)
def test_what_a_board_refuses(kind: str, tmp_path: Path) -> None:
    with a_board(kind, tmp_path, max_pulse_us=50_000, max_duty=10) as one:
        line = output(one.port)
        get_up(line)  # 1 % duty: 1 ms of credit per 100 ms
        for n, width_us, why in ((1, 50_001, "too long"), (2, 0, "no width"), (3, 50_000, "duty")):
            (event,) = fire(line, n, width_us)
            assert (event.what, event.n, event.detail["why"]) == ("refused", n, why)
        assert 1 not in [level for level, _ in one.changes]


@pytest.mark.parametrize("kind", BOARDS)
def test_a_busy_line_and_an_order_to_be_idle(kind: str, tmp_path: Path) -> None:
    with a_board(kind, tmp_path, max_pulse_us=5_000_000, max_duty=1000) as one:
        line = output(one.port, max_pulse_ms=5000.0)
        get_up(line)
        tend(line, 0.6)  # credit
        line.fire(Pulse(1, "puff", 1, 0, 500_000))
        line.fire(Pulse(2, "puff", 2, 0, 1_000))
        events = tend(line, 2, lambda seen: len(seen) == 2)
        assert [(e.what, e.n) for e in events] == [("on", 1), ("refused", 2)]
        line.idle()
        (off,) = tend(line, 2, lambda seen: seen)
        assert (off.what, off.n) == ("off", 1)
        assert not off.detail["watchdog"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("kind", [pytest.param("twin", marks=pytest.mark.slow), BOARDS[1]])
def test_the_line_goes_idle_when_we_die_in_a_pulse(kind: str, how: int, tmp_path: Path) -> None:
    limits = {"max_pulse_us": 30_000_000, "max_duty": 1000, "watchdog_us": 100_000}
    with a_board(kind, tmp_path, **limits) as one:
        time.sleep(0.6)  # credit for a pulse of 0.6 s: longer than the watchdog
        program = subprocess.Popen(
            [sys.executable, str(HERE / "firing.py"), one.port, "600000"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        )
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == "on\n"
            killed_ns = time.perf_counter_ns()
            program.send_signal(how)
            end = time.monotonic() + 3
            while [level for level, _ in one.changes[-2:]] != [1, 0] and time.monotonic() < end:
                time.sleep(0.01)
            (_, rose_ns), (level, fell_ns) = one.changes[-2:]
        finally:
            program.kill()
            program.wait()
            program.stdout.close()
        assert level == 0
        # the watchdog's time, and what this machine may take to run the board
        assert fell_ns - killed_ns < 100e6 + 250e6
        assert fell_ns - rose_ns < 550e6  # not because the pulse was over


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_pulse_us": 5_000}, "takes pulses of at most 5 ms, a rule asks for 10 ms"),
        ({"watchdog_us": 30_000}, "watchdog of 30 ms is shorter than two keepalives of 20 ms"),
    ],
)
def test_a_board_that_does_not_fit_never_comes_up(options: dict[str, int], why: str) -> None:
    with board.running(**options) as one:
        line = output(one.port)
        events = tend(line, 3, lambda seen: seen)
        assert whats(events) == ["down"]
        assert why in events[0].detail["why"]
        assert line.fire(Pulse(1, "puff", 1, 0, 1_000)) is None


def longest_turn(line: SerialOutput, seconds: float) -> tuple[float, list[LineEvent]]:
    events, longest, end = [], 0.0, time.monotonic() + seconds
    n = 100
    while time.monotonic() < end:
        start = time.thread_time()  # of this thread: others are on this machine, too
        events += line.poll(time.perf_counter_ns())
        line.fire(Pulse(n, "puff", n, 0, 1_000))
        longest = max(longest, time.thread_time() - start)
        n += 1
        time.sleep(0.002)
    return longest, events


def test_a_board_that_falls_silent_is_marked_down_and_delays_nobody() -> None:
    with board.running(mute_after=0) as one:
        line = output(one.port)
        get_up(line)
        start = time.monotonic()
        longest, events = longest_turn(line, 0.8)
        assert time.monotonic() - start < 3
        assert longest < 0.05
        assert not line.up
        assert "down" in whats(events)
        assert "lost" in whats(events)


def test_a_board_that_never_reads() -> None:
    with board.running(deaf=1) as one:
        line = output(one.port, keepalive_ms=5.0)
        line._greeted = True  # as if it had answered once: orders are written until it is full
        start = time.monotonic()
        for n in range(20_000):
            line._heard_ns = time.perf_counter_ns()
            if line.fire(Pulse(n, "puff", n, 0, 1_000)) is None:
                break
        assert n < 19_999
        assert time.monotonic() - start < 5
        line.close()


def test_a_board_that_is_unplugged() -> None:
    with board.running() as one:
        line = output(one.port)
        get_up(line)
        one.popen.kill()
        one.popen.wait()
        events = tend(line, 2, lambda _: not line.up)
        assert not line.up
        assert whats(events)[-1] == "down"
        assert line.fire(Pulse(1, "puff", 1, 0, 1_000)) is None
        line.idle()
        line.close()
        line.close()


def test_a_board_that_lies() -> None:
    with board.running(ghost=1) as one:
        line = output(one.port)
        get_up(line)
        events = fire(line, 3, 2_000) + tend(line, 0.1)
        (down,) = [event for event in events if event.what == "down"]
        assert "nobody asked for it" in down.detail["why"]
    with board.running(stuck=1, max_duty=1000) as one:
        line = output(one.port, longest_us=100_000)
        get_up(line)
        tend(line, 0.3)
        events = fire(line, 3, 100_000) + tend(line, 0.1)
        (down,) = [event for event in events if event.what == "down"]
        assert "longer than ordered" in down.detail["why"]


def test_a_board_that_stalls_is_up_again_and_a_pulse_that_comes_too_late_is_cut() -> None:
    with board.running() as one:
        line = output(one.port)
        get_up(line)
        one.popen.send_signal(signal.SIGSTOP)
        assert line.fire(Pulse(5, "puff", 5, 0, 10_000)) is not None
        events = tend(line, 3, lambda seen: {"lost", "down"} <= set(whats(seen)))
        one.popen.send_signal(signal.SIGCONT)
        events += tend(line, 3, lambda _: line.up)
        events += tend(line, 0.1)
        assert line.up
        told = [(e.what, e.n) for e in events if e.n == 5]
        assert told == [("lost", 5), ("note", 5)]
        (note,) = [e for e in events if e.what == "note"]
        assert "after it was given up" in note.detail["why"]
        assert whats(fire(line, 6, 2_000)) == ["on", "off"]
    # 10 ms were ordered; this machine may run the board late
    (_, rose), (_, fell) = one.changes[:2]
    assert fell - rose < 60e6


@pytest.mark.parametrize("next_pulse", [True, False])
def test_a_message_that_is_lost_costs_no_line(next_pulse: bool) -> None:
    """Nobody hears that a pulse is off: the next one proves it, or the board is asked."""
    wanted = "the next is on" if next_pulse else "the line is idle"
    for _ in range(3):  # a board that runs late may be asked before the next pulse is on
        why = why_a_lost_message_costs_no_line(next_pulse)
        if wanted in why:
            return
        assert "the line is idle" in why
    raise AssertionError(why)


def why_a_lost_message_costs_no_line(next_pulse: bool) -> str:
    """Lose the word that pulse 1 is off; return what the line noted, still up."""
    with board.running() as one:
        line = output(one.port)
        get_up(line)
        hear, lost = line._hear, []

        def deaf_once(message: Message, read_ns: int) -> None:
            if message.kind == "E" and not lost:
                lost.append(message)
            else:
                hear(message, read_ns)

        line._hear = deaf_once  # type: ignore[method-assign]
        line.fire(Pulse(1, "puff", 1, 0, 2_000))
        tend(line, 1, lambda _: lost)
        if next_pulse:
            line.fire(Pulse(2, "puff", 2, 0, 2_000))
        events = tend(line, 2, lambda seen: "note" in whats(seen))
        (note,) = [e for e in events if e.what == "note"]
        assert note.n == 1
        tend(line, 0.5)
        assert line.up
        return str(note.detail["why"])


def test_a_board_that_never_says_that_a_pulse_is_off() -> None:
    with board.running() as one:
        line = output(one.port)
        get_up(line)
        hear = line._hear
        line._hear = lambda message, t: None if message.kind in "EX" else hear(message, t)  # type: ignore[method-assign]
        line.fire(Pulse(1, "puff", 1, 0, 2_000))
        events = tend(line, 3, lambda seen: "down" in whats(seen))
        assert "never said that pulse 1 is off" in events[-1].detail["why"]
        assert not line.up


def test_noise_on_the_line() -> None:
    with board.running(noise=1) as one:
        line = output(one.port)
        get_up(line)
        assert whats(fire(line, 3, 2_000)) == ["on", "off"]
        assert line._decode.garbage > 0


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output.laser.port: .* cannot be opened"):
        output(str(tmp_path / "nothing"))


messages = st.builds(
    Message,
    st.sampled_from("HKPXADENW"),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(messages, max_size=8), st.binary(max_size=20), st.integers(1, 13))
def test_messages_survive_cuts_and_garbage(sent: list[Message], junk: bytes, cut: int) -> None:
    junk = junk.replace(bytes([START]), b"")
    data = junk + b"".join(encode(*message) for message in sent)
    decode = Decoder()
    heard = [m for at in range(0, len(data), cut) for m in decode(data[at : at + cut])]
    assert heard == sent
    # a message with one wrong bit is none
    if sent:
        broken = bytearray(encode(*sent[0]))
        broken[3] ^= 4
        assert Decoder()(bytes(broken)) == []


def test_golden_bytes() -> None:
    assert crc8(b"123456789") == 0xF4  # the check value of this CRC
    assert (
        encode("P", 0x1234, 10_000).hex()
        == "a55034121027000000"[:16] + f"{crc8(bytes.fromhex('50341210270000')):02x}"
    )


def test_the_boards_clock_wraps() -> None:
    clock = BoardClock()
    start = 2**32 - 5_000_000
    for s in range(20):
        true_us = start + s * 1_000_000
        sent_ns = s * 10**9
        board_us = clock.unwrap_us((true_us + 200) % 2**32)
        clock.answered(sent_ns, board_us, sent_ns + 500_000)
        assert board_us == true_us + 200
        line_ns, err_ns = clock.host_ns(board_us)
        assert line_ns <= sent_ns + 200_000 <= line_ns + err_ns
    assert clock.unwrap_us((start + 4_000_000) % 2**32) == start + 4_000_000  # late news


@pytest.mark.parametrize(("ppm", "sway"), [(0, 0), (200, 0), (-1000, 100), (5000, 0), (0, 100)])
def test_line_times_hold_whatever_the_boards_clock_does(ppm: int, sway: int) -> None:
    """Keepalives every 20 ms, pulses between them; ceramic resonators go with the temperature."""
    rng, clock, errors = random.Random(1), BoardClock(), []

    def board_us(t_ns: float) -> int:
        swayed_s = sway * 1e-6 * 60 / math.pi * (1 - math.cos(math.pi * t_ns * 1e-9 / 60))
        return int(7_000_000 + t_ns * (1 + ppm * 1e-6) / 1000 + 1e6 * swayed_s)

    for k in range(9000 if sway else 1500):
        sent_ns = k * 20_000_000
        made_ns = sent_ns + rng.uniform(50e3, 400e3)
        clock.answered(sent_ns, board_us(made_ns), round(made_ns + rng.uniform(50e3, 400e3)))
        true_ns = sent_ns + rng.uniform(1e6, 15e6)
        line_ns, err_ns = clock.host_ns(board_us(true_ns))
        assert line_ns - 1000 <= true_ns <= line_ns + err_ns + 1000, k  # the board says whole us
        if k > 250:
            errors.append(err_ns)
    assert max(errors) < 800_000


def test_a_board_that_begins_anew_has_another_clock() -> None:
    clock = BoardClock()
    for k in range(100):
        clock.answered(k * 20_000_000, 50_000_000 + k * 20_000 + 200, k * 20_000_000 + 500_000)
    for k in range(100, 110):  # off by far more than any clock drifts
        board_us = 90_000_000 + k * 20_000 + 200
        clock.answered(k * 20_000_000, board_us, k * 20_000_000 + 500_000)
        line_ns, err_ns = clock.host_ns(board_us)
        assert line_ns <= k * 20_000_000 + 200_000 <= line_ns + err_ns
        assert 0 < err_ns <= 500_000


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 60_000) | st.just(60_000),
            st.sampled_from("KKPPX"),
            st.integers(0, 130_000) | st.just(100_000),
        ),
        max_size=200,
    )
)
def test_the_firmwares_promises(orders: list[tuple[int, str, int]]) -> None:
    """Whatever it hears: no pulse too long, duty kept, off soon after the last keepalive."""
    changes: list[tuple[int, int]] = []
    now = 0
    twin = Board(lambda *_: None, lambda level: changes.append((level, now)), max_duty=200)
    for now in range(0, 11_000_000, 50_000):  # it has run for a while
        twin.loop(now)
    last_k = -(10**9)
    for gap, kind, width in orders:
        for _ in range(gap // 100):
            now += 100
            twin.loop(now)
            assert not twin.on or now - last_k <= twin.watchdog_us
        twin.obey(kind, 1, width, now)
        if kind == "K":
            last_k = now
    for _ in range(2000):
        now += 100
        twin.loop(now)
    assert not twin.on
    ups = [t for level, t in changes if level]
    downs = [t for level, t in changes if not level]
    widths = [down - up for up, down in zip(ups, downs, strict=True)]
    assert all(width <= twin.max_pulse_us + 100 for width in widths)
    assert most_on_us(changes) <= 0.2 * 10_000_000 + len(widths) * 100


def most_on_us(changes: list[tuple[int, int]]) -> int:
    """Return how long the line was on at most in any 10 s, from its changes (level, us)."""
    ups = [t for level, t in changes if level]
    downs = [t for level, t in changes if not level and t >= ups[0]] if ups else []
    most = 0
    for end in downs:  # a window with the most ends where the line goes off
        start = end - 10_000_000
        spent = (min(down, end) - max(up, start) for up, down in zip(ups, downs, strict=False))
        most = max(most, sum(max(0, part) for part in spent))
    return most


def greedy(kind: str, folder: Path, width_us: int, duty: int) -> list[tuple[int, int]]:
    """Return changes (level, us) of a line that is asked for a pulse whenever it is idle."""
    if kind == "firmware":
        program = board.compiled_firmware(folder, "greedy.cpp", max_duty=duty)
        with (folder / "changes").open("w+", encoding="utf-8") as pin:
            subprocess.run(
                [str(program), str(width_us), "60"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[pin.fileno()],
                env=os.environ | {"PIN_FD": str(pin.fileno())},
                check=True,
            )
            pin.seek(0)
            pairs = [line.split() for line in pin]
        return [(int(level), int(t)) for level, t in pairs]
    changes: list[tuple[int, int]] = []
    now = 0
    twin = Board(lambda *_: None, lambda level: changes.append((level, now)), max_duty=duty)
    for now in range(0, 60_000_000, 500):
        twin.loop(now)
        if now >= 15_000_000:  # a bucket would be full
            twin.obey("K", 1, 0, now)
            if not twin.on:
                twin.obey("P", 1, width_us, now)
    return changes


@pytest.mark.parametrize("kind", BOARDS)
@pytest.mark.parametrize(("width_us", "duty"), [(100_000, 500), (3_000, 20)])
def test_the_duty_holds_in_any_ten_seconds(
    kind: str, width_us: int, duty: int, tmp_path: Path
) -> None:
    changes = greedy(kind, tmp_path, width_us, duty)
    most_us, allowed_us = most_on_us(changes), 10_000 * duty
    assert 0.9 * allowed_us < most_us <= allowed_us
    # it goes on like this, and does not stop for good
    late = [t for level, t in changes if level and t > 40_000_000]
    assert len(late) * width_us > 0.9 * duty / 1000 * 20_000_000


def test_a_reset_board_earns_its_duty_anew() -> None:
    """It cannot know what was before: then a board that resets again and again stays off."""
    changes: list[tuple[int, int]] = []
    now = 0
    twin = Board(lambda *_: None, lambda level: changes.append((level, now)), max_duty=500)
    on_us = 0
    for now in range(0, 5_000_000, 500):
        twin.obey("K", 1, 0, now)
        twin.loop(now)
        twin.obey("P", 1, 20_000, now)
        on_us += 500 * twin.on
        assert on_us <= now // 2 + 500
    assert on_us > 0.9 * now / 2 - 120_000


def test_line_times_hold_though_we_are_kept_from_our_clock_after_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        n = write(descriptor, data)
        time.sleep(0.004)
        return n

    with board.running() as one:
        monkeypatch.setattr(os, "write", slow)
        line = output(one.port)
        get_up(line)
        events = [e for n in range(5) for e in fire(line, n, 2000)]
        rises = one.rises()
    told = [e.detail for e in events if e.what == "on"]
    assert len(told) == len(rises) == 5
    for detail, rise in zip(told, rises, strict=True):
        # it says its time in whole us
        assert -2000 <= rise - detail["line_ns"] <= detail["line_err_ns"] + 2_000_000
