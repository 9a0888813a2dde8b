"""The calls of ``Camera`` that read and set the camera's features."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from rtface.camera.pycapture import format7, properties, triggers
from rtface.camera.pycapture.bus import BUS, Guid
from rtface.camera.pycapture.constants import PROPERTY_TYPE
from rtface.camera.pycapture.faults import Fc2error
from rtface.camera.pycapture.features import Features
from rtface.camera.pycapture.stream import Stream
from rtface.camera.pycapture.values import (
    EmbeddedFields,
    EmbeddedImageInfo,
    Format7ImageSettings,
    Format7Info,
    Format7PacketInfo,
    GigEImageSettings,
    Property,
    PropertyInfo,
    StrobeControl,
    StrobeInfo,
    TriggerMode,
    TriggerModeInfo,
    asked,
    filled,
)

#: registers of Point Grey's cameras that scripts poll, and the bit that says yes
CAMERA_POWER, SOFTWARE_TRIGGER, TRIGGER_INQ = 0x610, 0x62C, 0x530
HIGHEST_BIT, HAS_SOFTWARE_TRIGGER = 0x80000000, 0x00010000


class Link:
    """One opened camera."""

    def __init__(self, guid: Guid, acquirer: Any, errors: tuple[type[Exception], ...]) -> None:
        self.guid, self.acquirer = guid, acquirer
        self.features = Features(acquirer.remote_device.node_map, errors)
        self.stream = Stream(acquirer, self.features)

    def close(self) -> None:
        """Stop capturing and free the camera, also one that is gone."""
        with contextlib.suppress(Fc2error):
            self.stream.stop()
        BUS.close(self.acquirer)


class Settings:
    """What can be set in a connected camera. Every fault is an ``Fc2error``."""

    _link: Link | None

    @property
    def _linked(self) -> Link:
        if self._link is None:
            raise Fc2error("the camera is not connected; call connect(uid) first")
        return self._link

    @property
    def _features(self) -> Features:
        return self._linked.features

    def _idle(self, call: str) -> Features:
        if self._linked.stream.running:
            raise Fc2error(f"{call}: not while images are captured; call stopCapture() first")
        return self._features

    def getProperty(self, type: int) -> Property:
        """Return a property as it stands; ``present`` is False if the camera has none such."""
        return properties.get_property(self._features, type)

    def getPropertyInfo(self, type: int) -> PropertyInfo:
        """Return what a property can do."""
        return properties.get_property_info(self._features, type)

    def setProperty(
        self, property: Property | None = None, /, broadcast: bool = False, **keywords: Any
    ) -> None:
        """Set what a ``Property``, or keywords of one, do not leave open.

        absValue is in the unit given at ``PROPERTY_TYPE``. A value without autoManualMode or onOff
        means: switched on and not automatic.
        """
        properties.set_property(self._features, asked(Property, property, keywords))

    def getTriggerDelay(self) -> Property:
        """Return the property TRIGGER_DELAY; absValue in s."""
        return self.getProperty(PROPERTY_TYPE.TRIGGER_DELAY)

    def setTriggerDelay(
        self, delay: Property | None = None, /, broadcast: bool = False, **keywords: Any
    ) -> None:
        """Set the property TRIGGER_DELAY; absValue in s."""
        self.setProperty(delay, **{**keywords, "type": PROPERTY_TYPE.TRIGGER_DELAY})

    def getTriggerMode(self) -> TriggerMode:
        """Return the trigger as it stands."""
        return triggers.get_trigger(self._features)

    def getTriggerModeInfo(self) -> TriggerModeInfo:
        """Return which triggers there are."""
        return triggers.get_trigger_info(self._features)

    def setTriggerMode(
        self, mode: TriggerMode | None = None, /, broadcast: bool = False, **keywords: Any
    ) -> None:
        """Set what a ``TriggerMode``, or keywords of one, do not leave open."""
        triggers.set_trigger(self._features, asked(TriggerMode, mode, keywords))

    def fireSoftwareTrigger(self, broadcast: bool = False) -> None:
        """Expose once."""
        triggers.fire(self._features)

    def getStrobeInfo(self, source: int) -> StrobeInfo:
        """Return what a pin can do; times in ms."""
        return triggers.get_strobe_info(self._features, source)

    def getStrobe(self, source: int) -> StrobeControl:
        """Return a pin's strobe as it stands; delay and duration in ms."""
        return triggers.get_strobe(self._features, source)

    def setStrobe(
        self, strobe: StrobeControl | None = None, /, broadcast: bool = False, **keywords: Any
    ) -> None:
        """Set what a ``StrobeControl``, or keywords of one, do not leave open; times in ms."""
        triggers.set_strobe(self._features, asked(StrobeControl, strobe, keywords))

    def getGPIOPinDirection(self, pin: int) -> int:
        """Return 1 if a pin is an output, else 0."""
        return triggers.get_direction(self._features, pin)

    def setGPIOPinDirection(self, pin: int, direction: int, broadcast: bool = False) -> None:
        """Make a pin an output (1) or an input (0)."""
        triggers.set_direction(self._features, pin, direction)

    def getEmbeddedImageInfo(self) -> EmbeddedImageInfo:
        """Return what can stand in the first pixels, and what does."""
        return self._linked.stream.embedded.info()

    def setEmbeddedImageInfo(
        self, info: EmbeddedImageInfo | None = None, /, **keywords: bool
    ) -> None:
        """Switch what stands in the first pixels, and the chunks that bring it."""
        self._idle("setEmbeddedImageInfo")
        wanted = asked(EmbeddedFields, None if info is None else info.onOff, keywords)
        self._linked.stream.embedded.set(wanted)

    def getFormat7Info(self, mode: int) -> tuple[Format7Info, bool]:
        """Return which regions there are in px, and whether the camera has this mode."""
        if mode != 0:
            return Format7Info(mode), False
        return format7.get_info(self._features, mode), True

    def getFormat7Configuration(self) -> tuple[Format7ImageSettings, int, float]:
        """Return the region in px, the bytes of an image and 100 %."""
        n_bytes = int(self._features.number("PayloadSize"))
        return format7.get_settings(self._features), n_bytes, 100.0

    def validateFormat7Settings(
        self, settings: Format7ImageSettings
    ) -> tuple[Format7PacketInfo, bool]:
        """Return the bytes of an image, and whether the camera can do these settings."""
        return format7.validate(self._features, settings)

    def setFormat7Configuration(self, percent: float, settings: Format7ImageSettings) -> None:
        """Set region and format; there are no FireWire packets, ``percent`` is left alone."""
        format7.configure(self._idle("setFormat7Configuration"), settings)

    def setFormat7ConfigurationPacket(
        self, packetSize: int, settings: Format7ImageSettings
    ) -> None:
        """Set region and format; there are no FireWire packets, ``packetSize`` is left alone."""
        format7.configure(self._idle("setFormat7ConfigurationPacket"), settings)

    def getGigEImageSettings(self) -> GigEImageSettings:
        """Return the region in px, and the format."""
        told = format7.get_settings(self._features)
        return GigEImageSettings(
            told.offsetX, told.offsetY, told.width, told.height, told.pixelFormat
        )

    def setGigEImageSettings(
        self, settings: GigEImageSettings | None = None, /, **keywords: int
    ) -> None:
        """Set what ``GigEImageSettings``, or keywords of them, do not leave open; px."""
        wanted = asked(GigEImageSettings, settings, keywords)
        told = filled(wanted, self.getGigEImageSettings())
        region = Format7ImageSettings(**{f.name: getattr(told, f.name) for f in fields(told)})
        format7.configure(self._idle("setGigEImageSettings"), region)

    def setVideoModeAndFrameRate(self, videoMode: int, frameRate: int) -> None:
        """Raise ``Fc2error``: those modes are FireWire's."""
        raise Fc2error(
            "setVideoModeAndFrameRate is not offered; use setFormat7Configuration for the size and "
            "setProperty(type=PROPERTY_TYPE.FRAME_RATE, absValue=...) for the rate"
        )

    def readRegister(self, address: int) -> int:
        """Return what scripts poll for: power (0x610), software trigger (0x530, 0x62C)."""
        features = self._features
        answers: dict[int, Callable[[], int]] = {
            CAMERA_POWER: lambda: HIGHEST_BIT,
            SOFTWARE_TRIGGER: lambda: 0 if triggers.trigger_ready(features) else HIGHEST_BIT,
            TRIGGER_INQ: lambda: (
                HIGHEST_BIT | HAS_SOFTWARE_TRIGGER
                if triggers.get_trigger_info(features).softwareTriggerSupported
                else 0
            ),
        }
        if address not in answers:
            raise _no_register(address)
        return answers[address]()

    def writeRegister(self, address: int, value: int, broadcast: bool = False) -> None:
        """Power on (0x610) or fire the software trigger (0x62C)."""
        features = self._features
        if not value & HIGHEST_BIT or address not in (CAMERA_POWER, SOFTWARE_TRIGGER):
            raise _no_register(address)
        if address == SOFTWARE_TRIGGER:
            triggers.fire(features)


def _no_register(address: int) -> Fc2error:
    return Fc2error(
        f"register {address:#x}: raw registers are not offered; 0x62C fires the software trigger "
        "and 0x610 powers on, all else is a property, trigger, strobe or Format7 call"
    )
