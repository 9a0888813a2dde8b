"""The reference firmware compiled for this machine, and its twin in Python, as boards."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path

from rtface.outputs.twin import Board, Running, running

__all__ = ["Board", "Running", "running", "running_firmware"]

HERE = Path(__file__).parent
FIRMWARE = HERE.parent / "docs/examples/arduino/rtface_trigger/rtface_trigger.ino"


def compiled_firmware(folder: Path, main: str = "main.cpp", **options: int) -> Path:
    """Return a program: the firmware's own source, compiled for this machine, under a ``main``."""
    source = FIRMWARE.read_text(encoding="utf-8")
    for key, value in options.items():
        before, _, after = source.partition(f" {key.upper()} = ")
        assert after, key
        source = f"{before} {key.upper()} = {value};{after.partition(';')[2]}"
    (folder / "firmware.ino").write_text(source, encoding="utf-8")
    program = folder / "board"
    subprocess.run(
        [
            "g++",
            "-O1",
            "-Wall",
            "-Werror",
            f'-DFIRMWARE="{folder / "firmware.ino"}"',
            "-o",
            str(program),
            str(HERE / "firmware" / main),
        ],
        check=True,
    )
    return program


@contextlib.contextmanager
def running_firmware(folder: Path, **options: int) -> Iterator[Running]:
    """Run the firmware's own source, compiled for this machine, in another process."""
    program = compiled_firmware(folder, **options)
    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    out, into = os.pipe()
    popen = subprocess.Popen(
        [str(program)],
        stdin=master,
        stdout=master,
        pass_fds=[into],
        env=os.environ | {"PIN_FD": str(into)},
    )
    os.close(into)
    try:
        with os.fdopen(out) as lines:
            # it says microseconds; ns as the simulated board
            one = Running(popen, os.ttyname(slave), (_in_ns(line) for line in lines))
            try:
                yield one
            finally:
                one.stop()
    finally:
        os.close(master)
        os.close(slave)


def _in_ns(line: str) -> str:
    level, t = line.split()
    return f"{level} {int(t) * 1000}"
