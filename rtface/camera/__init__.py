"""Cameras: one file per kind, and one function that opens the one a rig file asks for."""

from __future__ import annotations

from rtface.config import SyntheticSection, VideoSection
from rtface.types import Camera


def open_camera(section: SyntheticSection | VideoSection) -> Camera:
    """Return the camera a rig file describes, ready to start.

    Raises
    ------
    UserError
        It cannot be opened; the message says why and what to do.
    """
    if isinstance(section, SyntheticSection):
        from rtface.camera.synthetic import SyntheticCamera

        return SyntheticCamera(
            section.width,
            section.height,
            section.rate_hz,
            section.seed,
            section.nuisances,
            section.line0_s,
        )
    from rtface.camera.video import VideoCamera

    return VideoCamera(section.file, section.rate_hz, section.loop, section.fast)
