"""Take the pictures of the live page that stand in docs/view.md, each of a real run.

    python docs/make_page_pictures.py        # docs/pictures/view-*.webp; needs Chromium
    python docs/make_page_pictures.py areas no_run

Rates are low so that a small machine draws, tracks and shows at the same time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from rtface.engine.bundle import load_bundle
from rtface.rules.gate import FORMAT, Whiskers

#: a rig with areas, and whiskers of which it is said that they are tracked well
RIG = """\
[camera.cam1]
kind = "synthetic"
width = 640
height = 480
rate_hz = 25.0
seed = 7
bbox = [20, 20, 560, 430]
whiskers = "whiskers.json"
[camera.cam1.motion]
bin = 8
components = 50
fit_s = 4.0
roi = [[150, 180, 200, 150]]
[camera.cam1.pupil]
"""
OUT = Path(__file__).parent / "pictures"
RTFACE = Path(sys.executable).parent / "rtface"
PORT = 8799
SIZE = {"width": 1440, "height": 900}


@contextlib.contextmanager
def page_of(browser: Browser, *words: str) -> Iterator[Page]:
    """Run rtface with a page and open it."""
    program = subprocess.Popen(
        [RTFACE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    try:
        for _ in range(300):
            try:
                page.goto(f"http://127.0.0.1:{PORT}/")
                break
            except Exception:  # noqa: BLE001 - not there yet
                time.sleep(0.1)
        yield page
    finally:
        context.close()
        program.terminate()
        program.wait(30)


def until(page: Page, expression: str) -> None:
    """Wait for at most three minutes."""
    for _ in range(1800):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise SystemExit(f"{expression}: not within three minutes")


QUIET = "document.querySelectorAll('#findings li').length === 0"
LOSSES = "document.getElementById('findings').textContent.includes('passed over')"


def take(page: Page, name: str, when: str = "true") -> None:
    """Write docs/pictures/view-NAME.webp as soon as a condition holds."""
    OUT.mkdir(exist_ok=True)
    until(page, when)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").resize((1200, 750), Image.Resampling.LANCZOS)
        small.save(OUT / f"view-{name}.webp", quality=78, method=6)


def proof() -> dict[str, object]:
    """Return what `rtface calibrate whiskers` writes of whiskers that are tracked well."""
    good = Whiskers(100.0, 1.0, 1.0, 0.9, 9.0, load_bundle("default").sha256)
    return {"format": FORMAT, **good._asdict()}


DEMO = ("demo", "--view-port", str(PORT))


def live_and_paused(browser: Browser, folder: Path) -> None:
    words = (*DEMO, "--rate", "25", "--record", str(folder), "--subject", "m12")
    with page_of(browser, *words) as page:
        until(page, "document.getElementById('masks').naturalWidth > 0")
        page.wait_for_timeout(11_000)
        take(page, "live", QUIET)
        for key in (" ", "f", "n", "t"):
            page.keyboard.press(key)
        until(page, "window.rtface.kept.length > 0")
        for _ in range(12):
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(60)
        page.wait_for_timeout(500)
        take(page, "paused", QUIET)


def areas(browser: Browser, folder: Path) -> None:
    rig = folder / "rig.toml"
    rig.write_text(RIG)
    (folder / "whiskers.json").write_text(json.dumps(proof()))
    with page_of(browser, "run", str(rig), "--view", "--view-port", str(PORT)) as page:
        until(page, "window.rtface?.drawn > 60")
        page.keyboard.press("e")
        page.locator("#area").select_option("roi 0")
        page.locator("#area-width").fill("220")
        page.locator("#area-lines-open").click()
        page.wait_for_timeout(9_000)
        take(page, "areas", QUIET)


def armed(browser: Browser, _folder: Path) -> None:
    with page_of(browser, *DEMO, "--rate", "25", "--closed-loop") as page:
        until(page, "document.getElementById('badge-arm').textContent === 'ARMED'")
        page.wait_for_timeout(25_000)
        take(page, "armed", QUIET)


def trouble(browser: Browser, _folder: Path) -> None:
    with page_of(browser, *DEMO, "--rate", "600") as page:
        until(page, LOSSES)
        page.wait_for_timeout(7_000)
        take(page, "trouble", LOSSES)


def no_run(browser: Browser, _folder: Path) -> None:
    words = ("view", "--port", str(PORT), "--control", "tcp://127.0.0.1:9")
    with page_of(browser, *words) as page:
        until(page, "document.querySelectorAll('#findings li').length > 0")
        take(page, "no-run")


STATES = (live_and_paused, areas, armed, trouble, no_run)


def main() -> None:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=options)
        for state in STATES:
            if not sys.argv[1:] or state.__name__ in sys.argv[1:]:
                state(browser, Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
