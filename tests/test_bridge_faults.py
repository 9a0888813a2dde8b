"""Bridges whose clients do not read, whose run ends, and that are stopped or killed."""

import itertools
import json
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from bridges import Receiver, bridging
from conftest import free_ports
from programs import SMALL, SYNTHETIC, CountingSubscriber, running, wait_until

pytestmark = pytest.mark.soak

CLIENT = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
lines = connection.makefile()
for _ in range(int(sys.argv[2])):
    sys.stdout.write(lines.readline())
    sys.stdout.flush()
"""


def test_who_does_not_read_loses_whole_lines_of_its_own(tmp_path: Path, wide_bundle: Path) -> None:
    port = free_ports(1)[0]
    camera = SYNTHETIC.format(rate=200.0)
    with (
        running(tmp_path, wide_bundle, camera, runtime="null") as program,
        bridging("jsonl", "cam1", program.data, "--port", str(port)) as bridge,
        socket.socket() as deaf,
    ):
        bridge.until_said("run ")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        deaf.connect(("127.0.0.1", port))
        deaf.settimeout(10)
        wait_until(lambda: "clients 1" in "".join(bridge.said), 10)
        reader = Receiver(CLIENT, str(port), "601")
        _, *lines = reader.rest()
        assert {line["missed"] for line in lines} == {0}
        assert np.diff([line["seq"] for line in lines]).tolist() == [1] * 599
        file = deaf.makefile()  # now it reads, until it has caught up
        meta = json.loads(file.readline())
        heard = [json.loads(file.readline())]
        while heard[-1]["seq"] <= lines[-1]["seq"] or len(heard) < 300:
            heard.append(json.loads(file.readline()))
        assert meta["topic"] == "meta.cam1."
        assert heard[-1]["missed"] > 100
        for before, line in itertools.pairwise(heard):
            assert line["seq"] - before["seq"] - 1 == line["missed"] - before["missed"]
        file.close()
        code, account = bridge.stop()
        assert code == 0
        assert f"dropped {heard[-1]['missed']}" in account


def test_the_next_run_begins_with_its_own_meta(
    tmp_path: Path, tiny_bundle: Path, wide_bundle: Path
) -> None:
    port = str(free_ports(1)[0])
    with (
        running(tmp_path, tiny_bundle, SMALL, runtime="null") as program,
        bridging("jsonl", "cam1", program.data, "--port", port) as bridge,
    ):
        bridge.until_said("3 keypoints")
        client = Receiver(CLIENT, port, "100000")
        assert len(json.loads(client.first())["keypoints"]) == 3
        program.stop()
        bridge.until_said("no message since")
        rig = program.rig.read_text()
        program.rig.write_text(rig.replace(str(tiny_bundle), str(wide_bundle)))
        program.start()
        lines = [json.loads(client.first())]
        while len(lines[-1]["keypoints"]) == 3:
            lines.append(json.loads(client.first()))
        after = json.loads(client.first())
        client.close()
        code, account = bridge.stop()
    assert [line["topic"] for line in lines[:-1]] == ["pose.cam1."] * (len(lines) - 1)
    assert lines[-1]["topic"] == "meta.cam1."
    assert lines[-1]["session"] == after["session"] != lines[0]["session"]
    assert len(after["keypoints"]) == 400
    assert code == 0
    assert "missed 0" in account


def test_a_stopped_and_a_killed_bridge_change_nothing(tmp_path: Path, wide_bundle: Path) -> None:
    camera = SYNTHETIC.format(rate=500.0)
    with running(tmp_path, wide_bundle, camera, runtime="null") as program:
        subscriber = CountingSubscriber(program.data)
        ports = [str(port) for port in free_ports(2)]
        with (
            bridging("jsonl", "cam1", program.data, "--port", ports[0]) as stopped,
            bridging("jsonl", "cam1", program.data, "--port", ports[1]) as killed,
        ):
            stopped.until_said("run ")
            killed.until_said("run ")
            os.kill(stopped.popen.pid, signal.SIGSTOP)
            os.kill(killed.popen.pid, signal.SIGKILL)
            time.sleep(2.5)  # by now what the stopped one does not take fills TCP's buffers
            before = program.counts()["tracked"]
            time.sleep(1)
            assert program.counts()["tracked"] - before > 50
            code, out, err = program.stop()
    assert code == 0, err
    seen = subscriber.result()
    assert seen["lost"] == 0
    assert seen["received"] == seen["last_seq"] - seen["first_seq"] + 1
    assert f"{seen['last_seq'] + 1} tracked" in out
    assert "every frame accounted for: yes" in out
