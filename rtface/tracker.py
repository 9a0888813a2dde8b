"""One frame in, its ledger, pose and signals out. Sees no socket and no ring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rtface.exposure import Exposed, FrameTimer, Timing
from rtface.rules import Stage as When
from rtface.stages import MovingStage, PosedStage
from rtface.stages.aside import Aside
from rtface.types import (
    CAUSES,
    Flag,
    Float32Array,
    Frame,
    Image,
    Ledger,
    Lost,
    Pose,
    Signals,
    Stamp,
)


class Decider(Protocol):
    """Decides after each stage of a frame whether anything is fired."""

    @property
    def signals(self) -> dict[str, Float32Array]:
        """What it measures itself, to be stored with the frame."""

    def after(
        self, stage: When, frame: Frame, ledger: Ledger, pose: Pose, signals: Signals, now_ns: int
    ) -> None:
        """Decide what can be decided now."""


class Predictor(Protocol):
    """Predicts from all that is known of a frame."""

    @property
    def signals(self) -> dict[str, Float32Array]:
        """Of the frame of the last call."""

    def __call__(self, exposure_ns: int, pose: Pose, signals: Signals) -> None:
        """Predict."""


class Tracker:
    """Turns frames into poses and signals with a ledger; its clock is given.

    Parameters
    ----------
    estimator : callable
        Gets an image and how many frame periods have passed since the one before.
    timing : Timing
    clock : callable
    motion : sequence of MovingStage
    pupil : PosedStage, optional
        What else is computed of every frame.
    neural : Predictor, optional
        Comes last: it sees the signals of the others.
    aside : bool
        Compute motion in a thread of its own while the network runs. Same results.
    before : callable
        Returns the frame right before one that was passed over, if it can still be had: motion is
        known then, too.
    loop : Decider, optional
        Decides after each stage, and fires.

    Attributes
    ----------
    tracked : int
        Frames that were tracked.
    skipped : int
        Frames passed over for newer ones.
    timer : FrameTimer
        Finds when frames were exposed.
    """

    def __init__(
        self,
        estimator: Callable[[Image, int], Pose],
        timing: Timing,
        clock: Callable[[], int] = time.perf_counter_ns,
        motion: Sequence[MovingStage] = (),
        pupil: PosedStage | None = None,
        neural: Predictor | None = None,
        before: Callable[[int], Frame | None] = lambda _frame_seq: None,
        loop: Decider | None = None,
        aside: bool = False,
    ) -> None:
        self._estimate = estimator
        self._moving: tuple[Image | None, Image, bool] | None = None
        self._aside = Aside(self._move) if aside and motion else None
        self._motion, self._pupil, self._neural = tuple(motion), pupil, neural
        self._before, self._loop = before, loop
        self._signals: dict[str, Float32Array] = {}
        for stage in (*motion, *([pupil] if pupil else [])):
            self._signals |= stage.signals
        self._signals |= neural.signals if neural else {}
        self._signals |= loop.signals if loop else {}
        self._period_ns = timing.period_ns
        self.timer = FrameTimer(timing)
        self._clock = clock
        self._next_seq = 0
        self._lost = Lost()
        self._segment: int | None = None
        self._frame_id = self._exposure_ns = self._exposure_err_ns = 0
        self.tracked = 0
        self.skipped = 0

    def __call__(self, frame: Frame) -> tuple[Ledger, Pose, Signals]:
        """Track one frame; every frame between the last one and this is counted as skipped.

        The signals are overwritten by the next call.
        """
        t_read_ns = self._clock()
        passed_over = frame.frame_seq - self._next_seq
        lost = sum(frame.lost) - sum(self._lost)
        stamp = frame.stamp
        first = stamp.segment != self._segment
        before = self._look_back(frame) if passed_over and self._motion else None
        exposed = self.timer(stamp)
        self._moving = before, frame.image, self._right_before(stamp, exposed)
        if self._aside:
            self._aside.start()
        pose = self._estimate(frame.image, 1 + passed_over + lost)
        t_infer_ns = self._clock()
        flags = exposed.flags
        if not pose.face:
            flags |= Flag.NO_FACE.value
        if passed_over:
            flags |= Flag.SKIPPED.value
        if first:
            flags |= Flag.FIRST.value
        if frame.lost != self._lost:
            flags |= _gap_flags(self._lost, frame.lost)
        self._segment, self._lost = stamp.segment, frame.lost
        self._next_seq = frame.frame_seq + 1
        self.skipped += passed_over
        self.tracked += 1
        ledger = Ledger(
            frame.frame_seq,
            stamp.segment,
            stamp.frame_id,
            stamp.t_camera_ns,
            stamp.t_host_ns,
            t_read_ns,
            t_infer_ns,
            t_infer_ns,
            t_infer_ns,
            t_infer_ns,
            t_infer_ns,
            exposed.exposure_ns,
            exposed.exposure_err_ns,
            exposed.time_source,
            sum(frame.lost),
            self.skipped,
            flags,
        )
        ledger = self._stages(frame, ledger, pose)
        t_done_ns = self._clock()
        flags = ledger.flags
        if t_done_ns - stamp.t_host_ns > self._period_ns:
            flags |= Flag.PAST_FRAME_BUDGET.value
        ledger = ledger._replace(t_done_ns=t_done_ns, flags=flags)
        return ledger, pose, self._signals

    def _stages(self, frame: Frame, ledger: Ledger, pose: Pose) -> Ledger:
        """Compute what there is beside keypoints; decide what can be decided after each stage."""
        loop, signals = self._loop, self._signals
        if loop:
            loop.after(When.POSE, frame, ledger, pose, signals, ledger.t_infer_ns)
        flags = ledger.flags
        t_motion_ns = t_pupil_ns = ledger.t_infer_ns
        if self._motion:
            flags |= self._aside.wait() if self._aside else self._move()
            t_motion_ns = t_pupil_ns = self._clock()
            ledger = ledger._replace(t_motion_ns=t_motion_ns, t_pupil_ns=t_pupil_ns, flags=flags)
        if loop:
            loop.after(When.MOTION, frame, ledger, pose, signals, t_motion_ns)
        if self._pupil:
            flags |= self._pupil(frame.image, pose)
        if self._neural:
            self._neural(ledger.exposure_ns, pose, signals)
        if self._pupil or self._neural:
            t_pupil_ns = self._clock()
            ledger = ledger._replace(t_pupil_ns=t_pupil_ns, flags=flags)
        if loop:
            loop.after(When.PUPIL, frame, ledger, pose, signals, t_pupil_ns)
            return ledger._replace(t_rules_ns=self._clock())
        return ledger._replace(t_rules_ns=t_pupil_ns)

    def _move(self) -> int:
        """Compute the motion of the frame that is being tracked; return bits of ``Flag``."""
        assert self._moving is not None
        before, image, consecutive = self._moving
        flags = 0
        for stage in self._motion:
            if before is not None:
                stage.look(before)
            flags |= stage(image, consecutive)
        return flags

    def _look_back(self, frame: Frame) -> Image | None:
        """Return the frame before this one, which was passed over, for what compares the two."""
        before = self._before(frame.frame_seq)
        if before is None:
            return None
        exposed = self.timer(before.stamp)
        self._segment, self._frame_id = before.stamp.segment, before.stamp.frame_id
        self._exposure_ns, self._exposure_err_ns = exposed.exposure_ns, exposed.exposure_err_ns
        return before.image

    def _right_before(self, stamp: Stamp, exposed: Exposed) -> bool:
        """Return whether the last tracked frame was the exposure right before this one.

        Ids that follow each other are not enough: a camera that waits for triggers counts on.
        """
        apart_ns = exposed.exposure_ns - self._exposure_ns
        within_ns = self._period_ns // 2 + exposed.exposure_err_ns + self._exposure_err_ns
        follows = stamp.segment == self._segment and stamp.frame_id == self._frame_id + 1
        self._frame_id = stamp.frame_id
        self._exposure_ns, self._exposure_err_ns = exposed.exposure_ns, exposed.exposure_err_ns
        return follows and abs(apart_ns - self._period_ns) <= within_ns

    def finish(self, n_frames: int) -> None:
        """Count what came after the last tracked frame of ``n_frames`` as skipped; the end."""
        if self._aside:
            self._aside.close()
        self.skipped += n_frames - self._next_seq
        self._next_seq = n_frames


def _gap_flags(before: Lost, now: Lost) -> int:
    """Return the flags of a result after frames that acquisition never got, with the causes."""
    flags = Flag.CAMERA_GAP.value
    for cause, old, new in zip(CAUSES, before, now, strict=True):
        if new > old:
            flags |= cause.value
    return flags
