"""Versions, optional packages, and whether each runtime really runs the network."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable
from importlib import metadata

import numpy as np
import zmq

from rtface import __version__
from rtface.doctor.finding import FRAME_BYTES, REFERENCE_HZ, Finding, Verdict, fault_of, judged
from rtface.engine import RUNTIMES, make_engine
from rtface.engine.bundle import Bundle, NotHere, load_bundle
from rtface.engine.null import NullEngine
from rtface.facemap_pose import facemap_estimator
from rtface.pose import PoseEstimator
from rtface.types import UserError

#: distribution -> what it is for
OPTIONAL = {
    "torch": "'rtface train'",
    "onnx": "'rtface train' and 'rtface model quantize'",
    "openvino": 'runtime = "openvino" of a rig',
    "pylsl": "a bridge to Lab Streaming Layer",
    "python-osc": "a bridge to OSC",
}
#: rtface is tested on these
PYTHONS = ((3, 11), (3, 14))
#: below this the default camera (100 Hz) loses frames
LEAST_HZ = 100.0
TIMED_S = 2.0


def judge_python(version: tuple[int, int, int]) -> Finding:
    """Judge the interpreter."""
    text = ".".join(map(str, version))
    outside = not PYTHONS[0] <= version[:2] < PYTHONS[1]
    return judged(
        "Python", text, outside, "rtface is tested on Python 3.11 to 3.13; make a venv with one"
    )


def judge_package(name: str, version: str | None, error: str | None = None) -> Finding:
    """Judge a package that rtface cannot do without."""
    if version is None or error:
        value = f"cannot be loaded ({error})" if error else "not installed"
        remedy = f"pip install --force-reinstall {name}"
        return Finding(name, value, Verdict.FAULT, remedy)
    return Finding(name, version)


def judge_optional(name: str, version: str | None, purpose: str, extra: str | None) -> Finding:
    """State whether a package is there that only some commands need."""
    if version:
        return Finding(name, f"{version}, for {purpose}")
    how = f"pip install 'rtface[{extra}]'" if extra else f"pip install {name}"
    return Finding(name, f"not installed; only {purpose} needs it: {how}")


def judge_engine(runtime: str, ms: Iterable[float], start_s: float, network: bool) -> Finding:
    """Judge a runtime that started by its times of one frame."""
    if not network:
        return Finding(f"runtime {runtime}", "starts; no network, measures the path alone")
    p50, p99 = (float(p) for p in np.percentile(list(ms), [50, 99]))
    hz = 1000 / p99
    return judged(
        f"runtime {runtime}",
        f"starts in {1e3 * start_s:.0f} ms, reference frames right; one frame p50 {p50:.2f}, "
        f"p99 {p99:.2f} ms: holds {hz:.0f} Hz",
        hz < LEAST_HZ,
        f"close other programs, give cameras at most {max(1, int(hz))} Hz, or try threads = 2 "
        "under [engine] of the rig file",
        {"start_s": start_s, "p50_ms": p50, "p99_ms": p99, "holds_hz": hz},
    )


def judge_providers(names: Iterable[str]) -> Finding:
    """State what the installed ONNX Runtime could run on; rtface asks for the CPU alone."""
    short = [name.removesuffix("ExecutionProvider") for name in names]
    if "CPU" not in short:
        return Finding(
            "providers",
            f"{', '.join(short) or 'none'}: no CPU",
            Verdict.FAULT,
            "pip install --force-reinstall onnxruntime",
        )
    return Finding("providers", f"{', '.join(short)}; this version asks for the CPU alone")


def extra_that_brings(name: str, requirements: Iterable[str]) -> str | None:
    """Return the extra among the package's requirements that installs ``name``."""
    for requirement in requirements:
        found = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)", requirement)
        if found and extra and found[0].lower() == name and extra[1] != "test":
            return extra[1]
    return None


def installed(*names: str) -> str | None:
    """Return the version of the first of these distributions that is installed."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def look_at_software() -> list[Finding]:
    """Return versions of what rtface is made of and of what it could use."""
    found = [Finding("rtface", __version__)]
    found.append(judge_python(sys.version_info[:3]))
    found.append(judge_package("numpy", np.__version__))
    found.append(judge_package("pyzmq", f"{zmq.__version__} (libzmq {zmq.zmq_version()})"))
    # their libraries are loaded here, because that is what fails
    errors: dict[str, str] = {}
    try:
        from rtface.engine import onnx  # noqa: F401
    except (ImportError, OSError) as error:
        errors["onnxruntime"] = str(error)
    try:
        from rtface.camera import media  # noqa: F401
    except (ImportError, OSError) as error:
        errors["av"] = str(error)
    version = installed("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    found.append(judge_package("onnxruntime", version, errors.get("onnxruntime")))
    found.append(judge_package("av", installed("av"), errors.get("av")))
    try:
        requirements = metadata.requires("rtface") or []
    except metadata.PackageNotFoundError:  # run from its sources
        requirements = []
    for name, purpose in OPTIONAL.items():
        extra = extra_that_brings(name, requirements)
        found.append(judge_optional(name, installed(name), purpose, extra))
    return found


def look_at_engines(path: str) -> list[Finding]:
    """Start a bundle in every runtime there is and time it."""
    try:
        bundle = load_bundle(path)
    except UserError as error:
        return [fault_of("network", error)]
    found = [
        Finding(
            "network",
            f"{bundle.name}: {len(bundle.names)} keypoints from "
            f"{bundle.input_shape[1]}x{bundle.input_shape[0]} px",
        )
    ]
    return found + [_try_engine(bundle, runtime) for runtime in (*RUNTIMES, "null")]


def _try_engine(bundle: Bundle, runtime: str) -> Finding:
    start = time.perf_counter()
    try:
        engine = make_engine(bundle, runtime)
    except NotHere as error:
        return Finding(f"runtime {runtime}", f"not here: {error}")
    except UserError as error:
        return fault_of(f"runtime {runtime}", error, "export the bundle again")
    start_s = time.perf_counter() - start
    if isinstance(engine, NullEngine):
        return judge_engine(runtime, [], start_s, network=False)
    shape = (480, 640)
    made = facemap_estimator(bundle.normalisation, engine, shape)
    estimator = made or PoseEstimator(engine, shape)
    image = np.frombuffer(os.urandom(FRAME_BYTES), np.uint8).reshape(480, 640)
    # at a camera's pace, because a core that sleeps between frames is slower than one in a loop
    times_ms = []
    end = due = time.perf_counter()
    end += TIMED_S
    for _ in range(5):
        estimator(image)
    while time.perf_counter() < end:
        due += 1 / REFERENCE_HZ
        time.sleep(max(0.0, due - time.perf_counter()))
        before = time.perf_counter()
        estimator(image)
        times_ms.append(1e3 * (time.perf_counter() - before))
    return judge_engine(runtime, times_ms, start_s, network=True)


def look_at_providers() -> list[Finding]:
    """Return what ONNX Runtime could run on."""
    try:
        from rtface.engine.onnx import providers
    except (ImportError, OSError):
        return []  # told already among the versions
    return [judge_providers(providers())]
