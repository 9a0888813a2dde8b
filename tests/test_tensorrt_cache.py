"""Engines on disk: built once, whole, and of this GPU and version."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakecuda import FakeGpu
from gpurig import Rig, one_line, same_as_onnx

from rtface.engine import enginecache, tensorrt
from rtface.engine.bundle import Bundle, load_bundle
from rtface.types import UserError


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    return Rig(tmp_path / "engines", request.param)


def test_an_engine_is_built_once(rig: Rig, bundle: Bundle) -> None:
    for _ in range(2):
        engine = rig.engine(bundle)
        assert same_as_onnx(engine, bundle)
        engine.close()
    assert len(rig.trt.built) == 1
    rig.engine(bundle, precision="fp16").close()
    assert len(rig.trt.built) == 2


def test_without_an_engine_a_run_says_how_to_make_one(rig: Rig, bundle: Bundle) -> None:
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, build=False)
    one_line(caught, "no engine for NVIDIA GeForce RTX 3060 (8.6)", "calibration/engine.py")
    place = tensorrt.open_place(rig.trt.flavour, None, rig.trt.library, rig.driver)
    path = tensorrt.prepare(bundle, "fp32", place, rig.folder)
    assert path.parent == rig.folder
    assert rig.engine(bundle, build=False).captured


def test_an_engine_of_another_rig_is_named(rig: Rig, bundle: Bundle) -> None:
    rig.engine(bundle).close()
    (path,) = rig.folder.glob("*.engine")
    rig.driver.gpus[0] = FakeGpu("NVIDIA RTX 4090", (8, 9))
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, build=False)
    one_line(
        caught,
        "no engine for NVIDIA RTX 4090",
        "there is one for gpu NVIDIA GeForce RTX 3060 instead of NVIDIA RTX 4090",
    )
    rig.engine(bundle).close()
    (other,) = {*rig.folder.glob("*.engine")} - {path}
    other.write_bytes(path.read_bytes())  # somebody copied it
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, str(other), "was built for gpu NVIDIA GeForce RTX 3060", "remove it")


def test_an_engine_of_another_version_is_named(rig: Rig, bundle: Bundle) -> None:
    rig.engine(bundle).close()
    old = rig.trt.version
    rig.trt.version = old.replace("7.1", "9.9").replace("10.13", "11.4")
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, build=False)
    one_line(caught, f"version {old} instead of {rig.trt.version}")
    # the key agrees and TensorRT refuses all the same
    rig.trt.version = old
    (path,) = rig.folder.glob("*.engine")
    line, plan = path.read_bytes().split(b"\n", 1)
    key = enginecache.EngineKey(**{k: v for k, v in json.loads(line).items() if k != "sha256"})
    enginecache.write_plan(rig.folder, key, b"stale" + plan)
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, str(path), "does not take this engine", "remove it")


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b"{}\n" + b[5:]])
def test_a_damaged_engine_is_not_run(
    rig: Rig, bundle: Bundle, damage: Callable[[bytes], bytes]
) -> None:
    rig.engine(bundle).close()
    (path,) = rig.folder.glob("*.engine")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, str(path), "is damaged")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        Rig(tmp_path / "file" / "engines").engine(bundle)
    one_line(caught, "cannot", "engines")


KEY = enginecache.EngineKey("ab", "fp16", "tensorrt", "10.3", "Orin", "8.7", 12060, "Linux", 1)
WRITES = """
import sys
from pathlib import Path
from rtface.engine.enginecache import EngineKey, write_plan
key = EngineKey("ab", "fp16", "tensorrt", "10.3", "Orin", "8.7", 12060, "Linux", 1)
print("ready", flush=True)
sys.stdin.readline()
for i in range(150):
    write_plan(Path(sys.argv[1]), key, sys.argv[2].encode() * (100_000 + i))
"""


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    enginecache.write_plan(tmp_path, KEY, b"x")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, str(tmp_path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for letter in "ab"
    ]
    for one in writers:
        assert one.stdout is not None
        assert one.stdin is not None
        one.stdout.readline()
    for one in writers:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    seen = set()
    while any(one.poll() is None for one in writers):
        plan = enginecache.read_plan(tmp_path, KEY)  # raises if it is half of one
        seen.update(plan[:1].decode())
    for one in writers:
        one.communicate()
        assert one.returncode == 0
    assert seen >= {"a", "b"}
    assert [path.suffix for path in tmp_path.iterdir()] == [".engine"]
