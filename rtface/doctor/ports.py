"""The standard ports: free, or whose."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from rtface.client import ask
from rtface.config import LOOPBACK, StreamSection
from rtface.doctor.clock import read_line
from rtface.doctor.finding import Finding, Verdict, judged

_STREAM = StreamSection()
CONTROL_PORT = _STREAM.control_port
#: what a rig with one camera and the defaults needs
NEEDED = (CONTROL_PORT, _STREAM.data_port, _STREAM.status_port)
#: control, status, data of up to four cameras, and room for what other parts publish
PORTS = (*range(5580, 5590), 8780)
ASK_TIMEOUT_S = 1.0


def judge_free(ports: Collection[int]) -> Finding:
    """State which ports are free."""
    return Finding("free ports", spans(ports) or "none")


def judge_taken(port: int, holder: str | None, ours: str | None) -> Finding:
    """Judge a port that is taken, by a program (if it can be told) or by a running rtface."""
    what = f"port {port}"
    if ours is not None:
        # one finding is enough for one rtface
        return judged(
            what,
            f"taken by a running rtface: {ours}",
            ours.startswith("control"),
            "a second one at the same time needs other ports under [stream] of its rig file",
        )
    verdict = Verdict.FAULT if port in NEEDED else Verdict.HINT
    by = holder or "a program that cannot be seen from here ('sudo ss -ltnp' names it)"
    remedy = "stop it, or set other ports under [stream] of the rig file ('rtface init' writes one)"
    if port not in NEEDED:
        remedy = "nothing to do unless a rig file needs this port; then set another one there"
    return Finding(what, f"taken by {by}", verdict, remedy)


def spans(ports: Iterable[int]) -> str:
    """Return ports in few words: ``5580-5582, 8780``."""
    runs: list[list[int]] = []
    for port in sorted(ports):
        if runs and port == runs[-1][1] + 1:
            runs[-1][1] = port
        else:
            runs.append([port, port])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def look_at_ports(ports: Iterable[int] = PORTS, control_port: int = CONTROL_PORT) -> list[Finding]:
    """Try to open each port, as a run would, and ask who has those that are taken."""
    free, taken = [], []
    with zmq.Context() as context:
        for port in ports:
            with context.socket(zmq.PUB) as socket:
                try:
                    socket.bind(f"tcp://{LOOPBACK[0]}:{port}")
                    free.append(port)
                except zmq.ZMQError:
                    taken.append(port)
    ours = _ports_of_rtface(control_port) if control_port in taken else {}
    found = [judge_free(free)]
    for port in taken:
        holder = None if port in ours else _holder(port)
        found.append(judge_taken(port, holder, ours.get(port)))
    return found


def _ports_of_rtface(control_port: int) -> Mapping[int, str]:
    """Return what a running rtface says it has, by port; empty if none answers."""
    address = f"tcp://{LOOPBACK[0]}:{control_port}"
    try:
        told = ask("endpoints", address, ASK_TIMEOUT_S)
        rig = ask("status", address, ASK_TIMEOUT_S).get("rig")
        return _by_port(told, rig)
    except (TimeoutError, zmq.ZMQError, ValueError, AttributeError, KeyError, TypeError):
        return {}  # silent, or something else that answers


def _by_port(told: Mapping[str, Any], rig: str) -> Mapping[int, str]:
    places = {told["control"]: "control", told["status"]: "status"}
    places |= {address: f"data of {camera}" for camera, address in told["data"].items()}
    return {int(a.rsplit(":", 1)[1]): f"{what}, rig '{rig}'" for a, what in places.items()}


def _holder(port: int) -> str | None:
    """Return name and number of the process that listens on a port, if it may be seen."""
    if sys.platform != "linux":
        return None
    inodes = set()
    for table in ("tcp", "tcp6"):
        text = read_line(Path("/proc/net") / table) or ""
        inodes |= set(re.findall(rf":\s+[0-9A-F]+:{port:04X} \S+ 0A (?:\S+ +){{5}}(\d+)", text))
    if not inodes:
        return None
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or another user's
            for link in (folder / "fd").iterdir():
                with suppress(OSError):
                    found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
                    if found and found[1] in inodes:
                        return f"{read_line(folder / 'comm')} (process {folder.name})"
    return None
