"""Sessions of any length with everything in them, written in a moment; nothing was tracked."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rtface.motion.binning import Area
from rtface.motion.masks import AreaMasks, Basis, Masks, save_masks
from rtface.pupil.record import FIELDS
from rtface.ring import NONE_WORD
from rtface.running import Running
from rtface.session import layout
from rtface.session.events import Event, EventWriter
from rtface.session.layout import Status
from rtface.session.records import Column, encode_header, row_dtype
from rtface.session.writer import write_about
from rtface.types import Flag

NAMES = ["eye(back)", "nose(tip)", "whisker(III)"]
BEGAN_NS, BEGAN_UNIX_NS = 5_000_000_000_000, 1_780_000_000_123_456_789
PERIOD_NS = 5_000_000
ROWS, COLUMNS, BIN = 48, 64, 4
#: of the second area
ROI_COMPONENTS = 2
#: frames of the short session: without a result, without a stamp, not in a video
SKIPPED, OVERWRITTEN, LOST_AT = (10, 11, 57), (80, 81), 40


def write_records(path: Path, kind: str, told: dict[str, Any], columns: Any, rows: Any) -> None:
    """Write structured arrays as a file of records."""
    dtype = row_dtype(columns)
    with path.open("wb") as file:
        file.write(encode_header(kind, told, columns))
        for piece in rows:
            assert piece.dtype == dtype
            raw = bytearray(piece.tobytes())
            size = dtype.itemsize
            for at in range(0, len(raw), size):
                crc = zlib.crc32(memoryview(raw)[at : at + size - 4])
                raw[at + size - 4 : at + size] = crc.to_bytes(4, "little")
            file.write(raw)


def make_session(
    folder: Path,
    n: int = 200,
    components: int = 5,
    names: list[str] = NAMES,
    skipped: tuple[int, ...] = SKIPPED,
    overwritten: tuple[int, ...] = OVERWRITTEN,
    subject: str = "m12",
) -> Path:
    """Write a session without video of n frames at 200 Hz: pupil, motion, running, losses."""
    folder.mkdir(parents=True)
    told = {"session": "5e55", "recording": "abcd"}
    motion = {
        "masks": "",
        "bin_px": BIN,
        "areas": [
            {"name": "full", "bins": [0, 12, 0, 16], "motion": components, "movie": 0},
            {"name": "roi1", "bins": [1, 8, 2, 12], "motion": ROI_COMPONENTS, "movie": 0},
        ],
    }
    lengths = {"motion_energy": 2, "motion": components + ROI_COMPONENTS, "running": 4}
    lengths["pupil"] = len(FIELDS)
    meta = {
        "keypoints": names,
        "skeleton": [[0, 1]],
        "model": {"name": "tiny", "sha256": "00ff" * 16},
        "signals": lengths,
        "motion": motion,
        "running": {"fields": list(Running._fields), "box": [4, 4, 32, 32]},
        "pupil": {"fields": list(FIELDS), "box": None, "sigma": 2.0},
    }
    camera = {"height": ROWS, "width": COLUMNS, "bits": 8, "rate_hz": 200.0}
    rig = {"camera": {"cam1": {"kind": "synthetic"}}}
    about = layout.About(
        format=layout.FORMAT,
        rtface="0.1.0",
        **told,
        subject=subject,
        name="day3",
        host="rig",
        began_host_ns=BEGAN_NS,
        began_unix_ns=BEGAN_UNIX_NS,
        rig=rig,
        rig_sha256=layout.digest(rig),
        cameras={"cam1": layout.CameraAbout(**camera, video="none", meta=meta)},
    )
    told_camera = told | {"camera": "cam1"}
    columns = layout.result_columns(len(names), lengths=lengths)
    write_records(
        folder / "cam1.frames.rec",
        "frames",
        told_camera,
        layout.FRAME_COLUMNS,
        (_frames(at, min(n, at + 50_000), overwritten) for at in range(0, n, 50_000)),
    )
    gone = (*skipped, *overwritten)
    write_records(
        folder / "cam1.results.rec",
        "results",
        told_camera,
        columns,
        (_results(at, min(n, at + 5_000), columns, gone) for at in range(0, n, 5_000)),
    )
    clock = np.zeros(n // 200 + 2, row_dtype(layout.CLOCK_COLUMNS))
    after_ns = np.arange(len(clock)) * 1_000_000_000 + np.arange(len(clock)) ** 2 % 5 * 777
    clock["t_host_ns"] = BEGAN_NS + after_ns
    clock["t_unix_ns"] = BEGAN_UNIX_NS + after_ns + after_ns // 100_000  # 10 ppm
    write_records(folder / layout.CLOCK, "clock", told, layout.CLOCK_COLUMNS, [clock])
    random = np.random.default_rng(1)

    def basis(bins: int, n: int) -> Basis:
        masks = random.normal(size=(bins, n)).astype(np.float32)
        singular = np.arange(n, 0, -1, dtype=np.float32)
        return Basis(masks, singular, singular / singular.sum())

    bare = np.zeros((12, 16), np.float32)
    areas = (
        AreaMasks("full", Area(0, 12, 0, 16), basis(192, components), None),
        AreaMasks("roi1", Area(1, 8, 2, 12), basis(70, ROI_COMPONENTS), None),
    )
    made = Masks(ROWS, COLUMNS, BIN, bare, bare, areas, "")
    save_masks(folder / layout.masks_name("cam1"), made)
    write_about(folder, about)
    counts = {"frames": n, "no_video": n - len(overwritten), "overwritten": len(overwritten)}
    counts |= {"results": n - len(gone), "results_lost": 0}
    if not overwritten:
        del counts["overwritten"]
    log = EventWriter(folder / layout.EVENTS)
    log.write(Event("began", BEGAN_NS, {}))
    log.write(Event("annotation", BEGAN_NS + 10**8, {"text": "drop of milk"}))
    ended = {"why": "stopped", "cameras": {"cam1": counts}}
    log.write(Event("ended", BEGAN_NS + n * PERIOD_NS, ended))
    log.close()
    return folder


def _delivered(seq: Any) -> Any:
    return BEGAN_NS + seq * PERIOD_NS + (seq * 7919) % 400_000


def _frames(start: int, stop: int, overwritten: tuple[int, ...]) -> Any:
    seq = np.arange(start, stop)
    rows = np.zeros(len(seq), row_dtype(layout.FRAME_COLUMNS))
    rows["frame_seq"], rows["frame_id"] = seq, seq + (seq >= LOST_AT)
    rows["t_camera_ns"] = rows["frame_id"] * PERIOD_NS
    rows["t_host_ns"] = _delivered(seq)
    rows["pair_camera_ns"] = rows["pair_host_ns"] = NONE_WORD
    rows["bits"], rows["lost_link"] = 8, seq >= LOST_AT
    rows["video_part"] = rows["video_pts_ms"] = rows["video_crc"] = -1
    rows["status"] = Status.NO_VIDEO
    gone = np.isin(seq, overwritten)
    for column in layout.FRAME_COLUMNS[1:-4]:
        rows[column.name][gone] = NONE_WORD
    rows["status"][gone] = Status.OVERWRITTEN
    return rows


def _results(start: int, stop: int, columns: tuple[Column, ...], gone: tuple[int, ...]) -> Any:
    everything = np.arange(start, stop)
    seq = everything[~np.isin(everything, gone)]
    rows = np.zeros(len(seq), row_dtype(columns))
    random = np.random.default_rng(start)
    for column in columns:
        if column.dtype == "<f4":
            rows[column.name] = random.normal(100, 30, (len(seq), *column.shape))
    rows["frame_seq"] = seq
    rows["seq"] = seq - np.searchsorted(np.sort(gone), seq)
    rows["frame_id"] = seq + (seq >= LOST_AT)
    rows["t_camera_ns"] = rows["frame_id"] * PERIOD_NS
    rows["t_host_ns"] = _delivered(seq)
    rows["exposure_ns"] = BEGAN_NS + seq * PERIOD_NS - 2_000_000 + seq % 97
    rows["exposure_err_ns"], rows["time_source"] = 4_000, 2
    for i, name in enumerate(
        ("t_read_ns", "t_infer_ns", "t_motion_ns", "t_pupil_ns", "t_rules_ns", "t_done_ns")
    ):
        rows[name] = rows["t_host_ns"] + 500_000 * (i + 1)
    rows["lost_camera"] = seq >= LOST_AT
    rows["keypoints"][..., 2] = random.uniform(0, 1, rows["keypoints"].shape[:2])
    blink = seq % 50 == 7
    rows["flags"] = np.where(blink, Flag.EYE_SHUT.value, 0)
    rows["pupil"][blink] = np.nan
    rows["motion"][seq % 60 == 0] = np.nan
    rows["crop"] = 1, 2, 60, 40
    return rows
