"""What is recovered of simulated sessions, whose kernels and noise are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from neural_cases import RIGHT

from rtface.neural.activity import make_activity
from rtface.neural.bundle import save_bundle, units_of
from rtface.neural.explain import explain, region_rows
from rtface.neural.fit import Settings, fit_linear, group_masks, prepare
from rtface.neural.judge import judge
from rtface.neural.oracle import ceiling_of_what_was_seen
from rtface.neural.scores import mean_interval, peers, share, together, unit_intervals
from rtface.neural.simulate import REGIONS, Simulated, simulate

pytestmark = pytest.mark.networks


@pytest.fixture(scope="module")
def made() -> Simulated:
    return simulate(seconds=500, per_region=12)


def test_the_right_model_reaches_the_ceiling_and_a_shuffled_control_nothing(
    made: Simulated,
) -> None:
    data = prepare(made.behaviour, made.activity, RIGHT)[0].data
    driven = made.ceiling > 0.05
    for rank in (None, 13):  # so many dimensions move them
        explained = data.scores(rank=rank).explained[0]
        assert abs(explained[driven].mean() - made.ceiling[driven].mean()) < 0.02, rank
        shuffled = data.scores(rank=rank, shuffled=True)
        mean = mean_interval(shuffled, {0: 1.0})
        assert -0.05 < mean.value < 0.01  # what was learned from chance is worse than nothing
    assert driven.sum() == 36
    assert made.ceiling[driven].mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "nuisance",
    [
        {"drift": 0.3},
        {"lost": 0.05},
        {"noise": 2.0},
        {"drift": 0.3, "lost": 0.05, "missing": 0.1, "noise": 0.5},
    ],
)
def test_nuisances_are_nobodys_and_cost_little(nuisance: dict[str, float]) -> None:
    made = simulate(seconds=800, per_region=6, seed=3, **nuisance)
    data = prepare(made.behaviour, made.activity, RIGHT)[0].data
    driven = made.ceiling > 0.05
    possible = ceiling_of_what_was_seen(made) if "missing" in nuisance else made.ceiling
    explained = data.scores().explained[0][driven].mean()
    assert abs(explained - possible[driven].mean()) < 0.02


@pytest.mark.parametrize("n_folds", [3, 8])
def test_other_numbers_of_folds_find_the_same(n_folds: int) -> None:
    made = simulate(seconds=400, per_region=10)
    settings = RIGHT._replace(n_folds=n_folds, gap_s=1.0)
    explained = prepare(made.behaviour, made.activity, settings)[0].data.scores().explained[0]
    driven = made.ceiling > 0.05
    assert abs(explained[driven].mean() - made.ceiling[driven].mean()) < 0.02
    assert abs(explained[~driven]).mean() < 1e-3


def test_the_oracle_s_ceiling_is_the_true_one_where_all_is_seen() -> None:
    made = simulate(seconds=60, per_region=2)
    np.testing.assert_allclose(ceiling_of_what_was_seen(made), made.ceiling, atol=1e-5)


@pytest.mark.parametrize(("missing_s", "noise"), [(0.1, 1.0), (0.5, 0.33), (2.0, 0.33)])
def test_missing_keypoints_cost_what_they_would_have_told(missing_s: float, noise: float) -> None:
    made = simulate(600, per_region=6, seed=3, missing=0.1, missing_s=missing_s, noise=noise)
    driven = made.ceiling > 0.05
    seen = ceiling_of_what_was_seen(made)[driven].mean()
    lost = made.ceiling[driven].mean() - seen
    assert (0.001 if missing_s == 0.1 else 0.02) < lost < 0.07
    data = prepare(made.behaviour, made.activity, RIGHT)[0].data
    explained = data.scores().explained[0][driven].mean()
    # to hold what was seen last costs twice as much
    assert seen - 0.012 < explained < seen + 0.005


def test_unique_contributions_rank_the_true_groups(made: Simulated) -> None:
    one = prepare(made.behaviour, made.activity, RIGHT)[0]
    groups = group_masks(made.behaviour, 2)
    found = explain(one.data, groups)
    rows = region_rows(found, made.activity.regions)
    assert set(groups) == {"eye", "whisker", "nose", "mouth", "paw", "pupil"}
    for region, parts in REGIONS.items():
        unique = {r.group: r.interval for r in rows if r.region == region and r.what == "unique"}
        order = sorted(unique, key=lambda group: -float(unique[group].value))
        assert order[: len(parts)] == sorted(parts, key=lambda group: -parts[group]), region
        for group, interval in unique.items():
            if group in parts:
                assert interval.low > 0
            else:
                assert abs(interval.value) < 0.01
    for row in rows:  # beside every one a control, which says nothing
        assert abs(row.shuffled.value) < 0.01, row
    # what is shared is shared: everything moves a little with running
    alone = {(r.region, r.group): r.interval.value for r in rows if r.what == "alone"}
    shared = {(r.region, r.group): r.interval.value for r in rows if r.what == "shared"}
    assert shared["whisker cortex", "whisker"] > 0.005
    assert alone["whisker cortex", "paw"] > 0.005


def test_an_unrelated_unit_explains_0_within_its_interval() -> None:
    made = simulate(seconds=400, per_region=60)
    data = prepare(made.behaviour, made.activity, Settings())[0].data
    scores = data.scores()
    intervals = unit_intervals(scores, {0: 1.0})
    unrelated = made.ceiling == 0
    inside = (intervals.low <= 0) & (intervals.high >= 0)
    assert unrelated.sum() == 60
    assert inside[unrelated].mean() > 0.95
    assert not inside[~unrelated].any()
    mean = mean_interval(scores, {0: 1.0}, np.flatnonzero(unrelated))
    assert mean.low <= 0 <= mean.high
    assert abs(mean.value) < 1e-4


def test_what_is_sure_but_weak_is_not_given_up() -> None:
    made = simulate(seconds=1500, per_region=20, noise=8.0)
    data = prepare(made.behaviour, made.activity, RIGHT)[0].data
    driven = made.ceiling > 0
    assert made.ceiling[driven].mean() < 0.02
    assert data.scores().explained[0][driven].mean() > 0.75 * made.ceiling[driven].mean()


def test_a_group_of_its_own_is_unique() -> None:
    made = simulate(seconds=150, per_region=3)
    one = prepare(made.behaviour, made.activity, RIGHT)[0]
    every = np.ones(one.data.x.shape[1], bool)
    found = explain(one.data, {"face": every})
    weights = found.weights(0)
    scores = found.scores
    np.testing.assert_allclose(
        unit_intervals(scores, weights["unique"]).value, scores.explained[0], atol=1e-6
    )


def test_peers_bound_what_can_be_explained() -> None:
    made = simulate(seconds=300, per_region=100, sample_s=0.2)
    data = prepare(made.behaviour, made.activity, RIGHT)[0].data
    possible = peers(data.target, data.split)
    driven = made.ceiling > 0.05
    explained = data.scores().explained[0]
    assert abs(possible.explained[driven].mean() - made.ceiling[driven].mean()) < 0.1
    assert abs(possible.explained[~driven].mean()) < 0.05
    assert 0.85 < share(explained[driven], possible.explained[driven]) < 1.15
    assert abs(possible.shuffled[driven].mean()) < 0.02


def test_planes_are_read_at_their_own_times() -> None:
    made = simulate(seconds=300, per_region=6, sample_s=0.2)
    late_s = 0.4
    offsets = np.zeros(len(made.activity.units))
    offsets[::2] = late_s
    # the same activity, said to be of a plane that is sampled later: seen too late it fits worse
    shifted = make_activity(
        made.activity.values, made.activity.times_s - late_s, "x", offsets_s=offsets
    )
    planes = prepare(made.behaviour, shifted, RIGHT)
    assert [len(one.data.target.units) for one in planes] == [12, 12]
    early, right = (one.data.scores().explained[0].mean() for one in planes)
    assert right > early + 0.01


def test_a_model_of_components_explains_a_part_that_it_never_saw(tmp_path: Path) -> None:
    made = simulate(seconds=400, per_region=12)
    values, times_s = made.activity.values, made.activity.times_s
    learned, other = slice(0, 3000), slice(3100, None)
    parts = [
        make_activity(values[:, which], times_s[which], "x", regions=made.activity.regions)
        for which in (learned, other)
    ]
    for rank in (None, 10):
        planes = prepare(made.behaviour, parts[0], RIGHT)
        found = fit_linear(planes, made.behaviour, RIGHT, rank, 20)
        known = planes[0].data.target.moments
        units = units_of(parts[0], found.units, known, found.readout)
        bundle = save_bundle(tmp_path / f"{rank}", found.model, {"x": 1}, units)
        scores = judge(bundle, made.behaviour, parts[1])
        driven = made.ceiling > 0.05
        assert scores.explained[0][driven].mean() > made.ceiling[driven].mean() - 0.03, rank
        intervals = unit_intervals(scores, {0: 1.0}, np.flatnonzero(~driven))
        assert (intervals.low <= 0).all()
        assert ((intervals.high >= 0).mean() > 0.9) & (abs(intervals.value).mean() < 0.001)
        control = judge(bundle, made.behaviour, parts[1], shuffled=True)
        assert control.explained[0][driven].mean() < 0


def test_components_are_scored_as_what_they_hold(made: Simulated) -> None:
    planes = prepare(made.behaviour, made.activity, RIGHT)
    data = fit_linear(planes, made.behaviour, RIGHT, None, 12).components
    assert data is not None
    scores = data.scores()
    found = together(scores)
    assert found.low < found.value < found.high
    sizes = data.target.read(0, 12).var(0)
    np.testing.assert_allclose(found.value, scores.explained[0] @ sizes / sizes.sum(), atol=0.01)
    # components hold what units share; those have noise of their own
    assert found.value > planes[0].data.scores().explained[0].mean() + 0.2
    assert abs(together(data.scores(shuffled=True)).value) < 0.02


def test_units_of_every_plane_are_read_from_the_same_components(tmp_path: Path) -> None:
    made = simulate(seconds=300, per_region=12)
    offsets = np.zeros(48)
    offsets[::2] = 1e-6  # two planes of the same time
    values, times_s = made.activity.values, made.activity.times_s
    activity = make_activity(values, times_s, "x", offsets_s=offsets)
    planes = prepare(made.behaviour, activity, RIGHT)
    found = fit_linear(planes, made.behaviour, RIGHT, None, 12)
    units = units_of(activity, found.units, planes[0].data.target.moments, found.readout)
    bundle = save_bundle(tmp_path / "b", found.model, {}, units)
    explained = judge(bundle, made.behaviour, activity).explained[0]
    driven = made.ceiling > 0.05
    one, other = (explained[driven & (offsets == offset)].mean() for offset in (0, 1e-6))
    assert min(one, other) > 0.4
    assert abs(one - other) < 0.05
