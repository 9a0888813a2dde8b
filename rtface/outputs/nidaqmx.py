"""A counter of a National Instruments device: one finite pulse of hardware timing per command.

NEVER RUN ON HARDWARE. Written after the documentation of the nidaqmx package and tried against
a stand-in of its calls only. How long ``start`` takes there is not known, so it may delay the
caller; measure it before you rely on it.
"""

from __future__ import annotations

import time
from typing import Any

from rtface.outputs import LineEvent, Pulse
from rtface.rules_config import NidaqmxSection
from rtface.types import UserError

_LOW_S = 1e-4


class NidaqmxOutput:
    """Fires a counter output; see ``Output``.

    The device ends a pulse by itself. It knows no duty and no watchdog, and nobody here has seen
    what its line does when the machine dies: not fail-safe.

    Raises
    ------
    UserError
        The package, the driver or the counter is missing.
    """

    fail_safe = False

    def __init__(self, name: str, section: NidaqmxSection) -> None:
        self.name = name
        try:
            import nidaqmx
            from nidaqmx.constants import AcquisitionType, Level
        except ImportError:
            raise UserError(
                f"output.{name}: kind = 'nidaqmx' needs the package nidaqmx and NI's driver; "
                "install it with: pip install nidaqmx"
            ) from None
        try:
            self._task: Any = nidaqmx.Task()
            self._channel = self._task.co_channels.add_co_pulse_chan_time(
                section.counter, idle_state=Level.LOW, low_time=_LOW_S, high_time=1e-3
            )
            if section.terminal is not None:
                self._channel.co_pulse_term = section.terminal
            self._task.timing.cfg_implicit_timing(AcquisitionType.FINITE, samps_per_chan=1)
        except Exception as error:  # noqa: BLE001  (DaqError, DaqNotFoundError; loaded lazily)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"output.{name}.counter: {section.counter}: {reason}") from None
        self._width_us = 0
        self._busy = False
        self._gone = ""
        self._events: list[LineEvent] = []

    @property
    def up(self) -> bool:
        """Whether the driver did not fail."""
        return not self._gone

    def fire(self, pulse: Pulse) -> int | None:
        """Start one finite pulse; see ``Output``."""
        if self._gone:
            return None
        try:
            if self._busy:
                self._task.stop()  # a finite task has to be stopped before it can start again
            if pulse.width_us != self._width_us:
                self._channel.co_pulse_high_time = pulse.width_us * 1e-6
                self._width_us = pulse.width_us
            self._task.start()
        except Exception as error:  # noqa: BLE001
            self._lost(error, pulse.n)
            return None
        self._busy = True
        return time.perf_counter_ns()

    def idle(self) -> None:
        """Stop the pulse."""
        if not self._gone and self._busy:
            try:
                self._task.stop()
            except Exception as error:  # noqa: BLE001
                self._lost(error, -1)
            self._busy = False

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Return what failed."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Stop and free the counter."""
        self.idle()
        if self._gone != "closed":
            self._gone = "closed"
            self._task.close()

    def _lost(self, error: Exception, n: int) -> None:
        self._gone = (str(error).splitlines() or [type(error).__name__])[0]
        self._events.append(
            LineEvent(time.perf_counter_ns(), self.name, "down", n, {"why": self._gone})
        )
