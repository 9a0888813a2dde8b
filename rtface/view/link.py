"""The run as its ports tell it: status, what streams are, orders. Belongs to one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import zmq
import zmq.asyncio

from rtface import wire
from rtface.client import ask

#: without a status for this long the run is looked for anew, s
SILENT_S = 3.0
LOOK_AGAIN_S = 1.0
#: a thread waits so long; at the end of the process, too, s
ORDER_TIMEOUT_S = 1.0


class RunLink:
    """Follows the run at a control port, and the next one after it.

    Parameters
    ----------
    control : str
        Address of the control port.
    changed : callable
        Called with each status that came.

    Attributes
    ----------
    status : dict
        The newest ``status.``; empty before the first.
    metas : dict
        By camera, the newest ``meta.``.
    heard_s : float
        ``time.monotonic`` of the newest status.
    """

    def __init__(self, control: str, changed: Callable[[], None] = lambda: None) -> None:
        self.control = control
        self._changed = changed
        self.status: dict[str, Any] = {}
        self.metas: dict[str, dict[str, Any]] = {}
        self.heard_s = -1e9

    @property
    def silent_s(self) -> float:
        """Seconds since the last status."""
        return time.monotonic() - self.heard_s

    async def follow(self) -> None:
        """Look for a run, listen to it until it is silent, and look again; until cancelled."""
        context: zmq.asyncio.Context = zmq.asyncio.Context()
        try:
            while True:
                told = await self._endpoints()
                if told is not None:
                    await self._listen(context, told)
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            context.destroy(linger=0)

    async def _endpoints(self) -> dict[str, Any] | None:
        try:
            told = await asyncio.to_thread(ask, "endpoints", self.control, LOOK_AGAIN_S)
        except (TimeoutError, ValueError, zmq.ZMQError):
            return None
        return told if isinstance(told, dict) and "status" in told and "data" in told else None

    async def _listen(self, context: zmq.asyncio.Context, told: dict[str, Any]) -> None:
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, wire.HEARTBEAT_TIMEOUT_MS)
        socket.setsockopt(zmq.SUBSCRIBE, b"status.")
        try:
            socket.connect(told["status"])
            for camera, address in told["data"].items():
                socket.setsockopt(zmq.SUBSCRIBE, wire.meta_topic(camera).encode())
                socket.connect(address)
            session = None
            while await socket.poll(int(SILENT_S * 1000)):
                self._hear(await socket.recv_multipart())
                now = self.status.get("session")
                if session not in (None, now):  # another run, perhaps with other cameras
                    return
                session = now
        finally:
            socket.close()

    def _hear(self, frames: list[bytes]) -> None:
        try:
            message = wire.decode(frames)
        except wire.WireError:
            return
        if message.topic == "status.":
            self.status, self.heard_s = message.fields, time.monotonic()
            self._changed()
        elif message.topic.startswith("meta."):
            self.metas[message.topic.split(".")[1]] = message.fields

    async def order(self, command: str, **fields: str) -> dict[str, Any]:
        """Send an order to the control port; return its answer, or why there is none."""
        try:
            answer = await asyncio.to_thread(ask, command, self.control, ORDER_TIMEOUT_S, **fields)
        except (TimeoutError, ValueError, zmq.ZMQError) as error:
            return {"ok": False, "error": f"no answer from the control port ({error})"}
        return answer if isinstance(answer, dict) else {"ok": False, "error": "no map came back"}
