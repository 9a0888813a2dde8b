"""A rig as it runs every day, rules dry, while its lines are fired at random times beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

from rtface.accept.frames import Collector, Frames
from rtface.accept.lines import Pulser
from rtface.client import subscribe
from rtface.config import Rig
from rtface.outputs.make import make_outputs
from rtface.run import Supervisor, run_rig
from rtface.types import UserError

#: the clock has to be known before frames are judged, s
WARM_UP_S = 10.0
#: part of the box that is looked at where a rig names none: it costs nothing
_CORNER = (0, 0, 1, 1)


class Flashed(NamedTuple):
    """What one line did and what its camera saw; ``frames`` is None if none came.

    Attributes
    ----------
    pulses : list of (int, int, int)
        See ``Pulser``.
    """

    pulses: list[tuple[int, int, int]]
    frames: Frames | None
    faults: list[str]


class Tracked(NamedTuple):
    """What a dry run gave.

    Attributes
    ----------
    counts : dict of str to dict
        By camera, at the end, as the status has them.
    received : dict of str to (int, int)
        By camera: messages that a subscriber got, and how many it missed.
    flashed : dict of str to Flashed
        By output.
    """

    counts: Mapping[str, Mapping[str, Any]]
    received: Mapping[str, tuple[int, int]]
    flashed: Mapping[str, Flashed]


def track(
    rig: Rig, owners: Mapping[str, str], seconds: float, stop_asked: Callable[[], bool]
) -> Tracked:
    """Run a rig for some seconds and fire its lines meanwhile, for real.

    Parameters
    ----------
    owners : mapping of str to str
        The lines to fire, and the camera that sees each.

    Raises
    ------
    UserError
        Something cannot be used; or ``stop_asked``.
    """
    with ExitStack() as stack:
        outputs = make_outputs(rig, sorted(owners), dry=False)
        for output in outputs.values():
            stack.callback(output.close)
        pulsers: dict[str, Pulser] = {}
        collectors: dict[str, Collector] = {}
        for name, output in outputs.items():
            section, camera = rig.output[name], owners[name]
            rate_hz = getattr(rig.camera[camera], "rate_hz", None) or 100.0
            longest_us = round(section.max_pulse_ms * 1e3)
            pulsers[name] = Pulser(output, 1 / rate_hz, WARM_UP_S, longest_us, len(pulsers))
            stack.callback(pulsers[name].end)
            box = section.seen_box or _CORNER
            collectors[name] = stack.enter_context(closing(Collector(camera, box)))
        streams: dict[str, Any] = {}

        def begin(supervisor: Supervisor) -> None:
            for name, address in supervisor.endpoints["data"].items():
                streams[name] = stack.enter_context(subscribe(name, address))
            for name in pulsers:
                collectors[name].begin()
                pulsers[name].start()

        def turn(_: Supervisor) -> None:
            for collector in collectors.values():
                collector.turn()
            for stream in streams.values():
                while stream.receive(0) is not None:
                    pass

        supervisor = run_rig(
            rig, stop_asked, seconds, begin, turn, {"subject": "", "name": "accept"}
        )
        if stop_asked():
            raise UserError("stopped before it was done; nothing was accepted")
        for pulser in pulsers.values():
            pulser.end()
        turn(supervisor)
        return Tracked(
            supervisor.status()["cameras"],
            {name: (one.received, one.lost) for name, one in streams.items()},
            {name: _flashed(pulsers[name], collectors[name]) for name in pulsers},
        )


def _flashed(pulser: Pulser, collector: Collector) -> Flashed:
    try:
        frames = collector.frames().settled(WARM_UP_S - 2)
    except UserError:
        frames = None
    return Flashed(pulser.pulses, frames, list(dict.fromkeys(pulser.faults)))
