"""The client in docs/examples/node, run by Node: golden bytes, and a real stream beside our own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from conftest import ROOT
from programs import SYNTHETIC, Program, running

import rtface

NODE = shutil.which("node")
CLIENT = ROOT / "docs" / "examples" / "node"
HOW = "npm ci --ignore-scripts --prefix docs/examples/node"
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """Continuous integration has the client's packages; others may not want them."""
    if not (CLIENT / "node_modules" / "zeromq").is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"the client's packages are not installed; run: {HOW}")


@pytest.fixture
def program(tmp_path: Path, tiny_bundle: Path) -> Iterator[Program]:
    with running(tmp_path, tiny_bundle, SYNTHETIC.format(rate=100.0)) as one:
        yield one


STATUS = """
import { Subscriber } from 'zeromq';
import { decodeStatus } from './rtface.mjs';
const socket = new Subscriber({ linger: 0, receiveTimeout: 20000 });
socket.connect(process.argv[1]);
socket.subscribe('status.');
const text = (_, value) => (typeof value === 'bigint' ? `${value}n` : value);
console.log(JSON.stringify(decodeStatus(await socket.receive()), text));
socket.close();
"""


def node(*words: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    assert NODE
    return subprocess.run(
        [NODE, *words], cwd=CLIENT, capture_output=True, text=True, timeout=timeout_s
    )


@contextlib.contextmanager
def listening(out: Path, address: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run listen.mjs, its lines into a file: a pipe that nobody reads would stop it."""
    assert NODE
    command = [NODE, "listen.mjs", "--address", address, "--json", *words]
    with (
        out.open("w") as file,
        subprocess.Popen(
            command, cwd=CLIENT, stdout=file, stderr=subprocess.PIPE, text=True
        ) as listener,
    ):
        try:
            yield listener
        finally:
            listener.kill()


def test_golden_bytes() -> None:
    done = node("--test", "--test-reporter=tap")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 16" in done.stdout  # none fell out unnoticed


def test_clock_is_ours() -> None:
    before = time.perf_counter_ns()
    there = int(node("-p", "String(process.hrtime.bigint())").stdout)
    assert before <= there <= time.perf_counter_ns()


@pytest.mark.slow
def test_a_real_stream_beside_a_native_subscriber(tmp_path: Path, program: Program) -> None:
    every_lines, latest_lines = tmp_path / "every", tmp_path / "latest"
    with (
        rtface.subscribe("cam1", program.data) as stream,
        listening(every_lines, program.data, "--count", "100") as every,
        listening(latest_lines, program.data, "--latest", "--count", "50") as latest,
    ):
        ours = {}
        while every.poll() is None or latest.poll() is None:
            message = stream.receive(0.1)
            if message is not None:
                ours[message.seq] = message
        names = stream.meta()["keypoints"]
        said = node("--input-type=module", "-e", STATUS, program.status_address)
        status, now = json.loads(said.stdout), program.status()
        assert every.returncode == latest.returncode == 0

    assert set(status) == set(now) - {"ok"} | {"topic", "v", "seq"}
    for key in ("session", "rig", "lifecycle", "children"):
        assert status[key] == now[key]
    cameras = status["cameras"]["cam1"], now["cameras"]["cam1"]
    assert 0 < cameras[0]["delivered"] <= cameras[1]["delivered"]
    for key in ("t_host_ns", "t_unix_ns"):  # BigInt: only they end in n
        assert 0 <= now[key] - int(status[key].removesuffix("n")) < 60e9
        assert status[key].endswith("n")

    lines = [json.loads(line) for line in every_lines.read_text().splitlines()]
    first = int(lines[0]["seq"])
    assert [int(line["seq"]) for line in lines] == list(range(first, first + 100))
    for line in lines:
        message = ours[int(line["seq"])]
        same(line, message, names)
        assert set(message.fields) - set(line) == {"arrays"}

    lines = [json.loads(line) for line in latest_lines.read_text().splitlines()]
    numbers = [int(line["seq"]) for line in lines]
    assert len(numbers) == 50
    assert numbers == sorted(set(numbers))
    for line in lines:
        same(line, ours[int(line["seq"])], names)


def same(line: dict[str, Any], message: rtface.Message, names: list[str]) -> None:
    """What Node printed of a message is what we received of it, to the last bit."""
    assert message.keypoints is not None
    assert line["keypoints"] == message.keypoints.ravel().tolist()
    assert list(line["points"]) == names
    by_name = [[p["x"], p["y"], p["score"]] for p in line["points"].values()]
    assert by_name == message.keypoints.tolist()
    for key in set(line) & set(message.fields) - {"topic"}:
        value = message.fields[key]
        if isinstance(value, int) and isinstance(line[key], str):
            assert int(line[key]) == value, key
        else:
            assert line[key] == value, key
    assert 0 <= line["age_ms"] < 10_000


def test_another_program_on_the_port_is_refused_not_believed(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.setsockopt(zmq.LINGER, 0)
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        with listening(tmp_path / "out", f"tcp://127.0.0.1:{port}") as listener:
            assert publisher.poll(20_000)
            publisher.send_multipart([b"meta.cam1.", b"\xc1not msgpack"])
            assert listener.stderr
            assert "not a message of rtface's wire version 1" in listener.stderr.readline()
            assert listener.poll() is None
