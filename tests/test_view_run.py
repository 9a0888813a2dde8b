"""The page beside real runs, seen by a viewer without a browser."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import time
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import free_ports
from programs import (
    FFV1,
    RTFACE,
    SMALL,
    Program,
    account,
    alive,
    only_session,
    recorded_frames,
    running,
    wait_until,
)
from videofiles import write
from view_cases import PageLike, answers, get, read_rows, serving

import rtface
from rtface.rings import FrameRingReader
from rtface.types import TimeSource
from rtface.view.serve import Settings

pytestmark = pytest.mark.slow

RULE = (
    '[camera.cam1.motion]\n[output.laser]\nkind = "dry"\n[rule.puff]\n'
    'when = "z(motion_energy.full, 1 s) > 0.5 sd"\noutput = "laser"\n'
    "repeat = true\nrefractory_ms = 50.0\n"
)


def control(program: Program) -> str:
    return f"tcp://127.0.0.1:{program.control}"


@contextlib.contextmanager
def watching(settings: Settings):
    """A viewer that gets pictures."""
    with contextlib.closing(PageLike(settings)) as page:
        page.say(do="watch", camera="cam1")
        page.until(lambda: page.pictures and page.batches and page.last("meta"), 20)
        yield page


def test_rows_are_all_results_and_pictures_the_frames(tmp_path: Path, tiny_bundle: Path) -> None:
    with (
        running(tmp_path, tiny_bundle, SMALL) as program,
        serving(control(program)) as settings,
        watching(settings) as page,
    ):
        page.until(lambda: len(page.pictures) > 30)
        # a picture shows the frame that it says: compared with the ring's own
        frames = FrameRingReader("cam1")
        page.until(lambda: frames.read(page.pictures[-1].frame_seq) is not None)
        newest = page.pictures[-1]
        frame = frames.read(newest.frame_seq)
        assert frame is not None
        with av.open(io.BytesIO(newest.jpeg)) as file:
            shown = next(file.decode(video=0)).to_ndarray(format="gray")
        assert np.abs(shown.astype(int) - frame.image).mean() < 3
        assert np.abs(shown[::-1].astype(int) - frame.image).mean() > 10
        frames.close()
        columns = page.last("meta")["columns"]
        times = np.concatenate([read_rows(batch, len(columns))[0] for batch in page.batches])
        gaps = np.diff(times[:, 0])
        skipped = program.counts()["skipped"]
        assert (gaps >= 1).all()
        assert (gaps - 1).sum() <= skipped  # nothing is missing but what the tracker passed over
        told = dict(zip(columns, newest.values.tolist(), strict=True))
        assert told["eye(front).x"] > 0
        assert len(set(times[:, 0].tolist())) == len(times)
        clock = page.ask("clock")
        assert 0 < clock["now_s"] - times[-1, 2] < 2


def test_what_nobody_looked_at_is_not_lost(tmp_path: Path, tiny_bundle: Path) -> None:
    short = "[ring]\nresults_s = 0.5\n"  # results are overwritten soon
    with (
        running(tmp_path, tiny_bundle, SMALL, extra=short) as program,
        serving(control(program)) as settings,
    ):
        with watching(settings):
            pass
        time.sleep(1.5)
        with watching(settings) as page:
            page.until(lambda: len(page.batches) > 5)
            columns = page.last("meta")["columns"]
            frames = [read_rows(batch, len(columns))[0][:, 0] for batch in page.batches]
            assert (np.diff(np.concatenate(frames)) > 0).all()  # none comes twice
        assert "rtface_view_lost_rows_total 0" in get(settings, "/metrics").body.decode()


def test_the_past_is_kept_frame_by_frame(tmp_path: Path, tiny_bundle: Path) -> None:
    with (
        running(tmp_path, tiny_bundle, SMALL) as program,
        serving(control(program)) as settings,
        watching(settings) as page,
    ):
        time.sleep(1)
        answer = page.ask("pause")
        frames = answer["frames"]
        assert len(frames) > 50
        # the newest have their results, too: they are waited for
        tracked = 0
        for frame_seq in frames[-3:]:
            page.pictures.clear()
            assert page.ask("frame", frame_seq=frame_seq)["ok"]
            page.until(lambda: page.pictures)
            told = page.pictures.pop()
            assert told.frame_seq == frame_seq
            tracked += bool(np.isfinite(told.values[:3]).all())
        assert tracked >= 2  # one of them may have been passed over
        assert np.diff(frames).tolist() == [1] * (len(frames) - 1)
        page.pictures.clear()
        time.sleep(0.5)
        page.hear(0.2)
        assert page.pictures == []  # nothing new comes
        for frame_seq in (frames[3], frames[-1], frames[0]):
            assert page.ask("frame", frame_seq=frame_seq)["ok"]
            page.until(lambda: page.pictures)
            assert page.pictures.pop().frame_seq == frame_seq
        assert "not kept" in page.ask("frame", frame_seq=frames[-1] + 1000)["error"]
        page.say(do="go_on")
        page.until(lambda: page.pictures and page.pictures[-1].frame_seq > frames[-1])


def test_arming_needs_two_steps_in_time_and_this_machine(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtface.view import orders

    with (
        running(tmp_path, tiny_bundle, SMALL, extra=RULE) as program,
        serving(control(program), token="t" * 20) as settings,
        watching(settings) as page,
    ):

        def armed() -> bool:
            return bool(program.counts()["loop"]["armed"])

        assert "two steps" in page.ask("arm", key="x", seconds="5")["error"]
        key = page.ask("prepare_arm")["key"]
        assert "how many seconds" in page.ask("arm", key=key)["error"]
        assert "two steps" in page.ask("arm", key=key, seconds="5")["error"]  # a key is used up
        assert page.ask("arm", key=page.ask("prepare_arm")["key"], seconds="20")["ok"]
        wait_until(armed, 5)
        # decisions come to the page, in its own time
        page.until(lambda: any(
            event["kind"] == "decision" and event["outcome"] == "fired"
            for text in page.texts for event in text.get("events", ())
        ))  # fmt: skip
        token = {"Authorization": f"Bearer {'t' * 20}"}
        other = PageLike(settings, "rig", additional_headers=token)
        with contextlib.closing(other):
            assert "only on the machine" in other.ask("prepare_arm")["error"]
            assert "two steps" in other.ask("arm", key="", seconds="5")["error"]
            assert other.ask("disarm")["ok"]  # from anywhere
        wait_until(lambda: not armed(), 5)
        monkeypatch.setattr(orders, "ARM_WITHIN_S", 0.05)
        key = page.ask("prepare_arm")["key"]
        time.sleep(0.1)
        assert "begin again" in page.ask("arm", key=key, seconds="5")["error"]
        assert not armed()


def test_areas_go_into_the_rig_file_from_this_machine_alone(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    with (
        running(tmp_path, tiny_bundle, SMALL + "# mine\n", extra=RULE) as program,
        serving(control(program), token="t" * 20) as settings,
        watching(settings) as page,
    ):
        before = program.rig.read_text()
        for fields, text in (
            ({"bbox": "0,0,321,240"}, "reaches beyond the frame of 320x240 px"),
            ({"bbox": "NaN,0,64,64"}, "bbox is left,top"),
            ({"bbox": "-1,0,64,64"}, "bbox is left,top"),
            ({"bbox": [0, 0, 64, 64]}, "has to be a text"),
            ({"bbox": "0,0,64,64", "camera": "../../etc"}, "camera may hold letters"),
            ({"pupil": "0,0,64,64"}, "there is no [camera.cam1.pupil]"),
            ({}, "needs one of"),
        ):
            answer = page.ask("write_rig", **{"camera": "cam1", **fields})
            assert not answer["ok"]
            assert text in answer["error"]
        token = {"Authorization": f"Bearer {'t' * 20}"}
        with contextlib.closing(PageLike(settings, "rig", additional_headers=token)) as other:
            refused = other.ask("write_rig", camera="cam1", bbox="8,8,64,64")
            assert "only on the machine" in refused["error"]
            # and who asks as this machine but from another page is not let in at all
        assert program.rig.read_text() == before
        answer = page.ask("write_rig", camera="cam1", bbox="8,8,64,64", roi="16,16,80,60")
        assert answer["file"] == str(program.rig)
        assert Path(answer["backup"]).read_text() == before
        added = program.rig.read_text().splitlines()
        assert {"bbox = [8, 8, 64, 64]", "roi = [[16, 16, 80, 60]]"} <= set(added)
        assert [line for line in added if line.partition(" =")[0] not in ("bbox", "roi")] == (
            before.splitlines()
        )
        page.until(lambda: page.last("status").get("status", {}).get("cameras", {})
                   .get("cam1", {}).get("areas", {}).get("bbox") == [[8, 8, 64, 64]])  # fmt: skip
        program.rig.write_text(program.rig.read_text() + "# somebody else\n")
        assert "was changed" in page.ask("write_rig", camera="cam1", bbox="none")["error"]
        program.stop()
        program.start()  # and it counts from now on
        program.until_running()
        wait_until(lambda: program.counts()["tracked"] > 20, 20)
        with rtface.subscribe("cam1", program.data, timeout_s=10) as stream:
            message = stream.receive(10)
        assert message is not None
        assert list(message.fields["crop"]) == [8, 8, 64, 64]


def test_exposure_is_set_confirmed_and_recorded(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = SMALL + 'stamp_means = "start"\nexposure_us = 1000.0\ndelay_err_us = 5.0\n'
    camera += "sim_pairs = true\n"
    with (
        running(tmp_path, tiny_bundle, camera, extra=FFV1) as program,
        serving(control(program), token="t" * 20) as settings,
        watching(settings) as page,
    ):
        wait_until(lambda: program.counts()["clock"]["source"] == "latched_pairs", 20)
        assert program.counts()["exposure"] == {"us": 1000.0, "least_us": 1.0, "most_us": 10_000.0}
        for us, text in (
            ("10001", "10001 us is not possible; at 100 Hz the camera takes 1 to 10000 us"),
            ("0", "is not possible"), ("nan", "us is an exposure time"), ("-5", "us is"),
            ("1e9", "us is"), ("9" * 300, "us is"), (5, "has to be a text"), ("", "us is"),
        ):  # fmt: skip
            answer = page.ask("exposure", camera="cam1", us=us)
            assert not answer["ok"]
            assert text in answer["error"]
        assert page.ask("exposure", camera="cam1", us="3000.4")["us"] == 3000.0
        assert program.counts()["exposure"]["us"] == 3000.0
        token = {"Authorization": f"Bearer {'t' * 20}"}
        with contextlib.closing(PageLike(settings, "rig", additional_headers=token)) as other:
            assert other.ask("exposure", camera="cam1", us="4000")["us"] == 4000.0
        now = recorded_frames(program)
        wait_until(lambda: recorded_frames(program) > now + 50, 20)
        program.stop()
    with rtface.open_session(only_session(tmp_path)) as session:
        events = [event for event in session.events if event.kind == "exposure"]
        frames = session.cameras["cam1"].frames[:]
        told = [(event.fields["asked_us"], event.fields["exposure_us"]) for event in events]
        assert told == [(3000.4, 3000.0), (4000.0, 4000.0)]
        times = frames["exposure_time_ns"]
        for event in events:  # frames delivered long after it have it, and none before
            exposure_ns = round(1000 * event.fields["exposure_us"])
            first = frames["t_host_ns"][times == exposure_ns].min()
            assert 0 < first - event.t_host_ns < 10**9
        results = session.cameras["cam1"].results[:]
        # the camera stamps the start: half of the time comes on top, and its clock is the host's
        results = results[results["time_source"] == TimeSource.LATCHED_PAIRS.value]
        own_ns = times[np.searchsorted(frames["frame_seq"], results["frame_seq"])]
        assert set(own_ns) == {0, 3_000_000, 4_000_000}
        own_ns = np.where(own_ns > 0, own_ns, 1_000_000)  # until it is set, as in the rig file
        began_ns = results["exposure_ns"] - own_ns // 2 - results["t_camera_ns"]
        assert np.ptp(began_ns) < 50_000
        assert results["exposure_err_ns"].max() < 50_000


def test_what_has_no_exposure_time_says_so(tmp_path: Path, tiny_bundle: Path) -> None:
    video = tmp_path / "mouse.avi"
    write(video, "ffv1", "gray", [np.zeros((48, 64), np.uint8)] * 30)
    camera = f'kind = "video"\nfile = "{video}"\nrate_hz = 50.0\nloop = true\n'
    with (
        running(tmp_path, tiny_bundle, camera) as program,
        serving(control(program)) as settings,
        watching(settings) as page,
    ):
        assert program.counts()["exposure"] is None
        error = page.ask("exposure", camera="cam1", us="500")["error"]
        assert error == "this camera has no exposure time that rtface can set"


def test_the_page_may_die_and_the_run_goes_on(tmp_path: Path, tiny_bundle: Path) -> None:
    port = free_ports(1)[0]
    with running(tmp_path, tiny_bundle, SMALL, words=["--view", "--view-port", str(port)]) as run:
        settings = Settings("", "127.0.0.1", port, None, 30.0, 16)
        wait_until(lambda: answers(settings.port), 20)
        view = run.pid("view")
        with watching(settings) as page:
            assert page.last("findings")["findings"] == []
        os.kill(view, signal.SIGKILL)
        wait_until(lambda: not alive(view), 5)
        wait_until(lambda: run.counts()["tracked"] > 0, 10)
        before = run.counts()["tracked"]
        wait_until(lambda: run.counts()["tracked"] > before + 50, 10)
        code, out, err = run.stop()
    assert code == 0, err
    assert "no page: it was killed by signal 9" in out
    numbers = account(out)
    assert numbers["delivered"] == numbers["tracked"] + numbers["skipped"]


def test_a_run_with_a_page_that_is_looked_at_ends_as_fast(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    port = free_ports(1)[0]
    with running(tmp_path, tiny_bundle, SMALL, words=["--view", "--view-port", str(port)]) as run:
        settings = Settings("", "127.0.0.1", port, None, 30.0, 16)
        wait_until(lambda: answers(settings.port), 20)
        assert "rtface_running{" in get(settings, "/metrics").body.decode()
        with watching(settings):
            pids = run.pids()
            began = time.monotonic()
            code, out, err = run.stop()
            assert time.monotonic() - began < 5
    assert code == 0, err
    assert "killed" not in out
    assert not any(alive(pid) for pid in pids)


def test_a_port_in_use_costs_the_page_and_not_the_run(tmp_path: Path, tiny_bundle: Path) -> None:
    with (
        serving() as other,
        running(
            tmp_path, tiny_bundle, SMALL, words=["--view", "--view-port", str(other.port)]
        ) as run,
    ):
        wait_until(lambda: run.counts()["tracked"] > 50, 20)
        code, out, err = run.stop()
    assert code == 0, err
    assert "cannot open the page's port" in out


def test_view_ends_at_once_when_told(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    view = subprocess.Popen(
        [RTFACE, "view", "--port", str(port), "--control", "tcp://127.0.0.1:9"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert view.stderr is not None
    assert f"see it at http://127.0.0.1:{port}/" in view.stderr.readline()
    view.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = view.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert (view.returncode, err) == (0, "")
