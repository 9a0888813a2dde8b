"""Computing a recorded session again from its video, and comparing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.config import Rig, parse_rig
from rtface.engine import start_engine
from rtface.engine.bundle import load_bundle
from rtface.estimator import estimator_for
from rtface.motion.masks import load_masks
from rtface.replay import recorded
from rtface.session import CameraSession, Session, layout
from rtface.session.records import RecordWriter
from rtface.session.video import lossless
from rtface.stages.motion import MotionStage
from rtface.types import BBox, Flag, Image, Ledger, Pose, Result, UserError

CHUNK = 1000


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
    motion, motion_identical : int
        Results whose motion components were computed again, and those that are the same to the
        last bit.
    motion_off : float
        The largest difference of a component, in standard deviations of that component.
    """

    compared: int
    identical: int
    p99_px: float
    max_px: float
    without_pixels: int
    filled: int
    lossless: bool
    motion: int = 0
    motion_identical: int = 0
    motion_off: float = 0.0


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
    mode = rig.camera[camera].normalise
    if mode != "per frame":
        raise UserError(
            f"{session.path}: {camera} was tracked with normalise = '{mode}', by frames that came "
            "before; only 'per frame' can be computed again"
        )
    network = load_bundle(bundle or rig.engine.bundle)
    told = recording.about.meta.get("model", {})
    if network.sha256 != told.get("sha256"):
        raise UserError(
            f"{network.folder}: is not the network of this session ({told.get('name')}, "
            f"{str(told.get('sha256'))[:12]}); name its folder with --bundle"
        )
    # as it was live, also where ``auto`` chose; sessions of before had one precision
    runtime = str(told.get("runtime", rig.engine.runtime))
    precision = told.get("precision") or None
    started = start_engine(network, runtime, rig.engine.threads, precision, rig.engine.gpu)
    estimator = estimator_for(rig, camera, network, started.engine, recording.about.info)
    if list(network.names) != recording.names:
        raise UserError(f"{network.folder}: has other keypoints than the session")
    motion = _MotionCheck(session, rig, camera)
    writer = _filled_writer(session, camera) if fill else None
    try:
        box = _box(rig, camera, recording)
        comparison = _compare(recording, estimator.at, box, motion, writer, on_progress)
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
    motion: _MotionCheck,
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
        if not tracked:
            motion.look(seq, image)
        if not tracked and writer is None:
            continue
        last = current if tracked else last
        pose = estimate(image, _crop(last, box, image.shape))
        if tracked and current is not None:
            compared += 1
            identical += current.pose.keypoints.tobytes() == pose.keypoints.tobytes()
            distances.append(np.hypot(*(current.pose.xy - pose.xy).T))
            motion.add(current, image)
            _keep(writer, current)
            current = next(live, None)
        else:
            filled += 1
            _keep(writer, Result(-1, _offline_ledger(frame, last), pose, unknown))
        on_progress(done, total)
    while current is not None:  # behind the last frame that can be seen
        without += 1
        _keep(writer, current)
        current = next(live, None)
    px = np.concatenate(distances) if distances else np.zeros(1)
    return Comparison(
        compared,
        identical,
        float(np.percentile(px, 99)),
        float(px.max()),
        without,
        filled,
        lossless(recording.about.video),
        motion.compared,
        motion.identical,
        motion.off(),
    )


class _MotionCheck:
    """Computes motion components of recorded images again and counts which are the same.

    Only what needs nothing but the images of the session: frames whose predecessor is there too,
    from where on the masks held that lie in the folder.
    """

    def __init__(self, session: Session, rig: Rig, camera: str) -> None:
        self._stage: MotionStage | None = None
        self.compared = self.identical = 0
        self._before = -2
        self._first = 0
        #: per component: n, sum and sum of squares of what was recorded; the largest difference
        self._sums, self._off = np.zeros((3, 0)), np.zeros(0)
        about = session.cameras[camera].about
        path = session.path / layout.masks_name(camera)
        section = rig.camera[camera].motion
        if section is None or "motion" not in about.signals or not path.exists():
            return
        masks = load_masks(path, about.shape)
        self._stage = MotionStage(
            masks, section.components, about.info.dtype, section.fast, section.masks is None
        )
        if self._stage.lengths != {n: about.signals.get(n, 0) for n in self._stage.lengths}:
            raise UserError(f"{path}: is of other areas or components than the session's motion")
        for event in session.events:
            if event.kind == "masks" and event.fields.get("camera") == camera:
                self._first = int(event.fields.get("frame_seq", 0))
        n = about.signals["motion"]
        self._sums, self._off = np.zeros((3, n)), np.zeros(n)

    def look(self, seq: int, image: Image) -> None:
        """See a frame that was not tracked."""
        if self._stage is not None:
            self._stage.look(image)
            self._before = seq

    def add(self, result: Result, image: Image) -> None:
        """Take a tracked frame and what was recorded of it."""
        if self._stage is None:
            return
        seq = result.ledger.frame_seq
        known = self._before == seq - 1 and not result.ledger.flags & Flag.NO_MOTION
        self._stage(image, known)
        self._before = seq
        if not known or seq < self._first:
            return
        self.compared += 1
        again = self._stage.signals
        self.identical += all(
            again[name].tobytes() == result.signals[name].tobytes() for name in again
        )
        was = result.signals["motion"].astype(float)
        self._sums += np.stack([np.ones(was.size), was, was**2])
        self._off = np.fmax(self._off, np.abs(was - again["motion"]))

    def off(self) -> float:
        """Return the largest difference of a component, in its standard deviations."""
        known = self._sums[0] > 1
        if not known.any():
            return 0.0
        count, total, squares = self._sums[:, known]
        deviation = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 1e-12))
        return float(np.nanmax(self._off[known] / deviation))


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
