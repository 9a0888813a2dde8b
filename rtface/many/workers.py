"""Videos tracked by processes of this machine, one core each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from rtface.many.plan import Job, Outcome
from rtface.many.session import track_video
from rtface.types import UserError

#: told which video, how many of its frames are done
Progress = Callable[[str, int], None]
#: what numpy's libraries read when a worker starts: one core each
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_TELL_EVERY_S = 0.2
_LOOK_EVERY_S = 0.2


def track_or_say(job: Job, on_progress: Callable[[int], None] = lambda _done: None) -> Outcome:
    """Track a video; what is wrong with it is in the outcome."""
    try:
        return track_video(job, on_progress)
    except UserError as error:
        return Outcome(job.video, job.folder, fault=str(error))


def run_local(
    jobs: Sequence[Job],
    workers: int,
    on_progress: Progress,
    on_done: Callable[[Outcome], None],
    stop_asked: Callable[[], bool] = lambda: False,
) -> bool:
    """Track videos by ``workers`` processes; False if ``stop_asked`` came first.

    A worker that dies, of a video that makes a library crash, is said of that video, and another
    takes its place. Workers that lose this program end within a second.
    """
    waiting = list(reversed(jobs))
    crew = [_Worker() for _ in range(min(workers, len(jobs)))]

    def give(worker: _Worker) -> None:
        """Give it the next video, or another that takes its place if it was killed meanwhile."""
        while not worker.give(waiting[-1]):
            worker.end()
            fresh = _Worker()
            crew[crew.index(worker)] = fresh
            worker = fresh
        waiting.pop()

    try:
        for worker in list(crew):
            give(worker)
        while busy := [worker for worker in crew if worker.job]:
            if stop_asked():
                return False
            ready = wait([worker.line for worker in busy], _LOOK_EVERY_S)
            for worker in [one for one in busy if one.line in ready]:
                told = worker.hear()
                if isinstance(told, int):
                    on_progress(worker.video, told)
                    continue
                on_done(told)
                if waiting:
                    give(worker)
    finally:
        for worker in crew:
            worker.end()
    return True


class _Worker:
    """A process that tracks one video after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        before = {name: os.environ.get(name) for name in ONE_THREAD}
        os.environ.update(ONE_THREAD)
        try:
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
        self.job: Job | None = None

    @property
    def video(self) -> str:
        """The video being tracked."""
        return self.job.video if self.job else ""

    def give(self, job: Job) -> bool:
        """Have it track a video; False if it is dead."""
        try:
            self.line.send(job)
        except OSError:  # killed while it was idle
            return False
        self.job = job
        return True

    def hear(self) -> int | Outcome:
        """Return what it says: how many frames are done, or what became of the video."""
        assert self.job
        try:
            told: int | Outcome = self.line.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            told = Outcome(
                self.job.video,
                self.job.folder,
                fault=f"{self.job.video}: the process that tracked it {how}; track it alone",
            )
        if isinstance(told, Outcome):
            self.job = None
        return told

    def end(self) -> None:
        """End it at once; what it was writing is made anew by the next run."""
        self.line.close()
        self._process.terminate()
        self._process.join()


def _serve(line: Connection[Any, Any]) -> None:
    """Track what comes until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started this
    due_s = 0.0

    def tell(done: int) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + _TELL_EVERY_S
            line.send(done)

    try:
        while True:
            job = line.recv()
            line.send(track_or_say(job, tell))
    except (EOFError, OSError):  # that program is gone
        sys.exit(0)
