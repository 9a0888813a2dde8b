"""Matching of frames with pulses: simulated sessions with known truth, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from rtface.sync import code
from rtface.sync.anchor import NoMatch
from rtface.sync.edges import Edges
from rtface.sync.grid import count, period_of
from rtface.sync.match import Frames, Match, SyncFlag, match
from rtface.sync.recorded import one_clock
from rtface.sync.simulate import NOTHING, Simulated, Wrong, simulate

#: a sample of the recording, the camera's jitter, and the fit between two seconds
EXACT_S = 60e-6


def wrongest(found: Match, session: Simulated) -> float:
    """The largest error of all frames that got a time, s."""
    made = ~np.isnan(session.truth_s) & ~np.isnan(found.pulse_s)
    assert made.sum() > 1000
    return float(np.abs(found.pulse_s - session.truth_s)[made].max())


@pytest.mark.parametrize("kind", ["late", "left_out"])
@pytest.mark.parametrize(
    ("seed", "rate_hz", "camera_s", "recorded_s"),
    [
        (0, 200.0, (0, 118), (-5, 125)),
        (1, 60.0, (7.3, 118), (-5, 125)),  # the camera starts late
        (2, 300.0, (0, 120), (11.1, 125)),  # the recording starts late
        (3, 100.0, (3, 120), (20, 95)),  # and ends early
        (4, 30.0, (0, 120), (-5, 125)),
    ],
)
def test_a_code_is_matched_exactly(
    kind: str,
    seed: int,
    rate_hz: float,
    camera_s: tuple[float, float],
    recorded_s: tuple[float, float],
) -> None:
    bad = Wrong(missed_pulses=1e-3, glitches=1e-3, extra_frames=1e-4)
    session = simulate(seed, kind, rate_hz, 120.0, camera_s, recorded_s, bad)
    found = match(session.frames, session.edges)
    assert wrongest(found, session) < EXACT_S
    assert found.anchor.kind == "code"
    first, last = session.edges.rising_s[[0, -1]]
    truth = session.truth_s
    outside = (found.flags & SyncFlag.OUTSIDE) > 0
    assert not outside[(truth >= first) & (truth <= last)].any()
    assert outside[(truth < first - 0.2) | (truth > last + 0.2)].all()
    # a frame whose pulse the recording missed is flagged, a frame with a pulse is not
    times = session.edges.rising_s
    near = np.abs(times[np.searchsorted(times, truth).clip(1, len(times) - 1)] - truth)
    near = np.minimum(near, np.abs(times[np.searchsorted(times, truth).clip(1) - 1] - truth))
    fitted = (found.flags & SyncFlag.NO_PULSE) > 0
    assert fitted[~outside & (near > 1e-3)].all()
    assert not fitted[~outside & (near < 1e-4)].any()


@pytest.mark.parametrize("seed", range(6))
def test_uniform_strobes_without_an_anchor_are_refused(seed: int) -> None:
    late = simulate(seed, "uniform", 200.0, 60.0, (0, 58), (2.0, 65))
    with pytest.raises(NoMatch, match="no code"):
        match(late.frames, late.edges)
    # silence, but the first pulse, or the last, is missing: one frame off would look as good
    whole = simulate(seed, "uniform", 200.0, 60.0, wrong=NOTHING)
    for edges in (
        whole.edges._replace(rising_s=whole.edges.rising_s[1:]),
        whole.edges._replace(rising_s=whole.edges.rising_s[:-1]),
    ):
        with pytest.raises(NoMatch, match="11999"):
            match(whole.frames, edges)


def test_silence_at_both_ends_is_an_anchor() -> None:
    session = simulate(1, "uniform", 200.0, 60.0)
    found = match(session.frames, session.edges)
    assert found.anchor.kind == "start"
    assert wrongest(found, session) < EXACT_S
    # the same frames, but the camera had made others before
    with pytest.raises(NoMatch, match="first frame"):
        match(session.frames._replace(from_first=False), session.edges)


def test_the_user_may_vouch_for_the_first_pulse() -> None:
    session = simulate(2, "uniform", 200.0, 60.0, (0, 55))  # strobes go on after the session
    with pytest.raises(NoMatch, match="12000"):
        match(session.frames, session.edges)
    found = match(session.frames, session.edges, "start")
    assert wrongest(found, session) < EXACT_S


def test_a_barcode_on_the_cameras_line_is_an_anchor() -> None:
    session = simulate(5, "uniform", 150.0, 60.0, recorded_s=(3.0, 65), wrong=Wrong())
    t0 = float(np.nanmin(session.truth_s)) + 0.123
    codes = code.barcodes(50.0, first=0xC0FFEE11)
    line = session.edges._replace(rising_s=codes.rising_s + t0, falling_s=codes.falling_s + t0)
    truth = np.nan_to_num(session.truth_s)
    ups, downs = np.searchsorted(line.rising_s, truth), np.searchsorted(line.falling_s, truth)
    frames = session.frames._replace(high=ups > downs)
    found = match(frames, session.edges, "line", line)
    assert found.anchor.kind == "line"
    assert wrongest(found, session) < EXACT_S
    # another barcode is another signal
    other = code.barcodes(50.0, first=0x12345678)
    wrong = line._replace(rising_s=other.rising_s + t0, falling_s=other.falling_s + t0)
    with pytest.raises(NoMatch, match="agree"):
        match(frames, session.edges, "line", wrong)


def test_a_regular_signal_on_the_cameras_line_is_none() -> None:
    session = simulate(6, "uniform", 100.0, 60.0, recorded_s=(3.0, 65), wrong=NOTHING)
    beat = np.arange(0.003, 300, 1.0)
    line = session.edges._replace(rising_s=beat, falling_s=beat + 0.5)
    truth = session.truth_s
    high = np.searchsorted(line.rising_s, truth) > np.searchsorted(line.falling_s, truth)
    with pytest.raises(NoMatch, match="elsewhere"):
        match(session.frames._replace(high=high), session.edges, "line", line)


def test_another_sessions_code_is_refused() -> None:
    one, other = (simulate(seed, "late", 200.0, 300.0) for seed in (7, 8))
    with pytest.raises(NoMatch, match=r"does not fix|another recording"):
        match(one.frames, other.edges)


def test_another_line_is_refused() -> None:
    session = simulate(9, "late", 200.0, 60.0)
    faster = simulate(9, "late", 201.0, 60.0)
    noise = np.sort(np.random.default_rng(0).uniform(0, 60, 12000))
    for edges, why in (
        (faster.edges, "another line"),
        (simulate(9, "late", 60.0, 60.0).edges, "another line"),
        (session.edges._replace(rising_s=np.array([1.0, 2.0, 5.0])), "3 pulses"),
        (session.edges._replace(rising_s=noise), "another line"),
    ):
        with pytest.raises(NoMatch, match=why):
            match(session.frames, edges)


@pytest.mark.parametrize("other_hz", [200.0, 187.0])
def test_two_cameras_on_one_line_are_refused(other_hz: float) -> None:
    session = simulate(10, "late", 200.0, 60.0)
    other = simulate(11, "uniform", other_hz, 60.0)
    shift = session.edges.begin_s - other.edges.begin_s + 0.0017
    both = np.sort(np.r_[session.edges.rising_s, other.edges.rising_s + shift])
    with pytest.raises(NoMatch, match=r"two cameras on\s*one|two cameras on one"):
        match(session.frames, session.edges._replace(rising_s=both))


@pytest.mark.parametrize("periods", [1.0, 1.5])
def test_a_slip_is_refused(periods: float) -> None:
    """A recording that lost samples for a period or so near the end: most of the code agrees."""
    session = simulate(12, "late", 200.0, 120.0, wrong=NOTHING)
    t = session.edges.rising_s.copy()
    t[-2000:] += periods / 200.0
    with pytest.raises(NoMatch, match="slip"):
        match(session.frames, session.edges._replace(rising_s=t))
    if periods != 1.0:  # the user's word for the first pulse is no word for the last
        plain = simulate(12, "uniform", 200.0, 120.0, wrong=NOTHING)
        t = plain.edges.rising_s.copy()
        t[-2000:] += periods / 200.0
        with pytest.raises(NoMatch, match="slip by a period"):
            match(plain.frames, plain.edges._replace(rising_s=t), "start")


def test_a_glitch_is_no_pulse() -> None:
    """A pulse was missed, and 0.35 ms beside its place is a glitch."""
    session = simulate(17, "late", 200.0, 60.0, wrong=NOTHING)
    t = session.edges.rising_s.copy()
    t[3000] += 0.35e-3
    found = match(session.frames, session.edges._replace(rising_s=t))
    assert found.flags[3000] == SyncFlag.NO_PULSE
    assert wrongest(found, session) < EXACT_S


def test_losses_that_do_not_reconcile_are_refused() -> None:
    session = simulate(13, "late", 200.0, 60.0)
    frames = session.frames
    ids = np.arange(len(frames.frame_id))  # as if nothing had been lost
    with pytest.raises(NoMatch, match="disagree about"):
        match(frames._replace(frame_id=ids * 2), session.edges)
    heavy = simulate(13, "late", 200.0, 60.0, wrong=Wrong(dropped_frames=0.05))
    with pytest.raises(NoMatch, match="disagree about"):
        match(heavy.frames._replace(frame_id=np.arange(len(heavy.frames.t_s))), heavy.edges)


def test_a_camera_that_began_again_is_matched() -> None:
    session = simulate(14, "late", 200.0, 120.0)
    frames = session.frames
    half = len(frames.t_s) // 2
    segment = (np.arange(len(frames.t_s)) >= half).astype(np.int64)
    ids = np.where(segment == 1, frames.frame_id - frames.frame_id[half], frames.frame_id)
    t_s = frames.t_s + np.where(segment == 1, 0.7e-3, 0)  # its new clock is known to 1 ms only
    found = match(frames._replace(t_s=t_s, segment=segment, frame_id=ids), session.edges)
    assert wrongest(found, session) < EXACT_S


@pytest.mark.parametrize("ppm", [0.0, 5.6, -33.0, 60.0])
def test_the_clocks_before_and_after_a_restart_are_tied_at_the_restart(ppm: float) -> None:
    """Half an hour each at 100 frames/s: over it, such clocks drift by whole frames."""
    rng = np.random.default_rng(4)
    n, period_ns = 180_000, 10_000_000
    true_ns = np.arange(3 * n) * period_ns
    true_ns[n:] += 12 * 10**9  # the camera was away for 12 s, later for 3
    true_ns[2 * n :] += 3 * 10**9
    segment = np.repeat([0, 1, 2], n)
    begun = np.array([10**15, 0, 77 * 10**9])[segment]
    stamps = (begun + (true_ns - true_ns[segment * n]) * (1 + ppm * 1e-6)).astype(np.int64)
    host = true_ns + 4_000_000 + rng.exponential(800_000, len(true_ns)).astype(np.int64)
    found = one_clock(stamps, host, segment)
    found = found - found[0]
    for first in (n, 2 * n):
        step_ns = found[first] - found[first - 1]
        assert abs(step_ns - (true_ns[first] - true_ns[first - 1])) < 0.1 * period_ns


def test_restarts_that_follow_each_other_soon() -> None:
    """A loose cable: a segment of 3 s, shorter than what lies beside a restart."""
    period_ns = 10_000_000
    lengths, gaps = (2000, 300, 2000), (0, 10**9, 10**9)
    true_ns, stamps, segment = [], [], []
    at = 0
    for number, (n, gap_ns) in enumerate(zip(lengths, gaps, strict=True)):
        own = np.arange(n) * period_ns
        at += gap_ns
        true_ns.append(at + own)
        stamps.append(own)  # the clock begins at 0 each time
        segment.append(np.full(n, number))
        at += n * period_ns
    true, host = np.concatenate(true_ns), np.concatenate(true_ns) + 4_000_000
    found = one_clock(np.concatenate(stamps), host, np.concatenate(segment))
    np.testing.assert_array_equal(found - found[0], true - true[0])


def test_a_camera_without_a_clock_is_counted_and_cannot_show_the_code() -> None:
    nothing = Wrong(extra_frames=0)
    session = simulate(15, "late", 200.0, 60.0, wrong=nothing)
    frames = session.frames
    late = np.random.default_rng(0).exponential(2e-3, len(frames.t_s))
    t_s = np.maximum.accumulate(frames.t_s + late) + np.arange(len(late)) * 1e-9
    found = match(frames._replace(t_s=t_s, err_s=10e-3), session.edges)
    assert found.anchor.kind == "start"
    assert wrongest(found, session) < 1e-3 + EXACT_S  # the mean of the queue where no pulse is
    with pytest.raises(NoMatch, match="no code"):
        match(frames._replace(t_s=t_s, err_s=10e-3, from_first=False), session.edges)
    with pytest.raises(NoMatch, match="limit"):  # nobody said that the times are that rough
        match(frames._replace(t_s=t_s), session.edges)


def test_counting_bridges_gaps_and_forgets_no_drift() -> None:
    """An hour with 3 ms of thermal wander, more than half a period of 5 ms, and 10 % missing."""
    n = 720_000
    t = np.arange(n) / 200.0
    t = t + 3e-3 * np.sin(t / 500)
    kept = np.random.default_rng(0).random(n) > 0.1
    kept[0] = True
    grid = count(t[kept], period_of(t[kept]))
    assert np.array_equal(grid.slot, np.flatnonzero(kept))


def test_the_code_is_the_one_that_is_documented() -> None:
    t = code.triggers(200.0, 20.0, boot=1)
    late = np.flatnonzero(np.diff(t) > 1.2 / 200) + 1
    assert len(late) == 4
    assert (late // 1000 == np.arange(4)).all()
    assert np.allclose(t[late] - late / 200, 0.25 / 200)
    assert np.array_equal(np.delete(t, late), code.triggers(200.0, 20.0, 1, leave_out=True))
    assert not np.array_equal(t, code.triggers(200.0, 20.0, boot=2))
    levels = code.barcode(0b101, t_s=10.0)
    assert levels.rising_s[:3].tolist() == pytest.approx([10.0, 10.15, 10.25])
    assert levels.falling_s[:3].tolist() == pytest.approx([10.1, 10.2, 10.3])


def test_too_little_is_refused() -> None:
    session = simulate(16, "late", 200.0, 60.0)
    few = Frames(*(x[:50] for x in session.frames[:3]))
    with pytest.raises(NoMatch, match="50 frames"):
        match(few, session.edges)
    nothing = Edges(np.zeros(0), np.zeros(0), 0.0, 1.0, "", "")
    with pytest.raises(NoMatch, match="0 pulses"):
        match(session.frames, nothing)
