"""Recordings written for the tests are what the projects' own packages read, edge by edge.

The packages bring 700 MB, and rtface needs none of them: ``.ci/run`` makes an environment with
them. ``RTFACE_DAQ_READERS`` names a folder with the unpacked sources of two of them, which hold
files of real rigs; if it is set, a package that is missing fails. Else it skips.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import free_ports
from live_cases import event, serve
from sync_cases import make_session, moved, write
from typer.testing import CliRunner

from rtface.cli import app
from rtface.sync import readers
from rtface.sync.live import decode
from rtface.sync.simulate import Simulated, Wrong, simulate
from rtface.types import UserError

# of libraries, not of rtface
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(120)]


def package(name: str) -> Any:
    """Return a module of another project; skip without it, unless it has to be there."""
    if os.environ.get("RTFACE_DAQ_READERS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


def sources(pattern: str) -> list[Path]:
    """Return files in the packages' sources; skip without them."""
    folder = os.environ.get("RTFACE_DAQ_READERS")
    if not folder:
        pytest.skip("RTFACE_DAQ_READERS names no sources of the readers")
    return sorted(Path(folder).glob(pattern))


@pytest.fixture(scope="module")
def coded() -> Simulated:
    bad = Wrong(missed_pulses=1e-3, glitches=3e-4, extra_frames=0)
    return moved(simulate(3, "late", 100.0, 40.0, (0, 38), (-2, 41), wrong=bad))[0]


def steps_of(high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples at which a line is up, or down, for the first time."""
    steps = np.flatnonzero(high[1:] != high[:-1]) + 1
    return steps[high[steps]], steps[~high[steps]]


def matched(path: Path, line: str, coded: Simulated, folder: Path) -> None:
    """`rtface sync` takes the file."""
    session = make_session(folder / "session", {"cam1": coded.frames})
    words = ["sync", str(session), "--daq", str(path), "--line", line, "--no-picture"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.output.startswith("yes: cam1")


def test_spikeglx(coded: Simulated, tmp_path: Path) -> None:
    spikeglx = package("spikeglx")
    meta, line, _ = write("spikeglx", tmp_path, coded.edges)
    with spikeglx.Reader(meta.with_suffix(".bin")) as reader:
        assert (reader.type, reader.nc) == ("nidq", 3)
        high = reader.read_sync_digital(slice(0, reader.ns))[:, int(line)] > 0
        rate = reader.fs
    up, down = steps_of(high)
    ours = readers.read(meta, line)
    assert len(up) > 3000
    assert np.array_equal(ours.rising_s, up / rate)
    assert np.array_equal(ours.falling_s, down / rate)
    assert ours.end_s == len(high) / rate
    # the .meta as their own writer writes it
    told = spikeglx.read_meta_data(meta)
    again = tmp_path / "theirs"
    again.mkdir()
    os.link(meta.with_suffix(".bin"), again / meta.with_suffix(".bin").name)
    spikeglx.write_meta_data(told, again / meta.name)
    theirs = readers.read(again / meta.name, line)
    assert np.array_equal(theirs.rising_s, ours.rising_s)
    matched(again / meta.name, line, coded, tmp_path)


def test_metas_of_real_probes(tmp_path: Path) -> None:
    """Neuropixels 3A, 3B, 2.1, 2.4, Ultra and an NI device, with samples that the package made."""
    metas = sources("ibl_neuropixel*/src/tests/fixtures/*.meta")
    spikeglx = package("spikeglx")
    seen: set[str] = set()
    for i, meta in enumerate(metas):
        told = spikeglx.read_meta_data(meta)
        data = tmp_path / f"{i}.{meta.stem}.bin"
        if "incomplete" in meta.name:
            data.touch()
            data.with_suffix(".meta").write_bytes(meta.read_bytes())
            with pytest.raises(UserError, match="still writing it, or it broke off"):
                readers.read(data, "0")
            continue
        if "NP2QB" in meta.name:  # several sync words, which the package does not read
            continue
        n_channels = int(told["nSavedChans"])
        spikeglx._mock_spikeglx_file(data, meta, ns=3000, nc=n_channels, sync_depth=8)
        with spikeglx.Reader(data) as reader:
            digital = reader.read_sync_digital(slice(0, reader.ns))
            rate = reader.fs
        for line in range(8):  # each is up for one sample
            up, down = steps_of(digital[:, line] > 0)
            ours = readers.read(data.with_suffix(".meta"), str(line))
            assert len(up) == 1
            assert np.array_equal(ours.rising_s, up / rate)
            assert np.array_equal(ours.falling_s, down / rate)
        data.unlink()
        seen.add(meta.name)
    assert len(seen) >= 15
    assert any("nidq" in name for name in seen)


def test_open_ephys(coded: Simulated, tmp_path: Path) -> None:
    nodes = package("open_ephys.analysis.recordnode")
    folder, line, _ = write("open ephys", tmp_path, coded.edges)
    recording = nodes.RecordNode(str(folder / "Record Node 101")).recordings[0]
    events = recording.events
    mine = events[events.line == int(line)]
    ours = readers.read(folder, line)
    up, down = (mine[mine.state == state].timestamp.to_numpy() for state in (1, 0))
    assert len(up) > 3000
    assert np.array_equal(ours.rising_s, up)
    assert np.array_equal(ours.falling_s, down)
    times = recording.continuous[0].timestamps
    assert (ours.begin_s, ours.end_s) == (times[0], times[-1])
    matched(folder, line, coded, tmp_path)


def test_recordings_of_the_open_ephys_gui() -> None:
    """Version 0.6.7 wrote them: 64 lines of a plugin that is not where the samples come from."""
    folders = sources("open_ephys*/tests/data/v0.6.7_Binary/Record Node *")
    nodes = package("open_ephys.analysis.recordnode")
    assert len(folders) == 2
    for folder in folders:
        recording = nodes.RecordNode(str(folder)).recordings[0]
        times = recording.continuous[0].timestamps
        assert recording.events.line.nunique() == 64
        for line, mine in recording.events.groupby("line"):
            ours = readers.read(folder, str(line))
            up, down = (mine[mine.state == state].timestamp.to_numpy() for state in (1, 0))
            assert np.array_equal(ours.rising_s, up)
            assert np.array_equal(ours.falling_s, down)
            assert (ours.begin_s, ours.end_s) == (times[0], times[-1])
            assert 1_743_600_000 < ours.began_unix_s < 1_743_700_000  # 3 April 2025


def test_harp(coded: Simulated, tmp_path: Path) -> None:
    harp = package("harp")
    path, line, _ = write("harp", tmp_path, coded.edges)
    table = harp.read(str(path))
    theirs = tmp_path / "theirs.bin"  # by their own writer
    harp.to_file(
        table.astype(np.uint8), str(theirs), address=32, message_type=harp.MessageType.EVENT
    )
    assert theirs.read_bytes() == path.read_bytes()
    up, down = steps_of((table[0].to_numpy() >> int(line) & 1) > 0)
    ours = readers.read(theirs, line)
    assert len(up) > 3000
    assert np.array_equal(ours.rising_s, table.index.to_numpy()[up])
    assert np.array_equal(ours.falling_s, table.index.to_numpy()[down])
    matched(theirs, line, coded, tmp_path)


def aux_times(told: list[str]) -> list[float]:
    """Times of auxiliary trigger 1 in descriptions of frames."""
    return [
        float(x) for text in told for x in text.split("auxTrigger1 = [")[1].split("]")[0].split()
    ]


def test_scanimage(coded: Simulated, tmp_path: Path) -> None:
    import tifffile

    path, line, _ = write("scanimage", tmp_path, coded.edges)
    with tifffile.TiffFile(path) as file:
        assert file.is_scanimage
        times = aux_times([str(page.description) for page in file.pages])
    assert len(times) > 3000
    assert np.array_equal(readers.read(path, line).rising_s, times)
    reader = package("ScanImageTiffReader").ScanImageTiffReader
    with reader(str(path)) as theirs:
        n = theirs.shape()[0]
        told = [theirs.description(i) for i in range(n)]
    assert n == len(file.pages)
    assert aux_times(told) == times
    matched(path, line, coded, tmp_path)


def test_edges_in_csv(coded: Simulated, tmp_path: Path) -> None:
    pandas = package("pandas")
    path, line, _ = write("csv", tmp_path, coded.edges)
    table = pandas.read_csv(path)
    mine = table[table.line == line]
    ours = readers.read(path, line)
    assert np.array_equal(ours.rising_s, mine[mine.state == 1].time_s.to_numpy())
    assert np.array_equal(ours.falling_s, mine[mine.state == 0].time_s.to_numpy())
    matched(path, line, coded, tmp_path)


def _listen(port: int, line: Connection) -> None:
    """Open Ephys' own listener; its loop ends with this process."""
    from open_ephys.streaming import EventListener

    EventListener(port=port).start(ttl_callback=line.send)


def test_the_event_broadcaster_of_the_tests_speaks_to_their_own_listener() -> None:
    package("open_ephys.streaming")
    port = free_ports(1)[0]
    told = [event(1000 + 7 * i, 3, i % 2) for i in range(20)]
    here, there = multiprocessing.Pipe()
    listener = multiprocessing.get_context("spawn").Process(target=_listen, args=(port, there))
    listener.start()
    try:
        with serve(f"tcp://127.0.0.1:{port}", told):
            heard = []
            while len(heard) < len(told) and here.poll(30):
                heard.append(here.recv())
    finally:
        listener.terminate()
        listener.join()
    assert heard == told
    ours = [decode([b"ttl", json.dumps(one).encode()]) for one in heard]
    assert [one.sample for one in ours if one] == [one["sample_number"] for one in told]
