"""Real programs in processes of their own: rtface itself, and a subscriber that counts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from conftest import free_ports

import rtface

RTFACE = str(Path(sys.executable).parent / "rtface")


class Program:
    """One running ``rtface run``; its control port answers for it."""

    def __init__(
        self,
        folder: Path,
        camera: str,
        bundle: Path | str,
        runtime: str,
        extra: str,
        before: Sequence[str] = (),
        words: Sequence[str] = (),
    ) -> None:
        self._words = words
        self.control, data, status = free_ports(3)
        self.data = f"tcp://127.0.0.1:{data}"
        self.status_address = f"tcp://127.0.0.1:{status}"
        self.rig = folder / f"rig{self.control}.toml"
        self.rig.write_text(
            f'[camera.cam1]\n{camera}\n[engine]\nbundle = "{bundle}"\nruntime = "{runtime}"\n'
            f"[stream]\ncontrol_port = {self.control}\ndata_port = {data}\n"
            f"status_port = {status}\n{extra}\n"
        )
        self.start(before)

    def start(self, before: Sequence[str] = ()) -> None:
        """Run the rig file; may be called again once it has ended."""
        self.popen = subprocess.Popen(
            [*before, RTFACE, "run", str(self.rig), *self._words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def status(self) -> dict[str, Any]:
        return rtface.ask("status", f"tcp://127.0.0.1:{self.control}", timeout_s=10)

    def counts(self) -> dict[str, Any]:
        return self.status()["cameras"]["cam1"]

    def pid(self, name: str) -> int:
        return next(c["pid"] for c in self.status()["children"] if c["name"] == name)

    def pids(self) -> list[int]:
        return [self.popen.pid, *(child["pid"] for child in self.status()["children"])]

    def until_running(self) -> None:
        wait_until(lambda: self.status()["lifecycle"] == "running", 30)

    def stop(
        self, how: signal.Signals = signal.SIGINT, timeout_s: float = 20
    ) -> tuple[int, str, str]:
        """Send a signal (unless it has ended) and return exit code, stdout and stderr."""
        if self.popen.poll() is None:
            self.popen.send_signal(how)
        out, err = self.popen.communicate(timeout=timeout_s)
        return self.popen.returncode, out, err

    def close(self) -> None:
        """End it if it still runs; may be called at any time."""
        if self.popen.poll() is None:
            self.stop()
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream and not stream.closed:
                stream.close()


SMALL = 'kind = "synthetic"\nwidth = 320\nheight = 240\nrate_hz = 100.0\n'
SYNTHETIC = 'kind = "synthetic"\nwidth = 640\nheight = 480\nrate_hz = {rate}\n'
#: the end of a rig file that records
RECORD = '[record]\nfolder = "rec"\nvideo = "{video}"\nwarn_free_mb = 2\nstop_free_mb = 1\n'
FFV1 = RECORD.format(video="ffv1")


def recorded_frames(program: Program) -> int:
    """How many frames the open session of a program has."""
    return int(program.status()["recording"]["cameras"]["cam1"]["frames"])


def only_session(folder: Path) -> Path:
    """The one session that was recorded by a rig file in ``folder``."""
    (session,) = sorted((folder / "rec").iterdir())
    return session


@contextlib.contextmanager
def running(
    folder: Path,
    bundle: Path | str,
    camera: str = SYNTHETIC.format(rate=200.0),
    runtime: str = "onnxruntime",
    extra: str = "",
    words: Sequence[str] = (),
) -> Iterator[Program]:
    """Run rtface until the block ends, whatever happens in it."""
    program = Program(folder, camera, bundle, runtime, extra, words=words)
    try:
        program.until_running()
        yield program
    except BaseException:
        program.popen.kill()
        if program.popen.stderr and not program.popen.stderr.closed:
            print(program.popen.communicate()[1], file=sys.stderr)
        raise
    finally:
        program.close()


def account(out: str) -> dict[str, int]:
    """The numbers of the final account that rtface prints."""
    return {
        name: int(n)
        for n, name in re.findall(r"(\d+) (produced|delivered|lost|tracked|skipped)", out)
    }


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Return once ``condition`` holds; whatever is not there yet counts as not holding."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError, FileNotFoundError, KeyError, StopIteration):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


COUNTING_SUBSCRIBER = """
import json, sys, time, rtface
address, latest, quiet_s = sys.argv[1], sys.argv[2] == "latest", float(sys.argv[3])
stream = rtface.subscribe("cam1", address, latest=latest)
first = last = None
worst_age_ns = 0
print("ready", flush=True)
message = stream.receive(30)
while message is not None:
    worst_age_ns = max(worst_age_ns, stream.age_ns(message))
    first = message if first is None else first
    last = message
    message = stream.receive(quiet_s)
print(json.dumps({
    "received": stream.received, "lost": stream.lost, "stale": stream.stale,
    "first_seq": None if first is None else first.seq,
    "last_seq": None if last is None else last.seq,
    "last_frame_seq": None if last is None else last.fields["frame_seq"],
    "last_skipped": None if last is None else last.fields.get("skipped"),
    "worst_age_ms": worst_age_ns * 1e-6,
}))
"""


class CountingSubscriber:
    """Receives in a process of its own until nothing came for ``quiet_s``, then tells."""

    def __init__(self, address: str, latest: bool = False, quiet_s: float = 2.0) -> None:
        mode = "latest" if latest else "all"
        self.popen = subprocess.Popen(
            [sys.executable, "-c", COUNTING_SUBSCRIBER, address, mode, str(quiet_s)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        self.popen.stdout.readline()

    def result(self, timeout_s: float = 60) -> dict[str, Any]:
        out, _ = self.popen.communicate(timeout=timeout_s)
        return json.loads(out)

    def kill(self) -> None:
        os.kill(self.popen.pid, signal.SIGCONT)
        self.popen.kill()
        self.popen.communicate()
