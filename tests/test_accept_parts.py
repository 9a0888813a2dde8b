"""Acceptance without a rig: what it is bound to, what it refuses, and its arithmetic."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import RTFACE
from rules_cases import ledger

from rtface.accept.chain import judge_chain, terms
from rtface.accept.drill import RULE, Fired, drilled
from rtface.accept.frames import Frames
from rtface.accept.judge import judge_light, judge_line, judge_loopback, judge_tracking, read_window
from rtface.accept.kill import Hit, Told, cannot, judge
from rtface.accept.lines import Trial
from rtface.accept.record import meaning, report_path, require_accepted, write_report
from rtface.accept.steps import FAILED, NOT_DONE, OF_OUTPUT, PASSED, Step, obstacles
from rtface.accept.tracking import Flashed
from rtface.config import Rig, load_rig
from rtface.flashes import Flashes
from rtface.rules_config import OpenEphysSection, SerialSection
from rtface.run import Supervisor
from rtface.types import UserError

RIG = """
[camera.cam1]
kind = "synthetic"
[output.laser]
kind = "serial"
port = "/dev/nowhere"
[rule.puff]
python = "my_rule.py"
output = "laser"
hazard = true
"""


def rig_file(folder: Path, text: str = RIG) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "my_rule.py").write_text("def rule(ledger, pose, signals):\n    return None\n")
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def all_passed() -> list[Step]:
    steps = [Step("check", "", PASSED, ""), Step("tracking", "cam1", PASSED, "")]
    return [*steps, *(Step(name, "laser", PASSED, "") for name in OF_OUTPUT)]


def test_what_a_rig_file_means(tmp_path: Path) -> None:
    path = rig_file(tmp_path / "a")
    before = meaning(path)
    path.write_text("# a remark\n" + RIG.replace('port = "', 'baud = 500000\nport = "'))
    assert meaning(path) == before  # a default that is written out, and a remark
    assert meaning(rig_file(tmp_path / "b")) == before  # another folder
    assert meaning(rig_file(tmp_path / "b", RIG.replace("nowhere", "ttyACM0"))) != before
    (path.parent / "my_rule.py").write_text("def rule(ledger, pose, signals):\n    return True\n")
    assert meaning(path) != before
    (path.parent / "my_rule.py").unlink()
    with pytest.raises(UserError, match=r"rule\.puff\.python: .*my_rule\.py: cannot be read"):
        meaning(path)


def test_another_neural_model_is_another_rig(tmp_path: Path) -> None:
    path = rig_file(tmp_path, RIG + '[camera.cam1.neural]\nbundle = "model"\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "my_rule.py").write_text("")
    (tmp_path / "model" / "neural.json").write_text("{}")
    before = meaning(path)
    (tmp_path / "model" / "neural.json").write_text('{"fitted": "again"}')
    assert meaning(path) != before
    (tmp_path / "model" / "neural.json").unlink()
    with pytest.raises(UserError, match=r"camera\.cam1\.neural\.bundle: .* cannot be read"):
        meaning(path)


@pytest.mark.parametrize(
    "other", ["[loop]\nlight_step = 10.0\nmax_skipped = 1.0\n", "[engine]\npriority = 3\n"]
)
def test_a_run_with_another_files_loop_is_not_what_was_accepted(tmp_path: Path, other: str) -> None:
    path, beside = rig_file(tmp_path), tmp_path / "beside.toml"
    beside.write_text('[camera.cam2]\nkind = "synthetic"\nseed = 8\n' + other)
    write_report(path, meaning(path), all_passed())
    key = other.split("]")[0][1:]
    with pytest.raises(UserError, match=rf"hazard = true, and the \[{key}\] of this run is that"):
        require_accepted([(one, load_rig(one)) for one in (path, beside)])
    beside.write_text(beside.read_text().replace(other, ""))
    require_accepted([(one, load_rig(one)) for one in (path, beside)])


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        require_accepted([(path, load_rig(path))])
    text = str(caught.value)
    assert text.startswith(f"{path}: rule.puff: hazard = true, and ")
    assert text.endswith(f"run: rtface accept {path}")
    assert "\n" not in text
    return text


def test_who_may_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rig_file(tmp_path)
    assert "it was never accepted" in refusal(path)
    assert write_report(path, meaning(path), all_passed()) == tmp_path / "rig.accept.json"
    require_accepted([(path, load_rig(path))])
    for outcome in (FAILED, NOT_DONE):
        steps = [
            s if s.name != "kill" else Step("kill", "laser", outcome, "") for s in all_passed()
        ]
        write_report(path, meaning(path), steps)
        assert f"step kill laser {outcome}" in refusal(path)
    write_report(path, meaning(path), all_passed()[:-1])
    assert "step kill laser not done" in refusal(path)
    write_report(path, meaning(path), all_passed())
    path.write_text(RIG.replace("[rule.puff]", "[rule.puff]\npulse_ms = 11.0"))
    assert "it was changed since it was accepted" in refusal(path)
    path.write_text(RIG)
    require_accepted([(path, load_rig(path))])
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert "not on another" in refusal(path)
    monkeypatch.undo()
    for damage in ("{", "[]", json.dumps({"format": 1}), json.dumps({"format": 7, "steps": []})):
        report_path(path).write_text(damage)
        assert "rig.accept.json" in refusal(path)
    # what harms nobody needs no acceptance
    path.write_text(RIG.replace("hazard = true", ""))
    require_accepted([(path, load_rig(path))])


def test_only_rules_of_hazard_are_held() -> None:
    rule = {"when": "nose(tip).x > 1 px", "output": "laser", "hazard": True}
    told: dict[str, Any] = {
        "camera": {"cam1": {"kind": "synthetic"}, "cam2": {"kind": "synthetic"}},
        "output": {"laser": {"kind": "dry"}, "led": {"kind": "dry"}},
        "rule": {
            "puff": {**rule, "camera": "cam1"},
            "blink": {**rule, "camera": "cam2", "output": "led"},
            "mark": {**rule, "camera": "cam2", "output": "led", "hazard": False},
        },
    }
    assert obstacles(Rig.model_validate(told), all_passed()) == {
        "blink": "step tracking cam2 not done"
    }


@pytest.mark.timeout(60)
def test_an_armed_run_is_refused_in_one_line(tmp_path: Path) -> None:
    path = rig_file(tmp_path)
    done = subprocess.run(
        [RTFACE, "run", str(path), "--armed"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"rtface: {path}: rule.puff: hazard = true, and it was never accepted")
    assert line.endswith(f"rtface accept {path}")


def test_a_run_that_is_armed_asks_again_with_every_order_to_arm(tmp_path: Path) -> None:
    rig = load_rig(rig_file(tmp_path))
    supervisor = Supervisor(rig, armed=True)
    with pytest.raises(UserError, match="nobody looked whether its rig was accepted"):
        supervisor.start()
    supervisor.stop()

    def refuse() -> None:
        raise UserError("not accepted")

    for armed, told in ((True, "not accepted"), (False, "")):
        supervisor = Supervisor(rig, armed=armed, may_arm=refuse)
        try:
            if told:
                with pytest.raises(UserError, match=told):
                    supervisor.act("arm", {"seconds": ""})
            else:
                supervisor.act("arm", {"seconds": ""})  # dry: nothing fires
            supervisor.act("disarm", {})
        finally:
            supervisor.stop()


def test_a_drill_fires_one_line_and_nothing_else(tmp_path: Path) -> None:
    text = RIG.replace(
        "[rule.puff]",
        '[output.led]\nkind = "dry"\n[rule.mark]\nwhen = "nose(tip).x > 1 px"\noutput = "led"\n'
        "[rule.puff]",
    )
    made = drilled(load_rig(rig_file(tmp_path, text)), "cam1", "laser", 100.0, 0.4)
    assert {rule: section.output for rule, section in made.rule.items()} == {
        "mark": "dry_cam1",
        "puff": "dry_cam1",
        RULE: "laser",
    }
    assert not any(section.hazard for section in made.rule.values())
    assert made.rule[RULE].refractory_ms >= 100.0 / 0.4
    assert made.output["laser"].kind == "serial"
    assert set(made.output) == {"laser", "dry_cam1"}


PERIOD = 10_000_000
EXPOSED = 10**12 + np.arange(3000) * PERIOD


def pulses(n: int = 60, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    on = 10**12 + 200_000_000 + np.cumsum(rng.integers(150, 250, n) * 1_000_000)
    return np.stack([on, on + rng.integers(40, 90, n) * 1_000_000 + rng.integers(0, PERIOD, n)], 1)


def seen(shots: np.ndarray, read_ns: int) -> np.ndarray:
    """What frames say that read their line ``read_ns`` after the middle of their exposure."""
    at = EXPOSED + read_ns
    return ((at[:, None] >= shots[:, 0]) & (at[:, None] < shots[:, 1])).any(axis=1)


@pytest.mark.parametrize("read_ns", [-500_000, 0, 6_000_000])
def test_when_a_camera_reads_its_lines(read_ns: int) -> None:
    shots = pulses()
    found = read_window(shots, EXPOSED, seen(shots, read_ns))
    assert (found.unseen, found.strays) == (0, 0)
    assert found.low_ns - 400_000 <= read_ns <= found.high_ns + 400_000
    assert found.high_ns - found.low_ns < 1_000_000


def flashed(shots: np.ndarray, high: np.ndarray, grey: Any = 0.0) -> Flashed:
    n = len(EXPOSED)
    zero = np.zeros(n, np.int64)
    greys = np.broadcast_to(np.asarray(grey, float), n)
    frames = Frames(
        np.arange(n), zero, EXPOSED, EXPOSED, EXPOSED, zero + 100_000, zero, high * 2, greys
    )
    return Flashed([(on, off, 50_000) for on, off in shots.tolist()], frames, [])


SERIAL = SerialSection(kind="serial", port="/dev/nowhere", seen_line=1, seen_box=(0, 0, 8, 8))


def test_a_line_that_is_looped_back_into_the_camera() -> None:
    shots = pulses()
    good = judge_loopback("laser", SERIAL, flashed(shots, seen(shots, -500_000)))
    assert good.outcome == PASSED, good.text
    # stamps that are off by two frames, a pulse that nobody saw, a line that is high by itself
    two_frames = judge_loopback("laser", SERIAL, flashed(shots, seen(shots, 2 * PERIOD)))
    assert two_frames.outcome == FAILED
    lost = judge_loopback("laser", SERIAL, flashed(shots, seen(shots[1:], 0)))
    assert lost.outcome == FAILED
    assert "1 not seen" in lost.text
    stray = seen(shots, 0)
    stray[8] = True
    assert (
        "1 frames high without one" in judge_loopback("laser", SERIAL, flashed(shots, stray)).text
    )
    gone = flashed(shots, seen(shots, 0))._replace(faults=["down pulse 3 was longer"])
    assert "given up meanwhile: pulse 3 was longer" in judge_loopback("laser", SERIAL, gone).text
    assert judge_light("laser", SERIAL, gone)[0].outcome == FAILED
    dead = judge_loopback("laser", SERIAL, flashed(shots, np.zeros(len(EXPOSED), bool)))
    assert "was never high" in dead.text
    few = judge_loopback("laser", SERIAL, flashed(shots[:5], seen(shots[:5], 0)))
    assert "only 5 pulses while frames came" in few.text
    unwired = SERIAL.model_copy(update={"seen_line": None})
    assert judge_loopback("laser", unwired, None).outcome == NOT_DONE
    plugin = OpenEphysSection(kind="open_ephys", seen_line=1)
    silent = judge_loopback("mark", plugin, flashed(shots[:0], seen(shots, 0)))
    assert (silent.outcome, "no board" in silent.text) == (NOT_DONE, True)


def lit(shots: np.ndarray, late_ns: int, exposure_ns: int = 2_000_000) -> np.ndarray:
    """Grey values of frames whose stated times are late, in a light that shines with the line."""
    start = EXPOSED - late_ns - exposure_ns // 2
    overlap = np.minimum(start[:, None] + exposure_ns, shots[:, 1]) - np.maximum(
        start[:, None], shots[:, 0]
    )
    return 20 + 180 * np.clip(overlap, 0, None).sum(axis=1) / exposure_ns


@pytest.mark.parametrize(("late_ms", "outcome"), [(0.05, PASSED), (-1.9, PASSED), (3.0, FAILED)])
def test_a_light_that_its_camera_sees(late_ms: float, outcome: str) -> None:
    shots = pulses(140)
    step, found = judge_light(
        "laser", SERIAL, flashed(shots, seen(shots, 0), lit(shots, round(late_ms * 1e6)))
    )
    assert step.outcome == outcome, step.text
    assert found is not None
    assert found.late_ns / 1e6 == pytest.approx(late_ms, abs=0.05)
    assert found.exposure_ns / 1e6 == pytest.approx(2, abs=0.1)


def test_a_light_whose_times_are_too_uncertain_is_no_proof() -> None:
    shots = pulses(140)
    seen_at = lit(shots, 0)
    shaken = shots + np.random.default_rng(4).normal(0, 12e6, (len(shots), 1)).astype(np.int64)
    step, found = judge_light("laser", SERIAL, flashed(shaken, seen(shots, 0), seen_at))
    assert (step.outcome, found) == (FAILED, None)
    assert "longer than a frame" in step.text or "wiring" in step.text


def test_a_light_that_nobody_sees() -> None:
    shots = pulses()
    step, found = judge_light("laser", SERIAL, flashed(shots, seen(shots, 0), 20.0))
    assert (step.outcome, found) == (FAILED, None)
    assert "the light is not seen" in step.text
    dark = SERIAL.model_copy(update={"seen_box": None})
    step, _ = judge_light("laser", dark, flashed(shots, seen(shots, 0)))
    assert step.outcome == NOT_DONE
    assert "output.laser.seen_box" in step.text


def test_frames_have_to_be_accounted_for() -> None:
    counts = {"produced": 1000, "delivered": 1000, "lost_camera": 0, "tracked": 990, "skipped": 10}
    assert judge_tracking("cam1", counts, (990, 0), 10.0, 0.001, 0.5).outcome == PASSED
    for change, received, why in (
        ({"tracked": 989}, (989, 0), "not every frame is accounted for"),
        ({"produced": 1002, "lost_camera": 2}, (990, 0), "lost more than 0.1%"),
        ({"tracked": 400, "skipped": 600}, (400, 0), "max_skipped"),
        ({}, (980, 10), "messages were lost"),
        ({}, (0, 0), "the subscriber did not get what was tracked"),
        ({}, (600, 0), "the subscriber did not get what was tracked"),
    ):
        step = judge_tracking("cam1", {**counts, **change}, received, 10.0, 0.001, 0.5)
        assert step.outcome == FAILED
        assert why in step.text
    assert judge_tracking("cam1", {}, (0, 0), 10.0, 0.001, 0.5).outcome == FAILED


def test_a_line_has_to_answer_every_pulse() -> None:
    assert judge_line("laser", Trial(10, 10, [1.0] * 10, [], {"max_duty": 0.5})).outcome == PASSED
    assert judge_line("laser", Trial(10, 10, [1.0] * 9, ["lost no answer"], {})).outcome == FAILED
    assert judge_line("mark", Trial(10, 10, [], [], {})).outcome == NOT_DONE
    assert judge_line("mark", Trial(10, 0, [], ["down"], {})).outcome == FAILED


def fired(n: int, told: int) -> list[Fired]:
    """Exposed at 0, delivered at 7 ms, commanded at 10 and on at 10.5."""
    found = []
    for i in range(n):
        one = ledger(i, age_ns=7_000_000)
        t = one.exposure_ns + 10_000_000
        found.append(Fired(one, t - 5000, t, t + 400_000 if i < told else None, 100_000))
    return found


FLASHES = Flashes(1e6, 1e4, 2e6, np.zeros(3), np.zeros(3), np.zeros(3))


def test_the_whole_chain_and_where_its_terms_are_from() -> None:
    found = {term.name: term for term in terms(fired(30, 30), FLASHES, None, 2.0)}
    # stated exposures are late by 1 ms: the way is 1 ms longer than it seems
    assert found["exposure / 2"].p50_ms == 1
    assert found["readout, transfer"].p50_ms == 7
    assert found["software"].p50_ms == 3
    assert found["line"].p50_ms == 0.5
    whole = found["middle of exposure to line"]
    assert whole.p50_ms == 11.5
    assert {found[name].how for name in ("exposure / 2", "software", "line")} == {"measured"}
    assert (found["line to light"].how, found["line to light"].p50_ms) == ("declared", 2)
    stated = {term.name: term for term in terms(fired(30, 30), None, 4000.0, 2.0)}
    assert (stated["exposure / 2"].how, stated["exposure / 2"].p50_ms) == ("declared", 2)
    assert (stated["readout, transfer"].how, stated["readout, transfer"].p50_ms) == ("declared", 5)
    unknown = terms(fired(30, 30), None, None, 2.0)
    assert unknown[0].how == "not known"
    assert math.isnan(unknown[0].p50_ms)
    assert "not known" in unknown[0].line()


def test_a_chain_needs_pulses_that_the_line_told_of() -> None:
    assert judge_chain("laser", fired(100, 96), FLASHES, None, 2.0).outcome == PASSED
    assert judge_chain("laser", fired(100, 90), FLASHES, None, 2.0).outcome == FAILED
    assert judge_chain("laser", fired(10, 10), FLASHES, None, 2.0).outcome == FAILED
    assert judge_chain("mark", fired(100, 0), FLASHES, None, 2.0).outcome == NOT_DONE


MS = 1_000_000


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (Told(1000, 81_000, "W"), PASSED),
        (Told(1000, 41_000, "E"), PASSED),
        (Told(1000, 200_000, "W"), FAILED),
        (Told(1000, None, ""), FAILED),
        (Told(1000, 3000, "E"), None),  # over before the tracker was hit
        (Told(9000, 81_000, "W"), None),  # not yet on
    ],
)
def test_a_line_is_off_within_the_watchdog_s_time(told: Told, outcome: str | None) -> None:
    # the board's clock was 500 us when ours was 10 s, and the tracker was hit 5 ms later
    hit = Hit(7, 10**10 + 5 * MS, 1000, (10**10, 50_000, 500))
    step = judge("kill", "laser", hit, told, 100_000)
    assert (step and step.outcome) == outcome
    wrapped = Hit(7, 10**10 + 5 * MS, 1000, (10**10, 50_000, 2**32 - 500))
    again = Told(
        told.on_us and (told.on_us - 1000) % 2**32,
        told.off_us and (told.off_us - 1000) % 2**32,
        told.kind,
    )
    step = judge("kill", "laser", wrapped, again, 100_000)
    assert (step and step.outcome) == outcome
    assert judge("kill", "laser", hit._replace(hit_err_ns=20 * MS), told, 100_000) is None


def test_only_a_board_can_tell_when_a_line_went_off() -> None:
    assert "no board" in cannot("mark", OpenEphysSection(kind="open_ephys"))
    assert cannot("laser", SERIAL) == ""
