"""Weights of Facemap's shape into a bundle, and everything that is refused on the way."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import one_line, rtface

from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.facemap.convert import import_weights
from rtface.facemap.weights import NAMES, read_weights
from rtface.torchfile import read_tensors
from rtface.train.fmnet import FMnet, decode
from rtface.types import UserError

pytestmark = pytest.mark.networks

CHANNELS = (2, 3, 4, 4, 5)


def network(channels: tuple[int, ...] = CHANNELS, k: int = 15, seed: int = 0) -> FMnet:
    torch.manual_seed(seed)
    made = FMnet(channels, k).eval()  # type: ignore[arg-type]
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            module.weight.data.normal_(1, 0.5)
            module.bias.data.normal_(0, 0.3)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "facemap_model_state.pt"
    torch.save(network().state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("channels", "k"), [(CHANNELS, 15), ((3, 3, 3, 3, 3), 15), ((4, 2, 6, 3, 8), 7), (CHANNELS, 1)]
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_graph_gives_what_the_network_gives(
    channels: tuple[int, ...], k: int, wrapped: bool, tmp_path: Path
) -> None:
    made = network(channels, k, seed=k)
    table = {"state_dict": made.state_dict(), "epoch": 3} if wrapped else made.state_dict()
    torch.save(table, tmp_path / "w.pt")
    names = [f"k{i}" for i in range(k)]
    bundle = import_weights(tmp_path / "w.pt", tmp_path / "net", names)
    assert bundle.about == load_bundle(tmp_path / "net").about
    assert bundle.about["training"]["channels"] == list(channels)
    engine = make_engine(load_bundle(tmp_path / "net"), "onnxruntime")
    assert engine.names == tuple(names)
    image = np.random.default_rng(0).normal(100, 50, (256, 256)).astype(np.float32)
    found = engine.infer(image, 0.01, -0.5)  # type: ignore[arg-type]
    with torch.no_grad():
        seen = torch.from_numpy(image * np.float32(0.01) + np.float32(-0.5))
        expected = decode(made(seen[None, None]))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fifteen_keypoints_have_facemap_s_names_in_its_order(state: Path, tmp_path: Path) -> None:
    done = rtface("model", "import", state, "--out", tmp_path / "net")
    assert done.returncode == 0, done.stderr
    assert "15 keypoints, channels 2,3,4,4,5" in done.stdout
    bundle = load_bundle(tmp_path / "net")
    assert bundle.names == NAMES
    assert bundle.names[-3:] == ("whisker(I)", "whisker(III)", "whisker(II)")
    assert bundle.input_dtype == np.float32
    assert bundle.normalisation == "facemap"
    assert bundle.input_shape == (256, 256)
    # of random weights; other precisions may well move peaks that nearly tie
    verified = rtface("model", "verify", tmp_path / "net", "--runtime", "onnxruntime")
    assert verified.returncode == 0, verified.stderr
    assert "exists" in one_line(rtface("model", "import", state, "--out", tmp_path / "net"))


def test_other_numbers_of_keypoints_need_names(tmp_path: Path) -> None:
    path, out = tmp_path / "six.pt", tmp_path / "net"
    torch.save(network(k=3).state_dict(), path)
    assert "--names" in one_line(rtface("model", "import", path, "--out", out))
    for names in (["a", "b"], ["a", "b", "b"], ["a", "", "b"]):
        with pytest.raises(UserError, match="--names"):
            import_weights(path, out, names)
    assert not out.exists()
    done = rtface("model", "import", path, "--out", out, "--names", "ear, tail ,paw")
    assert done.returncode == 0, done.stderr
    assert load_bundle(out).names == ("ear", "tail", "paw")


def test_tensors_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    table = OrderedDict(
        plain=base,
        turned=base.T,
        part=base[1:3, ::2],
        double=base.double(),
        half=base.half(),
        long=torch.tensor([1, -2]),
        scalar=torch.tensor(7),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(base),
        shared=[base, (base, 1, 2**40, -1.5, None, True, "text")],
    )
    torch.save(table, tmp_path / "w.pt")
    found = read_tensors(tmp_path / "w.pt")
    for key in list(table)[:9]:
        np.testing.assert_array_equal(found[key], table[key].detach().numpy())
    assert found["shared"][1][1:] == (1, 2**40, -1.5, None, True, "text")


class Runs:
    """A pickle of this writes a file when it is loaded the usual way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (str(self._path),))


def archive(path: Path, program: bytes, storages: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", program)
        for key, content in (storages or {}).items():
            file.writestr(f"a/data/{key}", content)
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("hidden", [False, True])
def test_what_would_run_is_refused_and_not_run(protocol: int, hidden: bool, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    content: Any = Runs(trap)
    if hidden:
        content = {"state_dict": {"Conv.conv0.conv.conv_0.0.weight": [1, content]}}
    path = archive(tmp_path / "bad.pt", pickle.dumps(content, protocol))
    with pytest.raises(UserError) as caught:
        import_weights(path, tmp_path / "net")
    message = str(caught.value)
    if protocol == 2:
        assert message in one_line(rtface("model", "import", path, "--out", tmp_path / "net"))
    assert str(path) in message
    assert "refused" in message
    assert "nothing in it was run" in message
    assert not trap.exists()
    assert not (tmp_path / "net").exists()
    with zipfile.ZipFile(path) as file:  # and it would have
        pickle.loads(file.read("a/data.pkl"))
    assert trap.exists()


def op(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


@pytest.mark.parametrize(
    "program",
    [
        op(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R"),
        op(b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R"),
        op(b"ctorch\nload\nX\x01\x00\x00\x00x\x85R"),
        op(b"ctorch._utils\n_rebuild_tensor\n)R"),
        op(b"ccollections\nOrderedDict\nK\x05\x85R"),
        op(b"ctorch\nFloatStorage\n)R"),
        op(b"(X\x01\x00\x00\x00xios\nsystem\n"),  # INST
        op(b"\x82\x01"),  # EXT1
        op(b"ccollections\nOrderedDict\n)\x81"),  # NEWOBJ
        op(REBUILD, b"}b"),  # state of a function
        op(b"X\x01\x00\x00\x00xQ"),  # a foreign reference
        op(b"(X\x03\x00\x00\x00modcos\nsystem\nX\x01\x00\x00\x000X\x01\x00\x00\x00cK\x01tQ"),
    ],
)
def test_every_other_way_to_run_something_is_refused(program: bytes, tmp_path: Path) -> None:
    path = archive(tmp_path / "bad.pt", program)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b"K\x00K\x05\x85K\x01\x85\x89}tR", "beyond its storage"),
        (b"K\x02K\x03\x85K\x01\x85\x89}tR", "beyond its storage"),
        (b"K\x00J\xff\xff\xff\x7f\x85K\x00\x85\x89}tR", "beyond its storage"),
        (b"J\xff\xff\xff\xffK\x02\x85K\x01\x85\x89}tR", "negative"),
        (b"K\x00K\x02\x85J\xff\xff\xff\xff\x85\x89}tR", "negative"),
        (b"K\x00K\x02\x85)\x89}tR", "without a storage"),
        (b"tR", "damaged"),
        (b"K\x00X\x01\x00\x00\x00a\x85K\x01\x85\x89}tR", "damaged"),
    ],
)
def test_tensors_cannot_reach_beyond_their_numbers(tail: bytes, said: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "bad.pt", op(REBUILD, b"(", STORAGE, tail), {"0": bytes(16)})
    with pytest.raises(UserError, match=said):
        read_tensors(path)


def test_files_of_other_kinds_are_refused(state: Path, tmp_path: Path) -> None:
    whole = state.read_bytes()
    odd = io.BytesIO()
    with zipfile.ZipFile(odd, "w") as file:
        file.writestr("readme", b"hello")
    contents = {
        "old.pt": pickle.dumps({}),
        "empty.pt": b"",
        "cut.pt": whole[: len(whole) // 2],
        "zip.pt": odd.getvalue(),
    }
    flipped = bytearray(whole)
    weight = network().state_dict()["Conv.conv4.conv.conv_1.2.weight"].numpy().tobytes()
    flipped[whole.index(weight) + 50] ^= 1
    contents["flipped.pt"] = bytes(flipped)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_tensors(tmp_path / name)
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match=str(missing)):
            read_tensors(missing)


def test_short_or_torn_programs_are_damaged(state: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(state) as file:
        name = next(n for n in file.namelist() if n.endswith("data.pkl"))
        program = file.read(name)
    random = np.random.default_rng(0)
    for i in range(200):
        torn = bytearray(program[: random.integers(1, len(program))] if i % 2 else program)
        torn[random.integers(len(torn))] = random.integers(256)
        path = archive(tmp_path / "torn.pt", bytes(torn))
        with pytest.raises(UserError):
            read_tensors(path)


HEAD = "Conv2_1x1.conv1.bias"
FIRST = "Conv.conv0.conv.conv_0.1.weight"


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda table: table.update({key: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.pop(HEAD), f"{HEAD}: missing"),
        (lambda table: table.pop("Conv.conv3.conv.conv_1.2.weight"), "conv_1.2.weight: missing"),
        (put("Conv.conv9.weight", torch.zeros(1)), "Conv.conv9.weight: there is no such"),
        (put(HEAD, torch.full((15,), torch.nan)), f"{HEAD}: has values that are not finite"),
        (put(HEAD, torch.full((15,), torch.inf)), f"{HEAD}: has values that are not finite"),
        (put(HEAD, torch.full((15,), 1e300, dtype=torch.float64)), "not finite"),
        (put(HEAD, torch.zeros(14)), f"{HEAD}: has shape"),
        (put(HEAD, "text"), f"{HEAD}: is a str"),
        (put(FIRST, torch.zeros(2, 1, 5, 5)), f"{FIRST}: has shape"),
        (put("Conv2_1x1.conv0.weight", torch.tensor(1.0)), "has no channels"),
        (put("Conv.conv1.conv.conv_0.0.running_var", torch.tensor([-1.0, 1])), "negative"),
    ],
)
def test_wrong_weights_are_refused_by_key(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    table = dict(network().state_dict())
    change(table)
    path = tmp_path / "wrong.pt"
    torch.save(table, path)
    with pytest.raises(UserError) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    for content in ([1, 2], torch.zeros(3), {"params": {"channels": [1, 2]}}):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(UserError, match=r"not a table|missing"):
            read_weights(tmp_path / "w.pt")


def test_where_it_cannot_be_written_is_said(state: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        import_weights(state, tmp_path / "file" / "net")
    with pytest.raises(UserError, match="exists"):
        import_weights(state, tmp_path / "file")


def test_importing_needs_no_torch(state: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from rtface.facemap.convert import import_weights\n"
        f"import_weights(Path({str(state)!r}), Path({str(tmp_path / 'net')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
