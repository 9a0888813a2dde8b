"""What the live page costs the tracker, and how late a frame is on the screen.

The run is `rtface run` at 200 frames/s. First, without a network, so that the same harm would be a
larger part: blocks with ten viewers (one stalled, one slow) between blocks without, as
``tests/test_isolation.py`` measures them. Then with the network shipped, one page in headless
Chromium: pictures a second, and the time from a frame's delivery until it is drawn, by the page's
own clock, which is tuned to the run's; once a minute memory of the page (after what it dropped is
collected), of the browser's process that draws it and of the page's server: ``--rounds 0 --seconds
3600`` for an hour.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _report
from playwright.sync_api import Page, sync_playwright

sys.path.append(str(_report.ROOT / "tests"))  # the same measure as in the tests

from disturbers import RecordingSubscriber, Viewers, cpu_ns, ending, rss_mb
from programs import SYNTHETIC, Program, running, wait_until
from test_isolation import Meter, compare, show, summarise
from view_cases import answers

from rtface.cli.view import PORT

#: what is asked for: page, ms and pictures a second; tracker, ratio
LIMIT_MS, LEAST_HZ, LIMIT = 30.0, 30.0, 1.10


def cost(folder: Path, rounds: int) -> dict[str, Any]:
    """Return the tracker's figures with viewers against without."""
    found = []
    with running(folder, "default", runtime="null") as program:
        subscriber = RecordingSubscriber(folder, program.data)
        viewers, meter = Viewers(folder, program), Meter(program, subscriber)
        with ending(subscriber), contextlib.closing(viewers), contextlib.closing(meter):
            wait_until(lambda: subscriber.newest() is not None, 10)
            for _ in range(rounds):
                found.append(compare(meter, viewers))
        summary = summarise(found)
    show(f"ten viewers; {viewers.done[-1]} pictures/s", summary)
    return {"summary": summary, "pictures_per_s": viewers.done}


def used_mb(session: Any) -> float:
    """Return what the page's objects and buffers take, MB."""
    session.send("HeapProfiler.collectGarbage")
    told = session.send("Runtime.getHeapUsage")
    return float(told["usedSize"] + told["backingStorageSize"]) / 2**20


def renderer(page: Page) -> int:
    """Return the process that draws the page."""
    assert page.context.browser
    told = page.context.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    renderers = [one for one in told["processInfo"] if one["type"] == "renderer"]
    # a spare one may wait for a second page
    return int(max(renderers, key=lambda one: float(one["cpuTime"]))["id"])


def look(page: Page, program: Program, seconds: float) -> dict[str, Any]:
    """Return what one page sees in some seconds."""
    wait_until(lambda: page.evaluate("window.rtface?.drawn > 60"), 30)
    session = page.context.new_cdp_session(page)
    view = program.pid("view")

    drawer = renderer(page)

    def memory_mb() -> tuple[float, float, float]:
        return used_mb(session), rss_mb(drawer), rss_mb(view)

    memory, began_cpu = [memory_mb()], cpu_ns(view)
    drawn, began = page.evaluate("window.rtface.drawn"), time.monotonic()
    p50s, p99s = [], []
    while (passed := time.monotonic() - began) < seconds:
        if passed > 60 * len(memory):
            memory.append(memory_mb())
        page.wait_for_timeout(1000)
        latency = page.evaluate("window.rtface.latencyMs")
        p50s.append(latency["p50"])
        p99s.append(latency["p99"])
    passed = time.monotonic() - began
    return {
        "pictures_per_s": (page.evaluate("window.rtface.drawn") - drawn) / passed,
        "drawn_p50_ms": statistics.median(p50s),
        "drawn_p99_ms": statistics.median(p99s),
        "clock_error_ms": latency["clockError"],
        "memory_mb": [*memory, memory_mb()],
        "server_cpu_percent": (cpu_ns(view) - began_cpu) / passed / 1e7,
        "tracker_hz": program.counts()["n"],
    }


def screen(folder: Path, chromium: str, seconds: float) -> dict[str, Any]:
    """Return what Chromium shows of a run with the network shipped and the pupil."""
    extra = "[camera.cam1.pupil]\n"  # masks of motion would be fitted meanwhile
    with (
        running(
            folder, "default", SYNTHETIC.format(rate=200.0), extra=extra, words=["--view"]
        ) as run,
        sync_playwright() as playwright,
    ):
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        wait_until(lambda: answers(PORT), 20)
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{PORT}/")
        found = look(page, run, seconds)
        browser.close()
    return found


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="that the page is looked at")
    parser.add_argument(
        "--rounds", type=int, default=1, help="of five blocks with viewers; 0: none"
    )
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtface-bench-")))
        shm = Path("/dev/shm")
        rings = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
        os.environ["RTFACE_RING_DIR"] = stack.enter_context(rings)
        seen = screen(folder, chromium, 3.0 if args.quick else args.seconds)
        costs = cost(folder, args.rounds) if args.rounds and not args.quick else None
    row = {key: value for key, value in seen.items() if isinstance(value, float)}
    _report.table("One page in Chromium, 200 frames/s", [row])
    names = "page's objects", "process that draws it", "page's server"
    for name, values in zip(names, zip(*seen["memory_mb"], strict=True), strict=True):
        print(
            f"memory of the {name}, MB: {values[0]:.1f} at first, {values[-1]:.1f} at last, ",
            end="",
        )
        print(f"{max(values):.1f} at most, of {len(values)}")
    held = seen["drawn_p50_ms"] <= LIMIT_MS and seen["pictures_per_s"] >= LEAST_HZ
    if costs:
        summary = costs["summary"]
        ratios = [summary[key]["ratio"] for key in ("cpu_us_per_frame", "publish_p50_us")]
        held &= max(ratios) <= LIMIT
    print(f"{LEAST_HZ:.0f} pictures/s, {LIMIT_MS:.0f} ms, tracker within {LIMIT}: ", end="")
    print("holds" if held else "DOES NOT HOLD")
    _report.write("view", args, {"page": seen, "tracker": costs, "held": held})


if __name__ == "__main__":
    main()
