from typing import Any

import numpy as np
import pytest

from rtface.acquire import Account
from rtface.ages import AgeHistogram
from rtface.exposure import Timing
from rtface.tracker import Tracker
from rtface.types import CameraCounts, Flag, Frame, Lost, Pose, Stamp

TIMING = Timing(period_ns=10_000, delay_ns=300, delay_err_ns=50)


class Ticks:
    """A clock that moves on by ``step`` at each look."""

    def __init__(self, step: int) -> None:
        self.now, self.step = 0, step

    def __call__(self) -> int:
        self.now += self.step
        return self.now


def frame(seq: int, frame_id: int | None = None, lost: int = 0, segment: int = 0) -> Frame:
    frame_id = seq + lost if frame_id is None else frame_id
    stamp = Stamp(segment, frame_id, None, 5)
    return Frame(seq, stamp, Lost(incomplete=lost), np.zeros((4, 4), np.uint8))


def estimate(_image: Any, _frames: int) -> Pose:
    return Pose(np.zeros((2, 3), np.float32))


def test_every_stage_is_in_order_and_exposure_is_delivery_minus_delay() -> None:
    ledger, *_ = Tracker(estimate, TIMING, Ticks(7))(frame(0))
    stages = [ledger.t_host_ns, ledger.t_read_ns, ledger.t_infer_ns, ledger.t_done_ns]
    assert stages == [5, 7, 14, 21]
    assert ledger.exposure_ns == 5 - 300
    assert ledger.exposure_err_ns == 10_000 + 50  # it may have waited; nothing is fitted yet
    assert ledger.flags & Flag.UNCALIBRATED


def test_frames_passed_over_are_counted_and_flagged() -> None:
    tracker = Tracker(estimate, TIMING, Ticks(1))
    seen = [tracker(frame(seq))[0] for seq in (2, 3, 7)]
    assert [ledger.skipped for ledger in seen] == [2, 2, 5]
    assert [bool(ledger.flags & Flag.SKIPPED) for ledger in seen] == [True, False, True]
    tracker.finish(10)
    assert (tracker.tracked, tracker.skipped) == (3, 7)


def test_the_estimator_is_told_how_much_time_has_passed() -> None:
    told: list[int] = []

    def count(_image: Any, frames: int) -> Pose:
        told.append(frames)
        return Pose(np.zeros((2, 3), np.float32), face=len(told) > 1)

    tracker = Tracker(count, TIMING, Ticks(1))
    flags = [tracker(one)[0].flags for one in (frame(0), frame(1), frame(4), frame(5, lost=3))]
    assert told == [1, 1, 3, 4]
    assert [bool(one & Flag.NO_FACE) for one in flags] == [True, False, False, False]


def test_camera_gaps_and_segments_are_flagged_once() -> None:
    tracker = Tracker(estimate, TIMING, Ticks(1))
    seen = [
        tracker(frame(0))[0],
        tracker(frame(1, lost=4))[0],
        tracker(frame(2, lost=4))[0],
        tracker(frame(3, lost=4, segment=1))[0],
    ]
    assert [bool(ledger.flags & Flag.CAMERA_GAP) for ledger in seen] == [False, True, False, False]
    assert [bool(ledger.flags & Flag.FIRST) for ledger in seen] == [True, False, False, True]
    assert seen[-1].lost_camera == 4
    causes = Flag.LOST_LINK | Flag.LOST_INCOMPLETE | Flag.LOST_NO_BUFFER | Flag.LOST_LATE
    assert [ledger.flags & causes for ledger in seen] == [0, Flag.LOST_INCOMPLETE, 0, 0]


def test_late_results_are_flagged() -> None:
    quick, *_ = Tracker(estimate, TIMING, Ticks(10))(frame(0))
    slow, *_ = Tracker(estimate, TIMING, Ticks(10_000))(frame(0))
    assert not quick.flags & Flag.PAST_FRAME_BUDGET
    assert slow.flags & Flag.PAST_FRAME_BUDGET


class Told:
    """A camera that only answers ``counts``."""

    def __init__(self) -> None:
        self.lost = Lost()

    def counts(self) -> CameraCounts:
        return CameraCounts(0, self.lost)


def test_acquisition_counts_gaps_itself_and_names_the_causes_the_camera_knows() -> None:
    account, camera = Account(0), Told()
    account.take(Stamp(0, 0, None, 0), camera)  # type: ignore[arg-type]
    camera.lost = Lost(late=2)
    account.take(Stamp(0, 5, None, 0), camera)  # type: ignore[arg-type]
    account.take(Stamp(0, 6, None, 0), camera)  # type: ignore[arg-type]
    assert account.delivered == 3
    assert account.gaps == 4
    assert account.lost == Lost(link=2, late=2)  # two of the four have no cause known to it


def test_frames_lost_after_the_last_delivery_count() -> None:
    account, camera = Account(0), Told()
    account.take(Stamp(0, 0, None, 0), camera)  # type: ignore[arg-type]
    camera.lost = Lost(late=7)
    account.finish(camera)  # type: ignore[arg-type]
    assert (account.gaps, account.lost) == (7, Lost(late=7))


def test_frames_lost_before_the_first_delivery_count() -> None:
    account, camera = Account(0), Told()
    account.take(Stamp(0, 3, None, 0), camera)  # type: ignore[arg-type]
    assert account.gaps == 3
    account = Account(None)  # a real camera begins where its counter stands
    account.take(Stamp(0, 3, None, 0), camera)  # type: ignore[arg-type]
    account.take(Stamp(0, 5, None, 0), camera)  # type: ignore[arg-type]
    account.take(Stamp(1, 900, None, 0), camera)  # type: ignore[arg-type]
    assert (account.gaps, account.segment) == (1, 1)


def test_age_histogram_against_numpy() -> None:
    ages = np.random.default_rng(0).exponential(2e6, 5000).astype(int)
    histogram = AgeHistogram()
    assert histogram.percentile_ms(50) is None
    for age in ages.tolist():
        histogram.add(age)
    for percent in (50, 99):
        expected = np.percentile(ages, percent) * 1e-6
        assert histogram.percentile_ms(percent) == pytest.approx(expected, abs=0.03)
    assert histogram.summary()["max_ms"] == ages.max() * 1e-6
    histogram.add(10**12)  # older than the histogram reaches
    assert histogram.n == 5001
    histogram.clear()
    assert histogram.n == 0
