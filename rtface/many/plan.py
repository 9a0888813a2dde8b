"""Which videos become which sessions, before any is opened for long."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rtface.camera_config import CameraBase, VideoSection
from rtface.config import Rig
from rtface.engine import start_engine
from rtface.engine.bundle import Bundle
from rtface.neural.bundle import SIDECAR
from rtface.session.layout import digest, read_about
from rtface.types import UserError

#: of the beginning and the end of a video: tells it from others without reading all of it
_LOOK_BYTES = 1 << 20


class Job(NamedTuple):
    """One video to track: plain values, so that it can be sent to another process or machine.

    Attributes
    ----------
    video, folder : str
        Absolute paths: the file, and the session to be.
    rig : dict
        The resolved rig file that goes into the session; one camera of kind ``video``.
    camera : str
    recording : str
        16 hex digits of everything that the results follow from.
    """

    video: str
    folder: str
    rig: dict[str, Any]
    camera: str
    recording: str


class Outcome(NamedTuple):
    """What became of a video: frames in its session, why not all is well, whether done before.

    ``note`` is what differs from what was asked for, and no fault.
    """

    video: str
    folder: str
    frames: int = 0
    fault: str = ""
    skipped: bool = False
    note: str = ""


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file's length, its first and its last MiB; OSError if unreadable."""
    size = path.stat().st_size
    found = hashlib.sha256(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        found.update(file.read(_LOOK_BYTES))
        file.seek(max(0, size - _LOOK_BYTES))
        found.update(file.read(_LOOK_BYTES))
    return found.hexdigest()


def plan(
    videos: Sequence[Path], sessions: Path, rig: Rig, bundle: Bundle
) -> tuple[list[Job], list[Outcome]]:
    """Return what is to be done, and videos that cannot even be looked at.

    A session is called after its video and a fingerprint of it, so that videos with the same name
    do not meet, and one that was moved is known again. Copies of a video under one name are one.
    ``auto`` as runtime is settled here, so that all of them have the same.

    Parameters
    ----------
    videos : sequence of Path
    sessions : Path
        Folder for the sessions.
    rig : Rig
        With one camera, whose sections hold for every video.
    bundle : Bundle
        The network that the rig names.

    Raises
    ------
    UserError
        The rig has several cameras, its masks cannot be read, or its runtime is ``auto`` and none
        starts.
    """
    if len(rig.camera) != 1:
        raise UserError(
            f"--rig: has the cameras {', '.join(rig.camera)}; many videos take what one camera "
            "says, leave the others out"
        )
    ((camera, section),) = rig.camera.items()
    masks = section.motion.masks if section.motion else None
    told = {
        "masks": _sha256(Path(masks) if masks else None),
        # it holds the hashes of the model's other files
        "neural": _sha256(Path(section.neural.bundle) / SIDECAR if section.neural else None),
        "network": bundle.sha256,
        "camera": camera,
    }
    found: dict[str, tuple[Path, str]] = {}
    faults: list[Outcome] = []
    for video in videos:
        path = video.absolute()
        try:
            _name_is_text(path)
            seen = fingerprint(path)
        except UserError as error:
            faults.append(Outcome(str(video), "", fault=str(error)))
            continue
        except OSError as error:
            why = f"{video}: cannot be read ({error.strerror}); check the path"
            faults.append(Outcome(str(video), "", fault=why))
            continue
        found.setdefault(f"{path.stem[:80]}_{seen[:8]}", (path, seen))
    folders = {name: sessions.absolute() / name for name in found}
    if found and rig.engine.runtime == "auto":
        rig = _with_runtime(rig, bundle, folders.values())
    jobs = []
    for name, (path, seen) in found.items():
        own = rig_of(rig, camera, path)
        rules = own.camera[camera].model_dump(mode="json", exclude={"file"})
        engine = own.engine.runtime, own.engine.precision
        recording = digest({**told, "video": seen, "rules": rules, "engine": engine})[:16]
        dumped = own.model_dump(mode="json")
        jobs.append(Job(str(path), str(folders[name]), dumped, camera, recording))
    return jobs, faults


def _with_runtime(rig: Rig, bundle: Bundle, folders: Iterable[Path]) -> Rig:
    """Return a rig with the runtime that ``auto`` takes, the same for all videos.

    That of a session that is there already; else the fastest one here and now.
    """
    engine = rig.engine
    for folder in folders:
        with contextlib.suppress(UserError, KeyError):
            before = read_about(folder).rig["engine"]
            update = {key: before[key] for key in ("runtime", "precision")}
            if update["runtime"] == "auto" or engine.precision not in (None, update["precision"]):
                continue
            return rig.model_copy(update={"engine": engine.model_copy(update=update)})
    taken = start_engine(bundle, "auto", engine.threads, engine.precision, engine.gpu)
    update = {"runtime": taken.runtime, "precision": taken.precision}
    return rig.model_copy(update={"engine": engine.model_copy(update=update)})


def rig_of(rig: Rig, camera: str, video: Path) -> Rig:
    """Return the rig with its camera replaced by a video, with all that it says of pictures."""
    section = rig.camera[camera]
    kept = {name: getattr(section, name) for name in CameraBase.model_fields}
    rate_hz = section.rate_hz if isinstance(section, VideoSection) else None
    # whatever stamps meant, the times of a video are those of its frame rate
    kept |= {"stamp_means": "midpoint", "exposure_us": None, "latency": None}
    kept |= {"trigger_delay_us": 0.0, "readout_us": 0.0, "row_us": 0.0}
    kept |= {"delay_us": 0.0, "delay_err_us": 0.0}
    made = VideoSection(kind="video", file=str(video), rate_hz=rate_hz, fast=True, **kept)
    return rig.model_copy(update={"camera": {camera: made}})


def _name_is_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{path!a}: the name is not UTF-8; rename the file") from None
    if not str(path).isprintable():
        raise UserError(f"{path!a}: the name holds control characters; rename the file")


def _sha256(path: Path | None) -> str:
    """Return the hash of a file, empty without one."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
