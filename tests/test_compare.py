"""The bench beside other programs: its arithmetic, and rtface's own part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from rtface.config import EngineSection
from rtface.facemap.convert import import_weights

sys.path.insert(0, str(ROOT / "bench" / "compare"))
import peers
import turns


def test_a_turn_of_known_times():
    turn = turns.turn_of([1_000_000] * 50 + [3_000_000] * 50, cpu_ns=150_000_000)
    assert turn["p50_ms"] == 2.0
    assert turn["p99_ms"] == 3.0
    assert turn["fps"] == pytest.approx(500)
    assert turn["cpu_ms"] == 1.5
    assert turn["frames"] == 100


def test_ratios_are_taken_within_turns():
    """A machine that is three times as slow for one turn changes no ratio."""

    def turn(ms: float) -> dict[str, float]:
        return turns.turn_of([int(ms * 1e6)] * 4, cpu_ns=int(ms * 2e6))

    slow = (1, 3, 1)
    ms = {"ours": 2, "ours, fast": 1, "theirs": 50}
    measured = {name: [turn(one * s) for s in slow] for name, one in ms.items()}
    about = {
        "ours": {"keypoints": 16},
        "ours, fast": {"keypoints": 16},
        "theirs": {"parameters": 1_500_000},
        "absent": {"why": "not measured: cannot be installed"},
    }
    ours, fast, theirs, absent = turns.rows(measured, about)
    assert ours == {
        "peer": "ours",
        "p50_ms": 2.0,
        "p99_ms": 2.0,
        "fps": 500.0,
        "cpu_ms": 1.0,
        "times ours": 1.0,
        "CPU, times ours": 1.0,
        "times ours, fast": 2.0,
        "CPU, times ours, fast": 2.0,
        "frames": 12,
        "note": "",
    }
    assert theirs["times ours"] == theirs["CPU, times ours"] == 25.0
    assert theirs["times ours, fast"] == theirs["CPU, times ours, fast"] == 50.0
    assert fast["times ours"] == 0.5
    assert theirs["note"] == "1.5 M parameters, random"
    assert absent["note"] == "not measured: cannot be installed"
    assert {absent[k] for k in ("p50_ms", "p99_ms", "fps", "cpu_ms", "times ours")} == {"-"}
    # one that ended early is compared with the turns that it took part in
    measured["theirs"] = measured["theirs"][:2]
    assert turns.rows(measured, about)[2]["times ours"] == 25.0
    assert turns.rows({}, about)[0]["frames"] == 0
    faster = turns.rows(measured, about, "theirs")
    assert [row["times faster than theirs"] for row in faster] == [25.0, 50.0, 1.0, "-"]
    assert faster[1]["CPU, times faster than theirs"] == 50.0
    assert "times ours" not in faster[0]


def test_what_is_installed_is_pinned(tmp_path):
    ours = [peer for peer in peers.PEERS if peer.name.startswith("rtface")]
    for peer in ours:
        assert peers.python_of(peer, tmp_path) == Path(sys.executable)
    for peer in peers.PEERS[len(ours) :]:
        assert peer.installs
        for requirement in (r for step in peer.installs for r in step):
            assert "==" in requirement
    for peer in peers.PEERS:
        assert (peers.HERE / peer.worker[0]).is_file()


def test_a_peer_that_cannot_be_installed_says_why():
    says = "import sys; sys.exit('ERROR: No matching distribution found for absent\\na notice')"
    with pytest.raises(peers.Unavailable, match=r"cannot be installed: ERROR: .* for absent$"):
        peers._run(peers.PEERS[0], [sys.executable, "-c", says])


def test_a_bundle_in_all_it_runs_in(tmp_path):
    made = peers.of_bundle(tmp_path / "mine")
    for peer in made:
        runtime, precision, folder = peer.worker[1:]
        assert peer.name == f"mine, {runtime} {precision}"
        EngineSection(runtime=runtime, precision=precision, bundle=folder)
    assert len({peer.name for peer in made}) == len(made) > 4


@pytest.mark.slow
def test_a_network_of_facemaps_shape_is_measured(tmp_path):
    """What stands beside Facemap there: rows that ran, and why the others did not."""
    import_weights(ROOT / "tests" / "data" / "fmnet_small.pt", tmp_path / "small")
    command = [sys.executable, ROOT / "bench/compare/run.py", "--quick", "--turns", "1"]
    command += ["--seconds", "0.2", "--venvs", tmp_path, "--bundle", tmp_path / "small"]
    done = subprocess.run(
        [*command, "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        # no installation of Facemap is wanted here
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "compare-bundle.json").read_text())["results"]
    facemap, plain, *_, fast = told["rows"]
    assert "cannot be installed" in facemap["note"]
    assert plain["peer"] == "small, onnxruntime fp32"
    assert plain["frames"] >= 3
    assert told["peers"][plain["peer"]]["keypoints"] == 15
    assert fast["frames"] == 0
    assert "int8" in fast["note"].lower()


@pytest.mark.slow
def test_compare_measures_rtface(tmp_path):
    command = [sys.executable, ROOT / "bench/compare/run.py", "--quick", "--only", "rtface"]
    done = subprocess.run(
        [*command, "--out", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "compare.json").read_text())
    row, fast = said["results"]["rows"]
    assert row["peer"] == "rtface"
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert row["times rtface"] == row["CPU, times rtface"] == 1.0
    assert row["frames"] >= 9
    # measured, or the table says that this processor has no BF16
    assert fast["frames"] >= 9 or "BF16" in fast["note"]
    assert {"rtface", "onnxruntime"} <= set(said["results"]["peers"]["rtface"]["versions"])
    assert "one core, one thread" in done.stdout
