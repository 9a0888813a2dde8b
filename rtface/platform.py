"""Everything that differs between operating systems: shared mappings, wake-ups, memory order.

Linux is what runs and is tested. The Windows branches are type-checked and were never run; see
``docs/design.md``.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import platform as _platform
import select
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rtface.types import UserError

if sys.platform == "win32":
    import _winapi
    import msvcrt

    def lock_file(descriptor: int, wait: bool) -> None:
        """Lock a file for this process alone; OSError if another has it and ``wait`` is off."""
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

    def is_locked(descriptor: int) -> bool:
        """Whether somebody else has the lock of a file."""
        try:
            lock_file(descriptor, False)
        except OSError:
            return True
        unlock_file(descriptor)
        return False

    def unlock_file(descriptor: int) -> None:
        """Give a lock back."""
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock_file(descriptor: int, wait: bool) -> None:
        """Lock a file for this process alone; OSError if another has it and ``wait`` is off."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def is_locked(descriptor: int) -> bool:
        """Whether somebody else has the lock of a file."""
        try:
            # a shared one: for another, NFS wants a file that is open for writing
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        except OSError:  # the file system has no locks, so nobody took one
            return False
        # closing is not enough: what another thread just forked has the lock as well
        unlock_file(descriptor)
        return False

    def unlock_file(descriptor: int) -> None:
        """Give a lock back, also that of a process that was forked meanwhile."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)


#: the first bytes of a ring
RING_MAGIC = b"RTFRING1"

#: How often a waiter looks where there is no wake descriptor, s (0.5 ms costs 4 % of a core).
POLL_S = 0.0005


def ring_dir() -> Path:
    """Return the folder of the rings: ``RTFACE_RING_DIR``, else memory-backed and per user."""
    if named := os.environ.get("RTFACE_RING_DIR"):
        return Path(named)
    if sys.platform == "win32":
        return Path(tempfile.gettempdir()) / "rtface"
    shm = Path("/dev/shm")
    root = shm if shm.is_dir() else Path(tempfile.gettempdir())
    return root / f"rtface-{os.getuid()}"


def boot_id() -> bytes:
    """Return 16 bytes that change when the machine restarts (zeros where none can be read)."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return bytes(16)
    return bytes.fromhex(text.strip().replace("-", ""))


def _open_dir() -> Path:
    folder = ring_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot make the ring directory ({error.strerror}); "
            "make it writable or set RTFACE_RING_DIR to a folder in memory"
        ) from error
    if sys.platform != "win32":
        info = folder.lstat()
        if info.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
            raise UserError(
                f"{folder}: the ring directory is a link or belongs to somebody else; "
                "remove it or set RTFACE_RING_DIR"
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"{folder}: the ring directory is not writable; chmod 700 it or set RTFACE_RING_DIR"
            )
    return folder


@contextlib.contextmanager
def _dir_lock(folder: Path) -> Iterator[None]:
    """Hold the folder while files in it are made or swept, so that neither sees half of it."""
    if sys.platform == "win32":
        yield
    else:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            lock_file(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)


def sweep_stale() -> list[str]:
    """Remove ring files whose writer is dead (its lock is free); return their names."""
    if sys.platform == "win32":
        return []  # a pagefile-backed mapping goes with its last user
    folder = _open_dir()
    with _dir_lock(folder):
        return [path.name for path in sorted(folder.iterdir()) if _remove_if_dead(path)]


def _remove_if_dead(path: Path) -> bool:
    if sys.platform == "win32":
        return False
    if path.suffix not in (".frames", ".results", ".events"):
        return False
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        lock_file(descriptor, wait=False)
        if os.read(descriptor, 8) not in (b"", bytes(8), RING_MAGIC):
            return False  # somebody's file that is only called like a ring
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


class SharedMapping:
    """A named piece of memory that one process writes and any number of others read.

    On Linux a file of mode 0600 in the ring directory, with every page allocated at the start: a
    sparse file on a full tmpfs opens and later dies with SIGBUS. On Windows pagefile-backed.
    """

    def __init__(self, name: str, buffer: mmap.mmap, lock: int | None) -> None:
        self.name = name
        self.buffer = buffer
        self._lock = lock

    @classmethod
    def create(cls, name: str, size: int) -> SharedMapping:
        """Make and lock the mapping ``name`` of ``size`` bytes for writing.

        Raises
        ------
        UserError
            Another process writes it, or there is too little room.
        """
        folder = _open_dir()
        if sys.platform == "win32":
            lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT)
            try:
                lock_file(lock, wait=False)
            except OSError as error:
                raise _in_use(name, folder / name) from error
            return cls(name, mmap.mmap(-1, size, tagname=f"rtface-{name}"), lock)
        path = folder / name
        with _dir_lock(folder):
            _remove_if_dead(path)
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                lock = os.open(path, flags, 0o600)
            except FileExistsError as error:
                raise _in_use(name, path) from error
            except OSError as error:
                raise UserError(f"{path}: cannot make the ring ({error.strerror})") from error
            lock_file(lock, wait=True)
        try:
            _allocate(lock, size, path)
            buffer = mmap.mmap(lock, size, flags=mmap.MAP_SHARED | _populate())
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(lock)
            raise
        return cls(name, buffer, lock)

    @classmethod
    def attach(cls, name: str) -> SharedMapping:
        """Open the mapping ``name`` read-only; FileNotFoundError while there is none."""
        if sys.platform == "win32":
            tag = f"rtface-{name}"
            # mmap would make a mapping that is not there; this only finds one
            _winapi.CloseHandle(_winapi.OpenFileMapping(_winapi.FILE_MAP_READ, False, tag))
            # its size cannot be asked for; the header page tells it
            with mmap.mmap(-1, mmap.PAGESIZE, tag, mmap.ACCESS_READ) as header:
                size = int.from_bytes(header[8:16], "little")
            if not size:
                raise FileNotFoundError(name)
            return cls(name, mmap.mmap(-1, size, tag, mmap.ACCESS_READ), None)
        path = ring_dir() / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); remove it") from None
        try:
            size = os.fstat(descriptor).st_size
            if size == 0:  # made, but not yet allocated
                raise FileNotFoundError(errno.ENOENT, "ring is being made", name)
            flags = mmap.MAP_SHARED | _populate()
            return cls(name, mmap.mmap(descriptor, size, flags, mmap.PROT_READ), None)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Unmap; the writer also removes the name, so that no new reader finds it."""
        if self._lock is not None:
            if sys.platform != "win32":
                (ring_dir() / self.name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
        with contextlib.suppress(BufferError):  # views are left: unmapped when they go
            self.buffer.close()


def _in_use(name: str, path: Path) -> UserError:
    camera = name.rsplit(".", 1)[0]
    return UserError(
        f"{path}: camera '{camera}' is already being run by another rtface on this machine; "
        "stop that one or give this camera another name in the rig file"
    )


def _allocate(descriptor: int, size: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    room = os.fstatvfs(descriptor)
    free = room.f_bavail * room.f_frsize
    message = (
        f"{path}: a ring of {size / 1e6:.0f} MB does not fit, {free / 1e6:.0f} MB are free; "
        "shorten frames_s or results_s under [ring], or make room"
    )
    if room.f_blocks and size > free:  # a tmpfs without a limit says 0 of 0
        raise UserError(message)
    try:
        if sys.platform == "linux":
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
    except OSError as error:
        raise UserError(message) from error


def _populate() -> int:
    """Map every page now: a page fault in the loop costs more than the frame's copy."""
    if sys.platform == "linux":
        return mmap.MAP_POPULATE
    return 0


_STRONGLY_ORDERED = _platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
_fence = threading.Lock()
_fence.acquire()


#: a machine that slept for longer than this has clocks that cannot be trusted, ns
SLEPT_NS = 50_000_000


def suspended_ns() -> int:
    """Return how long the machine has slept since it started, ns; 0 where that is not known.

    ``perf_counter_ns`` stands still meanwhile on Linux.
    """
    if sys.platform == "linux":
        asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return max(0, asleep - time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    return 0


def step_back(by: int = 5) -> None:
    """Let other processes of the machine go first when they want the same core (``nice``)."""
    if sys.platform != "win32":
        os.nice(by)


def claim_port(listener: socket.socket) -> None:
    """Let a socket bind a port that was in use until just now, and nobody else's that is."""
    if sys.platform == "win32":  # there SO_REUSEADDR takes ports from others
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def store_barrier() -> None:
    """Keep the stores before this call before those after it, as seen by other processes.

    x86 never reorders stores, so there it is nothing. Elsewhere a lock is released and taken
    again: both carry the barriers ARM needs (never run on ARM).
    """
    if not _STRONGLY_ORDERED:
        _fence.release()
        _fence.acquire()


class Wake:
    """Tells one waiter that something is new; without a descriptor the waiter polls.

    Made by the supervisor, which hands the descriptor to the acquisition process (``notify``) and
    to one tracker (``wait``). Everybody else polls the ring.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._fd = descriptor
        if sys.platform == "linux":
            self._poll = select.poll()
            if descriptor is not None:
                self._poll.register(descriptor, select.POLLIN)

    @staticmethod
    def make_descriptor() -> int | None:
        """Return a new eventfd that children may inherit, or None where there is none."""
        if sys.platform == "linux":
            return os.eventfd(0, os.EFD_NONBLOCK)
        return None

    def notify(self) -> None:
        """Wake the waiter; costs about a microsecond and never blocks."""
        if sys.platform == "linux" and self._fd is not None:
            os.eventfd_write(self._fd, 1)

    def wait(self, timeout_s: float) -> None:
        """Return when notified, or after ``timeout_s`` at the latest (sooner when polling)."""
        if self._fd is None:
            time.sleep(min(timeout_s, POLL_S))
        elif sys.platform == "linux" and self._poll.poll(timeout_s * 1000):
            os.eventfd_read(self._fd)
