"""Programs that stand in rtface's way, and subscribers that write down what they were handed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from conftest import free_ports
from programs import RTFACE, Program

#: one block is 500 frames at 200 Hz: enough for a median; more blocks say more than longer ones
BLOCK_S = 2.5

FIELDS = ("out_ns", "t_done_ns", "t_read_ns", "t_host_ns", "seq", "lost", "received", "judged_ns")
RECORD = np.dtype([(name, "<i8") for name in FIELDS])

# One line of a file per message handed out, so that it can be stopped and killed at any time.
# "deaf" is alive but does not receive until a line comes on its stdin: its heartbeats go on, so
# its connection lasts and the publisher's queue of 2000 messages fills up. It takes every topic,
# and its tests publish many keypoints (see wide_bundle): the buffers of TCP, which hold 2 MB before
# that queue, are full in 1.5 s, and the queue itself 5 s later.
RECORDING_SUBSCRIBER = """
import os, struct, sys, time, rtface, zmq
address, mode, path = sys.argv[1:]
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
stream = rtface.subscribe("cam1", address, latest=mode == "latest")
if mode == "deaf":
    socket = stream._socket
    socket.disconnect(address)
    socket.setsockopt(zmq.RCVHWM, 10)
    socket.setsockopt(zmq.RCVBUF, 4096)
    socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 60_000)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(address)
judged_ns = -1
age_ns = stream.age_ns
def watched_age_ns(message):
    global judged_ns
    judged_ns = age_ns(message)
    return judged_ns
stream.age_ns = watched_age_ns
print("ready", flush=True)
if mode == "deaf":
    sys.stdin.readline()
pack = struct.Struct("<8q").pack
while True:
    message = stream.receive()
    now = time.perf_counter_ns()
    told = message.fields
    os.write(file, pack(
        now, told["t_done_ns"], told.get("t_read_ns", 0), told["t_host_ns"],
        message.seq, stream.lost, stream.received, judged_ns,
    ))
"""

# Forks a subscriber and, on "kill", kills and replaces it every 0.3 s until the next line comes:
# one subscriber at any time, in either mode, and no interpreter start in the measured blocks.
NURSERY = """
import os, select, signal, sys, time, rtface
os.nice(19)
def child():
    pid = os.fork()
    if pid == 0:
        for message in rtface.subscribe("cam1", sys.argv[1]):
            pass
        os._exit(0)
    return pid
pid = child()
print("ready", flush=True)
for line in sys.stdin:
    if line == "kill\\n":
        killed = 0
    while line == "kill\\n":
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        killed += 1
        pid = child()
        if select.select([sys.stdin], [], [], 0.3)[0]:
            break
    else:
        print(killed, flush=True)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
"""

# Garbage for a ROUTER, bounded in count and time: each line on stdin is one flood of that many
# seconds; what was sent is told afterwards. At the lowest priority: whether the port reaches the
# tracker is the question, not whether two busy programs can share a core.
FLOODER = """
import json, os, random, socket, sys, time, zmq
os.nice(19)
host, port = sys.argv[1].removeprefix("tcp://").rsplit(":", 1)
seed = int(sys.argv[2])
AT_MOST = 50_000
context = zmq.Context()
random.seed(seed)
WORDS = [
    b"", b"{", b"t", b"R", b"\\0", b'{"cmd": 1}', b'{"cmd": []}', b'{"cmd": "status"}',
    b'{"cmd":' + b"[" * 5000, b"{" + b'"a":{' * 2000, b"{\\xff\\xfe", b"{}",
    *(random.randbytes(random.choice((1, 30, 1000, 16_000))) for _ in range(20)),
]
HUGE = random.randbytes(1_000_000)
def open_dealers(n):
    dealers = []
    for _ in range(n):
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.SNDHWM, 200)
        dealer.setsockopt(zmq.RCVHWM, 10)  # it never reads its replies
        dealer.connect(sys.argv[1])
        dealers.append(dealer)
    return dealers
def offer(dealer, frames, what):
    try:
        dealer.send_multipart(frames, zmq.NOBLOCK)
        sent[what] += 1
    except zmq.Again:
        sent["refused"] += 1
print("ready", flush=True)
for line in sys.stdin:
    random.seed(seed)
    sent = dict(small=0, multipart=0, huge=0, raw=0, half_open=0, refused=0)
    dealers, half_open = open_dealers(8), []
    end = time.monotonic() + float(line)
    while time.monotonic() < end and sum(sent.values()) < AT_MOST:
        for dealer in dealers[:6]:
            for _ in range(20):
                offer(dealer, [random.choice(WORDS)], "small")
            offer(dealer, [b"", random.choice(WORDS)], "small")
        offer(dealers[6], [random.choice(WORDS) for _ in range(random.randint(2, 60))], "multipart")
        offer(dealers[7], [HUGE], "huge")
        with socket.socket() as raw:  # no ZMTP at all
            raw.settimeout(1)
            try:
                raw.connect((host, int(port)))
                raw.sendall(random.randbytes(random.randint(1, 20_000)))
                sent["raw"] += 1
            except OSError:
                sent["refused"] += 1
        if len(half_open) < 60:  # half a greeting, then silence
            half = socket.create_connection((host, int(port)), timeout=1)
            half.sendall(b"\\xff\\0\\0\\0\\0\\0\\0\\0\\x01\\x7f"[: random.randint(0, 10)])
            half_open.append(half)
            sent["half_open"] += 1
        time.sleep(0.04)
    for one in half_open:
        one.close()
    for one in dealers:
        one.close()
    print(json.dumps(sent), flush=True)
"""

# Ten pages, as the browser's connection is one: eight answer at once, one takes what comes and
# never answers, one answers late as on a slow link. "on" connects them, "off" says what they got
# and ends them. At the lowest priority, as they stand for other machines.
VIEWERS = """
import contextlib, json, os, sys, threading, time
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
os.nice(19)
def view(socket, number, counts):
    try:
        socket.send('{"do": "watch", "camera": "cam1"}')
        for message in socket:
            if isinstance(message, str):
                continue
            counts[number][message[0] - 1] += 1
            if number == 0:
                continue
            if number == 1:
                time.sleep(0.5)
            what = "picture" if message[0] == 1 else "rows"
            socket.send(json.dumps({"do": "got", "what": what}))
    except ConnectionClosed:
        pass
print("ready", flush=True)
for line in sys.stdin:
    if line == "on\\n":
        counts = [[0, 0] for _ in range(10)]
        stack = contextlib.ExitStack()
        for number in range(10):
            connecting = connect(sys.argv[1], compression=None, max_size=None)
            socket = stack.enter_context(connecting)
            threading.Thread(target=view, args=(socket, number, counts), daemon=True).start()
    else:
        print(json.dumps([pictures for pictures, _ in counts]), flush=True)
        stack.close()
"""


class Helper:
    """A Python program of the test's own, in a process of its own, that takes and gives lines."""

    def __init__(self, source: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.hear() == "ready"

    def tell(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def hear(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def signal(self, how: signal.Signals) -> None:
        self.popen.send_signal(how)

    def end(self) -> None:
        """Close its stdin, which ends a nursery and a flooder, and kill whatever is left."""
        assert self.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(0.5)
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdout is not None
        self.popen.stdout.close()


class RecordingSubscriber(Helper):
    """Writes down every message it was handed, and when."""

    def __init__(self, folder: Path, address: str, mode: str = "all") -> None:
        self.path = folder / f"{mode}{time.perf_counter_ns()}.bin"
        super().__init__(RECORDING_SUBSCRIBER, address, mode, str(self.path))

    def records(self) -> np.ndarray:
        return np.fromfile(self.path, RECORD)

    def newest(self) -> np.void | None:
        """The last record, without reading the whole file again and again."""
        n = self.path.stat().st_size // RECORD.itemsize
        if n == 0:
            return None
        return np.fromfile(self.path, RECORD, 1, offset=(n - 1) * RECORD.itemsize)[0]


@contextlib.contextmanager
def ending(*helpers: Helper) -> Iterator[None]:
    try:
        yield
    finally:
        for helper in helpers:
            helper.end()


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process, those that ended included, ns.

    The clock that clock_getcpuclockid(3) names: /proc/PID/stat counts in ticks of 10 ms, and the
    tracker needs less than that for 50 frames.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")


class Stalled:
    """A subscriber that stands still, the first time for 10 s, and catches up: all measured."""

    lead_s = 0.0

    def __init__(self, folder: Path, program: Program) -> None:
        self._subscriber = RecordingSubscriber(folder, program.data)
        self.done: list[dict[str, int]] = []

    def begin(self) -> None:
        self._subscriber.signal(signal.SIGSTOP)

    def during(self) -> None:
        time.sleep(5.0 if self.done else 10.0)
        self._subscriber.signal(signal.SIGCONT)
        time.sleep(1.0)

    def finish(self) -> None:
        last = self._subscriber.newest()
        assert last is not None
        self.done.append({"received": int(last["received"]), "lost": int(last["lost"])})

    def close(self) -> None:
        self._subscriber.signal(signal.SIGCONT)
        self._subscriber.end()


class Deaf:
    """A subscriber that lives and never receives; measured once its queue is full."""

    lead_s = 6.0

    def __init__(self, folder: Path, program: Program) -> None:
        self._make: Callable[[], Helper] = lambda: RecordingSubscriber(folder, program.data, "deaf")
        self._subscriber: Helper | None = None
        self.done: list[dict[str, int]] = []

    def begin(self) -> None:
        self._subscriber = self._make()

    def during(self) -> None:
        time.sleep(BLOCK_S)

    def finish(self) -> None:
        self.close()
        self.done.append({})

    def close(self) -> None:
        if self._subscriber:
            self._subscriber.end()
            self._subscriber = None


class Killed:
    """Subscribers that are killed, one every 0.3 s, each replaced by another."""

    lead_s = 0.0

    def __init__(self, folder: Path, program: Program) -> None:
        self._nursery = Helper(NURSERY, program.data)
        self.done: list[dict[str, int]] = []

    def begin(self) -> None:
        self._nursery.tell("kill")

    def during(self) -> None:
        time.sleep(BLOCK_S)

    def finish(self) -> None:
        self._nursery.tell("steady")
        self.done.append({"killed": int(self._nursery.hear())})

    def close(self) -> None:
        self._nursery.end()


class Viewers:
    """Ten viewers of the live page, one of them stalled, one slow; the page runs all the time."""

    lead_s = 1.0

    def __init__(self, folder: Path, program: Program) -> None:
        port = free_ports(1)[0]
        self.page = subprocess.Popen(
            [
                RTFACE,
                "view",
                "--port",
                str(port),
                "--control",
                f"tcp://127.0.0.1:{program.control}",
            ],
            stderr=subprocess.PIPE,
        )
        assert self.page.stderr is not None
        assert b"see it at" in self.page.stderr.readline()
        self._viewers = Helper(VIEWERS, f"ws://127.0.0.1:{port}/ws")
        self._began = 0.0
        self.done: list[dict[str, float]] = []

    def begin(self) -> None:
        self._viewers.tell("on")
        self._began = time.monotonic()

    def during(self) -> None:
        time.sleep(BLOCK_S)

    def finish(self) -> None:
        self._viewers.tell("off")
        pictures = json.loads(self._viewers.hear())
        seconds = time.monotonic() - self._began
        stalled, slow, *quick = (round(n / seconds, 1) for n in pictures)
        assert pictures[0] <= 2, "a stalled viewer was sent more than it may have ahead"
        assert min(quick) > 2 * slow > 0, pictures
        self.done.append({"stalled": stalled, "slow": slow, "quick": min(quick)})

    def close(self) -> None:
        self._viewers.end()
        self.page.terminate()
        self.page.communicate(timeout=10)


class Flood:
    """Garbage on the control port."""

    lead_s = 0.2

    def __init__(self, folder: Path, program: Program) -> None:
        self._flooder = Helper(FLOODER, f"tcp://127.0.0.1:{program.control}", "1")
        self.done: list[dict[str, int]] = []

    def begin(self) -> None:
        self._flooder.tell(str(self.lead_s + BLOCK_S))

    def during(self) -> None:
        time.sleep(BLOCK_S)

    def finish(self) -> None:
        sent = json.loads(self._flooder.hear())
        assert sent["small"] > 500, sent
        assert min(sent[kind] for kind in ("multipart", "huge", "raw", "half_open")) > 0, sent
        self.done.append(sent)

    def close(self) -> None:
        self._flooder.end()
