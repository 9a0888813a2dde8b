"""A script as laboratories have them for Point Grey's PyCapture2; test_pycapture.py runs it."""

import sys
import time

import numpy as np
import PyCapture2

POWER_REGISTER = 0x610
TRIGGER_REGISTER = 0x62C
TRIGGER_INQUIRY = 0x530
YES = 0x80000000

WIDTH, HEIGHT = 320, 240
N_FRAMES = 10


def power_on(cam):
    cam.writeRegister(POWER_REGISTER, YES)
    for _ in range(10):
        time.sleep(0.05)
        try:
            if cam.readRegister(POWER_REGISTER) & YES:
                return
        except PyCapture2.Fc2error:  # it does not answer before it has started
            pass
    sys.exit("camera does not wake up")


def print_info(cam):
    info = cam.getCameraInfo()
    print("serial", info.serialNumber)
    print("model", info.modelName)
    print("vendor", info.vendorName)
    print("sensor", info.sensorResolution)
    print("firmware", info.firmwareVersion)


def set_region(cam):
    fmt7_info, supported = cam.getFormat7Info(PyCapture2.MODE.MODE_0)
    if not supported or not fmt7_info.pixelFormatBitField & PyCapture2.PIXEL_FORMAT.MONO8:
        sys.exit("no MONO8 in mode 0")
    left = (fmt7_info.maxWidth - WIDTH) // 2
    top = (fmt7_info.maxHeight - HEIGHT) // 2
    settings = PyCapture2.Format7ImageSettings(
        0, left, top, WIDTH, HEIGHT, PyCapture2.PIXEL_FORMAT.MONO8
    )
    packet_info, valid = cam.validateFormat7Settings(settings)
    if not valid:
        sys.exit("format 7 settings are not valid")
    cam.setFormat7ConfigurationPacket(packet_info.recommendedBytesPerPacket, settings)
    print("region", left, top)


def set_properties(cam):
    kinds = PyCapture2.PROPERTY_TYPE
    cam.setProperty(type=kinds.AUTO_EXPOSURE, onOff=False)
    cam.setProperty(type=kinds.FRAME_RATE, autoManualMode=False, absValue=100.0)
    cam.setProperty(type=kinds.SHUTTER, autoManualMode=False, absControl=True, absValue=2.0)
    gain = cam.getProperty(kinds.GAIN)
    gain.autoManualMode = False
    gain.absControl = True
    gain.absValue = 3.0
    cam.setProperty(gain)
    print("shutter", cam.getProperty(kinds.SHUTTER).absValue)
    print("gain", cam.getProperty(kinds.GAIN).absValue)


def set_trigger(cam):
    if not cam.readRegister(TRIGGER_INQUIRY) & 0x10000:
        sys.exit("camera has no software trigger")
    trigger = cam.getTriggerMode()
    trigger.onOff = True
    trigger.mode = 0
    trigger.parameter = 0
    trigger.source = 7
    cam.setTriggerMode(trigger)


def fire(cam):
    while cam.readRegister(TRIGGER_REGISTER) & YES:
        time.sleep(0.001)
    cam.writeRegister(TRIGGER_REGISTER, YES)


def embedded_ms(data):
    word = int.from_bytes(data[:4].tobytes(), "big")
    seconds, cycles, offset = word >> 25, word >> 12 & 0x1FFF, word & 0xFFF
    return 1000 * (seconds + (cycles + offset / 3072) / 8000)


def grab(cam):
    last = None
    for _ in range(N_FRAMES):
        fire(cam)
        try:
            image = cam.retrieveBuffer()
        except PyCapture2.Fc2error as error:
            print("error retrieving buffer:", error)
            continue
        data = np.array(image.getData(), dtype=np.uint8)
        frame = data.reshape(image.getRows(), image.getCols())
        stamp = image.getTimeStamp()
        if last is not None:
            cycles = 8000 * (stamp.cycleSeconds - last.cycleSeconds)
            cycles += stamp.cycleCount - last.cycleCount
            print("step", cycles)
        last = stamp
        counter = int.from_bytes(data[4:8].tobytes(), "big")
        print("frame", counter, round(embedded_ms(data), 3), frame.shape, round(frame.mean(), 1))
    return image


def main():
    print("version", *PyCapture2.getLibraryVersion())
    bus = PyCapture2.BusManager()
    n_cameras = bus.getNumOfCameras()
    print("cameras", n_cameras)
    if not n_cameras:
        sys.exit("no camera")
    cam = PyCapture2.Camera()
    cam.connect(bus.getCameraFromIndex(0))
    power_on(cam)
    print_info(cam)
    set_region(cam)
    set_properties(cam)
    if cam.getEmbeddedImageInfo().available.timestamp:
        cam.setEmbeddedImageInfo(timestamp=True, frameCounter=True)
    set_trigger(cam)
    cam.setConfiguration(
        numBuffers=20, grabMode=PyCapture2.GRAB_MODE.BUFFER_FRAMES, grabTimeout=2000
    )
    cam.startCapture()
    image = grab(cam)
    cam.stopCapture()
    picture = image.convert(PyCapture2.PIXEL_FORMAT.BGR)
    print("converted", picture.getData().size)
    cam.setTriggerMode(onOff=False)
    cam.setEmbeddedImageInfo(timestamp=False, frameCounter=False)
    cam.disconnect()
    print("done")


main()
