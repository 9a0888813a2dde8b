"""Regressions, filters and bundles against what is known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neural_cases import RIGHT

from rtface.neural.activity import make_activity, moments
from rtface.neural.behaviour import make_behaviour
from rtface.neural.bundle import ARRAYS, SIDECAR, load_bundle, save_bundle
from rtface.neural.columns import Column
from rtface.neural.components import components
from rtface.neural.crossvalidate import Target, crossvalidate
from rtface.neural.filters import FilterBank, kernel
from rtface.neural.fit import fit_linear, prepare
from rtface.neural.regression import inputs, low_rank, ridge
from rtface.neural.scaling import Scaler, Scaling, scaling
from rtface.neural.simulate import simulate, smooth_noise
from rtface.neural.splits import split
from rtface.types import UserError


def target_of(values: np.ndarray) -> Target:
    activity = make_activity(values, np.arange(values.shape[1]) * 0.1, "x")
    samples = np.arange(values.shape[1])
    return Target(values, np.arange(len(values)), moments(activity, samples), samples)


def test_ridge_is_the_closed_form() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 8)) * np.arange(1, 9) + 3
    y = random.normal(size=(300, 5)) + x[:, :5]
    known = inputs(x)
    off, its = x - x.mean(0), y - y.mean(0)
    weights = ridge(known, off.T @ its / 300, 0.1)
    scaled = off / off.std(0)
    expected = np.linalg.solve(scaled.T @ scaled + 0.1 * 300 * np.eye(8), scaled.T @ its)
    np.testing.assert_allclose(weights, expected / off.std(0)[:, None], rtol=1e-9)


def test_an_input_that_stands_still_where_it_is_learned_from_does_no_harm() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(1000, 2)).astype(np.float32)
    x[:, 1] *= 1e-5
    x[:40, 1] = 1.0  # elsewhere than in the rows that the first fold learns from
    y = (x[:, :1] + random.normal(size=(1000, 1))).T.astype(np.float32)
    times_s = np.arange(1000) * 0.2
    every = {"all": np.ones(2, bool)}
    parts = split(times_s, gap_s=1.0)
    found = crossvalidate(x, target_of(y), parts, every)
    assert found.explained[0, 0] > 0.4


def test_reduced_rank_is_the_best_of_its_rank() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(400, 10))
    y = x @ random.normal(size=(10, 2)) @ random.normal(size=(2, 30))
    y += 0.5 * random.normal(size=y.shape)
    known, xy = inputs(x), (x - x.mean(0)).T @ (y - y.mean(0)) / 400
    off, its = x - x.mean(0), y - y.mean(0)
    full = ridge(known, xy, 1e-9)
    for rank in (1, 2, 5):
        first, second = low_rank(known, xy, 1e-9, rank)
        assert first.shape == (10, rank)
        # by definition: the leading directions of what the full regression predicts
        u, s, v = np.linalg.svd(off @ full, full_matrices=False)
        np.testing.assert_allclose(
            off @ first @ second, (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-6
        )
        np.testing.assert_allclose((off @ first).std(0), 1, rtol=1e-6)
    np.testing.assert_allclose(
        ((its - off @ first @ second) ** 2).sum() / (its**2).sum(),
        ((its - off @ full) ** 2).sum() / (its**2).sum(),
        rtol=0.05,
    )


def test_components_are_those_of_a_whole_decomposition() -> None:
    random = np.random.default_rng(2)
    strength = np.diag(10.0 ** -np.arange(6))
    values = random.normal(size=(1500, 6)) @ strength @ random.normal(size=(6, 400))
    values += 1e-4 * random.normal(size=values.shape)
    found = components(target_of(values.astype(np.float32)), 4)
    scaled = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    _, s, v = np.linalg.svd(scaled, full_matrices=False)
    for i in range(4):
        trace = found.traces[:, i]
        np.testing.assert_allclose(np.linalg.norm(trace), s[i], rtol=1e-3)
        assert abs(trace @ v[i]) / np.linalg.norm(trace) > 0.999
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(4), atol=1e-5)


def test_filters_follow_time_not_frames() -> None:
    bank = FilterBank(2, (0.0, 0.2))
    bank(0, np.zeros(2, np.float32))
    out = bank(100_000_000, np.array([1, -2], np.float32)).copy()
    np.testing.assert_allclose(out, [1, -2, 1 - np.exp(-0.5), -2 * (1 - np.exp(-0.5))], rtol=1e-6)
    halves = FilterBank(2, (0.0, 0.2))
    halves(0, np.zeros(2, np.float32))
    np.testing.assert_array_equal(FilterBank(1, (0.0, 0.2))(5, np.ones(1, np.float32)), [1, 0])
    for t_ns in (50_000_000, 100_000_000):
        twice = halves(t_ns, np.array([1, -2], np.float32))
    np.testing.assert_allclose(twice, out, rtol=1e-6)


def test_what_is_not_known_goes_back_to_its_mean() -> None:
    alone = np.eye(2, dtype=np.float32)
    scale = Scaler(
        Scaling(
            np.array([10.0, 0.0]), np.array([2.0, 1.0]), np.array([0.5, 9.0]), np.arange(2), alone
        )
    )
    gone, second = np.array([np.nan, 3], np.float32), 1_000_000_000
    np.testing.assert_array_equal(scale(0, gone), [0, 3])  # never seen: its mean
    np.testing.assert_array_equal(scale(second, np.array([14, 1], np.float32)), [2, 1])
    for i in range(1, 11):
        last = scale(second + i * second // 10, gone).copy()
    np.testing.assert_allclose(last, [2 * np.exp(-1 / 0.5), 3], rtol=1e-5)
    np.testing.assert_array_equal(scale(3 * second, np.array([8, 3], np.float32)), [-1, 3])


def test_what_is_not_known_is_told_by_what_moves_with_it() -> None:
    random = np.random.default_rng(0)
    mixed = random.normal(size=(4, 4))
    covariance = mixed @ mixed.T + np.eye(4)
    precision = np.linalg.inv(covariance).astype(np.float32)
    scale = Scaler(Scaling(np.zeros(4), np.ones(4), np.full(4, 1e9), np.arange(4), precision))
    before, x = random.normal(size=(2, 4)).astype(np.float32)
    scale(0, before)
    x[[1, 2]] = np.nan
    found = scale(1_000_000, x)
    # Gaussians: the mean of two, given the other two
    gone, seen = np.array([1, 2]), np.array([0, 3])
    gain = covariance[np.ix_(gone, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    np.testing.assert_allclose(found[gone], before[gone] + gain @ (x - before)[seen], rtol=1e-4)
    np.testing.assert_array_equal(found[seen], x[seen])


def test_how_columns_go_on_is_learned_from_the_recording() -> None:
    random = np.random.default_rng(1)
    own = [smooth_noise(random, 30_000, 0.02, tau_s) for tau_s in (0.2, 0.2, 2.0)]
    values = np.stack([own[0], own[1] + own[0], own[2]], 1).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    kept = np.sort(random.permutation(30_000)[:27_000])  # lost frames change nothing
    t_ns = 20_000_000 * kept
    columns = [Column(f"{name}.x", "paw") for name in "abc"]
    found = scaling(make_behaviour(t_ns, t_ns * 1e-9, values[kept], columns))
    assert (np.abs(found.hold_s / [0.2, 0.2, 2.0] - 1) < 0.25).all()
    covariance = np.linalg.inv(found.precision)
    size = np.sqrt(np.diag(covariance))
    expected = [[1, 0.71, 0], [0.71, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(covariance / np.outer(size, size), expected, atol=0.05)


def test_kernels_are_what_the_filters_do() -> None:
    taus, weights = (0.0, 0.1, 0.4), np.array([0.0, 1.0, -2.0], np.float32)
    bank, step = FilterBank(1, taus), 1_000_000
    bank(0, np.zeros(1, np.float32))
    answers = [weights @ bank(step, np.ones(1, np.float32))]  # a pulse of 1 ms
    answers += [weights @ bank(step * i, np.zeros(1, np.float32)) for i in range(2, 900)]
    shape = kernel(weights, taus, (np.arange(899) + 0.5) / 1e3)
    np.testing.assert_allclose(np.array(answers) / 1e-3, shape, atol=0.02)


def test_folds_keep_their_distance() -> None:
    times_s = np.delete(np.arange(4000) * 0.1, np.arange(1000, 1200))
    parts = split(times_s, gap_s=5.0)
    judged = np.zeros(len(times_s), int)
    for fold in parts.folds:
        judged += fold.test
        pairs = [(fold.train, fold.test)]
        for inner in fold.inner:
            pairs += [(inner.train, fold.test), (inner.train, inner.test), (inner.test, fold.test)]
            assert not (inner.test & ~fold.train).any()
        for learn, other in pairs:
            assert learn.any()
            gaps = np.abs(times_s[learn][:, None] - times_s[other])
            assert gaps.min() > 4.9
        every = np.sum([inner.test for inner in fold.inner], 0)
        np.testing.assert_array_equal(every, fold.train)  # by all of it, once
    for one in [f for fold in parts.folds for f in (fold, *fold.inner)]:
        for rows in (one.train, one.test):  # a piece is in a set as a whole
            of_piece = np.repeat(rows[parts.starts], np.diff(np.r_[parts.starts, len(times_s)]))
            np.testing.assert_array_equal(of_piece, rows)
    assert (judged == 1).all()
    with pytest.raises(UserError, match="too few for 20 stretches"):
        split(times_s[:300])


def test_fewer_rows_than_blocks_of_units_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate(seconds=150, per_region=5)
    data = prepare(made.behaviour, made.activity, RIGHT)[0].data
    whole = data.scores(rank=4).explained
    monkeypatch.setattr("rtface.neural.crossvalidate.BLOCK", 3)
    np.testing.assert_allclose(data.scores(rank=4).explained, whole, atol=1e-5)


def test_a_bundle_is_refused_when_it_was_changed(tmp_path: Path) -> None:
    made = simulate(seconds=150, per_region=2)
    planes = prepare(made.behaviour, made.activity, RIGHT)
    found = fit_linear(planes, made.behaviour, RIGHT, None, 3)
    bundle = save_bundle(tmp_path / "b", found.model, {})
    again = load_bundle(tmp_path / "b")
    assert again.sha256 == bundle.sha256
    np.testing.assert_array_equal(again.model.run(made.behaviour), found.model.run(made.behaviour))
    sidecar = (tmp_path / "b" / SIDECAR).read_text()
    for old, new, words in (
        ('"lag_s": 0.0', '"lag_s": 1e999', r"neural\.json: "),
        ('"format": 1', '"format": 7', "format 7, not 1; fit it again"),
        ('"kind": "linear"', '"kind": "facemap"', "has no period_ns"),
    ):
        assert old in sidecar
        (tmp_path / "b" / SIDECAR).write_text(sidecar.replace(old, new))
        with pytest.raises(UserError, match=words):
            load_bundle(tmp_path / "b")
    (tmp_path / "b" / SIDECAR).write_text(sidecar)
    arrays = (tmp_path / "b" / ARRAYS).read_bytes()
    (tmp_path / "b" / ARRAYS).write_bytes(arrays[:-7] + b"1234567")
    with pytest.raises(UserError, match=r"neural\.npz: is missing or was changed"):
        load_bundle(tmp_path / "b")


def test_columns_that_never_change_are_refused() -> None:
    t_ns = np.arange(100) * 10**7
    values = np.ones((100, 2), np.float32)
    values[:, 0] = np.arange(100)
    columns = [Column("nose(tip).x", "nose"), Column("paw.x", "paw")]
    behaviour = make_behaviour(t_ns, t_ns * 1e-9, values, columns)
    with pytest.raises(UserError, match=r"paw\.x: is never known, or never changes"):
        scaling(behaviour)


def test_crossvalidation_is_that_of_plain_ridge() -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(1000, 4)).astype(np.float32)
    y = (x @ random.normal(size=(4, 3)) + random.normal(size=(1000, 3))).T.astype(np.float32)
    times_s = np.arange(1000) * 0.2
    parts = split(times_s, gap_s=1.0)
    every = {"all": np.ones(4, bool)}
    found = crossvalidate(x, target_of(y), parts, every)
    error, total = np.zeros(3), np.zeros(3)
    z = ((y.T - y.mean(1)) / y.std(1)).astype(float)
    for fold in parts.folds:
        design = np.column_stack([x[fold.train], np.ones(fold.train.sum())])
        weights = np.linalg.lstsq(design, z[fold.train], rcond=None)[0]
        judged = z[fold.test]
        predicted = np.column_stack([x[fold.test], np.ones(fold.test.sum())]) @ weights
        error += ((judged - predicted) ** 2).sum(0)
        total += ((judged - z[fold.train].mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(found.explained[0], 1 - error / total, atol=2e-3)
