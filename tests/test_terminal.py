"""What a run says stops it never: terminals that stall, pipes that nobody reads, full disks."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_ports
from programs import RTFACE, SMALL, account, wait_until

import rtface
from rtface.terminal import StatusLine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals, no /dev/full")


@contextlib.contextmanager
def stalled_terminal() -> Iterator[tuple[int, int]]:
    """Give both ends of a terminal that takes nothing more until it is read."""
    import pty

    master, slave = pty.openpty()
    os.set_blocking(slave, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(slave, b"x" * 512)
    os.set_blocking(slave, True)
    try:
        yield master, slave
    finally:
        os.close(slave)
        os.close(master)


def test_a_terminal_that_stalls_makes_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with stalled_terminal() as (master, slave), os.fdopen(os.dup(slave), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        start = time.monotonic()
        with StatusLine() as line:
            for n in range(1000):
                line.note(f"note {n}")
                line.show_text(f"status {n}")
            assert time.monotonic() - start < 1
        assert time.monotonic() - start < 10
        assert line._thread.is_alive()  # it hangs there, and nobody else does
        os.set_blocking(master, False)
        while line._thread.is_alive():  # somebody presses Ctrl-Q
            with contextlib.suppress(BlockingIOError):
                os.read(master, 4096)
            time.sleep(0.001)
        monkeypatch.undo()


def test_notes_and_the_newest_status_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with StatusLine() as line:
            line.note("a note [that] is longer than a terminal is wide, " * 3)
            line.show_text("status")
        monkeypatch.undo()
    with os.fdopen(reader) as told:
        assert told.read() == "a note [that] is longer than a terminal is wide, " * 3 + "\nstatus\n"


@pytest.mark.parametrize("target", ["/dev/full", "closed"])
def test_a_log_that_cannot_be_written_raises_nothing(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    descriptor = writer if target == "closed" else os.open(target, os.O_WRONLY)
    stream = os.fdopen(descriptor, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    with StatusLine() as line:
        line.note("a note")
        line.show_text("status")
        time.sleep(0.3)
        line.note("another")
    assert not line._thread.is_alive()
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        stream.close()


def test_what_cannot_be_written_for_a_moment_is_lost_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    log = Disk()
    monkeypatch.setattr(sys, "stderr", log)
    with StatusLine() as line:
        line.note("lost")
        time.sleep(0.4)
        log.full = False
        line.note("told")
    assert "told" in log.getvalue()


def rig_of(folder: Path, bundle: Path) -> tuple[Path, int]:
    control, data, status = free_ports(3)
    rig = folder / "rig.toml"
    rig.write_text(
        f'[camera.cam1]\n{SMALL}[engine]\nbundle = "{bundle}"\n'
        f"[stream]\ncontrol_port = {control}\ndata_port = {data}\nstatus_port = {status}\n"
    )
    return rig, control


@pytest.mark.slow
def test_a_run_with_a_log_on_a_full_disk_goes_on(tmp_path: Path, tiny_bundle: Path) -> None:
    rig, _ = rig_of(tmp_path, tiny_bundle)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [RTFACE, "run", rig, "--seconds", "7"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=False,
        )
    assert done.returncode == 0
    assert account(done.stdout)["tracked"] > 100
    assert "every frame accounted for: yes" in done.stdout
    with Path("/dev/full").open("w") as full:  # nobody hears how it went; it went
        done = subprocess.run([RTFACE, "run", rig, "--seconds", "1"], stdout=full, stderr=full)
    assert done.returncode == 0


@pytest.mark.slow
def test_a_run_whose_log_nobody_reads_any_more_goes_on(tmp_path: Path, tiny_bundle: Path) -> None:
    rig, _ = rig_of(tmp_path, tiny_bundle)
    program = subprocess.Popen(
        [RTFACE, "run", rig, "--seconds", "7"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stderr is not None
    assert "is published at" in program.stderr.readline()
    program.stderr.close()
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    assert "every frame accounted for: yes" in out


@pytest.mark.slow
def test_a_run_whose_terminal_stalls_obeys_and_ends(tmp_path: Path, tiny_bundle: Path) -> None:
    rig, control = rig_of(tmp_path, tiny_bundle)
    with stalled_terminal() as (_, slave):
        program = subprocess.Popen(
            [RTFACE, "run", rig], stdout=subprocess.PIPE, stderr=slave, text=True
        )
        try:
            status = {}

            def running() -> bool:
                status.update(rtface.ask("status", f"tcp://127.0.0.1:{control}", timeout_s=2))
                return status["cameras"]["cam1"].get("tracked", 0) > 200

            wait_until(running, 40)
            program.send_signal(signal.SIGINT)
            pids = [child["pid"] for child in status["children"]]
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10)
            out, _ = program.communicate(timeout=20)
        finally:
            program.kill()
            program.wait()
    assert "every frame accounted for: yes" in out
    assert program.returncode == 0
