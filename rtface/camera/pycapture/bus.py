"""Finding cameras, and opening them: the producers of this process, which are loaded once.

Looking for cameras closes those that are open, so the bus is looked at only while none is.
"""

from __future__ import annotations

import atexit
import threading
from typing import Any, NamedTuple

from rtface.camera.gentl import Producers, errors, free, told
from rtface.camera.producers import find_producers
from rtface.camera.pycapture.constants import INTERFACE_TYPE
from rtface.camera.pycapture.faults import Fc2error, as_fc2error, not_offered

#: of GenTL's names for a transport layer
_INTERFACES = {"GEV": INTERFACE_TYPE.GIGE, "U3V": INTERFACE_TYPE.USB3}


class Guid(NamedTuple):
    """Names one camera, also after it was unplugged and came back."""

    vendor: str
    model: str
    serial: str
    id: str


class Bus:
    """The producers and the devices behind them. One per process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._producers: Producers | None = None
        self._found: dict[Guid, Any] | None = None
        self._open: list[Any] = []

    def look(self) -> None:
        """Look for cameras, unless one is open: then what was found before stands."""
        with self._lock:
            if self._open:
                return
            with as_fc2error():
                if self._producers is None:
                    errors()  # without the library it does not matter which producers there are
                    self._producers = Producers(find_producers())
                devices = self._producers.devices()
            keys = ("vendor", "model", "serial_number", "id_")
            self._found = {Guid(*(told(info, key) for key in keys)): info for info in devices}

    def cameras(self) -> list[Guid]:
        """Return the cameras that were found last; looks if nobody has looked."""
        with self._lock:
            if self._found is None:
                self.look()
            return list(self._found or ())

    def open(self, guid: Guid) -> Any:
        """Return an acquirer of harvesters; a camera that came back is looked for once more."""
        with self._lock:
            try:
                return self._open_found(guid)
            except Fc2error:
                if self._open:
                    raise
            self.look()
            return self._open_found(guid)

    def _open_found(self, guid: Guid) -> Any:
        if guid not in self.cameras():
            raise Fc2error(f"there is no camera {guid.model} {guid.serial} now")
        assert self._producers is not None
        assert self._found is not None
        with as_fc2error():
            acquirer = self._producers.open(self._found[guid], 1, True)
        self._open.append(acquirer)
        return acquirer

    def interface(self, guid: Guid) -> int:
        """Return one of ``INTERFACE_TYPE``."""
        info = (self._found or {}).get(guid)
        return _INTERFACES.get(told(info, "tl_type"), INTERFACE_TYPE.UNKNOWN)

    def close(self, acquirer: Any) -> None:
        """Free a camera, also one that is gone."""
        with self._lock:
            if not any(other is acquirer for other in self._open):
                return
            free(acquirer)
            self._open = [other for other in self._open if other is not acquirer]

    def leave(self) -> None:
        """Free every camera and unload the producers: the program ends."""
        for acquirer in list(self._open):
            self.close(acquirer)
        if self._producers is not None:
            self._producers.close()
            self._producers, self._found = None, None


BUS = Bus()
atexit.register(BUS.leave)


class BusManager:
    """Which cameras there are."""

    def getNumOfCameras(self) -> int:
        """Look for cameras and return how many there are; none is looked for while one is open."""
        BUS.look()
        return len(BUS.cameras())

    def getCameraFromIndex(self, index: int) -> Guid:
        """Return the camera with a number, from 0 on, in the order of the driver."""
        cameras = BUS.cameras()
        if not 0 <= index < len(cameras):
            raise Fc2error(f"there is no camera {index}; there are {len(cameras)}")
        return cameras[index]

    def getCameraFromSerialNumber(self, serialNumber: int | str) -> Guid:
        """Return the camera with a serial number."""
        cameras = BUS.cameras()
        for guid in cameras:
            if guid.serial == str(serialNumber):
                return guid
        seen = ", ".join(guid.serial for guid in cameras) or "none"
        raise Fc2error(f"there is no camera with serial number {serialNumber}; there are: {seen}")

    def getCameraSerialNumberFromIndex(self, index: int) -> int | str:
        """Return a camera's serial number; text if it is no number."""
        return serial_number(self.getCameraFromIndex(index))

    def rescanBus(self) -> None:
        """Look for cameras again."""
        BUS.look()

    def forceAllIPAddressesAutomatically(self) -> None:
        """Raise ``Fc2error``: addresses are set with the camera vendor's own tool."""
        raise Fc2error(
            "forceAllIPAddressesAutomatically is not offered; set the addresses with the camera "
            "vendor's tool (SpinView, arv-tool)"
        )

    def registerCallback(self, callback: object, type: object = None, *args: object) -> None:
        """Raise ``Fc2error``: nobody tells when cameras come and go."""
        raise not_offered("registerCallback")


def serial_number(guid: Guid) -> int | str:
    """Return a camera's serial number; text if it is no number."""
    return int(guid.serial) if guid.serial.isdecimal() else guid.serial
