"""What makes poses of a camera's frames, live or later, and how it is told in ``meta.``."""

from __future__ import annotations

from typing import Any

from rtface import __version__, wire
from rtface.config import Rig
from rtface.engine import Started
from rtface.engine.bundle import Bundle
from rtface.engine.null import NullEngine, NullEstimator
from rtface.facemap_pose import FacemapEstimator, facemap_estimator
from rtface.loop import Loop
from rtface.percentiles import Normaliser
from rtface.pose import PoseEstimator, finder_for
from rtface.rules.gate import about_whiskers
from rtface.stages.make import Stages
from rtface.types import SIGNAL_NAMES, BBox, CameraInfo, Engine, UserError


def face_mode(rig: Rig, camera: str, bundle: Bundle) -> str:
    """Return how the part of the frame to track is chosen: ``bbox``, ``follow``, ``hold``, ``off``.

    A network that was trained on whole frames gets them, whatever ``face`` says.
    """
    section = rig.camera[camera]
    if section.bbox:
        return "bbox"
    return section.face if bundle.crop else "off"


def estimator_for(
    rig: Rig, camera: str, bundle: Bundle, engine: Engine, info: CameraInfo
) -> PoseEstimator | FacemapEstimator | NullEstimator:
    """Return what turns frames of this camera into poses; UserError if its bbox does not fit."""
    section = rig.camera[camera]
    bbox = BBox(*section.bbox) if section.bbox else None
    if bbox and not bbox.fits(info.height, info.width):
        raise UserError(
            f"camera.{camera}.bbox: {list(bbox)} reaches beyond the frame of "
            f"{info.width}x{info.height} px; make it smaller"
        )
    whole = BBox(0, 0, info.width, info.height)
    if isinstance(engine, NullEngine):
        return NullEstimator(engine, bbox or whole)
    shape, mode = (info.height, info.width), face_mode(rig, camera, bundle)
    if made := facemap_estimator(bundle.normalisation, engine, shape, bbox):
        if section.normalise != "per frame":
            raise UserError(
                f"camera.{camera}.normalise: '{section.normalise}' is not for a network of "
                "Facemap's, which is normalised as Facemap does; leave it out"
            )
        return made
    finder = finder_for(bundle.crop, engine, shape, mode, bbox, info.rate_hz)
    frames = max(1.0, section.normalise_s * info.rate_hz)
    normaliser = Normaliser(section.normalise, frames)
    return PoseEstimator(engine, shape, info.bits, bbox, finder, normaliser)


def describe(
    rig: Rig,
    camera: str,
    session: str,
    bundle: Bundle,
    info: CameraInfo,
    started: Started,
    stages: Stages,
    loop: Loop | None = None,
) -> dict[str, Any]:
    """Return the fields of ``meta.<camera>.``: what is needed to decode and interpret."""
    found = stages.lengths | (loop.lengths if loop else {})
    lengths = {name: found[name] for name in SIGNAL_NAMES if name in found}
    return {
        "session": session,
        "rtface": __version__,
        "rig": rig.name,
        "camera": {"name": camera, "kind": rig.camera[camera].kind, **info._asdict()},
        "keypoints": list(bundle.names),
        "skeleton": [list(edge) for edge in bundle.skeleton],
        "face": face_mode(rig, camera, bundle),
        "model": model_of(bundle, started),
        "units": {"keypoints": "px of the full frame, x right, y down, centres at integers"},
        "clock": "perf_counter_ns of the machine that runs rtface",
        "signals": lengths,
        **stages.about(),
        "whiskers": about_whiskers(
            camera, rig.camera[camera].whiskers, bundle.sha256, bundle.names
        ),
        "rules": loop and loop.about(),
        "topics": [
            wire.pose_topic(camera),
            wire.fast_topic(camera),
            *wire.signal_topics(camera, lengths),
            *([wire.trigger_topic(camera)] if loop else []),
        ],
    }


def model_of(bundle: Bundle, started: Started) -> dict[str, str]:
    """Return what ``meta.`` says of the network; ``chosen`` only where ``auto`` chose."""
    told = {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "runtime": started.runtime,
        "precision": started.precision,
    }
    return told | ({"chosen": started.why} if started.why else {})
