"""The clock fit against simulated and real clocks, and what a stamp means."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from rtface.camera.stamping import Stamping
from rtface.clock import CYCLE_WRAP_NS, ClockFit, Unwrap, cycle_ns
from rtface.exposure import FrameTimer, PairFit, Timing
from rtface.flashes import fit_flashes
from rtface.types import Flag, Stamp, TimeSource, UserError

RATE, PERIOD_NS = 200, 5_000_000


class Simulation:
    """A camera of 200 Hz over some minutes, as the issue of every lab's clock has it.

    Attributes
    ----------
    true : ndarray (N,) int64
        When each delivered frame was exposed, ns of the host's clock.
    device, host : ndarray (N,) int64
        Its stamp, and when it was delivered.
    ids, segment : ndarray (N,)
    delay_ns : int
        The constant delay, unknown to the code.
    """

    def __init__(self, seed: int, minutes: float = 30.0, ppm: float = 23.0) -> None:
        rng = np.random.default_rng(seed)
        n = int(minutes * 60 * RATE)
        t = np.arange(n) / RATE
        end = t[-1]
        wander = 1e-6 * np.sin(2 * np.pi * t / 1200 + rng.uniform(0, 6))
        device = np.cumsum(np.r_[1000.0, (1 + ppm * 1e-6 + wander[1:]) / RATE])
        jitter = rng.exponential(0.35e-3, n)
        stalls = rng.random(n) < 0.01
        jitter[stalls] += rng.uniform(2e-3, 40e-3, stalls.sum())
        for began in rng.uniform(0.05 * end, 0.95 * end, 20):
            loaded = (t > began) & (t < began + 5)
            jitter[loaded] += 1e-3 + rng.exponential(3e-3, loaded.sum())
        ids, segment = np.arange(n), np.zeros(n, int)
        reset = int(n * rng.uniform(0.3, 0.45))
        device[reset:] -= device[reset] - 3.0
        ids[reset:] -= reset
        segment[reset:] = 1
        step = int(n * rng.uniform(0.6, 0.8))
        device[step:] += rng.choice([-1, 1]) * rng.uniform(0.3e-3, 20e-3)
        delay = rng.uniform(0.5e-3, 8e-3)
        host = np.maximum.accumulate(t + delay + jitter)
        kept = rng.random(n) > 0.05
        self.delay_ns = round(1e9 * delay)
        self.true, self.device, self.host = (
            np.round(1e9 * (one[kept] + 50)).astype(np.int64) for one in (t, device, host)
        )
        self.ids, self.segment = ids[kept], segment[kept]

    def stamps(self, with_clock: bool = True) -> list[Stamp]:
        columns = (self.segment, self.ids, self.device, self.host)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [Stamp(s, i, d if with_clock else None, h) for s, i, d, h in rows]


def errors(timer: FrameTimer, simulation: Simulation, **how: bool) -> np.ndarray:
    """(true error, stated error) of every frame, us."""
    found = [timer(stamp) for stamp in simulation.stamps(**how)]
    true = np.array([f.exposure_ns for f in found]) - simulation.true
    return np.array([true, [f.exposure_err_ns for f in found]]) / 1e3


def calibrated(seed: int, delay_ns: int, declared: Timing) -> Timing:
    """What a calibration with a light finds of a camera with this delay; exposures of 1 ms."""
    rng = np.random.default_rng(100 + seed)
    n = 240 * RATE
    true = np.arange(n) * PERIOD_NS
    host = np.maximum.accumulate(true + delay_ns + rng.exponential(350_000, n).astype(int))
    timer = FrameTimer(declared)
    frames = zip(range(n), true.tolist(), host.tolist(), strict=True)
    stated = np.array([timer(Stamp(0, i, t, h)).exposure_ns for i, t, h in frames])
    switches = np.cumsum(rng.uniform(40e6, 80e6, 3600))
    switches = switches[switches < true[-1]]
    # how long the light was on until each edge of each exposure
    grid = np.concatenate([[0], switches, [2 * true[-1]]])
    on_until = np.concatenate([[0], np.cumsum(np.diff(grid) * (np.arange(len(grid) - 1) % 2))])
    start, stop = true - 500_000, true + 500_000
    part = (np.interp(stop, grid, on_until) - np.interp(start, grid, on_until)) / 1e6
    seen = 20 + 200 * part + rng.normal(0, 0.1, n)
    late = 10 * RATE  # the clock has to be known before it is measured
    flashes = fit_flashes(switches, stated[late:], seen[late:])
    assert flashes.exposure_ns == pytest.approx(1_000_000, rel=0.01)
    assert len(flashes.part) > 200
    assert abs(flashes.late_ns - (delay_ns - declared.delay_ns)) < flashes.err_ns + 5000
    return declared._replace(
        measured_ns=round(declared.delay_ns + flashes.late_ns),
        measured_err_ns=round(flashes.err_ns),
        calibrated=TimeSource.DEVICE_CLOCK,
    )


@pytest.mark.parametrize(
    ("seed", "minutes"),
    [(0, 8), *(pytest.param(seed, 30, marks=pytest.mark.soak) for seed in range(3))],
)
def test_a_bad_clock(seed: int, minutes: float) -> None:
    simulation = Simulation(seed, minutes)
    # declared: readout and transfer take at most 8 ms, so 4 ms and as much either way
    declared = Timing(PERIOD_NS, 4_000_000, 4_000_000)
    true, stated = errors(FrameTimer(declared), simulation)
    relative = np.abs(true - (simulation.delay_ns - 4_000_000) / 1e3)
    p50, p99 = np.percentile(relative, [50, 99])
    print(f"relative p50 {p50:.1f} p99 {p99:.1f} us")
    assert p50 <= 10
    assert p99 <= 50
    assert (np.abs(true) <= stated).mean() >= 0.95
    # after calibration by a light, with flashes in four minutes of the same camera
    measured = calibrated(seed, simulation.delay_ns, declared)
    timer = FrameTimer(measured)
    true, stated = errors(timer, simulation)
    assert (np.abs(true) <= stated).mean() >= 0.95
    assert np.median(stated) <= 3 * np.percentile(np.abs(true), 95)
    assert np.median(stated) < 50
    p95 = np.percentile(np.abs(true), 95)
    print(f"calibrated: stated median {np.median(stated):.1f}, true p95 {p95:.1f} us")
    told = timer.state()
    assert told["source"] == "device_clock"
    assert told["resets"] == 1
    assert told["steps"] >= 1
    assert abs(told["skew_ppm"] + 23) < 2


def test_least_squares_would_be_off_by_the_queue() -> None:
    """Why the fit is what it is: the same data through a straight line."""
    simulation = Simulation(5, minutes=4)
    first = simulation.segment == 0
    device, host = simulation.device[first] * 1.0, simulation.host[first] * 1.0
    slope, offset = np.polyfit(device - device[0], host - device, 1)
    fitted = device + slope * (device - device[0]) + offset
    bias_us = np.median(fitted - simulation.delay_ns - simulation.true[first]) / 1e3
    assert bias_us > 300


def test_a_camera_without_a_clock_gets_the_error_it_deserves() -> None:
    simulation = Simulation(7, minutes=8)
    delay_ns = simulation.delay_ns
    timing = Timing(PERIOD_NS, 0, 0, delay_ns, 5000, TimeSource.FRAME_COUNTER)
    timer = FrameTimer(timing)
    true, stated = errors(timer, simulation, with_clock=False)
    assert timer.state()["source"] == "frame_counter"
    assert (np.abs(true) <= stated).mean() >= 0.95
    assert np.percentile(np.abs(true), 90) < 50
    # frames by hand, at no rate at all: counting them says nothing, and that is what is stated
    rng = np.random.default_rng(0)
    at = np.cumsum(rng.uniform(0.02, 2, 300) * 1e9).astype(int)
    timer = FrameTimer(timing)
    found = [timer(Stamp(0, i, None, int(t))) for i, t in enumerate(at)]
    assert all(f.time_source == TimeSource.DELIVERY for f in found[50:])
    assert all(f.exposure_err_ns > PERIOD_NS for f in found[50:])


def test_a_stalled_host_is_no_step() -> None:
    """Three seconds in which nothing is fetched: all frames come late, then in time again."""
    fit = ClockFit()
    worst = 0.0
    for i in range(6000):
        t = i * PERIOD_NS
        late = 3_000_000_000 - (t - 15_000_000_000) if 0 <= t - 15_000_000_000 < 3e9 else 0
        fit.add(t, t + 1_000_000 + late)
        if (found := fit.host(t)) is not None:
            worst = max(worst, abs(found[0] - t - 1_000_000))
    assert (fit.steps, fit.resets) == (0, 0)
    assert worst < 20_000


@pytest.mark.parametrize("step_ns", [-20_000_000, -300_000, 300_000, 20_000_000])
def test_a_clock_that_is_set_is_counted_and_followed(step_ns: int) -> None:
    rng = np.random.default_rng(1)
    fit = ClockFit()
    wrong = []
    uncovered = 0
    for i in range(12000):
        t = i * PERIOD_NS
        device = t + (step_ns if i >= 6000 else 0)
        fit.add(device, t + 1_000_000 + int(rng.exponential(350_000)))
        if (found := fit.host(device)) is not None:
            error_ns = abs(found[0] - t - 1_000_000)
            uncovered += error_ns > found[1]
            if error_ns > 50_000:
                wrong.append(i)
    assert fit.steps + fit.resets == 1
    assert uncovered < 3 * RATE
    assert all(6000 <= i < 6000 + 10 * RATE for i in wrong)  # followed within ten seconds


@pytest.mark.parametrize("event", ["sleep", "restart", "ahead", "step"])
def test_pairs_follow_what_happens_to_the_clock(event: str) -> None:
    """After an hour's sleep, a restart, or a step: no frame is far off and says that it is not."""
    timer = FrameTimer(Timing(PERIOD_NS, 4_000_000, 4_000_000))
    pair, uncovered = None, 0
    for i in range(60 * RATE):
        t, segment, device = i * PERIOD_NS, 0, i * PERIOD_NS
        if i >= 30 * RATE:
            segment = 1 if event in ("restart", "ahead") else 0
            device += {
                "sleep": 3600 * 10**9,
                "restart": -30 * 10**9,
                "ahead": 10**10,
                "step": 10**7,
            }[event]
        if i == 30 * RATE + 100 and event == "sleep":
            timer.restart()
        if i % RATE == 50:
            pair = (device, t, 4000)
        found = timer(Stamp(segment, i, device, t + 6_000_000, pair=pair))
        uncovered += abs(found.exposure_ns - t) > found.exposure_err_ns
    assert uncovered < 110  # at most until the sleep was noticed


def test_a_calibration_holds_for_its_own_way_alone() -> None:
    """Pairs see no delay: what was measured with them is not that of delivery."""
    timing = Timing(PERIOD_NS, 4_000_000, 4_000_000, 0, 5000, TimeSource.LATCHED_PAIRS)
    timer = FrameTimer(timing)
    found = [timer(Stamp(0, i, i * PERIOD_NS, i * PERIOD_NS + 6_300_000)) for i in range(2000)]
    assert found[-1].time_source == TimeSource.DEVICE_CLOCK
    assert found[-1].flags == Flag.UNCALIBRATED
    assert abs(found[-1].exposure_ns - 1999 * PERIOD_NS) <= found[-1].exposure_err_ns


@pytest.mark.parametrize("rate", [25, 100, 500, 1000])
def test_flashes_at_any_rate(rate: int) -> None:
    rng = np.random.default_rng(rate)
    period = 1e9 / rate
    true = np.arange(60 * rate) * period
    switches = np.cumsum(rng.uniform(4, 9, 60 * rate // 7) * period)
    exposure = 0.4 * period
    grid = np.concatenate([[0], switches, [2 * true[-1] + 1e9]])
    lit = np.concatenate([[0], np.cumsum(np.diff(grid) * (np.arange(len(grid) - 1) % 2))])
    start, stop = true - exposure / 2, true + exposure / 2
    part = (np.interp(stop, grid, lit) - np.interp(start, grid, lit)) / exposure
    found = fit_flashes(switches, true + 1_700_000, 20 + 200 * part)
    assert found.late_ns == pytest.approx(1_700_000, abs=2000)
    assert found.exposure_ns == pytest.approx(exposure, rel=0.01)


def test_latched_pairs_see_no_delay() -> None:
    rng = np.random.default_rng(2)
    timer = FrameTimer(Timing(PERIOD_NS, 4_000_000, 4_000_000))
    pair = None
    true, stated = [], []
    for i in range(60 * RATE):
        t = i * PERIOD_NS
        if i % RATE == 0:
            within = int(4000 + rng.exponential(20_000))
            early = rng.uniform(-0.5, 0.5) * within
            pair = (round(t * (1 + 1e-4)), round(t + early), within)
        delivered = t + 6_000_000 + int(rng.exponential(350_000))
        found = timer(Stamp(0, i, round(t * (1 + 1e-4)), delivered, pair=pair))
        if i > 5 * RATE:
            assert found.time_source == TimeSource.LATCHED_PAIRS
            true.append(abs(found.exposure_ns - t))
            stated.append(found.exposure_err_ns)
    assert (np.array(true) <= stated).mean() >= 0.95
    assert np.median(stated) < 50_000  # us, not the 4 ms of the declared delay
    assert timer.state()["source"] == "latched_pairs"
    assert PairFit().host(0) is None


@pytest.mark.parametrize("means", ["midpoint", "start", "trigger", "end", "readout_end"])
@pytest.mark.parametrize("exposure_ns", [800_000, None])
def test_what_a_stamp_means_is_undone(means: str, exposure_ns: int | None) -> None:
    """A simulated camera does what the rig says it does; rtface.timing undoes it."""
    from rtface.config import parse_rig
    from rtface.timing import timing_of
    from rtface.types import CameraInfo

    camera = {
        "kind": "synthetic",
        "rate_hz": 200.0,
        "stamp_means": means,
        "exposure_us": "frame" if exposure_ns is None else exposure_ns / 1000,
        "trigger_delay_us": 70.0,
        "readout_us": 300.0,
        "delay_us": 0.0,
        "delay_err_us": 1.0,
    }
    rig = parse_rig({"camera": {"cam1": camera}}, "test")
    timer = FrameTimer(timing_of(rig, "cam1", CameraInfo(480, 640, 8, 200.0)))
    made = Stamping(0, 0.0, means, exposure_ns, 70_000, 300_000)
    worst = 0
    for i in range(20 * RATE):
        middle = (i + 1) * PERIOD_NS
        told = made.exposure_of(i) if exposure_ns is None else 0
        stamp = made.stamp(made.exposure_of(i), middle)
        # delivered at once after the moment that is stamped: nothing else is measured here
        found = timer(Stamp(0, i, stamp, stamp, exposure_time_ns=told))
        if i > RATE * 8:
            worst = max(worst, abs(found.exposure_ns - middle))
    assert worst < 10_000


def test_rolling_shutter_and_unknown_exposure() -> None:
    from rtface.config import parse_rig
    from rtface.timing import timing_of
    from rtface.types import CameraInfo

    camera = {"kind": "synthetic", "row_us": 10.0, "delay_err_us": 0.0}
    timing = timing_of(
        parse_rig({"camera": {"cam1": camera}}, "test"), "cam1", CameraInfo(101, 64, 8, 100.0)
    )
    assert timing.to_midpoint_ns == timing.midpoint_err_ns == 500_000
    with pytest.raises(UserError, match=r"camera\.cam1: stamp_means = 'end' needs exposure_us"):
        parse_rig({"camera": {"cam1": {"kind": "synthetic", "stamp_means": "end"}}}, "test")
    with pytest.raises(UserError, match="does not say how long"):
        FrameTimer(Timing(1, half_exposures=1))(Stamp(0, 0, 1, 1))


def test_flags_and_sources_of_a_frame() -> None:
    timer = FrameTimer(Timing(PERIOD_NS, 300, 50))
    first = timer(Stamp(0, 0, None, 5))
    assert first == (5 - 300, PERIOD_NS + 50, TimeSource.DELIVERY, Flag.UNCALIBRATED)
    timer = FrameTimer(Timing(PERIOD_NS, 300, 50, 200, 20, TimeSource.DEVICE_CLOCK))
    found = [timer(Stamp(0, i, i * PERIOD_NS, i * PERIOD_NS)) for i in range(2 * RATE)]
    assert found[0].flags == Flag.UNCALIBRATED  # measured for the fit, and this is not the fit yet
    assert found[-1].flags == 0


def test_cycle_time_and_wraps() -> None:
    assert cycle_ns(0) == 0
    assert cycle_ns(1 << 25) == 1_000_000_000
    assert cycle_ns(1 << 12) == 125_000
    assert cycle_ns(3071) == 124_959
    wrap = Unwrap(CYCLE_WRAP_NS)
    true = np.arange(0, 700, 7) * 10**9 + 3
    assert [wrap(int(t) % CYCLE_WRAP_NS, int(t) + 99) for t in true] == true.tolist()
    # 20 minutes of silence: nine wraps that nobody saw
    later = int(true[-1]) + 1_200_000_000_000
    assert wrap(later % CYCLE_WRAP_NS, later + 40_000_000) == later
    ticks = Unwrap(2**32)
    assert [ticks(t % 2**32, t) for t in (0, 2**32 - 1, 2**32, 2**33 + 5)] == [
        0,
        2**32 - 1,
        2**32,
        2**33 + 5,
    ]


def read_ssv(path: Path) -> tuple[list[int], list[int]]:
    """Host time (100 ns resolution) and 1394 cycle time of each frame."""
    host, device = [], []
    for line in path.read_text().splitlines():
        at, word = line.split()[:2]
        second, fraction = at[:19], at[20:27]
        epoch = datetime.fromisoformat(second + at[27:])
        host.append(int(epoch.timestamp()) * 10**9 + int(fraction.ljust(9, "0")))
        device.append(cycle_ns(int(word)))
    return host, device


@pytest.mark.data
def test_a_real_camera_s_clock(data: Path) -> None:
    host, wrapped = read_ssv(data / "ibl_timing" / "_iblrig_bodyCamera.timestamps.ssv")
    unwrap = Unwrap(CYCLE_WRAP_NS)
    device = [unwrap(d, h) for d, h in zip(wrapped, host, strict=True)]
    assert (np.diff(device) > 30_000_000).all()  # two wraps, no step
    slope = np.polyfit(np.array(device) - device[0], np.subtract(host, device) - host[0], 1)[0]
    fit, residual = ClockFit(), []
    for d, h in zip(device, host, strict=True):
        fit.add(d, h)
        if (found := fit.host(d)) is not None:
            residual.append(h - found[0])
    assert abs(1e6 * slope + 215) < 1
    assert abs(fit.skew_ppm - 1e6 * slope) < 1
    assert (fit.steps, fit.resets) == (0, 0)
    raw = np.subtract(host, device) - (host[0] - device[0])
    print(f"raw {np.ptp(raw) / 1e3:.0f} us, after the fit p50 {np.median(residual) / 1e3:.0f} us")
    assert np.ptp(raw) > 40e6
    assert np.median(residual) < 0.3e6
