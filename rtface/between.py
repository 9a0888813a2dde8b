"""What the tracker's loop does between frames: orders, masks that came, events of the rules."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from rtface import child
from rtface.event_ring import EventRingWriter
from rtface.loop import Loop
from rtface.motion.masks import load_masks
from rtface.publish import Publisher
from rtface.stages.motion import MotionStage
from rtface.types import CameraInfo, Ledger, UserError

#: at the end, how long lines have to say that they are off, s
LAST_WORDS_S = 0.05


class Between:
    """Tends one camera's orders and rules. Belongs to the tracker's thread."""

    def __init__(
        self,
        line: child.Line,
        motion: MotionStage | None,
        loop: Loop | None,
        publisher: Publisher,
        events: EventRingWriter | None,
        meta: dict[str, Any],
        info: CameraInfo,
        masks_file: str | None,
    ) -> None:
        self._line, self._motion, self._loop = line, motion, loop
        self._publisher, self._events, self._meta = publisher, events, meta
        self._shape = info.height, info.width
        # with the first frame that is good enough: before, silence is no fault
        self._arming = bool(line.job.get("armed"))
        self._orders = 0  # to arm or disarm, heard
        #: where the masks lie
        self._path: str | None = masks_file

    def state(self) -> dict[str, Any]:
        """Return what the status says: the masks' identity, the rules."""
        motion = self._meta["motion"]
        return {
            "masks": motion["masks"] if motion else None,
            "masks_file": self._path,
            "loop": self._loop and self._rules(self._loop),
        }

    def _rules(self, loop: Loop) -> dict[str, Any]:
        state = loop.state()
        arms_itself = self._arming or state["arms_itself"]
        return {**state, "arms_itself": arms_itself, "orders": self._orders}

    def tend(self) -> None:
        """Do what was ordered, tell what happened; never waits."""
        if order := self._line.order():
            if order["cmd"] == "masks":
                # in another thread: the file is large and frames go on
                self._path = order["path"]
                threading.Thread(target=self._load, daemon=True).start()
            elif self._loop:
                if order["cmd"] != "camera":  # armed or disarmed by somebody since
                    self._arming = False
                    self._orders += 1
                self._loop.obey(order)
                self._line.report("loop", loop=self._rules(self._loop))
        self.tell()

    def tell(self) -> None:
        """Look after rules and lines, and tell what happened."""
        for event in self._loop.tend() if self._loop else ():
            self._publisher.send_event(event)
            if self._events:
                self._events.write(event)

    def arm(self, ledger: Ledger) -> None:
        """Let rules fire from the start of the run on, if they shall, once the clock is good."""
        if self._arming and self._loop and self._loop.may_arm(ledger):
            self._arming = False
            self._loop.obey({"cmd": "arm", "why": "at the start of the run"})

    def disarm(self, why: str) -> None:
        """Let nothing fire any more."""
        self._arming = False
        if self._loop:
            self._loop.obey({"cmd": "disarm", "why": why})

    def finish(self) -> None:
        """End the closed loop in order: what lines still say is told, too."""
        if self._loop:
            self.disarm("the run ended")
            until = time.monotonic() + LAST_WORDS_S
            while time.monotonic() < until:
                self.tell()
                time.sleep(0.001)

    def _load(self) -> None:
        assert self._motion is not None
        try:
            self._motion.replace(load_masks(Path(str(self._path)), self._shape))
        except UserError as error:
            self._line.report("note", text=f"no motion components: {error}")

    def announce(self, ledger: Ledger) -> None:
        """Tell subscribers and the supervisor of the masks that begin with this frame."""
        assert self._motion is not None
        self._meta["motion"] = self._motion.about()
        self._publisher.set_meta(self._meta)
        identity = self._meta["motion"]["masks"]
        told = {"identity": identity, "frame_seq": ledger.frame_seq, "path": self._path}
        self._line.report("masks", **told)
