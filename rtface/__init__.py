"""rtface: mouse-face keypoints from a live camera, every frame accounted for and timed."""

from __future__ import annotations

from typing import Any

from rtface.client import Subscription, ask, subscribe
from rtface.wire import Message

__version__ = "0.1.0"
__all__ = ["Message", "Subscription", "ask", "open_session", "subscribe"]


def __getattr__(name: str) -> Any:
    """Import what reads recordings only when it is asked for: a subscriber needs no video."""
    if name == "open_session":
        from rtface.session import open_session

        return open_session
    raise AttributeError(f"module 'rtface' has no attribute {name!r}")
