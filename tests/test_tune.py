"""A network of one's own: what is held out, what is learned, what is written, what is refused."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from videofiles import write

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from networks import write_start  # noqa: E402

from rtface import cli  # noqa: E402
from rtface.engine import make_engine  # noqa: E402
from rtface.engine.bundle import load_bundle  # noqa: E402
from rtface.pose import PoseEstimator  # noqa: E402
from rtface.train import choose, data, distill, export, fit, judge, tune  # noqa: E402
from rtface.train.data import KEYPOINTS, synthetic_frames  # noqa: E402
from rtface.train.labels import Labelled, frames, read_labels  # noqa: E402
from rtface.train.labels.pictures import _write_png  # noqa: E402
from rtface.train.lesson import plan_lesson, read  # noqa: E402
from rtface.train.network import Network  # noqa: E402
from rtface.train.score import Scoring  # noqa: E402
from rtface.types import Pose, UserError  # noqa: E402

pytestmark = pytest.mark.networks

#: keypoints that the annotator of these tests labels, under names of their own
THEIRS = {"eye_back": "eye(back)", "Eye-Front": "eye(front)", "snout": "nose(tip)"}
SNOUT = "snout=nose(tip)"
#: px by which this annotator puts the nose further out than it is
HABIT = 8.0


def draw(seed, n):
    """Pictures of one synthetic mouse and its keypoints, (n, 16, 2) px, none of them hidden."""
    times = np.linspace(3, 50, n)
    images, points = zip(*synthetic_frames(seed, times), strict=True)
    return list(images), np.stack(points)


def outward(points):
    """(..., 2) unit vectors along x from the eye to the nose of keypoints (..., 16, 2)."""
    eye, nose = (points[..., KEYPOINTS.index(name), 0] for name in ("eye(back)", "nose(tip)"))
    return np.stack([np.sign(nose - eye), np.zeros_like(eye)], -1)


def project(folder, videos, n=4, habit=0.0, extra=("tongue",), parts=THEIRS):
    """Write a DeepLabCut project: per video a folder of pictures and a CSV file."""
    for seed, video in enumerate(videos, 1):
        here = folder / "labeled-data" / video
        here.mkdir(parents=True)
        images, points = draw(seed, n)
        columns = {theirs: points[:, KEYPOINTS.index(ours)] for theirs, ours in parts.items()}
        columns["snout"] = columns["snout"] + habit * outward(points)
        columns |= {name: points[:, KEYPOINTS.index("mouth")] + 3 for name in extra}
        head = [["scorer", "bodyparts", "coords"]]
        lines = [[word] for word in head[0]]
        for name in columns:
            lines[0] += ["ann", "ann"]
            lines[1] += [name, name]
            lines[2] += ["x", "y"]
        for i, image in enumerate(images):
            _write_png(here / f"img{i:03d}.png", image)
            xy = np.concatenate([one[i] for one in columns.values()])
            cells = ["" if np.isnan(value) else f"{value:.3f}" for value in xy]
            lines.append([f"labeled-data/{video}/img{i:03d}.png", *cells])
        text = "\n".join(",".join(line) for line in lines) + "\n"
        (here / "CollectedData_ann.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A bundle to start from that knows nothing."""
    return write_start(tmp_path_factory.mktemp("start") / "start")


@pytest.fixture(autouse=True)
def few_faces(monkeypatch):
    """Draw one synthetic animal among the user's pictures: drawing takes time."""
    monkeypatch.setattr(tune, "ANIMALS", 1)
    monkeypatch.setattr(tune, "MOMENTS", 2)


def rtface(*words):
    """Run a command in this process, as the console does; SystemExit holds its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rtface", *map(str, words)])
        cli.main()


def succeeds(*words):
    with pytest.raises(SystemExit) as ended:
        rtface(*words)
    assert not ended.value.code


def refused(capsys, *words):
    """Return the one line with which a command is refused."""
    with pytest.raises(SystemExit) as ended:
        rtface(*words)
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("rtface: ")
    assert line.count("\n") == 1, line
    return line


# --- which pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 3), (50, 2, 2), (9, 1), (5,) * 11, (1,) * 5, (40, 30, 30)])
def test_whole_groups_are_held_out(sizes):
    groups = [f"video{i}" for i, n in enumerate(sizes) for _ in range(n)]
    for seed in range(8):
        split = choose.hold_out(groups, seed)
        assert sorted(split.train + split.held) == list(range(len(groups)))
        apart = [{groups[i] for i in part} for part in (split.train, split.held)]
        assert not apart[0] & apart[1]
        assert len(apart[1]) == max(1, round(0.2 * len(sizes)))
        assert max(Counter(groups[i] for i in split.held).values()) * 2 <= len(groups)
        assert str(len(split.held)) in split.how
    assert choose.hold_out(groups, 3) == choose.hold_out(groups, 3)


@pytest.mark.parametrize(("n", "held"), [(2, 1), (4, 1), (10, 2), (50, 10)])
def test_of_one_group_the_end_is_held_out_and_said_so(n, held):
    split = choose.hold_out(["film"] * n)
    assert split.held == list(range(n - held, n))
    assert split.train == list(range(n - held))
    assert "film" in split.how
    assert "other videos" in split.how
    with pytest.raises(ValueError, match="one picture"):
        choose.hold_out(["film"])


def test_one_who_never_looks_says_the_mean_in_parts_of_the_picture():
    points = np.full((3, 2, 2), np.nan, np.float32)
    points[0, 0], points[1, 0] = [10, 20], [60, 80]
    shapes = np.array([[100, 100], [200, 200], [50, 50]])
    said = choose.constant_predictor(points, shapes, np.array([[100, 200], [10, 10]]))
    np.testing.assert_allclose(said[:, 0], [[200 * 0.2, 100 * 0.3], [2, 3]], rtol=1e-5)
    assert np.isnan(said[:, 1]).all()


def test_the_most_different_frames_are_taken():
    crowd = np.random.default_rng(0).normal(0, 0.1, (200, 3)).astype(np.float32)
    crowd[[17, 60, 150]] = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]
    assert {17, 60, 150} < set(choose.most_different(crowd, 5))
    assert choose.most_different(crowd, 500) == list(range(200))
    assert choose.most_different(crowd, 0) == []
    some = choose.most_different(crowd, 20)
    assert len(set(some)) == 20
    assert some == sorted(some)
    same = np.ones((6, 2), np.float32)
    assert len(choose.most_different(same, 3)) == 3


@pytest.mark.parametrize("shape", [(480, 640), (48, 64), (7, 9), (500, 20), (3, 900)])
def test_thumbnails_do_not_know_the_light(shape):
    image = np.random.default_rng(1).integers(10, 90, shape, dtype=np.uint8)
    small = choose.thumbnail(image)
    np.testing.assert_allclose(choose.thumbnail(image * 2 + 20), small, atol=1e-3)
    assert small.dtype == np.float32
    assert np.isfinite(choose.thumbnail(np.zeros(shape, np.uint8))).all()


# --- labels ------------------------------------------------------------------------------------


def test_keypoints_are_the_networks_then_the_users(tmp_path):
    parts = THEIRS | {"paw": "mouth", "nosebridge": "nose(top)"}
    folder = project(tmp_path, ["one"], 2, extra=("tongue", "ear"), parts=parts)
    given = {"snout": "nose(tip)", "ear": ""}
    names, labelled = read([folder], KEYPOINTS, given, ["tongue"])
    assert names == (*KEYPOINTS, "nosebridge", "paw", "tongue")
    assert labelled[0].points.shape == (len(names), 2)
    assert np.isfinite(labelled[0].points[names.index("tongue")]).all()
    with pytest.raises(UserError, match=r"--keep 'ear'"):
        read([folder], KEYPOINTS, {"snout": "nose(tip)"}, ["tongue"])
    # what --names calls by its own name is kept, too
    assert read([folder], KEYPOINTS, given | {"tongue": "tongue"})[0] == names


def test_a_picture_labelled_in_two_files_is_refused(tmp_path):
    folder = project(tmp_path, ["one"], 2, extra=())
    file = folder / "labeled-data" / "one" / "CollectedData_ann.csv"
    with pytest.raises(UserError, match="two of the files"):
        read([folder, file], KEYPOINTS, {"snout": "nose(tip)"})


def test_a_picture_under_two_names_is_refused(tmp_path):
    """By its pixels: also where copies, or a video and its frames, were labelled apart."""
    one, other = project(tmp_path / "a", ["one"], 2), project(tmp_path / "b", ["one"], 2)
    given = {"snout": "nose(tip)", "tongue": ""}
    with pytest.raises(UserError, match=r"b/labeled-data.*is the same picture as .*a/labeled-data"):
        read([one, other], KEYPOINTS, given)
    _write_png(other / "labeled-data/one/img000.png", draw(7, 1)[0][0])
    with pytest.raises(UserError, match=r"img001.*is the same picture as .*img001"):
        read([one, other], KEYPOINTS, given)
    _write_png(other / "labeled-data/one/img001.png", draw(7, 2)[0][1])
    assert len(read([one, other], KEYPOINTS, given)[1]) == 4


def test_sided_keypoints_are_mirrored_as_pairs_and_alone_said(tmp_path, start):
    for extra, mirrored in ((("left_ear", "right_ear"), (1, 0)), (("left_ear",), None)):
        folder = project(tmp_path / str(len(extra)), ["one"], 4, extra=extra)
        names, labelled = read([folder], KEYPOINTS, {"snout": "nose(tip)"}, extra)
        task = plan_lesson(names, labelled)
        banks = tune._banks(task, tune.Finder(load_bundle(start)))[0]
        first = len(names) - len(extra)
        own = banks[0].mirror
        assert (own and tuple(i - first for i in own[first:])) == mirrored
        assert banks[-1].mirror == ()  # synthetic faces have none of them


def test_faces_are_where_labels_say_or_the_network_or_the_picture_before(tmp_path):
    folder = project(tmp_path, ["one"], 4, extra=())
    labelled = read_labels(folder, KEYPOINTS, {"snout": "nose(tip)"})
    eye = KEYPOINTS.index("eye(back)")
    bare = [one.points.copy() for one in labelled]
    for points in bare[1:]:
        points[np.arange(16) != eye] = np.nan
    labelled = [one._replace(points=xy) for one, xy in zip(labelled, bare, strict=True)]
    box = data.BBox(40, 30, 256, 192)
    asked = []

    def finder(image):
        asked.append(image)
        return Pose(np.zeros((16, 3), np.float32), box, face=len(asked) == 2)

    found = [face for _, _, face in tune.faces(labelled, KEYPOINTS, finder)]
    np.testing.assert_allclose(found[0], data.face_of(bare[0]))
    np.testing.assert_allclose(found[1], found[0])
    np.testing.assert_allclose(found[2], data.face_in(box))
    np.testing.assert_allclose(found[3], found[2])
    assert len(asked) == 3


def test_minutes_become_steps(monkeypatch):
    now = 0.0

    def pretend(network, criterion, banks, shares, schedule, report):
        nonlocal now
        for step in range(schedule.steps):
            now += 3.0 if step == 0 else 0.25  # the first takes longer
            report(step + 1, 1.0)

    monkeypatch.setattr(tune.fit, "fit", pretend)
    monkeypatch.setattr(tune.time, "monotonic", lambda: now)
    assert tune._steps_in(0.5, Network(1), [], [], fit.Schedule(1)) == 120


# --- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, start):
    """What ``rtface train`` wrote after 6 steps, and pictures that were learned from."""
    folder = tmp_path_factory.mktemp("trained")
    labels = project(folder, ["one", "two", "three"], 3)
    learned, original = [], tune.banks_by_size

    def spy(pictures, weights):
        def seen():
            for image, points, face in pictures:
                learned.append(image.copy())
                yield image, points, face

        return original(seen(), weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "ANIMALS", 1)
        patch.setattr(tune, "MOMENTS", 2)
        patch.setattr(tune, "banks_by_size", spy)
        words = ("train", labels, "--start", start, "--names", SNOUT, "--keep", "tongue")
        succeeds(*words, "--steps", 6, "--out", folder / "mine")
    return folder / "mine", labels, learned


@pytest.mark.timeout(300)
def test_train_writes_a_whole_bundle(trained):
    folder, _, _ = trained
    bundle = load_bundle(folder)
    assert bundle.name == "mine"
    assert bundle.names == (*KEYPOINTS, "tongue")
    assert make_engine(bundle, "onnxruntime").names == bundle.names
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    expected = ["MODEL_CARD.md", "model.json", "model.onnx", "pictures/curves.png"]
    worst = [f"pictures/worst{i}.png" for i in (1, 2, 3)]
    assert files == [*expected, *worst, "reference.npz"]
    assert all((folder / file).stat().st_size > 500 for file in files)
    assert not list(folder.parent.glob(".*")), "something was left beside the bundle"
    training = bundle.about["training"]
    assert training["steps"] == 6
    assert training["started_from"]["name"] == "start"
    said = bundle.about["scores"]["held_out"]["your labels"]
    rows = {row["name"]: row for row in said["rows"]}
    assert set(rows) == {*THEIRS.values(), "tongue", "eye", "nose, mouth, lip"}
    assert rows["tongue"]["start_px"] is None, "the start knows nothing of it"
    assert rows["nose(tip)"]["constant_px"] > 0
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| nose(tip) | 3 |" in card
    assert str(folder.parent) not in card + json.dumps(bundle.about)


@pytest.mark.timeout(300)
def test_what_is_held_out_is_never_learned(trained):
    folder, labels, learned = trained
    training = load_bundle(folder).about["training"]
    assert len(training["held_out"]) == 1
    assert not {*training["held_out"]} & {*training["groups"]}
    own = learned[: training["learned_from"]]  # synthetic ones come after
    assert len(own) == 6
    names, labelled = read([labels], KEYPOINTS, {"snout": "nose(tip)"}, ["tongue"])
    task = plan_lesson(names, labelled)
    assert {one.group for one in task.held} == set(training["held_out"])
    for image, _ in frames(task.held):
        assert not any(np.array_equal(image, other) for other in learned)
    for (image, _), other in zip(frames(task.train), own, strict=True):
        np.testing.assert_array_equal(image, other)


@pytest.mark.timeout(300)
def test_train_with_everything_says_that_nothing_judges(tmp_path, start, capsys):
    labels = project(tmp_path, ["one"], 1, extra=())
    words = ("train", labels, "--start", start, "--names", SNOUT, "--steps", 1)
    assert "--all" in refused(capsys, *words, "--out", tmp_path / "a")
    succeeds(*words, "--all", "--out", tmp_path / "mine")
    assert "nobody knows" in capsys.readouterr().out
    bundle = load_bundle(tmp_path / "mine")
    assert bundle.about["scores"] == {}
    assert "Nobody knows" in (tmp_path / "mine" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert [p.name for p in (tmp_path / "mine" / "pictures").iterdir()] == ["curves.png"]


def test_labels_that_train_refuses(tmp_path, start, capsys):
    labels = project(tmp_path, ["one"], 2, extra=())
    out = tmp_path / "mine"
    words = ("--start", start, "--steps", 1, "--out", out)
    line = refused(capsys, "train", labels, *words)
    assert "'snout'" in line
    assert "--names" in line
    both = ("--names", SNOUT, *words)
    assert "both say" in refused(capsys, "train", labels, "--minutes", 1, *both)
    file = labels / "labeled-data" / "one" / "CollectedData_ann.csv"
    lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines()]
    swapped = [[a, *(row[i ^ 1] for i in range(6))] for a, *row in lines[3:]]
    text = "\n".join(",".join(line) for line in [*lines[:3], *swapped])
    file.write_text(text, encoding="utf-8")
    assert "x and y" in refused(capsys, "train", labels, *both)
    file.write_text("\n".join(",".join(line) for line in lines[:3]), encoding="utf-8")
    assert "label some" in refused(capsys, "train", labels, *both)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").touch()
    assert "not empty" in refused(capsys, "train", labels, *both)


def test_train_without_torch_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "rtface[train]" in refused(capsys, "train", tmp_path, "--out", tmp_path / "mine")


def test_a_network_of_another_kind_is_not_tuned(tmp_path, tiny_bundle, capsys):
    labels = project(tmp_path, ["one"], 2, extra=())
    words = ("--names", SNOUT, "--steps", 1, "--out", tmp_path / "mine")
    assert "recipe" in refused(capsys, "train", labels, "--start", tiny_bundle, *words)


# --- scores ------------------------------------------------------------------------------------


def test_a_scoring_is_carried_over_and_fitted_only_to_enough(tmp_path):
    folder = write_start(tmp_path / "start")
    assert judge.kept_scoring(load_bundle(folder)) == Scoring()
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    about["score"] = {"bias": 1, "by_peak": 2, "by_spread": -3}
    (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")
    assert judge.kept_scoring(load_bundle(folder)) == Scoring(1, 2, -3)
    about["score"]["spread"] = 4
    (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")
    assert judge.kept_scoring(load_bundle(folder)) == Scoring(1, 2, -3, 4)
    about["score"] = "facemap: 0.5 to 1"
    (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")
    assert judge.kept_scoring(load_bundle(folder)) == Scoring()


def test_the_teachers_limit_depends_on_its_kind():
    scores = np.linspace(0.5, 0.9, 101, dtype=np.float32)[:, None].repeat(2, 1)
    scores[:, 1] = 0.5  # nothing but empty maps
    least = distill.limits(scores, None)
    assert (scores[:, 0] >= least[0]).mean() == pytest.approx(0.9, abs=0.01)
    assert not (scores[:, 1] >= least[1]).any()
    assert distill.limits(scores, 0.25).tolist() == [0.25, 0.25]


# --- distilling --------------------------------------------------------------------------------


def looked(n, every=1, kind=4):
    random = np.random.default_rng(n)
    numbers = list(range(0, n, every))
    small = random.normal(size=(len(numbers), kind)).astype(np.float32)
    return distill.Looked(n, numbers, small)


@pytest.mark.parametrize("films", [[looked(100)], [looked(900, 3), looked(40)], [looked(6)]])
def test_the_end_of_each_video_judges(films):
    train, held = distill.choose(films, 50)
    for film, learned, judged in zip(films, train, held, strict=True):
        assert max(learned) < 0.8 * film.frames + 1 <= min(judged) + 1
        assert set(learned) <= set(film.numbers)
        assert judged
    n = sum(map(len, train)) + sum(map(len, held))
    assert n == pytest.approx(50, abs=2) or n <= films[0].frames
    # videos of different shapes have thumbnails that cannot be compared
    train, _ = distill.choose([looked(100), looked(100, kind=7)], 50)
    assert [len(one) for one in train] == [20, 20]


def test_a_long_video_keeps_evenly_spread_thumbnails(tmp_path):
    images = [np.full((24, 32), i, np.uint8) for i in range(100)]
    film = write(tmp_path / "film.mkv", "ffv1", "gray", images)
    seen = []
    found = distill.look_through(film, 10, seen.append)
    assert found.frames == 100
    assert found.numbers == list(range(0, 100, found.numbers[1]))
    assert 10 <= len(found.numbers) <= 20
    assert len(found.thumbnails) == len(found.numbers)
    assert seen[-1] == 100


@pytest.mark.timeout(300)
def test_distill_learns_what_another_network_says(tmp_path, start, capsys):
    images, _ = draw(7, 30)
    film = write(tmp_path / "film.mkv", "ffv1", "gray", images)
    words = ("distill", "--teacher", "default", "--start", start, "--video", film)
    out = tmp_path / "fast"
    succeeds(*words, "--frames", 12, "--steps", 3, "--out", out)
    text = capsys.readouterr().out
    assert "teacher" in text
    assert "ms per frame" in text
    bundle = load_bundle(out)
    assert bundle.names == KEYPOINTS
    training = bundle.about["training"]
    assert training["teacher"]["name"] == load_bundle("default").name
    assert 0 < training["learned_from"] <= 10
    assert "the teacher's labels" in bundle.about["scores"]["held_out"]
    assert "distill" in (out / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_distill_refuses_what_is_no_video(tmp_path, start, capsys):
    words = ("distill", "--teacher", "default", "--start", start, "--out", tmp_path / "fast")
    assert "none.avi" in refused(capsys, *words, "--video", tmp_path / "none.avi")
    assert "model.json" in refused(
        capsys, *words[:2], tmp_path, *words[3:], "--video", tmp_path / "none.avi"
    )


def test_keypoints_of_the_teacher_are_added_and_unsure_ones_left_out():
    none = np.empty((0, 2), np.float32)
    one = Labelled(Path("a.png"), none, "film", "film")
    theirs, names = ("paw", "mouth", "nose(tip)"), (*KEYPOINTS, "paw")
    pose = Pose(np.float32([[1, 2, 0.9], [3, 4, 0.2], [5, 6, 0.6]]))
    made = distill._labelled(one, pose, theirs, names, np.float32([0.5] * 3))
    known = {
        names[k]: made.points[k].tolist() for k in np.flatnonzero(~np.isnan(made.points[:, 0]))
    }
    assert known == {"paw": [1, 2], "nose(tip)": [5, 6]}
    nobody = Pose(pose.keypoints, face=False)
    made = distill._labelled(one, nobody, theirs, names, np.float32([0.5] * 3))
    assert np.isnan(made.points).all()


# --- it works ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """A network of the recipe that knows synthetic faces; the shipped one, if it is of its kind."""
    bundle = load_bundle("default")
    try:
        export.read_network(bundle.folder / "model.onnx", bundle.names, bundle.names)
    except UserError:
        folder = tmp_path_factory.mktemp("knowing") / "knowing"
        torch.manual_seed(0)
        bank = data.synthetic_bank(data.FIRST_TRAINING_SEED, 10, 4)
        network = Network(len(KEYPOINTS))
        network = fit.fit(network, fit.loss, [bank], [1.0], fit.Schedule(250, 16, strength=0.5))
        export.write_bundle(network, folder, "knowing", {}, {})
        bundle = load_bundle(folder)
    return bundle


@pytest.mark.timeout(1200)
def test_a_student_follows_its_annotators_habit(tmp_path, knowing):
    """The nose is labelled 8 px further out than it is; a network tuned to that says so, too."""
    folder = project(tmp_path, ["one", "two", "three"], 8, HABIT, extra=())
    names, labelled = read([folder], knowing.names, {"snout": "nose(tip)"})
    task = plan_lesson(names, labelled)
    out = tmp_path / "mine"
    made = tune.tune(knowing, task, tune.Plan(steps=150), out, lambda what, done, loss: None)
    (_, before), *later = made.curves.checks
    assert min(error for _, error in later) < 0.9 * before, made.curves.checks
    nose, off = names.index("nose(tip)"), {}
    for name, bundle in (("before", knowing), ("after", load_bundle(out))):
        engine = make_engine(bundle, "onnxruntime")
        misses = []
        for image, points in frames(task.held):
            box = data.box_of(data.face_of(points, names))
            found = PoseEstimator(engine, image.shape, bbox=box)(image).xy[nose]
            out_there = outward(points[:16])
            misses.append((found - points[nose]) @ out_there + HABIT)
        off[name] = float(np.median(misses))
    assert abs(off["after"] - HABIT) < abs(off["before"] - HABIT), off
    assert off["after"] - off["before"] > 2, off
