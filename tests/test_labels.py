"""Users' labels come in with their pictures and places, or with one line that says why not."""

import contextlib
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videofiles import pictures, write

pytest.importorskip("torch", reason="the extra 'train' is not installed")

from rtface.camera.anatomy import KEYPOINTS
from rtface.camera.film import Film
from rtface.train.data import read_gray
from rtface.train.labels import (
    Held,
    Labelled,
    VideoFrame,
    check_labels,
    frames,
    match_name,
    parse_names,
    read_labels,
    stills,
    unpickle,
)
from rtface.train.labels.names import _variants
from rtface.train.labels.pictures import _write_png
from rtface.types import UserError

THEIRS = ["nose_tip", "Eye-Back", "eyefront", "whisker_2"]
OURS = ["nose(tip)", "eye(back)", "eye(front)", "whisker(II)"]
HEIGHT, WIDTH = 48, 64
IMAGES = pictures(5)
#: (5, 4, 2): within 48x48, so that they fit both ways round; some are not labelled
POINTS = np.random.default_rng(3).uniform(1, 46, (5, 4, 2)).round(2)
POINTS[1, 2] = np.nan
POINTS[3] = np.nan


def project(folder, points=POINTS, columns=1, parts=THEIRS, video="mouse1"):
    """A DeepLabCut project with labels of one folder of pictures; return its CSV file."""
    pandas = pytest.importorskip("pandas")
    here = folder / "labeled-data" / video
    here.mkdir(parents=True)
    names = [f"img{i:03d}.png" for i in range(len(points))]
    for name, image in zip(names, IMAGES, strict=False):
        _write_png(here / name, image)
    index = [("labeled-data", video, name) for name in names]
    table = pandas.DataFrame(
        points.reshape(len(points), -1),
        index=pandas.MultiIndex.from_tuples(index) if columns == 3 else list(map("/".join, index)),
        columns=pandas.MultiIndex.from_product(
            [["ann"], parts, ["x", "y"]], names=["scorer", "bodyparts", "coords"]
        ),
    )
    path = here / "CollectedData_ann.csv"
    table.to_csv(path)
    table.to_hdf(path.with_suffix(".h5"), key="df_with_missing", mode="w")
    return path


def slp(folder, points=POINTS, embed=False, movie=True, instances=1):
    """Labels of SLEAP on a video of five frames."""
    sleap_io = pytest.importorskip("sleap_io")
    video = folder / "cam1.mkv"
    if movie:
        write(video, "ffv1", "gray", IMAGES)
    skeleton = sleap_io.Skeleton(list(THEIRS))
    film = sleap_io.Video.from_filename(str(video))
    labelled = [
        sleap_io.LabeledFrame(
            film,
            i,
            [sleap_io.Instance.from_numpy(xy, skeleton=skeleton) for _ in range(instances)],
        )
        for i, xy in reversed(list(enumerate(points)))
        if np.isfinite(xy).any()
    ]
    labels = sleap_io.Labels(labelled)
    path = folder / ("labels.pkg.slp" if embed else "labels.slp")
    labels.save(str(path), embed="user" if embed else None, verbose=False)
    return path


def refined(folder, points=POINTS, images=None, **other):
    """What Facemap's refinement saves: normalised pictures, x, y and likelihood."""
    images = np.stack(IMAGES) if images is None else images
    path = folder / "mine_Facemap_refined_data.npy"
    full = np.concatenate([points, np.ones((*points.shape[:2], 1))], -1).astype(np.float32)
    normal = (images.astype(float) - 20) / 200
    content = {
        "imgs": [normal, normal[:2]],
        "keypoints": [full, full[:2]],
        "bbox": [[0, HEIGHT, 0, WIDTH]] * 2,
        "bodyparts": THEIRS,
        "frame_ind": np.array([4, 9, 11, 20, 30]),
        "video_path": "C:\\videos\\left eye.avi",
    }
    np.save(path, content | other)
    return path


def says(path, *words, names=KEYPOINTS, given=None):
    """The one line for a file that is refused; it names the file and holds these words."""
    with pytest.raises(UserError) as caught:
        read_labels(path, names, given)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    for word in words:
        assert word in line, f"{word!r} is not in: {line}"
    return line


def check(labelled, wanted=POINTS, names=tuple(KEYPOINTS), images=IMAGES, numbers=(0, 1, 2, 4)):
    """Same points under our names, NaN elsewhere, and the right pictures."""
    assert len(labelled) == len(numbers)
    columns = [names.index(name) for name in OURS]
    got = list(frames(labelled))
    for one, number, (image, points) in zip(labelled, numbers, got, strict=True):
        assert one.points is points
        assert points.dtype == np.float32
        assert points.shape == (len(names), 2)
        np.testing.assert_allclose(points[columns], wanted[number], atol=1e-4)
        assert np.isnan(np.delete(points, columns, 0)).all()
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, images[number])


# --- DeepLabCut --------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("suffix", [".csv", ".h5"])
def test_deeplabcut(tmp_path, columns, suffix):
    path = project(tmp_path, columns=columns).with_suffix(suffix)
    if suffix == ".h5":
        pytest.importorskip("tables")
    labelled = read_labels(path)
    check(labelled)
    assert {one.group for one in labelled} == {one.recording for one in labelled} == {"mouse1"}
    # only wanted keypoints, in the order that is asked for
    some = read_labels(path, ["eye(front)", "mouth", "nose(tip)"])
    np.testing.assert_allclose(some[0].points[[2, 0]], POINTS[0][[0, 2]], atol=1e-4)
    assert np.isnan(some[0].points[1]).all()


def test_a_deeplabcut_project_is_read_whole(tmp_path):
    project(tmp_path, video="mouse1")
    project(tmp_path, video="mouse2")
    labelled = read_labels(tmp_path)
    assert [one.group for one in labelled] == ["mouse1"] * 4 + ["mouse2"] * 4
    assert len({one.picture for one in labelled}) == 8
    project(tmp_path, POINTS * np.nan, video="mouse3")  # still to be labelled
    assert len(read_labels(tmp_path)) == 8
    (tmp_path / "labeled-data/mouse2/CollectedData_bob.csv").write_text("")
    with pytest.raises(UserError, match="two scorers"):
        read_labels(tmp_path)
    (tmp_path / "empty").mkdir()
    says(tmp_path / "empty", "has no labeled-data")


def test_pictures_of_a_moved_project_are_found(tmp_path):
    path = project(tmp_path)
    moved = tmp_path / "elsewhere" / "mouse1"
    moved.parent.mkdir()
    path.parent.rename(moved)
    check(read_labels(moved / path.name))
    windows = (
        (moved / path.name).read_text().replace("labeled-data/mouse1/", "labeled-data\\mouse1\\")
    )
    (moved / path.name).write_text(windows)
    check(read_labels(moved / path.name))
    # a folder of another name holds other pictures, even if they have the same names
    other = moved.rename(moved.parent / "mouse7")
    says(other / path.name, "4 of its 4 pictures", "img000.png", "put them back")


def test_labels_of_deeplabcut_that_are_refused(tmp_path):
    path = project(tmp_path)
    good = path.read_text()

    def edited(*changes):
        text = good
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return path

    says(edited(("coords,", "coordinates,")), "wrong header", "coordinates")
    says(edited((",", ";")), "wrong header", "semicolons")
    says(edited(("bodyparts,", "individuals,a,a,a,a,a,a,a,a\nbodyparts,")), "several animals")
    says(edited(("coords,x,y,x,y", "coords,x,y,x,x")), "Eye-Back", "x, x")
    says(edited(("coords,x,y,x,y", "coords,x,likelihood,x,y")), "not labels")
    says(edited(("scorer,ann,ann", "scorer,ann,bob")), "ann, bob")
    says(edited((f",{POINTS[0, 0, 0]},", ",1;5,")), "line 4", "'1;5'")
    says(edited((f",{POINTS[0, 0, 0]},", ",inf,")), "line 4", "'inf'")
    says(edited((f",{POINTS[0, 0, 0]},", ",")), "line 4", "8 cells")
    says(edited((f",{POINTS[0, 0, 0]},", ",,")), "nose(tip)", "img000.png", "only one coordinate")
    says(edited(("img001", "img000")), "img000.png", "twice")
    says(edited((f",{POINTS[0, 0, 0]},", ",-7,")), "nose(tip)", "x -7", "outside", "1 of 15")
    (path.parent / "img002.png").unlink()
    says(edited(), "1 of its 4 pictures", "img002.png")
    (path.parent / "img002.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"img002.png: is not a picture"):
        read_labels(path)
    path.write_text("\n".join(good.splitlines()[:3]))
    says(path, "none of eye(back)", "0 pictures")
    path.write_bytes(b"\xff\xfe\x00s")
    says(path, "UTF-8")
    path.write_text("")
    says(path, "wrong header", "(none)")
    says(path.parent / "none.csv", "cannot be read")
    says(path.parent / "none.txt", ".csv, .h5, .slp, .npy")
    path.with_suffix(".h5").write_bytes(b"\x89HDF no")
    says(path.with_suffix(".h5"), "HDF5", "CSV")
    says(path.with_name("none.h5"), "no such file")


def test_exchanged_columns_are_recognised(tmp_path):
    points = np.random.default_rng(0).uniform([50, 5], [62, 20], (5, 4, 2))
    line = says(project(tmp_path / "a", points[..., ::-1]), "x and y look exchanged", "64x48")
    assert "20 of 20 points" in line
    points[0, 0] = [300, 20]  # one slip is no exchange
    says(project(tmp_path / "b", points), "x 300", "outside", "1 of 20")


def test_a_click_on_the_very_edge_is_no_fault(tmp_path):
    points = POINTS.copy()
    points[0, 0], points[0, 1] = [-0.5, 47.6], [63.9, -1]
    assert len(read_labels(project(tmp_path, points))) == 4


# --- names -------------------------------------------------------------------------------------


def test_names_that_mean_the_same():
    known = {
        "nose(tip)": ("nose(tip)", "nosetip", "nose_tip", "NoseTip", "tip nose"),
        "eye(back)": ("eyeback", "eye_back", "EyeBack", "back-eye", "eyelid_posterior"),
        "eye(top)": ("upper_eyelid", "eye top"),
        "whisker(II)": ("whisker2", "Whisker II", "whisker(d1)", "whisker_ii"),
        "whisker(III)": ("whisker3", "whisker(c2)", "whisker(d2)"),
        "lowerlip": ("lower_lip", "LowerLip", "bottom lip"),
        "nosebridge": ("nose_bridge", "bridge"),
        "mouth": ("Mouth",),
    }
    for ours, many in known.items():
        assert {match_name(name) for name in many} == {ours}
    assert [match_name(n) for n in ("eye_left", "nose", "whisker4", "", "paws?")] == [None] * 5
    assert len(dict(_variants())) == len(set(_variants())), "a variant means two things"
    assert {match_name(name) for name in KEYPOINTS} == set(KEYPOINTS)


def test_unknown_names_are_asked_about(tmp_path):
    path = project(tmp_path, parts=["snout", "eyebak", "eyefront", "tongue"])
    line = says(path, "'snout'", "'eyebak' (did you mean 'eye(back)'?)", "'tongue'", "--names")
    assert "eyefront" not in line
    given = parse_names(["snout=nose(tip), eyebak = eye(back)", "tongue="])
    labelled = read_labels(path, given=given)
    np.testing.assert_allclose(labelled[0].points[KEYPOINTS.index("nose(tip)")], POINTS[0, 0])
    assert np.isfinite(labelled[0].points).all(1).sum() == 3
    says(path, "'snuot'", "snout, eyebak", given={"snuot": "nose(tip)"})
    says(path, "'snout' and 'tongue' are both", given={**given, "tongue": "nose(tip)"})
    says(path, "every keypoint", given=dict.fromkeys(("snout", "eyebak", "eyefront", "tongue"), ""))
    says(path, "none of paw is labelled in its 5 pictures", names=["paw"], given=given)
    with pytest.raises(UserError, match=re.escape("'nose' (did you mean 'nose")):
        read_labels(path, given={**given, "snout": "nose"})


def test_names_from_a_toml_file(tmp_path):
    file = tmp_path / "names.toml"
    file.write_text('[names]\nsnout = "nose(tip)"\n"tongue" = ""\n')
    assert parse_names([str(file), "a=mouth"]) == {"snout": "nose(tip)", "tongue": "", "a": "mouth"}
    file.write_text('snout = "mouth"\n')
    assert parse_names([str(file)]) == {"snout": "mouth"}
    for text, why in (
        ("snout = 1", "not text"),
        ("nose(tip) = 1", "not TOML"),
        ("names=3", "text"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=why):
            parse_names([str(file)])
    for texts, why in (
        (["snout"], "theirs=ours"),
        (["=mouth"], "theirs=ours"),
        (["a=mouth,a=paw"], "twice"),
        ([str(tmp_path / "none.toml")], "cannot be read"),
    ):
        with pytest.raises(UserError, match=why):
            parse_names(texts)


@given(st.text(max_size=12))
def test_any_name_is_known_or_asked_about(name):
    assert match_name(name) in (None, *KEYPOINTS)


# --- SLEAP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("embed", [False, True])
def test_sleap(tmp_path, embed):
    path = slp(tmp_path, embed=embed)
    if embed:
        (tmp_path / "cam1.mkv").unlink()
    labelled = read_labels(path)
    check(labelled)
    assert {one.group for one in labelled} == {"cam1"}
    kinds = {type(one.picture) for one in labelled}
    assert kinds == {Held if embed else VideoFrame}


def test_a_sleap_video_is_looked_for_beside_its_labels(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    path = slp(there)
    there.rename(here)
    check(read_labels(here / path.name))
    (here / "cam1.mkv").unlink()
    says(here / path.name, "1 of its 1 pictures or videos", "cam1.mkv")


def test_labels_of_sleap_that_are_refused(tmp_path):
    sleap_io = pytest.importorskip("sleap_io")
    says(tmp_path / "none.slp", "no such file")
    says(slp(tmp_path, instances=2), "cam1.mkv frame 0 has 2 animals")
    (tmp_path / "bad.slp").write_bytes(b"no hdf")
    says(tmp_path / "bad.slp", "SLEAP wrote")
    skeleton = sleap_io.Skeleton(list(THEIRS))
    guess = sleap_io.PredictedInstance.from_numpy(POINTS[0], skeleton=skeleton)
    film = sleap_io.Video.from_filename(str(tmp_path / "cam1.mkv"))
    labels = sleap_io.Labels([sleap_io.LabeledFrame(film, 0, [guess])])
    labels.save(str(tmp_path / "guessed.slp"), embed=None, verbose=False)
    says(tmp_path / "guessed.slp", "by hand", "predictions")
    # a shorter video of the same name
    path = slp(tmp_path)
    write(tmp_path / "cam1.mkv", "ffv1", "gray", IMAGES[:3])
    labelled = read_labels(path)
    with pytest.raises(UserError, match="has 3 frames, and frame 4"):
        list(frames(labelled))


def test_a_sleap_sequence_of_pictures(tmp_path):
    sleap_io = pytest.importorskip("sleap_io")
    files = [_write_png(tmp_path / f"p{i}.png", image) for i, image in enumerate(IMAGES)]
    film = sleap_io.Video.from_filename([str(file) for file in files])
    skeleton = sleap_io.Skeleton(list(THEIRS))
    labels = sleap_io.Labels(
        [
            sleap_io.LabeledFrame(film, i, [sleap_io.Instance.from_numpy(xy, skeleton=skeleton)])
            for i, xy in enumerate(POINTS)
        ]
    )
    labels.save(str(tmp_path / "a.slp"), embed=None, verbose=False)
    labelled = read_labels(tmp_path / "a.slp")
    check(labelled)
    assert labelled[0].picture == files[0]
    assert labelled[0].group == tmp_path.name


# --- Facemap -----------------------------------------------------------------------------------


def test_facemap(tmp_path):
    path = refined(tmp_path)
    labelled = read_labels(path)
    wide = np.stack(IMAGES).astype(float)
    images = np.round((wide - wide.min()) / (wide.max() - wide.min()) * 255).astype(np.uint8)
    check(labelled[:4], images=images)
    assert [one.group for one in labelled] == ["left eye"] * 4 + [f"video 1 of {path.stem}"] * 2
    assert labelled[3].where.endswith("left eye frame 30")
    assert len({one.where for one in labelled}) == 6
    # one video alone, pictures as they are
    path = refined(tmp_path, imgs=np.stack(IMAGES), keypoints=POINTS, frame_ind=None)
    check(read_labels(path))


def test_labels_of_facemap_that_are_refused(tmp_path):
    says(refined(tmp_path, bodyparts=THEIRS[:3]), "3 bodyparts")
    says(refined(tmp_path, keypoints=[POINTS]), "'imgs' is of 2 videos and 'keypoints' of 1")
    says(refined(tmp_path, imgs=[POINTS[:3], "x"]), "video 0 has 3 pictures", "(5, 4, 3)")
    says(refined(tmp_path, imgs=["a", "b"]), "'imgs' of video 0 is no array")
    nan = np.full((5, 8, 8), np.nan)
    says(refined(tmp_path, imgs=[nan], keypoints=[POINTS]), "no numbers")
    says(refined(tmp_path, bodyparts=["a", "b", "c", "d"]), "'a'", "--names")
    says(refined(tmp_path, points=POINTS + 300), "outside")
    says(refined(tmp_path, points=POINTS * np.nan), "is labelled in its 7 pictures")
    path = tmp_path / "x.npy"
    for content, why in (([1, 2], "holds a plain array"), ({"a": 1}, "has no 'imgs'")):
        np.save(path, content)
        says(path, why)
    np.save(path, np.array(None, object))
    says(path, "NoneType")
    path.write_bytes(b"\x93NUMPY")
    says(path, "no .npy file")
    says(tmp_path / "none.npy", "cannot be read")


class Runs:
    """Unpickling this creates a file: what a pickle from elsewhere could do."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["bodyparts", "video_path", "imgs", "bbox"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, where):
    mark = tmp_path / "ran"
    says(refined(tmp_path, **{where: Runs(mark)}), "posix.mkdir", "nothing of it was run")
    nested = np.empty(1, object)
    nested[0] = [Runs(mark)]
    says(refined(tmp_path, **{where: nested}), "posix.mkdir")
    assert not mark.exists()
    np.load(tmp_path / "mine_Facemap_refined_data.npy", allow_pickle=True)
    assert mark.exists(), "the test's pickle would not have run anything"


@pytest.mark.parametrize("value", [Path("x"), range(3), object(), 1j, {1}, np.zeros(2, "i4,f4")])
def test_pickles_of_other_things_are_refused(value):
    with pytest.raises(unpickle.Refused):
        unpickle.loads(pickle.dumps(value))


def test_a_pickle_of_itself_is_refused():
    ring = []
    ring.append(ring)
    with pytest.raises(unpickle.Refused, match="deep"):
        unpickle.loads(pickle.dumps(ring))


DTYPES = st.sampled_from(["f4", ">f8", "u1", "<i2", "bool", "U3", "S2", "f2", ">u4"])
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5) | st.floats()
ARRAYS = st.builds(
    lambda shape, dtype, fortran: np.asarray(
        np.arange(int(np.prod(shape))).reshape(shape).astype(dtype), order="F" if fortran else "C"
    ),
    st.lists(st.integers(0, 3), max_size=3),
    DTYPES,
    st.booleans(),
)
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
        return a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


@given(VALUES, st.integers(3, 4))
@settings(deadline=None)
def test_whatever_labels_may_hold_is_read_as_pickle_reads_it(value, protocol):
    assert same(value, unpickle.loads(pickle.dumps(value, protocol)))


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_a_damaged_pickle_is_refused_or_read(data):
    content = {
        "imgs": [np.zeros((2, 3), np.float32)],
        "n": np.float64(2),
        "o": np.array([[], 1], object),
    }
    raw = bytearray(pickle.dumps(content, data.draw(st.integers(3, 4))))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(unpickle.Refused):
        unpickle.loads(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


# --- what they become --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "slp", "npy"])
def test_all_labels_become_stills(tmp_path, kind):
    made = {"csv": project, "slp": slp, "npy": refined}[kind](tmp_path)
    labelled = read_labels(made)
    as_stills = stills(labelled, tmp_path / "out")
    assert len({still.path for still in as_stills}) == len(labelled)
    for still, one, (image, points) in zip(as_stills, labelled, frames(labelled), strict=True):
        np.testing.assert_array_equal(read_gray(still.path), image)
        assert still.points is points
        assert (still.group, still.recording) == (one.group, one.recording)
    assert (tmp_path / "out").is_dir()
    assert len(list((tmp_path / "out").iterdir())) == (0 if kind == "csv" else len(labelled))


def test_frames_of_two_videos_come_in_any_order(tmp_path):
    movies = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    write(movies[0], "ffv1", "gray", IMAGES)
    write(movies[1], "ffv1", "gray", IMAGES[::-1])
    asked = [(0, 1), (0, 1), (0, 4), (1, 0), (1, 3), (0, 2), (0, 0)]
    labelled = [Labelled(VideoFrame(movies[m], n), POINTS[0], "g", "g") for m, n in asked]
    for (movie, number), (image, _) in zip(asked, frames(labelled), strict=True):
        wanted = IMAGES[number] if movie == 0 else IMAGES[4 - number]
        np.testing.assert_array_equal(image, wanted)


def faces(n=24, seed=5):
    film = Film(seed, 640, 480)
    for i in range(n):
        points = film.face.points(film.face.snap(film.script.at(2.3 * i)))
        yield Labelled(Path(f"{i}.png"), points, "mouse", "mouse")


def test_good_labels_are_not_suspicious():
    assert check_labels([]) == []
    for seed in (5, 6, 7):
        found = check_labels(list(faces(seed=seed)))
        # lips lick and noses sniff: a few of 24 * 19
        assert len(found) <= 12, found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("eye(front)", "eye(back)"),
        ("pupil(front)", "pupil(back)"),
        ("eye(top)", "eye(bottom)"),
        ("nose(top)", "nose(bottom)"),
    ],
)
def test_exchanged_names_are_suspicious(one, other):
    labelled = list(faces())
    columns = [KEYPOINTS.index(one), KEYPOINTS.index(other)]
    labelled[7].points[columns] = labelled[7].points[columns[::-1]]
    found = [s for s in check_labels(labelled) if "exchanged" in s.why]
    assert {(s.where) for s in found} == {"7.png"}
    assert {one, other} & {s.keypoint for s in found}
    # so they are in a recording of one picture
    assert check_labels(labelled[7:8])[0].where == "7.png"


def test_a_slip_of_the_hand_is_suspicious():
    labelled = list(faces())
    before = set(check_labels(labelled))
    labelled[9].points[KEYPOINTS.index("eye(back)")] += [90, -60]
    labelled[4].points[KEYPOINTS.index("paw")] += [90, -60]  # it may
    new = set(check_labels(labelled)) - before
    slips = {(s.where, s.keypoint) for s in new if "neighbours" in s.why}
    assert ("9.png", "eye(back)") in slips
    assert len(slips) <= 2
