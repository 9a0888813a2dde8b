"""A Basler camera's features through pypylon's node maps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rtface.camera.nodes import READ_ONLY, USABLE
from rtface.camera.sfnc import NodeRefused, Value, in_range


class PylonNodes:
    """``Nodes`` of ``rtface.camera.sfnc`` on a node map of pypylon.

    Parameters
    ----------
    node_map : callable
        Returns the node map, which has no types. It is asked for each time and never kept: a map
        whose device is gone is freed memory, and pypylon refuses to hand it out.
    errors : tuple
        What pypylon raises.
    """

    def __init__(self, node_map: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self._map = node_map
        # a command has no Value, and nothing but a command has Execute
        self._errors: tuple[type[Exception], ...] = (*errors, AttributeError)
        self._no_value: tuple[type[Exception], ...] = (TypeError, OverflowError)

    def _node(self, name: str) -> Any:
        return self._map().GetNode(name)

    def has(self, name: str) -> bool:
        """Whether the feature is there and can be used now."""
        try:
            return self._node(name).GetAccessMode() in USABLE
        except self._errors:
            return False

    def read(self, name: str) -> Value:
        """Return a feature's value."""
        try:
            value: Value = self._node(name).Value
        except self._errors as error:
            raise _refused(name, error) from None
        return value

    def write(self, name: str, value: Value) -> None:
        """Set a feature; whole numbers go into float features and the other way round."""
        try:
            node = self._node(name)
            whole = hasattr(node, "GetInc") and not hasattr(node, "HasInc")
            if whole and isinstance(value, float) and value.is_integer():
                value = int(value)  # an integer feature takes no float, but 5.0 is 5
            node.SetValue(value)
        except self._no_value:  # its message lists C++ functions
            raise NodeRefused(f"{name}: it is no {type(value).__name__}") from None
        except self._errors as error:
            raise _refused(name, error) from None

    def execute(self, name: str) -> None:
        """Do what a command stands for."""
        try:
            self._node(name).Execute()
        except self._errors as error:
            raise _refused(name, error) from None

    def allowed(self, name: str) -> str:
        """Return in words which values a feature takes, empty if that is not known."""
        try:
            node = self._node(name)
            if hasattr(node, "GetSymbolics"):
                return ", ".join(node.Symbolics)
            if hasattr(node, "GetMin"):
                step = node.Inc if not hasattr(node, "HasInc") or node.HasInc() else None
                return in_range(node.Min, node.Max, step)
            if node.GetAccessMode() == READ_ONLY:
                return "nothing: it cannot be set now"
        except self._errors:
            pass
        return ""

    def bounds(self, name: str) -> tuple[float, float] | None:
        """Return the smallest and the largest value of a number, None where it does not say."""
        try:
            node = self._node(name)
            return float(node.Min), float(node.Max)
        except self._errors:
            return None

    def answers(self, name: str) -> bool:
        """Whether the device itself, not a memory of it, gives the feature's value."""
        try:
            node = self._node(name)
            node.Node.InvalidateNode()
            return node.Value is not None
        except self._errors:
            return False


def words(error: Exception) -> str:
    """Return the driver's message in one line, without the place in its source code."""
    message = " ".join(str(error).split())
    return re.sub(r" : \w+ thrown .*", "", message) or type(error).__name__


def _refused(name: str, error: Exception) -> NodeRefused:
    return NodeRefused(f"{name}: {words(error)}")
