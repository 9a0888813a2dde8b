"""PyCapture2's constants, with the numbers that scripts and settings files hold."""

from __future__ import annotations


class PROPERTY_TYPE:
    """What ``getProperty`` and ``setProperty`` are about; the unit of its absValue is given."""

    BRIGHTNESS = 0  #: black level, %
    AUTO_EXPOSURE = 1  #: EV
    SHARPNESS = 2
    WHITE_BALANCE = 3
    HUE = 4  #: degrees
    SATURATION = 5  #: %
    GAMMA = 6
    IRIS = 7
    FOCUS = 8
    ZOOM = 9
    PAN = 10
    TILT = 11
    SHUTTER = 12  #: ms
    GAIN = 13  #: dB
    TRIGGER_MODE = 14
    TRIGGER_DELAY = 15  #: s
    FRAME_RATE = 16  #: Hz
    TEMPERATURE = 17  #: degrees Celsius
    UNSPECIFIED_PROPERTY_TYPE = 18


class GRAB_MODE:
    """What ``retrieveBuffer`` returns when several images wait."""

    DROP_FRAMES = 0  #: the newest
    BUFFER_FRAMES = 1  #: the oldest
    UNSPECIFIED_GRAB_MODE = 2  #: as it was


class GRAB_TIMEOUT:
    """Special values of a grabTimeout, which is in ms."""

    NONE = 0
    INFINITE = -1
    UNSPECIFIED = -2


class PIXEL_FORMAT:
    """How pixels lie in memory; single bits, for ``pixelFormatBitField``."""

    MONO8 = 0x80000000
    YUV8_411 = 0x40000000
    YUV8_422 = 0x20000000
    YUV8_444 = 0x10000000
    RGB8 = RGB = 0x08000000
    MONO16 = 0x04000000
    RGB16 = 0x02000000
    S_MONO16 = 0x01000000
    S_RGB16 = 0x00800000
    RAW8 = 0x00400000
    RAW16 = 0x00200000
    MONO12 = 0x00100000
    RAW12 = 0x00080000
    BGR = 0x80000008
    BGRU = 0x40000008
    RGBU = 0x40000002
    UNSPECIFIED_PIXEL_FORMAT = 0


class MODE:
    """Format7 modes; of GenICam's cameras MODE_0 alone."""

    MODE_0 = 0
    MODE_1 = 1


class INTERFACE_TYPE:
    """How a camera is connected."""

    IEEE1394 = 0
    USB2 = 1
    USB3 = 2
    GIGE = 3
    UNKNOWN = 4


class IMAGE_FILE_FORMAT:
    """Of ``Image.save``."""

    FROM_FILE_EXT = -1
    PGM = 0
    PPM = 1
    BMP = 2
    JPEG = 3
    JPEG2000 = 4
    TIFF = 5
    PNG = 6
    RAW = 7


class BAYER_FORMAT:
    """Colour of the upper left pixels of a mosaic."""

    NONE = 0
    RGGB = 1
    GRBG = 2
    GBRG = 3
    BGGR = 4


#: GenICam's name of a pixel format (PFNC), PyCapture2's number, bits of a pixel in memory
FORMATS: dict[str, tuple[int, int]] = {
    "Mono8": (PIXEL_FORMAT.MONO8, 8),
    "Mono16": (PIXEL_FORMAT.MONO16, 16),
    "Mono12Packed": (PIXEL_FORMAT.MONO12, 12),
    "Mono12p": (PIXEL_FORMAT.MONO12, 12),
    "Mono10": (PIXEL_FORMAT.UNSPECIFIED_PIXEL_FORMAT, 16),
    "Mono12": (PIXEL_FORMAT.UNSPECIFIED_PIXEL_FORMAT, 16),
    "Mono14": (PIXEL_FORMAT.UNSPECIFIED_PIXEL_FORMAT, 16),
    **{f"Bayer{first}8": (PIXEL_FORMAT.RAW8, 8) for first in ("RG", "GR", "GB", "BG")},
    **{f"Bayer{first}16": (PIXEL_FORMAT.RAW16, 16) for first in ("RG", "GR", "GB", "BG")},
    **{f"Bayer{first}12Packed": (PIXEL_FORMAT.RAW12, 12) for first in ("RG", "GR", "GB", "BG")},
    **{f"Bayer{first}12p": (PIXEL_FORMAT.RAW12, 12) for first in ("RG", "GR", "GB", "BG")},
    "RGB8": (PIXEL_FORMAT.RGB8, 24),
    "BGR8": (PIXEL_FORMAT.BGR, 24),
    "BGRa8": (PIXEL_FORMAT.BGRU, 32),
    "RGBa8": (PIXEL_FORMAT.RGBU, 32),
    "YUV422_8_UYVY": (PIXEL_FORMAT.YUV8_422, 16),
    "YCbCr422_8_CbYCrY": (PIXEL_FORMAT.YUV8_422, 16),
    "YUV411_8_UYYVYY": (PIXEL_FORMAT.YUV8_411, 12),
    "YCbCr411_8_CbYYCrYY": (PIXEL_FORMAT.YUV8_411, 12),
}
#: a camera without colours sends its pixels as RAW, too
RAW_OF_GRAY = {
    PIXEL_FORMAT.RAW8: PIXEL_FORMAT.MONO8,
    PIXEL_FORMAT.RAW12: PIXEL_FORMAT.MONO12,
    PIXEL_FORMAT.RAW16: PIXEL_FORMAT.MONO16,
}
MOSAICS = {
    "RG": BAYER_FORMAT.RGGB,
    "GR": BAYER_FORMAT.GRBG,
    "GB": BAYER_FORMAT.GBRG,
    "BG": BAYER_FORMAT.BGGR,
}


def format_name(number: int) -> str:
    """Return the name in ``PIXEL_FORMAT`` of a number, for messages."""
    named = (name for name, value in vars(PIXEL_FORMAT).items() if value == number)
    return next(named, f"pixel format {number:#x}")


def property_name(number: int | None) -> str:
    """Return the name in ``PROPERTY_TYPE`` of a number, for messages."""
    named = (name for name, value in vars(PROPERTY_TYPE).items() if value == number)
    return next(named, f"property {number}")
