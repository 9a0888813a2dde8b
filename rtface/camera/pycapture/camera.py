"""PyCapture2's ``Camera``: connecting, capturing, and what is told about the camera."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rtface.camera.gentl import errors
from rtface.camera.pycapture.bus import BUS, Guid, serial_number
from rtface.camera.pycapture.constants import GRAB_MODE, GRAB_TIMEOUT
from rtface.camera.pycapture.faults import Damaged, Fc2error, as_fc2error
from rtface.camera.pycapture.image import Image
from rtface.camera.pycapture.settings import Link, Settings
from rtface.camera.pycapture.values import (
    CameraInfo,
    CameraStats,
    Config,
    asked,
    default_config,
    filled,
)


class Camera(Settings):
    """A camera. Every fault is an ``Fc2error``.

    One thread may use it at a time, except that ``stopCapture`` and settings may be called while
    another waits in ``retrieveBuffer``.
    """

    def __init__(self) -> None:
        self._link: Link | None = None
        self._config = default_config()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None

    @property
    def isConnected(self) -> bool:
        """Whether ``connect`` succeeded and ``disconnect`` was not called."""
        return self._link is not None

    def connect(self, uid: Guid) -> None:
        """Open the camera that a ``BusManager`` named; its settings stay as they are."""
        if self._link is not None:
            raise Fc2error("connect: this Camera is connected already; call disconnect() first")
        acquirer = BUS.open(uid)
        try:
            with as_fc2error(*errors()):
                self._link = Link(uid, acquirer, errors())
        except BaseException:
            BUS.close(acquirer)
            raise
        atexit.register(self._link.close)  # before the producers are unloaded

    def disconnect(self) -> None:
        """Stop capturing and free the camera, also one that is gone; may be called twice."""
        link, self._link = self._link, None
        if link is not None:
            atexit.unregister(link.close)
            link.stream.running = False
            self._join()
            link.close()

    def getCameraInfo(self) -> CameraInfo:
        """Return who the camera is; what GenICam does not tell is empty or 0."""
        features, guid = self._features, self._linked.guid
        size = [int(features.number(f"Sensor{side}", f"{side}Max")) for side in ("Width", "Height")]
        return CameraInfo(
            serialNumber=serial_number(guid),
            modelName=features.text("DeviceModelName") or guid.model,
            vendorName=features.text("DeviceVendorName") or guid.vendor,
            sensorInfo=features.text("SensorDescription"),
            sensorResolution=f"{size[0]}x{size[1]}" if all(size) else "",
            firmwareVersion=features.text("DeviceFirmwareVersion", "DeviceVersion"),
            interfaceType=BUS.interface(guid),
            isColorCamera=any(name.startswith("Bayer") for name in features.choices("PixelFormat")),
            driverName="GenTL",
            userDefinedName=features.text("DeviceUserID", "DeviceUserDefinedName"),
        )

    def getConfiguration(self) -> Config:
        """Return how images are grabbed; grabTimeout in ms."""
        return filled(Config(), self._config)

    def setConfiguration(self, config: Config | None = None, /, **keywords: Any) -> None:
        """Set what a ``Config``, or keywords of one, do not leave open.

        grabTimeout is in ms and counts from the next ``retrieveBuffer``; buffers and mode count
        from the next ``startCapture``.
        """
        wanted = asked(Config, config, keywords)
        if wanted.grabMode == GRAB_MODE.UNSPECIFIED_GRAB_MODE:
            wanted = replace(wanted, grabMode=None)
        self._config = filled(wanted, self._config)

    def startCapture(self, callback: Callable[..., object] | None = None, *args: object) -> None:
        """Begin to capture.

        Parameters
        ----------
        callback : callable, optional
            Called in a thread of its own with each ``Image`` and ``args``; ``retrieveBuffer`` is
            then not to be called. What it raises ends that thread and is raised by
            ``stopCapture``.
        """
        self._idle("startCapture")
        self._join()
        if self._thread is not None:
            raise Fc2error("startCapture: not from within a callback; return from it first")
        stream = self._linked.stream
        stream.start(self._config)
        self._fault = None
        if callback is not None:
            self._thread = threading.Thread(
                target=self._call, args=(callback, args), name="pycapture", daemon=True
            )
            self._thread.start()

    def _call(self, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        stream = self._linked.stream
        while stream.running:
            try:
                image = stream.wait(None)
                if image is not None:
                    callback(image, *args)
            except Damaged:
                continue  # counted, and the next one comes
            except Fc2error as error:
                if stream.running:  # else the callback stopped what was stopped meanwhile
                    self._fault = error
                return
            except Exception as error:
                self._fault = error
                raise  # so that it is shown at once, too

    def retrieveBuffer(self) -> Image:
        """Return the next image: the newest or the oldest that waits, as grabMode says.

        Raises
        ------
        Fc2error
            None came within grabTimeout, or it arrived damaged, or the camera is gone.
        """
        stream = self._linked.stream
        if not stream.running:
            raise Fc2error("retrieveBuffer: nothing is captured; call startCapture() first")
        if self._thread is not None:
            raise Fc2error("retrieveBuffer: images go to the callback of startCapture")
        timeout_ms = self._config.grabTimeout
        assert timeout_ms is not None
        infinite = timeout_ms in (GRAB_TIMEOUT.INFINITE, GRAB_TIMEOUT.UNSPECIFIED)
        image = stream.wait(None if infinite else timeout_ms / 1000)
        if image is None:
            raise Fc2error("retrieveBuffer: capturing was stopped")
        return image

    def stopCapture(self) -> None:
        """End capturing; raises what ended the thread of a callback before.

        Raises
        ------
        Fc2error
            Nothing is captured, or the camera is gone.
        Exception
            The callback raised it.
        """
        stream = self._linked.stream
        if not stream.running:
            raise Fc2error("stopCapture: nothing is captured")
        stream.running = False
        self._join()
        fault, self._fault = self._fault, None
        try:
            stream.stop()
        except Fc2error:
            if fault is None:
                raise
        if fault is not None:
            raise fault

    def _join(self) -> None:
        """Wait for the callback's thread; in that thread itself leave that to later calls."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def getStats(self) -> CameraStats:
        """Return what went wrong since ``startCapture``, in images."""
        return self._linked.stream.stats()
