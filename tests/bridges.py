"""Real bridges in processes of their own, and the native stream to compare them with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from programs import RTFACE, wait_until

import rtface
from rtface.wire import Message


@contextlib.contextmanager
def bridging(*words: str, env: dict[str, str] | None = None) -> Iterator[Bridge]:
    """Run ``rtface bridge`` until the block ends, whatever happens in it."""
    bridge = Bridge(words, env or {})
    try:
        yield bridge
    finally:
        bridge.close()


class Bridge:
    """One running bridge; what it says is read as it comes."""

    def __init__(self, words: Sequence[str], env: dict[str, str]) -> None:
        self.popen = subprocess.Popen(
            [RTFACE, "bridge", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        self.said.extend(iter(self.popen.stderr.readline, ""))

    def until_said(self, text: str, times: int = 1, timeout_s: float = 15) -> None:
        wait_until(lambda: "".join(self.said).count(text) >= times, timeout_s)

    def stop(self) -> tuple[int, str]:
        """Ctrl-C; return the exit code and the final account."""
        self.popen.send_signal(signal.SIGINT)
        code = self.popen.wait(10)
        self._reader.join()
        assert self.popen.stdout is not None
        return code, self.popen.stdout.read()

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._reader.join()
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream:
                stream.close()


class Native:
    """The messages of the native stream by ``frame_seq``, drained when asked for."""

    def __init__(self, address: str) -> None:
        self.stream = rtface.subscribe("cam1", address)
        self.names: list[str] = self.stream.meta(10)["keypoints"]
        assert self.stream.receive(10) is not None

    def messages(self) -> dict[int, Message]:
        found = {}
        while (message := self.stream.receive(0.3)) and len(found) < 100_000:
            found[message.fields["frame_seq"]] = message
            if len(found) % 500 == 0:  # the run goes on: enough is enough
                break
        return found


class Receiver:
    """A Python script in a process of its own; it prints one JSON object per line."""

    def __init__(self, script: str, *words: str, env: dict[str, str] | None = None) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", script, *words],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )

    def first(self) -> str:
        """Its first line, as text."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def rest(self, timeout_s: float = 30) -> list[dict[str, Any]]:
        """Everything it prints until it ends."""
        out, _ = self.popen.communicate(timeout=timeout_s)
        assert self.popen.returncode == 0
        return [json.loads(line) for line in out.splitlines()]

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


def same_keypoints(received: Any, message: Message) -> bool:
    """Whether these numbers are the float32 of the native message, every one."""
    return bool(np.array_equal(np.asarray(received, np.float32), message.keypoints))
