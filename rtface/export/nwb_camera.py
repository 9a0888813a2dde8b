"""One camera of a session as objects of NWB: video, skeleton and keypoints."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ndx_pose import PoseEstimation, PoseEstimationSeries, Skeleton, Skeletons
from pynwb.image import ImageSeries

from rtface import __version__
from rtface.export.nwb_columns import Pieces
from rtface.export.nwb_tables import Clock, Parts, add_signals, add_tables, masks_tables, timing
from rtface.export.results import Times
from rtface.export.tables import part
from rtface.session import CameraSession, layout
from rtface.session.records import RecordFile


def plain(names: Sequence[str]) -> list[str]:
    """Return names without what NWB does not allow or like in them, all different."""
    found: list[str] = []
    for name in names:
        bare = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "point"
        own, n = bare, 1
        while own in found:
            n += 1
            own = f"{bare}_{n}"
        found.append(own)
    return found


def add_camera(
    nwb: Any,
    folder: Path,
    camera: CameraSession,
    results: RecordFile,
    times: Times,
    zero_ns: int,
    path: Path,
    sync: RecordFile | None,
    on_progress: Callable[[int, int], None],
) -> None:
    """Add all that a session has of a camera to a file that will be ``path``."""
    clock = Clock(zero_ns)
    seconds = [clock.seconds(times.of(rows)) for rows in results.chunks()]
    pieces = Pieces(results, on_progress)
    parts = Parts(folder, camera, pieces, times, clock, np.concatenate(seconds))
    if "behavior" not in nwb.processing:
        nwb.create_processing_module(
            "behavior", "Keypoints, motion and pupil of the face; times and losses."
        )
    behavior, about = nwb.processing["behavior"], camera.about
    device = nwb.create_device(
        name=camera.name,
        description=f"Camera of {about.width}x{about.height} px, {about.bits} bits, "
        f"{about.rate_hz:g} Hz.",
    )
    video = add_video(nwb, parts, path.absolute().parent, device)
    if "Skeletons" not in behavior.data_interfaces:
        behavior.add(Skeletons(skeletons=[]))
    skeleton = skeleton_of(camera, nwb.subject)
    behavior["Skeletons"].add_skeletons(skeleton)
    first = add_pose(behavior, parts, skeleton, video, device)
    add_signals(behavior, parts, first)
    for table in masks_tables(parts):
        behavior.add(table)
    add_tables(behavior, parts, Pieces(camera.frames, lambda _done, _total: None), sync)


def add_video(nwb: Any, parts: Parts, beside: Path, device: Any) -> Any:
    """Add the camera's video files, named from the folder of the NWB file; None if there are none.

    A session of a video names the file that it was made of.
    """
    camera = parts.camera
    files, starts, rows = _files(parts)
    if not files:
        return None
    t_s = parts.clock.seconds(parts.times.exposure_ns[rows])
    told = timing(t_s)
    more = {"num_samples": len(t_s)} if "rate" in told else {}
    series = ImageSeries(
        name=f"video_{camera.name}",
        description=f"Video of camera {camera.name}, gray; times are midpoints of exposures. "
        "Frames that are not in it are in the table of frames.",
        format="external",
        external_file=[os.path.relpath(file, beside) for file in files],
        starting_frame=starts,
        dimension=[camera.about.width, camera.about.height],
        unit="grey levels",
        device=device,
        **told,
        **more,
    )
    nwb.add_acquisition(series)
    return series


def _files(parts: Parts) -> tuple[list[Path], list[int], npt.NDArray[np.int64]]:
    """Return files of video, the frame each begins with, and rows of the frames in them."""
    camera = parts.camera
    files, starts = [], []
    rows: list[npt.NDArray[np.int64]] = []
    n = 0
    for path, held in layout.parts_of(parts.folder, camera.name):
        files.append(path.resolve())
        starts.append(n)
        rows.append(held["frame_seq"] - parts.times.first)
        n += len(held)
    if source := camera.about.meta.get("source"):
        files, starts = [Path(source["file"])], [0]
        rows = [np.arange(len(camera.frames), dtype=np.int64)]
    return files, starts, np.concatenate(rows) if rows else np.zeros(0, np.int64)


def add_pose(behavior: Any, parts: Parts, skeleton: Any, video: Any, device: Any) -> Any:
    """Add the keypoints; return the first series, whose times all others share."""
    camera, told = parts.camera, parts.camera.about.meta
    series: list[Any] = []
    for k, name in enumerate(plain(camera.names)):
        one = PoseEstimationSeries(
            name=name,
            description=f"Keypoint {camera.names[k]}.",
            data=parts.results.column(part("keypoints", k, slice(2))),
            unit="pixels",
            reference_frame="(0, 0) is the centre of the upper left pixel; x right, y down",
            confidence=parts.results.column(part("keypoints", k, 2)),
            confidence_definition="score of the network, 0 to 1",
            **timing(parts.result_s, series[0] if series else None),
        )
        series.append(one)
    model = told.get("model", {})
    behavior.add(
        PoseEstimation(
            name=f"pose_{camera.name}",
            pose_estimation_series=series,
            description=f"Keypoints of camera {camera.name}, one sample per frame that was "
            "tracked; times are midpoints of exposures.",
            scorer=f"{model.get('name')} {str(model.get('sha256'))[:12]}",
            source_software="rtface",
            source_software_version=str(told.get("rtface", __version__)),
            skeleton=skeleton,
            device=device,
            **({"source_video": video} if video is not None else {}),
        )
    )
    return series[0]


def skeleton_of(camera: CameraSession, subject: Any) -> Any:
    """Return the skeleton of a camera's keypoints."""
    edges = np.array(camera.about.meta.get("skeleton") or np.zeros((0, 2)), np.uint8)
    return Skeleton(
        name=f"skeleton_{camera.name}",
        nodes=plain(camera.names),
        edges=edges.reshape(-1, 2),
        subject=subject,
    )
