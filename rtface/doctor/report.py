"""Findings as text: aligned and coloured on a terminal, plain lines elsewhere, or JSON."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rtface import __version__
from rtface.doctor.finding import Finding, Verdict, as_map, worst

_STYLES = {Verdict.OK: "green", Verdict.HINT: "yellow", Verdict.FAULT: "bold red"}
MARK_WIDTH, WHAT_WIDTH = 5, 20
_INDENT = " " * (MARK_WIDTH + 6)


def plain_lines(topic: str, findings: Sequence[Finding]) -> list[str]:
    """Return lines for a file or a pipe: one a finding, its remedy indented under it."""
    lines = [topic]
    for one in findings:
        lines.append(f"  {one.verdict:{MARK_WIDTH}}  {one.what:{WHAT_WIDTH}}  {one.value}")
        if one.remedy:
            lines.append(f"{_INDENT}{one.remedy}")
    return lines


def show(console: Console, topic: str, findings: Sequence[Finding]) -> None:
    """Print the same on a terminal, wrapped within its columns.

    Remedies are wrapped by the terminal, not by us: a command in one can be copied whole.
    """
    console.print(Text(topic, "bold"))
    for one in findings:
        style = _STYLES[one.verdict]
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=MARK_WIDTH)
        grid.add_column(width=WHAT_WIDTH)
        grid.add_column(overflow="fold")
        # Text, not str: what the system says may contain brackets, which rich takes as markup
        grid.add_row(Text(one.verdict, style), Text(one.what), Text(one.value))
        console.print(Padding(grid, (0, 0, 0, 2)))
        if one.remedy:
            console.print(Text(_INDENT + one.remedy, style), soft_wrap=True)


def closing_line(findings: Sequence[Finding]) -> str:
    """Return what it comes to."""
    faults = sum(one.verdict is Verdict.FAULT for one in findings)
    hints = sum(one.verdict is Verdict.HINT for one in findings)
    told = f"{faults} fault(s), {hints} hint(s)"
    if faults:
        return f"{told}: rtface cannot run until the fault(s) are mended"
    return f"{told}: nothing prevents running"


def document(found: Sequence[tuple[str, Finding]], seconds: float) -> str:
    """Return everything as one JSON document; ``found`` is (topic, finding)."""
    whole = {
        "rtface": __version__,
        "system": platform.platform(),
        "t_unix_ns": time.time_ns(),
        "seconds": round(seconds, 3),
        "verdict": worst(finding for _, finding in found),
        "findings": [as_map(topic, finding) for topic, finding in found],
    }
    return json.dumps(whole, indent=1)
