"""What this processor can compute with, as far as it decides which networks it may run."""

from __future__ import annotations

import platform
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

#: flags of /proc/cpuinfo, each of which alone says that sums of products of bytes have 32 bits
_WIDE_SUMS = {"avx512_vnni", "avx_vnni", "amx_int8"}


@cache
def flags() -> frozenset[str] | None:
    """Return the flags of /proc/cpuinfo, None where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split()) if found else None


def saturates(machine: str, known: Collection[str] | None) -> bool:
    """Return whether 8-bit networks with full weights would be computed wrongly.

    Without VNNI, runtimes multiply bytes with ``vpmaddubsw``, which adds two products into 16 bits:
    255 * 127 * 2 does not fit. Weights of 7 bits do. Only x86 has that instruction. Where the
    flags cannot be seen it is not assumed, because such machines (Windows, macOS) are mostly new.

    Parameters
    ----------
    machine : str
        As of ``platform.machine()``.
    known : collection of str or None
        Flags of the processor.
    """
    x86 = machine.lower() in ("x86_64", "amd64")
    return x86 and known is not None and not _WIDE_SUMS & set(known)


def saturates_here() -> bool:
    """Return ``saturates`` of this machine."""
    return saturates(platform.machine(), flags())
