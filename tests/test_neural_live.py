"""Predicted activity live: the same as offline, on the wire, in sessions and in rules."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import board
import numpy as np
import pytest
from neural_cases import write_all
from programs import RECORD, RTFACE, only_session, running
from sync_cases import write_csv

import rtface
from rtface.cli import app
from rtface.neural.activity import make_activity
from rtface.neural.behaviour import make_behaviour, read_behaviour
from rtface.neural.bundle import Bundle, load_bundle, save_bundle, units_of
from rtface.neural.columns import PUPIL as PLACES
from rtface.neural.columns import Column, Gather, group_of
from rtface.neural.fit import Settings, fit_linear, prepare
from rtface.neural.model import Common, Keypoints
from rtface.neural.network import Network
from rtface.neural.scaling import scaling
from rtface.neural.simulate import POINTS, responses, simulate
from rtface.pupil.record import FIELDS
from rtface.retrigger import redecide
from rtface.rules import layout_of
from rtface.rules.parse import parse_condition
from rtface.stages.make import Stages
from rtface.stages.neural import NeuralStage, neural_stage
from rtface.sync.edges import Edges
from rtface.types import Pose, UserError


def network(n_in: int, n_out: int, taps: int = 41) -> Network:
    random = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    return Network(
        *(some(n_in, n_in), some(n_in), some(taps, 10)),
        *(some(n_in * 10, 12), some(12), some(12, 24), some(24), some(24, n_out), some(n_out)),
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Bundle]:
    made = simulate(seconds=150, per_region=3, missing=0.05, lost=0.02)
    settings = Settings((0.0, 0.1, 0.5), patience_s=0.04)
    planes = prepare(made.behaviour, made.activity, settings)
    found = fit_linear(planes, made.behaviour, settings, None, 4)
    folder = tmp_path_factory.mktemp("bundle")
    return made, save_bundle(folder, found.model, {})


def poses_of(behaviour: Any) -> list[tuple[Pose, dict[str, np.ndarray]]]:
    """Poses and signals that such a behaviour is made of."""
    found = []
    for x in behaviour.values:
        keypoints = np.zeros((len(POINTS), 3), np.float32)
        pupil = np.full(20, np.nan, np.float32)
        for column, value in zip(behaviour.columns, x, strict=True):
            point, _, axis = column.name.rpartition(".")
            if axis in ("x", "y"):
                row = keypoints[POINTS.index(point)]
                row["xy".index(axis)] = np.nan_to_num(value)
                row[2] = 0.0 if np.isnan(value) else max(row[2], 0.9)
            else:
                pupil[9 + PLACES.index(column.name)] = value
        found.append((Pose(keypoints), {"pupil": pupil}))
    return found


PUPIL: dict[str, Any] = {"pupil": {"fields": list(FIELDS)}}


def test_frame_by_frame_is_the_same_as_offline_to_the_last_bit(fitted: Any) -> None:
    made, bundle = fitted
    behaviour = made.behaviour
    # both coordinates of a keypoint go with one score
    stage = NeuralStage(bundle, POINTS, PUPIL)
    assert stage.lengths == {"neural": 4}
    assert stage.about() == {
        "bundle": bundle.sha256,
        "fields": [f"component{i}" for i in range(4)],
        "lag_ns": 40_000_000,
    }
    live, seen = [], []
    gather = Gather([c.name for c in bundle.model.common.columns], POINTS, layout_of(PUPIL))
    for t_ns, (pose, signals) in zip(behaviour.t_ns.tolist(), poses_of(behaviour), strict=True):
        stage(t_ns, pose, signals)
        live.append(stage.signals["neural"].copy())
        seen.append(gather(pose.keypoints, signals))
    again = make_behaviour(behaviour.t_ns, behaviour.times_s, np.stack(seen), behaviour.columns)
    assert np.isnan(np.stack(seen)).any()
    np.testing.assert_array_equal(np.stack(live), bundle.model.run(again))
    assert np.isfinite(live).all()


def test_a_network_frame_by_frame_is_the_same_as_offline_through_lost_frames() -> None:
    made = simulate(seconds=60, per_region=1, missing=0.05, lost=0.05)
    behaviour = made.behaviour
    keep = np.r_[0:700, 760 : len(behaviour.t_ns)]  # a gap that is longer than the window
    behaviour = make_behaviour(
        behaviour.t_ns[keep], behaviour.times_s[keep], behaviour.values[keep], behaviour.columns
    )
    scaled_by = scaling(behaviour)
    outputs = tuple(f"component{i}" for i in range(5))
    common = Common(behaviour.columns, scaled_by, outputs, 0.0, None)
    model = Keypoints(common, network(len(behaviour.columns), 5), 20_000_000)
    stream = model.stream()
    both = zip(behaviour.t_ns.tolist(), behaviour.values, strict=True)
    live = np.stack([stream(t_ns, x).copy() for t_ns, x in both])
    offline = model.run(behaviour)
    assert offline.std() > 0.1
    np.testing.assert_allclose(live, offline, atol=1e-5)


def test_a_network_of_another_frame_rate_is_refused() -> None:
    behaviour = simulate(seconds=20, per_region=1).behaviour
    scaled_by = scaling(behaviour)
    common = Common(behaviour.columns, scaled_by, ("a",), 0.0, None)
    Keypoints(common, network(len(behaviour.columns), 1), 20_100_000).run(behaviour)
    with pytest.raises(UserError, match=r"is of 100\.0 frames/s and these are 50\.0"):
        Keypoints(common, network(len(behaviour.columns), 1), 10_000_000).run(behaviour)


@pytest.mark.parametrize("back_ns", [0, 1_000_000, 70_000_000])
def test_a_clock_that_is_set_back_spoils_nothing(fitted: Any, back_ns: int) -> None:
    made, bundle = fitted
    behaviour = made.behaviour
    scaled_by = scaling(behaviour)
    common = Common(behaviour.columns, scaled_by, ("a", "b"), 0.0, None)
    for model in (bundle.model, Keypoints(common, network(len(behaviour.columns), 2), 20_000_000)):
        t_ns = behaviour.t_ns[:400].copy()
        t_ns[200:] -= t_ns[200] - t_ns[199] + back_ns
        stream = model.stream()
        both = zip(t_ns.tolist(), behaviour.values[:400], strict=True)
        live = np.stack([stream(t, x).copy() for t, x in both])
        assert np.isfinite(live).all()
        np.testing.assert_array_equal(live[200], live[199])
        kept = np.diff(np.maximum.accumulate(t_ns), prepend=t_ns[0] - 1) > 0
        assert 0 < (~kept).sum() < 10
        again = make_behaviour(t_ns, t_ns * 1e-9, behaviour.values[:400], behaviour.columns)
        np.testing.assert_allclose(live[kept], model.run(again), atol=1e-5)


def test_the_cost_of_a_sample_does_not_grow_with_the_past() -> None:
    behaviour = simulate(seconds=40, per_region=1).behaviour
    scaled_by = scaling(behaviour)
    common = Common(behaviour.columns, scaled_by, ("a",), 0.0, None)
    stream = Keypoints(common, network(len(behaviour.columns), 1), 20_000_000).stream()
    for t_ns, x in zip(behaviour.t_ns.tolist(), behaviour.values, strict=True):
        stream(t_ns, x)
    kept = [value for value in vars(stream).values() if isinstance(value, np.ndarray)]
    assert sum(value.size for value in kept) < 2 * 41 * len(behaviour.columns) + 200


@pytest.mark.parametrize(
    ("points", "about", "words"),
    [
        (POINTS[:-1], PUPIL, r"the model needs paw\.x, which is not computed here"),
        (POINTS, {}, r"the model needs pupil\.edge_area"),
    ],
)
def test_a_model_that_needs_more_is_refused(
    fitted: Any, points: list[str], about: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        NeuralStage(fitted[1], points, about)


def test_motion_components_have_to_be_of_the_same_masks(tmp_path: Path) -> None:
    behaviour = simulate(seconds=40, per_region=1).behaviour
    columns = tuple(Column(f"motion.full[{i}]", "motion") for i in range(len(behaviour.columns)))
    other = make_behaviour(behaviour.t_ns, behaviour.times_s, behaviour.values, columns)
    scaled_by = scaling(other)
    common = Common(columns, scaled_by, ("a",), 0.0, "ab" * 32)
    from rtface.neural.model import Linear

    weights = np.ones((1, len(columns)), np.float32)
    bundle = save_bundle(
        tmp_path / "b", Linear(common, (0.0,), weights, np.zeros(1, np.float32)), {}
    )
    areas = [{"name": "full", "motion": 30, "movie": 0}]
    NeuralStage(bundle, POINTS, {"motion": {"areas": areas, "masks": "ab" * 32}})
    for masks in ("cd" * 32, None):
        with pytest.raises(UserError, match=r"\[motion\] masks = the file"):
            NeuralStage(bundle, POINTS, {"motion": {"areas": areas, "masks": masks}})


def test_a_bundle_that_is_not_there_names_the_key() -> None:
    from rtface.camera_config import NeuralSection

    with pytest.raises(UserError, match=r"camera\.cam1\.neural\.bundle: .*neural\.json"):
        neural_stage(NeuralSection(bundle="/none"), "cam1", POINTS, Stages().about(), 50.0)
    assert neural_stage(None, "cam1", POINTS, {}, 50.0) is None


def test_a_predicted_component_is_a_signal(fitted: Any) -> None:
    stage = NeuralStage(fitted[1], POINTS, PUPIL)
    layout = layout_of({**PUPIL, "neural": stage.about()})
    assert layout["neural.component2"].place == 2
    assert group_of("whisker(I).x") == "whisker"


@pytest.fixture(scope="module")
def with_units(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Bundle]:
    made = simulate(seconds=150, per_region=3)
    settings = Settings((0.0, 0.1, 0.5))
    names = [f"plane{i % 2}.{i}" for i in range(12)]
    names[8] = "a b:c"
    values = made.activity.values.copy()
    values[5] = np.nan
    activity = make_activity(values, made.activity.times_s, "x", names)
    planes = prepare(made.behaviour, activity, settings)
    found = fit_linear(planes, made.behaviour, settings, None, 4)
    known = planes[0].data.target.moments
    units = units_of(activity, found.units, known, found.readout)
    return made, save_bundle(tmp_path_factory.mktemp("units"), found.model, {}, units)


def test_a_predicted_unit_is_a_signal(with_units: Any) -> None:
    made, bundle = with_units
    stage = NeuralStage(bundle, POINTS, PUPIL, ["plane1.3", "a b:c"])
    assert stage.about()["fields"][3:] == ["component3", "unit.plane1.3", "unit.a_b_c"]
    assert stage.lengths == {"neural": 6}
    found = layout_of({**PUPIL, "neural": stage.about()})
    assert found["neural.unit.a_b_c"].place == 5
    parse_condition("z(neural.unit.plane1.3, 10 s) > 2 sd", POINTS)
    frames = zip(made.behaviour.t_ns.tolist(), poses_of(made.behaviour), strict=True)
    for t_ns, (pose, signals) in itertools.islice(frames, 50):
        stage(t_ns, pose, signals)
    got = stage.signals["neural"]
    np.testing.assert_allclose(got[4:], got[:4] @ bundle.units.readout[:, [3, 8]], rtol=1e-5)
    assert (got[4:] != 0).all()


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (["7"], r"has no '7'; it has plane0\.0, plane1\.1"),
        (["plane1.5"], "was left out of the fit"),
        (["plane1.3", "plane1.3"], "stands there twice"),
    ],
)
def test_units_that_are_not_there_are_one_line(
    with_units: Any, units: list[str], words: str
) -> None:
    from rtface.camera_config import NeuralSection

    section = NeuralSection(bundle=str(with_units[1].folder), units=tuple(units))
    with pytest.raises(UserError, match=f"^camera.cam1.neural.units: .*{words}"):
        neural_stage(section, "cam1", POINTS, PUPIL, 50.0)


def test_imported_weights_have_no_units(fitted: Any) -> None:
    with pytest.raises(UserError, match="says nothing of units"):
        NeuralStage(fitted[1], POINTS, PUPIL, ["1"])


RULES = """
[camera.cam1.neural]
bundle = "model"
units = ["4"]
[output.laser]
kind = "serial"
port = "{port}"
light = false
[rule.often]
when = "z(neural.component0, 1 s) > 0.5 sd"
until = "0 sd"
output = "laser"
pulse_ms = 4
refractory_ms = 40
repeat = true
[loop]
seed = 5
silent_frames = 500
light_step = 10
"""
CAMERA = 'kind = "synthetic"\nwidth = 320\nheight = 240\nrate_hz = 50.0\nexposure_us = 1000.0\n'


def nose_of(camera: Any) -> dict[str, np.ndarray]:
    """What moves the neurons of each region: here the nose."""
    return {"face": camera.keypoints()[:, camera.names.index("nose(tip)"), 1].astype(float)}


def neurons_of(
    folder: Path,
    traces_of: Callable[[Any], dict[str, np.ndarray]] = nose_of,
    lines: str = 'keypoints = ["nose(tip)", "mouth"]',
) -> None:
    """Write what a microscope beside a session would have: sync pulses, 30 neurons a region."""
    session_folder = only_session(folder)
    with rtface.open_session(session_folder) as session:
        camera = session.cameras["cam1"]
        frames = camera.frames[:]
        rise_s = 40.0 + (frames["t_camera_ns"] - frames["t_camera_ns"][0]) * 1e-9 * (1 + 20e-6)
        edges = Edges(rise_s, rise_s + 0.001, 30.0, rise_s[-1] + 10.0, "", "")
        write_csv(folder / "daq.csv", {3: edges})
        traces = traces_of(camera)
        times_s = rise_s[np.searchsorted(frames["frame_seq"], camera.results[:]["frame_seq"])]
    samples_s = np.arange(times_s[0] + 0.2, times_s[-1] - 0.2, 0.1)
    random = np.random.default_rng(0)
    activity = []
    for trace in traces.values():
        known = np.isfinite(trace)
        trace = np.interp(times_s, times_s[known], trace[known])
        driven = responses((trace - trace.mean())[:, None] / trace.std(), 0.02)[:, 0]
        signal = np.interp(samples_s, times_s, driven)
        gains = random.uniform(-2, 2, (30, 1))
        noise = 0.5 * random.standard_normal((30, len(samples_s)))
        activity.append(gains * signal / signal.std() + noise)
    np.save(folder / "activity.npy", np.concatenate(activity).astype(np.float32))
    np.save(folder / "times.npy", samples_s)
    (folder / "regions.txt").write_text("".join(f"{name}\n" * 30 for name in traces))
    (folder / "neural.toml").write_text(
        f'session = "{session_folder}"\nactivity = "activity.npy"\ntimes = "times.npy"\n'
        f'regions = "regions.txt"\ngap_s = 0.5\n{lines}\n'
    )


def said(*words: str | Path, code: int = 0) -> str:
    """What a command prints; if it is to fail, what it complains of."""
    done = subprocess.run([RTFACE, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_from_a_session_to_sync_to_a_model_to_a_rule_on_what_it_predicts(
    tmp_path: Path, ring_dir: Path
) -> None:
    record = RECORD.format(video="none")
    (tmp_path / "first").mkdir()
    with running(tmp_path / "first", "default", CAMERA, extra=record) as program:
        time.sleep(30)
        code, _, err = program.stop()
    assert code == 0, err
    neurons_of(tmp_path / "first")
    said("sync", only_session(tmp_path / "first"), "--daq", tmp_path / "first" / "daq.csv",
         "--line", "3", "--no-picture")  # fmt: skip
    told = said("neural", "fit", tmp_path / "first" / "neural.toml", "--out", tmp_path / "model")
    explained = float(told.split("variance explained ")[1].split()[0])
    shuffled = float(told.split("shuffled ")[1].split()[0])
    assert explained > 0.4
    assert shuffled < 0.2
    bundle = load_bundle(tmp_path / "model")
    with board.running() as one:
        rules = RULES.format(port=one.port)
        with running(
            tmp_path, "default", CAMERA + rules, extra=record, words=("--armed",)
        ) as program:
            with rtface.subscribe("cam1", program.data, topic="neural", timeout_s=5) as stream:
                got = list(itertools.islice(stream, 200))
                meta = stream.meta()
            code, _, err = program.stop()
        rises = sum(level == 1 for level, _ in one.changes)
    assert code == 0, err
    assert meta["neural"]["bundle"] == bundle.sha256
    assert "neural.cam1." in meta["topics"]
    with rtface.open_session(only_session(tmp_path)) as session:
        camera = session.cameras["cam1"]
        recorded, rows = camera.signal("neural"), camera.results[:]
        columns = bundle.model.common.columns
        times_s = np.asarray(camera.exposure_s())
        behaviour = read_behaviour(camera, columns, layout_of(meta), "cam1", times_s)
        # the live prediction is that of the recorded keypoints by the same model
        offline = bundle.model.run(behaviour)
        np.testing.assert_array_equal(recorded[:, :-1], offline)
        assert meta["neural"]["fields"][-1] == "unit.4"
        readout = bundle.units.readout[:, 4]
        np.testing.assert_allclose(recorded[:, -1], offline @ readout, atol=1e-5)
        assert recorded[:, -1].std() > 0.05
        found = redecide(session, "cam1")
        assert found.same
        fired = [event for event in found.recorded if event["outcome"] == "fired"]
    assert len(fired) == rises > 2
    by_seq = {int(seq): i for i, seq in enumerate(rows["seq"])}
    for message in got:
        np.testing.assert_array_equal(message.signals["neural"], recorded[by_seq[message.seq]])
        assert message.fields["bundle"] == bundle.sha256
        assert message.fields["about_ns"] == message.fields["exposure_ns"]
        assert message.fields["t_pupil_ns"] > message.fields["t_motion_ns"]
    assert np.std([message.signals["neural"][0] for message in got]) > 0.1


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_commands_say_what_they_found(tmp_path: Path) -> None:
    made = simulate(seconds=300, per_region=6)
    path = write_all(tmp_path, made, 50.0, 'inputs = ["keypoints", "pupil"]\npart_s = [0, 1200]')
    explained = said("neural", "explain", path, "--out", tmp_path / "report")
    assert "whisker cortex (6): explained 0." in explained
    assert {p.name for p in (tmp_path / "report").iterdir()} == {
        *("report.md", "regions.csv", "units.csv", "regions.png", "raster.png", "kernels.png"),
    }
    page = (tmp_path / "report" / "report.md").read_text()
    assert "| visual cortex (6) |" in page
    lines = (tmp_path / "report" / "units.csv").read_text().splitlines()
    assert len(lines) == 25
    heads = lines[0].split(",")
    assert heads[-2:] == ["peers", "peers shuffled"]
    assert {"shuffled", "paw shuffled", "pupil shuffled"} < set(heads)
    assert "explain 0." in page
    assert page.count("shuffled") >= 4
    fitted = said("neural", "fit", path, "--out", tmp_path / "model", "--count", "8")
    assert "; peers explain" in fitted
    whole, components = fitted.splitlines()[:2]
    assert components.startswith("its 8 components: variance explained 0.")
    assert float(components.split("shuffled ")[1].split()[0]) < 0.02
    table = (tmp_path / "model" / "units.csv").read_text().splitlines()
    assert table[0] == "unit,region,explained,low,high,shuffled,peers,peers shuffled"
    assert len(table) == 25
    mean = np.mean([float(line.split(",")[2]) for line in table[1:]])
    assert mean == pytest.approx(float(whole.split("explained ")[1].split()[0]), abs=1e-3)
    evaluated = said("neural", "evaluate", path, "--model", tmp_path / "model")
    for line in (*explained.splitlines()[:-1], fitted.splitlines()[0], evaluated.splitlines()[0]):
        assert line.count("shuffled") >= 1, line
    told = evaluated
    assert "note: the model was fitted to this" in told
    path.write_text(path.read_text().replace("[0, 1200]", "[1205, 9999]"))
    table = tmp_path / "judged.csv"
    told = said("neural", "evaluate", path, "--model", tmp_path / "model", "--out", table)
    assert "note" not in told
    assert len(table.read_text().splitlines()) == 25
    assert float(told.split("variance explained ")[1].split()[0]) > 0.2
    path.write_text(path.read_text().replace("part_s = [1205, 9999]\n", ""))
    told = said("neural", "evaluate", path, "--patience-ms", "-500,0,100")
    lines = told.splitlines()
    assert len(lines) == 4
    early, now = (float(line.split()[1]) for line in lines[1:3])
    assert early < now


@pytest.mark.parametrize("kind", ["ridge", "rank"])
def test_activity_that_nothing_explains_is_said_to_be_that(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = simulate(seconds=200, per_region=5)
    noise = np.random.default_rng(1).normal(size=made.activity.values.shape).astype(np.float32)
    alone = make_activity(noise, made.activity.times_s, "x", regions=made.activity.regions)
    path = write_all(tmp_path, made._replace(activity=alone), 50.0)
    words = ["neural", "fit", str(path), "--out", str(tmp_path / "m"), "--count", "3"]
    with pytest.raises(SystemExit) as ended:
        app([*words, "--model", kind])
    assert not ended.value.code
    told = capsys.readouterr().out
    assert abs(float(told.split("variance explained ")[1].split()[0])) < 0.002
    assert "% of that" not in told
    assert "note: 3 of them are always 0" in told
    assert not load_bundle(tmp_path / "m").units.readout.any()
