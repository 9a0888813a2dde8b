"""Motion components as what explains neurons: recorded, fitted, explained, live and in a rule."""

from __future__ import annotations

import csv
import itertools
import shutil
import time
from pathlib import Path
from typing import Any

import board
import numpy as np
import pytest
from neural_cases import write_all
from programs import RECORD, only_session, running
from test_neural_live import CAMERA, RULES, neurons_of, nose_of, said

import rtface
from rtface.cli.neural_data import load
from rtface.neural.behaviour import make_behaviour, read_behaviour
from rtface.neural.bundle import load_bundle
from rtface.neural.columns import Column
from rtface.neural.scaling import scaling
from rtface.neural.simulate import simulate, smooth_noise
from rtface.retrigger import redecide
from rtface.rules import layout_of
from rtface.types import UserError

LINES = """inputs = ["keypoints", "motion"]
keypoints = ["nose(tip)"]
components = 4
lags_s = [0.05, 0.5]
"""


def moved(camera: Any) -> dict[str, np.ndarray]:
    """A region of the first motion component, and one of the nose."""
    return {"motor": camera.signal("motion")[:, 0].astype(float), **nose_of(camera)}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_motion_explains_and_predicts_live_as_offline(tmp_path: Path, ring_dir: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    record = RECORD.format(video="none")
    # masks are made in the run: those are the session's, and the next run's
    motion = "[camera.cam1.motion]\ncomponents = 10\n"
    with running(first, "default", CAMERA + motion + "fit_s = 3\n", extra=record) as program:
        time.sleep(36)
        code, _, err = program.stop()
    assert code == 0, err
    neurons_of(first, moved, LINES)
    said("sync", only_session(first), "--daq", first / "daq.csv", "--line", "3", "--no-picture")
    path = first / "neural.toml"
    loaded = load(path)
    assert loaded.behaviour.names[2:] == [
        "motion_energy.full",
        *(f"motion.full[{i}]" for i in range(4)),
    ]
    # before there were masks there is nothing to learn from
    none = np.isnan(loaded.behaviour.times_s)
    assert 50 < none.sum() < 1200
    assert not np.isnan(loaded.behaviour.values[~none][0]).any()
    said("neural", "explain", path, "--out", tmp_path / "report")
    with (tmp_path / "report" / "regions.csv").open() as file:
        unique = {
            (row["region"], row["group"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["what"] == "unique"
        }
    assert unique["motor", "motion"] > unique["motor", "nose"] + 0.1
    assert unique["face", "nose"] > unique["face", "motion"] + 0.1
    told = said("neural", "fit", path, "--out", tmp_path / "model", "--count", "4")
    assert float(told.split("variance explained ")[1].split()[0]) > 0.3
    assert float(told.split("shuffled ")[1].split()[0]) < 0.1
    bundle = load_bundle(tmp_path / "model")
    shutil.copy(only_session(first) / "cam1.masks.npz", tmp_path / "masks.npz")
    with rtface.open_session(only_session(first)) as session:
        (event,) = (event for event in session.events if event.kind == "masks")
    assert bundle.model.common.masks == event.fields["identity"]
    with board.running() as one:
        rules = motion + 'masks = "masks.npz"\n' + RULES.format(port=one.port)
        words = ("--armed",)
        with running(tmp_path, "default", CAMERA + rules, extra=record, words=words) as program:
            with rtface.subscribe("cam1", program.data, topic="neural", timeout_s=5) as stream:
                got = list(itertools.islice(stream, 250))
                meta = stream.meta()
            code, _, err = program.stop()
        rises = sum(level == 1 for level, _ in one.changes)
    assert code == 0, err
    with rtface.open_session(only_session(tmp_path)) as session:
        camera = session.cameras["cam1"]
        recorded, rows = camera.signal("neural"), camera.results[:]
        columns, times_s = bundle.model.common.columns, np.asarray(camera.exposure_s())
        behaviour = read_behaviour(camera, columns, layout_of(meta), "cam1", times_s)
        np.testing.assert_array_equal(recorded[:, :-1], bundle.model.run(behaviour))
        found = redecide(session, "cam1")
        fired = [event for event in found.recorded if event["outcome"] == "fired"]
    assert found.same
    assert len(fired) == rises > 1
    by_seq = {int(seq): i for i, seq in enumerate(rows["seq"])}
    for message in got:
        np.testing.assert_array_equal(message.signals["neural"], recorded[by_seq[message.seq]])
    assert np.std([message.signals["neural"][0] for message in got]) > 0.1
    # other masks are other components: refused before anything runs
    rig = tmp_path / "other.toml"
    rig.write_text(program.rig.read_text().replace('masks = "masks.npz"', "fit_s = 3"))
    refused = said("check", rig, code=2)
    assert "motion components of the masks" in refused


def test_a_session_that_never_had_masks_has_no_components(tmp_path: Path) -> None:
    made = simulate(seconds=20, per_region=1)
    path = write_all(tmp_path, made, 50.0, 'inputs = ["motion"]', motion=True)
    with pytest.raises(UserError, match="cam1 had no masks, and so no motion components"):
        load(path)


def test_components_of_lost_frames_go_on_as_those_before() -> None:
    random = np.random.default_rng(0)
    t_ns = np.arange(20_000) * 10_000_000
    values = np.stack([smooth_noise(random, 20_000, 0.01, tau) for tau in (0.05, 1.0)], 1)
    values = values.astype(np.float32)
    values[random.random(20_000) < 0.05] = np.nan
    columns = [Column(f"motion.full[{i}]", "motion") for i in range(2)]
    found = scaling(make_behaviour(t_ns, t_ns * 1e-9, values, columns))
    assert not len(found.joint)
    np.testing.assert_allclose(found.hold_s, [0.05, 1.0], rtol=0.3)
