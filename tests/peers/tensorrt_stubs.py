"""Types of the genuine TensorRT 10, 11 and RTX, and whether rtface's calls are theirs.

The wheels of the bindings come from the package index without TensorRT's own libraries, which are
large, and here are replaced by empty ones: the bindings then load and tell the types of all that
they have, and can do nothing. The types are NVIDIA's and not kept in this repository.

``python tests/peers/tensorrt_stubs.py FOLDER`` writes FOLDER/10, /11 and /rtx and checks rtface
against each; exit code 1 if a call does not exist. ``tests/test_tensorrt_types.py`` does more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent


class Bindings(NamedTuple):
    """A package with bindings; the name of its module without ``_bindings``."""

    package: str
    module: str


PEERS = {
    "10": Bindings("tensorrt-cu12-bindings==10.13.3.9", "tensorrt"),
    "11": Bindings("tensorrt-cu13-bindings==11.4.0.106", "tensorrt"),
    "rtx": Bindings("tensorrt-rtx-cu12-bindings==1.7.1.116", "tensorrt_rtx"),
}
#: what stubgen cannot know: (pattern, replacement), each found at least once
MENDS = [
    # the bindings' None is not in their signatures; with it mypy wants every None looked at
    (r"(def build_serialized_network\(.*) -> IHostMemory:", r"\1 -> IHostMemory | None:"),
    (r"(def deserialize_cuda_engine\(.*) -> ICudaEngine:", r"\1 -> ICudaEngine | None:"),
    (
        r"(def create_execution_context\(.*) -> IExecutionContext:",
        r"\1 -> IExecutionContext | None:",
    ),
    (
        r"(class IHostMemory:\n)",
        r"\1    def __buffer__(self, flags: int, /) -> memoryview: ...\n",
    ),
    (r"(class Dims:\n)", r"\1    def __iter__(self) -> typing.Iterator[int]: ...\n"),
]
#: for a signature that is no Python: a parameter has a default and the next has none
ANYTHING = r"def \1(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ..."


def write_stubs(folder: Path, peer: Bindings) -> Path:
    """Write ``tensorrt/__init__.pyi`` of one package below ``folder``; return the stub's folder."""
    wheels, site, libraries = folder / "wheels", folder / "site", folder / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "-d", wheels, peer.package], check=True)
    (wheel,) = wheels.glob("*.whl")
    package = f"{peer.module}_bindings"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.fullmatch(rf"{package}/(__init__\.py|[^/]*\.so)", name):
                archive.extract(name, site)
    _empty_libraries(site / package / f"{peer.module}.so", libraries)
    script = "from mypy.stubgen import main; main()"
    subprocess.run(
        [sys.executable, "-c", script, "-q", "--inspect-mode", "-p", package, "-o", folder],
        check=True,
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(site)},
    )
    text = (folder / package / f"{peer.module}.pyi").read_text()
    stub = folder / "stubs" / "tensorrt" / "__init__.pyi"
    stub.parent.mkdir(parents=True, exist_ok=True)
    stub.write_text(_mended(text))
    (stub.parent.parent / "tensorrt_rtx.pyi").write_text("from tensorrt import *\n")
    return stub.parent.parent


def _empty_libraries(bindings: Path, folder: Path) -> None:
    """Make libraries of the names that the bindings load, with the functions that they miss."""
    needed = _lines(["readelf", "-d", bindings], r"NEEDED.*\[(lib(?:nv|tensorrt).*)\]")
    missing = _lines(["nm", "-D", "--undefined-only", bindings], r" U (\w*(?:_INTERNAL|Nv\w+))$")
    missing += _lines(["nm", "-D", "--undefined-only", bindings], r" U (get\w*PluginRegistry)$")
    code = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in dict.fromkeys(missing))
    for name in needed:
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", folder / name],
            input=code.encode(),
            check=True,
        )


def _lines(command: list[str | Path], pattern: str) -> list[str]:
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(pattern, text, re.MULTILINE)


def _mended(text: str) -> str:
    """Return a stub that mypy reads, and that says what TensorRT's documentation says."""
    text = re.sub(r"def (\w+)\(.* = \.\.\., \w+: [^=,()]+[,)].*", ANYTHING, text)
    text = re.sub(r"\bbool\b(?!: )", "builtins.bool", text)  # TensorRT has a bool of its own
    text = re.sub(r"\bbuffer\b(?=[,)])", "typing_extensions.Buffer", text)
    for pattern, replacement in MENDS:
        text, n = re.subn(pattern, replacement, text)
        if not n:
            raise SystemExit(f"the bindings have changed: nothing matches {pattern}")
    return f"import builtins\nimport typing\nimport typing_extensions\n{text}"


MYPY = [
    *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
    *("--config-file=", "--follow-imports=silent", "--allow-untyped-calls"),
]


def faults(stubs: Path, *files: Path) -> list[str]:
    """Return mypy's errors in ``files`` where TensorRT is what ``stubs`` say."""
    done = subprocess.run(
        [*MYPY, "--cache-dir", stubs / "cache", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"MYPYPATH": str(stubs)},
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"mypy does not run: {done.stdout}{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    return [line for line in lines if not line.startswith(str(stubs))]


#: all that calls TensorRT
FILES = [ROOT / "rtface" / "engine" / name for name in ("builder.py", "loaded.py", "tensorrt.py")]


def main() -> None:
    """Write all stubs and check against them."""
    found = []
    for version, peer in PEERS.items():
        stubs = write_stubs(Path(sys.argv[1]) / version, peer)
        errors = faults(stubs, *FILES)
        print(f"{peer.package}: {len(errors)} calls that it does not have")
        found += errors
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
