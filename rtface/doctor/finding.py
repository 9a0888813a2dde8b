"""What the doctor says: one finding a line, judged, with a remedy where it is not good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rtface.types import UserError

#: 640x480 at 8 bit and 200 Hz, the camera all room and speed is told in, bytes
FRAME_BYTES = 640 * 480
REFERENCE_HZ = 200.0
REFERENCE_BYTES_PER_S = FRAME_BYTES * REFERENCE_HZ


class Verdict(StrEnum):
    """How good a finding is."""

    OK = "ok"  # good, or a plain statement
    HINT = "hint"  # rtface runs, and could run better
    FAULT = "fault"  # rtface does not run


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    what : str
    value : str
        What was found, for people.
    verdict : Verdict
    remedy : str
        What to do; empty only if the verdict is OK.
    measured : mapping of str to float
        The numbers behind ``value``, units in their names, for programs.
    """

    what: str
    value: str
    verdict: Verdict = Verdict.OK
    remedy: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.OK and not self.remedy:
            raise ValueError(f"{self.what}: a {self.verdict} needs a remedy")


def judged(
    what: str, value: str, hint: bool, remedy: str, measured: Mapping[str, float] | None = None
) -> Finding:
    """Return a finding that is a hint with ``remedy`` if ``hint``, else ok without one."""
    if hint:
        return Finding(what, value, Verdict.HINT, remedy, measured or {})
    return Finding(what, value, Verdict.OK, "", measured or {})


def fault_of(what: str, error: UserError, remedy: str = "") -> Finding:
    """Return a fault from one line of the form "what is wrong; what to do"."""
    value, _, last = str(error).rpartition("; ")
    if not value:
        value, last = str(error), remedy or "mend it and run 'rtface doctor' again"
    return Finding(what, value, Verdict.FAULT, last)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict of all together."""
    found = {finding.verdict for finding in findings}
    for verdict in (Verdict.FAULT, Verdict.HINT):
        if verdict in found:
            return verdict
    return Verdict.OK


def as_map(topic: str, finding: Finding) -> dict[str, Any]:
    """Return what stands in the JSON document."""
    return {"topic": topic, **asdict(finding)}
