"""The live page in Chromium: opened, waited for, and served in front of real runs."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from conftest import free_ports
from playwright.sync_api import Browser, Page, expect
from programs import RTFACE, Program

MOUSE = 'kind = "synthetic"\nwidth = 640\nheight = 480\nrate_hz = 100.0\nseed = 7\n'
SIGNALS = "[camera.cam1.motion]\nbin = 8\ncomponents = 20\nfit_s = 3.0\n[camera.cam1.pupil]\n"


@contextlib.contextmanager
def page_of(program: Program, *options: str) -> Iterator[str]:
    """`rtface view` of a run, in a process of its own."""
    port = free_ports(1)[0]
    command = [RTFACE, "view", "--port", str(port), *options]
    view = subprocess.Popen(
        [*command, "--control", f"tcp://127.0.0.1:{program.control}"], stderr=subprocess.PIPE
    )
    try:
        assert view.stderr is not None
        assert b"see it at" in view.stderr.readline()
        yield f"http://127.0.0.1:{port}/"
    finally:
        view.terminate()
        _, err = view.communicate(timeout=10)
        assert view.returncode == 0
        assert b"Traceback" not in err, err


@contextlib.contextmanager
def opened(browser: Browser, address: str, quiet: bool = True, **options: Any) -> Iterator[Page]:
    """Open the page; whatever it complains of in its console fails the test, if ``quiet``."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text)
            if said.type in ("error", "warning") and "willReadFrequently" not in said.text  # ours
            else None
        ),
    )
    page.on("requestfailed", lambda request: complaints.append(f"{request.url} failed"))
    # nothing but this machine may be asked for anything
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "blob:", "data:", "ws:"))
        else complaints.append(f"asked for {asked.url}"),
    )  # fmt: skip
    try:
        page.goto(address)
        yield page
        if quiet:
            assert complaints == []
    finally:
        context.close()


def until(page: Page, expression: str, timeout_s: float = 20.0) -> None:
    """Wait until an expression holds (Playwright's own way is against the page's policy)."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression}: not within {timeout_s} s"
        page.wait_for_timeout(30)


def moving(page: Page) -> None:
    """Wait until pictures come."""
    until(page, "window.rtface?.drawn > 5 && window.rtface.rows > 20")


def ok(page: Page, text: str) -> None:
    expect(page.locator("#said")).to_contain_text(text, timeout=10_000)
