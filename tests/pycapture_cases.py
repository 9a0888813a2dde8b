"""What a script may do with PyCapture2's calls: cases for test_pycapture.py, without pytest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import genicam.gentl
import numpy as np
from gentlsim import Simulator

import rtface.camera.pycapture as pc
from rtface.camera.embedded import pins, read_words
from rtface.camera.producers import VARIABLE
from rtface.camera.pycapture.bus import BUS
from rtface.camera.pycapture.stream import ASK_EVERY_S
from rtface.clock import CYCLE_WRAP_NS, cycle_ns

KINDS = pc.PROPERTY_TYPE
OLDEST = pc.GRAB_MODE.BUFFER_FRAMES
REGION = pc.Format7ImageSettings(0, 8, 4, 320, 240, pc.PIXEL_FORMAT.MONO8)
#: ready for the next trigger once a frame is there
READY = {"rate_max_hz": 10_000}
FIELDS = ("timestamp", "frame_counter", "gpio", "roi")


def refused(call: Callable[..., object], *args: Any, **keywords: Any) -> str:
    """The one line that a call fails with."""
    told = ""
    try:
        call(*args, **keywords)
    except pc.Fc2error as error:
        told = str(error)
    assert told, f"{call} did what it should refuse"
    assert "\n" not in told
    return told


def simulated(folder: Path, *cameras: dict[str, Any]) -> Simulator:
    simulator = Simulator(folder, *cameras)
    os.environ.update(simulator.env)
    os.environ[VARIABLE] = str(simulator.cti.parent)
    return simulator


def connected(index: int = 0) -> pc.Camera:
    camera = pc.Camera()
    camera.connect(pc.BusManager().getCameraFromIndex(index))
    return camera


def run(case: Callable[..., None], *args: Any) -> None:
    """Run a case, and free the cameras and the producer after it."""
    try:
        case(*args)
    finally:
        BUS.leave()


def find_viky() -> None:
    os.environ[VARIABLE] = str(Path(genicam.__file__).parent / "viky.cti")


class Silent:
    """A buffer of a producer that says only what it has to."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def __getattr__(self, name: str) -> Any:
        if name in ("size_filled", "padding_x"):
            raise genicam.gentl.NotAvailableException(name)
        return getattr(self._buffer, name)


def few_features() -> None:
    find_viky()
    bus = pc.BusManager()
    assert bus.getNumOfCameras() == 3
    assert "no camera 3" in refused(bus.getCameraFromIndex, 3)
    assert "99; there are: 0, 1, 2" in refused(bus.getCameraFromSerialNumber, 99)
    camera = pc.Camera()
    assert "connect(uid)" in refused(camera.getProperty, KINDS.GAIN)
    camera.connect(bus.getCameraFromSerialNumber(1))
    info = camera.getCameraInfo()
    assert (info.serialNumber, info.modelName) == (1, "Viky")
    assert camera.isConnected

    # what it has
    told, supported = camera.getFormat7Info(0)
    assert supported
    assert (told.maxWidth, told.maxHeight, told.imageHStepSize) == (800, 800, 1)
    region = pc.Format7ImageSettings(0, 0, 0, 320, 240, pc.PIXEL_FORMAT.RAW8)
    packet, valid = camera.validateFormat7Settings(region)
    assert (valid, packet.recommendedBytesPerPacket) == (True, 320 * 240)
    camera.setFormat7Configuration(100.0, region)
    now, _, percent = camera.getFormat7Configuration()
    assert (now.width, now.height, now.pixelFormat) == (320, 240, pc.PIXEL_FORMAT.MONO8)
    assert percent == 100.0
    camera.setProperty(type=KINDS.FRAME_RATE, absValue=100, autoManualMode=False, onOff=True)
    rate = camera.getProperty(KINDS.FRAME_RATE)
    assert (rate.present, rate.absValue, rate.onOff) == (True, 100.0, True)
    assert camera.getPropertyInfo(KINDS.FRAME_RATE).absMax == 200.0
    assert "takes 1 to 200" in refused(camera.setProperty, type=KINDS.FRAME_RATE, absValue=500)

    # what it has not
    for mode in (pc.Format7ImageSettings(1), pc.Format7ImageSettings(0, 0, 0, 900, 240, 1 << 31)):
        assert camera.validateFormat7Settings(mode) == (pc.Format7PacketInfo(), False)
        assert "Format7: " in refused(camera.setFormat7Configuration, 100.0, mode)
    assert camera.getFormat7Info(pc.MODE.MODE_1)[1] is False
    assert camera.getProperty(KINDS.SHUTTER).present is False
    assert camera.getPropertyInfo(KINDS.SHUTTER).present is False
    assert "SHUTTER" in refused(camera.setProperty, type=KINDS.SHUTTER, absValue=5.0)
    camera.setProperty(type=KINDS.SHARPNESS, onOff=False)  # and so it is
    assert camera.getTriggerModeInfo().present is False
    assert "TriggerMode" in refused(camera.getTriggerMode)
    assert "TriggerSoftware" in refused(camera.fireSoftwareTrigger)
    assert "pin 1" in refused(camera.setStrobe, source=1, onOff=True)
    assert camera.getEmbeddedImageInfo().available.timestamp is False
    assert "timestamp" in refused(camera.setEmbeddedImageInfo, timestamp=True)
    assert "0x62C" in refused(camera.readRegister, 0x1100)
    assert "setFormat7Configuration" in refused(camera.setVideoModeAndFrameRate, 5, 4)
    assert "PyAV" in refused(pc.AVIRecorder)
    assert "getNumOfCameras" in refused(bus.registerCallback, print, 0)
    camera.disconnect()
    camera.disconnect()
    assert not camera.isConnected


def capture() -> None:
    find_viky()
    bus = pc.BusManager()
    camera = connected()
    region = pc.Format7ImageSettings(0, 0, 0, 320, 240, pc.PIXEL_FORMAT.RAW8)
    camera.setFormat7ConfigurationPacket(0, region)
    camera.setProperty(type=KINDS.FRAME_RATE, absValue=100)

    # images, and the rules of capturing
    assert "startCapture" in refused(camera.retrieveBuffer)
    assert "nothing is captured" in refused(camera.stopCapture)
    camera.setConfiguration(numBuffers=8, grabMode=OLDEST, grabTimeout=2000)
    camera.startCapture()
    assert "stopCapture" in refused(camera.setFormat7Configuration, 100.0, region)
    images = [camera.retrieveBuffer() for _ in range(5)]
    assert len({id(image.getData()) for image in images}) == 5
    assert [image.getData().shape for image in images] == [(320 * 240,)] * 5
    assert any((image.getData() != images[0].getData()).any() for image in images[1:])
    assert images[0].getTimeStamp() == pc.TimeStamp()  # it tells no time
    camera.stopCapture()

    # producers need not say how much of a buffer is filled, and padded
    link = camera._linked.stream
    copy = link._copy
    link._copy = lambda buffer: copy(Silent(buffer))
    camera.startCapture()
    assert camera.retrieveBuffer().getDataSize() == 320 * 240
    camera.stopCapture()
    link._copy = copy

    # the newest: what came meanwhile is passed over
    camera.setConfiguration(grabMode=pc.GRAB_MODE.DROP_FRAMES)
    camera.startCapture()
    for _ in range(2):
        camera.retrieveBuffer()
        time.sleep(0.2)
    assert camera.getStats().imageDropped >= 5
    camera.stopCapture()

    # no mode named: that stays which was set
    camera.setConfiguration(pc.Config(grabMode=pc.GRAB_MODE.UNSPECIFIED_GRAB_MODE))
    assert camera.getConfiguration().grabMode == pc.GRAB_MODE.DROP_FRAMES

    # a second camera in the same process, and the bus meanwhile
    other = connected(2)
    assert bus.getNumOfCameras() == 3
    assert other.getCameraInfo().serialNumber == 2
    other.disconnect()
    camera.disconnect()


def callbacks() -> None:
    find_viky()
    camera = connected()
    camera.setGigEImageSettings(width=200, height=100, pixelFormat=pc.PIXEL_FORMAT.MONO8)
    camera.setProperty(pc.Property(KINDS.FRAME_RATE, absControl=True, absValue=100.0))
    got: list[tuple[int, str, str]] = []
    enough = threading.Event()

    def take(image: pc.Image, word: str) -> None:
        got.append((image.getData().size, word, threading.current_thread().name))
        if len(got) == 5:
            enough.set()

    camera.startCapture(take, "word")
    assert "callback" in refused(camera.retrieveBuffer)
    assert enough.wait(10)
    camera.stopCapture()
    assert got[0] == (200 * 100, "word", "pycapture")

    # it may stop itself, and the camera is freed only after it
    faults: list[threading.ExceptHookArgs] = []
    threading.excepthook = faults.append
    threads: list[threading.Thread] = []
    stopping = threading.Event()

    def stop_itself(image: pc.Image) -> None:
        threads.append(threading.current_thread())
        camera.stopCapture()
        stopping.set()
        time.sleep(0.1)

    for _ in range(3):
        camera.startCapture(stop_itself)
        assert stopping.wait(10)
        stopping.clear()
    camera.disconnect()
    assert [thread.is_alive() for thread in threads] == [False] * 3
    assert not faults

    # what ends it is told
    camera = connected()
    calls = []

    def fail(image: pc.Image) -> None:
        calls.append(threading.current_thread())
        raise KeyError("mine")

    camera.startCapture(fail)
    assert "mine" in _ended(camera, KeyError)
    assert [fault.exc_type for fault in faults] == [KeyError]
    assert len(calls) == 1

    def break_down(buffer: object) -> None:
        raise pc.Fc2error("made up")

    camera._linked.stream._copy = break_down
    camera.startCapture(take, "word")
    assert "made up" in _ended(camera, pc.Fc2error)
    del camera._linked.stream._copy
    camera.startCapture(take, "word")
    camera.stopCapture()
    camera.disconnect()


def _ended(camera: pc.Camera, kind: type[Exception]) -> str:
    """Wait for the end of a callback's thread and return what stopCapture raises."""
    assert camera._thread is not None
    camera._thread.join(10)
    assert not camera._thread.is_alive()
    try:
        camera.stopCapture()
    except kind as error:
        return str(error)
    raise AssertionError("stopCapture raised nothing")


def settings(folder: Path) -> None:
    simulated(folder, {"serial": "17023355", "tl_type": "U3V"}, {"names": "pgr", "tl_type": "GEV"})
    camera = connected()
    info = camera.getCameraInfo()
    assert (info.serialNumber, info.interfaceType) == (17023355, pc.INTERFACE_TYPE.USB3)
    assert (info.sensorResolution, info.firmwareVersion) == ("640x480", "1.0")
    nodes = camera._features.nodes

    # units, and that a value means manual and on
    nodes.write("ExposureAuto", "Continuous")
    assert camera.getProperty(KINDS.SHUTTER).autoManualMode is True
    camera.setProperty(type=KINDS.FRAME_RATE, absValue=50)
    camera.setProperty(type=KINDS.SHUTTER, absValue=5.5)
    camera.setProperty(type=KINDS.TRIGGER_DELAY, absValue=0.002)
    camera.setProperty(type=KINDS.GAMMA, absValue=1.5)
    camera.setProperty(type=KINDS.BRIGHTNESS, absValue=2.5)
    names = ("AcquisitionFrameRate", "ExposureTime", "TriggerDelay", "Gamma", "BlackLevel")
    assert [nodes.read(name) for name in names] == [50.0, 5500.0, 2000.0, 1.5, 2.5]
    assert (nodes.read("ExposureAuto"), nodes.read("GammaEnable")) == ("Off", True)
    assert camera.getTriggerDelay().absValue == 0.002
    told = camera.getPropertyInfo(KINDS.SHUTTER)
    assert (told.absMin, told.unitAbbr, told.autoSupported) == (0.01, "ms", True)

    # automatic, once, off
    camera.setProperty(type=KINDS.GAIN, autoManualMode=True)
    assert nodes.read("GainAuto") == "Continuous"
    gain = camera.getProperty(KINDS.GAIN)
    gain.autoManualMode, gain.absValue = False, 6.0
    camera.setProperty(gain)
    assert (nodes.read("GainAuto"), nodes.read("Gain")) == ("Off", 6.0)
    assert "0 to 24" in refused(camera.setProperty, type=KINDS.GAIN, absValue=100)
    assert "register values" in refused(camera.setProperty, type=KINDS.GAIN, valueA=300)
    assert "switch it off" in refused(camera.setProperty, type=KINDS.SHUTTER, onOff=False)
    assert "automatic" in refused(camera.setProperty, type=KINDS.BRIGHTNESS, autoManualMode=True)
    camera.setTriggerDelay(onOff=False)
    camera.setProperty(type=KINDS.GAMMA, onOff=False)
    assert (nodes.read("TriggerDelay"), nodes.read("GammaEnable")) == (0.0, False)
    camera.setProperty(type=KINDS.FRAME_RATE, autoManualMode=True)
    assert nodes.read("AcquisitionFrameRateEnable") is False
    assert camera.getProperty(KINDS.TEMPERATURE).absValue == 41.5

    # everything that was read can be set again
    for kind in range(KINDS.TEMPERATURE):
        told_property = camera.getProperty(kind)
        if told_property.present:
            camera.setProperty(told_property)

    # triggers
    told_trigger = camera.getTriggerModeInfo()
    assert told_trigger.softwareTriggerSupported
    assert told_trigger.sourceMask == 0b1111_0001 << 24
    assert told_trigger.modeMask == 1 << 31 | 1 << 30 | 1 << 17
    camera.setTriggerMode(pc.TriggerMode(onOff=True, polarity=1, source=3, mode=14, parameter=0))
    assert camera.getTriggerMode() == pc.TriggerMode(True, 1, 3, 14, 0)
    assert (nodes.read("TriggerSource"), nodes.read("TriggerOverlap")) == ("Line3", "ReadOut")
    camera.setTriggerMode(mode=1, polarity=0)
    assert camera.getTriggerMode() == pc.TriggerMode(True, 0, 3, 1, 0)
    assert "0, 1 and 14" in refused(camera.setTriggerMode, mode=15)
    assert "Line5" in refused(camera.setTriggerMode, mode=0, source=5)
    assert camera.getTriggerMode() == pc.TriggerMode(True, 0, 3, 1, 0)  # not free running

    # pins: Line1 is an output and Line0 an input for good
    camera.setStrobe(source=2, onOff=True, polarity=0)
    assert camera.getStrobe(2) == pc.StrobeControl(2, True, 0, 0.0, 0.0)
    assert camera.getGPIOPinDirection(2) == 1
    camera.setGPIOPinDirection(2, 0)
    assert camera.getStrobe(2).onOff is False
    assert "Line0 cannot be an output" in refused(camera.setStrobe, source=0, onOff=True)
    assert "StrobeDelay" in refused(camera.setStrobe, source=1, onOff=True, delay=1.0)
    assert camera.getStrobeInfo(1).present
    assert not camera.getStrobeInfo(9).present
    camera.disconnect()

    # an older one has other names, and strobes with times of their own
    camera = connected(1)
    nodes = camera._features.nodes
    camera.setProperty(type=KINDS.FRAME_RATE, autoManualMode=False, absValue=40)
    assert nodes.read("AcquisitionFrameRateAuto") == "Off"
    assert nodes.read("AcquisitionFrameRateEnabled") is True
    camera.setStrobe(pc.StrobeControl(1, True, 1, 0.5, 2.0))
    assert (nodes.read("StrobeDelay"), nodes.read("StrobeDuration")) == (500.0, 2000.0)
    assert camera.getStrobe(1) == pc.StrobeControl(1, True, 1, 0.5, 2.0)
    camera.setStrobe(source=1, onOff=False)
    assert nodes.read("StrobeEnabled") is False
    assert camera.getEmbeddedImageInfo().available.timestamp
    camera.disconnect()


def formats(folder: Path) -> None:
    simulated(folder, {"pixel_format": "Mono12"})
    camera = connected()
    now, _, _ = camera.getFormat7Configuration()
    assert now.pixelFormat == 0  # PyCapture2 has no name for it
    now.width, now.height = 320, 240
    packet, valid = camera.validateFormat7Settings(now)
    assert (valid, packet.maxBytesPerPacket) == (True, 2 * 320 * 240)
    camera.setFormat7Configuration(100.0, now)
    camera.setGigEImageSettings(offsetX=8)
    region = camera.getGigEImageSettings()
    assert (region.width, region.height, region.offsetX) == (320, 240, 8)
    assert camera._features.nodes.read("PixelFormat") == "Mono12"
    camera.setGigEImageSettings(pixelFormat=pc.PIXEL_FORMAT.MONO8)
    assert camera._features.nodes.read("PixelFormat") == "Mono8"
    assert "UNSPECIFIED" in refused(camera.setGigEImageSettings, pixelFormat=0)
    camera.disconnect()


def embedded(folder: Path, keys: dict[str, Any]) -> None:
    simulator = simulated(folder, keys)
    simulator.level(0, 0b1000)
    camera = connected()
    camera.setFormat7Configuration(100.0, REGION)
    camera.setConfiguration(grabMode=OLDEST, grabTimeout=3000)
    camera.startCapture()
    bare = camera.retrieveBuffer()
    assert "stopCapture" in refused(camera.setEmbeddedImageInfo, timestamp=True)
    camera.stopCapture()
    assert bare.getTimeStamp().seconds == simulator.log()["device_ns"][0] // 10**9
    assert bare.getDataSize() == 320 * 240  # lines without their padding
    camera.setEmbeddedImageInfo(
        timestamp=True, frameCounter=True, GPIOPinState=True, ROIPosition=True
    )
    info = camera.getEmbeddedImageInfo()
    assert (info.onOff.timestamp, info.onOff.gain, info.available.gain) == (True, False, False)
    assert "gain" in refused(camera.setEmbeddedImageInfo, gain=True)
    camera.startCapture()
    tick_ns = 10**9 // keys.get("tick_hz", 10**9)
    for _ in range(5):
        image = camera.retrieveBuffer()
        read = read_words(image.getData().reshape(240, 320), FIELDS)
        log = simulator.log()
        (record,) = log[(log["segment"] == 1) & (log["frame_id"] == read["frame_counter"])]
        t_ns = record["device_ns"] // tick_ns * tick_ns
        stamp = image.getTimeStamp()
        assert 0 <= t_ns % CYCLE_WRAP_NS - cycle_ns(read["timestamp"]) <= 82  # of 1/24.576 MHz
        cycle = stamp.cycleSeconds << 25 | stamp.cycleCount << 12 | stamp.cycleOffset
        assert cycle == read["timestamp"]
        assert stamp.seconds * 10**6 + stamp.microSeconds == t_ns // 1000
        assert (pins(read["gpio"]) & 0b1000, read["roi"]) == (0b1000, 8 << 16 | 4)
    camera.stopCapture()
    # without NewestOnly in the driver what waits is passed over here
    camera.setConfiguration(grabMode=pc.GRAB_MODE.DROP_FRAMES)
    camera.startCapture()
    ids = []
    for _ in range(2):
        shown = camera.retrieveBuffer().getData().reshape(240, 320)
        ids.append(read_words(shown, FIELDS)["frame_counter"])
        time.sleep(0.1)
    assert ids[1] - ids[0] > 5
    camera.stopCapture()
    camera.setEmbeddedImageInfo(timestamp=False, frameCounter=False, GPIOPinState=False)
    assert camera._features.nodes.read("ChunkModeActive") is False
    camera.disconnect()


def triggered(folder: Path) -> None:
    simulator = simulated(folder, {"drop": [3], "incomplete": [6], "clip": clip(), **READY})
    camera = connected()
    camera.setConfiguration(grabMode=OLDEST, grabTimeout=150)
    camera.setTriggerMode(onOff=True, source=7)
    camera.startCapture()
    begun = time.monotonic()
    assert "no image within 150 ms" in refused(camera.retrieveBuffer)
    assert 0.14 < time.monotonic() - begun < 5
    # who polls does not ask the camera each time whether it is there
    stream, asked = camera._linked.stream, []
    answers = stream._answers
    stream._answers = lambda: asked.append(time.monotonic()) or answers()
    camera.setConfiguration(grabTimeout=0)
    for _ in range(20):
        assert "no image within 0 ms" in refused(camera.retrieveBuffer)
    assert len(asked) <= (time.monotonic() - begun) / ASK_EVERY_S
    stream._answers = answers
    camera.setConfiguration(grabTimeout=3000)
    camera.fireSoftwareTrigger()
    assert camera.retrieveBuffer().getData().reshape(480, 640)[0, 0] == 0
    camera.writeRegister(0x62C, 0x80000000)
    assert camera.retrieveBuffer().getData()[0] == 1
    assert camera.readRegister(0x62C) & 0x80000000 == 0
    camera.stopCapture()

    # by a line; what is lost or damaged is told and counted
    camera.setTriggerMode(source=0, polarity=1)
    camera.startCapture()
    shown: list[int | str] = []
    for index in range(8):
        simulator.edge()
        if index == 3:  # gets lost on the link
            while not simulator.edges_seen():
                time.sleep(0.005)
            time.sleep(0.02)
            continue
        try:
            shown.append(int(camera.retrieveBuffer().getData()[0]))
        except pc.Fc2error as error:
            shown.append(str(error).split(":")[0])
    assert shown == [0, 1, 2, 4, 5, "an image arrived damaged", 7]
    stats = camera.getStats()
    assert (stats.imageDropped, stats.imageCorrupt) == (1, 1)
    camera.stopCapture()
    camera.disconnect()


def stopped(folder: Path) -> None:
    """One thread waits for images, another one stops; and what the driver dropped is told."""
    simulated(folder, {"rate_hz": 200})
    camera = connected()
    camera.setConfiguration(grabMode=OLDEST)
    ends: list[str] = []

    def retrieve() -> None:
        ends.append(refused(_retrieve_for_ever, camera))

    for number in range(8):
        camera.startCapture()
        waiting = threading.Thread(target=retrieve)
        waiting.start()
        time.sleep(0.02 + 0.007 * number)
        camera.stopCapture()
        waiting.join(10)
        assert not waiting.is_alive()
    assert len(ends) == 8
    assert all("captur" in end for end in ends), ends

    camera.setConfiguration(numBuffers=2)
    camera.startCapture()
    deadline = time.monotonic() + 10
    while not camera.getStats().imageDriverDropped:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    camera.stopCapture()
    camera.setTriggerMode(onOff=True, source=7)
    camera.startCapture()
    assert camera.getStats().imageDriverDropped == 0
    camera.stopCapture()
    camera.disconnect()


def clip() -> np.ndarray:
    return np.repeat(np.arange(16, dtype=np.uint8), 640 * 480).reshape(16, 480, 640)


def _retrieve_for_ever(camera: pc.Camera) -> None:
    while True:
        camera.retrieveBuffer()


def unplugged(folder: Path) -> None:
    simulator = simulated(folder, {})
    bus = pc.BusManager()
    camera = pc.Camera()
    uid = bus.getCameraFromIndex(0)
    camera.connect(uid)
    camera.startCapture()  # and waits without end
    camera.retrieveBuffer()
    simulator.kill()
    assert "does not answer" in refused(_retrieve_for_ever, camera)
    refused(camera.stopCapture)
    camera.disconnect()
    assert bus.getNumOfCameras() == 0
    assert "no camera" in refused(camera.connect, uid)
    simulator.revive()
    camera.connect(uid)  # the same name for the same camera
    ended = threading.Event()
    camera.startCapture(lambda image: ended.set())
    assert ended.wait(10)
    simulator.kill()
    deadline = time.monotonic() + 10
    while camera._thread is not None and camera._thread.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    refused(camera.stopCapture)
    camera.disconnect()
