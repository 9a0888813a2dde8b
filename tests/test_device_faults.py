"""Devices that fail at the worst moment: while they start, return, or are counted."""

from typing import Any

import pytest
from test_device_camera import Acquisition, Bench, FakeLink

from rtface.camera.device import LinkLost
from rtface.types import CameraState, Lost, UserError


class FailsToStart(FakeLink):
    def start(self) -> None:
        raise LinkLost("not now")


class FailsToLatch(FakeLink):
    def latch(self) -> Any:
        raise LinkLost("not now")


@pytest.mark.parametrize("kind", [FailsToStart, FailsToLatch])
def test_a_camera_that_fails_as_it_returns_is_closed_and_looked_for_again(
    kind: type[FakeLink],
) -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += [1, 2, "bad", "bad", LinkLost("cable")]
    run.turn(5)
    assert run.camera.state is CameraState.GONE
    whole, broken = bench.open, []

    def fails_once() -> FakeLink:
        if broken:
            return whole()
        broken.append(kind(bench))
        return broken[0]

    run.camera._open = fails_once
    for _ in range(200):
        if run.camera.state is CameraState.GONE:
            run.turn()
            assert run.camera.counts().produced == 4  # whatever happens meanwhile
    assert run.camera.state is CameraState.RUNNING
    assert broken[0].closed == 1
    bench.link.queue += [0, 1]
    run.turn(2)
    assert [s.segment for s in run.stamps] == [0, 0, 1, 1]
    counts = run.end()
    assert counts["lost"] == Lost(incomplete=2)._asdict()


@pytest.mark.parametrize("times", [3, 1000])
def test_a_camera_that_refuses_its_settings_as_it_returns_is_asked_again(times: int) -> None:
    """While it boots it takes nothing; one that never takes them ends the run with its reason."""
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += [1, LinkLost("cable")]
    run.turn(2)
    whole, refused = bench.open, []

    def not_yet() -> FakeLink:
        if len(refused) < times:
            refused.append(1)
            raise UserError("camera.cam1: ExposureTime is not there")
        return whole()

    run.camera._open = not_yet
    if times == 1000:
        with pytest.raises(UserError, match="ExposureTime is not there"):
            run.turn(3000)
        assert len(refused) == 13
        return
    for _ in range(400):
        if run.camera.state is CameraState.GONE:
            run.turn()
    assert run.camera.state is CameraState.RUNNING
    bench.link.queue += [0]
    run.turn()
    assert [s.segment for s in run.stamps] == [0, 1]


@pytest.mark.parametrize("kind", [FailsToStart, FailsToLatch])
def test_a_camera_that_fails_to_start_is_one_line(kind: type[FakeLink]) -> None:
    bench = Bench()
    bench.open = lambda: kind(bench)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"camera\.cam1: cannot be started: not now"):
        Acquisition(bench)


def test_underruns_that_show_later_keep_their_cause() -> None:
    bench = Bench()
    run = Acquisition(bench)
    link = bench.link
    link.queue += [1, 2]
    run.turn(2)
    link.lost_buffers = 4  # the driver knows it at once; the frames before are still in its queue
    link.queue += ["bad", 4, 5, 10]
    run.turn(4)
    assert run.end()["lost"] == Lost(incomplete=1, no_buffer=4)._asdict()


def test_underruns_before_a_restart_of_the_counter_explain_nothing_after_it() -> None:
    bench = Bench()
    run = Acquisition(bench)
    link = bench.link
    link.lost_buffers = 3
    link.queue += [1, 5, 0, 4]
    run.turn(4)
    assert run.end()["lost"] == Lost(link=3, no_buffer=3)._asdict()


def test_damaged_frames_are_a_sign_of_life() -> None:
    bench = Bench()
    run = Acquisition(bench)
    link = bench.link
    link.queue += [1]
    run.turn()
    for _ in range(30):  # 3 s of nothing whole
        link.queue += ["bad"]
        run.turn()
        bench.sleep(0.05)
    assert run.camera.state is CameraState.RUNNING
    run.turn(30)
    assert run.camera.state is CameraState.SILENT


def test_what_was_made_never_falls() -> None:
    bench = Bench()
    run = Acquisition(bench)
    made = []
    for what in ["bad", "bad", 7, "bad", 9, 0, "bad", 2]:
        bench.link.queue.append(what)
        run.turn()
        made.append(run.camera.counts().produced)
    assert made == sorted(made)
    assert made[-1] == run.end()["produced"]
