"""A bundle in TensorRT or TensorRT-RTX, on a GPU of NVIDIA's. Never run on one: see docs/gpu.md."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtface.engine.builder import (
    RECIPE,
    Flavour,
    Library,
    Precision,
    build,
    load_library,
    network_of,
)
from rtface.engine.bundle import Bundle
from rtface.engine.cuda import CudaError, Device, Driver, Functions, choose_gpu, load_driver
from rtface.engine.enginecache import (
    EngineKey,
    NoEngine,
    engines_dir,
    path_of,
    read_plan,
    write_plan,
)
from rtface.engine.launch import Launch
from rtface.engine.loaded import Loaded
from rtface.types import Float32Array, UInt8Image, UserError

#: tensors start at multiples of this, as TensorRT wants them, bytes
ALIGNMENT = 256


class Place(NamedTuple):
    """Where an engine is to run, and with what: the GPU is in use, TensorRT is loaded."""

    device: Device
    library: Library


def open_place(
    flavour: Flavour,
    gpu: int | None = None,
    library: Library | None = None,
    functions: Functions | None = None,
) -> Place:
    """Start the driver, load TensorRT and take a GPU; it is current in the calling thread.

    Parameters
    ----------
    flavour : {'tensorrt', 'tensorrt_rtx'}
    gpu : int, optional
        As nvidia-smi counts; by default the first that drives no display.
    library, functions : optional
        TensorRT and the driver, where not those that are installed.

    Raises
    ------
    UserError
        One of them is missing, or they do not fit each other; says which, and what to do.
    """
    driver = Driver(functions or load_driver())
    library = library or load_library(flavour)
    chosen = choose_gpu(driver.gpus(), gpu)
    # Jetson Orin, and the architectures of data centres
    if flavour == "tensorrt_rtx" and (
        chosen.capability == (8, 7) or 9 <= chosen.capability[0] < 12
    ):
        raise UserError(
            f"engine.runtime: tensorrt_rtx does not run on {chosen.name}, which is no GeForce RTX "
            "nor its kin; set it to tensorrt"
        )
    return Place(Device(driver, chosen), library)


def prepare(bundle: Bundle, precision: Precision, place: Place, folder: Path | None = None) -> Path:
    """Build the engine of a bundle for a GPU, keep it, and return its file.

    Takes a second with TensorRT-RTX, and up to minutes with TensorRT, which tries what is fastest.

    Raises
    ------
    UserError
        The bundle has no such precision, TensorRT refuses it, or it cannot be kept.
    """
    return write_plan(folder or engines_dir(), *_build(bundle, precision, place))


def _build(bundle: Bundle, precision: Precision, place: Place) -> tuple[EngineKey, bytes]:
    path, model = network_of(bundle, precision)
    key = _key(model, precision, place)
    if precision == "fp16":
        from rtface.engine.half import to_half  # needs onnx, which only building does

        model = to_half(model)
    target = "CURRENT" if place.library.flavour == "tensorrt_rtx" else None
    return key, build(place.library, path, model, target)


def _key(model: bytes, precision: Precision, place: Place) -> EngineKey:
    gpu = place.device.gpu
    return EngineKey(
        model=hashlib.sha256(model).hexdigest(),
        precision=precision,
        flavour=place.library.flavour,
        version=place.library.version,
        gpu=gpu.name,
        capability="{}.{}".format(*gpu.capability),
        driver=place.device.driver.version,
        system=f"{platform.system()} {platform.machine()}",
        recipe=RECIPE,
    )


class TensorRtEngine:
    """Runs a bundle in TensorRT; belongs to the thread that made it.

    One copy to the GPU, one run and one copy back, in one CUDA graph: two calls a frame.

    Parameters
    ----------
    bundle : Bundle
    precision : {'fp16', 'fp32', 'int8'}
    flavour : {'tensorrt', 'tensorrt_rtx'}
    gpu : int, optional
        As nvidia-smi counts; by default the first that drives no display.
    build : bool
        Build the engine where there is none yet; else that is an error, as a run cannot wait.
    folder : Path, optional
        Where engines are kept; ``engines_dir()`` by default.
    library, functions : optional
        TensorRT and the driver, where not those that are installed.

    Attributes
    ----------
    gpu : Gpu
        That it runs on.
    captured : bool
        It runs as a CUDA graph.
    fault : str
        Why it does not.
    close : callable
        Frees everything; afterwards nothing else may be called. Happens by itself at the end.

    Raises
    ------
    UserError
        Something is missing or does not fit; one line with what helps.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision = "fp16",
        flavour: Flavour = "tensorrt",
        gpu: int | None = None,
        *,
        build: bool = False,
        folder: Path | None = None,
        library: Library | None = None,
        functions: Functions | None = None,
    ) -> None:
        self.names = bundle.names
        self.input_shape = bundle.input_shape
        place = open_place(flavour, gpu, library, functions)
        self.gpu = place.device.gpu
        # closed when this is gone, and before the interpreter ends: the driver's exit is too late
        held = _Held(place.device)
        self.close = weakref.finalize(self, held.close)
        try:
            self._open(bundle, precision, place, folder or engines_dir(), build, held)
        except BaseException:
            with contextlib.suppress(CudaError):  # the first fault is the one to tell
                self.close()
            raise

    def _open(
        self,
        bundle: Bundle,
        precision: Precision,
        place: Place,
        folder: Path,
        build: bool,
        held: _Held,
    ) -> None:
        key = _key(network_of(bundle, precision)[1], precision, place)
        path = path_of(folder, key)
        try:
            plan = read_plan(folder, key)
        except NoEngine:
            if not build:
                raise
            _, plan = _build(bundle, precision, place)
            write_plan(folder, key, plan)
        held.network = network = Loaded(place.library, path, plan)
        expected = {
            "image": bundle.input_shape,
            "scale": (),
            "shift": (),
            "keypoints": (len(bundle.names), 3),
        }
        if network.shapes != expected:
            raise UserError(
                f"{path}: has tensors {network.shapes}, not {expected}; export the bundle again"
            )
        size = int(np.prod(bundle.input_shape)) * bundle.input_dtype.itemsize
        at = -(-size // ALIGNMENT) * ALIGNMENT
        held.launch = launch = Launch(
            place.device, at + ALIGNMENT + 4, len(bundle.names) * 12, network.scratch
        )
        base = launch.device_input
        addresses = {"image": base, "scale": base + at, "shift": base + at + ALIGNMENT}
        network.bind({**addresses, "keypoints": launch.device_output}, launch.scratch)
        self._image = launch.input[:size].view(bundle.input_dtype).reshape(bundle.input_shape)
        self._scale = launch.input[at : at + 4].view(np.float32)
        self._shift = launch.input[at + ALIGNMENT :].view(np.float32)
        self._keypoints: Float32Array = launch.output.view(np.float32).reshape(-1, 3)
        self._launch = launch
        launch.input[:] = 0
        launch.prepare(network.enqueue, network.capturable)
        self.captured, self.fault = bool(launch.graph), launch.fault

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return (K, 3) float32 x, y (input px) and score; a new array each call.

        Raises
        ------
        CudaError
            The GPU failed, or is gone.
        """
        np.copyto(self._image, image, casting="no")
        self._scale[0], self._shift[0] = scale, shift
        self._launch.run()
        return self._keypoints.copy()  # the pinned memory ends with the engine

    def keep_warm(self) -> None:
        """Let the GPU run the last frame again, and do not wait; its clocks sink when it idles."""
        self._launch.start()


class _Held:
    """What is to be freed, in the order that the driver wants; outlives the engine by a moment."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.network: Loaded | None = None
        self.launch: Launch | None = None

    def close(self) -> None:
        """Free the graph, the network, its memory, the GPU, each also if another fails."""
        self.device.enter()  # in whichever thread this is
        with contextlib.ExitStack() as stack:  # the last of these comes first
            stack.callback(self.device.close)
            if self.launch:
                stack.callback(self.launch.close)
            if self.network:
                stack.callback(self.network.close)
            if self.launch:
                stack.callback(self.launch.drop_graph)
