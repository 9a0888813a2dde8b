"""docs/wire.md says what the code does: its tables and its example bytes against the real ones."""

from __future__ import annotations

import re

import golden
import msgpack
import pytest
from conftest import ROOT

from rtface import publish, wire
from rtface.types import Flag, Result, TimeSource

DOCUMENT = (ROOT / "docs" / "wire.md").read_text()
TYPES = {int: "int", float: "float", str: "str", list: "list"}


def section(title: str) -> str:
    return re.split(r"^## ", DOCUMENT.split(f"## {title}\n", 1)[1], flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """Cells of every row of the tables in a section, without heads and backticks."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_keys_and_types_of_a_pose_in_their_order() -> None:
    fields = msgpack.unpackb(golden.files()["pose.v1.msgpack"])[1]
    fields = msgpack.unpackb(fields)
    table = [row[:2] for row in rows("`pose.<cam>.`") if len(row) == 3][2:]
    nil = {"t_camera_ns": "int or nil"}
    assert table == [[key, nil.get(key, TYPES[type(value)])] for key, value in fields.items()]
    for source, words in (
        (TimeSource.DELIVERY, "delivery of this frame"),
        (TimeSource.DEVICE_CLOCK, "device clock"),
        (TimeSource.LATCHED_PAIRS, "latched pairs"),
        (TimeSource.FRAME_COUNTER, "frame counter"),
    ):
        assert f"{source.value} = {words}" in DOCUMENT
    assert len(TimeSource) == 4


def test_layout_of_fast() -> None:
    table = rows("`fast.<cam>.`")[2:]
    sizes = {"uint16": "H", "uint32": "I", "uint64": "Q", "int64": "q"}
    offset = 0
    for at, n_bytes, _, _ in table[:-1]:
        assert int(at) == offset
        offset += int(n_bytes)
    assert int(table[-1][0]) == offset == wire.FAST_PAYLOAD
    assert table[0][1] == str(wire.TOPIC_BYTES)
    assert "<" + "".join(sizes[row[2]] for row in table[1:-1]) == wire.FAST_HEADER.format


def test_example_bytes_are_the_golden_ones() -> None:
    dump = section("`fast.<cam>.`").split("```")[1]
    content = b""
    for line in dump.strip("\n").splitlines():
        offset, *digits = re.findall(r"^ *\d+|(?<= )[0-9a-f]{2}(?= |$)", line[:55])
        assert int(offset) == len(content)
        content += bytes.fromhex("".join(digits))
    assert content == golden.files()["fast.v1.bin"]
    ledger = golden.result().ledger
    for value in ("exposure_ns", "exposure_err_ns", "t_host_ns", "t_done_ns", "frame_seq"):
        assert f"{value} {getattr(ledger, value)}\n" in dump


def test_flags() -> None:
    table = [row[1:3] for row in rows("`flags`")[2:]]
    assert table == [[str(flag.value), flag.name] for flag in Flag]


@pytest.mark.parametrize(
    "claim",
    [
        f"keeps {publish.SEND_HIGH_WATER_MARK} messages",
        f"stopped for {wire.HEARTBEAT_TIMEOUT_MS // 1000} s or more",
        f"| 1000, {wire.HEARTBEAT_TIMEOUT_MS} ms |",
        f"again every {publish.META_EVERY_NS // 10**9} s",
        f"exactly {wire.FAST_PAYLOAD} + 12 K bytes",
    ],
)
def test_numbers_are_those_of_the_code(claim: str) -> None:
    assert claim in " ".join(DOCUMENT.split())


def test_a_map_is_as_small_as_said() -> None:
    result = golden.result()
    most = result.ledger._replace(**dict.fromkeys(result.ledger._fields, 2**63 - 1))
    largest = Result(2**63 - 1, most, result.pose)
    frames = wire.encode_pose(wire.pose_topic("a" * 10), golden.SESSION, largest)
    assert len(frames[1]) < 512
    assert len(wire.fast_topic("a" * 10)) == wire.TOPIC_BYTES  # no zero behind it
