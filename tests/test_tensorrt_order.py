"""The order of calls and lifetimes on a GPU: any other is found (a fake keeps the rules)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gpurig import Rig, same_as_onnx

from rtface.engine import launch, tensorrt
from rtface.engine.bundle import Bundle, load_bundle
from rtface.types import UserError


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    return Rig(tmp_path / "engines", request.param)


class Swapped(launch.Launch):
    def enqueue(self) -> None:
        assert self._work is not None
        call = self._driver.call
        self._work(self.stream)
        call("cuMemcpyHtoDAsync_v2", self.device_input, self._input, self._n_in, self.stream)
        call("cuMemcpyDtoHAsync_v2", self._output, self.device_output, self._n_out, self.stream)


class BackTooEarly(launch.Launch):
    def enqueue(self) -> None:
        assert self._work is not None
        call = self._driver.call
        call("cuMemcpyHtoDAsync_v2", self.device_input, self._input, self._n_in, self.stream)
        call("cuMemcpyDtoHAsync_v2", self._output, self.device_output, self._n_out, self.stream)
        self._work(self.stream)


class Pageable(launch.Launch):
    def enqueue(self) -> None:
        there, self._input = self._input, self.input.copy().ctypes.data
        super().enqueue()
        self._input = there


class NotWaiting(launch.Launch):
    def run(self) -> None:
        self.start()


class NoFirstRun(launch.Launch):
    def prepare(self, work: Any, capturable: Any = None) -> None:
        self._work = work
        self.graph = self._capture()


class EndBeforeBegin(launch.Launch):
    def begin_capture(self) -> None:
        super().end_capture()
        super().begin_capture()


class NoEnd(launch.Launch):
    def end_capture(self) -> int:
        return 4096


class NothingCaptured(launch.Launch):
    def _capture(self) -> int:
        self.begin_capture()
        recorded = self.end_capture()
        self.enqueue()
        try:
            return self._driver.handle("cuGraphInstantiateWithFlags", recorded, 0)
        finally:
            self._driver.call("cuGraphDestroy", recorded)


class WaitsInCapture(launch.Launch):
    def _capture(self) -> int:
        self.begin_capture()
        self.enqueue()
        try:
            self.wait()
        finally:
            recorded = self.end_capture()
        return recorded


class GraphOutlivesMemory(launch.Launch):
    def drop_graph(self) -> None:
        pass


class LeavesTheGraph(launch.Launch):
    def end_capture(self) -> int:
        recorded = super().end_capture()
        return self._driver.handle("cuGraphInstantiateWithFlags", recorded, 0) and recorded


MUTANTS = [
    *(Swapped, BackTooEarly, Pageable, NotWaiting, NoFirstRun, EndBeforeBegin, NoEnd),
    *(NothingCaptured, WaitsInCapture, GraphOutlivesMemory, LeavesTheGraph),
]


def faults(rig: Rig, bundle: Bundle) -> list[str]:
    """What is wrong with an engine: errors, no graph, other keypoints, breaches."""
    found = []
    try:
        engine = rig.engine(bundle)
        if not engine.captured:
            found.append(f"not captured: {engine.fault}")
        if not same_as_onnx(engine, bundle):
            found.append("other keypoints")
        engine.close()
    except UserError as error:
        found.append(str(error))
    return found + rig.driver.breaches


def test_the_order_as_it_is_has_no_fault(rig: Rig, bundle: Bundle) -> None:
    assert faults(rig, bundle) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.__name__)
def test_any_other_order_is_found(
    rig: Rig, bundle: Bundle, mutant: type[launch.Launch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "Launch", mutant)
    assert faults(rig, bundle) != []


def test_memory_that_ends_before_its_network_is_found(
    rig: Rig, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engineless(tensorrt.Loaded):
        def close(self) -> None:
            del self._runtime, self._engine, self._context

    monkeypatch.setattr(tensorrt, "Loaded", Engineless)
    assert any("ended before" in one for one in faults(rig, bundle))
