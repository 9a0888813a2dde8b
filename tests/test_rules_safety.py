"""What disarms rules: the clock, overload, the camera; and a replay at the same frame."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rules_cases import NAMES, PERIOD_NS, START_NS, keypoints, ledger, loop, make, rig

from rtface.between import Between
from rtface.config import Rig, parse_rig
from rtface.loop import Loop
from rtface.rules import Guard, Notice, Stage, decide
from rtface.rules.replay import Seen, replay
from rtface.rules_config import LoopSection
from rtface.stages.make import Stages
from rtface.types import CameraInfo, Frame, Ledger, Lost, Pose, Stamp, TimeSource

DELIVERY, FITTED = int(TimeSource.DELIVERY), int(TimeSource.DEVICE_CLOCK)


def guard(oldest_ms: float = 50.0, **keys: Any) -> Guard:
    return Guard(LoopSection(**keys), {Stage.PUPIL: round(oldest_ms * 1e6)})


def test_a_clock_that_is_lost_disarms_after_a_while() -> None:
    one = guard()
    unfitted = [ledger(i)._replace(time_source=DELIVERY) for i in range(1000)]
    assert not any(one.before(frame) for frame in unfitted[:400])  # it never had a clock
    assert not one.before(ledger(400)._replace(time_source=FITTED))
    said = [one.before(frame) for frame in unfitted[401:800]]
    assert said[:200] == [""] * 200
    assert said[202] == "the clock of exposures is lost"
    assert one.before(ledger(801)._replace(time_source=FITTED)) == ""
    # another segment begins anew: nothing is lost that was not there
    assert not any(one.before(frame._replace(segment=1)) for frame in unfitted)


def test_exposure_times_that_may_be_wrong() -> None:
    one = guard(clock_err_ms=2.0)
    assert one.before(ledger(0)._replace(exposure_err_ns=1_900_000)) == ""
    assert "wrong by 2.1 ms, more than clock_err_ms = 2" in one.before(
        ledger(1)._replace(exposure_err_ns=2_100_000)
    )


def test_results_that_are_too_old_for_so_long() -> None:
    one = guard(5.0, overload_frames=10)
    said = [one.after(ledger(i, age_ns=6_000_000)) for i in range(9)]
    assert said == [""] * 9
    assert one.after(ledger(9, age_ns=4_000_000)) == ""  # one in time: begins anew
    said = [one.after(ledger(i, age_ns=6_000_000)) for i in range(10, 20)]
    assert said[:9] == [""] * 9
    assert said[9] == "overload: 10 frames in a row were older than max_age_ms allows"
    # of a stage after which nothing is decided nobody asks
    late = ledger(0)._replace(t_infer_ns=START_NS + 10**9)
    assert not any(guard(5.0, overload_frames=2).after(late) for _ in range(5))


def test_too_many_frames_passed_over() -> None:
    one = guard(overload_frames=100, max_skipped=0.5)
    half = [one.after(ledger(i)) for i in range(0, 1000, 2)]
    assert set(half) == {""}
    one.rest()
    third = [one.after(ledger(i)) for i in range(1000, 1300, 3)]
    assert third[:33] == [""] * 33  # not before there were so many
    assert "overload: 66% of 100 frames were passed over, more than max_skipped = 0.5" in third[34:]


SYNTHETIC = {"kind": "synthetic", "width": 64, "height": 64}
ALWAYS = {"when": "nose(tip).x > 100 px", "output": "laser", "refractory_ms": 10.0}


def looped(**keys: Any) -> Loop:
    told = {
        "camera": {"cam1": SYNTHETIC},
        "output": {"laser": {"kind": "dry", "light": False}},
        "rule": {"puff": ALWAYS},
        "loop": {"seed": 1, "silent_frames": 10_000, **keys},
    }
    made: Rig = parse_rig(told, "rig")
    return Loop(made, "cam1", NAMES, CameraInfo(64, 64, 8, 100.0), Stages(), True, "network")


IMAGE = np.zeros((64, 64), np.uint8)


def show(one: Loop, i: int, x: float = 50.0, **changed: Any) -> list[dict[str, Any]]:
    """One frame of now through all stages, and what is told after it."""
    told: Ledger = ledger(i)._replace(**changed)
    frame = Frame(i, Stamp(told.segment, i, None, told.t_host_ns), Lost(), IMAGE)
    for stage, t_ns in zip(
        Stage, (told.t_infer_ns, told.t_motion_ns, told.t_pupil_ns), strict=True
    ):
        one.after(stage, frame, told, Pose(keypoints(x)), {}, t_ns)
    return one.tend()


def whys(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["what"], event["why"]) for event in events if event["kind"] == "rules"]


def arm(one: Loop) -> None:
    one.obey({"cmd": "arm", "why": "test"})
    assert whys(one.tend()) == [("armed", "test")]


def test_faults_of_the_clock_and_overload_disarm_the_loop_and_are_told() -> None:
    one = looped(clock_err_ms=1.0, overload_frames=3)
    show(one, 0)
    arm(one)
    (told,) = whys(show(one, 1, x=150, exposure_err_ns=3_000_000))
    assert told[0] == "disarmed"
    assert "clock_err_ms" in told[1]
    assert not one.may_arm(ledger(1)._replace(exposure_err_ns=3_000_000))
    assert one.may_arm(ledger(2))
    arm(one)
    old = dict.fromkeys(("t_infer_ns", "t_motion_ns", "t_pupil_ns"), START_NS + 10**9)
    assert whys(show(one, 2, **old)) + whys(show(one, 3, **old)) == []
    assert whys(show(one, 4, **old)) == [
        ("disarmed", "overload: 3 frames in a row were older than max_age_ms allows")
    ]


@pytest.mark.parametrize("meanwhile", ["nothing", "disarm", "sleep", "a camera that waited"])
def test_a_run_that_was_to_arm_itself_does_not_once_somebody_disarmed(meanwhile: str) -> None:
    """``--armed`` waits for the first frame that is good enough; an order may come before."""
    one, orders = looped(clock_err_ms=1.0), []
    told: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    line = SimpleNamespace(
        job={"armed": True},
        order=lambda: orders.pop() if orders else None,
        report=lambda kind, loop: said.append(loop),
    )
    publisher = SimpleNamespace(send_event=told.append)
    info = CameraInfo(64, 64, 8, 100.0)
    between = Between(line, None, one, publisher, None, {"motion": None}, info, None)  # type: ignore[arg-type]
    between.arm(ledger(0)._replace(exposure_err_ns=3_000_000))  # not good enough yet
    state = between.state()["loop"]
    assert (state["armed"], state["arms_itself"], state["orders"]) == (False, True, 0)
    if meanwhile == "disarm":
        orders.append({"cmd": "disarm", "why": "by command"})
    elif meanwhile == "sleep":
        between.disarm("the machine slept")
    elif meanwhile == "a camera that waited":
        orders.append({"cmd": "camera", "state": "waiting"})
    between.tend()
    for i in (1, 2):
        between.arm(ledger(i))
        between.tend()
    armed = meanwhile in ("nothing", "a camera that waited")
    assert one.rules.armed is armed
    state = between.state()["loop"]
    assert (state["armed"], state["arms_itself"]) == (armed, False)
    assert [loop["orders"] for loop in said] == {"disarm": [1], "a camera that waited": [0]}.get(
        meanwhile, []
    )
    assert whys(told) == [("armed", "at the start of the run")] * armed
    # by hand it can be
    orders.append({"cmd": "arm", "why": "by command"})
    between.tend()
    assert one.rules.armed
    assert said[-1]["armed"]  # it is told at once
    assert said[-1]["orders"] == 1 + (meanwhile == "disarm")


@pytest.mark.parametrize("rearm", ["never", "resume"])
def test_a_camera_that_waits_or_is_gone(rearm: str) -> None:
    one = looped(rearm=rearm)
    show(one, 0)
    arm(one)
    one.obey({"cmd": "camera", "state": "waiting"})
    assert whys(one.tend()) == [("disarmed", "the camera waits for triggers")]
    assert one.state()["arms_itself"] is (rearm == "resume")
    one.obey({"cmd": "camera", "state": "running"})
    expected = [("armed", "the camera goes on")] if rearm == "resume" else []
    assert not one.state()["arms_itself"]
    events = one.tend()
    assert whys(events) == expected
    if expected:
        assert 590 < events[0]["for_s"] < 600  # no longer than it would have been
    # gone is no wait, and an order to disarm is not undone
    arm(one)
    one.obey({"cmd": "camera", "state": "gone"})
    assert whys(one.tend()) == [("disarmed", "the camera is gone")]
    one.obey({"cmd": "camera", "state": "running"})
    assert whys(one.tend()) == []
    arm(one)
    one.obey({"cmd": "camera", "state": "waiting"})
    one.obey({"cmd": "disarm", "why": "by command"})
    one.tend()
    one.obey({"cmd": "camera", "state": "running"})
    assert whys(one.tend()) == []


def test_what_disarmed_a_loop_disarms_its_replay_at_the_same_frame() -> None:
    one = looped(clock_err_ms=1.0, overload_frames=3, rearm="resume")
    rng = np.random.default_rng(3)
    frames, events = [], []
    for i in range(200):
        x = float(rng.normal(100, 20))
        bad = {"exposure_err_ns": 3_000_000} if i == 80 else {}
        if 120 <= i < 124:
            # no pupil: every stage has the same time, and only the frame says what came first
            t = START_NS + i * PERIOD_NS + 60_000_000
            bad = dict.fromkeys(("t_infer_ns", "t_motion_ns", "t_pupil_ns"), t)
        if i in (20, 90, 130, 160):
            one.obey({"cmd": "arm", "why": "test", "for_s": 500.0})
        if i == 150:
            one.obey({"cmd": "camera", "state": "gone"})
        frames.append(Seen(ledger(i)._replace(**bad), Pose(keypoints(x)), {}, {"brightness": 0.0}))
        events += show(one, i, x, **bad)
    decided = [event for event in events if event["kind"] == "decision"]
    notices = [
        Notice(*(event[key] for key in Notice._fields))
        for event in events
        if event["kind"] == "rules"
    ]
    # orders come with the host's clock, frames here with another: the frame alone decides
    shifted = [notice._replace(t_ns=START_NS) for notice in notices]
    told = {"output": {"laser": {"kind": "dry", "light": False}}}
    again = make(loop({"puff": ALWAYS}, **told), exposure_s=0.01, clock_ns=None)
    found = list(replay(again, frames, shifted))

    def key(one: Any) -> tuple[Any, ...]:
        return tuple(one[name] for name in ("n", "frame_seq", "outcome", "why"))

    assert [key(d.as_event()) for d in found] == [key(event) for event in decided]
    assert {"disarmed", ""} <= {event["why"] for event in decided}
    assert len({why for what, why in whys(events) if what == "disarmed"}) == 3


def test_a_function_over_its_budget_is_given_up_in_the_same_frame_in_a_replay(
    tmp_path: Path,
) -> None:
    (tmp_path / "my_rule.py").write_text(
        "def rule(ledger, pose, signals):\n    return ledger.frame_seq % 5 == 0\n"
    )
    now = [0]

    def clock() -> int:
        now[0] += 20_000_000 if frame[0] == 50 else 1000
        return now[0]

    frame = [0]
    made = rig(python="my_rule.py", refractory_ms=10.0)
    live = make(made, folder=tmp_path, clock_ns=clock)
    live.arm(START_NS, "test")
    frames, decided, notices = [], [], []
    for i in range(100):
        frame[0] = i
        told = ledger(i)
        told = told._replace(t_pupil_ns=told.t_infer_ns + 1000)
        one = Seen(told, Pose(keypoints(100)), {}, {"brightness": 0.0})
        frames.append(one)
        decided += decide(live, one.ledger, one.pose, one.signals, **one.light)
        notices += live.notices()
    assert [d.frame_seq for d in decided] == list(range(5, 50, 5))  # it was true in frame 50, too
    assert [n.frame_seq for n in notices if n.what == "rule disarmed"] == [50]
    again = make(made, folder=tmp_path, clock_ns=None)
    assert list(map(repr, replay(again, frames, notices))) == list(map(repr, decided))
    # a recording from before notices named their frame: one frame later, as it was then
    older = [notice._replace(frame_seq=-1) for notice in notices]
    again = make(made, folder=tmp_path, clock_ns=None)
    assert [d.frame_seq for d in replay(again, frames, older)] == list(range(5, 51, 5))
