"""One marker per pulse, over Lab Streaming Layer."""

from __future__ import annotations

import time
from typing import Any

from rtface.outputs import LineEvent, Pulse
from rtface.rules_config import LslSection
from rtface.types import UserError


class LslOutput:
    """Pushes ``rule n width_us frame_seq exposure_ns`` as text; see ``Output``.

    Raises
    ------
    UserError
        pylsl or liblsl is missing.
    """

    fail_safe = False

    def __init__(self, name: str, section: LslSection) -> None:
        self.name = name
        try:
            import pylsl
        except (ImportError, RuntimeError, OSError) as error:  # not there, or without liblsl
            reason = str(error).splitlines()[0]
            raise UserError(
                f"output.{name}: kind = 'lsl' needs pylsl and liblsl ({reason}); install them "
                "with: pip install 'rtface[bridge]'"
            ) from None
        info = pylsl.StreamInfo(
            section.stream,
            "Markers",
            1,
            pylsl.IRREGULAR_RATE,
            pylsl.cf_string,
            f"{section.stream}-{name}",
        )
        self._outlet: Any = pylsl.StreamOutlet(info)

    @property
    def up(self) -> bool:
        """Whether it is open."""
        return self._outlet is not None

    def fire(self, pulse: Pulse) -> int | None:
        """Push one marker; LSL sends it in threads of its own. See ``Output``."""
        if self._outlet is None:
            return None
        parts = (pulse.rule, pulse.n, pulse.width_us, pulse.frame_seq, pulse.exposure_ns)
        self._outlet.push_sample([" ".join(map(str, parts))])
        return time.perf_counter_ns()

    def idle(self) -> None:
        """Nothing is held."""

    def poll(self, now_ns: int) -> list[LineEvent]:
        """Nobody answers."""
        return []

    def close(self) -> None:
        """Close the outlet."""
        self._outlet = None
