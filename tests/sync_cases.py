"""Sessions and recordings for `rtface sync`, written as the programs that make them write them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtface.ring import NONE_WORD
from rtface.session import layout
from rtface.session.records import RecordWriter, row_dtype
from rtface.session.writer import write_about
from rtface.sync.edges import Edges
from rtface.sync.match import Frames
from rtface.sync.simulate import Simulated

#: what ScanImage says of itself in every frame
SOFTWARE = "SI.LINE_FORMAT_VERSION = 1\nSI.VERSION_MAJOR = 2022\nSI.hChannels.channelSave = 1\n"
BEGAN_UNIX_NS = 1_790_000_000 * 10**9
HOST_NS = 5 * 10**12


def make_session(
    folder: Path,
    cameras: dict[str, Frames],
    exposure_us: float | None = 2000.0,
    bit: int = 2,
    timed: bool = True,
    said_ns: Sequence[int] = (),
) -> Path:
    """Write a session without video whose cameras delivered these frames.

    Every second frame has a result. `timed`: the camera has a clock. `said_ns`: the exposure times
    that the camera said with its frames, again and again; left out: none.
    """
    folder.mkdir(parents=True)
    section = {"exposure_us": exposure_us} if exposure_us else {}
    meta = {"keypoints": ["nose"], "model": {}}
    told = dict.fromkeys(cameras, section)
    about = layout.About(
        format=layout.FORMAT,
        rtface="0",
        session="aa",
        recording="bb",
        began_host_ns=HOST_NS,
        began_unix_ns=BEGAN_UNIX_NS,
        rig={"camera": told},
        rig_sha256="",
        cameras={
            name: layout.CameraAbout(
                height=10,
                width=10,
                bits=8,
                rate_hz=1 / float(np.median(np.diff(frames.t_s))),
                video="none",
                meta=meta,
            )
            for name, frames in cameras.items()
        },
    )
    write_about(folder, about)
    RecordWriter(folder / layout.CLOCK, "clock", {}, layout.CLOCK_COLUMNS).close()
    (folder / layout.EVENTS).touch()
    for name, frames in cameras.items():
        n = len(frames.t_s)
        rows = np.zeros(n, row_dtype(layout.FRAME_COLUMNS))
        stamps = np.round(frames.t_s * 1e9).astype(np.int64)
        rows["frame_seq"] = np.arange(n) + (0 if frames.from_first else 7)
        rows["segment"], rows["frame_id"] = frames.segment, frames.frame_id
        rows["t_camera_ns"] = stamps if timed else NONE_WORD
        rows["t_host_ns"] = HOST_NS + stamps - stamps[0] + 1_000_000
        rows["status"] = layout.Status.NO_VIDEO
        rows["exposure_time_ns"] = np.resize(said_ns or 0, n)
        if frames.high is not None:
            rows["line_status"] = frames.high.astype(np.int64) << bit
        write_rows(folder / layout.frames_name(name), "frames", layout.FRAME_COLUMNS, rows)
        columns = layout.result_columns(1)
        results = np.zeros((n + 1) // 2, row_dtype(columns))
        results["seq"] = np.arange(len(results))
        for key in ("frame_seq", "t_camera_ns", "t_host_ns"):
            results[key] = rows[key][::2]
        results["exposure_ns"] = rows["t_host_ns"][::2] - 1_000_000
        write_rows(folder / layout.results_name(name), "results", columns, results)
    return folder


def write_rows(path: Path, kind: str, columns: Any, rows: np.ndarray) -> None:
    writer = RecordWriter(path, kind, {}, columns)
    for row in rows:
        writer.append(row.tobytes()[:-4])
    writer.flush()
    writer.close()


def word_of(lines: dict[int, Edges], rate_hz: float, n: int) -> np.ndarray:
    """Samples of a digital word; bit k is the line `lines[k]`."""
    word = np.zeros(n, np.uint16)
    for bit, edges in lines.items():
        step = np.zeros(n + 1, np.int64)
        for times, sign in ((edges.rising_s, 1), (edges.falling_s, -1)):
            at = np.round(times * rate_hz).astype(int)
            np.add.at(step, at[at < n], sign)
        word |= ((np.cumsum(step[:-1]) > 0).astype(np.uint16) << bit).astype(np.uint16)
    return word.view(np.int16)


def write_spikeglx(
    folder: Path, lines: dict[int, Edges], duration_s: float, rate_hz: float = 10_000.0
) -> Path:
    """A nidq pair with two analog channels and a digital word; returns the .meta."""
    folder.mkdir(parents=True, exist_ok=True)
    n = int(duration_s * rate_hz)
    samples = np.zeros((n, 3), np.int16)
    samples[:, 2] = word_of(lines, rate_hz, n)
    samples[:, 1] = np.where(samples[:, 2] & 1, 20_000, 100)  # XA1: line 0 at 3 V
    data = folder / "run_g0_t0.nidq.bin"
    samples.tofile(data)
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(BEGAN_UNIX_NS // 10**9))
    meta = data.with_suffix(".meta")
    meta.write_text(
        f"acqMnMaXaDw=0,0,2,1\nappVersion=20230425\nfileCreateTime={when}\n"
        f"fileSizeBytes={samples.nbytes}\nfileTimeSecs={n / rate_hz}\nfirstSample=0\n"
        f"nSavedChans=3\nniAiRangeMax=5\nniAiRangeMin=-5\nniMAGain=1\nniMNGain=1\n"
        f"niSampRate={rate_hz}\nniXAChans1=0:1\nniXDBytes1=2\nniXDChans1=0:15\n"
        "snsMnMaXaDw=0,0,2,1\nsnsSaveChanSubset=all\ntypeThis=nidq\n"
        "~snsChanMap=(0,0,2,1,1)(XA0;0:0)(XA1;1:1)(XD0;2:2)\n"
    )
    return meta


def write_imec(folder: Path, lines: dict[int, Edges], duration_s: float) -> Path:
    """A probe's pair with two channels and the sync word; returns the .meta."""
    folder.mkdir(parents=True, exist_ok=True)
    rate_hz = 30_000.0
    n = int(duration_s * rate_hz)
    samples = np.zeros((n, 3), np.int16)
    samples[:, 2] = word_of(lines, rate_hz, n)
    data = folder / "run_g0_t0.imec0.ap.bin"
    samples.tofile(data)
    meta = data.with_suffix(".meta")
    meta.write_text(
        f"acqApLfSy=2,0,1\nappVersion=20230425\nfileSizeBytes={samples.nbytes}\n"
        f"fileTimeSecs={n / rate_hz}\nimSampRate={rate_hz:.0f}\nnSavedChans=3\n"
        "snsApLfSy=2,0,1\ntypeThis=imec\n"
    )
    return meta


def write_open_ephys(
    folder: Path, lines: dict[int, Edges], duration_s: float, rate_hz: float = 10_000.0
) -> Path:
    """A recording of one stream in the GUI's binary format; lines count from 1."""
    recording = folder / "Record Node 101" / "experiment1" / "recording1"
    stream = "NI-DAQmx-102.PXI-6133"
    continuous = recording / "continuous" / stream
    events = recording / "events" / stream / "TTL"
    for path in (continuous, events):
        path.mkdir(parents=True)
    n, first = int(duration_s * rate_hz), 1000
    np.zeros((n, 1), np.int16).tofile(continuous / "continuous.dat")
    np.save(continuous / "sample_numbers.npy", first + np.arange(n))
    np.save(continuous / "timestamps.npy", (first + np.arange(n)) / rate_hz)
    states, times = [], []
    for line, edges in lines.items():
        for sign, t_s in ((1, edges.rising_s), (-1, edges.falling_s)):
            inside = t_s[t_s < duration_s]
            states.append(np.full(len(inside), sign * line, np.int16))
            times.append(inside)
    state, t = np.concatenate(states), np.concatenate(times)
    order = np.argsort(t, kind="stable")
    sample = first + np.round(t[order] * rate_hz).astype(np.int64)
    np.save(events / "states.npy", state[order])
    np.save(events / "sample_numbers.npy", sample)
    np.save(events / "timestamps.npy", sample / rate_hz)
    np.save(events / "full_words.npy", np.zeros(len(sample), np.uint64))
    part = {"folder_name": f"{stream}/", "sample_rate": rate_hz, "stream_name": "PXI-6133"}
    channels = [{"channel_name": "CH1", "bit_volts": 1.0}]
    more = {"source_processor_id": 102, "source_processor_name": "NI-DAQmx", "num_channels": 1}
    oebin = {
        "GUI version": "0.6.7",
        "continuous": [{**part, **more, "channels": channels}],
        "events": [{**part, "folder_name": f"{stream}/TTL/"}],
        "spikes": [],
    }
    (recording / "structure.oebin").write_text(json.dumps(oebin, indent=1))
    (recording / "sync_messages.txt").write_text(
        "Software Time (milliseconds since midnight Jan 1st 1970 UTC): "
        f"{BEGAN_UNIX_NS // 10**6}\nStart Time for NI-DAQmx (102) - PXI-6133 @ {rate_hz:.0f} Hz: "
        f"{first}\n"
    )
    return folder


def write_csv(path: Path, lines: dict[int, Edges]) -> Path:
    """Edges as the NI example writes them."""
    rows = [
        (t, line, state)
        for line, edges in lines.items()
        for state, times in ((1, edges.rising_s), (0, edges.falling_s))
        for t in times
    ]
    some = next(iter(lines.values()))
    ends = [f"{some.begin_s:.9f},begin,", f"{some.end_s:.9f},end,"]
    text = [f"{t:.9f},{line},{state}" for t, line, state in sorted(rows)]
    path.write_text("\n".join(["time_s,line,state", ends[0], *text, ends[1]]) + "\n")
    return path


def write_hdf5(path: Path, lines: dict[int, Edges], rate_hz: float = 20_000.0) -> Path:
    """Samples of a word, and the times of one line."""
    import h5py

    edges = next(iter(lines.values()))
    with h5py.File(path, "w") as file:
        n = int(edges.end_s * rate_hz)
        file["di/word"] = word_of(lines, rate_hz, n).view(np.uint16)
        file["di/word"].attrs["rate_hz"] = rate_hz
        file["times"] = edges.rising_s
    return path


def write_scanimage(path: Path, edges: Edges, rate_hz: float = 30.0) -> Path:
    """A TIFF of tiny frames whose descriptions have auxTrigger1, as ScanImage writes them."""
    import tifffile

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for i in range(int((edges.end_s - edges.begin_s) * rate_hz) + 1):
            t = edges.begin_s + i / rate_hz
            mine = edges.rising_s[(edges.rising_s >= t - 1 / rate_hz) & (edges.rising_s < t)]
            text = (
                f"frameNumbers = {i + 1}\nacquisitionNumbers = 1\n"
                f"frameNumberAcquisition = {i + 1}\nframeTimestamps_sec = {t:.9f}\n"
                "acqTriggerTimestamps_sec = -1.000000000\n"
                "nextFileMarkerTimestamps_sec = -1.000000000\nendOfAcquisition = 0\n"
                "endOfAcquisitionMode = 0\ndcOverVoltage = 0\nepoch = [2026  9 21 12 35 19.847]\n"
                "auxTrigger0 = []\nauxTrigger1 = [" + " ".join(f"{x:.9f}" for x in mine) + "]\n"
                "auxTrigger2 = []\nauxTrigger3 = []\nI2CData = {}"
            )
            image = np.zeros((4, 4), np.int16)
            file.write(image, description=text, metadata=None, contiguous=False, software=SOFTWARE)
    return path


def write_harp(path: Path, lines: dict[int, Edges], address: int = 32) -> Path:
    """Events of a register of one byte, whenever a line changes."""
    times = np.concatenate([np.r_[e.rising_s, e.falling_s] for e in lines.values()])
    change = np.concatenate(
        [
            np.r_[np.full(len(e.rising_s), 1 << bit), np.full(len(e.falling_s), 1 << bit)]
            for bit, e in lines.items()
        ]
    )
    order = np.argsort(times, kind="stable")
    t, value = times[order], np.bitwise_xor.accumulate(change[order])
    t, value = np.r_[t[0] - 1, t], np.r_[0, value]
    rows = np.zeros((len(t), 13), np.uint8)
    rows[:, :5] = 3, 11, address, 255, 0x11
    ticks = np.round(t / 32e-6).astype(int)
    rows[:, 5:9] = (ticks // 31_250).astype("<u4").view(np.uint8).reshape(-1, 4)
    rows[:, 9:11] = (ticks % 31_250).astype("<u2").view(np.uint8).reshape(-1, 2)
    rows[:, 11] = value
    rows[:, 12] = rows[:, :12].sum(axis=1) & 0xFF
    rows.tofile(path)
    return path


def moved(session: Simulated) -> tuple[Simulated, Edges]:
    """The session with the recording's clock beginning at 0, as files count."""
    edges, zero = session.edges, session.edges.begin_s
    edges = edges._replace(
        rising_s=edges.rising_s - zero,
        falling_s=edges.falling_s - zero,
        begin_s=0.0,
        end_s=edges.end_s - zero,
    )
    return session._replace(truth_s=session.truth_s - zero, edges=edges), edges


def write(kind: str, folder: Path, edges: Edges) -> tuple[Path, str, float]:
    """Write a recording; returns it, the line, and by how much its clock is ahead, s."""
    if kind == "spikeglx imec":
        return write_imec(folder, {6: edges}, edges.end_s), "6", 0.0
    if kind.startswith("spikeglx"):
        bit, line = (0, "XA1") if kind.endswith("analog") else (5, "5")
        return write_spikeglx(folder, {bit: edges}, edges.end_s), line, 0.0
    if kind == "open ephys":
        return write_open_ephys(folder / "oe", {4: edges}, edges.end_s), "4", 0.1
    line = {"hdf5 samples": "di/word:3", "hdf5 times": "times", "harp": "2"}.get(kind, "1")
    if kind.startswith("hdf5"):
        path = write_hdf5(folder / "edges.h5", {3: edges})
    elif kind == "scanimage":
        path = write_scanimage(folder / "scan_00001.tif", edges)
    elif kind == "harp":
        path = write_harp(folder / "Behavior_32.bin", {2: edges})
    else:
        path = write_csv(folder / "edges.csv", {1: edges})
    return path, line, 0.0
