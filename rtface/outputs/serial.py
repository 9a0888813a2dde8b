"""A Teensy or an Arduino with the reference firmware, on a serial line.

Pulse width, longest pulse, duty and watchdog live in the firmware: whatever happens here, the line
goes idle by itself. The messages stand in ``board.py``.
"""

from __future__ import annotations

import os
import time
from typing import Any

from rtface.outputs import LineEvent, Pulse
from rtface.outputs.board import REASONS, VERSION, BoardClock, Decoder, Message, encode
from rtface.rules_config import SerialSection
from rtface.types import UserError

#: the board is down when nothing was heard for so long, and a pulse lost without an answer
SILENT_NS = 300_000_000
#: how often a board that does not answer is asked whether it is there
HELLO_NS = 200_000_000
#: a pulse may be this much longer than ordered, us; past the second bound the board is given up
LONGER_US, MUCH_LONGER_US = 1_000, 20_000


class SerialOutput:
    """A board on a serial line; see ``Output``.

    Raises
    ------
    UserError
        pyserial is missing, or the port cannot be opened.
    """

    fail_safe = True

    def __init__(self, name: str, section: SerialSection, longest_us: int) -> None:
        try:
            import serial
        except ImportError:
            raise UserError(
                f"output.{name}: kind = 'serial' needs pyserial; install it with: "
                "pip install 'rtface[trigger]'"
            ) from None
        try:
            self._port: Any = serial.Serial(
                section.port, section.baud, timeout=0, write_timeout=0, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"output.{name}.port: {section.port} cannot be opened ({error}); is it plugged in, "
                "and nothing else has it open?"
            ) from None
        self.name, self._longest_us = name, longest_us
        # pyserial's own write spins for ever when the system's buffer is full
        self._descriptor = self._port.fileno() if os.name == "posix" else None
        self._keepalive_ns = round(section.keepalive_ms * 1e6)
        self._decode = Decoder()
        self._clock = BoardClock()
        self._greeted = False  # its limits are known and fit
        self._limit = 0
        self._gone = ""  # for good
        self._heard_ns = self._due_ns = 0
        self._asked: dict[int, int] = {}  # keepalives under way: id, when
        self._count = 0
        self._fired: dict[int, tuple[int, int, int]] = {}  # id: n, width us, when
        self._late: dict[int, int] = {}  # lost without an answer, which may still come: id, n
        # id: n, width us, board us, when
        self._on: dict[int, tuple[int, int, int, int]] = {}
        self._asked_off_ns = 0  # when the board was told to be idle because of one of those
        self._events: list[LineEvent] = []

    @property
    def up(self) -> bool:
        """Whether it answers, its limits fit, and it never lied."""
        return self._greeted and not self._gone

    def fire(self, pulse: Pulse) -> int | None:
        """Order a pulse; see ``Output``."""
        if not self.up:
            return None
        id, data = pulse.n & 0xFFFF, encode("P", pulse.n, pulse.width_us)
        # before: the board may answer while we are kept from looking at our clock
        sent_ns = time.perf_counter_ns()
        if not self._write(data):
            return None
        t_ns = time.perf_counter_ns()
        self._fired[id] = pulse.n, pulse.width_us, sent_ns
        return t_ns

    def idle(self) -> None:
        """Order the line off; see ``Output``."""
        self._write(encode("X"))

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Send a keepalive if it is due, and read; see ``Output``."""
        if not self._gone:
            data = self._read()
            if data:
                read_ns = time.perf_counter_ns()
                for message in self._decode(data):
                    self._hear(message, read_ns)
            self._tend(now_ns)
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Order the line off and close the port; closing resets most boards, too."""
        if self._port.is_open:
            self.idle()
            self._port.close()
        self._gone = self._gone or "closed"

    def _tend(self, now_ns: int) -> None:
        if self._greeted and now_ns - self._heard_ns > SILENT_NS:
            self._greeted = False
            self._tell(now_ns, "down", why="the board is silent")
        for id in [id for id, fired in self._fired.items() if now_ns - fired[2] > SILENT_NS]:
            self._late[id] = n = self._fired.pop(id)[0]
            self._tell(now_ns, "lost", n, why="no answer")
        if self._greeted:
            self._expect_off(now_ns)
        if now_ns < self._due_ns:
            return
        if self._greeted:
            self._count = self._count + 1 & 0xFFFF
            data, sent_ns = encode("K", self._count), time.perf_counter_ns()
            if self._write(data):
                self._asked[self._count] = sent_ns
            self._due_ns = now_ns + self._keepalive_ns
        else:
            self._asked.clear()
            self._write(encode("H"))
            self._due_ns = now_ns + HELLO_NS

    def _expect_off(self, now_ns: int) -> None:
        """Ask a board that never said that a pulse is off, and give it up if it says nothing."""
        late = [
            n
            for n, width_us, _, since_ns in self._on.values()
            if now_ns - since_ns > width_us * 1000 + SILENT_NS
        ]
        if late and not self._asked_off_ns:
            self.idle()
            self._asked_off_ns = now_ns
        elif late and now_ns - self._asked_off_ns > SILENT_NS and not self._gone:
            self._lied(now_ns, f"the board never said that pulse {late[0]} is off")

    def _forget_on(self, t_ns: int, why: str) -> None:
        """Note that whatever was on is off, though the board's word for it was not heard."""
        for n, *_ in self._on.values():
            self._tell(t_ns, "note", n, why=f"nobody heard that pulse {n} is off; {why}")
        self._on.clear()
        self._asked_off_ns = 0

    def _hear(self, message: Message, read_ns: int) -> None:
        self._heard_ns = read_ns
        kind, id, value = message
        if kind == "H":
            self._limit = value
            if id != VERSION:
                self._lied(read_ns, f"its firmware speaks version {id}, not {VERSION}")
        elif kind == "D":
            self._greet(read_ns, id, value)
        elif kind == "K":
            if (sent_ns := self._asked.pop(id, None)) is None:
                return
            self._clock.answered(sent_ns, self._clock.unwrap_us(value), read_ns)
        elif kind == "A":
            self._is_on(id, value, read_ns)
        elif kind in "EW":
            self._is_off(kind, id, value, read_ns)
        elif kind == "X":
            self._forget_on(read_ns, "the line is idle")
        elif kind == "N":
            n = self._fired.pop(id, (self._late.pop(id, -1), 0, 0))[0]
            self._tell(read_ns, "refused", n, why=REASONS.get(value, f"reason {value}"))

    def _greet(self, t_ns: int, duty: int, watchdog_us: int) -> None:
        if self._greeted or self._gone:
            return
        if self._longest_us > self._limit:
            self._lied(
                t_ns,
                f"the board takes pulses of at most {self._limit / 1e3:g} ms, a rule asks for "
                f"{self._longest_us / 1e3:g} ms",
            )
        elif watchdog_us < 2 * self._keepalive_ns // 1000:
            self._lied(
                t_ns,
                f"its watchdog of {watchdog_us / 1e3:g} ms is shorter than two keepalives "
                f"of {self._keepalive_ns / 1e6:g} ms",
            )
        else:
            self._greeted, self._due_ns = True, 0
            self._asked_off_ns = 0  # what was said to it meanwhile it may not have heard
            limits: dict[str, Any] = {"max_pulse_us": self._limit, "max_duty": duty / 1000}
            self._tell(t_ns, "up", watchdog_us=watchdog_us, **limits)

    def _is_on(self, id: int, board_us: int, read_ns: int) -> None:
        fired = self._fired.pop(id, None)
        if fired is None and id in self._late:
            self.idle()
            n = self._late.pop(id)
            self._tell(
                read_ns, "note", n, why=f"pulse {n} came on after it was given up, and is off"
            )
            return
        if fired is None:
            self._lied(read_ns, f"the board says pulse {id} is on, and nobody asked for it")
            return
        self._forget_on(read_ns, "the next is on")
        n, width_us, sent_ns = fired
        unwrapped = self._clock.unwrap_us(board_us)
        self._clock.answered(sent_ns, unwrapped, read_ns)
        self._on[id] = n, width_us, unwrapped, read_ns
        self._tell_time(read_ns, "on", n, unwrapped)

    def _is_off(self, kind: str, id: int, board_us: int, read_ns: int) -> None:
        on = self._on.pop(id, None)
        self._asked_off_ns = 0
        if on is None:
            return  # from before a reset, or of an idle line
        n, width_us, since_us, _ = on
        unwrapped = self._clock.unwrap_us(board_us)
        self._tell_time(read_ns, "off", n, unwrapped, watchdog=kind == "W")
        late_us = unwrapped - since_us - width_us
        why = f"pulse {n} was {late_us} us longer than ordered"
        if late_us > MUCH_LONGER_US:
            self._lied(read_ns, why)
        elif late_us > LONGER_US + width_us // 50:
            self._tell(read_ns, "note", n, why=why)

    def _tell(self, t_ns: int, what: str, n: int = -1, **detail: Any) -> None:
        self._events.append(LineEvent(t_ns, self.name, what, n, detail))

    def _tell_time(self, t_ns: int, what: str, n: int, board_us: int, **detail: Any) -> None:
        line_ns, err_ns = self._clock.host_ns(board_us)
        told = {"board_us": board_us, "line_ns": line_ns, "line_err_ns": err_ns}
        self._tell(t_ns, what, n, **told, **detail)

    def _lied(self, t_ns: int, why: str) -> None:
        """Give up the board for this run."""
        self.idle()
        self._gone = self._gone or why
        self._tell(t_ns, "down", why=why)

    def _read(self) -> bytes:
        try:
            if self._descriptor is not None:
                return os.read(self._descriptor, 4096)
            return bytes(self._port.read(self._port.in_waiting))
        except BlockingIOError:
            return b""
        except (OSError, TypeError) as error:  # TypeError: pyserial, of a port closed meanwhile
            self._lost(f"cannot be read ({error})")
            return b""

    def _write(self, data: bytes) -> bool:
        """Return whether the system took it whole."""
        if self._gone:
            return False
        try:
            if self._descriptor is not None:
                return os.write(self._descriptor, data) == len(data)
            return bool(self._port.write(data) == len(data))
        except BlockingIOError:
            return False  # full: the board does not read, and its silence is noticed
        except OSError as error:
            self._lost(f"cannot be written ({error})")
            return False

    def _lost(self, why: str) -> None:
        self._gone = self._gone or why
        self._tell(time.perf_counter_ns(), "down", why=why)
