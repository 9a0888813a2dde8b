"""A camera's features through GenApi's node map (harvesters and pypylon have different ones)."""

from __future__ import annotations

from typing import Any

from rtface.camera.sfnc import NodeRefused, Value, in_range

#: GenApi's access modes: of a feature that can be read alone, and of all that can be used
READ_ONLY, USABLE = 3, (2, 3, 4)


class GenicamNodes:
    """``Nodes`` of ``rtface.camera.sfnc`` on a node map of the ``genicam`` bindings.

    Parameters
    ----------
    node_map : NodeMap
        Not typed by its library.
    errors : tuple
        What the bindings raise.
    """

    def __init__(self, node_map: Any, errors: tuple[type[Exception], ...]) -> None:
        self._map, self._errors = node_map, errors
        self._no_node: tuple[type[Exception], ...] = (NodeRefused, *errors)
        self._no_bounds: tuple[type[Exception], ...] = (*self._no_node, AttributeError)
        self._no_value: tuple[type[Exception], ...] = (*errors, TypeError, ValueError)

    def _node(self, name: str) -> Any:
        try:
            return getattr(self._map, name)
        except self._errors:
            raise NodeRefused(f"the camera has no {name}") from None

    def has(self, name: str) -> bool:
        """Whether the feature is there and can be used now."""
        try:
            return self._node(name).get_access_mode() in USABLE
        except self._no_node:
            return False

    def read(self, name: str) -> Value:
        """Return a feature's value."""
        node = self._node(name)
        try:
            value: Value = node.value
        except self._errors as error:
            raise _refused(name, error) from None
        return value

    def write(self, name: str, value: Value) -> None:
        """Set a feature; whole numbers go into float features and the other way round."""
        node = self._node(name)
        if hasattr(node, "inc_mode") and not isinstance(value, str | bool):
            # an integer feature takes no float, but 5.0 is 5
            value = float(value) if hasattr(node, "has_inc") else value
            if not hasattr(node, "has_inc") and isinstance(value, float) and value.is_integer():
                value = int(value)
        try:
            node.value = value
        except self._no_value as error:
            raise _refused(name, error) from None

    def execute(self, name: str) -> None:
        """Do what a command stands for."""
        try:
            self._node(name).execute()
        except self._errors as error:
            raise _refused(name, error) from None

    def allowed(self, name: str) -> str:
        """Return in words which values a feature takes, empty if that is not known."""
        try:
            node = self._node(name)
            if hasattr(node, "symbolics"):
                return ", ".join(node.symbolics)
            if hasattr(node, "min"):
                step = node.inc if not hasattr(node, "has_inc") or node.has_inc() else None
                return in_range(node.min, node.max, step)
            if node.get_access_mode() == READ_ONLY:
                return "nothing: it cannot be set now"
        except self._no_node:
            pass
        return ""

    def bounds(self, name: str) -> tuple[float, float] | None:
        """Return the smallest and the largest value of a number, None where it does not say."""
        try:
            node = self._node(name)
            return float(node.min), float(node.max)
        except self._no_bounds:
            return None

    def answers(self, name: str) -> bool:
        """Whether the device itself, not a memory of it, gives the feature's value."""
        try:
            node = self._node(name)
            node.node.invalidate_node()
            return node.value is not None
        except self._no_node:
            return False


def _refused(name: str, error: Exception) -> NodeRefused:
    return NodeRefused(f"{name}: {' '.join(str(error).split())}")
