"""The live page in a real browser: headless Chromium, in front of real runs."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_cases import MOUSE, SIGNALS, moving, ok, opened, page_of, until
from conftest import free_ports, make_bundle
from playwright.sync_api import Browser, Page, expect
from programs import Program, only_session, running, wait_until
from view_cases import answers

import rtface
from rtface.camera.truth import SyntheticTruth

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

RULE = (
    '[output.laser]\nkind = "dry"\n[rule.puff]\nwhen = "z(motion_energy.full, 2 s) > 1 sd"\n'
    'output = "laser"\npulse_ms = 5.0\n[loop]\narm_s = 600.0\n'
)
ON_COMMAND = (
    '[record]\nfolder = "rec"\nstart = "command"\nvideo = "none"\n'
    "warn_free_mb = 2\nstop_free_mb = 1\n"
)
#: what the tests ask of the canvas: a sum that changes with the picture; where a colour is
CHECKSUM = """() => {
  const c = document.getElementById("picture");
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let sum = 0;
  for (let i = 0; i < d.length; i += 4) sum = (sum * 31 + d[i]) | 0;
  return sum;
}"""
CENTRE = """([r, g, b]) => {
  const c = document.getElementById("picture"), ratio = window.devicePixelRatio;
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let n = 0, x = 0, y = 0;
  for (let i = 0; i < d.length; i += 4) {
    if (Math.abs(d[i] - r) + Math.abs(d[i + 1] - g) + Math.abs(d[i + 2] - b) > 24) continue;
    n++; x += (i / 4) % c.width; y += Math.floor(i / 4 / c.width);
  }
  return n ? { n, x: (x / n + 0.5) / ratio, y: (y / n + 0.5) / ratio } : { n };
}"""
MOUTH, LOWERLIP = [0xE8, 0x74, 0x3B], [0xE0, 0x8F, 0xC0]


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, str]]:
    """One run of the synthetic mouse with everything, recorded on command, and its page."""
    folder, port = tmp_path_factory.mktemp("mouse"), free_ports(1)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTFACE_RING_DIR", str(tmp_path_factory.mktemp("rings")))
        words = ["--view", "--view-port", str(port)]
        extra = SIGNALS + RULE + ON_COMMAND
        with running(folder, "default", MOUSE, extra=extra, words=words) as program:
            wait_until(lambda: answers(port), 20)
            yield program, f"http://127.0.0.1:{port}/"


# --- looking ---


def test_the_page_loads_and_shows_moving_video(
    browser: Browser, mouse: tuple[Program, str]
) -> None:
    with opened(browser, mouse[1]) as page:
        moving(page)
        sums: set[int] = set()
        deadline = time.monotonic() + 20
        while len(sums) < 4:
            sums.add(page.evaluate(CHECKSUM))
            page.wait_for_timeout(60)
            assert time.monotonic() < deadline, "the picture does not move"
        sentence = page.locator("#sentence-text")
        expect(sentence).to_contain_text("Tracking 16 points of the face, motion and the pupil")
        expect(sentence).to_contain_text("ms after each frame")
        expect(page.locator("#legend")).to_contain_text("whisker")
        expect(page.locator(".lane")).to_have_count(6)  # five signals and a rule
        expect(page.locator("#age99")).to_contain_text("99 of 100 within")
        expect(page.locator("#ledger div")).not_to_have_count(0)
        before = page.evaluate("window.rtface.drawn")
        until(page, f"window.rtface.drawn > {before} + 20")
        latency = page.evaluate("window.rtface.latencyMs")
        assert 0 < latency["p50"] < 1000, latency  # the machine may be busy


def test_components_and_masks_come(browser: Browser, mouse: tuple[Program, str]) -> None:
    with opened(browser, mouse[1]) as page:
        moving(page)
        masks = page.locator("#masks")
        expect(masks).to_be_visible(timeout=30_000)
        until(page, "document.getElementById('masks').naturalWidth > 500")
        until(
            page,
            """() => { const c = document.getElementById("heat");
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let red = 0, blue = 0;
            for (let i = 0; i < d.length; i += 4) {
              red += d[i] > d[i + 2] + 30; blue += d[i + 2] > d[i] + 30; }
            return red > 50 && blue > 50; }""",
        )


def drawn_at(page: Page, colour: list[int]) -> np.ndarray:
    """Where the dot of a colour is, px of the frame, by its pixels on the screen."""
    found, shown = page.evaluate(CENTRE, colour), page.evaluate("window.rtface.shown")
    assert found["n"] > 20, f"{colour} is not there: {shown}"
    # pixel centres at integers: the corner of the picture is half a pixel before the first
    corner = np.array([shown["left"], shown["top"]])
    return (np.array([found["x"], found["y"]]) - corner) / shown["k"] - 0.5


def test_keypoints_are_drawn_where_the_mouse_has_them(
    browser: Browser, mouse: tuple[Program, str]
) -> None:
    truth = SyntheticTruth(640, 480, 100.0, 7)
    with rtface.subscribe("cam1", mouse[0].data) as stream:
        names = stream.meta()["keypoints"]
    with opened(browser, mouse[1]) as page:
        moving(page)
        page.keyboard.press(" ")
        expect(page.locator("#past-text")).to_contain_text("before the last", timeout=20_000)
        checked = 0
        steps = ["ArrowLeft"] * 4 + ["Shift+ArrowLeft"] * 4 + ["f"] + ["ArrowRight"] * 4
        for key in steps:
            before = page.evaluate("window.rtface.shown.frame_seq")
            page.keyboard.press(key)
            if key != "f":
                until(page, f"window.rtface.shown.frame_seq !== {before}")
            until(page, "window.rtface.settled")
            shown = page.evaluate("window.rtface.shown")
            true = truth.at(int(shown["frame_id"])).keypoints
            for name, colour in (("mouth", MOUTH), ("lowerlip", LOWERLIP)):
                row = names.index(name)
                told = np.array(shown["values"][3 * row : 3 * row + 3])
                if not told[2] >= 0.9:
                    continue  # not opaque: its colour is mixed with the picture's; NaN: not tracked
                at = drawn_at(page, colour)
                assert np.hypot(*(at - told[:2])) < 1.0
                assert np.hypot(*(at - true[truth.names.index(name)])) < 5.0
                checked += 1
        assert checked >= 4


def test_the_picture_is_the_frame_and_zoom_keeps_both_together(
    browser: Browser, mouse: tuple[Program, str]
) -> None:
    # the pupil of the synthetic mouse is darker or brighter than the iris, wherever it is zoomed
    truth = SyntheticTruth(640, 480, 100.0, 7)
    darkness = """([x, y, r]) => { const c = document.getElementById("picture");
      const s = window.rtface.shown, q = window.devicePixelRatio;
      const at = (v, edge) => Math.round((s[edge] + (v + 0.5) * s.k) * q);
      const right = at(x, "left") + r * s.k * q;
      return c.getContext("2d").getImageData(right, at(y, "top"), 1, 1).data[0]; }"""
    with opened(browser, mouse[1]) as page:
        moving(page)
        page.keyboard.press(" ")
        expect(page.locator("#past-text")).to_contain_text("before the last", timeout=20_000)
        box = page.locator("#picture").bounding_box()
        assert box is not None
        open_eyes = 0
        for _ in range(40):
            state = truth.at(int(page.evaluate("window.rtface.shown.frame_id")))
            if state.pupil_area_px2 > 100:
                x, y = state.pupil_px.tolist()
                radius = float(np.sqrt(state.pupil_area_px2 / np.pi))
                for zoom in ("0", "+", "+"):
                    page.keyboard.press(zoom)
                    page.wait_for_timeout(60)
                    inside = page.evaluate(darkness, [x, y, 0.35 * radius])
                    outside = page.evaluate(darkness, [x, y, 1.6 * radius])
                    assert abs(inside - outside) > 20, (inside, outside)
                open_eyes += 1
            if open_eyes == 2:
                break
            page.keyboard.press("Shift+ArrowLeft")
            page.wait_for_timeout(80)
        assert open_eyes == 2


def test_pause_stands_still_steps_and_goes_on(browser: Browser, mouse: tuple[Program, str]) -> None:
    with opened(browser, mouse[1]) as page:
        moving(page)
        page.locator("#pause").click()
        expect(page.locator("#past-text")).to_contain_text("before the last", timeout=20_000)
        still, rows = page.evaluate(CHECKSUM), page.evaluate("window.rtface.rows")
        page.wait_for_timeout(500)
        assert page.evaluate(CHECKSUM) == still
        assert page.evaluate("window.rtface.rows") > rows  # the run goes on behind it
        frames = [page.evaluate("window.rtface.shown.frame_seq")]
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
            until(page, f"window.rtface.shown.frame_seq < {frames[-1]}")
            frames.append(page.evaluate("window.rtface.shown.frame_seq"))
        # one by one of what was kept; a busy machine loses some of the ring's oldest
        kept = page.evaluate("window.rtface.kept")
        at = next((i for i, frame in enumerate(kept) if frame >= frames[0]), len(kept) - 1)
        assert frames[1:] == kept[at - 3 : at][::-1]
        assert len(kept) > 50
        page.locator("#scrub").fill("0")
        until(page, f"window.rtface.shown.frame_seq === {kept[0]}")
        page.locator("#picture").focus()
        page.keyboard.press(" ")
        until(page, f"window.rtface.shown.frame_seq > {frames[0]}")
        assert not page.evaluate("window.rtface.paused")


def test_a_snapshot_is_a_png_of_what_is_seen(browser: Browser, mouse: tuple[Program, str]) -> None:
    with opened(browser, mouse[1]) as page:
        moving(page)
        with page.expect_download() as download:
            page.keyboard.press("s")
        assert re.fullmatch(r"rig-cam1-frame\d+\.png", download.value.suggested_filename)
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


# --- ordering ---


def test_recording_and_remarks_are_confirmed(browser: Browser, mouse: tuple[Program, str]) -> None:
    program, address = mouse
    with opened(browser, address) as page:
        moving(page)
        expect(page.locator("#annotate")).to_be_disabled()  # nothing is recorded yet
        page.locator("#subject").fill("m/12")
        page.locator("#record").click()
        ok(page, "subject may hold letters")  # the control port's own words
        page.locator("#subject").fill("m12")
        page.locator("#record").click()
        ok(page, "Recording")
        expect(page.locator("#badge-rec")).to_have_text("REC", timeout=10_000)
        page.keyboard.press("Escape")
        page.locator("#picture").focus()
        page.keyboard.press("a")
        page.keyboard.type("drop of <b>milk</b>")
        page.keyboard.press("Enter")
        ok(page, "Noted: drop of <b>milk</b>")
        page.locator("#record").click()
        ok(page, "The recording ends")
        expect(page.locator("#badge-rec")).to_have_text("not recording", timeout=10_000)
    with rtface.open_session(only_session(program.rig.parent)) as session:
        remarks = [event.fields["text"] for event in session.events if event.kind == "annotation"]
    assert remarks == ["drop of <b>milk</b>"]


def test_arming_takes_two_steps_and_disarming_one(
    browser: Browser, mouse: tuple[Program, str]
) -> None:
    program, address = mouse

    def armed() -> bool:
        return bool(program.counts()["loop"]["armed"])

    with opened(browser, address) as page:
        moving(page)
        expect(page.locator("#loop")).to_have_text("disarmed")
        page.locator("#arm").click()
        page.locator("#arm-cancel").click()
        assert not armed()
        page.locator("#arm").click()
        page.locator("#arm-seconds").fill("100000")
        page.locator("#arm-now").click()
        ok(page, "at most loop.arm_s")
        page.locator("#arm").click()
        page.locator("#arm-seconds").fill("300")
        page.locator("#arm-now").click()
        ok(page, "Armed for 300 s")
        expect(page.locator("#badge-arm")).to_have_text("armed, dry", timeout=10_000)
        assert armed()
        page.locator("#picture").focus()
        page.keyboard.press("d")
        ok(page, "Disarmed")
        expect(page.locator("#badge-arm")).to_have_text("disarmed", timeout=10_000)
        assert not armed()
        # triggers stand where they fired
        until(page, "document.querySelector('.lane:last-child .value').textContent.length > 0")


# --- what may go wrong ---


def test_the_page_goes_on_with_the_next_run(
    browser: Browser, tmp_path: Path, tiny_bundle: Path
) -> None:
    with (
        running(tmp_path, tiny_bundle, MOUSE) as program,
        page_of(program) as address,
        opened(browser, address) as page,
    ):
        moving(page)
        first = page.evaluate("window.rtface.run")
        assert program.stop()[0] == 0
        expect(page.locator("#dot")).to_have_class("bad", timeout=10_000)
        expect(page.locator("#findings")).to_contain_text(re.compile("ended|No run answers"))
        program.start()
        program.until_running()
        until(page, f"window.rtface.run !== {first}")
        moving(page)
        expect(page.locator("#dot")).not_to_have_class("bad", timeout=10_000)


def test_a_page_whose_server_dies_says_so_and_comes_back(
    browser: Browser, tmp_path: Path, tiny_bundle: Path
) -> None:
    port = free_ports(1)[0]
    words = ["--view", "--view-port", str(port)]
    with running(tmp_path, tiny_bundle, MOUSE, words=words) as program:
        address = f"http://127.0.0.1:{port}/"
        wait_until(lambda: answers(port), 20)
        with opened(browser, address, quiet=False) as page:
            moving(page)
            assert program.stop()[0] == 0
            expect(page.locator("#sentence-text")).to_contain_text("lost its connection")
            program.start()
            program.until_running()
            expect(page.locator("#sentence-text")).to_contain_text("Tracking", timeout=20_000)


def test_texts_of_a_stream_are_texts(browser: Browser, tmp_path: Path) -> None:
    hostile = ["<img src=x onerror=window.hacked=1>", "nose(tip)<script>window.hacked=1</script>"]
    bundle = make_bundle(tmp_path / "bundle", hostile)
    with (
        running(tmp_path, bundle, MOUSE) as program,
        page_of(program) as address,
        opened(browser, address) as page,
    ):
        moving(page)
        page.keyboard.press("n")
        page.locator("#add").select_option(f"{hostile[0]}.x")
        expect(page.locator("#lanes")).to_contain_text("<img src=x onerror=")
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        assert page.locator("#lanes img, #legend img, #lanes script").count() == 0


def test_one_viewer_too_many_is_told(browser: Browser, tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, MOUSE) as program, contextlib.ExitStack() as stack:
        address = stack.enter_context(page_of(program, "--viewers", "1"))
        moving(stack.enter_context(opened(browser, address)))
        second = stack.enter_context(opened(browser, address))
        expect(second.locator("#findings")).to_contain_text("1 viewers are connected")


def test_everything_is_reached_by_the_keyboard(
    browser: Browser, mouse: tuple[Program, str]
) -> None:
    with opened(browser, mouse[1]) as page:
        moving(page)
        page.locator("#trail").click()  # a button that is pressed may be pressed again
        page.evaluate("document.activeElement.blur()")
        reached = set()
        for _ in range(70):
            page.keyboard.press("Tab")
            told = page.evaluate(
                """() => { const e = document.activeElement;
                return [e.id, getComputedStyle(e).outlineStyle, e === document.body]; }"""
            )
            if not told[2]:
                assert told[1] != "none", f"{told[0]} does not show that it has the focus"
                reached.add(told[0])
        wanted = page.evaluate(
            """() => [...document.querySelectorAll("button, select, input, canvas[tabindex]")]
            .filter((e) => !e.disabled && e.checkVisibility() && e.id).map((e) => e.id)"""
        )
        assert len(wanted) > 12
        assert set(wanted) <= reached, set(wanted) - reached
        page.locator("#picture").focus()
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#help")).not_to_be_visible()


def test_the_page_keeps_its_size(browser: Browser, mouse: tuple[Program, str]) -> None:
    with opened(browser, mouse[1]) as page:
        moving(page)
        session = page.context.new_cdp_session(page)

        def used_mb() -> float:
            session.send("HeapProfiler.collectGarbage")
            told = session.send("Runtime.getHeapUsage")
            # what arrives stands outside the heap of JavaScript's own objects
            return float(told["usedSize"] + told["backingStorageSize"]) / 2**20

        page.wait_for_timeout(6000)
        first = used_mb()
        began = time.monotonic()
        page.wait_for_timeout(12_000)
        assert time.monotonic() - began > 10
        grown = used_mb() - first
        # 12 s of pictures are about 10 MB, of rows 2 MB
        assert grown < 2.0, f"{grown:.2f} MB more after 12 s"
