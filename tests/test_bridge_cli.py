"""What goes wrong before a bridge sends anything is one line and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import free_ports
from programs import RTFACE

NOBODY = "tcp://127.0.0.1:9"


def one_line(*words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [RTFACE, "bridge", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (env or {}),
    )
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("rtface: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.slow
def test_nobody_publishes_there() -> None:
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    port = str(free_ports(1)[0])
    assert "no camera 'cam1'" in one_line("jsonl", "cam1", address, "--port", port)
    assert "cannot connect" in one_line("jsonl", "cam1", "localhost:1", "--port", port)


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert f"127.0.0.1:{port}: cannot listen" in one_line(
            "jsonl", "cam1", NOBODY, "--port", port
        )


@pytest.mark.parametrize("to", ["9000", "127.0.0.1:", "127.0.0.1:x", "h:0", "h:65536", ":9000"])
def test_no_destination(to: str) -> None:
    assert "give HOST:PORT" in one_line("osc", "cam1", NOBODY, "--to", to)


def test_no_such_host() -> None:
    assert "no such host" in one_line("osc", "cam1", NOBODY, "--to", "no.such.host.invalid:9000")


@pytest.mark.parametrize(("kind", "library"), [("lsl", "pylsl"), ("osc", "pythonosc")])
def test_missing_library(tmp_path: Path, kind: str, library: str) -> None:
    (tmp_path / f"{library}.py").write_text("raise ImportError('not installed')")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    assert "pip install 'rtface[bridge]'" in one_line(kind, env={"PYTHONPATH": path})


def test_libraries_are_imported_by_their_bridge_alone() -> None:
    script = (
        "import sys, rtface.cli, rtface.bridge.jsonl, rtface.bridge.osc, rtface.bridge.lsl\n"
        "assert not {'pylsl', 'pythonosc'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
