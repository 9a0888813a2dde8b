"""The whole way from the middle of an exposure to a line, term by term. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rtface.accept.drill import Fired
from rtface.accept.steps import FAILED, PASSED, Step, failed, not_done
from rtface.flashes import Flashes

#: so many pulses that the line told of, and this part of those that were fired, make it measured
FEWEST, PART = 20, 0.95
MEASURED, DECLARED, UNKNOWN = "measured", "declared", "not known"


class Term(NamedTuple):
    """One part of the way: ms, and whether it was measured or declared, and by what."""

    name: str
    p50_ms: float
    p99_ms: float
    how: str
    by: str

    def line(self) -> str:
        """Return it as one line of a table."""
        if self.how == UNKNOWN:
            return f"  {self.name:22} {'':>8} {'':>8}  {self.how}: {self.by}"
        return f"  {self.name:22} {self.p50_ms:8.2f} {self.p99_ms:8.2f}  {self.how}: {self.by}"


def _term(name: str, ns: Any, how: str, by: str) -> Term:
    p50, p99 = np.percentile(ns, [50, 99])
    return Term(name, round(float(p50) / 1e6, 3), round(float(p99) / 1e6, 3), how, by)


def terms(
    fired: Sequence[Fired], flashes: Flashes | None, exposure_us: float | None, latency_ms: float
) -> list[Term]:
    """Return the parts of the way from the middle of the exposure to the light.

    Parameters
    ----------
    fired : sequence of Fired
        Of which the line told when it rose.
    flashes : Flashes, optional
        What the line's own light said of exposures; None: nobody saw it.
    exposure_us : float, optional
        As the rig file states it.
    latency_ms : float
        From the command to the light at most, as the rig file states it.
    """
    exposed = np.array([one.ledger.exposure_ns for one in fired], float)
    host = np.array([one.ledger.t_host_ns for one in fired], float)
    command = np.array([one.command_ns for one in fired], float)
    line = np.array([(one.line_ns or 0) + one.line_err_ns for one in fired], float)
    late_ns, half_ns, how, by = 0.0, None, DECLARED, "the clock's fit and delay_us of the rig file"
    if flashes is not None:
        late_ns, half_ns = flashes.late_ns, flashes.exposure_ns / 2
        how, by = MEASURED, "frames that saw the line's light"
    elif exposure_us is not None:
        half_ns = exposure_us * 500.0
    middle = exposed - late_ns
    found = []
    if half_ns is None:
        why = "no light was seen, and the rig file does not state exposure_us"
        found.append(Term("exposure / 2", np.nan, np.nan, UNKNOWN, why))
        found.append(_term("exposure / 2, readout, transfer", host - middle, how, by))
    else:
        stated = by if flashes is not None else "exposure_us of the rig file"
        found.append(_term("exposure / 2", np.full(1, half_ns), how, stated))
        found.append(_term("readout, transfer", host - middle - half_ns, how, by))
    found += [
        _term("software", command - host, MEASURED, "delivery to the command, this machine"),
        _term("line", line - command, MEASURED, "the board's clock, at most"),
        _term("middle of exposure to line", line - middle, how, by),
        Term("line to light", latency_ms, latency_ms, DECLARED, "latency_ms, at most"),
    ]
    return found


def judge_chain(
    name: str,
    fired: Sequence[Fired],
    flashes: Flashes | None,
    exposure_us: float | None,
    latency_ms: float,
) -> Step:
    """Return the whole chain of a line, if it told of its pulses."""
    sent = [one for one in fired if one.command_ns is not None]
    told = [one for one in sent if one.line_ns is not None]
    if sent and not told:
        return not_done("chain", name, "this kind of line does not say when it was on: no board")
    if len(sent) < FEWEST:
        return failed("chain", name, f"only {len(sent)} pulses in that time; drill longer")
    found = terms(told, flashes, exposure_us, latency_ms)
    software = next(term for term in found if term.name == "software")
    whole = found[-2]
    text = (
        f"{len(told)} of {len(sent)} pulses; software p50 {software.p50_ms:.2f}, p99 "
        f"{software.p99_ms:.2f} ms; middle of exposure to line p50 {whole.p50_ms:.2f}, p99 "
        f"{whole.p99_ms:.2f} ms ({whole.how})"
    )
    numbers = {"sent": len(sent), "told": len(told), "terms": [term._asdict() for term in found]}
    good = len(told) >= max(FEWEST, PART * len(sent))
    return Step("chain", name, PASSED if good else FAILED, text, numbers)


def chain_lines(step: Step) -> list[str]:
    """Return the table of a chain's terms, for people."""
    told = [Term(**term) for term in step.numbers.get("terms", [])]
    head = f"chain of {step.of}, ms: {'p50':>16} {'p99':>8}"
    return [head, *(term.line() for term in told)] if told else []
