"""Products of a vector with masks of 8 bits: memory is what limits them, and less is read.

Every mask is whole numbers of 8 bits and one float32 per run of bins, as the operator MatMulNBits
of ONNX Runtime has it (https://onnxruntime.ai/docs/reference/operators, contributed operators).
That operator rounds the vector, too: per run to 127 steps, up to the largest magnitude in it. To
lose nothing by that, the vector goes in as two rows, its multiples of a step and what is left, and
every run of the first row ends with 127 steps (whose masks are 0), so that its steps are known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from rtface.motion.rounding import MOST, round_masks
from rtface.types import Float32Array

#: values that share a factor, the last of which is no bin: longer runs are read faster by a tenth
#: and err twice as much
BLOCK = 32
#: of the length of the product of noise; rounding explains about 0.007
TOLERANCE = 0.03


class Int8Product:
    """Multiplies vectors with masks of 8 bits, in memory made once; belongs to one thread.

    Parameters
    ----------
    masks : ndarray (P, C) float32
        One column per component; not kept.
    sd : ndarray (C,) float32
        Standard deviations of the components, as ``round_masks`` takes them.

    Raises
    ------
    Exception
        ONNX Runtime's own, where it has no such operator (before 1.22).
    """

    def __init__(self, masks: Float32Array, sd: Float32Array) -> None:
        numbers, factors = _pack(masks, sd)
        n, runs, _ = numbers.shape
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # in the caller's thread, as the network runs
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            _model(numbers, factors), options, providers=["CPUExecutionProvider"]
        )
        pixels, per_run = len(masks), BLOCK - 1
        self._whole, self._rest = pixels // per_run, pixels % per_run
        self._rows = np.zeros((2, runs, BLOCK), np.float32)
        self._out = np.zeros((2, n), np.float32)
        # both stay where they are: nothing is made per call
        self._binding = self._session.io_binding()
        self._values = [
            ort.OrtValue.ortvalue_from_numpy(array)
            for array in (self._rows.reshape(2, -1), self._out)
        ]
        self._binding.bind_ortvalue_input("x", self._values[0])
        self._binding.bind_ortvalue_output("y", self._values[1])

    def __call__(self, vector: Float32Array, out: Float32Array) -> None:
        """Write the product of a vector (P,) with the masks into ``out`` (C,), both float32."""
        step = max(float(vector.max()), -float(vector.min())) / MOST
        if step < 1e-30:  # also where nothing moves
            out.fill(0)
            return
        whole, part, factor = self._whole, self._whole * (BLOCK - 1), np.float32(1 / step)
        steps, below = self._rows
        runs = vector[:part].reshape(whole, BLOCK - 1)
        np.multiply(runs, factor, out=below[:whole, :-1])
        if self._rest:
            np.multiply(vector[part:], factor, out=below[whole, : self._rest])
        np.rint(below, out=steps)
        np.subtract(below, steps, out=below)
        steps[:, -1] = MOST  # of ``below`` it stays 0
        self._session.run_with_iobinding(self._binding)
        np.add(self._out[0], self._out[1], out=out)
        np.multiply(out, np.float32(step), out=out)


def fast_product(masks: Float32Array, sd: Float32Array) -> tuple[Int8Product | None, str]:
    """Return the product with 8-bit masks if it works here, and else None and why not.

    It is tried on noise: its results must be those of the float32 masks but for rounding, and come
    sooner. Takes half a second to one for 500 components of 640x480 at bin 4.

    Parameters
    ----------
    masks : ndarray (P, C) float32
    sd : ndarray (C,) float32
        As ``Int8Product`` has them.
    """
    try:
        product = Int8Product(masks, sd)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen private types
        said = str(error).strip().splitlines() or [type(error).__name__]
        return None, f"ONNX Runtime {ort.__version__} cannot ({said[0][:120]})"
    noise = np.random.default_rng(0).standard_normal((3, len(masks))).astype(np.float32)
    exact, found = np.empty((2, 3, masks.shape[1]), np.float32)
    exact_ns = min(_ns(lambda x, y: np.dot(x, masks, out=y), noise, exact))
    fast_ns = min(_ns(product, noise, found))
    error_of = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    if not error_of < TOLERANCE:
        return None, f"this processor's 8-bit products are off by {100 * error_of:.2g} %"
    if fast_ns > exact_ns:
        return None, f"it is no faster here ({fast_ns / 1e6:.2f} ms beside {exact_ns / 1e6:.2f})"
    return product, ""


def _ns(
    product: Callable[[Float32Array, Float32Array], object],
    vectors: Float32Array,
    out: Float32Array,
) -> Iterator[int]:
    for _ in range(2):
        for vector, row in zip(vectors, out, strict=True):
            start = time.perf_counter_ns()
            product(vector, row)
            yield time.perf_counter_ns() - start


def _pack(masks: Float32Array, sd: Float32Array) -> tuple[npt.NDArray[np.uint8], Float32Array]:
    """Return masks as the operator takes them: (C, runs, ``BLOCK``), 128 for 0, and factors."""
    rounded, factors = round_masks(masks, sd, BLOCK - 1)
    runs, _, n = rounded.shape
    numbers = np.full((n, runs, BLOCK), 128, np.uint8)
    numbers[:, :, :-1] = rounded.view(np.uint8).transpose(2, 0, 1) ^ 128
    return numbers, np.ascontiguousarray(factors.T)


def _model(numbers: npt.NDArray[np.uint8], factors: Float32Array) -> bytes:
    """Return an ONNX file of one MatMulNBits: ``x`` (2, runs * ``BLOCK``) -> ``y`` (2, C).

    Written byte by byte (Protocol Buffers encoding; field numbers of ``onnx.proto``), because the
    package ``onnx`` is no part of what rtface needs to run.
    """
    n, runs, _ = numbers.shape
    attributes = {
        "K": runs * BLOCK,
        "N": n,
        "bits": 8,
        "block_size": BLOCK,
        "accuracy_level": 4,  # 8-bit products
    }
    node = b"".join(_field(1, name) for name in (b"x", b"masks", b"factors"))
    node += _field(2, b"y") + _field(4, b"MatMulNBits") + _field(7, b"com.microsoft")
    for key, value in attributes.items():
        node += _field(5, _field(1, key.encode()) + _whole(3, value) + _whole(20, 2))  # 2: INT
    graph = _field(1, node) + _field(2, b"masks")
    for name, code, array in ((b"masks", 2, numbers), (b"factors", 1, factors.reshape(-1))):
        dims = b"".join(_whole(1, size) for size in array.shape)
        graph += _field(5, dims + _whole(2, code) + _field(8, name) + _field(9, array.tobytes()))
    graph += _field(11, _value(b"x", 2, runs * BLOCK)) + _field(12, _value(b"y", 2, n))
    opsets = _field(8, _field(1, b"") + _whole(2, 17))
    opsets += _field(8, _field(1, b"com.microsoft") + _whole(2, 1))
    return _whole(1, 8) + _field(7, graph) + opsets


def _value(name: bytes, *shape: int) -> bytes:
    """Return a ValueInfoProto of float32."""
    dims = b"".join(_field(1, _whole(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _whole(1, 1) + _field(2, dims)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _whole(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
