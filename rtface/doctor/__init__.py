"""What ``rtface doctor`` looks at: what this machine offers, judged, with what to do about it.

Judgements are pure functions of measured values, beside the probes that measure them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rtface.doctor.clock import look_at_clock, wall_pair
from rtface.doctor.cpu import jiffies, load_now, look_at_cpu
from rtface.doctor.finding import Finding, Verdict
from rtface.doctor.gpu import look_at_gpu
from rtface.doctor.ports import look_at_ports
from rtface.doctor.priority import look_at_priority
from rtface.doctor.software import look_at_engines, look_at_providers, look_at_software
from rtface.doctor.storage import look_at_disk, look_at_rings

#: topics without which nothing runs
NECESSARY = ("software", "network", "rings")


class Step(NamedTuple):
    """A topic, what is being done while it is looked at, and the look itself."""

    topic: str
    doing: str
    look: Callable[[], list[Finding]]

    def findings(self) -> list[Finding]:
        """Look; a look that fails in a way nobody thought of is a finding, not the end."""
        try:
            return self.look()
        except Exception as error:  # noqa: BLE001 - machines are stranger than any list of types
            verdict = Verdict.FAULT if self.topic in NECESSARY else Verdict.HINT
            value = f"cannot be looked at ({type(error).__name__}: {error})"
            return [Finding(self.topic, value, verdict, "report this line to rtface's developers")]


def steps(bundle: str, disk: Path) -> Iterator[Step]:
    """Yield the steps in their order; each is to be looked at before the next is asked for."""
    wall_before, jiffies_before, load = wall_pair(), jiffies(), load_now()
    yield Step("software", "loading libraries", look_at_software)
    yield Step(
        "network",
        "running the network for 2 s at 200 Hz",
        lambda: look_at_providers() + look_at_engines(bundle),
    )
    yield Step("rings", "making a ring", look_at_rings)
    yield Step(
        "clock", "reading clocks, sleeping 300 times 1 ms", lambda: look_at_clock(wall_before)
    )
    yield Step("processor", "asking the system", lambda: look_at_cpu(jiffies_before, load))
    yield Step("priority", "asking for real-time priority", look_at_priority)
    yield Step("ports", "trying ports", look_at_ports)
    yield Step("disk", f"writing 64 MB into {disk}", lambda: look_at_disk(disk))
    yield Step("GPU", "asking the driver", look_at_gpu)
