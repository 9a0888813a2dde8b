"""What rtface calls of the driver against NVIDIA's genuine cuda.h, of CUDA 12 and 13."""

import ctypes
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rtface.engine import cuda

pytestmark = [pytest.mark.networks, pytest.mark.timeout(300)]

PACKAGES = ["nvidia-cuda-runtime-cu12==12.4.127", "nvidia-cuda-runtime==13.5.37"]
CONSTANTS = {
    "CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT": cuda.KERNEL_TIMEOUT,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": cuda.MAJOR,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": cuda.MINOR,
    "CU_STREAM_NON_BLOCKING": cuda.NON_BLOCKING,
    "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": cuda.THREAD_LOCAL,
    "CUDA_ERROR_NO_DEVICE": 100,
    "CUDA_ERROR_SYSTEM_NOT_READY": 802,
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": 803,
}


@pytest.fixture(scope="module", params=PACKAGES)
def header(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    subprocess.run([*pip, request.param], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/include/cuda.h"))
        return Path(archive.extract(name, folder))


def kind(parameter: str) -> object:
    """What ctypes must pass for a parameter of C: an address, or an integer of a size and sign."""
    if "*" in parameter:
        return "address"
    words = [word for word in parameter.split() if word not in ("const",)]
    name = " ".join(words[:-1]) or words[0]
    if name in ("CUstream", "CUgraph", "CUgraphExec", "CUcontext"):
        return "address"
    return {
        "unsigned int": (4, False),
        "unsigned long long": (8, False),
        "size_t": (8, False),
        "CUdeviceptr": (8, False),
        "CUdeviceptr_v2": (8, False),
    }.get(name, (4, True))  # int, devices and enumerations


def kind_here(parameter: type) -> object:
    if parameter in (ctypes.c_void_p, ctypes.c_char_p) or issubclass(parameter, ctypes._Pointer):
        return "address"
    signed = parameter(-1).value < 0
    return ctypes.sizeof(parameter), signed


def test_functions_and_parameters_are_those_of_the_header(header: Path) -> None:
    text = subprocess.run(
        ["gcc", "-E", "-P", str(header)], check=True, capture_output=True, text=True
    ).stdout
    for name, parameters in cuda.FUNCTIONS.items():
        found = re.search(rf"CUresult\s+{name}\(([^)]*)\)\s*;", text)
        assert found, f"{name} is not in the header"
        theirs = [kind(one) for one in found[1].split(",")]
        assert [kind_here(one) for one in parameters] == theirs, name


def test_constants_are_those_of_the_header(header: Path) -> None:
    lines = [f'_Static_assert({name} == {value}, "{name}");' for name, value in CONSTANTS.items()]
    code = f'#include "{header}"\n' + "\n".join(lines)
    subprocess.run(
        ["gcc", "-fsyntax-only", "-x", "c", "-"], input=code.encode(), check=True, timeout=60
    )
