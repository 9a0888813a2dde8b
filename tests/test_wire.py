import contextlib
import math
import struct

import golden
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtface import wire


@pytest.mark.parametrize("name", sorted(golden.files()))
def test_bytes_are_those_of_version_1(name: str) -> None:
    assert (golden.FOLDER / name).read_bytes() == golden.files()[name]


def test_pose_from_golden_bytes_is_exact() -> None:
    frames = msgpack.unpackb((golden.FOLDER / "pose.v1.msgpack").read_bytes())
    message = wire.decode(frames)
    expected = golden.result()
    assert (message.topic, message.seq) == ("pose.cam1.", 1000)
    for key, value in expected.ledger._asdict().items():
        assert message.fields[key] == value, key
    assert message.fields["session"] == golden.SESSION
    assert message.fields["timestamp"] == pytest.approx(expected.ledger.exposure_ns * 1e-9)
    assert message.keypoints is not None
    np.testing.assert_array_equal(message.keypoints, expected.pose.keypoints)


def test_a_camera_without_clock_sends_nil() -> None:
    name = "pose_no_camera_clock.v1.msgpack"
    frames = msgpack.unpackb((golden.FOLDER / name).read_bytes())
    assert wire.decode(frames).fields["t_camera_ns"] is None


def test_fast_layout_as_documented() -> None:
    # read with nothing but the offsets of docs/wire.md
    frame = (golden.FOLDER / "fast.v1.bin").read_bytes()
    ledger = golden.result().ledger
    assert frame[:16] == b"fast.cam1.".ljust(16, b"\0")
    assert struct.unpack_from("<HHI", frame, 16) == (1, 1, ledger.flags)
    assert struct.unpack_from("<I", frame, 24) == (3,)
    assert struct.unpack_from("<QQ", frame, 32) == (1000, ledger.frame_seq)
    assert struct.unpack_from("<qqqq", frame, 48) == (
        ledger.exposure_ns,
        ledger.exposure_err_ns,
        ledger.t_host_ns,
        ledger.t_done_ns,
    )
    assert len(frame) == 80 + 3 * 12
    assert struct.unpack_from("<3f", frame, 80) == (1.5, 2.25, 0.5)
    message = wire.decode([frame])
    assert message.seq == 1000
    assert message.fields["t_done_ns"] == ledger.t_done_ns


def test_map_comes_as_json_too() -> None:
    import json

    frames = wire.encode_map("meta.cam1.", {"keypoints": ["a"], "b": 2}, with_json=True)
    assert json.loads(frames[2]) == msgpack.unpackb(frames[1])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"fast.cam1."],
        [bytes(80)],
        [(golden.FOLDER / "fast.v1.bin").read_bytes()[:-1]],
        [b"pose.cam1.", b"\xc1"],
        [b"pose.cam1.", msgpack.packb([1, 2])],
        [b"pose.cam1.", msgpack.packb({"v": 99})],
        [b"pose.cam1.", msgpack.packb({"v": 1})],
        [b"p", msgpack.packb({"v": 1, "topic": "p", "arrays": [["keypoints", "<f4", [2, 3]]]})],
        [
            b"p",
            msgpack.packb({"v": 1, "topic": "p", "arrays": [["keypoints", "<f4", [2, 3]]]}),
            b"123",
        ],
        [b"p", msgpack.packb({"v": 1, "topic": "p", "seq": math.inf})],
    ],
)
def test_foreign_bytes_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(frames)


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_give_a_message_or_a_wire_error(frames: list[bytes]) -> None:
    with contextlib.suppress(wire.WireError):
        wire.decode(frames)
