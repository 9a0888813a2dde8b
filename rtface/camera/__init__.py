"""Cameras: one file per kind, and one function that opens the one a rig file asks for."""

from __future__ import annotations

from pathlib import Path

from rtface.camera_config import (
    AnyCamera,
    GenicamSection,
    PylonSection,
    SyntheticSection,
    VideoSection,
)
from rtface.types import Camera


def open_camera(name: str, section: AnyCamera) -> Camera:
    """Return the camera that a rig file calls ``name``, ready to start.

    Raises
    ------
    UserError
        It cannot be opened; the message says why and what to do.
    """
    if isinstance(section, SyntheticSection):
        return _open_synthetic(section)
    if isinstance(section, VideoSection):
        if section.embedded:
            from rtface.camera.embedded import open_embedded

            return open_embedded(name, section)
        from rtface.camera.video import VideoCamera

        return VideoCamera(section.file, section.rate_hz, section.loop, section.fast)
    if isinstance(section, GenicamSection):
        from rtface.camera.genicam import open_genicam

        return open_genicam(name, section)
    if isinstance(section, PylonSection):
        from rtface.camera.pylon import open_pylon

        return open_pylon(name, section)
    from rtface.camera.uvc import UvcCamera

    return UvcCamera(name, section)


def _open_synthetic(section: SyntheticSection) -> Camera:
    from rtface.camera.light import SeenLight
    from rtface.camera.stamping import EXPOSURE_NS, Stamping
    from rtface.camera.synthetic import SyntheticCamera

    told = section.exposure_us
    stamping = Stamping(
        delay_ns=round(section.sim_delay_us * 1000),
        clock_ppm=section.sim_clock_ppm,
        means=section.stamp_means,
        exposure_ns=None if told == "frame" else round(1000 * told) if told else EXPOSURE_NS,
        trigger_delay_ns=round(section.trigger_delay_us * 1000),
        readout_ns=round(section.readout_us * 1000),
        pairs=section.sim_pairs,
    )
    return SyntheticCamera(
        section.width,
        section.height,
        section.rate_hz,
        section.seed,
        section.nuisances,
        section.line0_s,
        stamping,
        SeenLight(Path(section.sim_light)) if section.sim_light else None,
    )
