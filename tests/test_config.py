import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtface.camera_config import VideoSection
from rtface.config import load_rig
from rtface.template import TEMPLATE
from rtface.types import UserError

CAMERA = '[camera.cam1]\nkind = "synthetic"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text)
    return path


def test_template_is_a_rig_and_shows_the_defaults(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, TEMPLATE))
    bare = load_rig(write(tmp_path, CAMERA))
    assert rig == bare


def test_template_names_every_key() -> None:
    from rtface import camera_config, config

    sections = (
        camera_config.SyntheticSection,
        VideoSection,
        camera_config.MotionSection,
        camera_config.PupilSection,
        camera_config.RunningSection,
        config.EngineSection,
    )
    for section in sections:
        for key in section.model_fields:
            assert f"{key} = " in TEMPLATE or f"cam1.{key}]" in TEMPLATE, key


def test_files_are_relative_to_the_rig_file(tmp_path: Path) -> None:
    text = '[camera.cam1]\nkind = "video"\nfile = "a.avi"\n[engine]\nbundle = "net"\n'
    with pytest.raises(UserError, match=r"rig.toml: camera.cam1.file: there is no file .*a.avi"):
        load_rig(write(tmp_path, text))
    (tmp_path / "a.avi").touch()
    rig = load_rig(write(tmp_path, text))
    section = rig.camera["cam1"]
    assert isinstance(section, VideoSection)
    assert section.file == str(tmp_path / "a.avi")
    assert rig.engine.bundle == str(tmp_path / "net")


def test_cameras_get_ports_of_their_own(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, CAMERA + '[camera.cam2]\nkind = "synthetic"\n'))
    assert [rig.data_port(name) for name in rig.camera] == [5581, 5583]


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        (CAMERA + "rate = 5\n", "camera.cam1.rate", "unknown key"),
        (CAMERA + "rate_hz = -5\n", "camera.cam1.rate_hz", "greater than 0"),
        (CAMERA + 'rate_hz = "fast"\n', "camera.cam1.rate_hz", "valid number"),
        (CAMERA + "rate_hz = inf\n", "camera.cam1.rate_hz", "finite"),
        (CAMERA + "width = 640.5\n", "camera.cam1.width", "integer"),
        (CAMERA + "bbox = [0, 0, 4, 4]\n", "camera.cam1", "at least 16 px"),
        (CAMERA + "seed = 1000\n", "camera.cam1.seed", "999"),
        ("[camera.cam1]\nwidth = 640\n", "camera.cam1", "no kind"),
        ('[camera.cam1]\nkind = "webcam"\n', "camera.cam1", "unknown kind"),
        ('[camera.cam1]\nkind = "video"\n', "camera.cam1.file", "missing"),
        ('[camera."Cam 1"]\nkind = "synthetic"\n', "Cam 1", "a-z"),
        ('name = "rig"\n', "camera", "missing"),
        (CAMERA + '[stream]\nhost = "0.0.0.0"\n', "stream", "SSH tunnel"),
        (CAMERA + "[stream]\ndata_port = 5580\n", "ports", "collide"),
        (CAMERA + '[engine]\nruntime = "cuda"\n', "engine.runtime", "onnxruntime"),
        (CAMERA + "[ring]\nframes_s = 0\n", "ring.frames_s", "greater than 0"),
        (CAMERA + "[camera\n", "rig.toml", "not valid TOML"),
        ('[camera.cam1]\nkind = "video"\nfile = "a\\u0000b"\n', "camera.cam1.file", "match"),
    ],
)
def test_bad_rig_names_file_key_and_remedy(
    tmp_path: Path, text: str, key: str, remedy: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_rig(write(tmp_path, text))
    message = str(caught.value)
    assert "rig.toml" in message
    assert key in message
    assert remedy in message
    assert "\n" not in message


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_bytes(b"\xef\xbb\xbf" + CAMERA.encode())
    load_rig(path)


def test_missing_and_binary_rig_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rtface init"):
        load_rig(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="not a text file"):
        load_rig(binary)
    with pytest.raises(UserError, match="cannot be read"):
        load_rig(tmp_path)


def test_import_is_light() -> None:
    code = (
        "import sys, rtface; heavy = {'onnxruntime', 'av', 'pydantic', 'typer', 'rich', 'torch'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
