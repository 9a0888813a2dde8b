"""Ids, losses, pixels, producers and settings of real cameras: the arithmetic without a camera."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from camera_cases import FakeNodes
from hypothesis import given
from hypothesis import strategies as st

from rtface.camera.device import LinkLost
from rtface.camera.ids import LONGEST_RUN, IdCounter, add, causes, missed_triggers
from rtface.camera.pixels import gray_of_mosaic, needs_even, pixel_format, reader
from rtface.camera.producers import VARIABLE, find_producers
from rtface.camera.sensor import set_up
from rtface.camera.sfnc import Setting, apply, plan
from rtface.camera_config import GenicamSection
from rtface.types import Lost, UserError
from rtface.watch import CameraWatch


def steps(raws: list[int]) -> list[int | None]:
    counter = IdCounter()
    return [counter.step(raw, 3000) for raw in raws]


@pytest.mark.parametrize(
    ("raws", "expected"),
    [
        ([7, 8, 9], [1, 1, 1]),
        ([0, 1, 4], [1, 1, 3]),
        ([65534, 65535, 1, 2], [1, 1, 1, 1]),  # GigE Vision 1.x has no 0
        ([65534, 65535, 0, 1], [1, 1, 1, 1]),  # a counter of 16 bits that has it
        ([65533, 3], [1, 5]),  # lost 65534, 65535, 1, 2
        ([2**32 - 1, 0, 1], [1, 1, 1]),
        ([2**32 - 2, 2], [1, 4]),
        ([70000, 70001], [1, 1]),
        ([1000, 0, 1], [1, None, 1]),  # began anew
        ([1000, 1000], [1, None]),
        ([2**40, 5], [1, None]),
    ],
)
def test_ids_are_followed_through_their_wraps(raws: list[int], expected: list[Any]) -> None:
    assert steps(raws) == expected


@given(st.integers(1, 65535), st.lists(st.integers(1, 3000), max_size=200))
def test_a_16_bit_counter_is_counted_exactly(first: int, gaps: list[int]) -> None:
    counter = IdCounter()
    counter.step(first, 0)
    position = first - 1  # 0 to 65534: the 65535 ids from 1
    for gap in gaps:
        position += gap
        after = position % 65535 + 1
        # below 65536 nothing but its fall tells the width, so a fall has to be a wrap
        assert counter.step(after, 3000) == gap


def test_a_counter_that_falls_too_far_for_the_time_began_anew() -> None:
    counter = IdCounter()
    counter.step(40_000, 0)
    assert counter.step(1, at_most=1000) is None  # 25536 frames in no time
    counter.step(40_000, 100_000)
    assert counter.step(1, at_most=60_000) == 25_536


def test_losses_have_one_cause_each() -> None:
    assert causes(5, 0, 0) == Lost(link=5)
    assert causes(5, 2, 0) == Lost(link=3, incomplete=2)
    assert causes(5, 2, 10) == Lost(incomplete=2, no_buffer=3)
    assert causes(0, 4, 4) == Lost()
    assert add(Lost(1, 2, 3, 4), Lost(1, 1, 1, 1)) == Lost(2, 3, 4, 5)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_causes_add_up_to_what_is_missing(missing: int, incomplete: int, underruns: int) -> None:
    assert sum(causes(missing, incomplete, underruns)) == missing


def test_missed_triggers_are_told_from_pauses() -> None:
    assert missed_triggers(10_000, 10_000, 1) == 0
    assert missed_triggers(20_000, 10_000, 1) == 1
    assert missed_triggers(30_000, 10_000, 2) == 1  # one of the two was lost later
    assert missed_triggers(30_000, 10_000, 3) == 0
    assert missed_triggers((LONGEST_RUN + 2) * 10_000, 10_000, 1) == 0


def pack(name: str, pixels: np.ndarray) -> bytes:
    """Pack by the letter of the formats, bit by bit."""
    flat = [int(v) for v in pixels.ravel()]
    if name.endswith("Packed"):
        low = int(name[4:6]) - 8
        out = bytearray()
        for a, b in zip(flat[::2], flat[1::2], strict=True):
            mask = (1 << low) - 1
            out += bytes([a >> low, (a & mask) | (b & mask) << 4, b >> low])
        return bytes(out)
    bits = int(name[4:6])
    number = 0
    for i, value in enumerate(flat):
        number |= value << (bits * i)
    return number.to_bytes(len(flat) * bits // 8, "little")


@pytest.mark.parametrize("name", ["Mono10p", "Mono12p", "Mono10Packed", "Mono12Packed"])
def test_packed_pixels_keep_every_bit(name: str) -> None:
    told = pixel_format(name)
    assert told is not None
    pixels = np.random.default_rng(1).integers(0, 1 << told.bits, (6, 8), np.uint16)
    data = b"".join(pack(name, row) for row in pixels)
    assert len(data) == told.n_bytes(8, 6, 0)
    out = np.zeros((6, 8), np.uint16)
    reader(told, 8, 6, 0)(data, out)
    assert (out == pixels).all()
    assert 8 % needs_even(told) == 0


@pytest.mark.parametrize("padding", [0, 1, 2, 7])
@pytest.mark.parametrize("name", ["Mono8", "Mono12", "Mono16", "Mono12p"])
def test_padding_of_lines_is_left_out(name: str, padding: int) -> None:
    told = pixel_format(name)
    assert told is not None
    dtype: Any = np.uint8 if told.bits == 8 else np.uint16
    pixels = np.random.default_rng(2).integers(0, 1 << told.bits, (5, 8), dtype)
    lines = [pack(name, row) if told.packed else row.tobytes() for row in pixels]
    out = np.zeros((5, 8), dtype)
    data = b"".join(line + b"\xaa" * padding for line in lines)
    assert len(data) == told.n_bytes(8, 5, padding)
    reader(told, 8, 5, padding)(data + b"behind the image", out)
    assert (out == pixels).all()


@pytest.mark.parametrize("mosaic", ["RG", "GR", "BG", "GB"])
def test_a_mosaic_becomes_gray_without_a_shift(mosaic: str) -> None:
    told = pixel_format(f"Bayer{mosaic}8")
    assert told is not None
    assert told.bayer
    # red 40, green 80, blue 120: gray is 80 everywhere, at the edges too
    value = {"R": 40, "G": 80, "B": 120}
    cell = {"RG": "RGGB", "GR": "GRBG", "BG": "BGGR", "GB": "GBRG"}[mosaic]
    flat = np.tile(np.array([value[c] for c in cell], np.uint8).reshape(2, 2), (4, 5))
    out = np.zeros_like(flat)
    reader(told, flat.shape[1], flat.shape[0], 0)(flat.tobytes(), out)
    assert (out == 80).all()
    point = np.zeros((9, 9), np.uint16)
    point[4, 4] = 16000
    gray = np.zeros_like(point)
    gray_of_mosaic(point, gray)
    assert (gray == gray[::-1, ::-1]).all()
    assert gray[4, 4] == gray.max() == 4000


def test_formats_that_are_not_gray_are_none() -> None:
    assert pixel_format("RGB8") is None
    assert pixel_format("Mono10c3p32") is None


def test_producers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.cti", "b/c.cti", "b/readme.txt"):
        (tmp_path / name).touch()
    monkeypatch.setenv(VARIABLE, f"{tmp_path}:{tmp_path / 'b'}::/no/such/folder:{tmp_path}")
    assert find_producers() == [tmp_path / "a.cti", tmp_path / "b" / "c.cti"]
    assert find_producers(str(tmp_path / "a.cti")) == [tmp_path / "a.cti"]
    with pytest.raises(UserError, match=r"there is no file .*x\.cti"):
        find_producers(str(tmp_path / "x.cti"))
    monkeypatch.setenv(VARIABLE, "/no/such/folder")
    monkeypatch.setattr("rtface.camera.producers._USUAL", ())
    with pytest.raises(UserError, match="install the camera vendor's driver"):
        find_producers()


def section(**fields: Any) -> GenicamSection:
    return GenicamSection(kind="genicam", rate_hz=100.0, **fields)


SFNC = {
    "OffsetX": 64,
    "OffsetY": 0,
    "Width": 1280,
    "Height": 1024,
    "TriggerMode": "On",
    "AcquisitionFrameRateEnable": False,
    "AcquisitionFrameRate": 30.0,
    "ExposureAuto": "Continuous",
    "ExposureTime": 5000.0,
    "Gain": 0.0,
}


def test_settings_are_made_in_an_order_that_cameras_take() -> None:
    nodes = FakeNodes(dict(SFNC), {})
    told = section(width=640, height=480, offset_x=32, exposure_us=2000.0)
    apply(nodes, plan(told), "cam1")
    names = [name for name, _ in nodes.written]
    assert names.index("Width") > names.index("OffsetX")  # to the corner first
    assert nodes.features["OffsetX"] == 32
    assert nodes.features["ExposureAuto"] == "Off"
    assert nodes.features["TriggerMode"] == "Off"
    assert nodes.features["AcquisitionFrameRateEnable"] is True
    assert names.index("AcquisitionFrameRate") > names.index("ExposureTime")


def test_older_cameras_have_older_names() -> None:
    features = {
        "AcquisitionFrameRateEnabled": False,
        "AcquisitionFrameRateAuto": "Continuous",
        "AcquisitionFrameRateAbs": 30.0,
        "ExposureTimeAbs": 1.0,
        "ChunkModeActive": False,
        "ChunkSelector": "Image",
        "ChunkEnable": False,
    }
    nodes = FakeNodes(features, {"ChunkSelector": ["FrameCounter", "Timestamp"]})
    apply(nodes, plan(section(exposure_us=2000.0, chunks=["FrameID"])), "cam1")
    assert nodes.features["AcquisitionFrameRateAbs"] == 100.0
    assert nodes.features["AcquisitionFrameRateAuto"] == "Off"
    assert nodes.features["ExposureTimeAbs"] == 2000.0
    assert ("ChunkSelector", "FrameCounter") in nodes.written


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gain_db": 50.0}, r"camera\.cam1\.gain_db: Gain cannot be 50; it takes 0 to 24"),
        ({"strobe_line": "Line1"}, "strobe_line: the camera has no LineSelector; leave it out"),
        ({"settings": {"Gama": 1.0}}, r"settings\.Gama: the camera has no Gama"),
        ({"trigger": {"source": "Line9"}}, "trigger.source: the camera has no TriggerSource"),
        ({"chunks": ["ExposureTime"]}, "chunks: the camera has no ChunkModeActive"),
        ({"settings": {"Rounded": 2.5}}, "set to 2.5 and the camera made it 2; it takes"),
    ],
)
def test_what_a_camera_does_not_take_is_refused(fields: Any, message: str) -> None:
    nodes = FakeNodes({**SFNC, "Rounded": 0.0}, {"Gain": (0, 24), "Rounded": (0, 5)})
    with pytest.raises(UserError, match=message):
        apply(nodes, plan(section(**fields)), "cam1")


def test_a_device_that_is_gone_is_not_taken_for_one_without_features() -> None:
    for alive, error in ((True, UserError), (False, LinkLost)):
        with pytest.raises(error, match="AcquisitionFrameRate"):
            set_up(FakeNodes({}, {}), section(), "cam1", lambda alive=alive: alive)


def test_a_rate_that_the_exposure_does_not_allow_is_refused() -> None:
    features = {**SFNC, "PixelFormat": "Mono8", "ResultingFrameRate": 42.0}
    with pytest.raises(UserError, match=r"camera\.cam1\.rate_hz: 100 Hz was set, .* allow 42"):
        set_up(FakeNodes(features, {}), section(), "cam1", lambda: True)
    features["ResultingFrameRate"] = 99.5
    assert set_up(FakeNodes(features, {}), section(), "cam1", lambda: True).info.rate_hz == 100.0


def test_what_cannot_be_otherwise_need_not_be_set() -> None:
    """An output that is always one; but auto exposure that stays on is no exposure time."""
    told = section(strobe_line="Line1", exposure_us=2000.0)
    lines = {"LineSelector": "Line1", "LineMode": "Output", "LineSource": "Off"}
    apply(FakeNodes({**SFNC, **lines}, {"LineMode": []}), plan(told), "cam1")
    with pytest.raises(UserError, match="exposure_us: ExposureAuto cannot be Off"):
        apply(FakeNodes({**SFNC, **lines}, {"ExposureAuto": ["Continuous"]}), plan(told), "cam1")


def test_a_trigger_is_off_while_its_source_changes() -> None:
    nodes = FakeNodes({**SFNC, "TriggerSource": "Line3", "TriggerActivation": "LevelLow"}, {})
    apply(nodes, plan(section(trigger={"source": "Line0"})), "cam1")
    order = [(name, value) for name, value in nodes.written if name.startswith("Trigger")]
    assert order[0] == ("TriggerMode", "Off")
    assert order[-1] == ("TriggerMode", "On")
    assert ("TriggerSource", "Line0") in order


def test_a_line_that_is_not_there_is_refused_with_those_that_are() -> None:
    nodes = FakeNodes(
        {**SFNC, "TriggerSource": "Line0"}, {"TriggerSource": ["Line0", "Line1", "Software"]}
    )
    with pytest.raises(UserError, match="cannot be Line7; it takes Line0, Line1, Software"):
        apply(nodes, [Setting("trigger.source", ("TriggerSource",), "Line7")], "cam1")


def test_what_becomes_of_a_camera_is_said_once() -> None:
    watch = CameraWatch()

    def look(state: str, segment: int = 0) -> list[str]:
        return watch.look("cam1", {"state": state, "segment": segment, "delivered": 7})

    assert look("running") == []
    assert look("waiting") == []
    (gone,) = look("gone")
    assert gone.startswith("camera cam1: gone")
    assert look("gone") == []
    assert look("waiting") == []  # found again, and no trigger came yet
    (back,) = look("running", 1)  # its first frame
    assert "segment 1" in back
    (silent,) = look("silent", 1)
    assert "no frames" in silent
    assert look("running", 1) == ["camera cam1: delivers frames again"]
