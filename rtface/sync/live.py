"""Live from Open Ephys: the camera's pulses in its samples, while both run.

The Event Broadcaster plugin (JSON format, port 5557) publishes every TTL event with its sample
number. When a message arrives says nothing: events are matched with frames as they are afterwards.

Source of the messages: ``open_ephys.streaming`` of open-ephys-python-tools. The last part is JSON
with ``event_type`` (``ttl``), ``stream``, ``sample_number``, ``sample_rate`` (Hz), ``line`` (from
1) and ``state``.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from typing import NamedTuple, Self

import numpy as np
import zmq

from rtface.sync.anchor import NoMatch
from rtface.sync.edges import NO_TIMES, Edges
from rtface.sync.match import Frames, match


class Event(NamedTuple):
    """A TTL event: ``sample`` of a stream of ``rate_hz``; ``line`` counts from 1."""

    stream: str
    sample: int
    rate_hz: float
    line: int
    up: bool


def decode(parts: list[bytes]) -> Event | None:
    """Return the TTL event in a message; None for spikes and whatever else."""
    try:
        told = json.loads(parts[-1])
        if told["event_type"] != "ttl":
            return None
        return Event(
            str(told["stream"]),
            int(told["sample_number"]),
            float(told["sample_rate"]),
            int(told["line"]),
            bool(int(told["state"])),
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return None


class EventBroadcaster:
    """Receives TTL events of one line. Belongs to one thread.

    Parameters
    ----------
    line : int
        From 1, as in the GUI.
    address : str
        The plugin's port.
    stream : str
        A part of the stream's name; the first that is heard if left out.
    """

    def __init__(self, line: int, address: str = "tcp://127.0.0.1:5557", stream: str = "") -> None:
        self.line, self.stream = line, stream
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.subscribe(b"")
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address)

    def receive(self, timeout_s: float) -> Event | None:
        """Return the next event of the line, or None if none comes within ``timeout_s``."""
        until = time.monotonic() + timeout_s
        while self._socket.poll(max(0, round((until - time.monotonic()) * 1000))):
            event = decode(self._socket.recv_multipart())
            if event and event.line == self.line and self.stream in event.stream:
                self.stream = self.stream or event.stream
                return event
        return None

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()


class LiveFit(NamedTuple):
    """``sample = first + rate_hz * (t_ns - zero_ns) * 1e-9``; 95 % of pulses keep to ``p95_s``."""

    zero_ns: int
    first: float
    rate_hz: float
    p95_s: float
    votes: int

    def sample(self, t_ns: int) -> float:
        """Return the sample of the recording at a time of ``perf_counter_ns``."""
        return self.first + self.rate_hz * (t_ns - self.zero_ns) * 1e-9


class LiveClock:
    """From ``exposure_ns`` of messages to samples of a recording. Belongs to one thread.

    Parameters
    ----------
    lasts_s : float
        How much of the past is matched. The code needs 25 s at least: four marks have to agree.
    """

    def __init__(self, rate_hz: float, lasts_s: float = 60.0) -> None:
        n = max(64, round(rate_hz * lasts_s * 1.1))
        self._frames: deque[tuple[int, int, int]] = deque(maxlen=n)
        self._pulses: deque[int] = deque(maxlen=n)
        self._daq_hz = math.nan

    def add_frame(self, exposure_ns: int, frame_id: int, segment: int) -> None:
        """Take in what a message says of its frame."""
        self._frames.append((exposure_ns, frame_id, segment))

    def add_event(self, event: Event) -> None:
        """Take in an event of the line; falling edges are passed over."""
        if event.up:
            self._pulses.append(event.sample)
            self._daq_hz = event.rate_hz

    def fit(self) -> LiveFit:
        """Return the map, from all that was heard; some ms, so call it every few seconds.

        Raises
        ------
        NoMatch
            Not yet, or not beyond doubt.
        """
        if len(self._pulses) < 64 or len(self._frames) < 64:
            raise NoMatch(f"{len(self._frames)} frames and {len(self._pulses)} pulses were heard")
        exposure, ids, segment = np.array(self._frames, np.int64).T
        samples = np.unique(np.array(self._pulses, np.int64))
        t_s = (exposure - exposure[0]) * 1e-9
        seconds = (samples - samples[0]) / self._daq_hz
        edges = Edges(
            seconds, NO_TIMES, float(seconds[0]), float(seconds[-1]), "samples", "Open Ephys", False
        )
        found = match(Frames(t_s, ids, segment), edges, "code")
        seen = ~np.isnan(found.residual_s)
        slope, offset = np.polyfit(t_s[seen], found.pulse_s[seen], 1)
        return LiveFit(
            int(exposure[0]),
            float(samples[0] + offset * self._daq_hz),
            float(slope * self._daq_hz),
            found.p95_s,
            found.anchor.votes,
        )
