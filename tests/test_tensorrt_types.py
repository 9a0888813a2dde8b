"""rtface's calls of TensorRT against the types of the genuine bindings of 10, 11 and RTX."""

import os
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "peers"))
from tensorrt_stubs import FILES, PEERS, faults, write_stubs

pytestmark = [pytest.mark.networks, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=PEERS)
def stubs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if made := os.environ.get("RTFACE_TENSORRT_STUBS"):
        return Path(made) / request.param / "stubs"
    return write_stubs(tmp_path_factory.mktemp(request.param), PEERS[request.param])


def test_every_call_exists(stubs: Path) -> None:
    assert faults(stubs, *FILES) == []


#: a planted wrong call: (what stands in the file, what is planted, what mypy says)
PLANTED = [
    ("library.BuilderFlag.TF32", "library.BuilderFlag.FP32", "FP32"),
    ("parser.parse(model)", "parser.parse(str(model))", "str"),
    ("builder.build_serialized_network(", "builder.build_engine(", "build_engine"),
    ("network.num_inputs", "network.num_bindings", "num_bindings"),
    ("    if plan is None:\n", "    if False:\n", "None"),
]
PLANTED_LOADED = [
    ("execute_async_v3(stream)", "execute_async_v2(stream)", "execute_async_v2"),
    ("execute_async_v3(stream)", 'execute_async_v3("stream")', "str"),
    ("set_tensor_address(name, address)", "set_tensor_address(address, name)", "set_tensor"),
    ("    if engine is None:\n", "    if False:\n", "None"),
    ("    if context is None:\n", "    if False:\n", "None"),
    ("self._engine.num_io_tensors", "self._engine.num_bindings", "num_bindings"),
]


def test_a_planted_wrong_call_is_caught(stubs: Path, tmp_path: Path) -> None:
    """All in one run of mypy, each in a file of its own."""
    wanted = {}
    for source, planted in ((FILES[0], PLANTED), (FILES[1], PLANTED_LOADED)):
        text = source.read_text()
        for there, instead, says in planted:
            assert there in text
            file = tmp_path / f"planted{len(wanted)}.py"
            file.write_text(text.replace(there, instead))
            wanted[file.name] = says
    found = faults(stubs, *tmp_path.glob("*.py"))
    for name, says in wanted.items():
        assert any(name in one and says in one for one in found), (name, says, found)
