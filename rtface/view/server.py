"""HTTP and WebSocket of the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from rtface.types import UserError
from rtface.view.access import COOKIE, Access, Asked
from rtface.view.hub import Hub
from rtface.view.masks import masks_picture
from rtface.view.metrics import exposition
from rtface.view.orders import Desk

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: a viewer that does not take what is sent for so long is gone, s
SEND_TIMEOUT_S = 20.0
#: of a message from a page, bytes
MOST_MESSAGE = 16_384
#: WebSocket's codes for a peer that may not, that does not fit any more, that talks nonsense
FORBIDDEN, TOO_MANY, NONSENSE = 4003, 4029, 4000

HEADERS = {
    # nothing from elsewhere, nothing inline: a text that came with a stream is never run
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


#: what tells that somebody stands between; such a connection always comes from this machine
PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def asked_by(connection: HTTPConnection) -> Asked:
    """Return what a request says of where it comes from."""
    headers = connection.headers
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    tokens = [connection.query_params.get("token", ""), connection.cookies.get(COOKIE, "")]
    tokens.append(bearer if scheme.lower() == "bearer" else "")
    client = connection.client.host if connection.client else ""
    return Asked(
        client,
        headers.get("host", ""),
        headers.get("origin", ""),
        tuple(token for token in tokens if token),
        any(name in headers for name in PROXIES),
    )


class Gate:
    """Lets in who may look, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)  # a WebSocket decides for itself, with a code
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        request = Request(scope)
        if self._access.may_look(asked_by(request)):
            await self._app(scope, receive, send_with_headers)
        else:
            refused = PlainTextResponse(
                "rtface: this page needs its token: open the address that was printed when it "
                "was started, http://.../?token=...\n",
                403,
            )
            await refused(scope, receive, send_with_headers)


class Files(StaticFiles):
    """The page's files, of the types that they have.

    What a machine believes of endings (Windows: its registry) may be that a script is a text, and
    then no browser runs it.
    """

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file's answer."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        if known := TYPES.get(Path(full_path).suffix):
            answer.headers["content-type"] = known
        return answer


class Page:
    """The routes of one server."""

    def __init__(self, hub: Hub, access: Access) -> None:
        self._hub, self._access = hub, access
        self._pictures = 0
        #: by identity; the files are large, and many pages ask at once
        self._masks: dict[str, bytes | None] = {}
        self._reading = asyncio.Lock()

    def app(self) -> ASGIApp:
        """Return what uvicorn serves."""
        routes = [
            Route("/", self.index),
            Route("/metrics", self.metrics),
            Route("/masks/{camera}.png", self.masks),
            WebSocketRoute("/ws", self.socket),
            Mount("/page", Files(directory=PAGE)),
        ]
        return Gate(Starlette(routes=routes), self._access)

    async def index(self, request: Request) -> Response:
        """Return the page; a token in its address becomes a cookie."""
        token = request.query_params.get("token", "")
        if token and self._access.has_token(Asked("", "", tokens=(token,))):
            answer: Response = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, token, httponly=True, samesite="lax", path="/")
            return answer
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html")

    async def metrics(self, _request: Request) -> Response:
        """Return what Prometheus reads."""
        hub = self._hub
        pictures = self._pictures + sum(viewer.n_pictures for viewer in hub.viewers)
        lost = sum(source.lost for source in hub.sources.values())
        text = exposition(hub.heard_status(), len(hub.viewers), pictures, lost)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def masks(self, request: Request) -> Response:
        """Return the first masks of a camera's motion components, as a picture."""
        cameras = self._hub.link.status.get("cameras", {})
        counts = cameras.get(request.path_params["camera"], {})
        path, identity = counts.get("masks_file"), counts.get("masks")
        async with self._reading:
            if path and identity and identity not in self._masks:
                picture = await asyncio.to_thread(masks_picture, path, identity)
                self._masks = {**dict(list(self._masks.items())[-3:]), identity: picture}
        picture = self._masks.get(identity)
        if picture is None:
            return PlainTextResponse("no masks\n", 404)
        return Response(picture, media_type="image/png")

    async def socket(self, websocket: WebSocket) -> None:
        """Serve one viewer."""
        asked = asked_by(websocket)
        allowed = self._access.may_look(asked) and self._access.same_origin(asked)
        await websocket.accept()
        if not allowed:
            await websocket.close(FORBIDDEN, "this page needs its token")
            return
        try:
            viewer = self._hub.join()
        except UserError as error:
            await websocket.close(TOO_MANY, str(error)[:120])
            return
        desk = Desk(self._hub, viewer, self._access.local(asked))
        sending = asyncio.create_task(
            viewer.send_all(_within(websocket.send_text), _within(websocket.send_bytes))
        )
        listening = asyncio.create_task(_listen(websocket, desk))
        try:
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            desk.close()
            self._hub.leave(viewer)
            self._pictures += viewer.n_pictures
            for task in (sending, listening):
                task.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)
            # it may be gone already
            with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
                await websocket.close()


def _within(send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """Return a ``send`` that gives up on a peer that takes nothing."""

    async def limited(message: Any) -> None:
        await asyncio.wait_for(send(message), SEND_TIMEOUT_S)

    return limited


async def _listen(websocket: WebSocket, desk: Desk) -> None:
    """Take what a page says until it is gone or talks nonsense."""
    while True:
        try:
            message = json.loads(await websocket.receive_text())
            if not isinstance(message, dict):
                raise TypeError
        except WebSocketDisconnect:
            return
        except (ValueError, KeyError, TypeError, RecursionError):
            await websocket.close(NONSENSE, "not a JSON map")
            return
        await desk.take(message)
