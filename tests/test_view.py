"""The live page's parts, and the server against those who should not get in."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import mimetypes
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest
from view_cases import TOKEN, PageLike, get, read_picture, read_rows, serving
from websockets.exceptions import ConnectionClosed

from rtface.rules.expression import compile_text
from rtface.rules.functions import Sight
from rtface.rules.gate import Whiskers, about_whiskers, write_whiskers
from rtface.rules.layout import layout_of
from rtface.rules.signals import Known
from rtface.types import BBox, CameraInfo, Ledger, Pose, Result, UserError
from rtface.view import hub, packet, server, source
from rtface.view.access import Access, Asked, host_name, make_token
from rtface.view.judge import judge
from rtface.view.metrics import exposition
from rtface.view.orders import Desk
from rtface.view.picture import JpegEncoder
from rtface.view.serve import Settings, serve
from rtface.view.server import MOST_MESSAGE
from rtface.view.viewer import PICTURES_AHEAD, Viewer
from rtface.view.whiskers import WhiskerAngles

META: dict[str, Any] = {
    "session": "0" * 16,
    "keypoints": ["nose(tip)", "<img src=x onerror=alert(1)>"],
    "signals": {"motion_energy": 2, "motion": 5, "running": 4, "brightness": 1, "pupil": 20},
    "motion": {"areas": [{"name": "full", "motion": 3, "movie": 0}, {"name": "roi1", "motion": 2}]},
    "pupil": {"fields": [f"field{i}" for i in range(20)]},
}


def result(frame_seq: int = 5) -> Result:
    ns = 1_000_000_000
    t = 100 * ns
    keypoints = np.float32([[1, 2, 0.5], [3, 4, 0.25]])
    ledger = Ledger(
        frame_seq, 0, frame_seq, None, t, t + 1_000_000, t + 3_000_000, t + 6_000_000,
        t + 10_000_000, t + 10_000_000, t + 10_500_000, t - 2_000_000, 1_500_000, 1, 0, 0, 9,
    )  # fmt: skip
    signals = {name: np.arange(n, dtype=np.float32) + 100 for name, n in META["signals"].items()}
    return Result(frame_seq, ledger, Pose(keypoints, BBox(7, 8, 90, 60)), signals)


def test_a_row_has_what_its_columns_say() -> None:
    columns = packet.columns(META)
    times, values = packet.row_of(result(), 99_000_000_000)
    assert len(values) == len(columns) == len(set(columns))
    told = dict(zip(columns, values.tolist(), strict=True))
    assert times == pytest.approx([5, 0.998, 1.0, 1.0105, 5])
    assert told["nose(tip).y"] == 2
    assert told["<img src=x onerror=alert(1)>.score"] == 0.25
    assert (told["crop.left"], told["crop.height"], told["flags"]) == (7, 60, 9)
    assert told["exposure_err_ms"] == 1.5
    stages = [told[f"stage.{name}"] for name in packet.STAGES]
    assert stages == pytest.approx([1, 2, 3, 4, 0, 0.5])
    assert (told["motion_energy.roi1"], told["motion.roi1[1]"]) == (101, 104)
    assert (told["running.dx"], told["brightness"], told["pupil.field3"]) == (101, 100, 103)


def test_signals_that_nobody_described_are_numbered() -> None:
    meta = {**META, "motion": None, "pupil": None}
    columns = packet.columns(meta)
    assert {"motion_energy[1]", "motion[4]", "pupil[19]"} <= set(columns)
    assert len(packet.row_of(result(), 0)[1]) == len(columns)


def test_the_last_rows_are_kept_and_travel_whole() -> None:
    rows = packet.Rows(4, 2)
    for i in range(6):
        rows.add([i] * packet.N_TIMES, np.float32([i, 10 * i]))
    assert (rows.count, rows.oldest) == (6, 2)
    times, values = read_rows(packet.rows_message(3, *rows.part(0, rows.count)), 2)
    assert times[:, 0].tolist() == [2, 3, 4, 5]
    assert values.tolist() == [[2, 20], [3, 30], [4, 40], [5, 50]]
    assert rows.row_bytes == 5 * 8 + 2 * 4


def test_angles_of_whiskers_are_those_of_rules() -> None:
    names = ["nose(tip)", "eye(front)", "mouth", "whisker(I)", "whisker(II)"]
    assert about_whiskers("cam1", None, "m", names) is None
    about = {
        "base": "mouth", "points": ["whisker(I)", "whisker(II)"],
        "axis": ["nose(tip)", "eye(front)"], "least_score": 0.3,
    }  # fmt: skip
    meta = {**META, "keypoints": names, "whiskers": about}
    angles = WhiskerAngles(meta)
    known = Known(names, layout_of({}), min_score=0.3, no_whisking="")
    rule = compile_text("azimuth(mouth, whisker(I), whisker(II))", known)
    sight, rng = Sight(), np.random.default_rng(3)
    for i in range(50):
        points = np.concatenate([rng.uniform(0, 400, (5, 2)), np.ones((5, 1))], 1)
        points[4, 2] = 0.2 if i % 5 == 4 else 1.0  # below the score: not known
        one = result()
        ledger = one.ledger._replace(exposure_ns=one.ledger.exposure_ns + 10_000_000 * i)
        told = angles(Result(i, ledger, Pose(points.astype(np.float32)), {}))
        sight.t_s = ledger.exposure_ns * 1e-9
        sight.points = points.astype(np.float32).tolist()
        assert told[0] == pytest.approx(rule.read(sight), nan_ok=True, rel=1e-6)
        assert np.isnan(told).all() == (i % 5 == 4)
        if i % 5 != 4:
            assert told[0] == pytest.approx(told[1:3].mean(), rel=1e-6)
    # by hand: straight ahead of the base, at right angles to the axis, back along it
    for at, angle in (((0, 100), 180.0), ((50, 50), 90.0), ((100, 100), 0.0)):
        fresh = WhiskerAngles({**meta, "whiskers": {**about, "points": ["whisker(I)"]}})
        told = fresh(posed([(0, 100), (100, 100), (50, 100), at, (9, 9)]))
        assert np.rad2deg(told[:2]) == pytest.approx([angle, angle], abs=1e-4)
        assert told[2:] == pytest.approx([50, 100, 0])
    assert angles.columns[:3] == [
        "azimuth_rad",
        "azimuth.whisker(I)_rad",
        "azimuth.whisker(II)_rad",
    ]
    none = WhiskerAngles(META)
    assert (none.columns, len(none(result()))) == ([], 0)


def posed(places: list[tuple[float, float]]) -> Result:
    one = result()
    points = np.float32([(*place, 1.0) for place in places])
    return Result(0, one.ledger, Pose(points), {})


def test_angles_are_told_only_of_whiskers_that_are_tracked_well(tmp_path: Path) -> None:
    names = ["nose(tip)", "eye(front)", "mouth", "whisker(I)", "whisker(II)"]
    path = tmp_path / "whiskers.json"
    for found, good in (
        (Whiskers(100, 1, 1, 0.9, 9, "m"), True),
        (Whiskers(100, 1, 1, 0.1, 9, "m"), False),
        (Whiskers(100, 1, 1, 0.9, 9, "another network"), False),
    ):
        write_whiskers(path, found)
        told = about_whiskers("cam1", str(path), "m", names)
        assert (told is not None) == good
        assert about_whiskers("cam1", str(path), "m", ["mouth", "whisker(I)"]) is None
    assert about_whiskers("cam1", str(path), "another network", names) == {
        "base": "mouth", "points": names[3:], "axis": names[:2], "least_score": 0.3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("height", "width", "bits", "step"),
    [(480, 640, 8, 1), (121, 163, 8, 1), (1024, 1280, 12, 1), (2048, 2448, 8, 2)],
)
def test_pictures_show_the_frame(height: int, width: int, bits: int, step: int) -> None:
    info = CameraInfo(height, width, bits, 100.0)
    y, x = np.mgrid[:height, :width]
    gray = 128 + 60 * np.sin(x / 17) + 60 * np.cos(y / 23)
    image = (gray * 2 ** (bits - 8)).astype(info.dtype)
    encode = JpegEncoder(info)
    assert encode.step == step
    for _ in range(2):  # the second is no worse than the first
        with av.open(io.BytesIO(encode(image))) as file:
            shown = next(file.decode(video=0)).to_ndarray(format="gray")
    h, w = shown.shape
    assert (h, w) == (height // step // 2 * 2, width // step // 2 * 2)
    blocks = gray[: h * step, : w * step].reshape(h, step, w, step).mean((1, 3))
    assert np.abs(shown - blocks).mean() < 2
    assert np.abs(shown - blocks).max() < 14


# --- who may what ---


@pytest.mark.parametrize(
    ("asked", "look", "local"),
    [
        (Asked("127.0.0.1", "127.0.0.1:8780"), True, True),
        (Asked("::1", "[::1]:8780"), True, True),
        (Asked("127.0.0.1", "localhost:8780"), True, True),
        # by IPv4 at a socket of both
        (Asked("::ffff:127.0.0.1", "localhost:8780"), True, True),
        (Asked("::ffff:10.0.0.5", "localhost:8780"), False, False),
        # a foreign page whose name was made to point at this machine
        (Asked("127.0.0.1", "evil.example:8780"), False, False),
        # somebody elsewhere, through a proxy on this machine
        (Asked("127.0.0.1", "127.0.0.1:8780", proxied=True), False, False),
        (Asked("10.0.0.5", "rig:8780"), False, False),
        (Asked("10.0.0.5", "localhost:8780"), False, False),
        (Asked("10.0.0.5", "rig:8780", tokens=("wrong",)), False, False),
        (Asked("10.0.0.5", "rig:8780", tokens=("wrong", TOKEN)), True, False),
        (Asked("", ""), False, False),
    ],
)
def test_who_may_look(asked: Asked, look: bool, local: bool) -> None:
    access = Access(TOKEN)
    assert (access.may_look(asked), access.local(asked)) == (look, local)
    # without a token only this machine is let in, whatever is shown
    assert Access(None).may_look(asked) == local


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("", True),
        ("http://127.0.0.1:8780", True),
        ("http://127.0.0.1:8781", False),
        ("http://evil.example", False),
        ("null", False),
        ("http://127.0.0.1:8780.evil.example", False),
    ],
)
def test_only_our_page_may_connect(origin: str, ours: bool) -> None:
    assert Access.same_origin(Asked("127.0.0.1", "127.0.0.1:8780", origin)) == ours


def test_names_of_hosts() -> None:
    names = {"Rig:8780": "rig", "[::1]:8780": "::1", "rig": "rig", "": ""}
    assert {host: host_name(host) for host in names} == names


def test_a_token_of_a_file(tmp_path: Any) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert make_token(file) == TOKEN
    assert len(make_token(None)) >= 32
    for bad in ("short", "with spaces in between it", ""):
        file.write_text(bad)
        with pytest.raises(UserError, match="16 ASCII characters"):
            make_token(file)
    with pytest.raises(UserError, match="nowhere"):
        make_token(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("host", "here", "elsewhere"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1", "HOST"),
        ("::", "127.0.0.1", "HOST"),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("fd00::5", "[fd00::5]", "[fd00::5]"),
    ],
)
def test_addresses_can_be_opened(host: str, here: str, elsewhere: str) -> None:
    settings = Settings("", host, 8780, "a&b=c#d+e/f%20g-hijk", 30.0, 4)
    assert settings.address == f"http://{here}:8780/"
    assert settings.address_elsewhere.startswith(f"http://{elsewhere}:8780/?token=")
    asked = parse_qs(urlsplit(settings.address_elsewhere).query)
    assert asked == {"token": ["a&b=c#d+e/f%20g-hijk"]}


def test_both_kinds_of_addresses_are_served() -> None:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        with serving(host="::", token=TOKEN) as settings:
            assert get(settings, "/").status == 200  # over IPv4, from here
            assert get(settings, "/", Host=f"rig:{settings.port}").status == 403
        return
    pytest.skip("this machine has no IPv6")


# --- what is said of a run ---

COUNTS = {
    "state": "running", "produced": 100, "delivered": 100, "lost_camera": 0, "skipped": 0,
    "tracked": 100, "n": 100, "lost": {"link": 0, "incomplete": 0, "no_buffer": 0, "late": 0},
    "age": {"p50_ms": 2.0, "p99_ms": 3.0, "max_ms": 4.0}, "cpu_s": 1.5, "loop": None,
    "face": {"state": "settled", "no_face_s": 0.0}, "clock": {"scatter_us": 20.0, "skew_ppm": 3.5},
}  # fmt: skip
RECORDING = {
    "state": "recording", "child": "running", "fault": None, "disk_low": False, "free_mb": 1000,
    "cameras": {"cam1": {"frames": 10, "behind": 0}},
}  # fmt: skip
STATUS = {
    "session": "0" * 16, "rig": 'a "rig"', "lifecycle": "running", "cameras": {"cam1": COUNTS},
    "children": [], "recording": RECORDING,
}  # fmt: skip


def changed(**counts: Any) -> dict[str, Any]:
    return {**STATUS, "cameras": {"cam1": {**COUNTS, **counts}}}


def test_nothing_is_said_of_a_good_run() -> None:
    assert judge(STATUS, STATUS, "cam1") == []
    assert judge(STATUS, {}, "cam1") == []


@pytest.mark.parametrize(
    ("status", "level", "about", "text"),
    [
        ({}, "bad", "run", "No run answers"),
        ({**STATUS, "lifecycle": "failed"}, "bad", "run", "has failed"),
        ({**STATUS, "lifecycle": "ended"}, "bad", "run", "has ended"),
        (
            {**STATUS, "children": [{"name": "track cam1", "state": "died", "error": "why"}]},
            "bad", "run", "track cam1 died: why",
        ),
        (changed(state="silent"), "bad", "rate", "delivers no frames"),
        (changed(state="gone"), "bad", "rate", "is gone"),
        (changed(state="waiting"), "note", "rate", "trigger"),
        (changed(face={"state": "searching", "no_face_s": 5.0}), "bad", "rate", "No face"),
        (changed(skipped=7), "warn", "losses", "7 frames were passed over"),
        (changed(lost={**COUNTS["lost"], "link": 3}), "bad", "losses", "3 frames were lost"),
        (changed(clock={"scatter_us": 900.0}), "warn", "clock", "wobble by 900"),
        ({**STATUS, "recording": {**RECORDING, "child": "died"}}, "bad", "recorder", "died"),
        ({**STATUS, "recording": {**RECORDING, "fault": "disk full"}}, "bad", "recorder", "Not"),
        ({**STATUS, "recording": {**RECORDING, "disk_low": True}}, "warn", "recorder", "1.0 GB"),
        (changed(loop={"down": ["laser"], "dry": False}), "bad", "loop", "Line down: laser"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_a_remedy(
    status: dict[str, Any], level: str, about: str, text: str
) -> None:
    (finding,) = judge(status, STATUS, "cam1")
    assert (finding.level, finding.about) == (level, about)
    assert text in finding.text
    assert finding.remedy


def test_what_was_lost_long_ago_is_no_news() -> None:
    before = changed(lost={**COUNTS["lost"], "link": 3}, skipped=7)
    assert judge(before, before, "cam1") == []


def test_the_worst_comes_first() -> None:
    both = changed(skipped=7, state="gone")
    assert [finding.level for finding in judge(both, STATUS, "cam1")] == ["bad", "warn"]


def test_metrics() -> None:
    text = exposition(STATUS, 2, 30, 0)
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    assert samples["rtface_up"] == 1
    assert samples["rtface_view_viewers"] == 2
    assert samples['rtface_frames_produced_total{camera="cam1"}'] == 100
    assert samples['rtface_frames_lost_total{camera="cam1",cause="link"}'] == 0
    assert samples['rtface_result_age_seconds{camera="cam1",quantile="0.5"}'] == 0.002
    assert samples['rtface_running{rig="a \\"rig\\"",session="0000000000000000"}'] == 1
    assert samples["rtface_disk_free_bytes"] == 1000 << 20
    # every family says once what it is, before its samples
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) == text.count("# HELP")
    assert {name.partition("{")[0] for name in samples} == set(families)
    assert "rtface_up 0" in exposition({}, 0, 0, 0)


# --- what waits for a viewer ---


def test_a_viewer_that_does_not_answer_gets_no_more_and_then_the_newest() -> None:
    async def play() -> tuple[list[bytes], int]:
        viewer, sent = Viewer(), []

        async def send(message: bytes) -> None:
            sent.append(message)

        task = asyncio.create_task(viewer.send_all(send, send))
        for i in range(6):
            viewer.show(bytes([i]))
            await asyncio.sleep(0.001)
        assert len(sent) == PICTURES_AHEAD
        assert not viewer.wants_picture
        viewer.got(True)
        await asyncio.sleep(0.001)
        viewer.close()
        await task
        return sent, viewer.passed_over

    sent, passed_over = asyncio.run(play())
    assert sent == [b"\x00", b"\x01", b"\x05"]
    assert passed_over == 3


def test_status_is_replaced_and_answers_are_bounded() -> None:
    async def play() -> list[str]:
        viewer, sent = Viewer(), []

        async def send(message: str) -> None:
            sent.append(message)

        for i in range(100):
            viewer.tell("status", {"n": i, "nan": float("nan")})
            viewer.answer({"reply": i})
        task = asyncio.create_task(viewer.send_all(send, send))
        await asyncio.sleep(0.01)
        viewer.close()
        await task
        return sent

    sent = [json.loads(text) for text in asyncio.run(play())]
    assert [text["reply"] for text in sent[:-1]] == list(range(68, 100))
    assert sent[-1] == {"n": 99, "nan": None}


def test_a_pause_waits_for_the_newest_results_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late:
        """A source to which a result comes with every look at it."""

        def __init__(self, first: int) -> None:
            self.first, self.looks = first, 0

        @property
        def newest_frame(self) -> int:
            self.looks += 1
            return self.first + self.looks

    late = Late(5)
    asyncio.run(hub.results_of(late, 12))  # type: ignore[arg-type]
    assert late.looks == 7
    monkeypatch.setattr(hub, "RESULTS_WAIT_S", 0.05)
    began = time.monotonic()
    asyncio.run(hub.results_of(Late(-10_000), 12))  # type: ignore[arg-type]
    assert time.monotonic() - began < 5


# --- the server ---


@pytest.fixture(scope="module")
def page_server() -> Iterator[Settings]:
    """A page without a run, for tests that leave it as it is."""
    with serving() as settings:
        yield settings


def test_the_page_is_served_and_nothing_beside_it(page_server: Settings) -> None:
    settings = page_server
    page = get(settings, "/")
    assert page.status == 200
    assert b"<title>rtface</title>" in page.body
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for name in ("main.js", "style.css", "icon.svg"):
        found = get(settings, f"/page/{name}")
        assert found.status == 200, name
    assert "javascript" in get(settings, "/page/main.js").headers["content-type"]
    for path in (
        "/page/../server.py", "/page/%2e%2e/server.py", "/page/..%2fserver.py",
        "/page//etc/passwd", "/page/..\\server.py", "/masks/..%2f..%2fx.png", "/server.py",
        "/masks/cam1.png", "/page/%00", "/page/",
    ):  # fmt: skip
        answer = get(settings, path)
        assert answer.status in (400, 404, 405), path
        assert b"import" not in answer.body, path
    assert b"rtface_up 0" in get(settings, "/metrics").body


def test_scripts_are_scripts_whatever_the_machine_believes(
    page_server: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = mimetypes.MimeTypes()
    types.add_type("text/plain", ".js")
    types.add_type("text/plain", ".css")
    monkeypatch.setattr(mimetypes, "_db", types)
    assert mimetypes.guess_type("main.js")[0] == "text/plain"
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css")):
        assert get(page_server, f"/page/{name}").headers["content-type"].startswith(kind)


def test_masks_that_many_ask_for_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def slowly(path: str, identity: str) -> bytes:
        read.append(identity)
        time.sleep(0.1)
        return identity.encode()

    monkeypatch.setattr(server, "masks_picture", slowly)

    class Told:
        """A hub whose run has masks."""

        def __init__(self) -> None:
            self.link, self.status = self, {"cameras": {"cam1": {}}}

    async def ask() -> list[bytes]:
        hub = Told()
        page = server.Page(hub, Access(None))  # type: ignore[arg-type]
        request = type("Request", (), {"path_params": {"camera": "cam1"}})()
        bodies: list[bytes] = []
        for identity in ("one", "two"):
            hub.status["cameras"]["cam1"] = {"masks_file": "m.npz", "masks": identity}
            answers = await asyncio.gather(*(page.masks(request) for _ in range(10)))
            bodies += [bytes(answer.body) for answer in answers]
        return bodies

    assert asyncio.run(ask()) == [b"one"] * 10 + [b"two"] * 10
    assert read == ["one", "two"]


def test_rows_are_kept_by_count_and_by_bytes() -> None:
    assert packet.row_bytes(10) == 80
    assert (source.kept_rows(5, 10), source.kept_rows(100, 10)) == (500, 2000)
    many = source.kept_rows(500, 8000)  # numbers of very many components
    assert 0.9 * source.KEPT_BYTES < many * packet.row_bytes(8000) <= source.KEPT_BYTES


def test_everything_the_page_names_is_there(page_server: Settings) -> None:
    settings = page_server
    page = get(settings, "/").body.decode()
    wanted = set(re.findall(r'(?:src|href)="(/page/[^"]+)"', page))
    for name in [n for n in wanted if n.endswith(".js")]:
        source = get(settings, name).body.decode()
        wanted |= {f"/page/{one}" for one in re.findall(r'from "\./([^"]+)"', source)}
    assert len(wanted) > 3
    assert all(get(settings, name).status == 200 for name in wanted)
    assert "<script>" not in page
    assert not re.search(r"\son\w+=", page), "an inline handler"
    assert "http://" not in page
    assert "https://" not in page


def test_a_foreign_name_or_page_is_refused(page_server: Settings) -> None:
    settings = page_server
    assert get(settings, "/", Host=f"evil.example:{settings.port}").status == 403
    assert get(settings, "/metrics", Host="evil.example").status == 403
    assert get(settings, "/", Host=f"localhost:{settings.port}").status == 200
    # through a proxy on this machine: no longer who is here
    for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):
        assert get(settings, "/", **{name: "10.0.0.5"}).status == 403
    for options in (
        {"origin": "http://evil.example"},
        {"additional_headers": {"X-Forwarded-For": "10.0.0.5"}, "origin": "null"},
    ):
        page = PageLike(settings, **options)
        with contextlib.closing(page), pytest.raises(ConnectionClosed) as closed:
            page.hear(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4003
    ours = PageLike(settings, origin=f"http://127.0.0.1:{settings.port}")
    with contextlib.closing(ours):
        assert ours.ask("clock")["ok"]


def test_a_token_opens_the_page_elsewhere() -> None:
    # the name decides here as an address of another machine would
    with serving(token=TOKEN) as settings:
        elsewhere = {"Host": f"rig:{settings.port}"}
        assert get(settings, "/", **elsewhere).status == 403
        assert get(settings, "/?token=wrong", **elsewhere).status == 403
        opened = get(settings, f"/?token={TOKEN}", **elsewhere)
        assert (opened.status, opened.headers["location"]) == (303, "/")
        cookie = opened.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        shown = cookie.partition(";")[0]
        assert get(settings, "/", Cookie=shown, **elsewhere).status == 200
        assert get(settings, "/metrics", Authorization=f"Bearer {TOKEN}", **elsewhere).status == 200
        assert get(settings, "/metrics", Authorization="Bearer x", **elsewhere).status == 403


def test_viewers_and_messages_have_limits() -> None:
    with serving(viewers=2) as settings, contextlib.ExitStack() as stack:
        pages = [stack.enter_context(contextlib.closing(PageLike(settings))) for _ in range(2)]
        assert all(page.ask("clock")["ok"] for page in pages)
        third = stack.enter_context(contextlib.closing(PageLike(settings)))
        with pytest.raises(ConnectionClosed) as closed:
            third.hear(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4029
        assert "2 viewers" in closed.value.rcvd.reason
        # too large a message ends its connection, and makes room
        assert pages[0].ask("clock", more="x" * (MOST_MESSAGE - 200))["ok"]
        pages[0].say(do="clock", more="x" * MOST_MESSAGE)
        with pytest.raises(ConnectionClosed) as closed:
            pages[0].until(lambda: False, 5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        fourth = stack.enter_context(contextlib.closing(PageLike(settings)))
        assert fourth.ask("clock")["ok"]


@pytest.mark.parametrize("text", ["", "[]", "{", "1", '"do"', "[" * 5000])
def test_nonsense_ends_the_connection(page_server: Settings, text: str) -> None:
    with contextlib.closing(PageLike(page_server)) as page:
        page.socket.send(text)
        with pytest.raises(ConnectionClosed):
            page.until(lambda: False, 5)


def test_what_cannot_be_done_is_said(page_server: Settings) -> None:
    with contextlib.closing(PageLike(page_server)) as page:
        for todo, fields, text in (
            ("<b>", {}, "there is no '<b>'"),
            ("annotate", {"text": 5}, "has to be a text"),
            ("annotate", {"text": "milk"}, "no answer from the control port"),
            ("frame", {"frame_seq": [1]}, "not kept"),
            ("pause", {}, "no run"),
            ("arm", {"seconds": "5"}, "two steps"),
            ("arm", {"seconds": "5", "key": ""}, "two steps"),
        ):
            answer = page.ask(todo, **fields)
            assert not answer["ok"]
            assert text in answer["error"]
        page.until(lambda: page.last("findings"))
        assert page.last("findings")["findings"][0]["text"] == "No run answers"
        for _ in range(300):
            page.say(do="clock", id=9)
        page.until(lambda: "too many" in page.last("reply").get("error", ""))


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: cannot open the page's port"):
            with_port(port)


def with_port(port: int) -> None:
    serve(Settings("", "127.0.0.1", port, None, 30.0, 4), lambda: True, lambda: None)


def test_a_page_for_others_needs_a_token() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        serve(Settings("", "0.0.0.0", 1, None, 30.0, 4), lambda: True, lambda: None)


def test_a_picture_message_is_read_as_it_was_made() -> None:
    times, values = packet.row_of(result(), 0)
    message = packet.picture_message(7, 2, np.array(times), values, b"jpeg")
    told = read_picture(message)
    assert (told.run, told.step, told.frame_seq, told.jpeg) == (7, 2, 5, b"jpeg")
    assert np.array_equal(told.values, values)


class SlowHub:
    """Needs for ever to pause; its link answers at once."""

    def __init__(self) -> None:
        self.link, self.given_up = self, False

    async def pause(self, viewer: object) -> list[int]:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.given_up = True
            raise
        return []

    async def order(self, command: str, **fields: str) -> dict[str, object]:
        return {"ok": True}


class Asking:
    """A viewer of which only the answers count."""

    def __init__(self) -> None:
        self.answers: list[dict[str, object]] = []

    def may_ask(self) -> bool:
        return True

    def answer(self, told: dict[str, object]) -> None:
        self.answers.append(told)

    def keep(self, pictures: dict[int, object]) -> None: ...


def test_disarming_does_not_wait_for_a_pause() -> None:
    async def ask() -> tuple[list[dict[str, object]], bool]:
        hub, viewer = SlowHub(), Asking()
        desk = Desk(hub, viewer, local=True)  # type: ignore[arg-type]
        await desk.take({"do": "pause", "id": 1})
        await asyncio.sleep(0)
        await asyncio.wait_for(desk.take({"do": "disarm", "id": 2}), 10)
        await desk.take({"do": "go_on", "id": 3})
        await asyncio.sleep(0)
        return viewer.answers, hub.given_up

    answers, given_up = asyncio.run(ask())
    assert answers == [{"reply": 2, "ok": True}, {"reply": 3, "ok": True}]
    assert given_up
