"""What receivers in other processes get from the bridges of one run, beside the native stream."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from bridges import Native, Receiver, bridging, same_keypoints
from conftest import free_ports
from programs import SMALL, Program, running, wait_until

import rtface
from rtface import wire
from rtface.bridge import relay
from rtface.bridge.jsonl import with_missed
from rtface.bridge.lsl import ClockOffset, measure_offset
from rtface.bridge.osc import addresses
from rtface.publish import Publisher
from rtface.wire import Message

N = 100


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTFACE_RING_DIR", str(folder / "rings"))
        with running(folder, tiny_bundle, SMALL) as one:
            yield one


@pytest.fixture(scope="module")
def native(program: Program) -> Iterator[Native]:
    one = Native(program.data)
    yield one
    one.stream.close()


# ---- JSON lines ----------------------------------------------------------------------------------

TCP_CLIENT = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
lines = connection.makefile()
for _ in range(int(sys.argv[2])):
    sys.stdout.write(lines.readline())
"""


def test_json_holds_every_float32_exactly_and_no_nan() -> None:
    values = np.random.default_rng(0).uniform(-1e4, 1e4, (200, 3)).astype(np.float32)
    values[0] = np.float32(1e-38), np.float32(3.4e38), np.float32(0.1)
    names = [f"k{i}" for i in range(200)]
    message = Message("pose.cam1.", 3, {"t": float("inf"), "arrays": []}, values)
    read = json.loads(wire.json_text(wire.json_fields(message, names)))
    assert read["t"] is None
    assert "arrays" not in read
    np.testing.assert_array_equal(np.float32(list(read["keypoints"].values())), values)
    values[1] = np.nan, np.inf, -np.inf
    text = wire.json_text(wire.json_fields(message, names))
    line = json.loads(with_missed(text, 7), parse_constant=pytest.fail)
    assert line["keypoints"]["k1"] == [None, None, None]
    assert line["missed"] == 7


@pytest.mark.slow
def test_json_clients_get_the_native_messages(program: Program, native: Native) -> None:
    port = str(free_ports(1)[0])
    with bridging("jsonl", "cam1", program.data, "--port", port) as bridge:
        bridge.until_said("run ")
        clients = [Receiver(TCP_CLIENT, port, str(1 + N)) for _ in range(2)]
        received = [client.rest() for client in clients]
        code, account = bridge.stop()
    messages = native.messages()
    for meta, *lines in received:
        assert meta["topic"] == "meta.cam1."
        assert meta["keypoints"] == native.names
        assert np.diff([line["seq"] for line in lines]).tolist() == [1] * (N - 1)
        for line in lines:
            message = messages[line["frame_seq"]]
            assert list(line["keypoints"]) == native.names
            assert same_keypoints(list(line["keypoints"].values()), message)
            assert line["missed"] == 0
            ledger = {k: v for k, v in message.fields.items() if k != "arrays"}
            assert {k: line[k] for k in ledger} == ledger
    assert code == 0
    assert "missed 0  dropped 0" in account


# ---- OSC -----------------------------------------------------------------------------------------

OSC_SERVER = """
import json, sys
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer
dispatcher = Dispatcher()
dispatcher.set_default_handler(lambda address, *values: print(json.dumps([address, *values])))
server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
print(server.server_address[1], flush=True)
for _ in range(int(sys.argv[1])):
    server.handle_request()
"""


@pytest.mark.slow
def test_osc_bundles_hold_the_native_messages(program: Program, native: Native) -> None:
    server = Receiver(OSC_SERVER, str(1 + N))
    to = f"127.0.0.1:{server.first().strip()}"
    with bridging("osc", "cam1", program.data, "--to", to) as bridge:
        said = server.rest()
        code, account = bridge.stop()
    messages = native.messages()
    assert said[0] == ["/rtface/cam1/names", *native.names]
    frames = 0
    for at, (address, *values) in enumerate(said):
        if address != "/rtface/cam1/frame":
            continue
        seq, frame_seq, exposure_ns, exposure_err_ns, flags = values
        message = messages[frame_seq]
        assert seq == message.seq
        assert exposure_ns == message.fields["exposure_ns"]
        assert exposure_err_ns == message.fields["exposure_err_ns"]
        assert flags == message.fields["flags"]
        assert said[at + 1][0] == "/rtface/cam1/kp"
        assert same_keypoints(np.reshape(said[at + 1][1:], (-1, 3)), message)
        each = said[at + 2 : at + 2 + len(native.names)]
        assert [one[0] for one in each] == addresses("cam1", native.names)
        assert same_keypoints([one[1:] for one in each], message)
        frames += 1
    assert frames == N
    assert code == 0
    assert "missed 0  dropped 0" in account


def test_osc_addresses_hold_nothing_osc_keeps_for_itself() -> None:
    assert addresses("cam1", ["eye(back)", "a b/c*?#,[x]{y}", "né"]) == [
        "/rtface/cam1/kp/eye(back)",
        "/rtface/cam1/kp/a_b_c_____x__y_",
        "/rtface/cam1/kp/n_",
    ]


# ---- LSL -----------------------------------------------------------------------------------------

LSL_INLET = """
import json, sys, pylsl
info, = pylsl.resolve_byprop("source_id", sys.argv[1], timeout=20)
inlet = pylsl.StreamInlet(info, processing_flags=pylsl.proc_none)
print(json.dumps(inlet.info(20).as_xml()))
for _ in range(int(sys.argv[2])):
    values, stamp_s = inlet.pull_sample(20)
    print(json.dumps([stamp_s, values]))
"""


@pytest.fixture
def on_this_machine(tmp_path: Path) -> dict[str, str]:
    """LSL configured to find streams of this machine alone."""
    config = tmp_path / "lsl_api.cfg"
    config.write_text(
        "[multicast]\nResolveScope = machine\n[lab]\nKnownPeers = {127.0.0.1}\n"
        "[ports]\nIPv6 = disable\n"
    )
    return {"LSLAPICFG": str(config)}


@pytest.mark.slow
def test_lsl_samples_are_the_native_messages_at_their_exposure(
    program: Program, native: Native, on_this_machine: dict[str, str]
) -> None:
    meta = native.stream.meta()
    with bridging("lsl", "cam1", program.data, env=on_this_machine) as bridge:
        source = f"rtface-cam1-{meta['session']}"
        inlet = Receiver(LSL_INLET, source, str(N), env=on_this_machine)
        xml, *samples = inlet.rest()
        code, account = bridge.stop()
    messages = native.messages()

    info = ET.fromstring(xml)
    assert info.findtext("type") == "MoCap"
    assert info.findtext("name") == "rtface-cam1"
    assert float(info.findtext("nominal_srate") or -1) == 0  # irregular
    assert info.findtext("channel_format") == "double64"
    assert info.findtext("desc/synchronization/can_drop_samples") == "true"
    assert info.findtext("desc/acquisition/camera/width") == "320"
    assert info.findtext("desc/acquisition/model/name") == "tiny"
    channels = info.findall("desc/channels/channel")
    labels = [channel.findtext("label") for channel in channels]
    kinds = [channel.findtext("type") for channel in channels]
    assert kinds[:3] == ["PositionX", "PositionY", "Confidence"]
    markers = [channel.findtext("marker") for channel in channels]
    assert markers[: len(native.names) * 3 : 3] == native.names
    assert labels[-4:] == ["seq", "frame_seq", "exposure_err_s", "flags"]
    offset_ns = int(info.findtext("desc/acquisition/clock_offset_ns") or -1)

    assert len(samples) == N
    for stamp_s, values in samples:
        message = messages[int(values[labels.index("frame_seq")])]
        assert same_keypoints(np.reshape(values[:-4], (-1, 3)), message)
        assert values[labels.index("seq")] == message.seq
        assert values[labels.index("flags")] == message.fields["flags"]
        assert values[labels.index("exposure_err_s")] == message.fields["exposure_err_ns"] * 1e-9
        assert abs(stamp_s - offset_ns * 1e-9 - message.fields["exposure_ns"] * 1e-9) <= 1e-6
    assert np.diff([values[labels.index("seq")] for _, values in samples]).tolist() == [1] * (N - 1)
    assert code == 0
    assert "missed 0" in account


def test_lsl_clock_offset_is_measured_and_nothing_is_made_of_noise() -> None:
    now = iter(range(0, 10**9, 100))
    far = measure_offset(lambda: (next(now) + 5_000_000) * 1e-9, lambda: next(now))
    assert abs(far.offset_ns - 5_000_000) <= far.err_ns <= 200
    assert far.stamp_s(10**9) == pytest.approx(1.005, abs=1e-6)
    near = measure_offset(lambda: (next(now) + 60) * 1e-9, lambda: next(now))
    assert near == ClockOffset(0, near.err_ns)
    assert ClockOffset(0, 100).stamp_s(123_456_789_012_345) == 123456.789012345


class Kept:
    """A target that keeps what it is given."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.seqs: list[int] = []

    def begin(self, meta: dict[str, Any]) -> None:
        self.runs.append(meta["session"])

    def send(self, message: Message) -> None:
        self.seqs.append(message.seq)

    def tend(self) -> None:
        pass

    def state(self) -> str:
        return ""

    def close(self) -> None:
        pass


def test_a_meta_that_comes_too_late_ends_the_leaving_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "META_WITHIN_S", 0.1)
    (port,) = free_ports(1)
    names = {"keypoints": ["a", "b", "c"]}
    said: list[str] = []
    kept = Kept()
    publisher = Publisher("cam1", "a" * 16, names | {"session": "a" * 16}, "127.0.0.1", port)
    stream = rtface.subscribe("cam1", f"tcp://127.0.0.1:{port}", timeout_s=1)
    bridge = relay.Relay(stream, kept, "cam1", said.append, lambda: False)

    def turn(seq: int) -> None:
        publisher.tend()
        publisher.send(replace(golden.result(), seq=seq))
        bridge.turn()

    try:
        wait_until(lambda: turn(1) or kept.runs == ["a" * 16], 10)
        publisher.close()
        # the next run, whose meta is still the one before
        late = "b" * 16
        publisher = Publisher("cam1", late, names | {"session": "a" * 16}, "127.0.0.1", port)
        wait_until(lambda: turn(2) or bridge.left_out > 2, 10)
        assert "does not say what it sends" in said[-1]
        assert 2 not in kept.seqs
        publisher.set_meta(names | {"session": late})
        wait_until(lambda: turn(3) or 3 in kept.seqs, 10)
    finally:
        publisher.close()
        stream.close()
    assert kept.runs == ["a" * 16, late]
    assert said[-1] == f"cam1: run {late}, 3 keypoints"
