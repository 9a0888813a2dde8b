"""Putting a recorded session back on the wire, and computing it again."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zmq

from rtface.config import Rig, parse_rig
from rtface.control import Control
from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.publish import Publisher
from rtface.session import CameraSession, Session, layout
from rtface.session.records import RecordWriter
from rtface.session.video import lossless
from rtface.track import estimator_for
from rtface.types import HOST_TIMES, BBox, Flag, Image, Ledger, Pose, Result, UserError

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
        publishers = {
            name: stack.enter_context(closing(_publisher(rig, session, name, recorded_times)))
            for name in session.cameras
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


def _publisher(rig: Rig, session: Session, camera: str, recorded_times: bool) -> Publisher:
    meta = {
        **session.cameras[camera].about.meta,
        "replay": {"recording": session.about.recording, "recorded_times": recorded_times},
    }
    host, port = rig.stream.host, rig.data_port(camera)
    lengths = session.cameras[camera].about.signals
    return Publisher(camera, session.about.session, meta, host, port, lengths)


def _endpoints(rig: Rig) -> dict[str, Any]:
    host = rig.stream.host
    return {
        "control": f"tcp://{host}:{rig.stream.control_port}",
        "data": {camera: f"tcp://{host}:{rig.data_port(camera)}" for camera in rig.camera},
    }


def _refuse(order: str, _: dict[str, str]) -> None:
    raise UserError(f"this is a replay, there is nothing to {order.replace('_', ' ')}")


class Comparison(NamedTuple):
    """Recorded keypoints against those computed again.

    Attributes
    ----------
    compared, identical : int
        Results computed again, and those of them that are the same to the last bit.
    p99_px, max_px : float
        Distance of keypoints between both, px.
    without_pixels : int
        Results whose frame is not in the video.
    filled : int
        Frames that were skipped live and were computed now.
    lossless : bool
        Whether the video holds what the tracker saw; only then can results be identical.
    """

    compared: int
    identical: int
    p99_px: float
    max_px: float
    without_pixels: int
    filled: int
    lossless: bool


def recompute(
    session: Session,
    camera: str,
    bundle: str | None = None,
    fill: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Track a camera's recorded video again and compare with what was recorded live.

    Exactly the frames that were tracked live are tracked, each in the crop it had then; with
    ``fill`` also those that were skipped, in the crop of the result before them, and all results
    are written to ``<camera>.filled.rec``.

    Raises
    ------
    UserError
        No video, or another network than the recorded one.
    """
    recording = session.cameras[camera]
    if recording.about.video == "none":
        raise UserError(f"{session.path}: {camera} was recorded without video")
    rig = parse_rig(session.about.rig, str(session.path / layout.ABOUT))
    network = load_bundle(bundle or rig.engine.bundle)
    told = recording.about.meta.get("model", {})
    if network.sha256 != told.get("sha256"):
        raise UserError(
            f"{network.folder}: is not the network of this session ({told.get('name')}, "
            f"{str(told.get('sha256'))[:12]}); name its folder with --bundle"
        )
    engine = make_engine(network, rig.engine.runtime, rig.engine.threads)
    estimator = estimator_for(rig, camera, network, engine, recording.about.info)
    if list(network.names) != recording.names:
        raise UserError(f"{network.folder}: has other keypoints than the session")
    writer = _filled_writer(session, camera) if fill else None
    try:
        comparison = _compare(
            recording, estimator.at, _box(rig, camera, recording), writer, on_progress
        )
        if writer:
            writer.flush()
            os.replace(*_filled_paths(session, camera))
    except OSError as error:
        raise UserError(f"{session.path}: cannot be written ({error.strerror})") from None
    finally:
        if writer:
            writer.close()
    return comparison


def _compare(
    recording: CameraSession,
    estimate: Callable[[Image, BBox], Pose],
    box: BBox,
    writer: RecordWriter | None,
    on_progress: Callable[[int, int], None],
) -> Comparison:
    """Compare; ``box`` is where a result without a crop was looked for."""
    images = recording.images()
    live = recorded(recording)
    current = next(live, None)
    distances: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    lengths = recording.about.signals
    unknown = {name: np.full(n, np.nan, np.float32) for name, n in lengths.items()}
    compared = identical = without = filled = 0
    last = current
    total = len(recording.frames)
    for done, (frame, image) in enumerate(images):
        seq = int(frame["frame_seq"])
        while current is not None and current.ledger.frame_seq < seq:
            without += 1
            last = current
            _keep(writer, current)
            current = next(live, None)
        tracked = current is not None and current.ledger.frame_seq == seq
        if not tracked and writer is None:
            continue
        last = current if tracked else last
        pose = estimate(image, _crop(last, box, image.shape))
        if tracked and current is not None:
            compared += 1
            identical += current.pose.keypoints.tobytes() == pose.keypoints.tobytes()
            distances.append(np.hypot(*(current.pose.xy - pose.xy).T))
            _keep(writer, current)
            current = next(live, None)
        else:
            filled += 1
            _keep(writer, Result(-1, _offline_ledger(frame, last), pose, unknown))
        on_progress(done, total)
    without += (current is not None) + sum(1 for _ in live)
    px = np.concatenate(distances) if distances else np.zeros(1)
    return Comparison(
        compared,
        identical,
        float(np.percentile(px, 99)),
        float(px.max()),
        without,
        filled,
        lossless(recording.about.video),
    )


def _keep(writer: RecordWriter | None, result: Result) -> None:
    if writer:
        writer.append(layout.pack_result(result))
        if writer.n % CHUNK == 0:
            writer.flush()


def _crop(result: Result | None, box: BBox, shape: tuple[int, ...]) -> BBox:
    """Return the crop of a result, or ``box``; UserError for one that no finder asks for.

    A file that somebody made could ask for any amount of memory.
    """
    crop = result.pose.crop if result else None
    if result is None or crop is None:
        return box
    most = 4 * max(shape)
    if not (0 < crop.width <= most and 0 < crop.height <= most):
        raise UserError(
            f"result {result.seq}: its crop {list(crop)} makes no sense for frames of "
            f"{shape[1]}x{shape[0]} px; the session is damaged: rtface session verify"
        )
    return crop


def _box(rig: Rig, camera: str, recording: CameraSession) -> BBox:
    """Return what results were looked for in before they said it themselves (format 1)."""
    info, bbox = recording.about.info, rig.camera[camera].bbox
    return BBox(*bbox) if bbox else BBox(0, 0, info.width, info.height)


def _offline_ledger(frame: Any, near: Result | None) -> Ledger:
    """Return the ledger of a frame that was skipped live: no stage has a time, its flag says so.

    Whether there was a face is taken from the result whose crop it has.
    """
    lost = sum(
        int(frame[k]) for k in ("lost_link", "lost_incomplete", "lost_no_buffer", "lost_late")
    )
    values = dict.fromkeys(Ledger._fields, 0)
    values |= {
        k: int(frame[k]) for k in ("frame_seq", "segment", "frame_id", "t_camera_ns", "t_host_ns")
    }
    flags = Flag.OFFLINE.value | (near.ledger.flags & Flag.NO_FACE.value if near else 0)
    values |= {"lost_camera": lost, "flags": flags}
    return Ledger(**values)


def _filled_paths(session: Session, camera: str) -> tuple[Path, Path]:
    path = session.path / f"{camera}.filled.rec"
    return path.with_name(f"{path.name}.part"), path


def _filled_writer(session: Session, camera: str) -> RecordWriter:
    part, _ = _filled_paths(session, camera)
    try:
        part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{part}: is in the way ({error.strerror})") from None
    about = {"session": session.about.session, "recording": session.about.recording}
    recorded_as = session.cameras[camera].about
    columns = layout.result_columns(len(recorded_as.keypoints), lengths=recorded_as.signals)
    try:
        return RecordWriter(part, "results", about | {"camera": camera}, columns)
    except OSError as error:
        raise UserError(f"{part}: cannot be written ({error.strerror})") from None
