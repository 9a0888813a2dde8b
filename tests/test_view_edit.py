"""What can be set on the live page, in Chromium: areas, the exposure time; and what angles show."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_cases import MOUSE, moving, ok, opened, page_of, until
from conftest import free_ports
from playwright.sync_api import Browser, Page, expect
from programs import Program, running, wait_until
from view_cases import answers

from rtface.config import load_rig
from rtface.engine.bundle import load_bundle
from rtface.rules.gate import Whiskers, write_whiskers

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

AREAS = "bbox = [40, 60, 320, 240]  # as of May\n# mine\n"
#: the colour of the canvas where a px of the frame is drawn
COLOUR_AT = """([x, y]) => {
  const c = document.getElementById("picture"), s = window.rtface.shown, q = devicePixelRatio;
  const at = (v, edge) => Math.round((s[edge] + v * s.k) * q);
  return [...c.getContext("2d").getImageData(at(x, "left"), at(y, "top"), 1, 1).data].slice(0, 3);
}"""
MEAN = """() => {
  const c = document.getElementById("picture"), s = window.rtface.shown, q = s.k * devicePixelRatio;
  const d = c.getContext("2d").getImageData(s.left, s.top, 400 * q, 300 * q).data;
  let sum = 0;
  for (let i = 0; i < d.length; i += 4) sum += d[i];
  return sum / (d.length / 4);
}"""


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path
) -> Iterator[tuple[Program, str]]:
    """A run whose rig file has areas and comments, and its page."""
    folder, port = tmp_path_factory.mktemp("edit"), free_ports(1)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RTFACE_RING_DIR", str(tmp_path_factory.mktemp("rings")))
        words = ["--view", "--view-port", str(port)]
        box = "[camera.cam1.running]\nbox = [0, 400, 64, 64]\n"
        with running(
            folder, tiny_bundle, MOUSE + AREAS, extra=SIGNALS_BARE + box, words=words
        ) as run:
            wait_until(lambda: answers(port), 20)
            yield run, f"http://127.0.0.1:{port}/"


SIGNALS_BARE = "[camera.cam1.motion]\nbin = 8\ncomponents = 20\nfit_s = 600.0 # long\n"


def draft(page: Page) -> dict[str, list[list[int]]]:
    return page.evaluate("window.rtface.areas.draft")


def drag(page: Page, *places: tuple[float, float], up: bool = True) -> None:
    """Press at a place of the frame, px, move on over the others and let go, if ``up``."""
    box = page.locator("#picture").bounding_box()
    shown = page.evaluate("window.rtface.shown")
    assert box is not None
    for i, (x, y) in enumerate(places):
        page.mouse.move(
            box["x"] + shown["left"] + x * shown["k"], box["y"] + shown["top"] + y * shown["k"]
        )
        if i == 0:
            page.mouse.down()
    if up:
        page.mouse.up()


def scale(page: Page) -> float:
    """CSS px of a px of the frame."""
    return float(page.evaluate("window.rtface.shown.k"))


def near(found: list[int], wanted: list[int]) -> bool:
    """Within the px of the frame that a px of the screen is."""
    return bool(np.abs(np.subtract(found, wanted)).max() <= 2)


def test_areas_are_drawn_dragged_and_written(browser: Browser, rig: tuple[Program, str]) -> None:
    program, address = rig
    before = program.rig.read_text()
    with opened(browser, address) as page:
        moving(page)
        expect(page.locator("#edit")).to_be_enabled(timeout=10_000)
        page.locator("#picture").focus()
        page.keyboard.press("e")
        expect(page.locator("#areas")).to_be_visible()
        assert draft(page) == {
            "bbox": [[40, 60, 320, 240]],
            "roi": [],
            "running": [[0, 400, 64, 64]],
        }
        expect(page.locator("#area-text")).to_have_text("as in the rig file")
        expect(page.locator("#area-write")).to_be_disabled()
        # it stands where the file says, in white
        until(page, "window.rtface.settled")
        for x, y in ((40, 120), (360, 120), (120, 60), (120, 300)):
            assert min(page.evaluate(COLOUR_AT, [x, y])) > 200
        assert min(page.evaluate(COLOUR_AT, [25, 120])) < 200
        # the mouse: body, corner, edge; a click beside it takes nothing away
        drag(page, (200, 180), (230, 200), (260, 190))
        assert near(draft(page)["bbox"][0], [100, 70, 320, 240])
        drag(page, (420, 310), (470, 330))
        assert near(draft(page)["bbox"][0], [100, 70, 370, 260])
        drag(page, (100, 200), (80, 260))
        assert near(draft(page)["bbox"][0], [80, 70, 390, 260])
        drag(page, (600, 20))
        drag(page, (600, 20), (600 + 1 / scale(page), 20))  # nor does a hand that is not still
        drag(page, (600, 20), (600 + 2 / scale(page), 20 - 2 / scale(page)))
        assert near(draft(page)["bbox"][0], [80, 70, 390, 260])
        drag(page, (200, 180), (-500, 5000))  # it stays in the frame
        assert draft(page)["bbox"][0][:2] == [0, 480 - draft(page)["bbox"][0][3]]
        # the keyboard: move, resize; numbers
        for key in ["ArrowRight"] * 5 + ["ArrowUp"] * 30 + ["Shift+ArrowLeft", "Shift+ArrowUp"]:
            page.keyboard.press(key)
        left, top, _, height = draft(page)["bbox"][0]
        assert (left, top) == (5, 480 - height - 1 - 30)
        page.locator("#area-width").fill("333")
        page.wait_for_timeout(1500)  # a status comes every second, and leaves alone what is typed
        page.locator("#area-width").press("Enter")
        assert draft(page)["bbox"] == [[5, top, 333, height]]
        # a new area of motion: drawn, and one in the middle
        page.locator("#area").select_option("roi 0")
        drag(page, (500, 100), (560, 180), (580, 200))
        assert near(draft(page)["roi"][0], [500, 100, 80, 100])
        page.locator("#area").select_option("roi 1")
        page.locator("#area-new").click()
        assert draft(page)["roi"][1] == [160, 120, 320, 240]
        page.locator("#area-remove").click()
        page.locator("#area").select_option("running 0")
        expect(page.locator("#area-remove")).to_be_disabled()  # a treadmill needs its box
        page.locator("#area-lines-open").click()
        box, roi = draft(page)["bbox"][0], draft(page)["roi"]
        lines = f"[camera.cam1]\nbbox = {box}\n[camera.cam1.motion]\nroi = {roi}"
        expect(page.locator("#area-lines")).to_have_value(lines)
        page.locator("#area-write").click()
        ok(page, f"Written to {program.rig}. It counts from the next start")
        expect(page.locator("#area-text")).to_have_text("as in the rig file")
        written = program.rig.read_text()
        expected = before.replace("bbox = [40, 60, 320, 240]", f"bbox = {box}")
        expected = expected.replace(
            "fit_s = 600.0 # long\n", f"fit_s = 600.0 # long\nroi = {roi}\n"
        )
        assert written == expected
        assert "  # as of May\n# mine\n" in written
        assert program.rig.with_name(f"{program.rig.name}.bak").read_text() == before
        assert load_rig(program.rig).camera["cam1"].bbox == tuple(box)
        # what somebody else changed meanwhile is refused, and the lines are there to copy
        program.rig.write_text(written + "# somebody else\n")
        page.locator("#area-lines-open").click()
        expect(page.locator("#area-lines")).to_be_hidden()
        page.locator("#area-left").fill("9")
        page.locator("#area-left").press("Enter")
        page.locator("#area-write").click()
        ok(page, "was changed since this run began")
        expect(page.locator("#area-lines")).to_be_visible()
        assert program.rig.read_text() == written + "# somebody else\n"
        page.locator("#picture").focus()
        page.keyboard.press("e")
        expect(page.locator("#areas")).to_be_hidden()


def test_a_picture_is_dragged_and_arrows_step_while_nothing_is_edited(
    browser: Browser, rig: tuple[Program, str]
) -> None:
    with opened(browser, rig[1]) as page:
        moving(page)
        page.keyboard.press("+")
        page.keyboard.press("+")
        before = page.evaluate("window.rtface.shown.left")
        drag(page, (300, 200), (340, 200))
        until(page, f"window.rtface.shown.left > {before} + 10")
        assert page.evaluate("window.rtface.areas") == {
            "on": False, "draft": {}, "chosen": None,
            "saved": page.evaluate("window.rtface.areas.saved"),
        }  # fmt: skip


def test_a_paused_picture_keeps_its_shape_when_its_room_changes(
    browser: Browser, rig: tuple[Program, str]
) -> None:
    shape = """() => { const c = document.getElementById("picture");
        return (c.width / c.clientWidth) / (c.height / c.clientHeight); }"""
    with opened(browser, rig[1]) as page:
        moving(page)
        page.keyboard.press(" ")
        expect(page.locator("#past-text")).to_contain_text("before the last", timeout=20_000)
        for _ in range(2):  # the panel opens, and shuts
            page.keyboard.press("e")
            until(page, f"Math.abs(({shape})() - 1) < 0.01")
            page.wait_for_timeout(300)
            assert page.evaluate(shape) == pytest.approx(1, abs=0.01)


def test_e_in_a_drag_ends_the_drag(browser: Browser, rig: tuple[Program, str]) -> None:
    with opened(browser, rig[1]) as page:  # fails on whatever the page throws
        moving(page)
        expect(page.locator("#edit")).to_be_enabled(timeout=10_000)
        page.locator("#picture").focus()
        for begins in ((620, 20), (20, 420)):  # beside all areas, and in one
            page.keyboard.press("e")
            expect(page.locator("#areas")).to_be_visible()
            drag(page, begins, (580, 300), up=False)
            page.keyboard.press("e")
            expect(page.locator("#areas")).to_be_hidden()
            page.mouse.move(300, 300)
            page.mouse.up()
        # and the picture moves again
        page.keyboard.press("+")
        page.keyboard.press("+")
        until(page, "window.rtface.settled")
        before = page.evaluate("window.rtface.shown.left")
        drag(page, (300, 200), (340, 200))
        until(page, f"window.rtface.shown.left > {before} + 10")


@pytest.mark.parametrize("how", ["key", "button"])
def test_areas_can_be_left_when_the_run_is_gone(
    browser: Browser, tmp_path: Path, tiny_bundle: Path, how: str
) -> None:
    with (
        running(tmp_path, tiny_bundle, MOUSE + AREAS) as program,
        page_of(program) as address,
        opened(browser, address) as page,
    ):
        moving(page)
        edit = page.locator("#edit")
        expect(edit).to_be_enabled(timeout=10_000)
        edit.click()
        expect(page.locator("#areas")).to_be_visible()
        program.stop()
        expect(page.locator("#findings")).to_contain_text("No run answers", timeout=20_000)
        page.wait_for_timeout(1500)  # the next status
        expect(page.locator("#areas")).to_be_visible()  # the draft is still there to copy
        if how == "key":
            page.keyboard.press("e")
        else:
            edit.click(timeout=2000)
        expect(page.locator("#areas")).to_be_hidden()
        expect(edit).to_be_disabled()  # and there are none to edit


def test_exposure_is_set_and_confirmed(browser: Browser, rig: tuple[Program, str]) -> None:
    program, address = rig
    with opened(browser, address) as page:
        moving(page)
        field = page.locator("#exposure-us")
        expect(field).to_have_value("1000", timeout=10_000)
        page.wait_for_timeout(300)
        dark = page.evaluate(MEAN)
        page.locator("#picture").focus()
        page.keyboard.press("x")
        page.keyboard.type("2500.4")
        page.keyboard.press("Enter")
        ok(page, "Exposed for 2500 \u00b5s, the nearest to 2500.4")
        expect(field).to_have_value("2500")
        assert program.counts()["exposure"]["us"] == 2500.0
        until(page, f"({MEAN})() > 1.5 * {dark}")
        field.fill("20000")
        page.locator("#exposure-set").click()
        ok(page, "20000 us is not possible; at 100 Hz the camera takes 1 to 10000 us")
        assert program.counts()["exposure"]["us"] == 2500.0
        field.fill("1000")
        page.locator("#exposure-set").click()
        ok(page, "Exposed for 1000 \u00b5s.")
        until(page, f"({MEAN})() < 1.2 * {dark}")


RUN = """
import json, sys
from pathlib import Path
from rtface.config import load_rig
from rtface.run import run_rig
run_rig(load_rig(Path(sys.argv[1])), lambda: sys.stdin.closed, float(sys.argv[2]),
        on_start=lambda _: print("running", flush=True))
"""


def test_without_a_rig_file_the_lines_are_there_to_copy(
    browser: Browser, tmp_path: Path, tiny_bundle: Path
) -> None:
    # as of `rtface demo` and `rtface run --video`, on ports of its own
    control, data, status = free_ports(3)
    path = tmp_path / "rig.toml"
    path.write_text(
        f'[camera.cam1]\n{MOUSE}[engine]\nbundle = "{tiny_bundle}"\n[stream]\n'
        f"control_port = {control}\ndata_port = {data}\nstatus_port = {status}\n"
    )
    command = [sys.executable, "-c", RUN, str(path), "60"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(run.kill)
        assert run.stdout is not None
        assert run.stdout.readline() == "running\n"
        program = Anonymous(control)
        address = stack.enter_context(page_of(program))  # type: ignore[arg-type]
        page = stack.enter_context(opened(browser, address))
        moving(page)
        expect(page.locator("#edit")).to_be_enabled(timeout=10_000)
        page.locator("#edit").click()
        expect(page.locator("#area-text")).to_contain_text("has no rig file")
        page.locator("#area-new").click()
        expect(page.locator("#area-write")).to_be_disabled()
        page.locator("#area-lines-open").click()
        lines = "[camera.cam1]\nbbox = [160, 120, 320, 240]"
        expect(page.locator("#area-lines")).to_have_value(lines)


class Anonymous:
    """A run of which only its control port is known."""

    def __init__(self, control: int) -> None:
        self.control = control


def test_angles_of_whiskers_stand_on_the_picture(browser: Browser, tmp_path: Path) -> None:
    proof = Whiskers(100.0, 1.0, 1.0, 0.9, 9.0, load_bundle("default").sha256)
    write_whiskers(tmp_path / "whiskers.json", proof)
    with (
        running(tmp_path, "default", MOUSE + 'whiskers = "whiskers.json"\n') as program,
        page_of(program) as address,
        opened(browser, address) as page,
    ):
        moving(page)
        page.locator("#add").select_option("azimuth_rad")
        expect(page.locator("#lanes")).to_contain_text("azimuth, rad")
        page.keyboard.press(" ")
        expect(page.locator("#past-text")).to_contain_text("before the last", timeout=20_000)
        kept = page.evaluate("window.rtface.kept")
        page.locator("#scrub").fill(str(len(kept) - 1))
        until(page, f"window.rtface.shown.frame_seq === {kept[-1]}")
        page.locator("#picture").focus()
        checked = 0
        for _ in range(12):
            before = page.evaluate("window.rtface.shown.frame_seq")
            page.keyboard.press("ArrowLeft")
            until(page, f"window.rtface.shown.frame_seq < {before} && window.rtface.settled")
            values = page.evaluate("window.rtface.shown.values")
            told = dict(zip(page.evaluate("window.rtface.columns"), values, strict=True))
            if not math.isfinite(told["azimuth_rad"] or math.nan):
                continue
            base = np.array([told["azimuth.base.x"], told["azimuth.base.y"]])
            axis = told["azimuth.axis_rad"]
            angles = []
            for name in ("whisker(I)", "whisker(II)", "whisker(III)"):
                to = np.array([told[f"{name}.x"], told[f"{name}.y"]]) - base
                angle = told[f"azimuth.{name}_rad"]
                between = abs(math.remainder(math.atan2(to[1], to[0]) - axis, math.tau))
                assert angle == pytest.approx(between, abs=1e-3)
                angles.append(angle)
                # half way, and beyond the point; pixel centres at integers. The line is thin and
                # its edge is half the picture's, so one of three points across it has to be its own
                across = 0.7 * np.array([-to[1], to[0]]) / np.hypot(*to)
                for part in (0.55, 1.25):
                    points = [base + part * to + 0.5 + side * across for side in (-1, 0, 1)]
                    seen = [page.evaluate(COLOUR_AT, point.tolist()) for point in points]
                    yellow = [min(one[:2]) - one[2] for one in seen]
                    assert max(yellow) > 60, (name, part, seen)
            assert told["azimuth_rad"] == pytest.approx(np.mean(angles), abs=1e-4)
            checked += 1
        assert checked >= 4


def test_no_angle_is_shown_that_nobody_has_proved(
    browser: Browser, rig: tuple[Program, str]
) -> None:
    with opened(browser, rig[1]) as page:
        moving(page)
        assert not [n for n in page.evaluate("window.rtface.columns") if n.startswith("azimuth")]


# --- the page's own arithmetic ---

SPANS = """async ([ids, perPixel]) => {
  const { spansOf } = await import("/page/columns.js");
  const { Store } = await import("/page/store.js");
  const store = new Store(["x"], 100), n = ids.length;
  const times = new Float64Array(n * 5);
  ids.forEach((id, i) => { times.set([i, id / 100, id / 100, id / 100, id], 5 * i); });
  store.add(n, times, Float32Array.from(ids));
  return spansOf(store, 0, 0, 10, perPixel).spans.map((span) => [span[0], span[5]]);
}"""


def test_one_missing_frame_is_a_gap(browser: Browser, rig: tuple[Program, str]) -> None:
    with opened(browser, rig[1]) as page:
        moving(page)
        # one frame a column, 10 ms each; frame 7 never came
        ids = [5, 6, 8, 9, 10]
        spans = page.evaluate(SPANS, [ids, 0.0100001])
        assert [gap for _, gap in spans] == [True, False, True, False, False]
        # also within one column of pixels
        spans = page.evaluate(SPANS, [ids, 1.0])
        assert [gap for _, gap in spans] == [True, True]


def test_what_the_page_keeps_is_bounded_by_bytes(
    browser: Browser, rig: tuple[Program, str]
) -> None:
    sizes = """async (columns) => { const { Store } = await import("/page/store.js");
        const names = Array.from({ length: columns }, (_, i) => `c${i}`);
        const store = new Store(names, 500);
        return [store.capacity, store.times.byteLength + store.values.byteLength]; }"""
    with opened(browser, rig[1]) as page:
        moving(page)
        few, many = page.evaluate(sizes, 60), page.evaluate(sizes, 5000)
        assert few[0] == 500 * 60 + 256
        assert few[1] < 2**24
        assert many[0] > 500
        assert 0.9 * 2**26 < many[1] <= 2**26


def test_what_is_set_is_reached_by_the_keyboard(browser: Browser, rig: tuple[Program, str]) -> None:
    with opened(browser, rig[1]) as page:
        moving(page)
        expect(page.locator("#exposure")).to_be_visible(timeout=10_000)
        page.locator("#edit").press("Enter")
        page.locator("#area-lines-open").click()
        reached = set()
        for _ in range(90):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        wanted = {"area", "area-left", "area-height", "area-new", "area-lines", "area-lines-open"}
        assert wanted | {"edit", "exposure-us", "exposure-set"} <= reached
