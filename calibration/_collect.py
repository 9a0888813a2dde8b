"""What the calibration scripts share: a rig that runs while its rings are read, and a light."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rtface.accept.frames import Collector
from rtface.camera.light import LightSwitch
from rtface.config import Rig
from rtface.run import Supervisor, run_rig
from rtface.types import UserError


class Light(Protocol):
    """A light that can be switched."""

    def set(self, on: bool) -> int:
        """Switch; return when that was ordered, ``perf_counter_ns``."""

    def close(self) -> None:
        """Switch it off and free the line."""


class SerialLight:
    """A light behind a serial port: a microcontroller that takes ``1`` for on and ``0`` for off."""

    def __init__(self, port: str, baud: int = 115_200) -> None:
        try:
            import serial
        except ImportError:
            raise UserError(
                "a serial light needs pyserial; pip install 'rtface[calibrate]'"
            ) from None
        try:
            self._port = serial.Serial(port, baud, write_timeout=1)
        except (OSError, ValueError) as error:
            raise UserError(f"--light serial:{port}: cannot be opened ({error})") from None

    def set(self, on: bool) -> int:
        now = time.perf_counter_ns()
        self._port.write(b"1" if on else b"0")
        return now

    def close(self) -> None:
        self.set(False)
        self._port.close()


def open_light(name: str, folder: Path) -> tuple[Light, Path | None]:
    """Return the light ``simulated`` or ``serial:PORT``; with the file of a simulated one."""
    if name == "simulated":
        path = folder / "light.bin"
        return LightSwitch(path), path
    kind, _, port = name.partition(":")
    if kind != "serial" or not port:
        raise UserError(f"--light {name}: is 'simulated' or 'serial:PORT'")
    return SerialLight(port), None


class Blinker(threading.Thread):
    """Switches a light at random times, some frames apart, until told to stop.

    Attributes
    ----------
    switch_ns : list of int
        When it was switched: on first, then off, on ...
    cost_ns : list of int
        How long each order took.
    """

    def __init__(self, light: Light, period_s: float, after_s: float, seed: int = 0) -> None:
        super().__init__(daemon=True)
        self.switch_ns: list[int] = []
        self.cost_ns: list[int] = []
        self._light, self._period_s, self._after_s = light, period_s, after_s
        self._rng = np.random.default_rng(seed)
        self._end = threading.Event()

    def run(self) -> None:
        on = True
        wait_s = self._after_s
        while not self._end.wait(wait_s):
            began = time.perf_counter_ns()
            self.switch_ns.append(self._light.set(on))
            self.cost_ns.append(time.perf_counter_ns() - began)
            on = not on
            wait_s = self._period_s * self._rng.uniform(4, 9)

    def end(self) -> None:
        self._end.set()
        self.join()


def run(rig: Rig, collector: Collector, seconds: float) -> Supervisor:
    """Run the rig for some seconds while the collector reads."""
    return run_rig(rig, lambda: False, seconds, on_start=collector.begin, on_turn=collector.turn)


def script(main: Callable[[], None]) -> None:
    """Run a script; what the user can mend is one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)


def with_camera(rig: Rig, camera: str, **update: Any) -> Rig:
    """Return a rig of this one camera, with some of its keys changed."""
    if camera not in rig.camera:
        raise UserError(f"--camera {camera}: the rig has {', '.join(rig.camera)}")
    section = rig.camera[camera].model_copy(update=update)
    record = rig.record.model_copy(update={"folder": None})
    return rig.model_copy(update={"camera": {camera: section}, "record": record})
