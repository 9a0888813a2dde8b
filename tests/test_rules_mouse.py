"""The synthetic mouse's whisks, licks and blinks: found or missed, how late, and false alarms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from rules_cases import loop

from rtface.camera.script import PERIOD_S, Event
from rtface.camera.truth import SyntheticTruth
from rtface.rules import Decision, Rules, decide
from rtface.rules.layout import Layout, Source, Stage
from rtface.rules.units import GREY, PX2
from rtface.types import Ledger, Pose

RATE_HZ = 200.0
PERIOD_NS = round(1e9 / RATE_HZ)
START_NS = 10**12
#: what the tests show of a frame beside keypoints; numbers of truth, with noise
LAYOUT: Layout = {
    "pupil.area": Source("pupil", 0, PX2, Stage.PUPIL, low=0.0, eye_open=True),
    "blink": Source("pupil", 1, GREY, Stage.PUPIL, low=0.0),
}
#: a whisk is over when the tip is so far back again
MARGIN_PX = 3.0
LOOSE: dict[str, Any] = {
    "refractory_ms": 40.0,
    "pulse_ms": 1.0,
    "max_per_s": 1000,
    "max_duty": 1.0,
    "min_score": 0.0,
}


class Film(NamedTuple):
    names: tuple[str, ...]
    keypoints: np.ndarray  # (T, K, 2)
    pupil: np.ndarray  # (T, 2): area, darkness of the eye
    gain: np.ndarray
    exact: np.ndarray  # keypoints without noise
    whisk: np.ndarray
    events: list[Event]


@pytest.fixture(scope="module")
def film() -> Film:
    """One minute of mouse 1, with the noise of a good network: 0.5 px."""
    truth = SyntheticTruth(640, 480, RATE_HZ, 1)
    n = round(PERIOD_S * RATE_HZ)
    rng = np.random.default_rng(0)
    points = np.stack([truth.points(i) for i in range(n)])
    states = [truth.state(i) for i in range(n)]
    pupil = np.array([[900.0, 10_000 * state.lids] for state in states])
    pupil += rng.normal(0, 50, pupil.shape)
    return Film(
        truth.names,
        points + rng.normal(0, 0.5, points.shape),
        pupil.astype(np.float32),
        np.array([state.gain for state in states]),
        points,
        np.array([state.whisk for state in states]),
        truth.events(0, n),
    )


def show(film: Film, rule: dict[str, Any], light: bool = False, age_ns: int = 4_000_000):
    """Return what one rule decides of the film; every frame is ``age_ns`` old when it is seen."""
    rules = Rules(
        loop({"puff": {"output": "laser", **LOOSE, **rule}}),
        "cam1",
        ["cam1"],
        film.names,
        LAYOUT,
        1,
        1 / RATE_HZ,
        0.001,
    )
    rules.arm(START_NS, "test")
    decided: list[Decision] = []
    for i in range(len(film.gain)):
        exposed = START_NS + i * PERIOD_NS
        t = exposed + age_ns
        ledger = Ledger(i, 0, i, None, t, t, t, t, t, t, t, exposed, 1000, 1, 0, 0, 0)
        points = np.ones((len(film.names), 3), np.float32)
        points[:, :2] = film.keypoints[i]
        seen = {"brightness": 100 * film.gain[i]} if light else {}
        decided += decide(rules, ledger, Pose(points), {"pupil": film.pupil[i]}, **seen)
    return decided


class Score(NamedTuple):
    hits: int
    events: int
    false: int
    delay_ms: float  # median, from the moment that is to be found to the decision


def judge(
    decided: list[Decision], moments_s: list[float], early_s: float = 0.02, late_s: float = 0.06
) -> Score:
    """Match fires with moments: the first within ``late_s`` after (or ``early_s`` before)."""
    fires = np.array([(d.decided_ns - START_NS) * 1e-9 for d in decided if d.outcome == "fired"])
    used, delays = set(), []
    for moment in moments_s:
        near = np.flatnonzero((fires > moment - early_s) & (fires < moment + late_s))
        if len(near) and near[0] not in used:
            used.add(near[0])
            delays.append((fires[near[0]] - moment) * 1e3)
    median = float(np.median(delays)) if delays else np.nan
    return Score(len(delays), len(moments_s), len(fires) - len(used), median)


def starts(film: Film, kind: str) -> list[Event]:
    return [event for event in film.events if event.kind == kind]


def whisker(film: Film) -> tuple[str, float, list[float]]:
    """Return an expression that rises with protraction, a threshold, and when it is passed, s."""
    x = film.exact[:, film.names.index("whisker(II)"), 0]
    sign = 1 if np.corrcoef(x, film.whisk)[0, 1] > 0 else -1
    x = sign * x
    quiet, forward = np.percentile(x, [20, 95])
    threshold = quiet + 0.6 * (forward - quiet)
    moments, armed = [], False
    for i in range(1, len(x)):
        if armed and x[i] > threshold:
            part = (threshold - x[i - 1]) / (x[i] - x[i - 1])
            moments.append((i - 1 + part) / RATE_HZ)
            armed = False
        armed = armed or x[i] < threshold - MARGIN_PX
    return ("-" if sign < 0 else "") + "whisker(II).x", float(threshold), moments


def test_whisks_with_and_without_forecast(film: Film) -> None:
    text, threshold, moments = whisker(film)
    rule = {
        "when": f"{text} > {threshold:.2f} px",
        "until": f"{threshold - MARGIN_PX:.2f} px",
    }
    plain = judge(show(film, rule), moments)
    ahead = judge(show(film, {**rule, "forecast_ms": "light", "follow_ms": 5.0}), moments)
    print(f"\nwhisks: plain {plain}, forecast to the light {ahead}")
    assert plain.events > 100
    assert plain.hits >= 0.9 * plain.events
    assert plain.false <= 0.1 * plain.events
    # half a frame until it is exposed, 4 ms until it is decided
    assert 4 <= plain.delay_ms < 10
    assert ahead.hits >= 0.9 * plain.events
    assert ahead.false <= 0.15 * plain.events
    assert ahead.delay_ms < plain.delay_ms - 2


def test_blinks(film: Film) -> None:
    blinks = [event.start_s for event in starts(film, "blink")]
    score = judge(show(film, {"when": "blink < 5000 grey", "until": "7000 grey"}), blinks, 0, 0.1)
    print(f"\nblinks: {score}")
    assert score.hits == score.events == 6
    assert score.false == 0


def test_flashes_of_a_stimulus_fire_nothing(film: Film) -> None:
    """The darkness of the eye changes with every flash of another's light, as pictures do."""
    flashes = starts(film, "flash")
    assert len(flashes) > 20
    dazzled = film._replace(pupil=film.pupil / film.gain[:, None].astype(np.float32) ** 4)
    rule = {"when": "blink < 5000 grey", "until": "7000 grey"}
    bare, gated = show(dazzled, rule), show(dazzled, rule, light=True)

    def inside(decided: list[Decision]) -> int:
        at = [(d.exposure_ns - START_NS) * 1e-9 for d in decided if d.outcome == "fired"]
        return sum(any(e.start_s - 0.01 < t < e.start_s + 0.03 for e in flashes) for t in at)

    assert inside(bare) > 15  # the test can fail
    assert inside(gated) == 0
    assert {d.why for d in gated if d.why} == {"brightness step"}
    # blinks are found as before
    blinks = [event.start_s for event in starts(film, "blink")]
    assert judge(gated, blinks, 0, 0.1).hits == judge(bare, blinks, 0, 0.1).hits >= 4
