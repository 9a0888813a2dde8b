"""The result whose bytes stand in tests/data: run this file to write them after a new version."""

from pathlib import Path

import msgpack
import numpy as np

from rtface import wire
from rtface.types import BBox, Ledger, Pose, Result

FOLDER = Path(__file__).parent / "data"
SESSION = "0123456789abcdef"
BIG = 2**53 + 1  # one more than a double can hold: shows up careless decoders


def result() -> Result:
    ledger = Ledger(
        frame_seq=1002,
        segment=0,
        frame_id=1005,
        t_camera_ns=BIG,
        t_host_ns=BIG + 2,
        t_read_ns=BIG + 4,
        t_infer_ns=BIG + 6,
        t_motion_ns=BIG + 7,
        t_pupil_ns=BIG + 7,
        t_rules_ns=BIG + 8,
        t_done_ns=BIG + 10,
        exposure_ns=BIG - 1000,
        exposure_err_ns=5_000_000,
        time_source=1,
        lost_camera=3,
        skipped=2,
        flags=13,
    )
    keypoints = [[1.5, 2.25, 0.5], [639.0, 479.0, 1.0], [-4.0, 0.0, 0.0]]
    crop = BBox(-12, 40, 320, 240)  # reaches beyond the frame
    return Result(1000, ledger, Pose(np.array(keypoints, np.float32), crop))


def without_camera_clock() -> Result:
    whole = result()
    return Result(whole.seq, whole.ledger._replace(t_camera_ns=None), whole.pose)


def files() -> dict[str, bytes]:
    """Multipart messages are stored as a msgpack list of their frames."""
    pose, fast, meta = wire.pose_topic("cam1"), wire.fast_topic("cam1"), wire.meta_topic("cam1")
    about = {"session": SESSION, "keypoints": ["eye(back)", "eye(front)", "nose(tip)"]}
    return {
        "pose.v1.msgpack": msgpack.packb(wire.encode_pose(pose, SESSION, result())),
        "pose_no_camera_clock.v1.msgpack": msgpack.packb(
            wire.encode_pose(pose, SESSION, without_camera_clock())
        ),
        "meta.v1.msgpack": msgpack.packb(wire.encode_map(meta, about, with_json=True)),
        "fast.v1.bin": wire.encode_fast(fast, result()),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)
