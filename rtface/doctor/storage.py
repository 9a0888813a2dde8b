"""Room for the rings in memory, and how fast a folder takes data."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rtface.config import RingSection
from rtface.doctor.clock import read_line
from rtface.doctor.finding import (
    FRAME_BYTES,
    REFERENCE_BYTES_PER_S,
    Finding,
    Verdict,
    fault_of,
    judged,
)
from rtface.platform import SharedMapping, ring_dir
from rtface.types import UserError

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|ncpfs|9p|afs|ceph|glusterfs|lustre|beegfs|gpfs|virtiofs|"
    r"fuse\.(sshfs|s3fs|rclone|davfs|glusterfs|ceph.*|gvfsd.*)|davfs"
)
_RING_S = RingSection().frames_s
#: what the demo's rings take: the default length at its 100 Hz, and 5 % for headers and results
LEAST_RING_BYTES = 1.05 * 100 * _RING_S * FRAME_BYTES
#: four such cameras at twice its rate
AMPLE_RING_BYTES = 4 * 200 * _RING_S * FRAME_BYTES

CHUNK_BYTES = 4 << 20
N_CHUNKS = 16
#: a slow disk is left after this long, s
WRITE_S = 4.0
LEAST_FREE_BYTES = 20e9


class Written(NamedTuple):
    """What a trial of a disk gave: bytes, how long they took and the slowest chunk, s."""

    n_bytes: int
    seconds: float
    slowest_s: float


def judge_ring_folder(folder: str, kind: str | None) -> Finding:
    """Judge whether the rings lie in memory."""
    return judged(
        "folder",
        folder if kind is None else f"{folder} ({kind})",
        kind is not None and kind not in IN_MEMORY,
        "it lies on a disk, whose writes can hold up the camera; unset RTFACE_RING_DIR or set it "
        "to a folder in memory (/dev/shm/...)",
    )


def judge_ring_room(free_bytes: float) -> Finding:
    """Judge how much fits into the ring folder."""
    seconds = free_bytes / REFERENCE_BYTES_PER_S
    size = f"{free_bytes / 1e9:.1f} GB" if free_bytes >= 1e9 else f"{free_bytes / 1e6:.0f} MB"
    value = f"{size} free: {seconds:.1f} s of 640x480 at 200 Hz"
    measured = {"free_bytes": free_bytes, "reference_s": seconds}
    remedy = (
        "sudo mount -o remount,size=2G /dev/shm (in Docker: --shm-size=2g), or shorten frames_s "
        "under [ring] of the rig file"
    )
    if free_bytes < LEAST_RING_BYTES:
        return Finding("room", value, Verdict.FAULT, remedy, measured)
    return judged("room", value, free_bytes < AMPLE_RING_BYTES, remedy, measured)


def judge_disk_kind(folder: str, kind: str | None) -> Finding:
    """Judge what the folder lies on."""
    return judged(
        "folder",
        folder if kind is None else f"{folder} ({kind})",
        kind is not None and NETWORK.fullmatch(kind) is not None,
        "it lies on another machine; record on a disk of this one and copy afterwards "
        "('rtface doctor --disk DIR' tries another folder)",
    )


def judge_disk_speed(written: Written) -> Finding:
    """Judge a sequential write against what one camera gives uncompressed."""
    speed = written.n_bytes / written.seconds
    return judged(
        "writing",
        f"{speed / 1e6:.0f} MB/s (slowest {CHUNK_BYTES >> 20} MB took "
        f"{1e3 * written.slowest_s:.0f} ms); 640x480 at 200 Hz uncompressed is "
        f"{REFERENCE_BYTES_PER_S / 1e6:.0f} MB/s",
        speed < 2 * REFERENCE_BYTES_PER_S,
        "too slow to record such a camera with room to spare: use an SSD "
        "('rtface doctor --disk DIR' tries another folder)",
        {"bytes_per_s": speed, "slowest_chunk_s": written.slowest_s},
    )


def judge_disk_room(free_bytes: float) -> Finding:
    """Judge how long one could record."""
    minutes = free_bytes / REFERENCE_BYTES_PER_S / 60
    return judged(
        "free",
        f"{free_bytes / 1e9:.0f} GB: {minutes:.0f} minutes of 640x480 at 200 Hz uncompressed",
        free_bytes < LEAST_FREE_BYTES,
        "make room, or name another folder: rtface doctor --disk DIR",
        {"free_bytes": free_bytes, "reference_s": 60 * minutes},
    )


def filesystem_of(folder: Path, mounts: str) -> str | None:
    """Return the kind of file system ``folder`` lies on, from the text of /proc/mounts."""
    best, kind = "", None
    for line in mounts.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        # spaces and the like stand as octal numbers
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), words[1])
        inside = folder == Path(point) or Path(point) in folder.parents
        if inside and len(point) >= len(best):  # a later mount hides an earlier one
            best, kind = point, words[2]
    return kind


def look_at_rings() -> list[Finding]:
    """Make a ring, as a run would, and ask how many more fit."""
    folder = ring_dir()
    # a name that no camera can have; the rest of a doctor that was killed is swept like a ring
    name = f"doctor-{os.getpid()}.frames"
    try:
        with closing(SharedMapping.create(name, FRAME_BYTES)):
            pass
    except UserError as error:
        return [fault_of("folder", error)]
    found = [judge_ring_folder(str(folder), _kind(folder))]
    free = _room(folder)
    if free is not None:
        found.append(judge_ring_room(free))
    return found


def look_at_disk(folder: Path) -> list[Finding]:
    """Write some tens of megabytes into a folder, each chunk all the way to the disk."""
    where = folder.resolve()
    found = [judge_disk_kind(str(where), _kind(where))]
    try:
        free = float(shutil.disk_usage(where).free)
        if free > 4 * N_CHUNKS * CHUNK_BYTES:
            found.append(judge_disk_speed(_write(where)))
    except OSError as error:
        remedy = "name a folder that can be written: rtface doctor --disk DIR"
        value = f"cannot be written ({error.strerror})"
        return [*found, Finding("writing", value, Verdict.HINT, remedy)]
    return [*found, judge_disk_room(free)]


def _write(folder: Path) -> Written:
    chunk = os.urandom(CHUNK_BYTES)  # a disk that compresses must not win by it
    n_bytes, slowest_s = 0, 0.0
    with tempfile.TemporaryFile(dir=folder, prefix=".rtface-doctor-", buffering=0) as file:
        start = last = time.perf_counter()
        for _ in range(N_CHUNKS):
            n_bytes += file.write(chunk)
            os.fsync(file.fileno())
            now = time.perf_counter()
            slowest_s, last = max(slowest_s, now - last), now
            if now - start > WRITE_S:
                break
        return Written(n_bytes, last - start, slowest_s)


def _kind(folder: Path) -> str | None:
    mounts = read_line(Path("/proc/mounts"))
    return None if mounts is None else filesystem_of(folder.resolve(), mounts)


def _room(folder: Path) -> float | None:
    """Return the bytes that rings could take: a tmpfs promises more than there is memory."""
    if sys.platform == "win32":
        return None
    room = os.statvfs(folder)
    free = [float(room.f_bavail * room.f_frsize)] if room.f_blocks else []
    text = read_line(Path("/proc/meminfo")) or ""
    if found := re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE):
        free.append(1024.0 * int(found[1]))
    return min(free, default=None)
