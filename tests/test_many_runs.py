"""Whole runs over many videos: killed, with broken files among them, or for long."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from many_cases import rig, same_tree, textured, track
from programs import RTFACE
from test_offline import clip, cut

from rtface.config import parse_rig
from rtface.engine.bundle import load_bundle
from rtface.many.plan import Outcome, plan
from rtface.many.workers import run_local
from rtface.session import open_session
from rtface.session.verify import verify

#: peak of the largest process of a command, kB
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path, tiny_bundle: Path) -> None:
    peaks_kb = []
    for n in (500, 4000):  # 11 MB of pixels more
        video = textured(tmp_path / f"{n}.mkv", n)
        words = [RTFACE, "track", video, "--rig", rig(tiny_bundle), "--sessions", tmp_path / "s"]
        command = [sys.executable, "-c", PEAK, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        peaks_kb.append(int(done.stdout))
    assert peaks_kb[1] - peaks_kb[0] < 5_000, peaks_kb


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(tmp_path: Path, tiny_bundle: Path) -> None:
    videos = [textured(tmp_path / f"v{i}.mkv", 800 + i) for i in range(5)]
    words = [*videos, "--bundle", tiny_bundle, "--workers", "2", "--sessions"]
    track(*words, tmp_path / "whole")
    killed = tmp_path / "killed"
    program = subprocess.Popen(
        [RTFACE, "track", *map(str, words), str(killed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 30
    try:
        while not any(p.stat().st_size > 50_000 for p in killed.glob(".*.part/cam1.results.rec")):
            assert time.monotonic() < until
            time.sleep(0.002)
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    assert list(killed.glob(".*.part"))
    finished = [p for p in killed.iterdir() if not p.name.startswith(".")]
    assert len(finished) < 5
    said = track(*words, killed)
    assert f"{5 - len(finished)} sessions made" in said
    assert f"{len(finished)} there already" in said
    same_tree(tmp_path / "whole", killed)
    before = {p: p.stat().st_mtime_ns for p in killed.rglob("*")}
    assert "0 sessions made (0 frames), 5 there already, 0 faults" in track(*words, killed)
    assert before == {p: p.stat().st_mtime_ns for p in killed.rglob("*")}


@pytest.mark.slow
def test_broken_videos_do_not_stop_the_rest(tmp_path: Path, tiny_bundle: Path) -> None:
    good = [clip(tmp_path / f"good{i}.mkv", 10 + i) for i in range(2)]
    short = cut(clip(tmp_path / "short.mkv", 60))
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video" * 100)
    words = [good[0], broken, short, tmp_path / "none.mp4", good[1]]
    out = tmp_path / "s"
    for again in (False, True):
        said = track(*words, "--sessions", out, "--bundle", tiny_bundle, code=1)
        assert f"{broken}: is not a video or image that can be read" in said
        assert f"{short}: broke off after" in said
        assert "none.mp4: cannot be read" in said
        assert f"{0 if again else 3} sessions made" in said
        assert "3 faults" in said
    names = sorted(p.name.rpartition("_")[0] for p in out.iterdir())
    assert names == ["good0", "good1", "short"]
    (folder,) = out.glob("short_*")
    assert verify(folder) == []
    with open_session(folder) as session:
        assert session.ended is not None
        assert session.ended.fields["why"] == "the file broke off"
        assert 0 < len(session.cameras["cam1"].results) < 60
        assert "broke off after" in session.events[1].fields["text"]


@pytest.mark.slow
def test_a_broken_video_among_a_hundred(tmp_path: Path, tiny_bundle: Path) -> None:
    videos = [tmp_path / f"v{i:03}.mkv" for i in range(100)]
    clip(videos[0], 5)
    for path in videos[1:]:
        shutil.copyfile(videos[0], path)
    videos[50].write_bytes(b"no video" * 100)
    words = [*videos, "--bundle", tiny_bundle, "--workers", "2", "--sessions", tmp_path / "s"]
    said = track(*words, code=1)
    assert f"{videos[50]}: is not a video or image that can be read" in said
    assert "99 sessions made (495 frames), 0 there already, 1 faults" in said
    made = sorted(path.name.partition("_")[0] for path in (tmp_path / "s").iterdir())
    assert made == [path.stem for path in videos if path != videos[50]]
    for path in (tmp_path / "s").iterdir():
        with open_session(path) as session:
            assert len(session.cameras["cam1"].results) == 5


@pytest.mark.slow
def test_a_worker_that_dies_costs_one_video(tmp_path: Path, tiny_bundle: Path) -> None:
    videos = [textured(tmp_path / f"v{i}.mkv", 800 + i) for i in range(3)]
    out = tmp_path / "s"
    program = subprocess.Popen(
        [RTFACE, "track", *map(str, videos), "--sessions", str(out), "--bundle", str(tiny_bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 30
    while not list(out.glob(".v1*.part")):
        assert time.monotonic() < until
        time.sleep(0.002)
    (worker,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()[-1:]
    os.kill(int(worker), signal.SIGKILL)
    said = "".join(program.communicate(timeout=60))
    assert program.returncode == 1
    assert "v1.mkv: the process that tracked it was killed by signal 9" in said
    assert len([p for p in out.iterdir() if not p.name.startswith(".")]) == 2
    assert "1 sessions made (801 frames), 2 there already" in track(
        *videos, "--sessions", out, "--bundle", tiny_bundle
    )


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_while_idle_is_replaced(tmp_path: Path, tiny_bundle: Path) -> None:
    options = {"camera": {"cam1": {"kind": "video", "file": "v"}}}
    made = parse_rig(options | {"engine": {"bundle": str(tiny_bundle)}}, "rig")
    videos = [clip(tmp_path / f"v{i}.mkv", 3 + i) for i in range(3)]
    jobs, _ = plan(videos, tmp_path / "s", made, load_bundle(tiny_bundle))
    done: list[Outcome] = []

    def kill(outcome: Outcome) -> None:
        done.append(outcome)
        for process in multiprocessing.active_children():
            process.kill()
            process.join()

    assert run_local(jobs, 1, lambda _video, _done: None, kill)
    assert [outcome.fault for outcome in done] == ["", "", ""]
    assert [outcome.frames for outcome in done] == [3, 4, 5]
