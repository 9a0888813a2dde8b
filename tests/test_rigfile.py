"""Areas that are put into a rig file: nothing else of it changes, and nothing breaks it."""

from __future__ import annotations

import difflib
import json
import os
import stat
import tomllib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rtface.adjust import RigFiles
from rtface.camera_config import SyntheticSection
from rtface.config import load_rig
from rtface.control import answer, told
from rtface.process import Process
from rtface.rigfile import AREAS, RigFile, areas_of, check_areas, edited, read_boxes
from rtface.template import TEMPLATE
from rtface.types import UserError

RIG = """\
# the left rig
[camera.cam1]   # face
kind = "synthetic"
bbox = [0, 0,  64, 64]  # as of May
# kept

[camera.cam1.motion]
bin = 4 # coarse
roi = [[8, 8, 40, 40]]

[camera.cam1.pupil]
# found by keypoints

[camera.cam1.running]
box = [0, 400, 64, 32]

[camera.cam2]
kind = "synthetic"
[engine]
threads = 2
"""


def changed(text: str, **wanted: Any) -> list[str]:
    """The lines that differ, with their sign."""
    new = edited(text, "cam1", wanted, Path("rig.toml"))
    lines = difflib.unified_diff(text.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def rig_file(folder: Path, text: str = RIG) -> RigFile:
    path = folder / "rig.toml"
    path.write_bytes(text.encode())
    return RigFile(path, load_rig(path))


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (
            {"bbox": [[16, 20, 320, 240]]},
            ["-bbox = [0, 0,  64, 64]  # as of May", "+bbox = [16, 20,  320, 240]  # as of May"],
        ),
        ({"bbox": []}, ["-bbox = [0, 0,  64, 64]  # as of May"]),
        (
            {"roi": [[8, 8, 40, 40], [100, 90, 80, 70]]},
            ["-roi = [[8, 8, 40, 40]]", "+roi = [[8, 8, 40, 40], [100, 90, 80, 70]]"],
        ),
        ({"roi": []}, ["-roi = [[8, 8, 40, 40]]", "+roi = []"]),
        ({"pupil": [[300, 120, 90, 70]]}, ["+box = [300, 120, 90, 70]"]),
        ({"running": [[0, 0, 20, 20]]}, ["-box = [0, 400, 64, 32]", "+box = [0, 0, 20, 20]"]),
    ],
)
def test_one_line_changes(wanted: dict[str, Any], lines: list[str]) -> None:
    assert changed(RIG, **wanted) == lines


SPREAD = """\
[camera.cam1]
kind = "synthetic"
[camera.cam1.motion]
roi = [ # areas
    # nose
    [8, 8, 40, 40],  # large
    # whiskers
    [1, 2, 30, 40],
]
bin = 4 # coarse
[camera.cam1.pupil]
box = [
    300, 120, # left, top
    90, 70,   # size
]
"""


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (
            {"roi": [[9, 8, 40, 40], [1, 2, 30, 40]]},
            ["-    [8, 8, 40, 40],  # large", "+    [9, 8, 40, 40],  # large"],
        ),
        ({"roi": [[8, 8, 40, 40]]}, ["-    [1, 2, 30, 40],"]),
        ({"roi": [[1, 2, 30, 40]]}, ["-    [8, 8, 40, 40],  # large"]),
        (
            {"roi": [[8, 8, 40, 40], [1, 2, 30, 40], [5, 6, 70, 80]]},
            ["+    [5, 6, 70, 80],"],
        ),
        ({"roi": [[5, 6, 70, 80], [8, 8, 40, 40], [1, 2, 30, 40]]}, ["+    [5, 6, 70, 80],"]),
        ({"roi": []}, ["-    [8, 8, 40, 40],  # large", "-    [1, 2, 30, 40],"]),
        (
            {"pupil": [[301, 120, 90, 60]]},
            [
                "-    300, 120, # left, top",
                "-    90, 70,   # size",
                "+    301, 120, # left, top",
                "+    90, 60,   # size",
            ],
        ),
    ],
)
def test_lists_of_several_lines_keep_lines_and_comments(
    wanted: dict[str, Any], lines: list[str]
) -> None:
    assert sorted(changed(SPREAD, **wanted)) == sorted(lines)


def test_a_file_without_a_last_line_end() -> None:
    text = '[camera.cam1]\n# how\nkind = "synthetic"\n# what\nwidth = 320  # px'
    new = edited(text, "cam1", {"bbox": [[1, 2, 30, 40]]}, Path("x"))
    assert new == text + "\nbbox = [1, 2, 30, 40]\n"


def test_a_new_key_does_not_fall_to_a_table_that_is_commented_out() -> None:
    new = edited(TEMPLATE, "cam1", {"bbox": [[1, 2, 30, 40]]}, Path("x")).splitlines()
    at = new.index("bbox = [1, 2, 30, 40]")
    assert new[at - 1].startswith("nuisances = true")
    assert new[:at] + new[at + 1 :] == TEMPLATE.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        'camera.cam1 = {kind = "synthetic", motion = {bin = 4}}\n',
        '[camera]\ncam1.kind = "synthetic"\ncam1.motion.bin = 4\n[engine]\nthreads = 1\n',
        '[camera.cam1.motion]\nbin = 4\n[engine]\nthreads = 1\n[camera.cam1]\nkind = "synthetic"',
        '[camera."cam1"]\nkind = """\\\n synthetic"""\n[camera.cam1.motion]\n',
    ],
)
def test_however_it_is_written(text: str) -> None:
    new = edited(text, "cam1", {"bbox": [[1, 2, 30, 40]], "roi": [[1, 2, 9, 9]]}, Path("x"))
    before, after = tomllib.loads(text), tomllib.loads(new)
    section = after["camera"]["cam1"]
    assert (section.pop("bbox"), section["motion"].pop("roi")) == ([1, 2, 30, 40], [[1, 2, 9, 9]])
    assert after == before


def test_marks_and_line_ends_stay(tmp_path: Path) -> None:
    file = rig_file(tmp_path, "\ufeff" + RIG.replace("\n", "\r\n"))
    file.path.chmod(0o640)
    before = file.path.read_bytes()
    backup = file.write("cam1", {"bbox": [[16, 20, 320, 240]], "pupil": [[300, 120, 90, 70]]})
    after = file.path.read_bytes()
    assert backup == tmp_path / "rig.toml.bak"
    assert backup.read_bytes() == before
    assert after.startswith(b"\xef\xbb\xbf# the left rig\r\n")
    assert after.count(b"\n") == after.count(b"\r\n") == before.count(b"\n") + 1
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    section = load_rig(file.path).camera["cam1"]
    assert section.bbox == (16, 20, 320, 240)
    assert areas_of(section)["pupil"] == [[300, 120, 90, 70]]
    # and again, and of a second camera: what it wrote itself is no change of others
    assert file.write("cam2", {"bbox": [[0, 0, 32, 32]]}) == backup
    assert backup.read_bytes() == before  # what the run began with stays
    assert areas_of(file.rig.camera["cam2"]) == {"bbox": [[0, 0, 32, 32]]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rig.toml", "rig.toml.bak"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text(RIG)
    link = tmp_path / "rig.toml"
    link.symlink_to("real.toml")
    RigFile(link, load_rig(link)).write("cam1", {"bbox": []})
    assert link.is_symlink()
    assert "bbox" not in (tmp_path / "real.toml").read_text()


def test_what_somebody_else_changed_is_left_alone(tmp_path: Path) -> None:
    file = rig_file(tmp_path)
    file.path.write_text(RIG + "# mine\n")
    with pytest.raises(UserError, match="was changed since this run began"):
        file.write("cam1", {"bbox": []})
    assert file.path.read_text() == RIG + "# mine\n"
    file.path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        file.write("cam1", {"bbox": []})


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path) -> None:
    file = rig_file(tmp_path)
    (tmp_path / "rig.toml.bak").mkdir()
    with pytest.raises(UserError, match=r"rig.toml: cannot be written .*; copy the lines"):
        file.write("cam1", {"bbox": []})
    assert file.path.read_text() == RIG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rig.toml", "rig.toml.bak"]
    if os.getuid():
        (tmp_path / "rig.toml.bak").rmdir()
        file.path.chmod(0o400)
        with pytest.raises(UserError, match="read-only"):
            file.write("cam1", {"bbox": []})


def test_what_would_be_no_rig_is_not_written(tmp_path: Path) -> None:
    file = rig_file(tmp_path)
    with pytest.raises(UserError, match="bbox is"):
        file.write("cam1", {"bbox": [[0, 0, 4, 4]]})
    assert file.path.read_text() == RIG


def test_areas_have_to_fit_their_camera(tmp_path: Path) -> None:
    section = rig_file(tmp_path).rig.camera["cam1"]
    assert areas_of(section).keys() == AREAS.keys()
    check_areas(section, "cam1", {"bbox": [[0, 0, 640, 480]], "pupil": [], "roi": []}, 480, 640)
    for wanted, text in (
        ({"bbox": [[1, 0, 640, 480]]}, "camera.cam1.bbox: 1,0,640,480 reaches beyond"),
        ({"bbox": [[0, 0, 16, 99999]]}, "reaches beyond the frame of 640x480 px"),
        ({"bbox": [[0, 0, 15, 16]]}, "too small"),
        ({"bbox": [[0, 0, 16, 16]] * 2}, "2 given"),
        ({"pupil": [[0, 0, 16, 7]]}, "camera.cam1.pupil.box: 0,0,16,7 is too small"),
        ({"running": []}, "camera.cam1.running.box: 0 given"),
        ({"roi": [[0, 0, 0, 5]]}, "reaches beyond"),
    ):
        with pytest.raises(UserError, match=text):
            check_areas(section, "cam1", wanted, 480, 640)
    bare = SyntheticSection(kind="synthetic")
    with pytest.raises(UserError, match=r"there is no \[camera.cam1.pupil\]"):
        check_areas(bare, "cam1", {"pupil": [[0, 0, 16, 16]]}, 480, 640)
    spots = SyntheticSection(
        kind="synthetic", pupil={"box": [0, 0, 64, 64], "reflections": [[1, 1, 9, 9]]}
    )
    with pytest.raises(UserError, match="reflections need a box"):
        check_areas(spots, "cam1", {"pupil": []}, 480, 640)
    masked = SyntheticSection(kind="synthetic", motion={"masks": "m.npz"})
    with pytest.raises(UserError, match="areas of their own"):
        check_areas(masked, "cam1", {"roi": [[0, 0, 16, 16]]}, 480, 640)


def test_rectangles_as_texts() -> None:
    assert read_boxes("none") == []
    assert read_boxes("1,2,3,4;50,60,70,80") == [[1, 2, 3, 4], [50, 60, 70, 80]]


# --- the order ---


def asked(command: dict[str, Any], files: RigFiles) -> dict[str, Any]:
    """The reply of a control port that has these files."""
    acquire = Process("acquire", "cam1", None)  # type: ignore[arg-type]
    acquire.info = {"height": 480, "width": 640}

    def act(order: str, fields: dict[str, str]) -> Future[dict[str, Any]]:
        assert order == "write_rig"
        return files.write(fields, [acquire])

    reply = answer(json.dumps(command).encode(), {}, {}, 0, act)
    if isinstance(reply, Future):
        reply.exception(5)
        reply = told(reply)
    return json.loads(reply)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"bbox": "nan,0,16,16"}, "bbox is left,top,width,height"),
        ({"bbox": "-1,0,16,16"}, "bbox is"),
        ({"bbox": "1e3,0,16,16"}, "bbox is"),
        ({"bbox": "1,2,3"}, "bbox is"),
        ({"bbox": "999999999999,0,16,16"}, "bbox is"),
        ({"bbox": "99999,0,16,16"}, "reaches beyond"),
        ({"bbox": [0, 0, 64, 64]}, "has to be a text"),
        ({"bbox": "0,0,64,64\n"}, "cannot be shown"),
        ({"bbox": "\u0661,0,64,64"}, "bbox is"),
        ({"roi": ";".join(["1,2,30,40"] * 9)}, "roi is"),
        ({"roi": "1,2,2,2"}, "holds no bin"),
        ({"rule": "x"}, "write_rig has no field 'rule'"),
        ({}, "needs one of"),
        ({"bbox": "none", "camera": "cam9"}, "there is no camera 'cam9'"),
        ({"bbox": "none", "camera": ""}, "there is no camera ''"),
        ({"bbox": "none", "camera": "../x"}, "camera may hold letters"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_line(
    tmp_path: Path, fields: dict[str, Any], text: str
) -> None:
    file = rig_file(tmp_path)
    files = RigFiles(file.rig, {"cam1": file})
    reply = asked({"cmd": "write_rig", "camera": "cam1", **fields}, files)
    assert not reply["ok"]
    assert text in reply["error"]
    assert "\n" not in reply["error"]
    assert file.path.read_text() == RIG
    files.close()


def test_the_answer_comes_once_it_is_written(tmp_path: Path) -> None:
    file = rig_file(tmp_path)
    files = RigFiles(file.rig, {"cam1": file})
    order = {"cmd": "write_rig", "camera": "cam1", "bbox": "8,8,64,64", "roi": "none"}
    reply = asked(order, files)
    assert reply == {"ok": True, "file": str(file.path), "backup": f"{file.path}.bak"}
    assert files.state("cam1")["areas"]["bbox"] == [[8, 8, 64, 64]]
    without = RigFiles(file.rig, {})
    assert "no rig file to write to" in asked(order, without)["error"]
    assert without.state("cam1")["rig_file"] is None
    files.close()
