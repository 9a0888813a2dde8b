"""What the system lets this user do about being interrupted."""

from __future__ import annotations

import getpass
import subprocess
import sys

from rtface.doctor.finding import Finding, judged

#: above ordinary programs and below the kernel's own threads
PRIORITY = 10
_TRY = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({PRIORITY}))"


def judge_real_time(allowed: bool | None, limit: int | None, user: str) -> Finding:
    """Judge whether SCHED_FIFO was granted to a process that asked for it."""
    if allowed is None:
        return Finding("real-time", "not looked at: only Linux has SCHED_FIFO")
    if allowed:
        return Finding(
            "real-time",
            f"SCHED_FIFO is allowed; camera and tracker take it with priority = {PRIORITY} under "
            "[engine]",
        )
    if limit is not None and (limit < 0 or limit >= PRIORITY):  # -1 is no limit
        return judged(
            "real-time",
            "SCHED_FIFO is refused although the limit rtprio allows it",
            True,
            "a container or a control group forbids it: docker run --cap-add SYS_NICE --ulimit "
            f"rtprio=50 ..., then priority = {PRIORITY} under [engine]",
        )
    return judged(
        "real-time",
        f"SCHED_FIFO is not allowed (limit rtprio {limit})",
        True,
        f"echo '{user} - rtprio 50' | sudo tee /etc/security/limits.d/99-rtface.conf, log in "
        f"again, then priority = {PRIORITY} under [engine]",
    )


def state_memlock(limit_bytes: int | None) -> Finding:
    """State how much memory may be locked; nothing in rtface needs any."""
    if limit_bytes is None:
        return Finding("memlock", "not visible here")
    size = "no limit" if limit_bytes < 0 else f"{limit_bytes / 1e6:.0f} MB"
    return Finding("memlock", f"{size}; rtface locks no memory")


def look_at_priority() -> list[Finding]:
    """Ask the system; the priority is tried in a process that ends at once."""
    if sys.platform != "linux":
        return [judge_real_time(None, None, ""), state_memlock(None)]
    import resource

    tried = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _TRY], stderr=subprocess.DEVNULL, check=False
    )
    return [
        judge_real_time(
            tried.returncode == 0, resource.getrlimit(resource.RLIMIT_RTPRIO)[0], _user()
        ),
        state_memlock(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]),
    ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "USER"
