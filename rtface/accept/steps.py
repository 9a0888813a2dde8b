"""What acceptance found, step by step, and which rules may arm because of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rtface.config import Rig

PASSED, FAILED, NOT_DONE = "passed", "failed", "not done"
#: what a line and its camera have to pass; of the whole rig, of a camera, of an output
OF_RIG, OF_CAMERA = ("check",), ("tracking",)
OF_OUTPUT = ("line", "loopback", "light", "chain", "stop", "kill")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried.

    Attributes
    ----------
    name, of : str
        Of ``OF_RIG``, ``OF_CAMERA``, ``OF_OUTPUT``; which camera or output, empty: the rig.
    outcome : str
        ``passed``, ``failed``, ``not done``: this rig cannot do it, which is no pass.
    text : str
        What was found, for people.
    numbers : dict
        The same, for programs.
    """

    name: str
    of: str
    outcome: str
    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return it as one line."""
        what = f"{self.name} {self.of}".strip()
        return f"{self.outcome:9} {what:22} {self.text}"


def failed(name: str, of: str, why: object) -> Step:
    """Return a step that failed."""
    return Step(name, of, FAILED, str(why))


def not_done(name: str, of: str, why: str) -> Step:
    """Return a step that this rig cannot do."""
    return Step(name, of, NOT_DONE, why)


def obstacles(rig: Rig, steps: Iterable[Step]) -> dict[str, str]:
    """Return, by rule of hazard, what keeps it from arming; rules that may arm are not in it."""
    found = {(step.name, step.of): step for step in steps}
    first = next(iter(rig.camera))
    held: dict[str, str] = {}
    for name, rule in rig.rule.items():
        if not rule.hazard:
            continue
        needed = [(step, "") for step in OF_RIG]
        needed += [(step, rule.camera or first) for step in OF_CAMERA]
        needed += [(step, rule.output) for step in OF_OUTPUT]
        for step, of in needed:
            one = found.get((step, of))
            outcome = one.outcome if one else NOT_DONE
            if outcome != PASSED:
                held[name] = f"step {step} {of}".strip() + f" {outcome}"
                break
    return held


def as_dicts(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Return steps as a file holds them."""
    return [asdict(step) for step in steps]
