"""States, ids and losses of a real camera, on a link whose device does as it is told."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from camera_cases import FakeNodes

from rtface.acquire import Account
from rtface.camera.device import Buffer, DeviceCamera, LinkLost
from rtface.camera_config import GenicamSection
from rtface.types import CameraInfo, CameraState, Image, Lost, Stamp, UserError

MS = 1_000_000
SECOND_NS = 1000 * MS
PERIOD_NS = 10 * MS
AHEAD_NS = 7  # of the host's clock is the camera's


class Bench:
    """Time, and the devices that are opened one after the other."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.links: list[FakeLink] = []
        self.looked_ns: list[int] = []
        self.there = True
        self.features: dict[str, Any] = {}

    def open(self) -> "FakeLink":
        self.looked_ns.append(self.now_ns)
        if not self.there:
            raise LinkLost("there is no camera; there are: none")
        self.links.append(FakeLink(self))
        return self.links[-1]

    @property
    def link(self) -> "FakeLink":
        return self.links[-1]

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class FakeLink:
    """Hands out what is in its queue: ids, "bad" for a damaged frame, or an error to raise."""

    def __init__(self, bench: Bench) -> None:
        self.info = CameraInfo(4, 4, 8, 100.0)
        self.incomplete = 0
        self.queue: deque[Any] = deque()
        self.closed = self.started = self.queued = 0
        self.lost_buffers = 0
        self.answers = True
        self.nodes = FakeNodes(dict(bench.features), {"ExposureTime": (10.0, 50_000.0)})
        self._bench = bench

    def start(self) -> None:
        self.started += 1

    def fetch(self, timeout_s: float) -> Buffer | None:
        if not self.queue:
            self._bench.sleep(timeout_s)
            return None
        what = self.queue.popleft()
        if isinstance(what, Exception):
            raise what
        if what == "bad":
            self.incomplete += 1
            return None
        if isinstance(what, tuple):
            return Buffer(what[0], what[1], 0, 0, b"")
        self._bench.now_ns += PERIOD_NS
        return Buffer(what, self._bench.now_ns + AHEAD_NS, 500, 2, b"")

    def copy(self, buffer: Buffer, out: Image) -> None:
        out.fill(buffer.frame_id % 256)

    def requeue(self) -> None:
        self.queued += 1

    def underruns(self) -> int:
        return self.lost_buffers

    def latch(self) -> tuple[int, int, int] | None:
        return (self._bench.now_ns + AHEAD_NS, self._bench.now_ns, 4)

    def alive(self) -> bool:
        return self.answers

    def trigger(self) -> None:
        self.queue.append(len(self.queue))

    def close(self) -> None:
        self.closed += 1


class Acquisition:
    """What the acquisition process does with a camera."""

    def __init__(self, bench: Bench, **fields: Any) -> None:
        section = GenicamSection(kind="genicam", rate_hz=100.0, **fields)
        self.camera = DeviceCamera("cam1", section, bench.open, bench.clock, bench.sleep)
        self.account = Account(self.camera.first_id)
        self.camera.start()
        self.image = np.zeros((4, 4), np.uint8)
        self.stamps: list[Stamp] = []

    def turn(self, n: int = 1) -> None:
        for _ in range(n):
            stamp = self.camera.fill(self.image, 0.05)
            if stamp:
                self.account.take(stamp, self.camera)
                self.stamps.append(stamp)

    def end(self) -> dict[str, Any]:
        self.account.finish(self.camera)
        counts = self.account.counts(self.camera)
        assert counts["produced"] == counts["delivered"] + counts["lost_camera"]
        assert sum(counts["lost"].values()) == counts["lost_camera"]
        return counts


def test_every_missing_id_has_a_cause() -> None:
    bench = Bench()
    run = Acquisition(bench)
    link = bench.link
    link.queue += [5, 6, 8, "bad", "bad", 11]
    run.turn(4)
    link.lost_buffers = 3
    link.queue += [16, "bad"]
    run.turn(3)
    counts = run.end()
    assert [s.frame_id for s in run.stamps] == [5, 6, 8, 11, 16]
    assert link.queued == 5
    assert counts["lost"] == Lost(2, 3, 3)._asdict()
    assert (counts["produced"], counts["delivered"]) == (13, 5)


def test_a_stamp_says_what_the_frame_said() -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += [5]
    run.turn()
    now_ns = bench.now_ns
    assert run.stamps == [
        Stamp(
            segment=0,
            frame_id=5,
            t_camera_ns=now_ns + AHEAD_NS,
            t_host_ns=now_ns,
            line_status=2,
            exposure_time_ns=500,
            pair=(AHEAD_NS, 0, 4),
        )
    ]


def test_the_clock_is_read_once_a_second() -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += range(250)
    run.turn(250)
    pairs = dict.fromkeys(stamp.pair for stamp in run.stamps)
    assert list(pairs) == [(t_ns + AHEAD_NS, t_ns, 4) for t_ns in (0, SECOND_NS, 2 * SECOND_NS)]


def test_damaged_frames_before_and_after_all_others_count() -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += ["bad", 3, 4, "bad"]
    run.turn(4)
    # what came before the first whole frame has no id and is not known to be of this run
    assert run.end()["lost"]["incomplete"] == 1


def test_ids_go_on_through_a_wrap() -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += [65534, 65535, 1, 3]
    run.turn(4)
    assert [s.frame_id for s in run.stamps] == [65534, 65535, 65536, 65538]
    assert {s.segment for s in run.stamps} == {0}
    assert run.end()["lost_camera"] == 1


def test_a_counter_that_begins_anew_is_a_new_segment() -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += [100, 101, "bad", 0, 1, 3]
    run.turn(6)
    assert [(s.segment, s.frame_id) for s in run.stamps] == [
        (0, 100),
        (0, 101),
        (1, 0),
        (1, 1),
        (1, 3),
    ]
    counts = run.end()
    assert counts["lost"] == Lost(link=1, incomplete=1)._asdict()


def test_a_camera_that_is_gone_comes_back_as_a_new_segment() -> None:
    bench = Bench()
    run = Acquisition(bench)
    assert run.camera.state is CameraState.RUNNING
    bench.link.queue += [1, 2, LinkLost("cable")]
    run.turn(3)
    assert run.camera.state is CameraState.GONE  # told before it is taken down, which may last
    assert bench.links[0].closed == 0
    run.turn()
    assert bench.links[0].closed == 1
    bench.there = False
    t0 = bench.now_ns
    run.turn(400)
    assert bench.now_ns - t0 > 19e9
    waits_ns = np.diff([t0, *bench.looked_ns[1:]])
    assert (waits_ns / SECOND_NS).tolist() == [0.5, 1, 2, 4, 5, 5]  # ever more seldom
    bench.there = True
    for _ in range(120):  # at most 5 s until it is looked for again
        if run.camera.state is CameraState.GONE:
            run.turn()
    assert run.camera.state is CameraState.RUNNING
    assert len(bench.links) == 2
    assert bench.link.started == 1
    bench.link.queue += [0, 1]
    run.turn(2)
    assert [(s.segment, s.frame_id) for s in run.stamps] == [(0, 1), (0, 2), (1, 0), (1, 1)]
    assert run.stamps[-1].pair is not None
    assert run.stamps[-1].pair[1] > t0  # a reading of the clock as it is now
    assert run.end()["lost_camera"] == 0


def test_gone_ends_the_run_if_the_rig_says_so() -> None:
    bench = Bench()
    run = Acquisition(bench, on_gone="stop")
    bench.link.queue += [1, LinkLost("cable")]
    run.turn()
    with pytest.raises(UserError, match=r"camera\.cam1: is gone: cable; .* on_gone = 'stop'"):
        run.turn()
    run.camera.close()
    assert bench.link.closed


def test_silence_is_waiting_with_a_trigger_and_a_fault_without() -> None:
    for trigger, expected in (({"source": "Line0"}, CameraState.WAITING), (None, None)):
        bench = Bench()
        run = Acquisition(bench, trigger=trigger)
        bench.link.queue += [1]
        run.turn(1)
        run.turn(19)  # 0.05 s each
        assert run.camera.state is CameraState.RUNNING
        run.turn(2)
        assert run.camera.state is (expected or CameraState.SILENT)
        run.turn(680)
        assert run.camera.state is (expected or CameraState.SILENT)
        bench.link.queue += [2]
        run.turn(1)
        assert run.camera.state is CameraState.RUNNING
        assert [s.segment for s in run.stamps] == [0, 0]


def test_a_silent_camera_that_does_not_answer_is_gone() -> None:
    bench = Bench()
    run = Acquisition(bench, trigger={"source": "Line0"})
    run.turn(100)
    assert run.camera.state is CameraState.WAITING
    bench.link.answers = False
    run.turn(21)
    assert run.camera.state is CameraState.GONE


def test_a_camera_that_returns_with_another_size_is_refused() -> None:
    bench = Bench()
    run = Acquisition(bench)
    bench.link.queue += [LinkLost("cable")]
    run.turn()
    first = bench.open

    def other() -> FakeLink:
        link = first()
        link.info = CameraInfo(8, 8, 8, 100.0)
        return link

    run.camera._open = other
    with pytest.raises(UserError, match=r"came back with .*state width"):
        run.turn(20)


def test_missed_triggers_are_counted_by_time_or_by_number() -> None:
    bench = Bench()
    run = Acquisition(bench, trigger={"source": "Line0"})
    times = [0, 1, 2, 4, 5, 500]  # periods: one missed, then a pause
    bench.link.queue += [(i, t * PERIOD_NS) for i, t in enumerate(times)]
    run.turn(6)
    assert run.end()["missed_triggers"] == 1
    run = Acquisition(bench, trigger={"source": "Software"})
    for _ in range(3):
        run.camera.trigger()
    bench.link.queue.pop()
    run.turn(2)
    assert run.end()["missed_triggers"] == 1


def test_no_camera_at_the_start_is_an_error_that_names_it() -> None:
    bench = Bench()
    bench.there = False
    with pytest.raises(UserError, match=r"camera\.cam1: there is no camera"):
        Acquisition(bench)
