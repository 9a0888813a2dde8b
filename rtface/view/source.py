"""One camera, seen from its rings: rows of results, pictures, events. Holds nobody up."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rtface.event_ring import EventRingReader
from rtface.rings import FrameRingReader, ResultRingReader
from rtface.view import packet
from rtface.view.picture import JpegEncoder
from rtface.view.whiskers import WhiskerAngles

#: rows that are kept for viewers that come or lag, s, and at most so many bytes of them
KEPT_S, KEPT_BYTES = 20.0, 64 << 20
#: of the run's beginning that a new viewer's traces begin with, s
BEFORE_S = 10.0
#: most results that are taken up in one turn: the rest comes in the next
AT_MOST = 4000
#: events that a new viewer still gets
KEPT_EVENTS = 200


def kept_rows(rate_hz: float, n_columns: int) -> int:
    """Return how many rows are kept."""
    n = max(500, round(KEPT_S * rate_hz))
    return max(1, min(n, KEPT_BYTES // packet.row_bytes(n_columns)))


class Source:
    """The rings of one run of one camera. Belongs to one thread.

    Attributes
    ----------
    session : str
    run : int
        Number of this run for viewers, uint16.
    columns : list of str
        What each float32 of a row is.
    rows : Rows
    events : list of dict
        The last of what rules and lines did, oldest first.
    n_events : int
        How many there ever were.
    lost : int
        Results that were overwritten before they were read here.

    Raises
    ------
    FileNotFoundError
        The rings of this run are not there (yet).
    """

    def __init__(self, camera: str, meta: Mapping[str, Any], run: int) -> None:
        self.camera, self.run = camera, run
        self._angles = WhiskerAngles(meta)
        self.columns = packet.columns(meta) + self._angles.columns
        with contextlib.ExitStack() as stack:
            self._results = ResultRingReader(camera)
            stack.callback(self._results.close)
            self._frames = FrameRingReader(camera)
            stack.callback(self._frames.close)
            told = self._results.ring.description
            if {told["session"], self._frames.session} != {meta["session"]}:
                raise FileNotFoundError(f"{camera}: the rings are those of another run")
            stack.pop_all()
        self.session: str = meta["session"]
        self._events: EventRingReader | None = None
        with contextlib.suppress(FileNotFoundError):
            if meta.get("rules"):
                self._events = EventRingReader(camera)
        self.info = self._frames.info
        self._encode = JpegEncoder(self.info)
        self._newest = -1  # result that was taken up
        self._asleep = True
        n_columns = len(self.columns)
        self.rows = packet.Rows(kept_rows(self.info.rate_hz, n_columns), n_columns)
        self.events: list[dict[str, Any]] = []
        self.n_events = 0
        #: what times are counted from, ns of the host's clock
        self.t0_ns = self._frames.ring.heartbeat_ns
        self._pictured = -1

    @property
    def lost(self) -> int:
        """Results that were overwritten before they were read here."""
        return self._results.lost

    @property
    def newest_frame(self) -> int:
        """The newest frame of which there is a row; -1: none."""
        last = self.rows.count - 1
        return int(self.rows.part(last, last + 1)[0][0, 0]) if last >= 0 else -1

    def take(self) -> int:
        """Take up what is new; return how many results that were."""
        if self._asleep:
            self._asleep = False
            ring = self._results.ring
            before = ring.head - round(BEFORE_S * self.info.rate_hz)
            # the oldest are about to be overwritten
            there = ring.oldest + ring.n_slots // 8
            self._results.skip_to(max(self._newest + 1, before, min(there, ring.head)))
        results = self._results.new(AT_MOST)
        if results:
            self._newest = results[-1].seq
        for result in results:
            times, values = packet.row_of(result, self.t0_ns)
            if self._angles.columns:
                values = np.concatenate([values, self._angles(result)])
            self.rows.add(times, values)
        if self._events is not None:
            events = self._events.new()
            self.n_events += len(events)
            self.events = [*self.events, *events][-KEPT_EVENTS:]
        return len(results)

    def sleep(self) -> None:
        """Note that nobody looks: what comes now is passed over, and not lost."""
        self._asleep = True

    def picture(self) -> bytes | None:
        """Return the message of the newest frame that has a result; None if it is not new."""
        frame_seq = self.newest_frame
        if frame_seq == self._pictured:  # -1 before the first
            return None
        times, values = self.rows.part(self.rows.count - 1, self.rows.count)
        found = self._frames.take(frame_seq)
        if found is None:
            return None
        self._pictured = frame_seq
        jpeg = self._encode(found[1])
        return packet.picture_message(self.run, self._encode.step, times[0], values[0], jpeg)

    def rows_message(self, first: int) -> bytes:
        """Return the message of all rows from number ``first`` on."""
        return packet.rows_message(self.run, *self.rows.part(first, self.rows.count))

    def in_page_time(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event with its times (``x_ns``) as ``x_s`` since ``t0_ns``."""
        told = dict(event)
        for key in ("exposure_ns", "decided_ns", "t_command_ns", "t_ns"):
            if told.get(key) is not None:
                told[f"{key[:-3]}_s"] = (told.pop(key) - self.t0_ns) * 1e-9
        return told

    def close(self) -> None:
        """Unmap the rings."""
        self._results.close()
        self._frames.close()
        if self._events is not None:
            self._events.close()
