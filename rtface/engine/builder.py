"""A network into a plan, with TensorRT 10 or 11 or TensorRT-RTX: one way for all.

Types come from the graph (a strongly typed network): no flags and no calibrators, which TensorRT 11
no longer has. The only file that imports TensorRT.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rtface.engine.bundle import Bundle
from rtface.types import UserError

if TYPE_CHECKING:
    import tensorrt as trt

Flavour = Literal["tensorrt", "tensorrt_rtx"]
Precision = Literal["fp32", "fp16", "int8"]
#: changes when ``build`` does, so that no engine of an older rtface is taken for one of this
RECIPE = 1
#: file of a bundle with the network quantised as TensorRT wants it (symmetric, explicit Q and DQ)
INT8_FILE = "model.int8.trt.onnx"
#: major versions that this was written for
VERSIONS = {"tensorrt": (10, 11), "tensorrt_rtx": (1,)}
_GET = {
    "tensorrt": "pip install 'rtface[tensorrt]' (Jetson: see docs/gpu.md)",
    "tensorrt_rtx": "pip install 'rtface[tensorrt-rtx]'",
}


class Library(NamedTuple):
    """All that is used of TensorRT, from whichever of its packages it comes."""

    flavour: Flavour
    version: str
    ILogger: type[trt.ILogger]
    Builder: type[trt.Builder]
    OnnxParser: type[trt.OnnxParser]
    Runtime: type[trt.Runtime]
    BuilderFlag: type[trt.BuilderFlag]
    NetworkFlag: type[trt.NetworkDefinitionCreationFlag]
    AllocationStrategy: type[trt.ExecutionContextAllocationStrategy]
    #: TensorRT-RTX alone has it: for which GPUs to build
    ComputeCapability: Any = None


def library_of(flavour: Flavour, module: Any) -> Library:
    """Return what is used of TensorRT's module, or of one that stands for it.

    Raises
    ------
    UserError
        It is of another version.
    """
    version = str(module.__version__)
    known = VERSIONS[flavour]
    if int(version.split(".")[0]) not in known:
        raise UserError(
            f"{flavour} {version}: rtface knows version {' and '.join(map(str, known))}; "
            f"{_GET[flavour]}"
        )
    return Library(
        flavour,
        version,
        module.ILogger,
        module.Builder,
        module.OnnxParser,
        module.Runtime,
        module.BuilderFlag,
        module.NetworkDefinitionCreationFlag,
        module.ExecutionContextAllocationStrategy,
        getattr(module, "ComputeCapability", None),
    )


def load_library(flavour: Flavour) -> Library:
    """Import TensorRT.

    Raises
    ------
    UserError
        It is not installed, does not load, or is of another version.
    """
    try:
        if flavour == "tensorrt_rtx":
            import tensorrt_rtx

            return library_of(flavour, tensorrt_rtx)
        import tensorrt

        return library_of(flavour, tensorrt)
    except ModuleNotFoundError as error:
        raise UserError(
            f"engine.runtime: the package {error.name} is not here; {_GET[flavour]}"
        ) from None
    except (ImportError, OSError) as error:
        raise UserError(
            f"engine.runtime: {flavour} is installed but does not load ({_line(error)}); "
            f"{_GET[flavour]}"
        ) from None


def _line(what: object) -> str:
    return " ".join(str(what).split())[:200]


class Log:
    """TensorRT's log, of which only the last fault is kept, for the line that a user sees."""

    def __init__(self, library: Library) -> None:
        self.fault = ""

        def log(_: Any, severity: Any, message: str) -> None:
            if "ERROR" in str(severity):  # ERROR and INTERNAL_ERROR
                self.fault = _line(message)

        # a class of its own per library, whose base class is known here only
        self.logger = type("Log", (library.ILogger,), {"log": log})()

    def refused(self, what: str) -> UserError:
        """Return the line for a call that gave nothing."""
        return UserError(f"{what}: {self.fault or 'TensorRT gives no reason'}")


def network_of(bundle: Bundle, precision: Precision) -> tuple[Path, bytes]:
    """Return the file of a bundle that holds its network for a precision, and what is in it.

    Raises
    ------
    UserError
        There is none, or it is not the one that ``model.json`` names.
    """
    if precision != "int8":
        return bundle.folder / "model.onnx", bundle.onnx
    path = bundle.folder / INT8_FILE
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(
            f"{path}: is not there, so there is no int8 for TensorRT; make it with "
            "rtface model quantize, or set engine.precision to fp16"
        ) from None
    expected = bundle.about["sha256"].get(INT8_FILE)
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise UserError(f"{path}: damaged (its hash is not model.json's); quantise again")
    return path, content


def build(library: Library, path: Path, model: bytes, target: str | None = None) -> bytes:
    """Return the plan of an ONNX file's network.

    Parameters
    ----------
    library : Library
    path : Path
        The file's name, for what is said.
    model : bytes
        Its contents, in the precision to run in.
    target : str, optional
        TensorRT-RTX alone: a name of ``ComputeCapability``, ``CURRENT`` for the GPU that is there.
        By default a plan for all from GeForce RTX 30 on, which needs no GPU to build.

    Raises
    ------
    UserError
        TensorRT refuses the file, or a shape in it is not fixed.
    """
    log = Log(library)
    try:
        builder = library.Builder(log.logger)
    except TypeError:  # the bindings' way of saying that there is no builder
        raise log.refused(f"{library.flavour} does not start") from None
    network = builder.create_network(1 << int(library.NetworkFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, log.logger)
    if not parser.parse(model):
        said = [_line(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise UserError(
            f"{path}: {library.flavour} {library.version} cannot read it "
            f"({said[0] if said else log.fault}); export the bundle again"
        )
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        if any(size < 0 for size in tuple(tensor.shape)):
            raise UserError(
                f"{path}: input {tensor.name}: its shape {tuple(tensor.shape)} is not fixed; "
                "export the bundle again, with fixed shapes"
            )
    config = builder.create_builder_config()
    # TF32 keeps 10 bits: float32 here means float32
    config.clear_flag(library.BuilderFlag.TF32)
    _for_rtx(library, config, target)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise log.refused(f"{path}: {library.flavour} {library.version} cannot build it")
    return bytes(plan)


def _for_rtx(library: Library, config: Any, target: str | None) -> None:
    """Set what TensorRT-RTX alone has: memory is the caller's, or no run could be captured."""
    if (flag := getattr(library.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)) is not None:
        config.set_flag(flag)
    if target and library.ComputeCapability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, target), 0)
