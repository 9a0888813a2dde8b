"""Basler cameras through Basler's own pypylon: the one file that imports it."""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any

from rtface.camera.device import Buffer, DeviceCamera, LinkLost, taken
from rtface.camera.pixels import reader
from rtface.camera.pylon_nodes import PylonNodes, words
from rtface.camera.sensor import Names, choose, n_buffers, set_up
from rtface.camera.sfnc import NodeRefused, Value, chunk_features, find
from rtface.camera_config import PylonSection
from rtface.types import Image, UserError

#: the id of a buffer that came back without a frame, as all do when the camera is pulled out
NO_FRAME = (1 << 64) - 1
UNDERRUNS = "Statistic_Buffer_Underrun_Count"


def open_pylon(name: str, section: PylonSection) -> DeviceCamera:
    """Return a Basler camera set up as the rig file says, ready to start.

    Raises
    ------
    UserError
        pypylon or the camera is missing, several would do, or it does not take a setting; names the
        key and the remedy.
    """
    return DeviceCamera(name, section, lambda: PylonLink(name, section))


def library(name: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return pypylon's module and what it raises; UserError where it is not installed."""
    try:
        # its bindings warn while they load, and crash where a warning is an error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pypylon import genicam, pylon
    except ImportError as error:
        raise UserError(
            f"camera.{name}.kind: 'pylon' needs pypylon, which does not load here "
            f'({words(error)}): pip install "rtface[pylon]"'
        ) from None
    return pylon, (genicam.GenericException,)


class PylonLink:
    """An opened Basler camera; a ``Link`` of ``rtface.camera.device``."""

    def __init__(self, name: str, section: PylonSection) -> None:
        self._pylon, self._errors = library(name)
        self.incomplete = 0
        self._result: Any = None
        self._view: Any = None
        self._chunks = frozenset(section.chunks)
        self._camera = self._pylon.InstantCamera()
        try:
            self._open(name, section)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str, section: PylonSection) -> None:
        try:
            factory = self._pylon.TlFactory.GetInstance()
            device = choose([(_names(i), i) for i in factory.EnumerateDevices()], section, name)
            self._camera.Attach(factory.CreateDevice(device))
            self._camera.Open()
            for parameter in (self._camera.MaxNumBuffer, self._camera.MaxNumQueuedBuffer):
                parameter.SetValue(n_buffers(section))
        except self._errors as error:
            raise LinkLost(words(error)) from None
        self.nodes = PylonNodes(self._camera.GetNodeMap, self._errors)
        self._stream = PylonNodes(self._camera.GetStreamGrabberNodeMap, self._errors)
        self.info, self._format, self._clock = set_up(self.nodes, section, name, self.alive)
        self._fit_padding(0)

    def _fit_padding(self, padding: int) -> None:
        width, height = self.info.width, self.info.height
        self._padding = padding
        self._read = reader(self._format, width, height, padding)
        self._n_bytes = self._format.n_bytes(width, height, padding)

    def start(self) -> None:
        """Arm the camera; LinkLost."""
        try:
            self._camera.StartGrabbing(self._pylon.GrabStrategy_OneByOne)
        except self._errors as error:
            raise LinkLost(words(error)) from None

    def fetch(self, timeout_s: float) -> Buffer | None:
        """Return the oldest frame; None after ``timeout_s``, or if it was damaged."""
        timeout_ms = math.ceil(1000 * timeout_s)
        handling = self._pylon.TimeoutHandling_Return
        try:
            result = self._camera.RetrieveResult(timeout_ms, handling)
            if result.IsValid():
                return self._take(result)
            # after a fault pylon tells it once, and then is silent for ever
            if not self._camera.IsGrabbing():
                raise LinkLost("the driver has stopped")
        except self._errors as error:
            raise LinkLost(words(error)) from None
        except NodeRefused as error:  # a frame without what should come along with it
            if not self.alive():
                raise LinkLost(str(error)) from None
            self.incomplete += 1
            self.requeue()
        return None

    def _take(self, result: Any) -> Buffer | None:
        self._result = result
        if not result.GrabSucceeded():
            self._count_failed(result)
            self.requeue()
            return None
        if result.PaddingX != self._padding:
            self._fit_padding(result.PaddingX)
        self._view = result.GetImageMemoryView()
        if self._view.nbytes < self._n_bytes:
            self.incomplete += 1
            self.requeue()
            return None
        ticks = int(self._chunk("Timestamp", result.TimeStamp))
        return Buffer(
            int(self._chunk("FrameID", result.BlockID)),
            self._clock.to_ns(ticks) if ticks else None,  # 0 is pylon's word for no clock
            round(1000 * float(self._chunk("ExposureTime", 0))),
            int(self._chunk("LineStatusAll", 0)),
            self._view,
        )

    def _count_failed(self, result: Any) -> None:
        if self._camera.IsCameraDeviceRemoved():
            raise LinkLost("it was unplugged")
        if result.BlockID != NO_FRAME:
            self.incomplete += 1

    def _chunk(self, name: str, otherwise: Value) -> Value:
        """Return what came along with the frame that was fetched last."""
        if name not in self._chunks:
            return otherwise
        names = chunk_features(name)
        nodes = PylonNodes(self._result.GetChunkDataNodeMap, self._errors)
        return nodes.read(find(nodes, names) or names[0])

    def copy(self, buffer: Buffer, out: Image) -> None:
        """Write the image into ``out``."""
        self._read(buffer.data, out)

    def requeue(self) -> None:
        """Give the buffer back, and let nobody read it any more."""
        view, self._view = self._view, None
        if view is not None:
            view.release()
        result, self._result = self._result, None
        if result is not None:
            result.Release()

    def underruns(self) -> int:
        """Return the driver's count of frames without a free buffer; 0 where it has none."""
        try:
            return int(self._stream.read(UNDERRUNS))
        except NodeRefused:  # it has none, or the device is gone
            return 0

    def latch(self) -> tuple[int, int, int] | None:
        """Read both clocks together; None where the camera has no such feature, or not now."""
        return taken(self, self._clock.latch)

    def alive(self) -> bool:
        """Whether a register can be read from the device itself."""
        with contextlib.suppress(*self._errors):
            return not self._camera.IsCameraDeviceRemoved() and self.nodes.answers("Width")
        return False

    def trigger(self) -> None:
        """Expose once; what the camera does not take now is a missed trigger."""
        taken(self, lambda: self.nodes.execute("TriggerSoftware"))

    def close(self) -> None:
        """Free everything; a device that is gone refuses each step, and each is tried."""
        camera = self._camera
        for step in (self.requeue, camera.StopGrabbing, camera.Close, camera.DestroyDevice):
            with contextlib.suppress(*self._errors):
                step()


def _names(info: Any) -> Names:
    return Names(info.GetSerialNumber(), info.GetUserDefinedName(), info.GetModelName())
