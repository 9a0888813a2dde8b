"""All lines of a tracker: decisions go in, what became of them comes out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rtface.outputs import LineEvent, Output, Pulse
from rtface.rules.rule import FIRED, Decision


class Lines:
    """Fires what was decided, and looks after the lines. Belongs to one thread; never raises."""

    def __init__(self, outputs: Mapping[str, Output]) -> None:
        self._outputs = dict(outputs)
        self._failed: dict[str, str] = {}
        self._events: list[LineEvent] = []

    def fire(self, decision: Decision) -> int | None:
        """Fire the line of a decision; return when the command was handed over, ns.

        None: it was not to be fired, or its line is down, which an event says.
        """
        if decision.outcome != FIRED or decision.output not in self._outputs:
            return None
        name, n = decision.output, decision.n
        pulse = Pulse(n, decision.rule, decision.frame_seq, decision.exposure_ns, decision.pulse_us)
        try:
            t_ns = None if name in self._failed else self._outputs[name].fire(pulse)
        except Exception as error:  # noqa: BLE001  (a device's library may raise anything)
            self._fail(name, error)
            t_ns = None
        if t_ns is None:
            why = {"why": self._failed.get(name, "the line is down")}
            self._events.append(LineEvent(time.perf_counter_ns(), name, "refused", n, why))
        return t_ns

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Look after every line, in every turn of the loop; return what became known."""
        events, self._events = self._events, []
        for name, output in self._outputs.items():
            if name not in self._failed:
                try:
                    events += output.poll(now_ns)
                except Exception as error:  # noqa: BLE001
                    self._fail(name, error)
        return events

    def idle(self) -> None:
        """Switch every line off."""
        for name, output in self._outputs.items():
            try:
                output.idle()
            except Exception as error:  # noqa: BLE001
                self._fail(name, error)

    def down(self) -> list[str]:
        """Return the names of lines that cannot be fired now."""
        return [name for name, out in self._outputs.items() if name in self._failed or not out.up]

    def close(self) -> None:
        """Switch every line off and free it; may be called twice."""
        outputs: Iterable[tuple[str, Output]] = self._outputs.items()
        for name, output in outputs:
            try:
                output.close()
            except Exception as error:  # noqa: BLE001
                self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        self._failed.setdefault(name, why)
        self._events.append(LineEvent(time.perf_counter_ns(), name, "down", -1, {"why": why}))
