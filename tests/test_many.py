"""Many videos through the same tracker: the same bytes whoever tracks them, and whatever breaks."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from many_cases import rig, same_tree, still, textured, track
from programs import RTFACE
from test_offline import clip

from rtface.camera.video import probe, read_frames
from rtface.config import parse_rig
from rtface.engine import CPU_RUNTIMES, RUNTIMES, make_engine, start_engine
from rtface.engine.bundle import load_bundle
from rtface.many.plan import fingerprint, plan
from rtface.many.session import track_video
from rtface.offline import track_files
from rtface.pose import PoseEstimator
from rtface.replay import recorded
from rtface.session import open_session
from rtface.session.verify import verify
from rtface.types import Flag, UserError


def test_a_session_of_a_video(tmp_path: Path, tiny_bundle: Path) -> None:
    video = clip(tmp_path / "mouse.mkv", 40)
    said = track(video, "--sessions", tmp_path / "s", "--bundle", tiny_bundle)
    assert "1 sessions made (40 frames), 0 there already, 0 faults" in said
    (folder,) = (tmp_path / "s").iterdir()
    assert folder.name == f"mouse_{fingerprint(video)[:8]}"
    assert verify(folder) == []
    assert not list(folder.glob("*.mkv"))  # it names the video and does not copy it
    # as `track --out`, and as the estimator alone, frame by frame
    network = load_bundle(tiny_bundle)
    engine = make_engine(network, "onnxruntime")
    info = probe(video)
    estimator = PoseEstimator(engine, (info.height, info.width), info.bits)
    wanted = [estimator(image).keypoints for image in read_frames(video)]
    with open_session(folder) as session:
        camera = session.cameras["cam1"]
        results = list(recorded(camera))
        assert np.array([r.pose.keypoints for r in results]).tobytes() == np.array(wanted).tobytes()
        assert [r.ledger.frame_seq for r in results] == list(range(40))
        assert [r.ledger.t_host_ns for r in results] == [i * 20_000_000 for i in range(40)]
        assert all(r.ledger.flags & Flag.OFFLINE for r in results)
        assert camera.exposure_s() == pytest.approx(np.arange(40) / 50, abs=1e-8)
        source = camera.about.meta["source"]
        assert source["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
        assert source["file"] == str(video)
        assert session.about.began_unix_ns == video.stat().st_mtime_ns
        assert session.ended is not None
        assert session.ended.fields["why"] == "end of the file"
        table = list(camera.images())
        assert table == []


@pytest.mark.slow
def test_motion_pupil_and_running_of_a_rig_file(tmp_path: Path, tiny_bundle: Path) -> None:
    videos = [textured(tmp_path / f"m{i}.mkv", 80 + i) for i in range(2)]
    words = [*videos, "--rig", rig(tiny_bundle)]
    track(*words, "--sessions", tmp_path / "one")
    track(*words, "--sessions", tmp_path / "two", "--workers", "2")
    same_tree(tmp_path / "one", tmp_path / "two")
    for folder in (tmp_path / "one").iterdir():
        assert verify(folder) == []
        with open_session(folder) as session:
            camera = session.cameras["cam1"]
            motion = camera.signal("motion")
            assert motion.shape[1] == 3
            assert np.isnan(motion[0]).all()  # there is no frame before
            assert np.isfinite(motion[1:]).all()
            assert (camera.signal("motion_energy")[1:] > 0).any()
            assert np.isfinite(camera.signal("running")[1:]).all()
            assert np.isfinite(camera.signal("pupil")).any()


def test_names_and_what_is_there_already(
    tmp_path: Path, tiny_bundle: Path, wide_bundle: Path
) -> None:
    network = load_bundle(tiny_bundle)
    options = {"camera": {"cam1": {"kind": "video", "file": "v"}}}
    made = parse_rig(options | {"engine": {"bundle": str(tiny_bundle)}}, "rig")
    for i in range(2):
        (tmp_path / str(i)).mkdir()
    one = clip(tmp_path / "0" / "cam.mkv", 5)
    other = clip(tmp_path / "1" / "cam.mkv", 6)
    copy = tmp_path / "cam.mkv"
    shutil.copyfile(one, copy)
    jobs, faults = plan([one, other, copy], tmp_path / "s", made, network)
    assert faults == []
    assert [job.video for job in jobs] == [str(one), str(other)]
    assert len({job.folder for job in jobs}) == 2
    assert track_video(jobs[0]).frames == 5
    assert track_video(jobs[0]).skipped
    # moved, it is known again
    (moved,), _ = plan([copy], tmp_path / "s", made, network)
    assert track_video(moved).skipped
    precise = made.model_copy(
        update={"engine": made.engine.model_copy(update={"precision": "bf16"})}
    )
    (job,), _ = plan([one], tmp_path / "s", precise, network)
    with pytest.raises(UserError, match="was made with another network or rig file"):
        track_video(job)
    predicting = parse_rig(
        {"camera": {"cam1": {**options["camera"]["cam1"], "neural": {"bundle": str(tmp_path)}}}},
        "rig",
    )
    recordings = set()
    for text in ("{}", "{ }"):
        (tmp_path / "neural.json").write_text(text)
        (job,), _ = plan([one], tmp_path / "s", predicting, network)
        recordings.add(job.recording)
    assert len(recordings) == 2
    wide = load_bundle(wide_bundle)
    (job,), _ = plan([one], tmp_path / "s", made, wide)
    with pytest.raises(UserError, match="was made with another network or rig file"):
        track_video(job)


def test_auto_is_settled_once_and_by_what_is_there(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, camera = load_bundle(tiny_bundle), {"cam1": {"kind": "video", "file": "v"}}
    engine = {"bundle": str(tiny_bundle), "runtime": "auto"}
    made = parse_rig({"engine": engine, "camera": camera}, "rig")
    videos = [clip(tmp_path / f"{i}.mkv", 3 + i) for i in range(3)]
    jobs, _ = plan(videos, tmp_path / "s", made, network)
    (taken,) = {(job.rig["engine"]["runtime"], job.rig["engine"]["precision"]) for job in jobs}
    assert taken[0] in CPU_RUNTIMES
    assert taken[1] in RUNTIMES[taken[0]]
    assert track_video(jobs[1]).frames == 4
    # another time another one may be the fastest
    other = start_engine(network, "onnxruntime")._replace(runtime="other", precision="bf16")
    monkeypatch.setattr("rtface.many.plan.start_engine", lambda *_: other)
    again, _ = plan(videos, tmp_path / "s", made, network)
    assert [job.recording for job in again] == [job.recording for job in jobs]
    assert track_video(again[1]).skipped
    elsewhere, _ = plan(videos, tmp_path / "t", made, network)
    assert {job.rig["engine"]["runtime"] for job in elsewhere} == {"other"}
    assert elsewhere[0].recording != jobs[0].recording


@pytest.mark.parametrize(("kind", "components"), [("short", 6), ("still", 0), ("one", 0)])
def test_videos_without_fittable_masks_have_energy_alone(
    tmp_path: Path, tiny_bundle: Path, kind: str, components: int
) -> None:
    video = textured(tmp_path / f"{kind}.mkv", 8 if kind == "short" else 1)
    if kind == "still":
        video = still(video, 12)
    motion = {"components": 20, "bin": 4}
    camera = {"kind": "video", "file": "v", "motion": motion}
    made = parse_rig({"engine": {"bundle": str(tiny_bundle)}, "camera": {"cam1": camera}}, "rig")
    (job,), _ = plan([video], tmp_path / "s", made, load_bundle(tiny_bundle))
    outcome = track_video(job)
    assert outcome.fault == ""
    assert track_video(job).fault == ""  # a remark is no fault
    assert verify(Path(job.folder)) == []
    with open_session(job.folder) as session:
        told = [e.fields["text"] for e in session.events if e.kind == "annotation"]
        assert told == [outcome.note]
        words = "at most 7 components of each area instead of 20" if components else "energy alone"
        assert words in outcome.note
        signals = session.cameras["cam1"]
        assert np.isfinite(signals.signal("motion_energy")[1:]).all()
        known = np.isfinite(signals.signal("motion")[1:])
        assert known.sum(1).tolist() == [components] * (outcome.frames - 1)


def test_what_cannot_be_fitted_names_the_video(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = {"kind": "video", "file": "v", "motion": {"roi": [[0, 0, 600, 600]]}}
    made = parse_rig({"engine": {"bundle": str(tiny_bundle)}, "camera": {"cam1": camera}}, "rig")
    video = textured(tmp_path / "v.mkv", 5)
    (job,), _ = plan([video], tmp_path / "s", made, load_bundle(tiny_bundle))
    with pytest.raises(UserError, match=r"v\.mkv: motion: ROI 0,0,600,600: not inside"):
        track_video(job)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "give one of --out, for a CSV file, and --sessions"),
        (["--out", "a.csv", "--sessions", "s"], "give one of --out"),
        (["--out", "a.csv", "--workers", "2"], "go with --sessions"),
        (["--sessions", "s", "--rig", "r.toml", "--threads", "2"], "--rig says the network"),
        (["--sessions", "s", "--rig", "none.toml"], "none.toml: no such file"),
    ],
)
def test_words_that_do_not_go_together(tmp_path: Path, words: list[str], wanted: str) -> None:
    video = clip(tmp_path / "v.mkv", 3)
    assert wanted in track(video, *words, code=2)


def test_csv_and_session_agree(tmp_path: Path, tiny_bundle: Path) -> None:
    video = clip(tmp_path / "mouse.mkv", 12)
    track(video, "--sessions", tmp_path / "s", "--bundle", tiny_bundle)
    (folder,) = (tmp_path / "s").iterdir()
    network = load_bundle(tiny_bundle)
    engine = make_engine(network, "onnxruntime")
    out = tmp_path / "out.csv"
    track_files([video], out, lambda i: PoseEstimator(engine, (i.height, i.width), i.bits))
    lines = [line.split(",")[2:] for line in out.read_text().splitlines()[1:]]
    with open_session(folder) as session:
        keypoints = session.cameras["cam1"].keypoints()
    assert np.abs(np.array(lines, float) - keypoints.reshape(12, -1)).max() < 6e-4


@pytest.mark.skipif(
    not os.environ.get("RTFACE_RAY_TEST"), reason="RTFACE_RAY_TEST is not set: needs Ray"
)
@pytest.mark.timeout(180)
def test_ray_gives_the_same_sessions(tmp_path: Path, tiny_bundle: Path) -> None:
    videos = [textured(tmp_path / f"m{i}.mkv", 80 + i) for i in range(4)]
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video" * 100)
    words = [*videos, broken, "--rig", rig(tiny_bundle), "--workers", "2", "--sessions"]
    track(*words, tmp_path / "local", code=1)
    done = subprocess.run(
        [RTFACE, "track", *map(str, words), str(tmp_path / "ray"), "--ray", "local"],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "4 sessions made" in done.stdout
    assert "broken.avi: is not a video" in done.stderr
    same_tree(tmp_path / "local", tmp_path / "ray")
