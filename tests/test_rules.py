"""Rules: when they fire, and everything that forbids it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_cases import (
    LAYOUT,
    NAMES,
    PERIOD_NS,
    START_NS,
    fired,
    keypoints,
    ledger,
    loop,
    make,
    rig,
    run,
)

from rtface.config import parse_rig
from rtface.rules import Rules, Stage, decide
from rtface.rules.check import check_rules
from rtface.rules.light import LightGate
from rtface.rules.limits import Limits
from rtface.rules.replay import Seen, replay
from rtface.rules_config import LOOP_TEMPLATE, ClosedLoop, LoopSection, RuleSection
from rtface.types import HOST_TIMES, Flag, Pose, UserError

LOW, HIGH = 90.0, 110.0
FAST: dict[str, Any] = {"refractory_ms": 10.0, "pulse_ms": 1.0}


def test_a_crossing_fires_once_and_says_why() -> None:
    rules = make(rig())
    (one,) = run(rules, [LOW] * 3 + [HIGH] * 5 + [LOW])
    assert (one.outcome, one.rule, one.output, one.frame_seq) == ("fired", "puff", "laser", 3)
    assert (one.value, one.threshold, one.why) == (HIGH, 100, "")
    assert one.scores == {"nose(tip)": pytest.approx(0.9)}
    assert one.exposure_ns == START_NS + 3 * PERIOD_NS
    assert one.decided_ns == one.exposure_ns + 3_000_000
    assert rules.counts["puff"]["fired"] == 1


def test_it_has_to_be_seen_off_first() -> None:
    assert fired(run(make(rig()), [HIGH] * 5 + [LOW, HIGH])) == [6]
    # a long time without a value: again
    gap = [LOW, *[np.nan] * 15, HIGH, LOW, HIGH]
    assert fired(run(make(rig()), gap)) == [18]
    assert fired(run(make(rig()), [LOW, *[np.nan] * 5, HIGH])) == [6]


def show(rules: Rules, times_ms: Any, xs: Any) -> list[int]:
    """Show frames at given times; return the times in which something fired."""
    rules.arm(START_NS, "test")
    found = []
    for i, (t_ms, x) in enumerate(zip(times_ms, xs, strict=True)):
        one = ledger(0, age_ns=3_000_000)
        late = {key: getattr(one, key) + t_ms * 1_000_000 for key in HOST_TIMES}
        one = one._replace(frame_seq=i, **late)
        decided = rules(one, Pose(keypoints(x)), {}, one.t_pupil_ns)
        found += [t_ms for each in decided if each.outcome == "fired"]
    return found


@pytest.mark.parametrize("dwell_ms", [0.0, 500.0])
def test_time_without_frames_is_time_without_a_value(dwell_ms: float) -> None:
    keys = {"dwell_ms": dwell_ms, **FAST}
    # triggers that pause: on before, on after, and nobody saw what was between
    times = [0, 10, 20, 90, 1000, 1010, 1600, 1610]
    assert show(make(rig(**keys)), times, [LOW, LOW, HIGH, HIGH, HIGH, HIGH, HIGH, HIGH]) == (
        [] if dwell_ms else [20]
    )
    # off within reach of it: counts
    assert show(make(rig(**FAST)), [0, 90, 1000, 1010, 1020], [LOW, LOW, HIGH, LOW, HIGH]) == [1020]


def test_below_and_hysteresis() -> None:
    xs = [70.0, HIGH, 99.0, 101.0, 99.0, 101.0, 79.0, 101.0]
    assert fired(run(make(rig(**FAST)), xs)) == [1, 3, 5, 7]
    assert fired(run(make(rig(until="80 px", **FAST)), xs)) == [1, 7]
    down = make(rig("nose(tip).x < 100 px", until="120 px", **FAST))
    assert fired(run(down, [121, 99, 110, 99, 121, 99])) == [1, 5]


def test_dwell_counts_exposure_time() -> None:
    rules = make(rig(dwell_ms=25.0, **FAST))
    assert fired(run(rules, [LOW, HIGH, HIGH, LOW, HIGH, HIGH, HIGH, HIGH, HIGH])) == [7]


def test_other_masks_make_a_condition_begin_anew() -> None:
    """What ``only_if`` remembers is of the old masks, whose numbers mean something else."""
    rules = make(rig(only_if=["z(motion.full[0], 100 ms) > 3 sd"]))
    rules.arm(START_NS, "test")
    outcomes = []
    for i in range(60):
        motion = np.array([i % 7 + 1000.0 * (i >= 40), 0, 0, 0, 0, 0, 0, 0], np.float32)
        one = ledger(i, flags=Flag.NEW_MASKS.value if i == 40 else 0)
        pose = Pose(keypoints(HIGH if i == 42 else LOW))
        decided = rules(one, pose, {"motion": motion}, one.t_pupil_ns)
        outcomes += [each.outcome for each in decided]
    assert outcomes == ["suppressed"]


def test_a_light_that_comes_later_than_a_forecast_reaches_is_refused() -> None:
    def late(latency_ms: float) -> ClosedLoop:
        rule = {"when": "nose(tip).x > 100 px", "output": "laser", "forecast_ms": "light"}
        output = {"laser": {"kind": "dry", "light": False, "latency_ms": latency_ms}}
        return loop({"puff": rule}, output=output)

    make(late(150.0))
    with pytest.raises(UserError, match=r"rule.puff.forecast_ms: 'light' comes on 195 ms after"):
        make(late(195.0))


@pytest.mark.parametrize("pulse_ms", [0.0, 1e-7, 0.0004])
def test_a_pulse_that_no_board_can_make_is_refused(pulse_ms: float) -> None:
    with pytest.raises(ValueError, match="pulse_ms"):
        rig(pulse_ms=pulse_ms)


def test_repeat_while_it_lasts() -> None:
    rules = make(rig(repeat=True, refractory_ms=30.0, pulse_ms=1.0))
    assert fired(run(rules, [LOW] + [HIGH] * 10)) == [1, 4, 7, 10]


def reasons(decisions: list[Any]) -> list[str]:
    return [one.why or one.outcome for one in decisions]


def test_what_suppresses() -> None:
    once = [LOW, HIGH, HIGH]
    assert reasons(run(make(rig()), once, arm=False)) == ["disarmed"]
    assert reasons(run(make(rig(max_age_ms=2.0)), once)) == ["too old"]
    assert reasons(run(make(rig(max_age_ms=3.0)), once)) == ["fired"]
    assert reasons(run(make(rig(only_if=["eye(back).x > 10 px"])), once)) == [
        "only_if eye(back).x > 10 px"
    ]
    assert reasons(run(make(rig(only_if=["eye(back).x < 11 px"])), once)) == ["fired"]
    assert reasons(run(make(rig(arm_line=2)), once, lines=[4, 3, 3])) == ["arm line low"]
    assert reasons(run(make(rig(arm_line=2)), once, lines=[0, 4, 0])) == ["fired"]
    twice = [LOW, HIGH, LOW, HIGH]
    assert reasons(run(make(rig(refractory_ms=21.0)), twice)) == ["fired", "refractory"]
    assert reasons(run(make(rig(max_fires=1, **FAST)), twice)) == ["fired", "session cap"]
    assert reasons(run(make(rig(max_per_s=1, **FAST)), twice)) == ["fired", "rate"]
    assert reasons(run(make(rig(max_duty=1e-4, **FAST)), twice)) == ["fired", "duty"]
    assert run(make(rig(min_score=0.95)), once) == []  # not known: nothing came true
    rules = make(rig())
    rules.arm(START_NS, "test")
    for i, x in enumerate(once):
        one = ledger(i, flags=Flag.NO_FACE.value)
        decisions = rules(one, Pose(keypoints(x), face=False), {}, one.t_pupil_ns)
        assert reasons(decisions) == (["no face"] if i == 1 else [])


def test_nan_never_triggers() -> None:
    xs = [LOW, np.nan, np.nan, LOW, np.nan]
    assert run(make(rig()), xs) == []
    below = make(rig("nose(tip).x < 100 px"))
    assert run(below, [HIGH, np.nan, np.inf, np.nan]) == []


def test_arming_ends() -> None:
    rules = make(rig(**FAST))
    rules.arm(START_NS, "command", for_s=0.05)
    assert reasons(run(rules, [LOW, HIGH] * 5, arm=False)) == ["fired"] * 2 + ["disarmed"] * 3
    assert [(n.what, n.why) for n in rules.notices()] == [
        ("armed", "command"),
        ("disarmed", "time over"),
    ]
    rules.disarm(START_NS, "again")
    assert rules.notices() == []


def test_silence_disarms_unless_the_camera_waits() -> None:
    rules = make(rig())
    rules.arm(START_NS, "test")
    rules.watch(START_NS + 10 * PERIOD_NS)
    rules.watch(START_NS + 30 * PERIOD_NS, waiting=True)
    assert rules.armed
    rules.watch(START_NS + 11 * PERIOD_NS)
    assert not rules.armed


def test_blocks() -> None:
    rules = make(rig(blocks={"on_s": 0.1, "off_s": 0.05}, **FAST))
    decided = run(rules, [LOW, HIGH] * 30)
    for one in decided:
        inside = (one.decided_ns - START_NS) % 150_000_000 < 100_000_000
        assert (one.why or one.outcome) == ("fired" if inside else "off block")
    assert {one.outcome for one in decided} == {"fired", "suppressed"}


def test_sham_trials_are_drawn_by_the_seed() -> None:
    def outcomes(seed: int) -> list[str]:
        limits = {"max_per_s": 1000, "max_duty": 1.0, **FAST}
        return [o.outcome for o in run(make(rig(sham=0.3, **limits), seed=seed), [LOW, HIGH] * 300)]

    assert outcomes(1) == outcomes(1) != outcomes(2)
    assert 50 < outcomes(1).count("sham") < 130
    assert set(outcomes(1)) == {"sham", "fired"}


def test_two_rules_do_not_prolong_a_pulse() -> None:
    rules = {
        "a": {"when": "nose(tip).x > 100 px", "output": "laser"},
        "b": {"when": "nose(tip).x > 105 px", "output": "laser"},
    }
    assert reasons(run(make(loop(rules)), [LOW, HIGH])) == ["fired", "line busy"]


def lit(light: bool) -> Any:
    return {"output": {"laser": {"kind": "dry", "light": light, "latency_ms": 2.0}}}


def test_our_own_light_never_fires() -> None:
    """The pulse throws the point over the threshold in the frames that it shines into."""
    rule = {"puff": {"when": "nose(tip).x > 100 px", "output": "laser", **FAST, "pulse_ms": 8.0}}
    for light, most in ((True, 1), (False, 60)):
        rules = make(loop(rule, **lit(light)))
        rules.arm(START_NS, "test")
        on_ns, off_ns = 0, -1
        for i in range(60):
            one = ledger(i, age_ns=11_000_000)
            x = HIGH if i == 10 or on_ns <= one.exposure_ns <= off_ns else LOW
            for d in rules(one, Pose(keypoints(x)), {}, one.t_pupil_ns):
                if d.outcome == "fired":
                    on_ns, off_ns = d.decided_ns + 1_000_000, d.decided_ns + 10_000_000
        fires = rules.counts["puff"]["fired"]
        assert 1 <= fires <= most
        assert light or fires > 5  # without the gate it fires on itself


CHUNKS = {"kind": "genicam", "rate_hz": 100.0, "chunks": ["LineStatusAll"]}


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"loop": {"light_line": 1}}, "loop.light_line"),
        ({"arm_line": 0}, "rule.puff.arm_line"),
        ({"record": {"start": "line"}}, "record.start"),
    ],
)
def test_lines_that_a_camera_does_not_tell_are_refused(tables: dict[str, Any], key: str) -> None:
    rule = {"when": "nose(tip).x > 1 px", "output": "laser"}
    rule |= {"arm_line": tables["arm_line"]} if "arm_line" in tables else {}
    tables = {name: table for name, table in tables.items() if name != "arm_line"}
    told = {"output": {"laser": {"kind": "dry"}}, "rule": {"puff": rule}, **tables}
    for camera in (
        {"kind": "synthetic"},
        {"kind": "video", "file": "a.avi", "embedded": ["timestamp"]},
        {"kind": "uvc", "rate_hz": 30.0},
        {**CHUNKS, "chunks": ["Timestamp"]},
    ):
        with pytest.raises(UserError, match=f"{key}: camera.cam1 does not say .*LineStatusAll"):
            parse_rig({"camera": {"cam1": camera}, **told}, "rig.toml")
    for camera in (
        {"kind": "synthetic", "line0_s": [1.0, 2.0]},
        {"kind": "video", "file": "a.avi", "embedded": ["gpio"]},
        CHUNKS,
    ):
        parse_rig({"camera": {"cam1": camera}, **told}, "rig.toml")
    # a camera without rules of that kind need not
    if key == "loop.light_line":
        parse_rig({"camera": {"cam1": CHUNKS, "cam2": {"kind": "synthetic"}}, **told}, "rig.toml")


def test_a_light_line_and_a_step_of_brightness() -> None:
    tables = {"loop": {"light_line": 1}}
    rule = {"puff": {"when": "nose(tip).x > 100 px", "output": "laser", **FAST}}
    xs = [LOW, HIGH, LOW, HIGH, LOW, HIGH, LOW, HIGH]
    lines = [0, 2, 2, 0, 0, 0, 0, 0]
    decided = reasons(run(make(loop(rule, **tables)), xs, lines=lines))
    # lit in frames 1 and 2, and one after; it began in the light, and ended in frame 4
    assert decided == ["light line", "fired", "fired"]
    level = [100, 100, 120, 120, 120, 101, 101, 101, 101, 101.0]
    # on in frame 5, in the light; what is off in frame 6 is not believed, in frame 8 it is
    xs = [LOW, LOW, LOW, HIGH, LOW, HIGH, LOW, HIGH, LOW, HIGH]
    decided = reasons(run(make(loop(rule)), xs, brightness=level))
    assert decided == ["after a light", "brightness step", "fired"]


def test_a_light_teaches_nothing() -> None:
    when = "nose(tip).x - smooth(nose(tip).x, 100 ms) > 50 px"
    levels = [100.0] * 20 + [150.0] + [100.0] * 10
    xs = [100.0] * 20 + [500.0] * 2 + [100.0] * 9
    rules = make(rig(when))
    smooth = rules._rules[0].test.signal.parts[0]
    run(rules, xs, brightness=levels)
    assert smooth._filter.x == 100


def test_stages_and_replay_agree() -> None:
    rules_of = {
        "pose": {"when": "nose(tip).x > 100 px", "output": "laser", "sham": 0.5, **FAST},
        "pupil": {"when": "pupil.area > 100 px2", "output": "b", "sham": 0.5, **FAST},
        "energy": {"when": "z(motion_energy.full, 200 ms) > 1 sd", "output": "c", **FAST},
    }
    outputs = {name: {"kind": "dry"} for name in ("laser", "b", "c")}
    live, replay = (make(loop(rules_of, output=outputs)) for _ in range(2))
    rng = np.random.default_rng(3)
    one_by_one, at_once = [], []
    for rules in (live, replay):
        rules.arm(START_NS, "test")
    for i in range(500):
        x, area, energy = rng.normal([100, 100, 50], [5, 5, 1])
        signals = {
            "pupil": np.full(20, area, np.float32),
            "motion_energy": np.full(2, energy, np.float32),
        }
        one = ledger(i)._replace(t_infer_ns=START_NS + i * PERIOD_NS + 1_000_000)
        pose = Pose(keypoints(x))
        for stage, t_ns in zip(
            Stage, (one.t_infer_ns, one.t_motion_ns, one.t_pupil_ns), strict=True
        ):
            early = one if stage == Stage.PUPIL else one._replace(t_pupil_ns=0, t_done_ns=0)
            one_by_one += live(early, pose, signals, t_ns, stage)
        at_once += decide(replay, one, pose, signals)
    key = [(d.n, d.rule, d.frame_seq, d.outcome, d.why, d.decided_ns) for d in one_by_one]
    assert key == [(d.n, d.rule, d.frame_seq, d.outcome, d.why, d.decided_ns) for d in at_once]
    assert {d.rule for d in at_once} == {"pose", "pupil", "energy"}
    assert all(d.decided_ns == d.exposure_ns + 10**6 for d in at_once if d.rule == "pose")


def test_a_recording_replays_exactly(tmp_path: Path) -> None:
    """Armed, disarmed and silent in between, with a function that is too slow once."""
    (tmp_path / "my_rule.py").write_text(
        "import time\n"
        "def rule(ledger, pose, signals):\n"
        "    time.sleep(0.002 if ledger.frame_seq == 150 else 0)\n"
        "    return pose.xy[0, 0] > 102\n"
    )
    limits = {"refractory_ms": 35.0, "pulse_ms": 1.0, "sham": 0.4, "output": "laser"}
    made = loop(
        {
            "puff": {
                "when": "nose(tip).x > 100 px",
                "blocks": {"on_s": 0.3, "off_s": 0.2},
                **limits,
            },
            "mine": {"python": "my_rule.py", "budget_us": 90.0, **limits},
        }
    )
    rng = np.random.default_rng(5)
    live = make(made, folder=tmp_path)
    frames, decided, notices = [], [], []
    for i in range(400):
        at_ns = START_NS + i * PERIOD_NS
        if i in (20, 120, 260):
            live.arm(at_ns + 1_000, "command", 2.0)
        if i == 90:
            live.disarm(at_ns + 1_000, "command")
        live.watch(at_ns + 1_000)
        light = {"lines": 0, "brightness": 100.0 + 30 * (i % 50 == 7)}
        one = Seen(ledger(i), Pose(keypoints(rng.normal(100, 5))), {}, light)
        frames.append(one)
        decided += decide(live, one.ledger, one.pose, one.signals, **light)
        notices += live.notices()
    again = make(made, folder=tmp_path, clock_ns=None)
    assert list(map(repr, replay(again, frames, notices))) == list(map(repr, decided))
    assert {d.outcome for d in decided} == {"fired", "sham", "suppressed"}
    assert {"disarmed", "off block", "refractory"} <= {d.why for d in decided}
    assert "rule disarmed" in [notice.what for notice in notices]
    other = make(made, folder=tmp_path, clock_ns=None, seed=2)
    assert list(map(repr, replay(other, frames, notices))) != list(map(repr, decided))


def test_a_forecast_fires_earlier() -> None:
    xs = [50.0] * 20 + [50 + 4.0 * i for i in range(30)]
    now = fired(run(make(rig()), xs))
    (one,) = run(make(rig(forecast_ms=20.0, follow_ms=10.0)), xs)
    assert one.frame_seq == now[0] - 2
    assert one.value < one.threshold < one.forecast
    # to the light: 8 ms old when decided, and 12 ms of the line
    tables = {"output": {"laser": {"kind": "dry", "light": False, "latency_ms": 12.0}}}
    when = "nose(tip).x > 100 px"
    rule = {"when": when, "output": "laser", "forecast_ms": "light", "follow_ms": 10.0}
    (same,) = run(make(loop({"puff": rule}, **tables)), xs, age_ns=8_000_000)
    assert same.frame_seq == one.frame_seq
    assert same.forecast == pytest.approx(one.forecast)


def user(tmp_path: Path, body: str, **rule: Any) -> Any:
    (tmp_path / "my_rule.py").write_text(body)
    return make(rig(python="my_rule.py", **rule), folder=tmp_path)


def test_a_function_of_the_users(tmp_path: Path) -> None:
    body = "def rule(ledger, pose, signals):\n    return pose.xy[0, 0] > 100\n"
    rules = user(tmp_path, body)
    assert fired(run(rules, [LOW, HIGH, HIGH])) == [1]
    assert rules.notices()[1:] == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("    return 1 / 0 > 0", "ZeroDivisionError"),
        ("    raise SystemExit", "SystemExit"),
        ("    return 'yes'", "returned str; return True, False or None"),
        ("    pose.keypoints[:] = 0", "ValueError"),
        ("    import time; time.sleep(0.002)", "us, its budget is 50 us"),
    ],
)
def test_a_bad_function_is_disarmed_and_told(tmp_path: Path, body: str, why: str) -> None:
    rules = user(tmp_path, f"def rule(ledger, pose, signals):\n{body}\n", budget_us=50.0)
    assert run(rules, [LOW, HIGH, LOW, HIGH]) == []
    (notice,) = [n for n in rules.notices() if n.what == "rule disarmed"]
    assert notice.rule == "puff"
    assert why in notice.why
    assert rules.armed  # the others go on


def test_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rule.puff.python: .* failed: SyntaxError"):
        user(tmp_path, "def rule(")
    with pytest.raises(UserError, match="no function named 'rule'"):
        user(tmp_path, "rules = 1")
    with pytest.raises(UserError, match="there is no file"):
        make(rig(python="other.py"), folder=tmp_path)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"output": "other"}, r"there is no \[output.other\]"),
        ({"pulse_ms": 500.0, "refractory_ms": 500.0}, "more than max_pulse_ms = 100"),
        ({"refractory_ms": 5.0}, "shorter than the pulse"),
        ({"python": "a.py", "when": "1 > 2"}, "either when or python"),
        ({"max_duty": 1e-4}, "could never fire"),
        ({"repeat": True, "refractory_ms": 0.0}, "repeat needs refractory_ms"),
    ],
)
def test_tables_that_cannot_work(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loop({"puff": {"when": "nose(tip).x > 1 px", "output": "laser", **rule}})


def test_the_template_is_what_there_is() -> None:
    text = "\n".join(line.removeprefix("# ") for line in LOOP_TEMPLATE.splitlines())
    given = tomllib.loads(text)
    made = ClosedLoop.model_validate(given)
    check_rules(made, "cam1", ["cam1"], NAMES, LAYOUT, 0.01)
    assert set(given["rule"]["puff"]) == set(RuleSection.model_fields) - {"python"}
    assert set(given["loop"]) == set(LoopSection.model_fields)
    # what stands in it uncommented is the default
    shown = tomllib.loads(LOOP_TEMPLATE)["loop"]
    assert shown == {key: getattr(LoopSection(), key) for key in shown}


def test_hazard_takes_only_lines_that_are_fail_safe() -> None:
    rule = {"puff": {"when": "nose(tip).x > 1 px", "output": "laser", "hazard": True}}
    kinds: dict[str, dict[str, str]] = {
        "open_ephys": {},
        "lsl": {},
        "osc": {},
        "nidaqmx": {"counter": "Dev1/ctr0"},
    }
    for kind, more in kinds.items():
        with pytest.raises(ValueError, match="goes idle by itself"):
            loop(rule, output={"laser": {"kind": kind, **more}})
    loop(rule, output={"laser": {"kind": "serial", "port": "/dev/ttyACM0"}})


def test_a_camera_that_is_too_slow() -> None:
    with pytest.raises(UserError, match="has 15 frames per second, and rules need 20"):
        check_rules(rig(), "cam1", ["cam1"], NAMES, LAYOUT, 1 / 15)


def test_rules_of_two_cameras() -> None:
    rules = {
        "a": {"when": "nose(tip).x > 1 px", "output": "laser"},
        "b": {"when": "nose(tip).y > 1 px", "output": "other", "camera": "cam2"},
    }
    made = loop(rules, output={"laser": {"kind": "dry"}, "other": {"kind": "dry"}})
    for camera, expected in (("cam1", {"a"}), ("cam2", {"b"})):
        names = check_rules(made, camera, ["cam1", "cam2"], NAMES, LAYOUT, 0.01)
        assert set(names) == expected
    with pytest.raises(UserError, match=r"rule\.b\.camera: there is no camera 'cam2'"):
        check_rules(made, "cam1", ["cam1"], NAMES, LAYOUT, 0.01)
    rules["b"]["output"] = "laser"
    with pytest.raises(ValueError, match=r"rule\.a\.camera: is left out, and rule\.b, which fires"):
        loop(rules)
    rules["a"]["camera"] = "cam1"
    with pytest.raises(ValueError, match="each camera needs a line of its own"):
        loop(rules)


def test_until_lies_on_the_right_side() -> None:
    for when, until in (("nose(tip).x > 1 px", "2 px"), ("nose(tip).x < 1 px", "0 px")):
        with pytest.raises(UserError, match=r"rule.puff.until: lies .* the threshold of when"):
            check_rules(rig(when, until=until), "cam1", ["cam1"], NAMES, LAYOUT, 0.01)


@pytest.mark.parametrize(("pulse_ms", "duty"), [(10.0, 0.05), (100.0, 0.3), (300.0, 0.1)])
def test_duty_over_a_minute_of_wanting(pulse_ms: float, duty: float) -> None:
    section = RuleSection(
        output="laser", when="1", pulse_ms=pulse_ms, refractory_ms=pulse_ms, max_duty=duty
    )
    limits, times = Limits(section), []
    for now in range(START_NS, START_NS + 60 * 10**9, 7_000_000):
        if not limits.forbid(now):
            limits.fire(now)
            times.append(now)
    starts, pulse_ns = np.array(times, np.int64), round(pulse_ms * 1e6)
    parts = []
    for end in np.concatenate([starts, starts + pulse_ns]):
        on = np.minimum(starts + pulse_ns, end) - np.maximum(starts, end - 10**10)
        parts.append(np.clip(on, 0, None).sum() / 1e10)
    assert 0.8 * duty < max(parts) <= duty + 1e-9


def test_which_frames_a_pulse_spoils() -> None:
    """Frames every 10 ms, exposed 2 ms, known to 1 ms; our light from 100 to 105 ms."""
    gate = LightGate(10_000_000, 2_000_000, None, 0.08)
    ms = 1_000_000
    gate.lit(100 * ms, 105 * ms)
    # the last part of an exposure, and the first part of the one before, count; so do errors
    cases = {97: "", 98: "our own light", 107: "our own light", 116: "our own light", 118: ""}
    for t_ms, why in cases.items():
        assert gate(t_ms * ms, 1 * ms, 0, np.nan) == why


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 400_000_000), min_size=1, max_size=150),
    st.sampled_from([1.0, 10.0, 300.0]),
    st.sampled_from([0.0, 50.0, 400.0]),
    st.integers(1, 10),
    st.floats(0.1, 1),
    st.integers(1, 60),
)
def test_limits_hold_whatever_comes(
    gaps: list[int], pulse_ms: float, refractory_ms: float, per_s: int, duty: float, most: int
) -> None:
    refractory_ms = max(refractory_ms, pulse_ms) if refractory_ms else 0.0
    section = RuleSection(
        output="laser",
        when="1",
        pulse_ms=pulse_ms,
        refractory_ms=refractory_ms,
        max_per_s=per_s,
        max_duty=duty,
        max_fires=most,
    )
    limits, times, now = Limits(section), [], START_NS
    for gap in gaps:
        now += gap
        if not limits.forbid(now):
            limits.fire(now)
            times.append(now)
    starts = np.array(times, np.int64)
    pulse_ns = round(pulse_ms * 1e6)
    assert 1 <= len(starts) <= most
    assert (np.diff(starts) >= max(refractory_ms * 1e6, pulse_ns)).all()
    for t in starts:
        assert ((starts > t - 10**9) & (starts <= t)).sum() <= per_s
        for end in (t, t + pulse_ns):  # windows of 10 s that end with a pulse's start and end
            on = np.minimum(starts + pulse_ns, end) - np.maximum(starts, end - 10**10)
            assert np.clip(on, 0, None).sum() <= duty * 10**10 + 1
