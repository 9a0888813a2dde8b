"""Expressions: what they mean, and that nothing bad gets through."""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_cases import LAYOUT, NAMES, keypoints, loop, rig

from rtface.rules.check import check_rules
from rtface.rules.expression import compile_condition, compile_text
from rtface.rules.functions import Sight
from rtface.rules.parse import FUNCTIONS, parse_condition
from rtface.rules.signals import Known
from rtface.types import UserError

KNOWN = Known(NAMES, LAYOUT, zones={"spout": [(0, 0), (100, 0), (100, 100), (0, 100)]})


def sight(t_s: float = 0.0, x: float = 30.0, **signals: Any) -> Sight:
    one = Sight()
    one.t_s, one.points = t_s, keypoints(x).tolist()
    whole = {
        "motion_energy": np.array([7, 9.0]),
        "motion": np.arange(8.0),
        "pupil": np.arange(20.0),
    }
    one.signals = {**whole, "running": np.arange(4.0), "movie": np.array([5.0, 6]), **signals}
    return one


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("nose(tip).x", 30),
        ("nose(tip).score * 1", 0.9),
        ("'left ear'.x - eye(back).x", 30),
        ("2 * (nose(tip).x + 10 px) / 4", 20),
        ("-nose(tip).x - 1 px", -31),
        ("1 - 2 - 3 + nose(tip).score", -3.1),
        ("12 / 3 / 2 * nose(tip).score", 1.8),
        ("distance(nose(tip), eye(back))", 20),
        ("angle(nose(tip), eye(back), eye(front))", 0),
        ("angle(nose(tip), eye(front), whisker(II)) - 180 deg", -math.pi),
        ("depth(nose(tip), spout)", 30),
        ("max(nose(tip).x, 3 px, nose(tip).y)", 50),
        ("min(nose(tip).x, nose(tip).y)", 30),
        ("abs(3 px - nose(tip).x)", 27),
        ("motion_energy.full", 7),
        ("motion_energy.roi1", 9),
        ("motion.roi1[2]", 7),
        ("movie.roi1[1]", 6),
        ("running.dx", 1),
        ("pupil.area", 0),
        ("blink", 12),
        ("pupil.points_score", 19),
    ],
)
def test_what_an_expression_is(text: str, value: float) -> None:
    assert compile_text(text, KNOWN).read(sight()) == pytest.approx(value, abs=1e-5)


def test_functions_of_time() -> None:
    speed = compile_text("speed(nose(tip))", KNOWN)
    rate = compile_text("rate(nose(tip).x)", KNOWN)
    for i, x in enumerate([30, 33, 33, math.nan, 39]):
        one = sight(i * 0.01, x)
        values = speed.read(one), rate.read(one)
    # over two frames: the one between is not known
    assert values == pytest.approx((300, 300))
    late = sight(0.2, 39)
    assert math.isnan(speed.read(late))  # after a gap nothing is known
    assert speed.delay_s == rate.delay_s == 0.005


def test_a_score_of_the_own_past() -> None:
    z = compile_text("z(motion_energy.full, 1 s)", KNOWN)
    rng = np.random.default_rng(0)
    seen = [z.read(sight(i * 0.01, motion_energy=rng.normal(50, 2, 2))) for i in range(1000)]
    assert np.isnan(seen[:100]).all()
    assert np.isfinite(seen[101:]).all()
    assert abs(np.mean(seen[101:])) < 0.1
    assert np.std(seen[101:]) == pytest.approx(1, abs=0.15)
    assert z.read(sight(10.0, motion_energy=np.array([70.0]))) > 7
    flat = compile_text("z(motion_energy.full, 1 s)", KNOWN)
    assert all(math.isnan(flat.read(sight(i * 0.01))) for i in range(500))  # nothing varied


def test_low_scores_and_a_shut_eye_are_not_known() -> None:
    known = Known(NAMES, LAYOUT, min_score=0.95)
    for text in ("nose(tip).x", "speed(nose(tip))", "distance(nose(tip), eye(back))"):
        assert math.isnan(compile_text(text, known).read(sight()))
    shut = sight()
    shut.shut = True
    assert math.isnan(compile_text("pupil.area", KNOWN).read(shut))
    assert compile_text("blink", KNOWN).read(shut) == 12


@pytest.mark.parametrize(
    ("when", "says", "marked"),
    [
        (
            "nse(tip).x > 3 px",
            "no keypoint or function 'nse(tip)'; did you mean nose(tip)?",
            "nse(tip)",
        ),
        ("wisk > 3 sd", "unknown signal 'wisk'; did you mean whisk?", "wisk"),
        ("pupil.areaa > 3 px2", "did you mean pupil.area?", "pupil.areaa"),
        ("speed(nose(tip)) > 3", "wrong unit: no unit, where px/s is needed", "3"),
        ("speed(nose(tip)) > 3 ms", "wrong unit: s, where px/s", "3 ms"),
        ("nose(tip).x + 1 s > 3 px", "wrong unit: s, where px", "1 s"),
        ("pupil.score > 1", "impossible threshold: never passed", "1"),
        ("distance(nose(tip), eye(back)) < 0 px", "never passed", "0 px"),
        ("angle(nose(tip), eye(back), eye(front)) > 181 deg", "never passed", "181 deg"),
        ("2 - pupil.score > 0.5", "always passed", "0.5"),
        ("motion.full > 3 grey", "has 5 numbers; write motion.full[0]", "motion.full"),
        ("motion.full[5] > 3 grey", "has numbers 0 to 4", "motion.full[5]"),
        ("nose(tip) > 3 px", "a point stands where a number is needed", "nose(tip)"),
        ("speed(blink) > 3 px/s", "a keypoint is needed", "blink"),
        ("depth(nose(tip), spuot) > 0 px", "a zone is needed here; did you mean spout?", "spuot"),
        ("whisk >= 3 sd", "use > or < alone", ">="),
        ("3 px > nose(tip).x", "a number is needed here", "nose(tip).x"),
        ("z(blink, 3 px) > 3 sd", "a time is needed", "3 px"),
        ("smooth(blink, 0 s) > 3 grey", "this time has to be", "0 s"),
        ("blink / 0 > 3 grey", "a division by zero", "0"),
        ("min(blink) > 3 grey", "min takes 2 to 8 arguments, not 1", "min(blink)"),
        ("blink > 3 gray", "unknown unit; there are px2, px", "3 gray"),
        ("(blink > 3 grey", "not closed", "("),
        ("blink > ", "something is missing", ""),
        ("blink", "a comparison is needed", ""),
        ("__import__('os').x > 3 px", "no keypoint or function '__import__", "__import__('os')"),
    ],
)
def test_what_is_refused_and_where(when: str, says: str, marked: str) -> None:
    made = rig(when, {"whisk": "z(blink, 1 s)"})
    made = made.model_copy(update={"zone": loop({}, zone={"spout": {"box": [0, 0, 9, 9]}}).zone})
    with pytest.raises(UserError) as error:
        check_rules(made, "cam1", ["cam1"], NAMES, LAYOUT, 0.01)
    message, text, marks = str(error.value).split("\n")
    assert message.startswith("rule.puff.when: ")
    assert says in message
    assert text.strip() == when.strip()
    start = marks.index("^")
    assert text[start : len(marks)].rstrip() == marked


def test_a_fault_in_a_named_signal_is_marked_there() -> None:
    made = rig("fast > 3 px/s", {"fast": "abs(slow)", "slow": "speed(nse)"})
    with pytest.raises(
        UserError, match=r"signal.slow.expr: a keypoint is needed here; .*\n .*speed\(nse"
    ):
        check_rules(made, "cam1", ["cam1"], NAMES, LAYOUT, 0.01)


@pytest.mark.parametrize("signals", [{"a": "a + 1 px"}, {"a": "b * 2", "b": "c", "c": "abs(a)"}])
def test_cycles_are_refused(signals: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"a cycle: a -> .*a; a signal cannot be made of itself"):
        check_rules(rig("a > 1 px", signals), "cam1", ["cam1"], NAMES, LAYOUT, 0.01)


PIECES = [
    *NAMES,
    *LAYOUT,
    *FUNCTIONS,
    *"()+-*/,<>.'[]=^%&|!~@:;#\\\n\t 0",
    *("1", "2.5", "1e9", "1e999", "3 px", "4 ms", "5 s", "1 sd", "7 grey", ".x", ".score", "[3]"),
    *("__class__", "eval", "os.system", "lambda", "\x00", "é", "²", "٣"),
]


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
        st.text(max_size=80),
        st.text(string.printable, max_size=600),
    )
)
def test_no_text_crashes(text: str) -> None:
    try:
        test = compile_condition(text, parse_condition(text, NAMES), KNOWN)
    except UserError as error:
        assert len(str(error).split("\n")) in (1, 3)  # noqa: PT017
    else:
        with np.errstate(all="ignore"):
            for i in range(3):
                assert isinstance(test.signal.read(sight(i * 0.01)), float | int)


@pytest.mark.parametrize("text", ["(" * 200 + "1", "-" * 300 + "1 > 2", "1+" * 240 + "1 > 2"])
def test_deep_and_long_ones(text: str) -> None:
    with pytest.raises(UserError):
        compile_condition(text, parse_condition(text, NAMES), KNOWN)
