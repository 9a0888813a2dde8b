"""Parts of the closed loop that need no run: rings of events, several rigs, orders, sessions."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rtface import platform
from rtface.config import Rig, load_rig, parse_rig
from rtface.event_ring import EventRingReader, EventRingWriter
from rtface.join import join_rigs
from rtface.orders import pass_arming, pass_state
from rtface.pupil.record import FIELDS
from rtface.rules_config import rules_of
from rtface.session.signals import check_signals
from rtface.types import UserError

RIG = """
[camera.{camera}]
kind = "synthetic"
[output.{line}]
kind = "dry"
[rule.{rule}]
when = "nose(tip).x > 3 px"
output = "{line}"
"""


def rig(folder: Path, camera: str, line: str, rule: str) -> tuple[Path, Rig]:
    path = folder / f"{camera}.toml"
    path.write_text(RIG.format(camera=camera, line=line, rule=rule))
    return path, load_rig(path)


def test_events_come_out_whole_and_losses_are_counted(ring_dir: Path) -> None:
    writer, reader = EventRingWriter("cam1", "s"), EventRingReader("cam1")
    event: dict[str, Any] = {"kind": "rules", "what": "rule disarmed", "rule": "puff", "t_ns": 5}
    writer.write({**event, "why": "bad " + "x" * 9000, "nothing": float("nan")})
    writer.write({"kind": "decision", "scores": {f"point {i}" * 9: 0.5 for i in range(200)}})
    first, second = reader.new()
    assert {key: first[key] for key in event} == event
    assert first["why"].startswith("bad xxx")
    assert first["nothing"] is None
    assert second == {"kind": "decision", "scores": {}}
    for i in range(2000):
        writer.write({"kind": "line", "n": i})
    got = [event["n"] for event in reader.new()]
    assert got == list(range(2000 - len(got), 2000))
    assert reader.lost == 2000 - len(got) > 0
    writer.close()
    reader.close()


@pytest.mark.skipif(sys.platform == "win32", reason="rings of Windows were never run")
def test_a_killed_tracker_s_events_are_swept(ring_dir: Path) -> None:
    code = (
        "import os\nfrom rtface.event_ring import EventRingWriter\n"
        "ring = EventRingWriter('cam1', 's')\nos._exit(3)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env=os.environ)
    assert [path.name for path in ring_dir.iterdir()] == ["cam1.events"]
    assert platform.sweep_stale() == ["cam1.events"]
    EventRingWriter("cam1", "s").close()


def test_a_rule_without_camera_stays_with_its_own_file(tmp_path: Path) -> None:
    files = [rig(tmp_path, "cam1", "led", "blink"), rig(tmp_path, "cam2", "laser", "puff")]
    joined = join_rigs(files)
    assert {c: list(rules_of(joined, c)) for c in joined.camera} == {
        "cam1": ["blink"],
        "cam2": ["puff"],
    }
    again = [files[0], rig(tmp_path, "cam3", "led", "puff")]
    with pytest.raises(UserError, match=r"output.led is in both; rename"):
        join_rigs(again)


def test_disarming_reaches_every_tracker_that_listens(tmp_path: Path) -> None:
    joined = join_rigs(
        [rig(tmp_path, "cam1", "led", "blink"), rig(tmp_path, "cam2", "laser", "puff")]
    )
    told: list[tuple[str, str]] = []

    def process(camera: str, listens: bool) -> Any:
        def order(cmd: str, **_: Any) -> bool:
            told.append((camera, cmd))
            return listens

        return SimpleNamespace(role="track", camera=camera, order=order, arming_orders=0)

    with pytest.raises(UserError, match="tracker of cam1 does not listen"):
        pass_arming(joined, [process("cam1", False), process("cam2", True)], "disarm", "")
    assert told == [("cam1", "disarm"), ("cam2", "disarm")]
    told.clear()  # armed are all of them or none
    with pytest.raises(UserError, match="tracker of cam2 does not listen"):
        pass_arming(joined, [process("cam1", True), process("cam2", False)], "arm", "")
    assert told == [("cam1", "arm"), ("cam2", "arm"), ("cam1", "disarm"), ("cam2", "disarm")]
    for seconds in ("x", "0", "-1", "1e9"):
        with pytest.raises(UserError, match="seconds"):
            pass_arming(joined, [], "arm", seconds)


def test_what_a_camera_does_is_told_to_its_own_tracker_once(tmp_path: Path) -> None:
    joined = join_rigs(
        [rig(tmp_path, "cam1", "led", "blink"), rig(tmp_path, "cam2", "laser", "puff")]
    )
    bare = joined.model_copy(update={"rule": {}})
    told: list[tuple[str, str]] = []

    def process(role: str, camera: str, state: str = "running") -> Any:
        def order(cmd: str, **fields: Any) -> bool:
            told.append((camera, fields["state"]))
            return True

        return SimpleNamespace(role=role, camera=camera, order=order, counts={"state": state})

    trackers = [process("track", "cam1"), process("track", "cam2")]
    pass_state(joined, process("acquire", "cam2"), "running", trackers)
    pass_state(bare, process("acquire", "cam2"), "gone", trackers)
    assert told == []
    pass_state(joined, process("acquire", "cam2"), "gone", trackers)
    pass_state(joined, process("acquire", "cam2", "gone"), "running", trackers)
    assert told == [("cam2", "gone"), ("cam2", "running")]


@pytest.mark.parametrize("kind", ['kind = "seriel"', "x = 1"])
def test_an_unknown_kind_of_line_lists_lines(kind: str) -> None:
    key, value = kind.split(" = ")
    told = {
        "camera": {"cam1": {"kind": "synthetic"}},
        "output": {"laser": {key: value.strip('"')}},
    }
    with pytest.raises(UserError, match=r'output.laser: .* "serial", "open_ephys"'):
        parse_rig(told, "rig.toml")


META: dict[str, Any] = {
    "motion": {"areas": [{"name": "full", "motion": 3, "movie": 0}], "masks": None},
    "pupil": {"fields": list(FIELDS), "box": None, "sigma": 2.0},
    "rules": {"seed": 3},
    "running": None,
}
LENGTHS = {"motion_energy": 1, "motion": 3, "pupil": len(FIELDS), "brightness": 1}


def test_what_a_session_says_of_its_signals_is_believed_if_it_is_whole() -> None:
    check_signals(META, LENGTHS)
    check_signals({}, {})


@pytest.mark.parametrize(
    ("change", "lengths"),
    [
        ({"motion": None}, LENGTHS),
        ({"motion": {"areas": [{"name": "full"}]}}, LENGTHS),
        ({"motion": {"areas": [{"name": "full", "motion": -3, "movie": 0}]}}, LENGTHS),
        ({"motion": {"areas": 5}}, LENGTHS),
        ({"pupil": {"fields": ["a"], "sigma": 2.0}}, LENGTHS),
        ({"pupil": {"fields": list(FIELDS), "box": [1, 2], "sigma": 2.0}}, LENGTHS),
        ({"pupil": {"fields": list(FIELDS), "box": None, "sigma": "x"}}, LENGTHS),
        ({"rules": {"seed": "x"}}, LENGTHS),
        ({"rules": None}, LENGTHS),
        ({}, {**LENGTHS, "motion": 4}),
        ({}, {**LENGTHS, "running": 4}),
        ({"rules": []}, {k: v for k, v in LENGTHS.items() if k != "pupil"}),
    ],
)
def test_what_does_not_fit_is_a_value_error(change: dict[str, Any], lengths: Any) -> None:
    with pytest.raises(ValueError, match=r"meta\."):
        check_signals({**copy.deepcopy(META), **change}, lengths)
