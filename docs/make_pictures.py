"""Draw tracked faces: the README's film of the synthetic mouse, or any frame of a video.

    python docs/make_pictures.py                          # docs/demo.webp, as in the README
    python docs/make_pictures.py --video FILE --out DIR   # frames of a recording, for looking at

Filled dots have a score above 0.5; hollow ones are guesses. Orange: eye; blue: pupil; green: nose;
yellow: whisker pad; red: mouth; pink: lower lip; white: whatever else a network finds.

Pictures of recordings are for your own eyes: keep them out of the repository.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import av
import numpy as np

from rtface.camera.film import Film
from rtface.camera.video import probe, read_frames
from rtface.demo import SEED
from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.pose import PoseEstimator, find_face, finder_for
from rtface.types import BBox, Image, Pose, UserError

#: colour-blind safe (Okabe and Ito 2008), by the first letters of the keypoint's name
COLOURS = {
    "eye": (230, 159, 0),
    "pupil": (86, 180, 233),
    "nose": (0, 158, 115),
    "whisker": (240, 228, 66),
    "mouth": (213, 94, 0),
    "lowerlip": (204, 121, 167),
}
#: of all other keypoints
OTHER = (255, 255, 255)


def overlay(
    image: Image, pose: Pose, names: tuple[str, ...], skeleton, bits: int = 8
) -> np.ndarray:
    """Return (H, W, 3) uint8: filled dots where the score is above 0.5, rings below."""
    gray = (image >> max(0, bits - 8)).astype(np.uint8)
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    radius = max(2.5, image.shape[1] / 160)
    for a, b in skeleton:
        n = int(np.hypot(*(pose.xy[a] - pose.xy[b]))) + 1
        for x, y in np.linspace(pose.xy[a], pose.xy[b], n):
            if 0 <= int(y) < rgb.shape[0] and 0 <= int(x) < rgb.shape[1]:
                rgb[int(y), int(x)] = rgb[int(y), int(x)] // 2 + 100
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    for name, (px, py), score in zip(names, pose.xy, pose.score, strict=True):
        colour = next((c for start, c in COLOURS.items() if name.startswith(start)), OTHER)
        distance = np.hypot(x - px, y - py)
        inside = distance < radius if score > 0.5 else np.abs(distance - radius) < 0.8
        rgb[inside] = colour
    return rgb


def save_png(path: Path, rgb: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 picture."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width, stream.pix_fmt = rgb.shape[0], rgb.shape[1], "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(stream.encode())


def film_times(film: Film, fps: float) -> list[float]:
    """Return the moments, s of the script, of a film that shows what happens to the mouse."""
    times = []
    for kind in ("blink", "lick", "scan", "groom", "bump"):
        start = next(e.start_s for e in film.script.events if e.kind == kind)
        times += np.arange(start - 0.8, start + 1.6, 1 / fps).tolist()
    return times


def save_film(path: Path, fps: int = 20, width: int = 480, height: int = 360) -> None:
    """Write an animated WebP of the demo's mouse, tracked."""
    bundle = load_bundle("default")
    film = Film(SEED, width, height)
    engine, shape = make_engine(bundle, "onnxruntime"), (height, width)
    finder = finder_for(bundle.crop, engine, shape, rate_hz=fps)
    estimator = PoseEstimator(engine, shape, finder=finder)
    image = np.empty((height, width), np.uint8)
    with av.open(str(path), "w", format="webp", options={"loop": "0"}) as container:
        stream = container.add_stream("libwebp_anim", rate=fps)
        stream.options = {"quality": "55", "compression_level": "6"}
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for t_s in film_times(film, fps):
            film.draw(film.face.snap(film.script.at(t_s)), image)
            picture = overlay(image, estimator(image), bundle.names, bundle.skeleton)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, nargs="+", help="videos or stills instead")
    parser.add_argument("--frames", type=int, nargs="+", default=[0], help="which frames")
    parser.add_argument("--bundle", default="default")
    box = ("LEFT", "TOP", "WIDTH", "HEIGHT")
    parser.add_argument("--bbox", type=int, nargs=4, metavar=box, help="track this part only, px")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for --video")
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)
    engine = make_engine(bundle, "onnxruntime")
    if not args.video:
        save_film(Path(__file__).parent / "demo.webp")
        print(Path(__file__).parent / "demo.webp")
        return
    args.out.mkdir(exist_ok=True, parents=True)
    for path in args.video:
        info = probe(path)
        box = BBox(*args.bbox) if args.bbox else None
        if box and not box.fits(info.height, info.width):
            raise UserError(
                f"{path}: --bbox does not fit the frame of {info.width}x{info.height} px"
            )
        shape = info.height, info.width
        finder = finder_for(bundle.crop, engine, shape, "bbox" if box else "follow", box)
        estimator = PoseEstimator(engine, shape, info.bits, box, finder)
        for number in args.frames:
            image = next(islice(read_frames(path), number, None), None)
            if image is None:
                last = sum(1 for _ in read_frames(path)) - 1
                raise UserError(f"{path}: has no frame {number}; its frames are 0 to {last}")
            pose, _ = find_face(estimator, image)
            picture = overlay(image, pose, bundle.names, bundle.skeleton, info.bits)
            out = args.out / f"{path.stem}_{number:06d}.png"
            save_png(out, picture)
            print(out)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
