"""A connected camera's features by GenICam's names; every fault is an ``Fc2error``."""

from __future__ import annotations

from typing import Any

from rtface.camera.nodes import GenicamNodes
from rtface.camera.pycapture.faults import Fc2error, as_fc2error
from rtface.camera.sfnc import NodeRefused, Value, find


class Features:
    """What the rest of this package asks of a node map.

    Parameters
    ----------
    node_map : NodeMap
        Not typed by its library.
    errors : tuple
        What the bindings raise.
    """

    def __init__(self, node_map: Any, errors: tuple[type[Exception], ...]) -> None:
        self.map, self._errors = node_map, errors
        self.nodes = GenicamNodes(node_map, errors)

    def find(self, *names: str) -> str | None:
        """Return which of a feature's names the camera knows, None if none."""
        return find(self.nodes, names)

    def need(self, what: str, *names: str) -> str:
        """Return which of the names the camera knows; ``what`` says for which call."""
        name = self.find(*names)
        if name is None:
            raise Fc2error(f"{what}: the camera has no {' or '.join(names)}")
        return name

    def read(self, name: str) -> Value:
        """Return a feature's value."""
        with as_fc2error():
            return self.nodes.read(name)

    def number(self, *names: str) -> float:
        """Return the value of the first name that the camera knows, 0 if it knows none."""
        name = self.find(*names)
        return 0.0 if name is None else float(self.read(name))

    def text(self, *names: str) -> str:
        """Return the value of the first name that the camera knows, empty if it knows none."""
        name = self.find(*names)
        return "" if name is None else str(self.read(name))

    def write(self, name: str, value: Value) -> None:
        """Set a feature; the error says what it takes."""
        try:
            self.nodes.write(name, value)
        except NodeRefused as error:
            allowed = self.nodes.allowed(name)
            raise Fc2error(
                f"{name} cannot be {value}; it takes {allowed}" if allowed else str(error)
            ) from None

    def write_if(self, value: Value, *names: str) -> None:
        """Set the feature if the camera has it."""
        if name := self.find(*names):
            self.write(name, value)

    def execute(self, name: str) -> None:
        """Do what a command stands for."""
        with as_fc2error():
            self.nodes.execute(name)

    def limits(self, name: str) -> tuple[float, float]:
        """Return the least and the greatest value, in the feature's unit."""
        with as_fc2error(*self._errors):
            node = getattr(self.map, name)
            return float(node.min), float(node.max)

    def step(self, name: str) -> int:
        """Return the step of a whole number."""
        with as_fc2error(*self._errors):
            return int(getattr(self.map, name).inc)

    def choices(self, name: str) -> tuple[str, ...]:
        """Return what an enumeration can be, empty if the camera has none of that name."""
        if not self.nodes.has(name):
            return ()
        with as_fc2error(*self._errors):
            return tuple(getattr(self.map, name).symbolics)
