"""Readings of two clocks together: the error that is stated holds, however badly some were read."""

import numpy as np
import pytest

from rtface.exposure import FrameTimer, PairFit, Timing
from rtface.types import Stamp, TimeSource

S = 1_000_000_000


@pytest.mark.parametrize("slow_share", [0.0, 0.3, 0.7, 0.9])
def test_the_error_holds_when_some_pairs_were_read_slowly(slow_share: float) -> None:
    """Each pair is wrong by up to half of what it took; a busy machine takes milliseconds."""
    rng = np.random.default_rng(3)
    held, stated = [], []
    for _ in range(300):
        fit = PairFit()
        ppm = rng.uniform(-200, 200)
        for second in range(rng.integers(2, 20)):
            device_ns = second * S
            within_ns = int(rng.uniform(1e5, 8e6) if rng.random() < slow_share else 4_000)
            off_ns = rng.uniform(-within_ns / 2, within_ns / 2)
            fit.add(device_ns, round(device_ns * (1 + ppm * 1e-6) + off_ns), within_ns)
        for after_s in (0.0, 0.5, 1.0):
            at_ns = device_ns + round(after_s * S)
            found = fit.host(at_ns)
            assert found is not None, "a slope that is only badly known is not refused"
            held.append(abs(found[0] - at_ns * (1 + ppm * 1e-6)) <= found[1])
            stated.append(found[1])
    assert np.mean(held) > 0.998
    if not slow_share:
        assert np.median(stated) < 20_000


def test_pairs_in_another_unit_than_stamps_are_not_used() -> None:
    fit = PairFit()
    for second in range(5):
        fit.add(second * S // 1000, second * S, 4000)
    assert fit.host(5 * S // 1000) is None


def test_a_new_segment_forgets_the_pairs_of_the_one_before() -> None:
    timer = FrameTimer(Timing(period_ns=10_000_000))
    for second in range(4):
        timer(Stamp(0, second * 100, second * S, second * S, pair=(second * S, second * S, 4000)))
    # the camera's clock began anew at 100 s; no new pairs yet
    exposed = timer(Stamp(1, 0, 0, 100 * S, pair=None))
    assert exposed.time_source != TimeSource.LATCHED_PAIRS
    assert abs(exposed.exposure_ns - 100 * S) <= exposed.exposure_err_ns
