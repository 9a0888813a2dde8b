"""What pylon's emulated cameras lack: chunks, padding, a clock, and a cable to pull out.

The grab results are scripted; the node map is a real one of the library's, of features in XML.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rtface.camera.device import LinkLost
from rtface.camera.pylon import NO_FRAME, PylonLink, library
from rtface.camera.pylon_nodes import PylonNodes
from rtface.camera.sensor import set_up
from rtface.camera.sfnc import NodeRefused
from rtface.camera.timestamps import DeviceClock
from rtface.camera_config import PylonSection
from rtface.types import CameraInfo, UserError

pytest.importorskip("pypylon")

XML = """<RegisterDescription ModelName="M" VendorName="V" ToolTip="" StandardNameSpace="None"
SchemaMajorVersion="1" SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1"
MinorVersion="0" SubMinorVersion="0" ProductGuid="1F3C6A72-7842-4edd-9130-E2E90A2058BA"
VersionGuid="7645D2A1-A41E-4ac6-B486-1531FB7BECE6"
xmlns="http://www.genicam.org/GenApi/Version_1_1">
<Category Name="Root"><pFeature>ChunkExposureTime</pFeature></Category>
<Float Name="ChunkExposureTime"><Value>250.5</Value></Float>
<Integer Name="ChunkTimestamp"><Value>125000125</Value></Integer>
<Integer Name="ChunkFrameCounter"><Value>77</Value></Integer>
<Integer Name="ChunkLineStatusAll"><Value>5</Value></Integer>
<Integer Name="GevTimestampTickFrequency"><Value>125000000</Value></Integer>
<Integer Name="GevTimestampValue"><Value>250000000</Value></Integer>
<Command Name="GevTimestampControlLatch"><Value>0</Value><CommandValue>1</CommandValue></Command>
<Float Name="Gain"><Value>1.5</Value><Min>0</Min><Max>24</Max></Float>
<Integer Name="Width"><Value>64</Value><Min>16</Min><Max>640</Max><Inc>2</Inc></Integer>
<Integer Name="Height"><Value>48</Value></Integer>
<Float Name="AcquisitionFrameRate"><Value>99.5</Value></Float>
<Enumeration Name="PixelFormat"><EnumEntry Name="Mono10p"><Value>1</Value></EnumEntry>
<EnumEntry Name="Mono8"><Value>2</Value></EnumEntry><Value>1</Value></Enumeration>
</RegisterDescription>"""


@cache
def node_map() -> Any:
    """A real node map of what is in XML; its features end with it, so it is kept."""
    library("cam1")
    from pypylon import genicam

    nodes = genicam.CNodeMapRef("Device")
    nodes._LoadXMLFromString(XML)
    return nodes


class Result:
    """A grab result as a camera with chunks, padding or faults would give it."""

    def __init__(self, image: bytes, **keys: Any) -> None:
        self.image, self.released = image, 0
        self.good, self.PaddingX = keys.get("good", True), keys.get("padding", 0)
        self.BlockID, self.TimeStamp = keys.get("block_id", 9), keys.get("ticks", 0)
        self.GetChunkDataNodeMap = node_map

    def IsValid(self) -> bool:
        return True

    def GrabSucceeded(self) -> bool:
        return self.good

    def GetImageMemoryView(self) -> memoryview:
        return memoryview(self.image)

    def Release(self) -> None:
        self.released += 1


@pytest.fixture(scope="module")
def emulated() -> Iterator[PylonLink]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYLON_CAMEMU", "2")
        keys = {"serial": "0815-0000", "rate_hz": 90.0, "width": 64, "height": 48}
        link = PylonLink("cam1", PylonSection(kind="pylon", **keys))
    yield link
    link.close()


@pytest.fixture
def scripted(emulated: PylonLink, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PylonLink]:
    """Give an opened link other results than the emulator's."""

    def script(*results: Result, removed: bool = False) -> PylonLink:
        queue = iter(results)
        device = SimpleNamespace(
            RetrieveResult=lambda *_: next(queue), IsCameraDeviceRemoved=lambda: removed
        )
        clock = DeviceClock(PylonNodes(node_map, emulated._errors))
        for name, value in (("_camera", device), ("_clock", clock), ("_chunks", frozenset())):
            monkeypatch.setattr(emulated, name, value)
        emulated.incomplete = 0
        emulated._fit_padding(0)
        return emulated

    return script


def test_times_and_chunks_come_along_with_the_frame(scripted: Callable[..., PylonLink]) -> None:
    image = bytes(64 * 48)
    link = scripted(Result(image), Result(image, ticks=125), Result(image))
    plain, timed = link.fetch(0.1), link.fetch(0.1)
    assert plain is not None
    assert plain[:4] == (9, None, 0, 0)
    assert timed is not None
    assert timed.t_device_ns == 1000  # ticks of 8 ns
    link._chunks = frozenset(("Timestamp", "FrameID", "ExposureTime", "LineStatusAll"))
    full = link.fetch(0.1)
    assert full is not None
    assert full[:4] == (77, 1_000_001_000, 250_500, 5)
    before_ns = time.perf_counter_ns()
    pair = link.latch()
    assert pair is not None
    assert pair[0] == 2_000_000_000
    assert before_ns <= pair[1] <= time.perf_counter_ns()
    assert 0 < pair[2] < 1_000_000_000


def test_padding_after_each_line_is_left_out(scripted: Callable[..., PylonLink]) -> None:
    image = np.arange(48 * 67, dtype=np.uint32).astype(np.uint8).reshape(48, 67)
    results = Result(image.tobytes(), padding=3), Result(image[:, :64].tobytes())
    link = scripted(*results)
    for result in results:
        fetched, out = link.fetch(0.1), np.zeros((48, 64), np.uint8)
        assert fetched is not None
        link.copy(fetched, out)
        np.testing.assert_array_equal(out, image[:, :64])
        link.requeue()
        assert result.released == 1


def test_what_is_no_whole_frame(scripted: Callable[..., PylonLink]) -> None:
    image = bytes(64 * 48)
    results = (
        Result(image, good=False),
        Result(image[1:]),  # said to be good, and too short
        Result(image, good=False, block_id=NO_FRAME),  # a buffer that comes back empty
    )
    link = scripted(*results)
    assert [(link.fetch(0.1), link.incomplete) for _ in results] == [
        (None, 1),
        (None, 2),
        (None, 2),
    ]
    assert [result.released for result in results] == [1, 1, 1]
    link = scripted(Result(image, good=False), removed=True)
    with pytest.raises(LinkLost, match="unplugged"):
        link.fetch(0.1)
    assert link.incomplete == 0
    assert not link.alive()


def test_what_is_refused_by_a_camera_that_is_there_costs_a_frame_or_a_trigger(
    scripted: Callable[..., PylonLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result(bytes(64 * 48))
    link = scripted(result)
    link._chunks = frozenset(("ExposureTime",))
    nothing = SimpleNamespace(GetNode=lambda _name: None)
    result.GetChunkDataNodeMap = lambda: nothing  # this frame came without it
    there = [True]
    monkeypatch.setattr(link, "alive", lambda: there[0])

    def refuse(*_: object) -> None:
        raise NodeRefused("not now")

    monkeypatch.setattr(link, "nodes", SimpleNamespace(execute=refuse))
    monkeypatch.setattr(link, "_clock", SimpleNamespace(latch=refuse))
    assert link.fetch(0.1) is None
    assert (link.incomplete, result.released) == (1, 1)
    link.trigger()
    assert link.latch() is None
    there[0] = False
    for call in (link.trigger, link.latch):
        with pytest.raises(LinkLost, match="not now"):
            call()


def test_steps_of_a_feature_are_told() -> None:
    nodes = PylonNodes(node_map, library("cam1")[1])
    assert nodes.allowed("Width") == "16 to 640 in steps of 2"
    assert nodes.allowed("Gain") == "0 to 24"
    with pytest.raises(NodeRefused, match=r"^Gain: Value 30.* must be smaller [^\n]* 24[.0]*$"):
        nodes.write("Gain", 30)
    with pytest.raises(NodeRefused, match=r"^Width: it is no float$"):
        nodes.write("Width", 64.5)
    assert not nodes.answers("GevTimestampControlLatch")


def test_packed_lines_have_to_end_with_a_byte() -> None:
    nodes = PylonNodes(node_map, library("cam1")[1])
    section = PylonSection(kind="pylon", rate_hz=99.5, width=66)
    with pytest.raises(UserError, match=r"^camera.cam1.pixel_format: Mono10p at 66 px .* 'Mono8'"):
        set_up(nodes, section, "cam1", lambda: True)
    info, pixels, _ = set_up(nodes, section.model_copy(update={"width": 68}), "cam1", lambda: True)
    assert info == CameraInfo(48, 68, 10, 99.5)
    assert pixels.name == "Mono10p"
