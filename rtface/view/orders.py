"""What a viewer may ask for, checked; arming and the rig file are for this machine alone."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any

from rtface.rigfile import AREAS
from rtface.types import UserError
from rtface.view.hub import Hub
from rtface.view.viewer import Viewer

#: orders that are passed on as they are, and the texts each may bring
PASSED_ON: dict[str, tuple[str, ...]] = {
    "annotate": ("text",),
    "record": ("subject", "name"),
    "stop_record": (),
    "disarm": (),
    "exposure": ("camera", "us"),
    "write_rig": ("camera", *AREAS),
}
#: of these, what is done on this machine alone, and what may be done elsewhere
LOCAL = {
    "arm": "arming is possible only on the machine that runs rtface "
    "(open http://127.0.0.1 there); disarming works from anywhere",
    "write_rig": "the rig file is written only on the machine that runs rtface "
    "(open http://127.0.0.1 there); from here, copy the lines",
}
#: the second step of arming has to come within this time, s
ARM_WITHIN_S = 15.0


class Desk:
    """Takes what one viewer asks for and has it done.

    Parameters
    ----------
    local : bool
        Whether the viewer is on this machine: only then it may do what ``LOCAL`` names.
    """

    def __init__(self, hub: Hub, viewer: Viewer, local: bool) -> None:
        self._hub, self._viewer, self._local = hub, viewer, local
        self._key, self._key_until = "", 0.0
        self._pausing: asyncio.Task[None] | None = None

    async def take(self, message: Mapping[str, Any]) -> None:
        """Do what a message asks for and answer it; pages that misbehave get an error."""
        todo = message.get("do")
        if todo == "got":
            self._viewer.got(message.get("what") == "picture")
            return
        told: dict[str, Any] = {"reply": message.get("id")}
        if not isinstance(told["reply"], int | None):
            told["reply"] = None
        if not self._viewer.may_ask():
            self._viewer.answer({**told, "ok": False, "error": "too many requests within a second"})
            return
        if todo in ("pause", "go_on"):
            self.close()
        if todo == "pause":  # takes seconds: nobody's order to disarm waits for it
            self._pausing = asyncio.create_task(self._answer(told, todo, message))
        else:
            await self._answer(told, str(todo), message)

    def close(self) -> None:
        """Give up what takes long."""
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None

    async def _answer(self, told: dict[str, Any], todo: str, message: Mapping[str, Any]) -> None:
        try:
            self._viewer.answer({**told, "ok": True, **await self._done(todo, message)})
        except UserError as error:
            self._viewer.answer({**told, "ok": False, "error": str(error)})

    async def _done(self, todo: str, message: Mapping[str, Any]) -> dict[str, Any]:
        viewer, hub = self._viewer, self._hub
        if todo == "clock":
            return self._page_time()
        if todo == "watch":
            hub.watch(viewer, _text(message, "camera"))
        elif todo == "look":
            viewer.looking = message.get("on") is True
            viewer.rows_from(hub.sources.get(viewer.camera))
        elif todo == "pause":
            return {"frames": await hub.pause(viewer)}
        elif todo == "go_on":
            viewer.keep({})
        elif todo == "frame":
            self._show_past(message.get("frame_seq"))
        elif todo == "prepare_arm":
            return self._prepare_arm()
        elif todo == "arm":
            await self._arm(message)
        elif todo in PASSED_ON:
            if todo in LOCAL:
                self._refuse_elsewhere(todo)
            fields = {key: _text(message, key) for key in PASSED_ON[todo]}
            return await self._order(todo, {key: text for key, text in fields.items() if text})
        else:
            raise UserError(f"there is no {todo[:40]!r}")
        return {}

    def _page_time(self) -> dict[str, float]:
        """Return now as the times of rows have it."""
        source = self._hub.sources.get(self._viewer.camera)
        return {} if source is None else {
            "now_s": (time.perf_counter_ns() - source.t0_ns) * 1e-9,
            "run": source.run,
        }  # fmt: skip

    def _show_past(self, frame_seq: object) -> None:
        picture = self._viewer.past.get(frame_seq) if isinstance(frame_seq, int) else None
        if picture is None:
            raise UserError("this frame is not kept")
        self._viewer.show(picture)

    def _refuse_elsewhere(self, todo: str) -> None:
        if not self._local:
            raise UserError(LOCAL[todo])

    def _prepare_arm(self) -> dict[str, Any]:
        self._refuse_elsewhere("arm")
        self._key, self._key_until = secrets.token_hex(8), time.monotonic() + ARM_WITHIN_S
        return {"key": self._key, "within_s": ARM_WITHIN_S}

    async def _arm(self, message: Mapping[str, Any]) -> None:
        # only who took the first step, which asks for this machine, has a key
        key, self._key = self._key, ""
        if not key or message.get("key") != key:
            raise UserError("arming takes two steps; begin with the first")
        if time.monotonic() > self._key_until:
            raise UserError(f"not confirmed within {ARM_WITHIN_S:.0f} s; begin again")
        seconds = _text(message, "seconds")
        if not seconds:
            raise UserError("say for how many seconds")
        await self._order("arm", {"seconds": seconds})

    async def _order(self, command: str, fields: dict[str, str]) -> dict[str, Any]:
        """Have the control port do it; return what it answered."""
        answer = await self._hub.link.order(command, **fields)
        if answer.get("ok") is not True:
            raise UserError(str(answer.get("error") or "refused without a reason"))
        return {key: value for key, value in answer.items() if key not in ("ok", "reply")}


def _text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key, "")
    if not isinstance(value, str):
        raise UserError(f"{key} has to be a text")
    return value
