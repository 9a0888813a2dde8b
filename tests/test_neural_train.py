"""Training the keypoint network: what it reaches, its causal version, and its files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from neural_cases import write_all
from programs import RTFACE
from test_neural_live import said

from rtface.cli.neural_data import load
from rtface.neural.bundle import STATE, load_bundle
from rtface.neural.judge import judge
from rtface.neural.simulate import POINTS, simulate

pytestmark = pytest.mark.networks


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "ahead"), [("facemap", 100), ("causal", 0)])
def test_a_network_is_fitted_and_runs_live_as_offline(
    tmp_path: Path, kind: str, ahead: int
) -> None:
    torch = pytest.importorskip("torch")
    made = simulate(seconds=230, rate_hz=25, sample_s=0.2, per_region=10, noise=0.5, lost=0.02)
    path = write_all(tmp_path, made, 25.0, "part_s = [0, 1200]")
    command = ("neural", "fit", path, "--out", tmp_path / "model", "--model", kind)
    told = said(*command, "--count", "6", "--iterations", "40")
    explained = float(told.split("components explained ")[1].split(",")[0])
    shuffled = float(told.split("shuffled ")[1].split(";")[0])
    assert explained > 0.25
    assert shuffled < 0.05
    bundle = load_bundle(tmp_path / "model")
    assert bundle.model.common.lag_s == pytest.approx(ahead * 0.04)
    loaded = load(path)
    stream = bundle.model.stream()
    behaviour = loaded.behaviour
    both = zip(behaviour.t_ns.tolist(), behaviour.values, strict=True)
    live = np.stack([stream(t_ns, x).copy() for t_ns, x in both])
    offline = bundle.model.run(behaviour)
    assert np.abs(live - offline).max() < 1e-5 * max(1, np.abs(offline).max())
    path.write_text(path.read_text().replace("[0, 1200]", "[1205, 9999]"))
    other = load(path)
    driven = made.ceiling > 0.05
    assert judge(bundle, other.behaviour, other.activity).explained[0][driven].mean() > 0.1
    # the weights are those of a plain file of PyTorch's, and are taken from one as they are
    state = torch.load(tmp_path / "model" / STATE, weights_only=True)
    assert state["core.features.wavelet0.weight"].shape == (10, 1, 201)
    weights = tmp_path / "model" / STATE
    done = subprocess.run(
        [RTFACE, "neural", "fit", path, "--out", tmp_path / "copy", "--weights", weights],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "name them in its order" in done.stderr
    points = ", ".join(f'"{name}"' for name in POINTS)
    path.write_text(f"keypoints = [{points}]\n" + path.read_text())
    again = ("neural", "fit", path, "--out", tmp_path / "copy", "--weights", weights)
    again += ("--model", kind)
    said_little = said(*again)
    assert "worth here is not known: " in said_little
    assert " s are too few for 20 stretches" in said_little
    path.write_text(path.read_text().replace("[1205, 9999]", "[0, 1200]"))
    told = said(*again)
    assert float(told.split("variance explained ")[1].split()[0]) > 0.2
    assert abs(float(told.split("shuffled ")[1].split()[0])) < 0.05
    assert "; peers explain" in told
    copied = tmp_path / "copy" / STATE
    assert copied.read_bytes() == weights.read_bytes()
    assert load_bundle(tmp_path / "copy").sha256[:12] in told
