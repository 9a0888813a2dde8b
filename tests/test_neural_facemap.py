"""The keypoint network against Facemap's, as written by tests/peers/facemap_neural_golden.py."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from rtface.neural.bundle import STATE, check_shapes, load_bundle, save_bundle
from rtface.neural.columns import Column
from rtface.neural.model import Common, Keypoints
from rtface.neural.network import check_network, read_network
from rtface.neural.scaling import untold
from rtface.torchfile import read_tensors
from rtface.types import UserError

COMMITTED = ROOT / "tests" / "data" / "facemap_neural"
#: a network of Facemap's own size, and training; named in continuous integration
MADE = os.environ.get("RTFACE_FACEMAP_NEURAL_GOLDEN")
FILES = sorted(
    path for root in (COMMITTED, *([Path(MADE)] if MADE else [])) for path in root.glob("*.pth")
)
SMALL = COMMITTED / "small.pth"


def common_of(n_in: int, n_out: int) -> Common:
    columns = tuple(Column(f"k{i // 2}.{'xy'[i % 2]}", "face") for i in range(n_in))
    names = tuple(f"output{i}" for i in range(n_out))
    return Common(columns, untold(columns), names, 0.4, None)


def test_the_cases_are_there() -> None:
    assert SMALL in FILES
    if MADE:
        assert {path.stem for path in Path(MADE).glob("*.npz")} == {"small", "whole", "training"}
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 120_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_latents_and_predictions_are_facemap_s(path: Path) -> None:
    network = read_network(path)
    with np.load(path.with_suffix(".npz")) as golden:
        x, theirs, predicted = golden["x"], golden["latents"], golden["predicted"]
    latents = network.run(x)
    ahead = network.taps // 2
    # ours at t + ahead is theirs at t; the beginning has zeros before it, as theirs
    ours, theirs = latents[ahead:], theirs[: len(x) - ahead]
    assert theirs.std() > 0.01
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.abs(network.read(ours) - predicted[: len(x) - ahead]).max() < 1e-5


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_live_is_facemap_s_after_its_look_ahead(path: Path) -> None:
    network = read_network(path)
    with np.load(path.with_suffix(".npz")) as golden:
        x, predicted = golden["x"], golden["predicted"]
    n_in, n_out = x.shape[1], predicted.shape[1]
    model = Keypoints(common_of(n_in, n_out), network, 20_000_000)
    stream, ahead = model.stream(), network.taps // 2
    # a clock that jitters by 2 ms and runs 0.1 % off the nominal rate
    jitter = np.random.default_rng(0).integers(-2_000_000, 2_000_000, len(x))
    t_ns = 10**12 + np.arange(len(x)) * 20_020_000 + jitter
    live = np.stack([stream(t, one).copy() for t, one in zip(t_ns.tolist(), x, strict=True)])
    assert np.abs(live[ahead:] - predicted[: len(x) - ahead]).max() < 1e-5


def test_weights_are_kept_byte_by_byte(tmp_path: Path) -> None:
    network = read_network(SMALL)
    n_in, n_out = network.mix.shape[0], network.readout.shape[1]
    model = Keypoints(common_of(n_in, n_out), network, 20_000_000)
    made = save_bundle(tmp_path / "b", model, {}, state=SMALL)
    assert (tmp_path / "b" / STATE).read_bytes() == SMALL.read_bytes()
    again = load_bundle(tmp_path / "b")
    assert again.sha256 == made.sha256
    assert isinstance(again.model, Keypoints)
    np.testing.assert_array_equal(again.model.network.kernels, network.kernels)
    # saved again from what was loaded, the same
    save_bundle(tmp_path / "c", again.model, {}, state=tmp_path / "b" / STATE)
    assert (tmp_path / "c" / STATE).read_bytes() == SMALL.read_bytes()


def test_states_of_another_shape_are_one_line(tmp_path: Path) -> None:
    state = read_tensors(SMALL)
    assert check_network(SMALL, {"state_dict": state}).taps == 41

    def fault(**changes: object) -> str:
        changed = {key: value for key, value in {**state, **changes}.items() if value is not None}
        with pytest.raises(UserError) as error:
            check_network(SMALL, changed)
        assert "\n" not in str(error.value)
        assert str(SMALL) in str(error.value)
        return str(error.value)

    core = "core.features."
    assert "missing" in fault(**{f"{core}latent.0.weight": None})
    wrong = fault(**{f"{core}linear1.0.weight": np.zeros((12, 61), np.float32)})
    assert "linear1.0.weight: has shape (12, 61), not (12, 60)" in wrong
    wrong = fault(**{"readout.features.linear0.bias": np.zeros(7, np.float32)})
    assert "linear0.bias: has shape (7,), not (5,)" in wrong
    wrong = fault(**{f"{core}wavelet0.weight": np.zeros((10, 1, 40), np.float32)})
    assert "wavelet0.weight: has shape (10, 1, 40)" in wrong
    assert "not finite" in fault(**{f"{core}linear0.0.bias": np.full(6, np.nan, np.float32)})
    several = {key.replace("linear0.", "linear0_1."): value for key, value in state.items()}
    several |= {key: value for key, value in state.items() if key.startswith("core")}
    zero = {k.replace("linear0.", "linear0_0."): v for k, v in state.items() if "readout" in k}
    with pytest.raises(UserError, match="several animals; say which"):
        check_network(SMALL, several | zero)
    assert check_network(SMALL, several | zero, 1).readout.shape == (24, 5)


def test_fewer_keypoints_than_the_network_s_are_refused() -> None:
    with pytest.raises(UserError) as error:
        check_shapes(SMALL, 6, 5, common_of(4, 5))
    assert "takes 6 numbers (3 keypoints), not 4; name its keypoints" in str(error.value)
    with pytest.raises(UserError, match="predicts 5 numbers, not 4"):
        check_shapes(SMALL, 6, 5, common_of(6, 4))


def test_a_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    evil = tmp_path / "evil.pth"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("x/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match="refused"):
        read_network(evil)


@pytest.mark.skipif(not MADE, reason="training takes a minute")
@pytest.mark.timeout(600)
def test_training_reaches_what_facemap_s_reaches() -> None:
    from rtface.neural import train

    with np.load(Path(str(MADE)) / "training.npz") as file:
        data = {key: file[key] for key in file.files}
    # behaviour leads by one sample, as Facemap's delay of -1
    y = np.concatenate([data["y"][1:], data["y"][-1:]])
    _, outcome = train.train(
        data["x"], data["tcam"], y, data["tneural"], iterations=int(data["iterations"])
    )
    print(f"Facemap {float(data['explained']):.4f}, rtface {outcome.explained:.4f}")
    assert float(data["explained"]) > 0.1
    assert abs(outcome.explained - float(data["explained"])) < 0.01
    np.testing.assert_array_equal(outcome.judged + 1, data["judged"].reshape(-1))
