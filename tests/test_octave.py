"""The MATLAB example, run by GNU Octave in front of a real bridge."""

import json
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bridges import Native, bridging, same_keypoints
from conftest import ROOT, free_ports
from programs import SMALL, running

from rtface.session import open_session

OCTAVE = shutil.which("octave-cli")
pytestmark = pytest.mark.skipif(OCTAVE is None, reason="octave-cli is not installed")
N = 50

SCRIPT = """
addpath('{folder}');
[meta, messages] = receive({n}, {port});
fprintf('%s\\n', strjoin(meta.keypoints', ','));
for i = 1:numel(messages)
  m = messages{{i}};
  fprintf('%d %.0f %s ', m.frame_seq, m.exposure_ns, m.session);
  fprintf('%.9g ', m.xys');
  fprintf('\\n');
end
"""


def octave(script: str) -> str:
    assert OCTAVE is not None
    done = subprocess.run(
        [OCTAVE, "--norc", "--no-history", "--eval", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_octave_receives_the_native_messages(tmp_path: Path, tiny_bundle: Path) -> None:
    port = free_ports(1)[0]
    with (
        running(tmp_path, tiny_bundle, SMALL) as program,
        bridging("jsonl", "cam1", program.data, "--port", str(port)) as bridge,
    ):
        native = Native(program.data)
        bridge.until_said("run ")
        folder = ROOT / "docs" / "examples" / "matlab"
        names, *lines = octave(SCRIPT.format(folder=folder, n=N, port=port)).splitlines()
        messages = native.messages()
        native.stream.close()
    assert names.split(",") == native.names
    assert len(lines) == N
    seqs = []
    for line in lines:
        frame_seq, exposure_ns, session, *numbers = line.split()
        message = messages[int(frame_seq)]
        assert int(exposure_ns) == message.fields["exposure_ns"]
        assert session == message.fields["session"]
        assert same_keypoints(np.reshape(list(map(float, numbers)), (-1, 3)), message)
        seqs.append(message.seq)
    assert np.diff(seqs).tolist() == [1] * (N - 1)


def test_octave_puts_lines_together_and_reads_null() -> None:
    keypoints = {"eye(back)": [1.5, None, 0.25], "nose": [None, None, None]}
    line = {"topic": "pose.cam1.", "frame_seq": 7, "exposure_ns": 8, "session": "s", "missed": 0}
    meta = {"topic": "meta.cam1.", "keypoints": list(keypoints)}
    text = "".join(json.dumps(one) + "\n" for one in (meta, *[line | {"keypoints": keypoints}] * 3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(text), 50):
                    connection.sendall(text[at : at + 50].encode())
                    time.sleep(0.01)
                connection.recv(1)  # until it has gone

        serving = threading.Thread(target=serve)
        serving.start()
        folder = ROOT / "docs" / "examples" / "matlab"
        said = octave(SCRIPT.format(folder=folder, n=3, port=port)).splitlines()
        serving.join()
    assert said == ["eye(back),nose", *["7 8 s 1.5 NaN 0.25 NaN NaN NaN "] * 3]


READ_SESSION = """
addpath('{folder}');
camera = read_session('{session}', 'cam1');
fprintf('%s\\n', strjoin(camera.names, ','));
fprintf('%s\\n', strjoin(cellfun(@(e) e.event, camera.events, 'UniformOutput', false), ','));
fprintf('%d %d\\n', size(camera.xys, 1), numel(camera.frames.frame_seq));
for i = 1:numel(camera.results.seq)
  r = camera.results;
  fprintf('%d %d %d ', r.seq(i), r.exposure_ns(i), r.flags(i));
  fprintf('%.9g ', permute(camera.xys(i, :, :), [3 2 1]));
  fprintf('\\n');
end
"""


@pytest.mark.slow
def test_octave_reads_a_recorded_session(session_folder: Path) -> None:
    folder = ROOT / "docs" / "examples" / "matlab"
    names, events, sizes, *lines = octave(
        READ_SESSION.format(folder=folder, session=session_folder)
    ).splitlines()
    with open_session(session_folder) as session:
        camera = session.cameras["cam1"]
        results, n_frames = camera.results[:], len(camera.frames)
        assert names.split(",") == camera.names
        assert events.split(",") == [event.kind for event in session.events]
    assert sizes == f"{len(results)} {n_frames}"
    for line, record in zip(lines, results, strict=True):
        seq, exposure_ns, flags, *numbers = line.split()
        assert (int(seq), int(exposure_ns), int(flags)) == tuple(
            int(record[k]) for k in ("seq", "exposure_ns", "flags")
        )
        values = np.array(numbers, np.float32).reshape(-1, 3)
        assert np.array_equal(values, record["keypoints"])
