"""rtface beside its peers: a gray frame of 640x480 px in memory in, keypoints in px of it out.

Each peer runs in an environment of its own that this script makes (``bench/out/venvs``; the first
time takes minutes and 5 GB), on one core with one thread, on the same frames of the synthetic
mouse. They take turns, so that whatever else the machine does hits all alike; the columns *times
rtface ...* are medians of ratios within a turn. The peers' networks have random weights: this
measures speed alone. On a machine that does other work read the CPU time.

``--bundle FOLDER``: Facemap beside one network of its shape, imported and quantised by rtface, in
every runtime and precision; *times faster than* is Facemap's time by that of the row.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from peers import HERE, PEERS, Peer, Unavailable, of_bundle, python_of
from turns import rows, turn_of

from rtface.camera.film import Film

sys.path.insert(0, str(HERE.parent))
import _report

HEIGHT, WIDTH, RATE_HZ = 480, 640, 100.0
#: s that a worker may take to import its libraries and be warm, and beyond the time of a turn
READY_S, LATE_S = 180.0, 120.0


class Worker:
    """A process that waits, warm, on the one core, for its turns."""

    def __init__(self, peer: Peer, venvs: Path, frames: Path, core: int, home: Path) -> None:
        self._peer = peer
        python = python_of(peer, venvs)
        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        # a home of its own: Facemap and others write into it, and look for models there
        env = {**os.environ, **one, "HOME": str(home), "MPLCONFIGDIR": str(home)}
        script, *arguments = peer.worker
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core), str(python), HERE / script, frames, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=env,
        )
        self.about: dict[str, Any] = self._line(READY_S)

    def turn(self, seconds: float) -> dict[str, float]:
        """Let it take one turn."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: what it said last tells why
        said = self._line(seconds + LATE_S)
        return turn_of(said["ns"], said["cpu_ns"])

    def _line(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._process.kill()
            self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["no reason given"])[-1]
            why = "does not run" if ready else f"no answer within {timeout_s:.0f} s"
            raise Unavailable(f"{why}: {last[:120]}")
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


def draw(path: Path, n: int, seed: int = 7) -> None:
    """Write ``n`` frames of one synthetic mouse, (n, H, W) uint8."""
    film = Film(seed, WIDTH, HEIGHT)
    frames = np.empty((n, HEIGHT, WIDTH), np.uint8)
    for i, frame in enumerate(frames):
        film.draw(film.script.at(i / RATE_HZ), frame)
    np.save(path, frames)


def measure(
    peers: list[Peer], n_turns: int, seconds: float, venvs: Path, core: int
) -> tuple[dict[str, list[dict[str, float]]], dict[str, dict[str, Any]]]:
    """Return the turns of every peer and what it says about itself; both by name."""
    turns: dict[str, list[dict[str, float]]] = {}
    about: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        frames = folder / "frames.npy"
        draw(frames, 100)
        workers: dict[str, Worker] = {}
        for peer in peers:
            try:
                worker = Worker(peer, venvs, frames, core, folder)
            except Unavailable as why:
                about[peer.name] = {"why": f"not measured: {why}"}
                continue
            stack.callback(worker.close)
            workers[peer.name], about[peer.name] = worker, worker.about
        for number in range(n_turns):
            print(f"turn {number + 1} of {n_turns}", flush=True)
            for name, worker in list(workers.items()):
                try:
                    turns.setdefault(name, []).append(worker.turn(seconds))
                except Unavailable as why:
                    about[name]["why"] = f"ended in turn {number + 1}: {why}"
                    del workers[name]
                time.sleep(0.2)
    return turns, about


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    out = _report.ROOT / "bench" / "out"
    parser.add_argument("--quick", action="store_true", help="three short turns, four peers")
    parser.add_argument("--out", type=Path, default=out, help="folder of JSON")
    parser.add_argument("--venvs", type=Path, default=out / "venvs", help="peers' environments")
    parser.add_argument("--only", nargs="*", default=[], help="peers whose names begin so")
    parser.add_argument(
        "--bundle", type=Path, help="folder of a network of Facemap's shape: it and Facemap alone"
    )
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--core", type=int, default=cores[-1], help="the one that all run on")
    parser.add_argument("--turns", type=int, help="of each peer; 7, quick 3")
    parser.add_argument("--seconds", type=float, help="of each turn; 10, quick 3")
    args = parser.parse_args()
    if args.bundle and args.only:
        parser.error("--bundle is beside Facemap alone: leave --only out")
    peers = [
        peer
        for peer in PEERS
        if (peer.quick or not args.quick)
        and (not args.only or peer.name.startswith((PEERS[0].name, *args.only)))
    ]
    facemap = next(peer for peer in PEERS if peer.worker == ("worker_facemap.py",))
    if args.bundle:
        peers = [facemap, *of_bundle(args.bundle)]
    n_turns = args.turns or (3 if args.quick else 7)
    seconds = args.seconds or (3.0 if args.quick else 10.0)
    turns, about = measure(peers, n_turns, seconds, args.venvs, args.core)
    table = rows(turns, about, facemap.name if args.bundle else "")
    _report.table(f"one core, one thread, {WIDTH}x{HEIGHT}; medians of {n_turns} turns", table)
    name = "compare-bundle" if args.bundle else "compare"
    _report.write(name, args, {"rows": table, "turns": turns, "peers": about})
    ours = peers[1:] if args.bundle else peers[:1]
    return int(not any(turns.get(peer.name) for peer in ours))


if __name__ == "__main__":
    sys.exit(main())
