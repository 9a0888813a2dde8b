"""The lines that a rig file names."""

from __future__ import annotations

from collections.abc import Iterable

from rtface.outputs import Output
from rtface.outputs.dry import DryOutput
from rtface.outputs.lsl import LslOutput
from rtface.outputs.nidaqmx import NidaqmxOutput
from rtface.outputs.open_ephys import OpenEphysOutput
from rtface.outputs.osc import OscOutput
from rtface.outputs.serial import SerialOutput
from rtface.rules_config import (
    AnyOutput,
    ClosedLoop,
    LslSection,
    NidaqmxSection,
    OpenEphysSection,
    OscSection,
    SerialSection,
)
from rtface.types import UserError


def make_outputs(loop: ClosedLoop, names: Iterable[str], dry: bool) -> dict[str, Output]:
    """Return the lines of these names; ``dry``: none of them is real.

    Raises
    ------
    UserError
        A device is missing; a rule of hazard fires a line that is not fail-safe.
    """
    made: dict[str, Output] = {}
    try:
        for name in names:
            rules = [(key, rule) for key, rule in loop.rule.items() if rule.output == name]
            longest_us = round(max((rule.pulse_ms for _, rule in rules), default=0.0) * 1e3)
            section = loop.output[name]
            made[name] = DryOutput(name) if dry else _make(name, section, longest_us)
            for key, rule in rules:
                if rule.hazard and not made[name].fail_safe:
                    raise UserError(
                        f"rule.{key}: hazard = true needs a line that goes idle by itself, and "
                        f"output.{name} does not"
                    )
    except BaseException:
        for output in made.values():
            output.close()
        raise
    return made


def _make(name: str, section: AnyOutput, longest_us: int) -> Output:
    if isinstance(section, SerialSection):
        return SerialOutput(name, section, longest_us)
    if isinstance(section, OpenEphysSection):
        return OpenEphysOutput(name, section)
    if isinstance(section, LslSection):
        return LslOutput(name, section)
    if isinstance(section, OscSection):
        return OscOutput(name, section)
    if isinstance(section, NidaqmxSection):
        return NidaqmxOutput(name, section)
    return DryOutput(name)
