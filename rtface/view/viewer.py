"""One viewer: what waits for it, newest wins, and what it asks for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rtface.view.source import Source
from rtface.wire import json_text

#: pictures and batches of rows that may be on their way, unanswered. A viewer that does not answer
#: gets nothing more: on a slow link what arrives is new, and nothing heaps up for a stalled one
PICTURES_AHEAD, BATCHES_AHEAD = 2, 2
#: of the rows in one message, bytes, and in the first, which has the past
MOST_BYTES, MOST_FIRST_BYTES = 1 << 18, 1 << 20
#: answers that wait; a viewer that asks more and does not read loses the oldest
MOST_ANSWERS = 32
#: orders and questions that one viewer may send, by the second
MOST_ASKED_PER_S = 100


class Viewer:
    """What one connection has been sent and is to be sent. Belongs to the event loop.

    Attributes
    ----------
    camera : str
        Which it watches; empty: none.
    looking : bool
        Whether it wants pictures now: the page is in front and not paused.
    n_pictures, passed_over : int
        Pictures sent, and those that were replaced by newer ones while it was busy.
    """

    def __init__(self) -> None:
        self.camera = ""
        self.looking = True
        self.past: dict[int, bytes] = {}
        self.n_pictures = self.passed_over = 0
        self._texts: dict[str, str] = {}
        self._answers: deque[str] = deque(maxlen=MOST_ANSWERS)
        self._picture: bytes | None = None
        self._pictures_out = self._batches_out = 0
        self._run = -1
        self._sent_rows = self._sent_events = 0
        self._source: Source | None = None
        self._wake = asyncio.Event()
        self._asked: deque[float] = deque(maxlen=MOST_ASKED_PER_S)
        self.closed = False

    # --- what the hub hands over ---

    def tell(self, slot: str, message: dict[str, Any]) -> None:
        """Replace what waits in a slot (``status``, ``meta``)."""
        self._texts[slot] = json_text(message)
        self._wake.set()

    def answer(self, message: dict[str, Any]) -> None:
        """Answer what was asked."""
        self._answers.append(json_text(message))
        self._wake.set()

    def show(self, picture: bytes) -> None:
        """Have a picture sent, instead of one that still waits."""
        self.passed_over += self._picture is not None
        self._picture = picture
        self._wake.set()

    def rows_from(self, source: Source | None) -> None:
        """Have rows and events sent from there on."""
        if source is not self._source:
            self._source = source
            self._sent_rows = self._sent_events = 0
        self._wake.set()

    def keep(self, past: dict[int, bytes]) -> None:
        """Show nothing new, but what is asked for of this past; an empty one: go on."""
        self.past = past
        self._picture = None

    @property
    def wants_picture(self) -> bool:
        """Whether a new picture would leave at once."""
        return self.looking and not self.past and self._pictures_out < PICTURES_AHEAD

    # --- what it says ---

    def got(self, picture: bool) -> None:
        """Note that a picture or a batch of rows has arrived."""
        if picture:
            self._pictures_out = max(0, self._pictures_out - 1)
        else:
            self._batches_out = max(0, self._batches_out - 1)
        self._wake.set()

    def may_ask(self) -> bool:
        """Whether it has not asked too much within the last second."""
        now = time.monotonic()
        if len(self._asked) == MOST_ASKED_PER_S and now - self._asked[0] < 1:
            return False
        self._asked.append(now)
        return True

    def close(self) -> None:
        """Have ``send_all`` return."""
        self.closed = True
        self._wake.set()

    # --- its own task ---

    async def send_all(
        self, send_text: Callable[[str], Any], send_bytes: Callable[[bytes], Any]
    ) -> None:
        """Send whatever there is, for as long as the connection lasts."""
        while not self.closed:
            await self._wake.wait()
            self._wake.clear()
            while self._answers:
                await send_text(self._answers.popleft())
            for slot in list(self._texts):
                await send_text(self._texts.pop(slot))
            if events := self._new_events():
                await send_text(events)
            if self._picture is not None and self._pictures_out < PICTURES_AHEAD:
                picture, self._picture = self._picture, None
                self._pictures_out += 1
                self.n_pictures += 1
                await send_bytes(picture)
            if rows := self._new_rows():
                self._batches_out += 1
                await send_bytes(rows)

    def _new_rows(self) -> bytes | None:
        source = self._source
        if source is None or not self.looking or self._batches_out >= BATCHES_AHEAD:
            return None
        rows = source.rows
        if self._sent_rows == rows.count:
            return None
        most = (MOST_BYTES if self._sent_rows else MOST_FIRST_BYTES) // rows.row_bytes
        first = max(self._sent_rows, rows.count - most)
        self._sent_rows = rows.count
        return source.rows_message(first)

    def _new_events(self) -> str | None:
        source = self._source
        if source is None or self._sent_events == source.n_events:
            return None
        n = min(source.n_events - self._sent_events, len(source.events))
        self._sent_events = source.n_events
        told = [source.in_page_time(event) for event in source.events[len(source.events) - n :]]
        return json_text({"events": told, "run": source.run})
