"""What stands in a session's folder: names of files, columns of records, ``session.json``."""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtface.config import CAMERA_NAME
from rtface.ring import NONE_WORD
from rtface.session.records import Column, RecordFile, Records
from rtface.session.signals import check_signals, signal_words
from rtface.types import (
    SIGNAL_NAMES,
    BBox,
    CameraInfo,
    Flag,
    Float32Array,
    Ledger,
    Pose,
    Result,
    SignalLengths,
    UserError,
)

#: what is written; since 2 every result has its ``crop``, since 3 signals and their stages' times
FORMAT = 3
READABLE = (1, 2, 3)
SIGNALS = 3
ABOUT, EVENTS, CLOCK = "session.json", "events.log", "clock.rec"
#: of all files that a session is made of
ENDINGS = (".json", ".log", ".rec", ".mkv", ".npz")
MAX_ABOUT_BYTES = 4 << 20


class Status(IntEnum):
    """What became of the pixels of a frame."""

    IN_VIDEO = 0
    NO_VIDEO = 1  # the session was recorded without video
    BEHIND = 2  # the recorder was late and kept the stamp alone
    OVERWRITTEN = 3  # gone from the ring before the recorder came: nothing is known of it
    NOT_WRITTEN = 4  # not in the file, or damaged there (found by repair)


def _ledger_unit(name: str) -> str:
    clock = "camera" if name == "t_camera_ns" else "perf_counter"
    return f"ns, {clock}" if name.startswith("t_") or name == "exposure_ns" else ""


#: what the ledger did not have before format 3
_NEW_STAGES = ("t_motion_ns", "t_pupil_ns")
_UNITS = {"pupil": "as meta.pupil.fields says", "running": "px per frame", "neural": "deviations"}


def result_columns(
    n_keypoints: int, format: int = FORMAT, lengths: SignalLengths = MappingProxyType({})
) -> tuple[Column, ...]:
    """Return the columns of ``<camera>.results.rec``.

    Seq, the ledger, x, y and score, the crop, and the signals of these lengths.
    """
    ledger = [
        Column(name, "<i8", (), _ledger_unit(name))
        for name in Ledger._fields
        if format > 2 or name not in _NEW_STAGES
    ]
    columns = (
        Column("seq", "<i8"),
        *ledger,
        Column("keypoints", "<f4", (n_keypoints, 3), "px, px, 0 to 1"),
    )
    if format == 1:
        return columns
    signals = [
        Column(name, "<f4", (lengths[name],), _UNITS.get(name, "grey levels"))
        for name in SIGNAL_NAMES
        if name in lengths
    ]
    return (*columns, Column("crop", "<i4", (4,), "px"), *signals)


#: the columns of ``<camera>.frames.rec``: what the frame ring said, and where the pixels are
FRAME_COLUMNS = (
    Column("frame_seq", "<i8"),
    Column("segment", "<i8"),
    Column("frame_id", "<i8"),
    Column("t_camera_ns", "<i8", (), "ns, camera"),
    Column("t_host_ns", "<i8", (), "ns, perf_counter"),
    Column("pair_camera_ns", "<i8", (), "ns, camera"),
    Column("pair_host_ns", "<i8", (), "ns, perf_counter"),
    Column("bits", "<i8"),
    Column("exposure_time_ns", "<i8", (), "ns"),
    Column("line_status", "<i8"),
    Column("flags", "<i8"),
    Column("lost_link", "<i8"),
    Column("lost_incomplete", "<i8"),
    Column("lost_no_buffer", "<i8"),
    Column("lost_late", "<i8"),
    Column("pair_within_ns", "<i8", (), "ns"),
    Column("video_part", "<i8"),
    Column("video_pts_ms", "<i8", (), "ms"),
    Column("video_crc", "<i8"),
    Column("status", "<i8"),
)
FRAME_ROW = struct.Struct(f"<{len(FRAME_COLUMNS)}q")

#: the columns of ``clock.rec``: one pair a second; the two were read within ``within_ns``
CLOCK_COLUMNS = (
    Column("t_host_ns", "<i8", (), "ns, perf_counter"),
    Column("t_unix_ns", "<i8", (), "ns since 1970, UTC"),
    Column("within_ns", "<i8", (), "ns"),
)
CLOCK_ROW = struct.Struct("<3q")
_LEDGER = struct.Struct(f"<{1 + len(Ledger._fields)}q")
_CROP = struct.Struct("<4i")
_NO_CROP = BBox(0, 0, 0, 0)


def pack_result(result: Result) -> bytes:
    """Return a record of ``results.rec`` without its CRC; its signals in their order."""
    words = [NONE_WORD if word is None else word for word in result.ledger]
    keypoints = result.pose.keypoints.astype("<f4", copy=False).tobytes()
    signals = [result.signals[name].tobytes() for name in SIGNAL_NAMES if name in result.signals]
    crop = _CROP.pack(*result.pose.crop or _NO_CROP)
    return b"".join((_LEDGER.pack(result.seq, *words), keypoints, crop, *signals))


def ledger_of(record: Any) -> Ledger:
    """Return the ledger in one record of ``results.rec``."""
    has = record.dtype.names
    words: list[Any] = [
        int(record[name if name in has else "t_infer_ns"]) for name in Ledger._fields
    ]
    ledger = Ledger._make(words)
    return ledger._replace(t_camera_ns=None) if words[3] == NONE_WORD else ledger


def results_of(records: Records) -> Iterator[Result]:
    """Yield the results in records of ``results.rec``; of format 1 they have no crop."""
    has = records.dtype.names or ()
    crops = records["crop"].tolist() if "crop" in has else []
    signals = {
        name: np.ascontiguousarray(records[name], np.float32)
        for name in SIGNAL_NAMES
        if name in has
    }
    for i, keypoints in enumerate(keypoints_of(records)):
        ledger = ledger_of(records[i])
        crop = BBox(*crops[i]) if crops and crops[i][2] else None
        face = not ledger.flags & Flag.NO_FACE
        own = {name: values[i] for name, values in signals.items()}
        yield Result(int(records[i]["seq"]), ledger, Pose(keypoints, crop, face), own)


def keypoints_of(records: Records) -> Float32Array:
    """Return (N, K, 3) float32 of records of ``results.rec``."""
    return np.ascontiguousarray(records["keypoints"], np.float32)


def told_columns(about: CameraAbout) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (prefix, signal, names of its columns) of the signals whose columns ``meta`` names."""
    words = signal_words(about.meta)
    for name in about.signals:
        if name in words:
            yield f"{name}_", name, words[name]


def places_of(frames: Records) -> list[tuple[int, int]]:
    """Return (time in its part in ms, CRC-32 of the packet) of records of ``frames.rec``."""
    columns = (frames["video_pts_ms"].tolist(), frames["video_crc"].tolist())
    return list(zip(*columns, strict=True))


def results_name(camera: str) -> str:
    """Return the name of a camera's results file."""
    return f"{camera}.results.rec"


def frames_name(camera: str) -> str:
    """Return the name of a camera's frames file."""
    return f"{camera}.frames.rec"


def sync_name(camera: str) -> str:
    """Name of the file of a camera's frames in the clock of a neural recording."""
    return f"{camera}.sync.rec"


def masks_name(camera: str) -> str:
    """Return the name of the copy of a camera's masks of motion components."""
    return f"{camera}.masks.npz"


def video_name(camera: str, part: int) -> str:
    """Return the name of a part of a camera's video."""
    return f"{camera}.{part:04d}.mkv"


def parts_of(folder: Path, camera: str) -> Iterator[tuple[Path, Records]]:
    """Yield each part of a camera's video, by the records, and the records of its frames."""
    part = -1
    waiting: list[Records] = []
    with RecordFile(folder / frames_name(camera)) as frames:
        for chunk in frames.chunks():
            held = chunk[chunk["status"] == Status.IN_VIDEO]
            for rows in np.split(held, np.flatnonzero(np.diff(held["video_part"])) + 1):
                if len(rows) and rows["video_part"][0] != part:
                    if waiting:
                        yield folder / video_name(camera, part), np.concatenate(waiting)
                    part, waiting = int(rows["video_part"][0]), []
                if len(rows):
                    waiting.append(rows)
    if waiting:
        yield folder / video_name(camera, part), np.concatenate(waiting)


def digest(told: Any) -> str:
    """Return the SHA-256 of a JSON-able thing, its keys in order."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


_Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
MOST_KEYPOINTS, MOST_NUMBERS = 2000, 100_000


class CameraAbout(_Part):
    """One camera of a session: what it delivers, and what describes its stream (``meta``)."""

    height: int = Field(ge=1, le=65536)
    width: int = Field(ge=1, le=65536)
    bits: int = Field(ge=1, le=16)
    rate_hz: float = Field(gt=0)
    video: Literal["x264", "ffv1", "nvenc", "none"]
    meta: dict[str, Any]

    @model_validator(mode="after")
    def _meta_has_what_is_read(self) -> CameraAbout:
        names, model = self.meta.get("keypoints"), self.meta.get("model")
        if not (
            isinstance(names, list)
            and 0 < len(names) <= MOST_KEYPOINTS
            and all(isinstance(name, str) for name in names)
        ):
            raise ValueError(f"meta.keypoints is no list of 1 to {MOST_KEYPOINTS} names")
        if not isinstance(model, dict):
            raise ValueError("meta.model is no map")
        lengths = self.meta.get("signals", {})
        if not isinstance(lengths, dict) or not all(
            name in SIGNAL_NAMES and type(n) is int and 0 < n <= MOST_NUMBERS
            for name, n in lengths.items()
        ):
            raise ValueError(f"meta.signals is no map of known names to 1 to {MOST_NUMBERS}")
        check_signals(self.meta, lengths)
        return self

    @property
    def signals(self) -> dict[str, int]:
        """How many numbers each signal of a result has."""
        return dict(self.meta.get("signals", {}))

    @property
    def info(self) -> CameraInfo:
        """What the camera delivers."""
        return CameraInfo(self.height, self.width, self.bits, self.rate_hz)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a frame: (H, W)."""
        return self.height, self.width

    @property
    def keypoints(self) -> list[str]:
        """Names of the keypoints."""
        return list(self.meta["keypoints"])


class About(_Part):
    """``session.json``: written once, before anything else, and never changed."""

    format: int
    rtface: _Text
    session: _Text
    recording: _Text = Field(description="hex digits of this recording; a run may hold several")
    subject: _Text = ""
    name: _Text = ""
    host: _Text = ""
    boot_id: _Text = ""
    began_host_ns: int = Field(ge=-(2**62), lt=2**62)
    began_unix_ns: int = Field(ge=0, lt=2**62)
    rig: dict[str, Any]
    rig_sha256: str
    cameras: dict[str, CameraAbout] = Field(min_length=1, max_length=64)


def encode_about(about: About) -> bytes:
    """Return the text of ``session.json``; ``check`` in it is the hash of all the rest."""
    told = about.model_dump(mode="json")
    return json.dumps({**told, "check": digest(told)}, indent=1).encode()


def decode_about(text: bytes) -> About:
    """Return what a ``session.json`` says; ValueError with the reason if it is damaged."""
    try:
        told = json.loads(text)
        if told.pop("check") != digest(told):
            raise ValueError("the text does not have the hash that stands in it")
        about = About.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(".".join(map(str, first["loc"])) + f": {first['msg'].lower()}") from None
    except (AttributeError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"makes no sense ({error!r})") from None
    if about.format < SIGNALS and any(camera.signals for camera in about.cameras.values()):
        raise ValueError(f"format {about.format} has no signals")
    if about.format not in READABLE:
        raise ValueError(
            f"format {about.format} by rtface {about.rtface}; this one reads up to {FORMAT}"
        )
    cameras = about.rig.get("camera")
    if not isinstance(cameras, dict) or not set(about.cameras) <= set(cameras):
        raise ValueError("cameras that the rig does not have")
    if bad := [name for name in about.cameras if not CAMERA_NAME.fullmatch(name)]:
        raise ValueError(f"{bad[0]!r} is no name of a camera")
    return about


def read_about(folder: Path) -> About:
    """Read ``session.json``.

    Raises
    ------
    UserError
        The folder holds no session, or its ``session.json`` is damaged.
    """
    path = folder / ABOUT
    try:
        with path.open("rb") as file:
            text = file.read(MAX_ABOUT_BYTES)
    except FileNotFoundError:
        raise UserError(f"{folder}: is not a session: it has no {ABOUT}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return decode_about(text)
    except ValueError as error:
        raise UserError(f"{path}: cannot be used: {error}") from None


def folder_name(unix_ns: int, subject: str, name: str) -> str:
    """Return the name of a new session's folder: local time, subject and name."""
    when = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(unix_ns // 1_000_000_000))
    return "_".join(part for part in (when, subject, name) if part)
