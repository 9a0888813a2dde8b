"""Putting a recorded session back on the wire."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import zmq

from rtface.config import Rig, parse_rig
from rtface.control import Control
from rtface.publish import Publisher
from rtface.session import CameraSession, Session, layout
from rtface.types import HOST_TIMES, Flag, Result, UserError

CHUNK = 1000
#: how long the subscribers of other cameras are waited for after the first, s
OTHERS_S = 2.0


def recorded(camera: CameraSession) -> Iterator[Result]:
    """Yield every recorded result of a camera."""
    for records in camera.results.chunks():
        yield from layout.results_of(records)


def moved(result: Result, by_ns: int) -> Result:
    """Return a result with all times of the rig's clock moved by ``by_ns``."""
    ledger = result.ledger
    times = {name: getattr(ledger, name) + by_ns for name in HOST_TIMES}
    return replace(result, ledger=ledger._replace(**times))


def replay(
    session: Session,
    pace: float = 1.0,
    recorded_times: bool = False,
    wait: bool = False,
    stop_asked: Callable[[], bool] = lambda: False,
    on_turn: Callable[[int, int], None] = lambda _sent, _total: None,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
) -> int:
    """Publish a session's results on the ports of its rig; return how many were sent.

    Parameters
    ----------
    pace : float
        2 is twice as fast as recorded; 0 as fast as possible.
    recorded_times : bool
        Send every message as it was. Otherwise its times are moved so that it is finished now,
        and a subscriber that throws away what is old can be tried.
    wait : bool
        Begin when somebody has subscribed.
    """
    rig = parse_rig(session.about.rig, str(session.path / layout.ABOUT))
    total = sum(len(camera.results) for camera in session.cameras.values())
    sent = 0
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        control = stack.enter_context(
            closing(Control(context, rig.stream.host, rig.stream.control_port))
        )
        metas = {name: _meta(session, name, recorded_times) for name in session.cameras}
        masks = {
            str(e.fields.get("camera")): str(e.fields.get("identity"))
            for e in session.events
            if e.kind == "masks"
        }
        publishers = {
            name: stack.enter_context(closing(_publisher(rig, session, name, meta)))
            for name, meta in metas.items()
        }
        endpoints = _endpoints(rig)
        tell(endpoints)

        def tend(seconds: float) -> None:
            for publisher in publishers.values():
                publisher.tend()
            status = {"session": session.about.session, "lifecycle": "replay", "sent": sent}
            control.serve(seconds, lambda: status, endpoints, _refuse)
            on_turn(sent, total)

        heard = [False]
        while wait and not stop_asked() and not any(heard):
            tend(0.02)
            heard = [p.subscribers > 0 for p in publishers.values()]
        others_until = time.monotonic() + OTHERS_S  # they may be a moment behind the first
        while wait and not all(heard) and time.monotonic() < others_until:
            tend(0.02)
            heard = [p.subscribers > 0 for p in publishers.values()]
        began_ns, first_ns = time.perf_counter_ns(), None
        for name, result in _in_order(session):
            done_ns = result.ledger.t_done_ns
            first_ns = done_ns if first_ns is None else first_ns
            due_ns = began_ns + int((done_ns - first_ns) / pace) if pace else 0
            while (left_s := (due_ns - time.perf_counter_ns()) * 1e-9) > 0 and not stop_asked():
                tend(0) if left_s > 0.02 else None
                time.sleep(max(0.0, min(left_s, 0.02)))
            if stop_asked():
                break
            if result.ledger.flags & Flag.NEW_MASKS and name in masks:
                publishers[name].set_meta(_with_masks(metas[name], masks[name]))
            if not recorded_times:
                result = moved(result, (due_ns or time.perf_counter_ns()) - done_ns)
            publishers[name].send(result)
            sent += 1
            if sent % 100 == 0:
                tend(0)
        tend(0.1)
    return sent


def _in_order(session: Session) -> Iterator[tuple[str, Result]]:
    """Yield the results of all cameras in the order in which they were finished."""
    streams = [_timed(name, camera) for name, camera in session.cameras.items()]
    for _, name, result in heapq.merge(*streams, key=lambda one: one[:2]):
        yield name, result


def _timed(name: str, camera: CameraSession) -> Iterator[tuple[int, str, Result]]:
    for result in recorded(camera):
        yield result.ledger.t_done_ns, name, result


def _meta(session: Session, camera: str, recorded_times: bool) -> dict[str, Any]:
    return {
        **session.cameras[camera].about.meta,
        "replay": {"recording": session.about.recording, "recorded_times": recorded_times},
    }


def _with_masks(meta: dict[str, Any], identity: str) -> dict[str, Any]:
    """Return what a stream says of itself once it has masks that were made during the run."""
    return {**meta, "motion": {**(meta.get("motion") or {}), "masks": identity}}


def _publisher(rig: Rig, session: Session, camera: str, meta: dict[str, Any]) -> Publisher:
    host, port = rig.stream.host, rig.data_port(camera)
    lengths = session.cameras[camera].about.signals
    try:
        return Publisher(camera, session.about.session, meta, host, port, lengths)
    except (OverflowError, ValueError, TypeError) as error:  # what no message can hold
        raise UserError(
            f"{session.path / layout.ABOUT}: meta of {camera} cannot be sent ({error})"
        ) from None


def _endpoints(rig: Rig) -> dict[str, Any]:
    host = rig.stream.host
    return {
        "control": f"tcp://{host}:{rig.stream.control_port}",
        "data": {camera: f"tcp://{host}:{rig.data_port(camera)}" for camera in rig.camera},
    }


def _refuse(order: str, _: dict[str, str]) -> None:
    raise UserError(f"this is a replay, there is nothing to {order.replace('_', ' ')}")
