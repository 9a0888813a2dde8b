"""A camera's settings by GenICam's names (SFNC): planned from the rig file, written, read back.

Cameras older than the standard have other names for the same feature; each setting knows them, the
standard one first. Pure but for the calls of ``Nodes``.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

from rtface.camera_config import SensorSection
from rtface.types import UserError

Value = bool | int | float | str


class NodeRefused(Exception):
    """The camera does not take a value, or does not answer; the message is the driver's."""


class Nodes(Protocol):
    """A camera's features, in any library."""

    def has(self, name: str) -> bool:
        """Whether the feature is there and can be used now."""

    def read(self, name: str) -> Value:
        """Return a feature's value; NodeRefused if it cannot be read."""

    def write(self, name: str, value: Value) -> None:
        """Set a feature; NodeRefused if the camera does not take the value."""

    def execute(self, name: str) -> None:
        """Do what a command stands for; NodeRefused if it cannot be done."""

    def allowed(self, name: str) -> str:
        """Return in words which values a feature takes."""

    def bounds(self, name: str) -> tuple[float, float] | None:
        """Return the smallest and the largest value of a number, None where it does not say."""


class Setting(NamedTuple):
    """One value and where it goes.

    Attributes
    ----------
    key : str
        What the rig file calls it.
    names : tuple of str
        The feature's names, the standard one first.
    value : bool, int, float or str
    asked : str
        See ``Asked``.
    within : float
        How much what is read back may differ, relative: cameras round.
    """

    key: str
    names: tuple[str, ...]
    value: Value
    asked: Asked = "always"
    within: float = 0.0


EXPOSURE = ("ExposureTime", "ExposureTimeAbs")
RATE = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
#: what exposure time, size and link make of it
RESULTING_RATE = (
    "AcquisitionResultingFrameRate",
    "ResultingFrameRate",
    "ResultingFrameRateAbs",
)
RATE_ENABLE = ("AcquisitionFrameRateEnable", "AcquisitionFrameRateEnabled")
GAIN = ("Gain",)
DELAY = ("TriggerDelay", "TriggerDelayAbs")
#: what a chunk is called in older cameras
CHUNK_NAMES = {"FrameID": ("FrameID", "FrameCounter", "Framecounter")}
#: how hard a setting is asked for: a camera without the feature, or that refuses, is an error; one
#: without it is as if it were set; whatever the camera makes of it is as good
Asked = Literal["always", "if there", "if possible"]


def plan(section: SensorSection) -> list[Setting]:
    """Return what has to be set, in an order that cameras accept."""
    wanted = [Setting(f"settings.{k}", (k,), v, within=1e-3) for k, v in section.settings.items()]
    if section.pixel_format is not None:
        wanted.append(Setting("pixel_format", ("PixelFormat",), section.pixel_format))
    wanted += _region(section)
    # a rate in force narrows the exposure times that are allowed, and the other way round
    wanted.append(Setting("rate_hz", RATE_ENABLE, False, "if possible"))
    if isinstance(section.exposure_us, float):
        wanted += timed_exposure(section.exposure_us)
    if section.gain_db is not None:
        wanted += [
            Setting("gain_db", ("GainAuto",), "Off", "if there"),
            Setting("gain_db", GAIN, section.gain_db, within=0.05),
        ]
    wanted += _trigger(section) if section.trigger else _free_running(section)
    if section.strobe_line is not None:
        wanted += [
            Setting("strobe_line", ("LineSelector",), section.strobe_line),
            Setting("strobe_line", ("LineMode",), "Output", "if there"),
            Setting("strobe_line", ("LineSource",), "ExposureActive"),
        ]
        if "LineInverter" not in section.settings:  # an optocoupler may need it
            wanted.append(Setting("strobe_line", ("LineInverter",), False, "if there"))
    if section.chunks:
        wanted.append(Setting("chunks", ("ChunkModeActive",), True))
    for chunk in section.chunks:
        wanted += [
            Setting("chunks", ("ChunkSelector",), chunk),
            Setting("chunks", ("ChunkEnable",), True),
        ]
    return wanted


def timed_exposure(exposure_us: float) -> list[Setting]:
    """Return what makes every exposure last so long; the time itself comes last."""
    return [
        Setting("exposure_us", ("ExposureAuto",), "Off", "if there"),
        Setting("exposure_us", ("ExposureMode",), "Timed", "if there"),
        Setting("exposure_us", EXPOSURE, exposure_us, within=0.02),
    ]


def _region(section: SensorSection) -> list[Setting]:
    sized = section.width is not None or section.height is not None
    moved = section.offset_x is not None or section.offset_y is not None
    wanted = []
    if sized or moved:  # to the corner first: there every size fits
        wanted += [
            Setting("offset_x", ("OffsetX",), 0, "if there"),
            Setting("offset_y", ("OffsetY",), 0, "if there"),
        ]
    for key, name in (
        ("width", "Width"),
        ("height", "Height"),
        ("offset_x", "OffsetX"),
        ("offset_y", "OffsetY"),
    ):
        value = getattr(section, key)
        if value is not None:
            wanted.append(Setting(key, (name,), value))
    return wanted


def _free_running(section: SensorSection) -> list[Setting]:
    return [
        Setting("trigger", ("TriggerSelector",), "FrameStart", "if possible"),
        Setting("trigger", ("TriggerMode",), "Off", "if there"),
        Setting("rate_hz", ("AcquisitionFrameRateAuto",), "Off", "if there"),
        Setting("rate_hz", RATE_ENABLE, True, "if there"),
        Setting("rate_hz", RATE, section.rate_hz, within=0.01),
    ]


def _trigger(section: SensorSection) -> list[Setting]:
    trigger = section.trigger
    assert trigger is not None
    wanted = [
        Setting("trigger", ("TriggerSelector",), "FrameStart", "if possible"),
        # many cameras take no other source while it is on, and settings outlast a run
        Setting("trigger", ("TriggerMode",), "Off"),
        Setting("trigger.source", ("TriggerSource",), trigger.source),
    ]
    if trigger.source != "Software":
        activation = Setting("trigger.activation", ("TriggerActivation",), trigger.activation)
        wanted.append(activation)
    delay = section.trigger_delay_us
    # a camera without the feature has no delay, which is what 0 asks for
    asked: Asked = "always" if delay else "if there"
    wanted.append(Setting("trigger_delay_us", DELAY, delay, asked, within=0.02))
    if trigger.overlap is not None:
        wanted.append(Setting("trigger.overlap", ("TriggerOverlap",), trigger.overlap))
    wanted.append(Setting("trigger", ("TriggerMode",), "On"))
    return wanted


def find(nodes: Nodes, names: tuple[str, ...]) -> str | None:
    """Return which of a feature's names the camera knows, None if none."""
    return next((name for name in names if nodes.has(name)), None)


def slower_rate(nodes: Nodes, rate_hz: float) -> float | None:
    """Return the rate that exposure time, size and link allow, Hz, if that is below ``rate_hz``."""
    limit = find(nodes, RESULTING_RATE)
    possible = float(nodes.read(limit)) if limit else 0.0
    return possible if 0 < possible < 0.98 * rate_hz else None


def apply(nodes: Nodes, wanted: list[Setting], camera: str) -> None:
    """Set a camera and read every value back.

    Raises
    ------
    UserError
        It has no such feature, or does not take the value; names the key of the rig file and what
        the camera would take.
    """
    for setting in wanted:
        key = f"camera.{camera}.{setting.key}"
        name = find(nodes, setting.names)
        if name is not None:
            try:
                _apply_one(nodes, setting, name, key)
            except UserError:
                if setting.asked != "if possible":
                    raise
        elif setting.asked == "always":
            raise UserError(f"{key}: the camera has no {' or '.join(setting.names)}; leave it out")


def _apply_one(nodes: Nodes, setting: Setting, name: str, key: str) -> None:
    value = setting.value
    if name == "ChunkSelector":
        return _select_chunk(nodes, str(value), key)
    refused = None
    try:
        nodes.write(name, value)
    except NodeRefused as error:
        refused = error  # it may be so already, and cannot be otherwise
    try:
        got = nodes.read(name)
    except NodeRefused as error:
        raise UserError(f"{key}: {error}") from None
    if _same(got, value, setting.within):
        return None
    takes = nodes.allowed(name)
    if refused:
        why = f"it takes {takes}" if takes else str(refused)
        raise UserError(f"{key}: {name} cannot be {_shown(value)}; {why}")
    raise UserError(
        f"{key}: {name} was set to {_shown(value)} and the camera made it {_shown(got)}; "
        f"it takes {takes}"
    )


def chunk_features(chunk: str) -> tuple[str, ...]:
    """Return the features that may hold what came with a frame."""
    return tuple(f"Chunk{name}" for name in CHUNK_NAMES.get(chunk, (chunk,)))


def _select_chunk(nodes: Nodes, chunk: str, key: str) -> None:
    for name in CHUNK_NAMES.get(chunk, (chunk,)):
        try:
            nodes.write("ChunkSelector", name)
        except NodeRefused:
            continue
        return
    raise UserError(f"{key}: there is no chunk {chunk}; it has {nodes.allowed('ChunkSelector')}")


def _same(got: Value, value: Value, within: float) -> bool:
    if isinstance(value, str | bool) or isinstance(got, str | bool):
        return got == value
    return math.isclose(got, value, rel_tol=max(within, 1e-9), abs_tol=within)


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_range(low: float, high: float, step: float | None) -> str:
    """Return the words for a range, and for its step if it has one that matters."""
    steps = f" in steps of {step:g}" if step and step != 1 else ""
    return f"{low:g} to {high:g}{steps}"
