"""Opens files with Facemap's own loaders and tells what it found; see tests/test_export_opens.py.

    FACEMAP_PYTHON tests/peers/facemap_opens.py FOLDER NAME

Runs in Facemap's environment. Of ``NAME_FacemapPose.h5``, a video ``NAME.*`` and perhaps
``NAME_proc.npy`` it writes ``NAME_read.npz`` (keypoints and traces) and ``NAME_read.json``. Where
Qt is there, Facemap's window opens them too, off the screen. With a ``_proc.npy`` Facemap processes
the video again with the settings in it: ``again/NAME_proc.npy``.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from facemap_env import home

VIDEOS = (".mp4", ".avi")
#: frames whose grey levels are kept
SEEN = 60


def pose(h5: Path, video: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the functions say that Facemap reads keypoints and videos with."""
    import cv2
    from facemap import utils

    frames, heights, widths, containers = utils.get_frame_details([[str(video)]])
    seen = []
    while (read := containers[0][0].read())[0]:
        seen.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
    keypoints = utils.load_keypoints(utils.BODYPARTS, str(h5))
    there = [
        name for name, x in zip(utils.BODYPARTS, keypoints[0], strict=True) if np.isfinite(x).any()
    ]
    inputs = utils.get_keypoints_for_neuralpred(str(h5), bodyparts=there)
    metadata = pickle.loads(h5.with_name(f"{h5.stem}_metadata.pkl").read_bytes())
    told = {
        "bodyparts": utils.BODYPARTS,
        "there": there,
        "frames": int(frames[-1]),
        "decoded": len(seen),
        "size": [heights, widths],
        "metadata": metadata,
        "inputs_finite": bool(np.isfinite(inputs).all()),
        "inputs_shape": inputs.shape,
    }
    return told, {"keypoints": keypoints, "seen": np.array(seen[:SEEN])}


def again(proc: dict[str, Any], folder: Path) -> None:
    """Have Facemap process the video once more, with the settings of a file."""
    from facemap import process

    folder.mkdir(exist_ok=True)
    process.run(
        proc["filenames"],
        motSVD=bool(len(proc["motSVD"])),
        movSVD=bool(len(proc["movSVD"])),
        proc=proc,
        savepath=str(folder),
    )


def window(h5: Path, video: Path, proc: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Facemap's window has after opening everything."""
    from facemap.gui import gui, io
    from qtpy import QtWidgets

    made = gui.MainW()
    # As a user does, once the window is drawn: before that Facemap does not know where a ROI is,
    # and stops with an IndexError at a file, its own too, of which the first ROI is a pupil.
    QtWidgets.QApplication.processEvents()
    if proc:
        io.open_proc(made, str(proc))
    else:
        io.load_movies(made, [[str(video)]])
    assert [Path(path) for path in made.poseFilepath] == [h5]  # it comes with the video
    for _ in range(5):
        made.next_frame()
    shown = made.pose_scatterplot.getData()
    made.update_keypoints_threshold(50)
    told = {
        "frames": int(made.nframes),
        "frame": int(made.cframe),
        "labels": made.keypoints_labels[0].tolist(),
        "processed": bool(made.processed),
        "rois": [roi.rind for roi in made.ROIs],
        "places": [[int(roi.yrange[0]), int(roi.xrange[0])] for roi in made.ROIs],
        "threshold": float(made.keypoints_threshold),
    }
    arrays = {
        "window_x": made.pose_x_coord[0],
        "window_likelihood": made.pose_likelihood[0],
        "window_shown": np.array(shown),
    }
    if proc:
        for k, box in enumerate(made.plot2_checkboxes[: made.kroi]):  # as a user ticks them
            box.setChecked(True)
            told.setdefault("traces", []).append(made.lbls[k].text())
        made.traces2 = None
        made.plot_processed()
        arrays["window_traces"] = made.traces2
    made.close()
    return told, arrays


def main(folder: Path, name: str, temporary: Path) -> None:
    """Read, write what was found, and end the process."""
    h5, file = folder / f"{name}_FacemapPose.h5", folder / f"{name}_proc.npy"
    (video,) = (path for path in folder.glob(f"{name}.*") if path.suffix in VIDEOS)
    told, arrays = pose(h5, video)
    there = file.is_file()
    if there:
        proc = np.load(file, allow_pickle=True).item()
        again(proc, folder / "again")
    try:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        from qtpy import QtWidgets
    except ImportError as error:
        print(f"no window: {error}", flush=True)
    else:
        application = QtWidgets.QApplication([])
        told["window"], more = window(h5, video, file if there else None)
        arrays |= more
        application.processEvents()
    (folder / f"{name}_read.json").write_text(json.dumps(told))
    np.savez(folder / f"{name}_read.npz", **arrays)
    # all is written: not through the end of Qt, which crashes now and then
    shutil.rmtree(temporary)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    temporary = Path(tempfile.mkdtemp())
    os.environ["HOME"] = str(home(temporary))
    main(Path(sys.argv[1]), sys.argv[2], temporary)
