"""A procedural infrared side view of a mouse's face: the painting of ``rtface.camera.anatomy``.

One seed is one animal in one rig: outline, size, place, facing, fur, light and background. Most of
the picture never changes and is painted once; the parts that move are painted when they are first
seen at a place and remembered (``Part``); the eye is painted anew in every frame.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from rtface.camera import paint
from rtface.camera.anatomy import N_LABELLED_WHISKERS, WHISKERS, Anatomy
from rtface.camera.script import State
from rtface.types import Float32Array

#: Grey levels stay this far from 0 and 255, so that noise can be added without saturating.
HEADROOM = 12
#: how far a knock may move the picture, widths of the picture
_MOST_SHIFT = 0.025

Where = tuple[slice, slice]
Int16Image = npt.NDArray[np.int16]


class Face(Anatomy):
    """An animal that can be painted, on a canvas that is larger than the picture by ``margin``.

    Parameters
    ----------
    seed, height, width, facing
        As in ``Anatomy``.
    nuisances : bool
        A vignette, and the spout of ``Anatomy``.

    Attributes
    ----------
    margin : int
        px of canvas on each side of the picture, for a knocked camera.
    fur : ndarray (H + 2 margin, W + 2 margin) float32
        The resting face, facing left, without what is in front of it.
    ground : ndarray, int16
        The same with what is in front of it: the canvas that every frame starts from.
    """

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        facing: Literal["left", "right"] | None = None,
        nuisances: bool = True,
    ) -> None:
        super().__init__(seed, height, width, facing, nuisances)
        rng = np.random.default_rng([seed, 1])
        self.margin = math.ceil(_MOST_SHIFT * width) + 1
        self.levels = {
            "fur": rng.uniform(60, 120),
            "eye": rng.uniform(0.2, 0.55),  # of the fur
            "pupil": rng.uniform(0.2, 0.65),  # of the eye
            "rim": rng.uniform(0.5, 1.3),  # of the fur
        }
        self.glints = rng.uniform(-0.45, 0.45, (int(rng.integers(1, 4)), 2))
        self.contrast = rng.uniform(35, 90)
        y, x = np.mgrid[-self.margin : height + self.margin, -self.margin : width + self.margin]
        self.fur = self._paint_ground(rng, x.astype(np.float32), y.astype(np.float32))
        rig = np.random.default_rng([seed, 5])
        dark = rig.uniform(0, 0.5) if nuisances else 0.0
        from_middle = np.hypot(x / width - 0.5, y / width - 0.5 * height / width)
        self.fur *= (1 - dark * np.minimum(1, from_middle / 0.625) ** 2).astype(np.float32)
        self._front = self._paint_spout(rig, x.astype(np.float32), y.astype(np.float32))
        image = self.fur.copy()
        self.in_front(image, (slice(None), slice(None)))
        self.ground: Int16Image = clipped(image)
        self._eye = _Grid(
            self, self.patch(self.eye - 1.4 * self.eye_width, self.eye + 1.4 * self.eye_width)
        )

    def patch(self, low: np.ndarray, high: np.ndarray) -> Where:
        """Return the rows and columns of the canvas that hold a box of head units."""
        (u0, v0), (u1, v1) = low, high
        corners = self.to_px(np.array([[u0, v0], [u0, v1], [u1, v0], [u1, v1]])) + self.margin
        first, last = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
        height, width = self.fur.shape
        rows = slice(max(0, first[1]), max(0, min(height, last[1])))
        return rows, slice(max(0, first[0]), max(0, min(width, last[0])))

    def in_front(self, image: Float32Array, where: Where) -> None:
        """Paint what stands between face and camera into a part of the canvas, in place."""
        if self._front is not None:
            level, cover = self._front
            paint.blend(image, level[where], cover[where])

    def paint_eye(self, canvas: Int16Image, state: State) -> None:
        """Paint lids, eye, pupil and glints into the canvas, in place."""
        grid = self._eye
        if not grid.rest.size:
            return
        levels, fur = self.levels, self.levels["fur"]
        upper, lower = self.lid_heights(state.lids)
        top, bottom = -upper * grid.half, lower * grid.half
        opening = np.minimum(grid.y - top, bottom - grid.y)
        # the soft edges of shut lids must not leave a slit
        ball = paint.soft(opening, grid.edge) * np.float32(min(1.0, 10 * state.lids))
        image = grid.rest + ball * (fur * levels["eye"] - grid.rest)
        radius = np.hypot(grid.x - np.float32(state.gaze_x), grid.y - np.float32(state.gaze_y))
        hole = paint.soft(state.pupil - radius, grid.edge)
        hole *= ball
        # light of the microscope comes out of the pupil
        dark = levels["eye"] * levels["pupil"]
        paint.blend(image, fur * (1.9 if state.scan > 0.5 else dark), hole)
        paint.blend(image, 240.0, grid.glints * ball)
        # the edges of the lids are dark and wet, also where they meet in a shut eye
        edge = paint.soft(0.05 - np.abs(opening), 0.06) * grid.inside
        paint.blend(image, fur * 0.3, np.float32(0.7) * edge)
        canvas[grid.where] = clipped(image)

    def _paint_spout(
        self, rng: np.random.Generator, x: Float32Array, y: Float32Array
    ) -> tuple[Float32Array, Float32Array] | None:
        """Return level and cover of the lick spout on the canvas; None where there is none."""
        if self.spout is None:
            return None
        along, across = self.spout.place(*self.to_head(x, y))
        cover = paint.soft(np.minimum(self.spout.radius - np.abs(across), along), 2.0 / self.px)
        shine = np.exp(-((across / self.spout.radius - 0.3) ** 2) / 0.08)
        level = rng.uniform(30, 120) + rng.uniform(60, 120) * shine
        return level.astype(np.float32), cover

    def _paint_ground(
        self, rng: np.random.Generator, x: Float32Array, y: Float32Array
    ) -> Float32Array:
        """Return the picture without what moves: background, head, ear, mouth and nostril."""
        u, v = self.to_head(x, y)
        shape = x.shape
        back = rng.choice([18, 30, 60, 150], p=[0.4, 0.3, 0.2, 0.1])
        ground = back * (1 + 0.35 * paint.smooth_noise(rng, shape, 4))
        image: Float32Array = np.asarray(ground, np.float32)
        blobs = paint.smooth_noise(rng, shape, int(rng.integers(2, 7)))  # metal, holders, wheel
        paint.blend(image, rng.uniform(20, 200), paint.soft(blobs - rng.uniform(1.0, 2.2), 0.05))

        tile = paint.streaks(rng, 256, int(rng.integers(8, 24)))
        fine = 260.0 / rng.uniform(0.8, 1.6)  # hairs get finer in larger pictures, as in life
        row = (v + 0.25 * u * u * np.sign(v - 0.1)) * fine
        hair = tile[row.astype(np.int32) % 256, (u * fine).astype(np.int32) % 256]
        upper = np.interp(u, self.top[:, 0], self.top[:, 1]).astype(np.float32)
        lower = np.interp(u, self.bottom[:, 0], self.bottom[:, 1]).astype(np.float32)
        inside = np.minimum(np.minimum(v - upper, lower - v), u + 0.01)
        level = 0.8 + rng.uniform(-0.35, 0.35) * v + rng.uniform(0.2, 1.2) * np.exp(-u / 0.25)
        level += rng.uniform(0.0, 1.2) * np.exp(-np.maximum(0, lower - v) / 0.1)
        level *= 1 + rng.uniform(0.08, 0.25) * hair
        level *= 1 - 0.3 * np.exp(-((u - 1.0) ** 2 + (v + 0.1) ** 2) / 0.1)
        ear = np.hypot((u - 1.95) / 0.33, (v + 0.4) / 0.36)
        paint.blend(level, rng.uniform(0.8, 2.0) + 0.3 * ear, paint.soft(1 - ear, 0.08))
        mouth = np.abs(v - 0.505 - 0.1 * (u - 0.37)) + 0.3 * np.maximum(0, np.abs(u - 0.48) - 0.1)
        paint.blend(level, 0.35, 0.8 * paint.soft(0.015 - mouth, 0.02))
        nostril = np.hypot((u - 0.06) / 0.03, (v - 0.05) / 0.02)
        paint.blend(level, 0.3, 0.8 * paint.soft(1 - nostril, 0.5))
        for i, (at_u, at_v) in enumerate(WHISKERS[:, :2]):  # follicles, the labelled ones larger
            near = np.hypot(u - at_u, v - at_v)
            size = 0.022 if i < N_LABELLED_WHISKERS else 0.012
            paint.blend(level, 0.35, 0.75 * paint.soft(size - near, 0.012))
        edge = 2.5 / self.px + 0.01
        cover = paint.soft(inside + np.float32(0.006) * hair, edge)
        paint.blend(image, self.levels["fur"] * level, cover)
        return image


class _Grid:
    """The eye's own coordinates on its part of the canvas, and the skin without an eye."""

    def __init__(self, face: Face, where: Where) -> None:
        self.where = where
        rows, columns = where
        y, x = np.mgrid[rows, columns].astype(np.float32) - np.float32(face.margin)
        u, v = face.to_head(x, y)
        u, v = (u - face.eye[0]) / face.eye_width, (v - face.eye[1]) / face.eye_width
        c, s = np.cos(face.eye_tilt), np.sin(face.eye_tilt)
        self.x, self.y = (u * c + v * s).astype(np.float32), (v * c - u * s).astype(np.float32)
        self.half = np.sqrt(np.maximum(0, 1 - self.x * self.x))
        #: a little more than a pixel, half eye widths
        self.edge = 1.2 / (face.px * face.eye_width)
        self.inside = paint.soft(1.0 - np.abs(self.x), 2 * self.edge)
        squared = [(self.x - gx) ** 2 + (self.y - gy) ** 2 for gx, gy in face.glints]
        self.glints = np.exp(-160 * np.min(squared, axis=0)).astype(np.float32)
        fur, socket = face.levels["fur"], np.hypot(self.x, self.y / np.float32(0.85))
        #: what is seen of the eye's surroundings and of shut lids
        self.rest = face.fur[where].copy()
        paint.blend(self.rest, fur * face.levels["rim"], 0.8 * paint.soft(1.15 - socket, 0.25))
        paint.blend(self.rest, fur * 0.85, paint.soft(1.0 - socket, 0.15))


def clipped(image: Float32Array) -> Int16Image:
    """Return grey levels as int16, within the headroom."""
    return np.clip(image, HEADROOM, 255 - HEADROOM).astype(np.int16)
