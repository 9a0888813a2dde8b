"""A device's clock: in which unit frames carry it, and how it is read together with the host's."""

from __future__ import annotations

import time

from rtface.camera.sfnc import Nodes, find

NS_PER_S = 1_000_000_000

#: ways of latching: command, and where the latched value is then
_LATCHES = (
    ("TimestampLatch", "TimestampLatchValue"),
    ("TimestampControlLatch", "TimestampValue"),
    ("GevTimestampControlLatch", "GevTimestampValue"),
    ("TimestampLatch", "Timestamp"),  # older Point Grey
)


class DeviceClock:
    """Knows how long a tick is and which features latch. Belongs to the camera's thread.

    SFNC has times in ns. GigE Vision 1.x counts ticks of ``GevTimestampTickFrequency``; older Point
    Grey USB3 cameras count ticks of ``TimestampIncrement`` ns.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._tick_hz = NS_PER_S
        if name := find(nodes, ("GevTimestampTickFrequency",)):
            self._tick_hz = int(float(nodes.read(name))) or NS_PER_S
        elif name := find(nodes, ("TimestampIncrement",)):
            self._tick_hz = round(NS_PER_S / (float(nodes.read(name)) or 1.0))
        self._latch = next((pair for pair in _LATCHES if all(map(nodes.has, pair))), None)

    def describe(self) -> str:
        """Return in words what the device's clock is good for."""
        if self._latch is None:
            return "its clock cannot be read; frames may carry times, else they are the host's"
        tick_ns = NS_PER_S / self._tick_hz
        return f"its clock is read with the host's ({self._latch[0]}), in ticks of {tick_ns:g} ns"

    def to_ns(self, ticks: int) -> int:
        """Return a device time in ns."""
        return ticks if self._tick_hz == NS_PER_S else ticks * NS_PER_S // self._tick_hz

    def latch(self) -> tuple[int, int, int] | None:
        """Return (device, host, within), ns; None where the device cannot be latched.

        Raises
        ------
        NodeRefused
            It does not answer.
        """
        if self._latch is None:
            return None
        command, value = self._latch
        before_ns = time.perf_counter_ns()
        self._nodes.execute(command)
        after_ns = time.perf_counter_ns()
        ticks = int(self._nodes.read(value))
        # ticks are cut off, here and in the stamps of frames
        within_ns = after_ns - before_ns + 2 * (NS_PER_S // self._tick_hz - 1)
        return self.to_ns(ticks), (before_ns + after_ns) // 2, within_ns
