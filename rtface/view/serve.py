"""The page's process: one event loop, one port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import NamedTuple
from urllib.parse import quote

import uvicorn

from rtface.platform import claim_port
from rtface.types import UserError
from rtface.view.access import Access, in_url, is_loopback
from rtface.view.hub import Hub
from rtface.view.link import RunLink
from rtface.view.server import MOST_MESSAGE, Page

#: the tracker goes first, and the recorder too
NICE = 10
#: how often ``stop`` is asked, s
STOP_LOOK_S = 0.05
#: connections that are answered at all, viewers among them
MOST_CONNECTIONS = 128


class Settings(NamedTuple):
    """How a page is served.

    Attributes
    ----------
    control : str
        Control port of the run.
    host, port : str, int
        Where browsers connect.
    token : str or None
        What is asked for from other machines; None: only this machine is served.
    rate_hz : float
        Pictures a second, at most.
    viewers : int
        Most pages at a time.
    """

    control: str
    host: str
    port: int
    token: str | None
    rate_hz: float
    viewers: int

    @property
    def address(self) -> str:
        """What to open in a browser on this machine, without the token."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http://{in_url(host)}:{self.port}/"

    @property
    def address_elsewhere(self) -> str:
        """What to open on another machine, with the token; HOST stands for this one's name."""
        host = "HOST" if self.host in ("", "0.0.0.0", "::") else in_url(self.host)
        return f"http://{host}:{self.port}/?token={quote(self.token or '', safe='')}"


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers: who started the process says when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def serve(settings: Settings, stop: Callable[[], bool], ready: Callable[[], None]) -> None:
    """Serve the page until ``stop`` says so; call ``ready`` once browsers can connect.

    Raises
    ------
    UserError
        The port cannot be opened.
    """
    if settings.token is None and not is_loopback(settings.host):
        raise ValueError("a page for other machines needs a token")
    listener = _bind(settings.host, settings.port)
    hub = Hub(RunLink(settings.control), settings.rate_hz, settings.viewers)
    server = _Server(
        uvicorn.Config(
            Page(hub, Access(settings.token)).app(),
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=MOST_MESSAGE,
            ws_ping_interval=10,
            ws_ping_timeout=20,
            ws_per_message_deflate=False,  # pictures are small already
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # who is on this machine is not for a header to say
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
    )

    async def serve_all() -> None:
        tasks = [asyncio.create_task(hub.link.follow()), asyncio.create_task(hub.run())]
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        ready()
        while not stop() and not any(task.done() for task in (*tasks, serving)):
            await asyncio.sleep(STOP_LOOK_S)
        server.should_exit = True
        await serving
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):  # a fault of ours: the process says it and ends
                raise end

    # zmq wants the loop that Windows does not have by default
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(serve_all())


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket, or say in one line why there is none."""
    listener = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        claim_port(listener)
        listener.bind(address)
    except OSError as error:
        if listener:
            listener.close()
        raise UserError(
            f"http://{in_url(host)}:{port}: cannot open the page's port "
            f"({error.strerror or error}, perhaps by another rtface); stop what uses it, or give "
            "another port"
        ) from None
    return listener
