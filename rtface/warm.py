"""Fits masks of motion components to a run's first seconds, in a process of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rtface import child
from rtface.collect import Collector, collect
from rtface.config import parse_rig
from rtface.motion.fit import fit_masks
from rtface.motion.masks import save_masks
from rtface.platform import step_back
from rtface.ring import CLOSED
from rtface.types import UserError


class _Stopped(Exception):
    """The run ends before there are masks."""


def run(line: child.Line) -> None:
    """Look at the camera for ``fit_s``, fit, write the file that the job names, and say so."""
    job = line.job
    rig, camera = parse_rig(job["rig"], "rig"), job["camera"]
    section = rig.camera[camera].motion
    assert section is not None
    frames = child.frames_of(line, camera)
    if frames is None:
        return
    line.report("ready")
    step_back()  # the tracker goes first
    collector = Collector(frames, section.fit_s, section.bin)

    def stopped() -> bool:
        return line.stopping or frames.ring.state == CLOSED

    def on_progress(_stage: int, _frames: int) -> None:
        if line.stopping:
            raise _Stopped

    try:
        if not collect(collector, stopped):
            raise _Stopped
        masks = fit_masks(
            [partial(iter, stretch) for stretch in collector.stretches],
            section.bin,
            section.components,
            section.roi,
            on_progress=on_progress,
            binned_from=(frames.info.height, frames.info.width),
            on_fewer=lambda why: line.report("note", text=f"camera.{camera}.motion: {why}"),
        )
    except _Stopped:
        line.report("done")
        return
    except UserError as error:
        raise UserError(f"camera.{camera}.motion: no masks were made: {error}") from None
    finally:
        frames.close()
    path = Path(job["out"])
    save_masks(path, masks)
    line.report("masks", path=str(path), identity=masks.identity)
    line.report("done")


if __name__ == "__main__":
    child.main(run)
