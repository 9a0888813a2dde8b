"""From a decision to the line, per output, as the receiving end sees it; and what rules cost.

The board is the reference firmware, compiled for this machine, on a pseudo-terminal (its twin in
Python where there is no g++), and Open Ephys is a REP server;
both run in processes of their own and write down ``perf_counter_ns``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import _report
import numpy as np

sys.path.insert(0, str(_report.ROOT / "tests"))

import board
from replier import replying
from rules_cases import ABOUT, LAYOUT, NAMES, keypoints, ledger, loop

from rtface.accept.drill import RULE, Drill
from rtface.config import load_rig
from rtface.outputs import LineEvent, Output, Pulse
from rtface.outputs.open_ephys import OpenEphysOutput
from rtface.outputs.serial import SerialOutput
from rtface.realtime import give_back_realtime, take_realtime
from rtface.rules import Rules, decide
from rtface.rules_config import OpenEphysSection, SerialSection
from rtface.types import Flag, Pose, UserError

WIDTH_US = 200


def may_be_realtime() -> bool:
    """Return whether this user may have real-time priority."""
    try:
        take_realtime(1)
    except UserError:
        return False
    give_back_realtime()
    return True


def drive(output: Output, hz: float, n: int) -> tuple[list[int], list[int], list[LineEvent]]:
    """Fire ``n`` times; return when each was decided, when handed over, and what was told."""
    events: list[LineEvent] = []
    end = time.monotonic() + 10
    while not output.up and time.monotonic() < end:
        events += output.poll(time.perf_counter_ns())
        time.sleep(0.001)
    settled = time.monotonic() + 0.3
    while time.monotonic() < settled:
        events += output.poll(time.perf_counter_ns())
        time.sleep(0.001)
    decided, handed = [], []
    due = time.perf_counter_ns()
    for i in range(n):
        due += round(1e9 / hz)
        while (now := time.perf_counter_ns()) < due:
            if due - now > 300_000:
                time.sleep((due - now - 200_000) * 1e-9)
        decided.append(time.perf_counter_ns())
        t_ns = output.fire(Pulse(i, "bench", i, decided[-1], WIDTH_US))
        handed.append(t_ns or 0)
        events += output.poll(time.perf_counter_ns())
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        events += output.poll(time.perf_counter_ns())
        time.sleep(0.001)
    output.close()
    time.sleep(0.1)
    return decided, handed, events


def rows_of(
    name: str, hz: float, decided: list[int], handed: list[int], arrived: list[int]
) -> list[dict[str, Any]]:
    ours = np.array(handed) - decided
    whole = np.array(arrived) - np.array(decided)[: len(arrived)]
    about = {"output": name, "decisions/s": int(hz), "fired": len(decided)}
    arrived_n = {"arrived": len(arrived)}
    return [
        {**about, **arrived_n, "from decision to": "handed over", **_report.summary_us(ours)},
        {**about, **arrived_n, "from decision to": "receiving end", **_report.summary_us(whole)},
    ]


def bench_board(hz: float, n: int) -> list[dict[str, Any]]:
    limits = {"max_pulse_us": 100_000, "max_duty": 1000, "watchdog_us": 200_000}
    name, run = "serial, simulated board", board.running(**limits)
    if shutil.which("g++"):
        name, folder = "serial, compiled firmware", Path(tempfile.mkdtemp())
        run = board.running_firmware(folder, **limits)
    with run as one:
        section = SerialSection(kind="serial", port=one.port)
        decided, handed, events = drive(SerialOutput("laser", section, WIDTH_US), hz, n)
        rises = [t for level, t in one.changes if level]
    fired = [event.n for event in events if event.what == "on"]
    refused = Counter(e.detail["why"] for e in events if e.what in ("refused", "lost", "down"))
    print(f"board at {hz:g}/s: {len(rises)} rises, {len(fired)} acknowledged; not: {dict(refused)}")
    # some are refused: on a busy machine the board ends a pulse too late for the next
    kept = [decided[i] for i in fired], [handed[i] for i in fired]
    return rows_of(name, hz, *kept, rises[: len(fired)])


def bench_plugin(hz: float, n: int) -> list[dict[str, Any]]:
    with replying() as server:
        section = OpenEphysSection(kind="open_ephys", address=server.address)
        decided, handed, _ = drive(OpenEphysOutput("mark", section), hz, n)
        rises = [t for request, t in server.requests if request.endswith("State=1")]
    kept = [i for i, t in enumerate(handed) if t]
    taken = [decided[i] for i in kept], [handed[i] for i in kept]
    return rows_of("open_ephys, REP server", hz, *taken, rises)


RULES = {
    "1 rule, keypoint": {"a": "nose(tip).x > 500 px"},
    "1 rule, speed": {"a": "speed(nose(tip)) > 99999 px/s"},
    "1 rule, z of motion energy": {"a": "z(motion_energy.full, 10 s) > 99 sd"},
    "10 rules of all kinds": {
        "a": "nose(tip).x > 500 px",
        "b": "speed(nose(tip)) > 99999 px/s",
        "c": "z(motion_energy.full, 10 s) > 99 sd",
        "d": "distance(nose(tip), eye(back)) > 9999 px",
        "e": "angle(nose(tip), eye(back), eye(front)) > 3.14 rad",
        "f": "smooth(pupil.area, 50 ms) > 99999 px2",
        "g": "forecast(nose(tip).y, 10 ms) > 9999 px",
        "h": "one_euro(nose(tip).x, 20 ms, 100 px/s) > 9999 px",
        "i": "max(motion.full[0], motion.full[1]) > 9999 grey",
        "j": "z(blink, 5 s) < -99 sd",
    },
}


def bench_rules(n: int) -> list[dict[str, Any]]:
    """Time whole frames of 15 keypoints, 500 components and a pupil."""
    rng = np.random.default_rng(0)
    rows = []
    for name, whens in RULES.items():
        made = loop({key: {"when": when, "output": "laser"} for key, when in whens.items()})
        rules = Rules(made, "cam1", ["cam1"], NAMES, LAYOUT, 1, 0.005, 0.001)
        rules.arm(0, "bench", for_s=600)
        points = [Pose(keypoints(x)) for x in rng.normal(100, 1, 64)]
        signals = {
            "motion_energy": np.zeros(2, np.float32),
            "motion": np.zeros(8, np.float32),
            "movie": np.zeros(2, np.float32),
            "running": np.zeros(4, np.float32),
            "pupil": np.zeros(len(ABOUT["pupil"]["fields"]), np.float32),
        }
        spent = np.empty(n, np.int64)
        for i in range(n):
            signals["motion_energy"][0] = 100 + i % 7
            one = ledger(i, 5_000_000)
            start = time.perf_counter_ns()
            decide(rules, one, points[i % 64], signals, brightness=100.0)
            spent[i] = time.perf_counter_ns() - start
        rows.append({"rules": name, **_report.summary_us(spent)})
    return rows


#: until there are masks, s; quick: whether there are or not
WARM_UP_S, QUICK_S = 28.0, 5.0
#: of camera and tracker, where the system allows it
PRIORITY = 10
WHOLE = """
[camera.cam1]
kind = "synthetic"
rate_hz = {rate_hz}
[camera.cam1.motion]
components = 500
fit_s = 8.0
[engine]
priority = {priority}
[record]
folder = "recordings"
[stream]
control_port = 5590
data_port = 5591
status_port = 5592
[output.laser]
kind = "serial"
port = "{port}"
light = false
[rule.{rule}]
python = "always.py"
budget_us = 100000
output = "laser"
pulse_ms = 1
refractory_ms = 18
repeat = true
max_per_s = 100
max_duty = 1.0
max_age_ms = 1000
max_fires = 1000000
[loop]
arm_s = 3600
silent_frames = 10000
max_skipped = 1.0
"""


def bench_whole(
    rate_hz: float, priority: int, seconds: float, quick: bool = False
) -> list[dict[str, Any]]:
    """Run everything a rig runs, and fire a simulated board from its last rule."""
    warm_up_s = QUICK_S if quick else WARM_UP_S
    began = round(warm_up_s * rate_hz)
    with tempfile.TemporaryDirectory() as name, board.running(max_duty=1000) as one:
        with contextlib.suppress(PermissionError):  # a real one shares its processor with nobody
            os.setpriority(os.PRIO_PROCESS, one.popen.pid, -15)
        folder = Path(name)
        (folder / "always.py").write_text(
            "def rule(ledger, *_):\n"
            f"    return ledger.frame_seq % 5 > 0 and ledger.frame_seq > {began}\n"
        )
        (folder / "rig.toml").write_text(
            WHOLE.format(rate_hz=rate_hz, priority=priority, port=one.port, rule=RULE)
        )
        with Drill(load_rig(folder / "rig.toml"), "cam1", lambda: False) as drill:
            drill.go_on(warm_up_s + 2)
            fitted = any(one.flags & Flag.NEW_MASKS for one in drill._ledgers.values())
            if not fitted and not quick:
                raise SystemExit("no motion components in time")
            before = drill._supervisor.status()["cameras"]["cam1"]
            drill.go_on(seconds)
            after = drill._supervisor.status()["cameras"]["cam1"]
        frames = [ledger for seq, ledger in drill._ledgers.items() if seq > began]
        fired = [f for f in drill.fired() if f.ledger.frame_seq > began and f.line_ns]
    downs = [e["why"] for e in drill.events if e["kind"] == "line" and e["what"] == "down"]
    if downs:  # what was fired until then counts
        print(f"the board was given up after {len(fired)} pulses: {downs}")
    if len(fired) < 20:
        whys = [e["why"] for e in drill.events if e["kind"] == "rules"]
        raise SystemExit(f"only {len(fired)} pulses were told of: {whys}")
    host = np.array([ledger.t_host_ns for ledger in frames])
    sent = np.array([f.ledger.t_host_ns for f in fired])
    skipped = frames[-1].skipped - frames[0].skipped
    about = {
        "frames/s": int(rate_hz),
        "priority": priority,
        "tracked": len(frames),
        "skipped": skipped,
        "pulses": len(fired),
        # whatever else runs on this machine
        "cpu_ms": round(
            1e3 * (after["cpu_s"] - before["cpu_s"]) / max(1, after["tracked"] - before["tracked"]),
            2,
        ),
    }
    ways = {
        "keypoints, and rules of them": np.array([one.t_infer_ns for one in frames]) - host,
        "all rules decided": np.array([one.t_rules_ns for one in frames]) - host,
        "command handed over": np.array([f.command_ns for f in fired]) - sent,
        "line on, at most": np.array([f.line_ns + f.line_err_ns for f in fired]) - sent,
    }
    return [{**about, "delivered to": way, **_report.summary_us(ns)} for way, ns in ways.items()]


def main() -> None:
    args = _report.parser(__doc__).parse_args()
    n = 100 if args.quick else 3000
    rows = [
        row
        for hz in (200.0, 500.0)
        for bench in (bench_board, bench_plugin)
        for row in bench(hz, n)
    ]
    _report.table("from a decision to the receiving end", rows)
    costs = bench_rules(500 if args.quick else 20_000)
    _report.table("rules, per frame", costs)
    whole = [
        row
        for hz in ((100.0,) if args.quick else (100.0, 200.0))
        for priority in ((0, PRIORITY) if may_be_realtime() else (0,))
        for row in bench_whole(hz, priority, 8 if args.quick else 40, args.quick)
    ]
    _report.table("the whole program: network, 500 components, recording", whole)
    _report.write("trigger", args, {"latency": rows, "rules": costs, "whole": whole})


if __name__ == "__main__":
    main()
