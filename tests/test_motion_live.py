"""Motion components live: on the wire, in the session, and computed again from its video."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from programs import FFV1, RECORD, RTFACE, SMALL, only_session, running

import rtface
from rtface.camera_config import MotionSection
from rtface.check import check_rig
from rtface.collect import BUDGET, sampling
from rtface.config import parse_rig
from rtface.export.facemap import export_facemap
from rtface.exposure import Timing
from rtface.motion.fit import fit_masks
from rtface.motion.masks import Masks, load_masks, save_masks
from rtface.motion.procfile import read_proc
from rtface.motion.project import Projector
from rtface.recompute import recompute
from rtface.session import layout
from rtface.stages.motion import MotionStage, motion_stage
from rtface.tracker import Tracker
from rtface.types import CameraInfo, Flag, Frame, Lost, Pose, Stamp, UserError

INFO = CameraInfo(48, 64, 8, 100.0)
PERIOD_NS = 10_000_000


def frames(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (n, INFO.height, INFO.width), np.uint8))


@pytest.fixture(scope="module")
def masks() -> Masks:
    film = frames(60)
    return fit_masks([lambda: film], 4, 10, [(8, 8, 24, 20)], movie=True)


def test_stage_holds_what_the_projector_gives_area_after_area(masks: Masks) -> None:
    stage, project = MotionStage(masks, 7, np.uint8), Projector(masks, 7)
    assert stage.lengths == {"motion_energy": 2, "motion": 14, "movie": 14}
    for i, image in enumerate(frames(4, seed=1)):
        consecutive = i not in (0, 2)
        assert stage(image, consecutive) == (0 if consecutive else Flag.NO_MOTION)
        wanted = project(image, consecutive)
        np.testing.assert_array_equal(stage.signals["motion_energy"], wanted.energy)
        np.testing.assert_array_equal(stage.signals["motion"], np.concatenate(wanted.motion))
        np.testing.assert_array_equal(stage.signals["movie"], np.concatenate(wanted.movie))
    about = stage.about()
    assert about["masks"] == masks.identity
    assert [(a["name"], a["motion"], a["movie"]) for a in about["areas"]] == [
        ("full", 7, 7),
        ("roi1", 7, 7),
    ]


def test_masks_that_come_later_begin_at_a_flagged_frame_and_never_twice(masks: Masks) -> None:
    section = MotionSection(components=10, roi=((8, 8, 24, 20),))
    stage, project = motion_stage(section, "cam1", INFO), Projector(masks, 10)
    assert stage is not None
    assert stage.lengths == {"motion_energy": 2, "motion": 20}
    began = []
    for i, image in enumerate(frames(9, seed=2)):
        if i == 3:
            assert stage.about()["masks"] is None
            stage.replace(masks)
        flags = stage(image, i > 0)
        wanted = project(image, i > 0)
        if flags & Flag.NEW_MASKS:
            began.append(i)
        np.testing.assert_array_equal(stage.signals["motion_energy"], wanted.energy)
        if began:
            np.testing.assert_array_equal(stage.signals["motion"], np.concatenate(wanted.motion))
            assert stage.about()["masks"] == masks.identity
        else:
            assert np.isnan(stage.signals["motion"]).all()
    assert began == [4]  # the frame before was shown to the new masks: energy has no gap


@pytest.mark.parametrize(
    ("gap", "why"),
    [
        ({"frame_id": 3}, "an id is missing"),
        ({"segment": 1}, "the camera came back"),
        ({"later_ns": 30 * PERIOD_NS}, "it waited for a trigger"),
    ],
)
def test_motion_only_between_exposures_that_follow_each_other(
    masks: Masks, gap: dict[str, int], why: str
) -> None:
    stage = MotionStage(masks, 5, np.uint8)
    pose = Pose(np.zeros((1, 3), np.float32))
    timing = Timing(PERIOD_NS)
    tracker = Tracker(lambda _image, _periods: pose, timing, motion=[stage])
    film = frames(4)
    seen = []
    for seq in range(4):
        after = seq >= 2
        frame_id = seq + (gap.get("frame_id", seq) - 2 if after and "frame_id" in gap else 0)
        late = gap.get("later_ns", 0) if after else 0
        t = seq * PERIOD_NS + late
        stamp = Stamp(gap.get("segment", 0) if after else 0, frame_id, None, t)
        ledger, _, signals = tracker(Frame(seq, stamp, Lost(), film[seq]))
        known = bool(np.isfinite(signals["motion"]).all())
        assert known == bool(np.isfinite(signals["motion_energy"]).all())
        assert known != bool(ledger.flags & Flag.NO_MOTION)
        seen.append(known)
    assert seen == [False, True, False, True], why


def test_a_camera_that_moved_since_the_masks_were_made_ends_the_run() -> None:
    rng = np.random.default_rng(5)
    scene = np.kron(rng.integers(40, 200, (14, 20)), np.ones((18, 18))).astype(np.uint8)

    def film(dx: int) -> list[np.ndarray]:
        part = scene[:240, dx : dx + 320]
        return [part + rng.integers(0, 6, part.shape, np.uint8) for _ in range(60)]

    was = film(0)
    masks = fit_masks([lambda: was], 4, 5)
    for dx, moved in ((0, False), (2, False), (12, True)):
        stage = MotionStage(masks, 5, np.uint8, check_frames=20)
        stage.name = "masks.npz"

        def run(stage: MotionStage = stage, dx: int = dx) -> None:
            now = film(dx)
            deadline = time.monotonic() + 5
            for i in itertools.count():
                stage(now[i % 60], i > 0)
                if stage.checked or time.monotonic() > deadline:
                    break
            stage(now[0], False)
            assert stage.checked

        if moved:
            with pytest.raises(UserError, match=r"masks.npz: the camera moved: .* 1[12]\.\d px"):
                run()
        else:
            run()


@pytest.mark.parametrize("aside", [False, True])
def test_a_frame_that_was_passed_over_still_gives_motion(masks: Masks, aside: bool) -> None:
    film, pose = frames(6), Pose(np.zeros((1, 3), np.float32))
    made = [Frame(i, Stamp(0, i, None, i * PERIOD_NS), Lost(), film[i]) for i in range(6)]
    asked = []

    def before(frame_seq: int) -> Frame | None:
        asked.append(frame_seq)
        return made[frame_seq - 1] if frame_seq != 5 else None  # gone from the ring

    stage, project = MotionStage(masks, 5, np.uint8), Projector(masks, 5)
    tracker = Tracker(
        lambda *_: pose, Timing(PERIOD_NS), motion=[stage], before=before, aside=aside
    )
    known = []
    for i in (0, 1, 3, 5):
        ledger, _, signals = tracker(made[i])
        known.append(not ledger.flags & Flag.NO_MOTION)
        project.look(film[i - 1])
        wanted = np.concatenate(project(film[i], True).motion)
        if known[-1]:
            np.testing.assert_array_equal(signals["motion"], wanted)
    assert known == [False, True, True, False]
    assert asked == [3, 5]  # a frame that follows the one before needs nobody else
    tracker.finish(6)


class Told:
    """A moving stage that tells when it began."""

    def __init__(self) -> None:
        self.lengths, self.signals = {"motion": 1}, {"motion": np.zeros(1, np.float32)}
        self.began = threading.Event()
        self.error: UserError | None = None

    def __call__(self, image: np.ndarray, consecutive: bool) -> int:
        self.began.set()
        if self.error:
            raise self.error
        return 0 if consecutive else Flag.NO_MOTION.value

    def look(self, image: np.ndarray) -> None: ...

    def about(self) -> dict[str, object]:
        return {}


def test_motion_is_computed_while_the_network_runs() -> None:
    stage, pose = Told(), Pose(np.zeros((1, 3), np.float32))
    image = frames(1)[0]

    def estimate(_image: np.ndarray, _periods: int) -> Pose:
        assert stage.began.wait(5)  # not after this returns
        stage.began.clear()
        return pose

    tracker = Tracker(estimate, Timing(PERIOD_NS), motion=[stage], aside=True)
    for i in range(3):
        ledger, *_ = tracker(Frame(i, Stamp(0, i, None, i * PERIOD_NS), Lost(), image))
        assert bool(ledger.flags & Flag.NO_MOTION) == (i == 0)
    stage.error = UserError("masks.npz: the camera moved")
    with pytest.raises(UserError, match="the camera moved"):
        tracker(Frame(3, Stamp(0, 3, None, 3 * PERIOD_NS), Lost(), image))
    n = threading.active_count()
    tracker.finish(4)
    assert threading.active_count() == n - 1


def test_masks_that_come_while_frames_are_passed_over_see_the_frame_before(masks: Masks) -> None:
    film = frames(8)
    section = MotionSection(components=10, roi=((8, 8, 24, 20),))
    stage, project = motion_stage(section, "cam1", INFO), Projector(masks, 10)
    assert stage is not None
    stage(film[0], False)
    stage.replace(masks)
    stage(film[1], True)  # the coming masks see this one
    stage.look(film[4])  # and this one, of those that were passed over
    assert stage(film[5], True) == Flag.NEW_MASKS
    project.look(film[4])
    wanted = np.concatenate(project(film[5], True).motion)
    np.testing.assert_array_equal(stage.signals["motion"], wanted)


def test_the_first_result_of_a_segment_is_flagged_also_if_its_first_frame_was_passed_over(
    masks: Masks,
) -> None:
    film, pose = frames(5), Pose(np.zeros((1, 3), np.float32))
    segments = (0, 0, 1, 1)
    made = [
        Frame(i, Stamp(s, i % 2, None, i * PERIOD_NS), Lost(), film[i])
        for i, s in enumerate(segments)
    ]
    tracker = Tracker(
        lambda *_: pose,
        Timing(PERIOD_NS),
        motion=[MotionStage(masks, 5, np.uint8)],
        before=lambda frame_seq: made[frame_seq - 1],
    )
    flags = [tracker(made[i])[0].flags for i in (0, 1, 3)]
    assert [bool(f & Flag.FIRST) for f in flags] == [True, False, True]
    assert [bool(f & Flag.NO_MOTION) for f in flags] == [True, False, False]


@pytest.mark.parametrize(
    ("shape", "rate_hz", "seconds", "differences"),
    [
        ((1080, 1440), 100.0, 60.0, range(500, 540)),  # of the frames that fit into memory
        ((480, 640), 100.0, 60.0, range(2000, 2731)),
        ((48, 64), 100.0, 2.0, range(199, 200)),
        ((1960, 2560), 100.0, 60.0, range(150, 168)),
        ((48, 64), 0.5, 1.0, range(1, 2)),
    ],
)
def test_the_frames_that_masks_are_fitted_to(
    shape: tuple[int, int], rate_hz: float, seconds: float, differences: range, ring_dir: Path
) -> None:
    """What is foretold is what is kept, and stays within the memory allowed."""
    info = CameraInfo(*shape, 8, rate_hz)
    plan = sampling(info, seconds, 4)
    assert plan.differences in differences
    kept = [i % plan.every < plan.keep for i in range(plan.wanted)]
    assert sum(a and b for a, b in itertools.pairwise(kept)) == plan.differences
    assert sum(kept) * 4 * (shape[0] // 4) * (shape[1] // 4) <= BUDGET


def test_check_foretells_how_many_components_there_will_be(
    tiny_bundle: Path, ring_dir: Path
) -> None:
    for fit_s, notes in ((1.0, 1), (6.0, 0)):
        motion = {"components": 500, "fit_s": fit_s}
        sections = {"cam1": {"kind": "synthetic", "rate_hz": 100.0, "motion": motion}}
        rig = parse_rig({"engine": {"bundle": str(tiny_bundle)}, "camera": sections}, "rig")
        found = itertools.takewhile(lambda told: told[0] != "  published at", check_rig(rig))
        told = [text for what, text in found if what == "  note"]  # before ports are bound
        assert len(told) == notes
        if notes:
            assert "99 components of each area instead of 500" in told[0]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"masks": "none.npz"}, "none.npz: .*no such file"),
        ({"roi": ((60, 0, 20, 20),)}, r"camera.cam1.motion: ROI 60,0,20,20: not inside"),
        ({"bin": 16, "roi": ((0, 0, 10, 10),)}, "holds no bin"),
    ],
)
def test_bad_sections_are_one_line(section: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=f"(?i){words}"):
        motion_stage(MotionSection(**section), "cam1", INFO)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_stream_session_and_video_agree(tmp_path: Path, tiny_bundle: Path, ring_dir: Path) -> None:
    film = list(np.random.default_rng(3).integers(0, 256, (80, 240, 320), np.uint8))
    made = fit_masks([lambda: film], 4, 50, [(20, 20, 100, 90)], movie=True)
    save_masks(tmp_path / "masks.npz", made)
    motion = (
        '[camera.cam1.motion]\nmasks = "masks.npz"\ncomponents = 40\n'
        "[camera.cam1.pupil]\nbox = [180, 40, 70, 50]\n"
    )
    streamed = {}
    with running(tmp_path, tiny_bundle, SMALL + motion, extra=FFV1) as program:
        with rtface.subscribe("cam1", program.data, topic="motion", timeout_s=5) as stream:
            about = stream.meta()["motion"]
            for message in itertools.islice(stream, 200):
                streamed[message.seq] = message
        code, _, err = program.stop()
    assert code == 0, err
    assert about["masks"] == made.identity
    assert [area["motion"] for area in about["areas"]] == [40, 40]
    with rtface.open_session(only_session(tmp_path)) as session:
        camera = session.cameras["cam1"]
        results = camera.results[:]
        assert camera.signal("motion").shape == (len(results), 80)
        by_frame = {int(r["frame_seq"]): r for r in results}
        project = Projector(made, 40)
        compared, before = 0, -2
        for record, image in camera.images():
            seq = int(record["frame_seq"])
            if seq not in by_frame:  # skipped live
                project.look(image)
                before = seq
                continue
            row = by_frame[seq]
            known = not row["flags"] & Flag.NO_MOTION
            again = project(image, bool(known) and before == seq - 1)
            np.testing.assert_array_equal(row["movie"], np.concatenate(again.movie))
            if known and before == seq - 1:
                np.testing.assert_array_equal(row["motion"], np.concatenate(again.motion))
                np.testing.assert_array_equal(row["motion_energy"], again.energy)
                compared += 1
            elif not known:  # as little as possible: only where a frame is missing
                assert row["flags"] & (Flag.FIRST | Flag.CAMERA_GAP | Flag.SKIPPED)
                assert np.isnan(row["motion"]).all()
                assert np.isnan(row["motion_energy"]).all()
            before = seq
        assert compared > 50
        exported_is_recorded(session, tmp_path / "facemap")
        again = recompute(session, "cam1")
        assert again.motion == again.motion_identical == compared
        assert again.motion_off == 0
        told = 0
        for row in results:
            if message := streamed.get(int(row["seq"])):
                for name in ("motion_energy", "motion", "movie"):
                    np.testing.assert_array_equal(message.signals[name], row[name])
                assert message.fields["masks"] == made.identity
                assert message.fields["t_infer_ns"] < message.fields["t_motion_ns"]
                told += 1
        assert told > 100


def exported_is_recorded(session: rtface.session.Session, folder: Path) -> None:
    """``_proc.npy`` has the session's components and pupil, in Facemap's conventions."""
    export_facemap(session, "cam1", folder)
    (path,) = folder.glob("*_proc.npy")
    proc, camera = read_proc(path), session.cameras["cam1"]
    video = camera.frames[:]
    video = video["frame_seq"][video["status"] == layout.Status.IN_VIDEO]
    results = camera.results[:]
    rows = np.searchsorted(video, results["frame_seq"])
    rows, results = (
        rows[np.isin(results["frame_seq"], video)],
        results[np.isin(results["frame_seq"], video)],
    )
    known = np.isfinite(results["motion_energy"][:, 0]) & (rows > 0)
    for i in range(2):
        theirs = proc["motSVD"][i][rows[known]]
        np.testing.assert_array_equal(theirs, results["motion"][known][:, 40 * i : 40 * i + 40])
        np.testing.assert_array_equal(
            np.array(proc["motion"][i])[rows[known]], results["motion_energy"][known, i]
        )
    fields = camera.about.meta["pupil"]["fields"]
    of = {name: results["pupil"][:, k].astype(float) for k, name in enumerate(fields)}
    (pupil,), (roi,) = proc["pupil"], [r for r in proc["rois"] if r["rind"] == 0]
    np.testing.assert_array_equal(pupil["area"][rows], of["area_px2"])
    top, left = int(roi["yrange"][0]), int(roi["xrange"][0])
    np.testing.assert_allclose(
        pupil["com"][rows], np.stack([of["y_px"] - top, of["x_px"] - left], 1)
    )
    assert roi["ellipse"].shape == (50, 70)
    finite = np.isfinite(of["area_px2"])
    np.testing.assert_allclose(
        np.pi * np.sqrt(pupil["axlen"][rows][finite].prod(1)), of["area_px2"][finite], rtol=1e-4
    )
    np.testing.assert_array_equal(np.array(proc["blink"][0])[rows], of["blink"])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_without_masks_energy_flows_at_once_and_components_once_there_are_some(
    tmp_path: Path, tiny_bundle: Path, ring_dir: Path
) -> None:
    motion = "[camera.cam1.motion]\ncomponents = 400\nfit_s = 1.5\n"
    results_alone = RECORD.format(video="none")
    with running(tmp_path, tiny_bundle, SMALL + motion, extra=results_alone) as program:
        with rtface.subscribe("cam1", program.data, topic="motion", timeout_s=5) as stream:
            first = next(stream)
            assert stream.meta()["motion"]["masks"] is None
            new = next(m for m in stream if m.fields["flags"] & Flag.NEW_MASKS)
            after = next(m for m in stream if not m.fields["flags"] & Flag.NO_MOTION)
            identity = stream.meta()["motion"]["masks"]
        made = tmp_path / "live.npz"
        asked = ["calibrate", "motion", "--live", "1", "--components", "5", "--out", str(made)]
        live = subprocess.run([RTFACE, *asked], capture_output=True, text=True, check=False)
        _, out, err = program.stop()
    assert live.returncode == 0, live.stderr
    assert [a.motion.masks.shape[1] for a in load_masks(made, (240, 320)).areas if a.motion] == [5]
    assert first.fields["masks"] is None
    assert np.isnan(first.signals["motion"]).all()
    assert new.fields["masks"] == after.fields["masks"] == identity
    # 150 frames: as many as can be fitted, and the run says so
    n = int(np.isfinite(after.signals["motion"]).sum())
    assert 50 < n < 150
    assert np.isfinite(after.signals["motion"][:n]).all()
    assert "camera.cam1.motion: at most 149 components of each area instead of 400" in err + out
    with rtface.open_session(only_session(tmp_path)) as session:
        kept = load_masks(session.path / "cam1.masks.npz", (240, 320))
        assert kept.identity == identity
        (event,) = (e for e in session.events if e.kind == "masks")
        assert event.fields["frame_seq"] == new.fields["frame_seq"]
        results = session.cameras["cam1"].results[:]
    flagged = results["frame_seq"][(results["flags"] & Flag.NEW_MASKS) > 0]
    assert flagged.tolist() == [new.fields["frame_seq"]]  # once, and never again
    assert np.isnan(results["motion"][results["frame_seq"] < flagged[0]]).all()
    energy = np.isfinite(results["motion_energy"][:, 0])
    np.testing.assert_array_equal(energy, (results["flags"] & Flag.NO_MOTION) == 0)
    assert not list(Path(tempfile.gettempdir()).glob(f"rtface-{session.about.session}-*"))


@pytest.mark.slow
def test_a_camera_that_does_not_run_is_one_line(tmp_path: Path, ring_dir: Path) -> None:
    words = ["calibrate", "motion", "--live", "1", "--out", str(tmp_path / "m.npz")]
    done = subprocess.run([RTFACE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no camera 'cam1' runs" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
