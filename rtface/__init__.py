"""rtface: mouse-face keypoints from a live camera, every frame accounted for and timed."""

from rtface.client import Subscription, ask, subscribe
from rtface.wire import Message

__version__ = "0.1.0"
__all__ = ["Message", "Subscription", "ask", "subscribe"]
