"""GenTL producers and the devices behind them: the one file that imports harvesters.

Facts that shape this file: a process may load a producer once, and looking for devices again
closes all that are open, so there is one camera to a process; the loop of the library polls each
millisecond unless told to wait longer; opening takes Ctrl-C away from the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rtface.camera.device import LinkLost
from rtface.camera.nodes import GenicamNodes
from rtface.camera.sensor import Names
from rtface.camera.timestamps import DeviceClock
from rtface.types import UserError

#: how long the library waits for a buffer before it looks at the time, ms
POLL_MS = 50


def library() -> Any:
    """Return harvesters' module; its log is for its authors, and every fault is ours to tell."""
    try:
        import harvesters.core
    except ImportError as error:
        raise UserError(
            f'GenICam cameras need harvesters ({error}): pip install "rtface[genicam]"'
        ) from None
    logging.getLogger("harvesters.core").disabled = True
    return harvesters.core


def errors() -> tuple[type[Exception], ...]:
    """Return what the bindings raise: faults of device or driver; UserError without them."""
    library()
    import genicam.genapi
    import genicam.gentl

    return (
        genicam.gentl.GenericException,
        genicam.genapi.GenericException,
        AttributeError,  # a feature that is not in the node map
        OSError,
        ValueError,
    )


def lost(error: Exception) -> LinkLost:
    """Return the driver's fault in one line."""
    return LinkLost(" ".join(str(error).split()) or type(error).__name__)


class Producers:
    """The producers of this process and the devices behind them. One per process."""

    def __init__(self, paths: list[Path]) -> None:
        self._errors = errors()
        self.harvester = library().Harvester()
        faults = []
        for path in paths:
            try:
                with _without_remarks():
                    self.harvester.add_file(str(path), check_existence=True, check_validity=True)
            except self._errors as error:
                faults.append(f"{path}: is no GenTL producer that loads ({error})")
        if faults and len(faults) == len(paths):  # a broken one beside others is in nobody's way
            raise UserError(f"{'; '.join(faults)}; name the vendor's .cti file as 'producer'")

    def devices(self) -> list[Any]:
        """Look for devices and return them; each camera once, though two drivers may see it."""
        try:
            with _without_remarks():
                self.harvester.update()
        except self._errors as error:
            raise lost(error) from None
        unique: dict[tuple[str, ...], Any] = {}
        for info in self.harvester.device_info_list:
            named = tuple(told(info, key) for key in ("vendor", "model", "serial_number"))
            unique.setdefault(named if named[2] else (told(info, "id_"),), info)
        return list(unique.values())

    def open(self, device: Any, buffers_at_least: int, chunks: bool) -> Any:
        """Return an acquirer; the handler of Ctrl-C, which it takes, is put back.

        Raises
        ------
        LinkLost
            It is in use by another program, or does not answer.
        """
        keys = library().ParameterKey
        config = library().ParameterSet(
            {
                keys.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: POLL_MS,
                keys.ENABLE_AUTO_CHUNK_DATA_UPDATE: chunks,
            }
        )
        try:
            with _own_interrupt():
                acquirer = self.harvester.create(device, config=config)
            acquirer.num_buffers = max(buffers_at_least, acquirer.min_num_buffers)
        except self._errors as error:
            raise lost(error) from None
        return acquirer

    def close(self) -> None:
        """Unload the producers."""
        with contextlib.suppress(*self._errors):
            self.harvester.reset()


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Leave out what the bindings print on functions that a producer need not have."""
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            kept.seek(0)
            told = [line for line in kept if b"does not implement" not in line]
            if told:
                os.write(2, b"".join(told))


@contextlib.contextmanager
def _own_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def told(info: Any, key: str) -> str:
    """Return what a device says of itself before it is opened; empty where it does not."""
    try:
        return str(getattr(info, key) or "")
    except errors():
        return ""


def names_of(info: Any) -> Names:
    """Return what a device is chosen by."""
    return Names(told(info, "serial_number"), told(info, "user_defined_name"), told(info, "model"))


class Answers:
    """Asks a device whether it is still there. Belongs to the thread that opened it.

    A feature's value may be remembered in layers below the one that can be made to forget. So the
    first register is read past all of them, where the device has one there: GigE Vision and USB3
    Vision put their version there.
    """

    def __init__(self, acquirer: Any, nodes: GenicamNodes) -> None:
        self._acquirer, self._nodes = acquirer, nodes
        self._errors = errors()
        self._has_first_register = self._reads_first_register()

    def __call__(self) -> bool:
        """Return whether the device itself answers."""
        if self._has_first_register:
            return self._reads_first_register()
        return self._nodes.answers("Width")

    def _reads_first_register(self) -> bool:
        try:
            self._acquirer.remote_device.port.read(0, 4)
        except self._errors:
            return False
        return True


class BufferTime:
    """Reads the device's time of a raw buffer. Belongs to the thread that fetches.

    Which field a producer fills is found with the first buffer; 0 is what those without one put
    there.
    """

    def __init__(self, clock: DeviceClock) -> None:
        self._clock, self._errors = clock, errors()
        self._field: str | None = ""

    def __call__(self, buffer: Any) -> int | None:
        """Return the time, ns; None where the producer has none."""
        if self._field == "":
            self._field = self._find(buffer)
        if self._field is None:
            return None
        ticks = int(getattr(buffer, self._field))
        return ticks if self._field == "timestamp_ns" else self._clock.to_ns(ticks)

    def _find(self, buffer: Any) -> str | None:
        for field in ("timestamp_ns", "timestamp"):
            with contextlib.suppress(*self._errors):
                if getattr(buffer, field):
                    return field
        return None


def count_incomplete(acquirer: Any, call: Callable[[], None]) -> None:
    """Have ``call`` called for each frame that arrives damaged, in the thread that fetches."""

    class Count(library().Callback):  # type: ignore[misc]  # the library has no types
        def emit(self, context: object = None) -> None:
            call()

    acquirer.add_callback(acquirer.Events.INCOMPLETE_BUFFER, Count())


class BufferInfo:
    """Reads what a producer need not say of a raw buffer. Belongs to the thread that fetches.

    What a producer once refused is not asked for again.
    """

    def __init__(self) -> None:
        self._errors, self._untold = errors(), set[str]()

    def __call__(self, buffer: Any, field: str, otherwise: int) -> int:
        """Return a field of the buffer, ``otherwise`` where the producer does not say it."""
        if field not in self._untold:
            try:
                return int(getattr(buffer, field))
            except self._errors:
                self._untold.add(field)
        return otherwise


def underruns(acquirer: Any) -> int:
    """Return how often the driver had no free buffer since it was opened; 0 if untold."""
    with contextlib.suppress(*errors(), IndexError):
        return int(acquirer.data_streams[0].num_underrun)
    return 0


def free(acquirer: Any) -> None:
    """Stop and close a device; one that is gone refuses each step, and each is tried."""
    for step in (acquirer.stop, acquirer.destroy):
        with contextlib.suppress(*errors(), RuntimeError):
            step()
