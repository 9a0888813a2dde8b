"""Work of every frame in a thread of its own, while the network runs."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Aside:
    """Does one piece of work per frame in a thread: ``start``, something else, ``wait``.

    Both are called by one thread, in turns. The network, numpy and ONNX Runtime let go of Python's
    lock while they compute, so two cores work at the same time.

    Parameters
    ----------
    work : callable
        Returns bits of ``Flag``.
    """

    def __init__(self, work: Callable[[], int]) -> None:
        self._work = work
        # bare locks, passed from hand to hand: a queue or a future takes several times as long
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._flags = 0
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="rtface-motion", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Have the work begin."""
        self._go.release()

    def wait(self) -> int:
        """Return what the work returned; raises what it raised."""
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return self._flags

    def close(self) -> None:
        """End the thread, after the work it is at."""
        self._ended = True
        self._go.release()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._go.acquire()
            if self._ended:
                return
            try:
                self._flags = self._work()
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                self._error = error
            self._done.release()
