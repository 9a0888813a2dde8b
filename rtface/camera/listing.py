"""Which GenICam cameras there are, what each can do, and the table of a rig file it would get."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rtface.camera.device import LinkLost
from rtface.camera.gentl import Producers, errors, lost, told
from rtface.camera.nodes import GenicamNodes
from rtface.camera.sfnc import EXPOSURE, RATE, NodeRefused, find
from rtface.camera.timestamps import DeviceClock


class Facts(NamedTuple):
    """What is worth knowing of a camera before it is used; texts are empty where it has none.

    Attributes
    ----------
    fault : str
        Why it could not be opened; then the rest but its names is empty.
    width, height : int
        As it stands, px.
    rate_hz, exposure_us : float
        As it stands; 0 where it does not say.
    rates, exposures, formats, triggers, lines, chunks : str
        What it takes.
    clock : str
        Which times it has.
    """

    vendor: str
    model: str
    serial: str
    user_id: str
    fault: str = ""
    width: int = 0
    height: int = 0
    sensor: str = ""
    pixel_format: str = ""
    rate_hz: float = 0.0
    exposure_us: float = 0.0
    rates: str = ""
    exposures: str = ""
    formats: str = ""
    triggers: str = ""
    lines: str = ""
    chunks: str = ""
    clock: str = ""


def look(producers: list[Path]) -> Iterator[Facts]:
    """Open each camera for a moment and yield what it says of itself.

    Raises
    ------
    UserError
        A producer does not load.
    LinkLost
        Looking for cameras failed.
    """
    loaded = Producers(producers)
    try:
        for info in loaded.devices():
            names = Facts(
                vendor=told(info, "vendor"),
                model=told(info, "model"),
                serial=told(info, "serial_number"),
                user_id=told(info, "user_defined_name"),
            )
            try:
                acquirer = loaded.open(info, 1, False)
            except LinkLost as error:
                yield names._replace(fault=str(error))
                continue
            try:
                yield read_facts(GenicamNodes(acquirer.remote_device.node_map, errors()), names)
            except NodeRefused as error:
                yield names._replace(fault=str(error))
            finally:
                with contextlib.suppress(*errors()):
                    acquirer.destroy()
    except errors() as error:
        raise lost(error) from None
    finally:
        loaded.close()


def read_facts(nodes: GenicamNodes, names: Facts) -> Facts:
    """Return ``names`` with what the camera's features say; NodeRefused if it does not answer."""

    def number(features: tuple[str, ...]) -> float:
        name = find(nodes, features)
        return float(nodes.read(name)) if name else 0.0

    def takes(*features: str) -> str:
        name = find(nodes, features)
        return nodes.allowed(name) if name else ""

    sensor = [round(number((name,))) for name in ("SensorWidth", "SensorHeight")]
    return names._replace(
        width=round(number(("Width",))),
        height=round(number(("Height",))),
        sensor="x".join(map(str, sensor)) if all(sensor) else "",
        pixel_format=str(nodes.read("PixelFormat")),
        formats=takes("PixelFormat"),
        rate_hz=number(RATE),
        rates=takes(*RATE),
        exposure_us=number(EXPOSURE),
        exposures=takes(*EXPOSURE),
        triggers=takes("TriggerSource"),
        lines=takes("LineSelector"),
        chunks=takes("ChunkSelector"),
        clock=DeviceClock(nodes).describe(),
    )


def describe(facts: Facts) -> list[str]:
    """Return what a camera is and can do, one line each, as comments of a TOML file."""
    title = f"{facts.vendor} {facts.model}, serial {facts.serial or 'unknown'}"
    if facts.user_id:
        title += f', called "{facts.user_id}"'
    if facts.fault:
        return [f"# {title}", f"#   cannot be opened: {facts.fault}"]
    size = f"{facts.width}x{facts.height} px" + (f" of {facts.sensor}" if facts.sensor else "")
    told_exposure = f"{facts.exposure_us:g} us; {facts.exposures}" if facts.exposures else ""
    rows = {
        "size": size,
        "pixels": f"{facts.pixel_format}; {facts.formats}",
        "rate": f"{facts.rate_hz:g} Hz; {facts.rates}" if facts.rates else "not told",
        "exposure": told_exposure or "not told",
        "times": facts.clock,
        "triggers": facts.triggers or "none",
        "lines": facts.lines or "none",
        "chunks": facts.chunks or "none",
    }
    return [f"# {title}", *(f"#   {name:9} {text}" for name, text in rows.items())]


def rig_table(facts: Facts, name: str, producer: Path | None) -> list[str]:
    """Return the lines of a rig file's table for a camera, as it stands now."""
    formats = facts.formats.split(", ")
    pixels = facts.pixel_format if facts.pixel_format.startswith("Mono") else "Mono8"
    lines = [f"[camera.{name}]", 'kind = "genicam"']
    if producer is not None:
        lines.append(f"producer = {_quoted(str(producer))}")
    if facts.serial:
        lines.append(f"serial = {_quoted(facts.serial)}")
    lines += [f"width = {facts.width}", f"height = {facts.height}"]
    if pixels in formats:
        lines.append(f"pixel_format = {_quoted(pixels)}")
    rate = f"{facts.rate_hz:.2f}" if facts.rate_hz else "100.0"
    lines.append(f"rate_hz = {rate}" + ("" if facts.rate_hz else "   # not told: state it"))
    if facts.exposure_us:
        lines.append(f"exposure_us = {facts.exposure_us:.1f}")
    return lines


def _quoted(text: str) -> str:
    """Return a TOML string: literal where that is possible, for Windows' backslashes."""
    return f"'{text}'" if "'" not in text else '"' + text.replace("\\", "\\\\") + '"'
