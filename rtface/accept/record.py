"""The report of an acceptance: where it lies, what it is bound to, and who may arm by it."""

from __future__ import annotations

import hashlib
import json
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtface import __version__
from rtface.accept.steps import Step, as_dicts, obstacles
from rtface.config import Rig, load_rig, parse_rig
from rtface.engine.bundle import load_bundle
from rtface.join import join_rigs
from rtface.neural.bundle import SIDECAR
from rtface.session.layout import digest
from rtface.session.writer import this_machine
from rtface.types import UserError

FORMAT = 1


def report_path(rig_file: Path) -> Path:
    """Return where the report of a rig file lies: ``rig.accept.json`` beside ``rig.toml``."""
    return rig_file.with_suffix(".accept.json")


def meaning(rig_file: Path) -> str:
    """Return the SHA-256 of what a rig file means, as a run would understand it.

    Comments, the order of keys and values that are the default anyway do not matter; what files
    that it names contain does (network, masks, calibrations, users' rules), and so does rtface's
    version. Films and drivers count by their names.

    Raises
    ------
    UserError
        The file, or one that it names, cannot be read.
    """
    rig = load_rig(rig_file)
    # paths as they are written: a folder that was moved is the same rig
    written = parse_rig(tomllib.loads(rig_file.read_text(encoding="utf-8-sig")), str(rig_file))
    named: dict[str, str | None] = {}
    for name, camera in rig.camera.items():
        named[f"camera.{name}.latency"] = camera.latency
        named[f"camera.{name}.whiskers"] = camera.whiskers
        if camera.motion is not None:
            named[f"camera.{name}.motion.masks"] = camera.motion.masks
        if camera.neural is not None:
            named[f"camera.{name}.neural.bundle"] = str(Path(camera.neural.bundle) / SIDECAR)
    named |= {f"rule.{name}.python": rule.python for name, rule in rig.rule.items()}
    files = {key: _sha256(key, Path(path)) for key, path in named.items() if path is not None}
    files["engine.bundle"] = load_bundle(rig.engine.bundle).sha256
    told = {"rtface": __version__, "rig": written.model_dump(mode="json"), "files": files}
    return digest(told)


def _sha256(key: str, path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{key}: {path}: cannot be read ({error.strerror})") from None


def write_report(rig_file: Path, of: str, steps: Sequence[Step]) -> Path:
    """Write what was found, for programs and for people; return where.

    Parameters
    ----------
    of : str
        ``meaning`` of the rig file when it began.
    """
    path = report_path(rig_file)
    told = {
        "format": FORMAT,
        "rtface": __version__,
        "rig": rig_file.name,
        "meaning": of,
        "host": this_machine()["host"],
        "unix_s": round(time.time()),
        "steps": as_dicts(steps),
    }
    try:
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def read_report(rig_file: Path) -> dict[str, Any]:
    """Return a report, its ``steps`` as ``Step``; UserError says why it cannot be used."""
    path = report_path(rig_file)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise UserError(f"{path.name} is of format {told['format']}, not {FORMAT}")
        steps = [Step(**step) for step in told["steps"]]
        return {**told, "steps": steps, "host": str(told["host"]), "meaning": str(told["meaning"])}
    except FileNotFoundError:
        raise UserError("it was never accepted") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path.name} cannot be read or is damaged") from None


def require_accepted(rigs: Sequence[tuple[Path, Rig]]) -> None:
    """Refuse to arm rules of hazard that no acceptance of their rig file, as it is, allows.

    Raises
    ------
    UserError
        Names the rule, the file and the command.
    """
    run = join_rigs(rigs)
    for path, rig in rigs:
        hazards = [name for name, rule in rig.rule.items() if rule.hazard]
        if hazards and (why := _other_sections(rig, run) or _why_not(path, rig)):
            name, reason = why
            raise UserError(
                f"{path}: rule.{name or hazards[0]}: hazard = true, and {reason}; it does not arm. "
                f"With your hands on the rig run: rtface accept {path}"
            )


def _other_sections(rig: Rig, run: Rig) -> tuple[str, str] | None:
    """Return (rule, why) as ``_why_not`` where a run of several files is not as this one says."""
    for key in ("loop", "engine"):
        if getattr(rig, key) != getattr(run, key):
            return "", (
                f"the [{key}] of this run is that of another rig file; write it into this one, too"
            )
    return None


def _why_not(path: Path, rig: Rig) -> tuple[str, str] | None:
    """Return (rule, why) of a rule that may not arm; the rule is empty where all are meant."""
    try:
        report = read_report(path)
    except UserError as error:
        return "", str(error)
    if report["host"] != (host := this_machine()["host"]):
        return "", f"it was accepted on {report['host']}, not on {host}"
    if report["meaning"] != meaning(path):
        return "", "it was changed since it was accepted"
    return next(iter(obstacles(rig, report["steps"]).items()), None)
