"""Matching with real cameras: IBL's embedded line status, and two cameras on one clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtface.clock import CYCLE_WRAP_NS, Unwrap, cycle_ns
from rtface.sync.anchor import NoMatch
from rtface.sync.edges import Edges
from rtface.sync.match import Frames, Match, match

pytestmark = pytest.mark.data
#: GPIO of a FLIR camera in IBL's files: this bit of the word is the input of the TTL
GPIO_BIT = 28
SAMPLING_HZ = 30_000.0


def edges_of(pulses_s: np.ndarray, begin_s: float, end_s: float, width_s: float = 1e-3) -> Edges:
    up = np.round(pulses_s * SAMPLING_HZ) / SAMPLING_HZ
    return Edges(up, up + width_s, begin_s, end_s, "", "")


def body_camera(data: Path) -> tuple[Frames, np.ndarray]:
    """510 frames of IBL's body camera: real stamps, real counter, real line status."""
    folder = data / "ibl_timing"
    ids = np.fromfile(folder / "_iblrig_bodyCamera.frame_counter.bin").astype(np.int64)
    word = np.fromfile(folder / "_iblrig_bodyCamera.GPIO.bin").astype(np.uint64)
    high = (word >> np.uint64(GPIO_BIT) & np.uint64(1)).astype(bool)
    lines = (folder / "_iblrig_bodyCamera.timestamps.ssv").read_text().splitlines()[: len(ids)]
    unwrap = Unwrap(CYCLE_WRAP_NS)
    t_ns = [
        unwrap(cycle_ns(int(line.split()[1])), round(i * 33.4e6)) for i, line in enumerate(lines)
    ]
    t_s = np.array(t_ns) * 1e-9
    return Frames(t_s, ids, np.zeros(len(ids), np.int64), high=high), t_s


def recorded(t_s: np.ndarray) -> np.ndarray:
    """Camera times in a recording's clock: 31 ppm faster, and not from the same zero."""
    return 12.5 + (t_s - t_s[0]) * (1 + 31e-6)


def test_the_real_line_status_is_an_anchor(data: Path) -> None:
    frames, t_s = body_camera(data)
    assert frames.high is not None
    assert frames.high.sum() == 6  # one TTL
    truth = recorded(t_s)
    period = float(np.median(np.diff(truth)))
    # the camera ran before and after: uniform strobes, no silence, nothing else to go by
    before, after = truth[0] - np.arange(80, 0, -1) * period, truth[-1] + np.arange(1, 90) * period
    strobe = edges_of(np.r_[before, truth, after], 9.0, 40.0)
    with pytest.raises(NoMatch, match="no code"):
        match(frames, strobe)
    up, down = truth[frames.high][0], truth[frames.high][-1] + period
    line = strobe._replace(
        rising_s=np.array([up - 0.8 * period]), falling_s=np.array([down - 0.3 * period])
    )
    found = match(frames, strobe, "line", line)
    assert np.abs(found.pulse_s - truth).max() < 40e-6
    assert found.anchor.votes == 2
    # a TTL of another length is another one
    longer = line._replace(falling_s=line.falling_s + 3 * period)
    with pytest.raises(NoMatch, match="agree"):
        match(frames, strobe, "line", longer)


def two_cameras(data: Path) -> dict[str, np.ndarray]:
    """Frame times of two cameras on the session's clock, s; each has a real gap."""
    name = "3f859b5c-e73a-4044-b49e-34bb81e96715.timestamps"
    return {s: np.load(data / "eks_ibl" / f"{name}.{s}.npy") for s in ("left", "right")}


def free_running(truth_s: np.ndarray, seed: int) -> tuple[Frames, np.ndarray]:
    """The frames as a camera with a clock of its own saw them, and all its strobes."""
    random = np.random.default_rng(seed)
    period = float(np.median(np.diff(truth_s)))
    ids = np.r_[0, np.cumsum(np.round(np.diff(truth_s) / period))].astype(np.int64)
    t_s = 1e3 * seed + truth_s * (1 + random.uniform(-1, 1) * 5e-5)
    strobes = np.interp(np.arange(ids[-1] + 1), ids, truth_s)
    return Frames(t_s, 1000 * seed + ids, np.zeros(len(ids), np.int64), True), strobes


def test_two_real_cameras_on_one_clock(data: Path) -> None:
    truth = two_cameras(data)
    found: dict[str, Match] = {}
    cameras = {name: free_running(t_s, seed) for seed, (name, t_s) in enumerate(truth.items(), 1)}
    for name, (frames, strobes) in cameras.items():
        edges = edges_of(strobes, 177.0, 200.0)
        found[name] = match(frames, edges)
        assert np.abs(found[name].pulse_s - truth[name]).max() < 20e-6
        assert found[name].n_lost == len(strobes) - len(frames.t_s) > 1
        # one pulse less at either end is no longer sure
        for part in (strobes[1:], strobes[:-1]):
            with pytest.raises(NoMatch):
                match(frames, edges_of(part, 177.0, 200.0))
    # how far each frame of the left camera is from the nearest of the right one
    left, right = (found[name].pulse_s for name in ("left", "right"))
    apart = np.abs(right[None, :] - left[:, None]).min(axis=1)
    true = np.abs(truth["right"][None, :] - truth["left"][:, None]).min(axis=1)
    assert np.abs(apart - true).max() < 40e-6
    left_frames, right_strobes = cameras["left"][0], cameras["right"][1]
    with pytest.raises(NoMatch, match="another line"):
        match(left_frames, edges_of(right_strobes, 177.0, 200.0))
    both = np.sort(np.r_[cameras["left"][1], right_strobes])
    with pytest.raises(NoMatch, match=r"two cameras on one|another line"):
        match(left_frames, edges_of(both, 177.0, 200.0))
