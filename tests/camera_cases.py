"""A camera's features without a camera."""

from __future__ import annotations

from typing import Any

from rtface.camera.sfnc import NodeRefused, Value, in_range


class FakeNodes:
    """A camera whose features are a dict; numbers have limits, texts have choices."""

    def __init__(self, features: dict[str, Any], limits: dict[str, Any]) -> None:
        self.features, self.limits = features, limits
        self.written: list[tuple[str, Value]] = []

    def has(self, name: str) -> bool:
        return name in self.features

    def read(self, name: str) -> Value:
        value: Value = self.features[name]
        return value

    def write(self, name: str, value: Value) -> None:
        limit = self.limits.get(name)
        if isinstance(limit, tuple) and not limit[0] <= float(value) <= limit[1]:
            raise NodeRefused(f"{name}: out of range")
        if isinstance(limit, list) and value not in limit:
            raise NodeRefused(f"{name}: no such entry")
        self.written.append((name, value))
        self.features[name] = round(value) if name == "Rounded" else value  # type: ignore[arg-type]

    def execute(self, name: str) -> None:
        raise NodeRefused(name)

    def allowed(self, name: str) -> str:
        limit = self.limits.get(name, [])
        return in_range(*limit, None) if isinstance(limit, tuple) else ", ".join(limit)

    def bounds(self, name: str) -> tuple[float, float] | None:
        limit = self.limits.get(name)
        return (float(limit[0]), float(limit[1])) if isinstance(limit, tuple) else None
