"""Exposure times that are set while a camera runs: in the picture, in its times, in the answer."""

from __future__ import annotations

import contextlib
import json
import math
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import zmq
from conftest import free_ports
from test_device_camera import Acquisition, Bench

from rtface import control
from rtface.acquire import _expose, exposure_of
from rtface.adjust import Exposures
from rtface.camera.exposing import DOUBTFUL
from rtface.camera.stamping import Stamping
from rtface.camera.synthetic import SyntheticCamera
from rtface.camera_config import TriggerSection
from rtface.config import Rig, parse_rig
from rtface.control import answer, told
from rtface.exposure import FrameTimer, Timing
from rtface.orders import pass_arming
from rtface.process import Process
from rtface.run import Supervisor
from rtface.timing import timing_of
from rtface.types import CameraInfo, CameraState, ExposureRange, Flag, Stamp, TimeSource, UserError

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


def synthetic(clock: Clock, **stamping: Any) -> SyntheticCamera:
    return SyntheticCamera(
        64, 64, 100.0, 3, nuisances=False, stamping=Stamping(**stamping), clock=clock,
        sleep=clock.sleep,
    )  # fmt: skip


def shot(camera: SyntheticCamera) -> tuple[Stamp, np.ndarray]:
    image = np.zeros((64, 64), np.uint8)
    stamp = camera.fill(image, 1.0)
    assert stamp is not None
    return stamp, image.astype(float)


# --- the synthetic camera ---


def test_a_longer_exposure_is_a_brighter_picture() -> None:
    means = {}
    for exposure_us in (None, 500.0, 2000.0, 10_000.0):
        camera = synthetic(Clock())
        camera.start()
        if exposure_us:
            assert camera.expose(exposure_us) == ExposureRange(exposure_us, 1.0, 10_000.0)
        for _ in range(4):
            stamp, image = shot(camera)
        means[exposure_us] = image.mean()
        assert stamp.exposure_time_ns == round(1000 * (exposure_us or 0))
        assert image.max() > 200 or (exposure_us or 0) < 10_000
    usual = means[None]
    assert means[500.0] == pytest.approx(usual / 2, rel=0.2)
    assert 1.5 * usual < means[2000.0] < 2.1 * usual
    assert means[10_000.0] > 200  # white, and not dark again by an overflow


def test_however_much_longer_it_exposes_the_picture_is_white_and_goes_on() -> None:
    camera = synthetic(Clock(), exposure_ns=10_000)
    camera.start()
    for exposure_us in (9000.0, 10_000.0):  # 900 times and more
        camera.expose(exposure_us)
        image = [shot(camera)[1] for _ in range(3)][-1]
        assert image.mean() > 230


def test_the_camera_says_what_it_made_of_it() -> None:
    camera = synthetic(Clock())
    assert camera.exposure == ExposureRange(1000.0, 1.0, 10_000.0)
    assert camera.expose(812.4).us == 812.0
    for bad in (0.0, 0.4, 10_001.0, -5.0, math.nan, math.inf, 1e12):
        with pytest.raises(UserError, match="the camera takes 1 to 10000 us"):
            camera.expose(bad)
    assert camera.exposure.us == 812.0


def test_frames_on_their_way_have_the_old_exposure() -> None:
    clock = Clock()
    camera = synthetic(clock, delay_ns=25 * MS)  # frames come 25 ms after their middle
    camera.start()
    stamps = [shot(camera)[0]]
    at = clock.ns
    camera.expose(4000.0)
    stamps += [shot(camera)[0] for _ in range(8)]
    told = [stamp.exposure_time_ns for stamp in stamps[1:]]
    first = told.index(4 * MS)
    assert told == [1 * MS] * first + [4 * MS] * (8 - first)
    begins = [s.t_host_ns - 25 * MS - s.exposure_time_ns // 2 for s in stamps[1:]]
    assert all((begin >= at) == (t == 4 * MS) for begin, t in zip(begins, told, strict=True))
    assert first >= 2


@pytest.mark.parametrize("means", ["midpoint", "start", "trigger", "end", "readout_end"])
def test_times_hold_while_the_exposure_changes(means: str) -> None:
    """The midpoint that is told is the midpoint that was, before, through and after a change."""
    section = {
        "kind": "synthetic", "rate_hz": 100.0, "stamp_means": means, "exposure_us": 1000.0,
        "trigger_delay_us": 70.0, "readout_us": 300.0, "delay_err_us": 5.0, "sim_pairs": True,
    }  # fmt: skip
    rig = parse_rig({"camera": {"cam1": section}}, "test")
    clock = Clock()
    camera = synthetic(
        clock, means=means, exposure_ns=MS, trigger_delay_ns=70_000, readout_ns=300_000, pairs=True
    )
    timer = FrameTimer(timing_of(rig, "cam1", CameraInfo(64, 64, 8, 100.0)))
    camera.start()
    for i in range(1200):
        if i == 500:
            camera.expose(6000.0)
        stamp, _ = shot(camera)
        found = timer(stamp)
        # this camera delivers at the middle of the exposure
        assert abs(found.exposure_ns - stamp.t_host_ns) <= found.exposure_err_ns
        if 400 < i < 500 or i >= 1000:  # a stamp that jumps ahead of its delivery is a new clock
            assert found.time_source == TimeSource.LATCHED_PAIRS
            assert found.exposure_err_ns < 20_000


# --- a device ---


def device(**fields: Any) -> tuple[Bench, Acquisition]:
    bench = Bench()
    bench.features = {"ExposureTime": 1500.0, "ExposureAuto": "Off"}
    return bench, Acquisition(bench, **fields)


def test_limits_are_the_cameras_and_the_frames() -> None:
    _, run = device()
    assert run.camera.exposure == ExposureRange(1500.0, 10.0, 10_000.0)  # it takes 50 ms
    assert exposure_of(run.camera) == {"us": 1500.0, "least_us": 10.0, "most_us": 10_000.0}
    without = Acquisition(Bench())
    assert without.camera.exposure is None
    for camera in (without.camera, object()):
        assert "no exposure time" in _expose(camera, 100.0)["error"]  # type: ignore[arg-type]


def test_automatic_exposure_is_switched_off_and_the_value_read_back() -> None:
    bench, run = device()
    nodes = bench.link.nodes
    nodes.features["ExposureAuto"] = "Continuous"
    made = _expose(run.camera, 2500.0)
    assert made["exposure"] == {"us": 2500.0, "least_us": 10.0, "most_us": 10_000.0}
    assert made["asked_us"] == 2500.0
    assert nodes.written == [("ExposureAuto", "Off"), ("ExposureTime", 2500.0)]
    for bad in (9.0, 10_001.0, math.nan):
        assert "10 to 10000 us" in _expose(run.camera, bad)["error"]
    assert nodes.features["ExposureTime"] == 2500.0


def test_what_the_camera_refuses_is_said_in_its_words() -> None:
    bench, run = device()
    bench.link.nodes.limits["ExposureTime"] = (10.0, 2000.0)  # narrower than it said
    assert "it takes 10 to 2000 us" in _expose(run.camera, 5000.0)["error"]
    assert run.camera.exposure == ExposureRange(1500.0, 10.0, 2000.0)
    assert run.camera._wanted_us is None


def test_an_exposure_that_would_cost_the_rate_is_taken_back() -> None:
    bench, run = device()
    nodes = bench.link.nodes
    nodes.features["ResultingFrameRate"] = 100.0
    assert _expose(run.camera, 2000.0)["exposure"]["us"] == 2000.0
    nodes.features["ResultingFrameRate"] = 80.0  # the sensor reads out after it has exposed
    assert "9000 us would leave 80 Hz of 100" in _expose(run.camera, 9000.0)["error"]
    assert nodes.features["ExposureTime"] == 2000.0
    assert run.camera.exposure == ExposureRange(2000.0, 10.0, 10_000.0)
    triggered = device(trigger=TriggerSection(source="Line0"))[1]  # it has no rate of its own
    triggered.camera._link.nodes.features["ResultingFrameRate"] = 80.0  # type: ignore[attr-defined]
    assert _expose(triggered.camera, 9000.0)["exposure"]["us"] == 9000.0


def test_frames_right_after_a_change_do_not_know_their_exposure() -> None:
    bench, run = device(exposure_us=1500.0)
    link = bench.link
    link.queue += [(i, None) for i in range(20)]  # frames that say nothing of their exposure
    run.turn(3)
    run.camera.expose(4000.0)
    run.turn(8)
    told = [stamp.exposure_time_ns for stamp in run.stamps]
    assert told == [1_500_000] * 3 + [0] * DOUBTFUL + [4_000_000] * (8 - DOUBTFUL)
    # a frame that says it is believed at once
    run.camera.expose(2000.0)
    link.queue.clear()
    link.queue += [30]
    run.turn(1)
    assert run.stamps[-1].exposure_time_ns == 500


def test_a_camera_that_comes_back_is_set_again() -> None:
    from rtface.camera.device import LinkLost

    bench, run = device()
    run.camera.expose(4000.0)
    bench.link.queue += [LinkLost("pulled")]
    run.turn(1)
    with pytest.raises(UserError, match="is gone"):
        run.camera.expose(3000.0)
    run.turn(60)
    assert len(bench.links) == 2
    assert bench.link.nodes.features["ExposureTime"] == 4000.0
    # one that does not take it any more goes on as it is
    bench.link.queue += [LinkLost("pulled")]
    run.turn(1)
    bench.features = {"ExposureAuto": "Continuous"}
    run.turn(60)
    assert len(bench.links) == 3
    bench.link.queue += [1]
    run.turn(1)
    assert run.camera.state == CameraState.RUNNING
    assert run.camera.exposure is None


# --- times ---


def test_an_exposure_that_changed_widens_the_error_and_is_no_longer_calibrated() -> None:
    timing = Timing(
        10 * MS, 0, 0, 3 * MS, 5000, TimeSource.DEVICE_CLOCK, half_exposures=1, exposure_ns=2 * MS
    )
    timer = FrameTimer(timing)

    def found(i: int, told_ns: int) -> Any:
        # the camera stamps the start and delivers 1 ms after the end
        start = i * 10 * MS
        return timer(Stamp(0, i, start, start + (told_ns or 2 * MS) + MS, 0, told_ns))

    for i in range(3000):
        before = found(i, 2 * MS)
    assert (before.exposure_ns, before.flags) == (pytest.approx(2999 * 10 * MS + MS, abs=9000), 0)
    assert before.exposure_err_ns < MS
    doubtful = found(3000, 0)
    assert 5 * MS <= doubtful.exposure_err_ns < 6 * MS  # half a frame
    for i in range(3001, 4000):
        after = found(i, 6 * MS)
        if i < 3100:  # as long as the fit rests on what came before: half of the new one
            assert after.exposure_ns == pytest.approx(i * 10 * MS + 3 * MS, abs=9000)
        assert after.flags & Flag.UNCALIBRATED
        assert abs(after.exposure_ns - (i * 10 * MS + 3 * MS)) <= after.exposure_err_ns
        assert after.exposure_err_ns >= 4 * MS
    for i in range(4000, 5000):  # earlier than before against the stamp: the clock is found anew
        back = found(i, 2 * MS)
        assert abs(back.exposure_ns - (i * 10 * MS + MS)) <= back.exposure_err_ns
    assert (back.time_source, back.flags) == (TimeSource.DEVICE_CLOCK, 0)


def test_a_declared_exposure_is_used_until_the_camera_says_another() -> None:
    timer = FrameTimer(Timing(10 * MS, half_exposures=-1, exposure_ns=2 * MS))
    assert timer(Stamp(0, 0, None, 50 * MS)).exposure_ns == 49 * MS
    assert timer(Stamp(0, 1, None, 60 * MS, 0, 4 * MS)).exposure_ns == 58 * MS


# --- the order ---


def rig(rules: dict[str, Any] | None = None, **fields: Any) -> Rig:
    section = {"kind": "synthetic", **fields}
    data: dict[str, Any] = {"camera": {"cam1": section}}
    if rules:
        data |= {"output": {"laser": {"kind": "dry"}}, "rule": {"puff": rules}}
    return parse_rig(data, "test")


PUFF = {"when": "pupil.area > 3 px2", "output": "laser"}


#: what a tracker says of rules that nobody armed
DISARMED = {"armed": False, "arms_itself": False, "orders": 0}


class Child(Process):
    """A process that takes orders; its answer is given by hand."""

    def __init__(self, role: str) -> None:
        super().__init__(role, "cam1", None)  # type: ignore[arg-type]
        self.info, self.orders = {"height": 480, "width": 640}, []

    def order(self, cmd: str, **fields: Any) -> bool:
        self.orders.append({"cmd": cmd, **fields})
        return True


def ask(exposures: Exposures, processes: list[Process], **fields: Any) -> Any:
    command = json.dumps({"cmd": "exposure", **fields}).encode()
    reply = answer(command, {}, {}, 0, lambda _order, said: exposures.ask(said, processes))
    return reply if isinstance(reply, Future) else json.loads(reply)


def test_the_answer_is_what_the_camera_made_of_it_and_is_recorded() -> None:
    exposures, acquire, recorder = Exposures(rig()), Child("acquire"), Child("record")
    outcome = ask(exposures, [acquire], camera="cam1", us="812.4")
    assert acquire.orders == [{"cmd": "exposure", "id": 0, "us": 812.4}]
    assert not outcome.done()
    assert "just being set" in ask(exposures, [acquire], camera="cam1", us="9")["error"]
    made = {"us": 812.0, "least_us": 1.0, "most_us": 10_000.0}
    heard = {"id": 0, "exposure": made, "asked_us": 812.4, "t_host_ns": 77}
    exposures.heard(acquire, heard, recorder)
    assert json.loads(told(outcome)) == {"ok": True, "camera": "cam1", **made}
    assert acquire.counts["exposure"] == made
    (event,) = recorder.orders
    assert event == {
        "cmd": "exposure", "t_host_ns": 77, "camera": "cam1", "asked_us": 812.4,
        "exposure_us": 812.0,
    }  # fmt: skip
    refused = ask(exposures, [acquire], camera="cam1", us="5")
    exposures.heard(acquire, {"id": 1, "error": "camera cam1: no"}, recorder)
    assert json.loads(told(refused)) == {"ok": False, "error": "camera cam1: no"}
    assert len(recorder.orders) == 1
    exposures.heard(acquire, {"id": 1, "error": "late"}, None)  # nobody waits for it any more


def test_nobody_waits_for_what_others_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port answers an order to disarm while a camera or a disk takes its time."""
    monkeypatch.setattr(control, "ANSWER_WITHIN_S", 0.2)
    (port,), outcome = free_ports(1), Future()
    with contextlib.ExitStack() as stack:
        context = zmq.Context()
        stack.callback(context.term)
        served = stack.enter_context(
            contextlib.closing(control.Control(context, "127.0.0.1", port))
        )

        def ask(**command: str) -> zmq.Socket[bytes]:
            socket = context.socket(zmq.REQ)
            stack.callback(socket.close, 0)
            socket.connect(f"tcp://127.0.0.1:{port}")
            socket.send_json(command)
            return socket

        def turns(n: int) -> None:
            for _ in range(n):
                served.serve(
                    0.02, dict, {}, lambda order, _: outcome if order == "exposure" else None
                )

        exposing = ask(cmd="exposure", camera="cam1", us="5")
        turns(3)
        disarming = ask(cmd="disarm")
        turns(3)
        assert disarming.recv_json(zmq.NOBLOCK) == {"ok": True}
        assert not exposing.poll(0)
        outcome.set_result({"us": 5.0})
        turns(2)
        assert exposing.recv_json(zmq.NOBLOCK) == {"ok": True, "us": 5.0}
        outcome = Future()  # the camera never says a word
        silent = ask(cmd="exposure", camera="cam1", us="5")
        turns(25)
        assert silent.recv_json(zmq.NOBLOCK) == {"ok": False, "error": "no word within 0.2 s"}
        assert served.answered == 3


@pytest.mark.parametrize(
    ("us", "text"),
    [
        ("", "us is an exposure time"), ("nan", "us is"), ("inf", "us is"), ("-5", "us is"),
        ("1e3", "us is"), ("9" * 40, "us is"), ("1,5", "us is"), (" 5", "us is"), (800, "a text"),
        ([800], "a text"), ("\u0668", "us is"), ("5\n", "cannot be shown"),
    ],
)  # fmt: skip
def test_what_is_no_exposure_time_reaches_no_camera(us: Any, text: str) -> None:
    acquire = Child("acquire")
    reply = ask(Exposures(rig()), [acquire], camera="cam1", us=us)
    assert not reply["ok"]
    assert text in reply["error"]
    assert acquire.orders == []


def test_rules_that_were_made_for_an_exposure_keep_it() -> None:
    def asked(us: str, rig: Rig, **loop: bool) -> Any:
        track, acquire = Child("track"), Child("acquire")
        track.counts = {"loop": DISARMED | loop}
        return ask(Exposures(rig), [acquire, track], camera="cam1", us=us)

    pupil = {"pupil": {}}
    free = rig(PUFF, **pupil)
    assert isinstance(asked("9000", free), Future)
    assert "disarm" in asked("9000", free, armed=True)["error"]
    assert "disarm" in asked("9000", free, arms_itself=True)["error"]  # but for a wait
    declared = rig(PUFF, exposure_us=1000.0, **pupil)
    assert isinstance(asked("900", declared), Future)
    assert "exposure_us = 1000" in asked("1100", declared)["error"]
    hazard = rig({**PUFF, "hazard": True}, **pupil)
    assert "accept it again" in asked("900", hazard)["error"]
    measured = rig(latency="latency.json", **pupil)
    assert "latency: its delay was measured" in asked("900", measured)["error"]
    frame = {"exposure_us": "frame", "stamp_means": "start"}
    for section in ({}, frame):
        bound = rig(delay_err_us=100.0, **section)
        assert "delay_err_us: its delay was declared" in asked("900", bound)["error"]
        assert isinstance(asked("900", rig(**section)), Future)  # its bound is a whole frame
    assert isinstance(asked("900", rig(delay_err_us=100.0, exposure_us=1000.0)), Future)
    assert "there is no camera 'x'" in ask(Exposures(free), [], camera="x", us="5")["error"]
    assert "not ready" in ask(Exposures(free), [], camera="cam1", us="5")["error"]


def test_an_order_to_arm_counts_before_the_tracker_has_said_so() -> None:
    made = rig(PUFF, pupil={})
    track, acquire = Child("track"), Child("acquire")
    processes: list[Process] = [acquire, track]

    def asked() -> Any:
        return ask(Exposures(made), processes, camera="cam1", us="900")

    assert "disarm first" in asked()["error"]  # it has said nothing yet
    track.counts = {"loop": DISARMED}
    assert isinstance(asked(), Future)
    pass_arming(made, processes, "arm", "")
    assert "disarm first" in asked()["error"]  # what it said was before the order
    track.counts = {"loop": {**DISARMED, "armed": True, "orders": 1}}
    assert "disarm first" in asked()["error"]
    pass_arming(made, processes, "disarm", "")
    track.counts = {"loop": {**DISARMED, "orders": 2}}
    assert isinstance(asked(), Future)


def test_everybody_hears_at_once_that_an_exposure_time_was_set() -> None:
    run, acquire = Supervisor(rig(PUFF, pupil={})), Child("acquire")
    run._children.all += [acquire]
    try:
        run.publish_status()  # the next is due in a second
        due = run._status_due
        run.turn()
        assert run._status_due == due
        run.act("exposure", {"camera": "cam1", "us": "900"})
        run._children.reports.put((acquire, {"kind": "exposure", "id": 0, "error": "no"}))
        run.turn()
        assert run._status_due > due
    finally:
        run._children.all.clear()
        run.stop()


def test_nothing_is_armed_while_an_exposure_time_is_being_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = rig(PUFF, pupil={})
    run, track, acquire = Supervisor(made), Child("track"), Child("acquire")
    run._children.all += [acquire, track]
    try:
        track.counts = {"loop": DISARMED}
        command = {"camera": "cam1", "us": "900"}
        run.act("exposure", command)
        with pytest.raises(UserError, match="camera cam1: an exposure time is just being set"):
            run.act("arm", {})
        assert track.orders == []
        run.act("disarm", {})  # that always is
        # a camera that hangs may still do it
        monkeypatch.setattr("rtface.adjust.ANSWER_WITHIN_S", -1.0)
        run._exposures.heard(acquire, {"id": 0, "error": "no"}, None)
        track.counts = {"loop": {**DISARMED, "orders": 1}}
        run.act("exposure", command)
        with pytest.raises(UserError, match="just being set"):
            run.act("arm", {})
        run._exposures.heard(acquire, {"id": 1, "error": "no"}, None)
        run.act("arm", {})
        assert [order["cmd"] for order in track.orders] == ["disarm", "arm"]
        with pytest.raises(UserError, match="disarm first"):
            run.act("exposure", command)
    finally:
        run._children.all.clear()
        run.stop()
