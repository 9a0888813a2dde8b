"""The Bonsai workflows, which never ran in Bonsai: their form, and what they would compute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import golden
import numpy as np
import pytest
from conftest import ROOT

from rtface import client, wire
from rtface.types import Pose, Result

FOLDER = ROOT / "docs" / "examples" / "bonsai"
MODEL = ROOT / "rtface" / "models" / "default" / "model.json"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
BONSAI = "{https://bonsai-rx.org/2018/workflow}"
ZMQ = "{clr-namespace:Bonsai.ZeroMQ;assembly=Bonsai.ZeroMQ}"
DSP = "{clr-namespace:Bonsai.Dsp;assembly=Bonsai.Dsp}"
#: operators and their properties, as the sources named in the README have them
OPERATORS = {
    "zmq:Subscriber": {ZMQ + "ConnectionString", ZMQ + "Topic"},
    "dsp:ConvertFromArray": {DSP + "Size", DSP + "Depth", DSP + "Channels"},
    "dsp:ConvertToArray": {DSP + "Depth"},
    "dsp:Submatrix": {DSP + name for name in ("StartRow", "EndRow", "StartCol", "EndCol")},
    "rx:Zip": set(),
    "Index": {BONSAI + "Operand"},
    "MemberSelector": {BONSAI + "Selector"},
}
PREFIXES = {
    "zmq": "clr-namespace:Bonsai.ZeroMQ;assembly=Bonsai.ZeroMQ",
    "dsp": "clr-namespace:Bonsai.Dsp;assembly=Bonsai.Dsp",
    "rx": "clr-namespace:Bonsai.Reactive;assembly=Bonsai.Core",
    "xsi": XSI[1:-1],
    "": BONSAI[1:-1],
}
WORKFLOWS = ["pose.bonsai", "fast.bonsai"]


class Node:
    """One operator: its type, and its properties as text, nil as None."""

    def __init__(self, expression: ElementTree.Element) -> None:
        kind = expression.get(XSI + "type")
        if kind == "Combinator":
            (expression,) = expression
            kind = expression.get(XSI + "type")
        assert kind in OPERATORS
        assert {child.tag for child in expression} == OPERATORS[kind]
        self.kind = kind
        self.values: dict[str, str | None] = {}
        for element in expression.iter():
            if not len(element):
                name = element.tag.rsplit("}", 1)[1]
                self.values[name] = None if element.get(XSI + "nil") == "true" else element.text

    def number(self, name: str) -> int:
        value = self.values[name]
        return 0 if value is None else int(value)

    def compute(self, *inputs: Any) -> Any:
        """What the operator's source says it makes of its inputs."""
        value = inputs[0]
        if self.kind == "Index":
            return value[self.number("Value")]
        if self.kind == "MemberSelector":
            # a NetMQMessage is a list of frames here, and a frame its bytes
            frames = {"Buffer": value, "First.Buffer": value[0]}
            return frames[str(self.values["Selector"])]
        if self.kind == "dsp:ConvertFromArray":
            assert (self.values["Depth"], self.number("Channels")) == ("F32", 1)
            floats = np.frombuffer(bytes(value), "<f4")
            rows, columns = self.number("Height"), self.number("Width")
            rows = 1 if rows == columns == 0 else rows
            rows = rows or len(floats) // columns
            return floats.reshape(rows, columns or len(floats) // rows)
        if self.kind == "dsp:Submatrix":
            rows = slice(self.number("StartRow"), self.number("EndRow") or None)
            return value[rows, self.number("StartCol") : self.number("EndCol") or None]
        if self.kind == "dsp:ConvertToArray":
            assert self.values["Depth"] == "F32"
            return np.ascontiguousarray(value).ravel()
        assert self.kind == "rx:Zip"
        return inputs


def read(name: str) -> tuple[list[Node], list[tuple[int, int]]]:
    """Return nodes and edges; an edge's label numbers the inputs of its node."""
    root = ElementTree.parse(FOLDER / name).getroot()
    (workflow,) = root
    nodes, edges = workflow
    assert [x.tag for x in (root, workflow, nodes, edges)] == [
        BONSAI + tag for tag in ("WorkflowBuilder", "Workflow", "Nodes", "Edges")
    ]
    pairs: list[tuple[int, int]] = []
    for edge in edges:
        pair = int(edge.attrib["From"]), int(edge.attrib["To"])
        order = 1 + sum(to == pair[1] for _, to in pairs)
        assert edge.attrib["Label"] == f"Source{order}"
        pairs.append(pair)
    return [Node(expression) for expression in nodes], pairs


def results(name: str, frames: list[bytes]) -> list[Any]:
    """What every node of a workflow makes of a message."""
    nodes, edges = read(name)
    made: list[Any] = [frames]
    for i, node in enumerate(nodes[1:], start=1):
        made.append(node.compute(*(made[start] for start, end in edges if end == i)))
    return made


def message(kind: str) -> tuple[list[bytes], np.ndarray[Any, Any]]:
    """A message of as many keypoints as the shipped network has, by rtface's own encoder."""
    n = len(json.loads(MODEL.read_text())["keypoints"])
    keypoints = np.random.default_rng(1).uniform(-10, 700, (n, 3)).astype(np.float32)
    base = golden.result()
    result = Result(base.seq, base.ledger, Pose(keypoints))
    if kind == "pose.bonsai":
        return wire.encode_pose(wire.pose_topic("cam1"), golden.SESSION, result), keypoints
    return [wire.encode_fast(wire.fast_topic("cam1"), result)], keypoints


@pytest.mark.parametrize("name", WORKFLOWS)
def test_prefixes_stand_for_the_assemblies_of_the_sources(name: str) -> None:
    declared = dict(value for _, value in ElementTree.iterparse(FOLDER / name, events=["start-ns"]))
    assert declared == PREFIXES


@pytest.mark.parametrize("name", WORKFLOWS)
def test_topic_and_port_are_ours(name: str) -> None:
    subscriber = read(name)[0][0]
    topic = {"pose.bonsai": wire.pose_topic, "fast.bonsai": wire.fast_topic}[name]("cam1")
    assert subscriber.values == {"ConnectionString": f">{client.DATA}", "Topic": topic}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_would_compute_the_keypoints(name: str) -> None:
    frames, keypoints = message(name)
    made = results(name, frames)
    matrices = [x for x in made if isinstance(x, np.ndarray) and x.shape == keypoints.shape]
    assert len(matrices) == 1
    np.testing.assert_array_equal(matrices[0], keypoints)
    row = json.loads(MODEL.read_text())["keypoints"].index("nose(tip)")
    assert made[-1] == tuple(keypoints[row])


def test_says_that_it_never_ran() -> None:
    for path in [*FOLDER.iterdir()]:
        assert "ever run in Bonsai" in path.read_text(), path


def test_readme_names_the_file_of_every_operator() -> None:
    text = (FOLDER / "README.md").read_text()
    for kind in OPERATORS:
        assert kind.rsplit(":", 1)[-1] in text


def test_header_of_fast_is_whole_floats() -> None:
    nodes = read("fast.bonsai")[0]
    (cut,) = [node for node in nodes if node.kind == "dsp:Submatrix"]
    assert cut.number("StartCol") * 4 == wire.FAST_PAYLOAD
    assert Path(FOLDER / "README.md").read_text().count(f"{wire.FAST_PAYLOAD} bytes") == 1
