"""The face is found, followed, recorded and computed again by whole programs."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from faces import make_square_bundle, square
from programs import FFV1, RTFACE, only_session, recorded_frames, running, wait_until

import rtface
from rtface.check import check_rig
from rtface.config import load_rig
from rtface.engine.bundle import load_bundle
from rtface.face import CROP
from rtface.recompute import _crop, recompute
from rtface.replay import recorded
from rtface.session import layout, open_session
from rtface.session.records import RecordFile, RecordWriter
from rtface.session.verify import verify
from rtface.types import BBox, Flag, Ledger, Pose, Result, UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows a bright square."""
    return make_square_bundle(tmp_path_factory.mktemp("square"))


def film(path: Path, n: int = 250, first: int = 25) -> Path:
    """A square that comes after half a second, drifts, and hides for two and a half."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "gray"
        for i in range(n):
            image = np.zeros((240, 320), np.uint8)
            if i >= first and not 100 <= i < 225:
                image = square(100 + 0.4 * i, 21, 40, (240, 320))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    return path


def cli(*words: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [RTFACE, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.timeout(180)
def test_a_moving_crop_is_recorded_and_recomputed_to_the_last_bit(
    tmp_path: Path, bundle: Path
) -> None:
    video = film(tmp_path / "film.mkv")
    camera = f'kind = "video"\nfile = "{video}"\nloop = true\n'
    with running(tmp_path, bundle, camera, extra=FFV1) as program:
        wait_until(lambda: program.counts()["face"]["state"] == "lost", 20)
        assert program.counts()["face"]["no_face_s"] >= 1
        stream = rtface.subscribe("cam1", program.data)
        message = stream.receive(5)
        assert message is not None
        assert len(message.fields["crop"]) == 4
        assert stream.meta()["face"] == "follow"
        stream.close()
        wait_until(lambda: recorded_frames(program) > 400, 30)
        code, out, err = program.stop()
    assert code == 0, out + err
    folder = only_session(tmp_path)
    assert verify(folder) == []
    with open_session(folder) as session:
        results = session.cameras["cam1"].results[:]
        crops = {tuple(crop) for crop in results["crop"].tolist()}
        assert (0, 0, 320, 240) in crops  # the search
        assert len(crops) > 10  # settling and following
        assert min(y for _, y, _, _ in crops) < 0  # it reaches beyond the frame
        no_face = results["flags"] & Flag.NO_FACE != 0
        assert 0 < no_face.sum() < len(results)
        found = recompute(session, "cam1", str(bundle), fill=True)
        assert found.identical == found.compared > 50
        assert found.compared + found.without_pixels == len(results)
        texts = [event.fields["text"] for event in session.events if event.kind == "annotation"]
        assert any("found the face, crop [" in text for text in texts)
        assert any("camera cam1: no face since " in text for text in texts)
        live = list(recorded(session.cameras["cam1"]))
        assert live[0].pose.crop == BBox(*results["crop"][0].tolist())
        assert [result.pose.face for result in live] == (~no_face).tolist()
        table = pytest.importorskip("pandas") and session.cameras["cam1"].to_pandas()
        assert table["crop_width"].tolist() == results["crop"][:, 2].tolist()
    with RecordFile(folder / "cam1.filled.rec") as filled:
        assert len(filled) >= len(results)
        assert (filled[:]["crop"][:, 2] > 0).all()
    assert f"{found.identical} of {found.identical} results identical" in cli(
        "replay", folder, "--recompute", "--bundle", bundle
    )


def as_format(number: int, folder: Path, out: Path) -> Path:
    """Return a copy of a session as rtface wrote it before."""
    shutil.copytree(folder, out)
    about = layout.read_about(folder)
    told = {"session": about.session, "recording": about.recording, "camera": "cam1"}
    path = out / layout.results_name("cam1")
    path.unlink()
    with open_session(folder) as session:
        results = session.cameras["cam1"].results[:]
        columns = layout.result_columns(len(session.cameras["cam1"].names), number)
    writer = RecordWriter(path, "results", told, columns)
    for record in results:
        writer.append(b"".join(record[column.name].tobytes() for column in columns))
    writer.flush()
    writer.close()
    old = about.model_copy(update={"format": number})
    (out / layout.ABOUT).write_bytes(layout.encode_about(old))
    return out


@pytest.mark.parametrize("number", [1, 2])
def test_older_sessions_are_read_verified_and_recomputed(
    session_folder: Path, tmp_path: Path, tiny_bundle: Path, number: int
) -> None:
    old = as_format(number, session_folder, tmp_path / "old")
    assert verify(old) == []
    assert "nothing to do" in cli("session", "repair", old)
    with open_session(old) as session, open_session(session_folder) as new:
        camera = session.cameras["cam1"]
        first = next(recorded(camera))
        whole = BBox(0, 0, 320, 240)
        assert (first.pose.crop, first.pose.face) == ((None, whole)[number - 1], True)
        assert first.ledger.t_pupil_ns == first.ledger.t_infer_ns
        np.testing.assert_array_equal(camera.keypoints(), new.cameras["cam1"].keypoints())
        assert next(recorded(new.cameras["cam1"])).pose.crop == whole
        found = recompute(session, "cam1", str(tiny_bundle), fill=True)
        assert found.identical == found.compared > 50
        told = session.about.model_copy(update={"format": 4})
    (old / layout.ABOUT).write_bytes(layout.encode_about(told))
    with pytest.raises(UserError, match=r"format 4 by rtface .*; this one reads up to 3"):
        open_session(old)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(120)
def test_a_film_is_tracked_with_the_settled_crop_from_its_first_frame(
    tmp_path: Path, bundle: Path
) -> None:
    video = film(tmp_path / "film.mkv", 100, first=40)
    with av.open(str(tmp_path / "late.mkv"), "w") as container:  # the face is there from the start
        stream = container.add_stream("ffv1", rate=100)
        stream.height, stream.width, stream.pix_fmt = 240, 320, "gray"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(square(100, 60, 40, (240, 320)), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    out = tmp_path / "out.csv"
    said = cli("track", video, tmp_path / "late.mkv", "--out", out, "--bundle", bundle)
    assert "; no face in 4" in said  # 40 to 49: what comes before it, and the search
    lines = rows(out)
    late = [line for line in lines if line["source"].endswith("late.mkv")]
    assert len(late) == 10
    assert {line["nose(tip)_x"] for line in late} == {late[-1]["nose(tip)_x"]}
    assert abs(float(late[0]["nose(tip)_x"]) - (100 + 0.6 * 40)) < 2
    assert float(late[0]["nose(tip)_score"]) > 0.5
    cli("track", video, "--out", out, "--bundle", bundle, "--face", "off")
    assert max(float(line["nose(tip)_score"]) for line in rows(out)) > 0.5
    assert "follow, hold or off" in cli("track", video, "--out", out, "--face", "up", code=2)


def test_check_says_how_the_face_is_found(tmp_path: Path, bundle: Path, tiny_bundle: Path) -> None:
    path = tmp_path / "rig.toml"
    camera = '[camera.cam1]\nkind = "synthetic"\nwidth = 64\nheight = 64\n'
    for network, more, words in (
        (bundle, "", "looked for at the start, then followed slowly"),
        (bundle, 'face = "hold"', "looked for at the start, then the crop stays"),
        (bundle, 'face = "off"', "not looked for: the whole frame is tracked"),
        (bundle, 'face = "hold"\nbbox = [0, 0, 32, 48]', "not looked for: bbox is tracked"),
        (
            tiny_bundle,
            'face = "hold"',
            "not looked for: the whole frame is tracked, as this network expects",
        ),
    ):
        path.write_text(f'{camera}{more}\n[engine]\nbundle = "{network}"\n')
        findings = check_rig(load_rig(path))
        assert next(text for what, text in findings if what == "  face") == words
        findings.close()
    path.write_text(f'{camera}face = "nose"\n')
    with pytest.raises(UserError, match=r"camera\.cam1\.face"):
        load_rig(path)


def test_a_crop_stands_in_the_bundle(tmp_path: Path, bundle: Path) -> None:
    crop = load_bundle(bundle).crop
    assert crop == CROP._replace(muzzle_px=32)
    assert load_bundle("default").crop in (None, CROP)
    for change, why in (
        ({"crop": {"muzzle_px": 1}}, "crop: must have"),
        ({"keypoints": ["a", "b", "c"]}, r"no face can be found without eye\(front\)"),
    ):
        copy = Path(shutil.copytree(bundle, tmp_path / why[:5]))
        about = json.loads((copy / "model.json").read_text()) | change
        (copy / "model.json").write_text(json.dumps(about))
        with pytest.raises(UserError, match=why):
            load_bundle(copy)


@pytest.mark.parametrize("size", [(2**31 - 1, 12), (64, 2**31 - 1), (-4, 12), (64, -1)])
def test_a_crop_that_nobody_asked_for_is_refused_and_takes_no_memory(size) -> None:
    ledger = Ledger(*[0] * len(Ledger._fields))
    keypoints = np.zeros((3, 3), np.float32)
    whole = BBox(0, 0, 64, 48)
    for crop, expected in ((BBox(-9, 5, 90, 68), BBox(-9, 5, 90, 68)), (None, whole)):
        assert _crop(Result(7, ledger, Pose(keypoints, crop)), whole, (48, 64)) == expected
    with pytest.raises(UserError, match=r"result 7: its crop .* rtface session verify"):
        _crop(Result(7, ledger, Pose(keypoints, BBox(0, 0, *size))), whole, (48, 64))
