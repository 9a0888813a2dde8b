"""Real-time priority: taken by every thread there is, refused with a line, asked for by the rig."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import SMALL, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_FIFO")
FIFO = 1
TAKES = """
import os, sys, threading
from rtface.realtime import give_back_realtime, take_realtime
from rtface.types import UserError
def policies():
    return [os.sched_getscheduler(int(t)) & 0xff for t in os.listdir("/proc/self/task")]
if len(sys.argv) > 1:
    os.setgroups([]); os.setuid(65534)
stay = threading.Event()
threading.Thread(target=stay.wait, daemon=True).start()
try:
    take_realtime(7)
except UserError as error:
    print(error)
    sys.exit(2)
print(policies())
threading.Thread(target=stay.wait, daemon=True).start()
print(sorted(policies()))
give_back_realtime()
print(policies())
"""


def allowed() -> bool:
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(7))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def take(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", TAKES, *words], capture_output=True, text=True)


def test_all_threads_take_it_and_later_ones_do_not() -> None:
    if not allowed():
        pytest.skip("SCHED_FIFO is not allowed here")
    done = take()
    assert done.returncode == 0, done.stderr
    taken, later, given_back = (json.loads(line) for line in done.stdout.splitlines())
    assert set(taken) == {FIFO}
    assert later == [0, *taken]
    assert set(given_back) == {0}


def test_a_refusal_is_one_line_with_a_remedy() -> None:
    if os.getuid():
        pytest.skip("needs root, to become nobody")
    done = take("nobody")
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(
        "engine.priority: this user may not take SCHED_FIFO 7; `rtface do"
    )


@pytest.mark.slow
@pytest.mark.parametrize("priority", [0, 9])
def test_camera_and_tracker_take_it_and_nobody_else(
    tmp_path: Path, tiny_bundle: Path, priority: int
) -> None:
    if not allowed():
        pytest.skip("SCHED_FIFO is not allowed here")
    # one more line of [engine]
    runtime = f'onnxruntime"\npriority = {priority}\n#"'
    with running(tmp_path, tiny_bundle, SMALL, runtime) as program:
        at = {
            child["name"]: os.sched_getscheduler(child["pid"]) & 0xFF == FIFO
            for child in program.status()["children"]
        }
        assert at, "no processes"
        for name, realtime in at.items():
            fast = name.startswith(("acquire", "track"))
            assert realtime == (fast and priority > 0), name
