"""What happens between results, decisions, arming, lines: a third ring of a camera."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rtface.ring import RingReader, RingWriter
from rtface.wire import json_text

#: of an event as JSON; of a longer one texts are cut
MOST_BYTES, MOST_TEXT = 4000, 200
SLOTS = 1024


class EventRingWriter:
    """The tracker's side of ``<camera>.events``. Belongs to one thread."""

    def __init__(self, camera: str, session: str) -> None:
        description = {"kind": "events", "camera": camera, "session": session}
        self.ring = RingWriter(f"{camera}.events", SLOTS, MOST_BYTES, description, 1)

    def write(self, event: dict[str, Any]) -> int:
        """Publish an event, a map that JSON can hold; return its sequence number."""
        text = json_text(event).encode()
        if len(text) > MOST_BYTES:
            short = {k: v[:MOST_TEXT] if isinstance(v, str) else v for k, v in event.items()}
            # of what has no end by itself there are only the scores of keypoints
            text = json_text({**short, **({"scores": {}} if "scores" in event else {})}).encode()
        if len(text) > MOST_BYTES:
            raise ValueError(f"an event of {len(text)} bytes: {text[:80]!r}")
        slot = self.ring.begin()
        self.ring.payloads[slot][: len(text)] = np.frombuffer(text, np.uint8)
        return self.ring.commit((len(text),))

    def close(self) -> None:
        """Close the ring and remove it."""
        self.ring.close()


class EventRingReader:
    """Anybody's side of ``<camera>.events``.

    Attributes
    ----------
    lost : int
        Events that were overwritten before they were read.
    """

    def __init__(self, camera: str) -> None:
        self.ring = RingReader(f"{camera}.events")
        self._payload = np.empty(MOST_BYTES, np.uint8)
        self._next = 0
        self.lost = 0

    def new(self) -> list[dict[str, Any]]:
        """Return the events since the last call, oldest first."""
        events: list[dict[str, Any]] = []
        head = self.ring.head
        while self._next <= head:
            oldest = self.ring.oldest
            if self._next < oldest:
                self.lost += oldest - self._next
                self._next = oldest
            words = self.ring.read(self._next, self._payload)
            if words is None:
                self.lost += 1
            else:
                events.append(json.loads(self._payload[: words[0]].tobytes()))
            self._next += 1
        return events

    def close(self) -> None:
        """Unmap the ring."""
        self.ring.close()
