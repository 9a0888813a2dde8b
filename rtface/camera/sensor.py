"""What an opened camera with GenICam's names needs in any library: chosen, set up, understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from rtface.camera.device import LinkLost
from rtface.camera.pixels import PixelFormat, needs_even, pixel_format
from rtface.camera.sfnc import RATE, NodeRefused, Nodes, apply, find, plan, slower_rate
from rtface.camera.timestamps import DeviceClock
from rtface.camera_config import SensorSection
from rtface.types import CameraInfo, UserError

#: buffers given to the driver: this much time, and not fewer than that
BUFFERS_S, LEAST_BUFFERS = 0.2, 16

Device = TypeVar("Device")


class Names(NamedTuple):
    """What a device says of itself before it is opened; empty where it does not."""

    serial: str
    user_id: str
    model: str


class SetUp(NamedTuple):
    """What a camera delivers once it is set up.

    Attributes
    ----------
    info : CameraInfo
    pixels : PixelFormat
    clock : DeviceClock
    """

    info: CameraInfo
    pixels: PixelFormat
    clock: DeviceClock


def choose(devices: Sequence[tuple[Names, Device]], section: SensorSection, name: str) -> Device:
    """Return the one device that a rig file means.

    Raises
    ------
    LinkLost
        There is none (now).
    UserError
        There are several.
    """
    keys = {"serial": section.serial, "user_id": section.user_id, "model": section.model}
    wanted = {key: value for key, value in keys.items() if value is not None}
    fit = [
        device
        for names, device in devices
        if all(getattr(names, key) == value for key, value in wanted.items())
    ]
    seen = ", ".join(f"{names.model} {names.serial}" for names, _ in devices) or "none"
    if not fit:
        asked = " and ".join(f"{key} {value}" for key, value in wanted.items())
        raise LinkLost(f"there is no camera with {asked or 'any name'}; there are: {seen}")
    if len(fit) > 1:
        raise UserError(f"camera.{name}.serial: say which camera; there are: {seen}")
    return fit[0]


def n_buffers(section: SensorSection) -> int:
    """Return how many buffers the driver gets."""
    return max(LEAST_BUFFERS, round(BUFFERS_S * section.rate_hz))


def set_up(nodes: Nodes, section: SensorSection, name: str, alive: Callable[[], bool]) -> SetUp:
    """Set a camera as the rig file says and return what it will deliver.

    Parameters
    ----------
    alive : callable
        Whether the device answers: one that is gone seems to have no features.

    Raises
    ------
    UserError
        It does not take a setting, or its pixels cannot be made gray; names the key and the remedy.
    LinkLost
        It does not answer.
    """
    try:
        return _set_up(nodes, section, name)
    except (UserError, NodeRefused) as error:
        if isinstance(error, NodeRefused) or not alive():
            raise LinkLost(str(error)) from None
        raise


def _set_up(nodes: Nodes, section: SensorSection, name: str) -> SetUp:
    apply(nodes, plan(section), name)
    width, height = int(nodes.read("Width")), int(nodes.read("Height"))
    pixels = str(nodes.read("PixelFormat"))
    told = pixel_format(pixels)
    if told is None or width % needs_even(told):
        raise UserError(
            f"camera.{name}.pixel_format: {pixels} at {width} px width cannot be tracked; "
            f"choose 'Mono8' or another gray format of {nodes.allowed('PixelFormat')}"
        )
    rate_hz = _rate(nodes, section, name)
    return SetUp(CameraInfo(height, width, told.bits, rate_hz), told, DeviceClock(nodes))


def _rate(nodes: Nodes, section: SensorSection, name: str) -> float:
    """Return the rate that frames will have; UserError if exposure or size do not allow it."""
    if section.trigger:  # the camera's own is not in force
        return section.rate_hz
    possible = slower_rate(nodes, section.rate_hz)
    if possible is not None:
        raise UserError(
            f"camera.{name}.rate_hz: {section.rate_hz:g} Hz was set, and exposure time, size "
            f"or link allow {possible:g}; expose shorter, read out less, or ask for that"
        )
    rate = find(nodes, RATE)
    return float(nodes.read(rate)) if rate else section.rate_hz
