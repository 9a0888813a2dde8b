"""Videos, a rig file and the command for tests of many videos."""

import filecmp
import subprocess
from pathlib import Path

import numpy as np
from programs import RTFACE

RIG = """
[engine]
bundle = "{bundle}"
[camera.cam1]
kind = "synthetic"
[camera.cam1.motion]
bin = 4
components = 3
fit_s = 1.0
[camera.cam1.pupil]
box = [10, 10, 30, 30]
[camera.cam1.running]
box = [8, 8, 32, 32]
"""


def rig(bundle: Path) -> Path:
    path = bundle.parent / "many.toml"
    path.write_text(RIG.format(bundle=bundle))
    return path


def track(*words: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [RTFACE, "track", *map(str, words)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def textured(path: Path, n: int) -> Path:
    """A clip with something to see that moves."""
    import av

    random = np.random.default_rng(3)
    texture = random.integers(0, 255, (48, 200), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray"
        for i in range(n):
            shift = int(20 + 10 * np.sin(i / 7))
            pixels = np.ascontiguousarray(texture[:, shift : shift + 64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
        container.mux(stream.encode())
    return path


def still(video: Path, n: int) -> Path:
    """A clip that shows the first frame of another so many times."""
    import av

    from rtface.camera.video import read_frames

    image = next(iter(read_frames(video)))
    path = video.with_name("n_" + video.name)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = *image.shape, "gray"
        for _ in range(n):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    return path


def same_tree(one: Path, other: Path) -> None:
    """The same files with the same bytes, all the way down."""
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert names
    for name in names:
        assert filecmp.cmp(one / name, other / name, shallow=False), name
