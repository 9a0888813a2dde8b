"""What every bench shares: its options, one table on the screen and one JSON file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent


def parser(about: str) -> argparse.ArgumentParser:
    """Return what reads ``--quick`` and ``--out``, the same for every bench."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="one short run: does it still work?")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "out", help="folder of JSON")
    return parser


def summary_us(ns: np.ndarray) -> dict[str, float]:
    """Return p50, p99 and max of times in ns, in us."""
    us = np.asarray(ns) / 1000
    p50, p99 = np.percentile(us, (50, 99))
    named = {"p50_us": p50, "p99_us": p99, "max_us": us.max()}
    return {name: round(float(value), 1) for name, value in named.items()}


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of the same keys."""
    # a pipe has no width: rich would cut columns to 80 characters
    console = Console(width=None if os.isatty(1) else 170)
    sheet = Table(title=title, title_justify="left")
    for key in rows[0]:
        sheet.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        sheet.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(sheet)


def write(name: str, args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write ``<out>/<name>.json``: the results and what they were measured on."""
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.json"
    about = {
        "bench": name,
        "quick": args.quick,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "commit": _commit(),
        "versions": _versions(),
    }
    path.write_text(json.dumps({**about, "results": results}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


def _machine() -> dict[str, Any]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((s.split(":", 1)[1].strip() for s in lines if s.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "os": platform.platform(),
        # at the end of the bench, so its own load is in it
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout, or no commit yet
    return done.stdout.strip()


def _commit() -> dict[str, Any]:
    changes = _git("status", "--porcelain")
    sha = _git("rev-parse", "--verify", "HEAD")
    return {"sha": sha, "dirty": None if changes is None else bool(changes)}


def _versions() -> dict[str, str]:
    packages = ("rtface", "numpy", "pyzmq", "msgpack", "onnxruntime")
    return {
        "python": platform.python_version(),
        "libzmq": zmq.zmq_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }
