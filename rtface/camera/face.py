"""A procedural infrared side view of a mouse's face that knows exactly where its keypoints are.

One seed is one animal in one rig: outline, size, place, facing, fur, light and background. The
face moves in a closed loop of phase 0 to 1: gaze, pupil, lids, nose, whisker pad and lower lip.
The geometry is in ``rtface.camera.anatomy``; here it is painted.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from rtface.camera import paint
from rtface.camera.anatomy import BUMPS, KEYPOINTS, N_WHISKERS, Anatomy, Motion, bump_weight
from rtface.types import Float32Array, UInt8Image

__all__ = ["HEADROOM", "KEYPOINTS", "Face"]

#: Grey levels stay this far from 0 and 255, so that noise can be added without saturating.
HEADROOM = 12


class Face(Anatomy):
    """An animal that can be drawn; the parameters are those of ``Anatomy``."""

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        facing: Literal["left", "right"] | None = None,
        loop_s: float = 3.0,
    ) -> None:
        super().__init__(seed, height, width, facing, loop_s)
        rng = np.random.default_rng([seed, 1])
        self._levels = {
            "fur": rng.uniform(60, 120),
            "eye": rng.uniform(0.25, 0.6),  # of the fur
            "pupil": rng.uniform(0.25, 0.75),  # of the eye
            "rim": rng.uniform(0.5, 1.3),  # of the fur
        }
        self._glints = rng.uniform(-0.45, 0.45, (int(rng.integers(1, 4)), 2))
        self._contrast = rng.uniform(35, 90)
        self._base_rng = rng

    def render(self, phase: float) -> tuple[UInt8Image, Float32Array]:
        """Return the picture (H, W) uint8 at ``phase`` and its keypoints (K, 2) float32 in px."""
        state = self.motion(phase)
        image = self._base.copy()
        self._paint_muzzle(image, state)
        self._paint_eye(image, state)
        for i in range(N_WHISKERS):
            line = self._to_px(self._whisker(i, state))
            steps = max(2, int(2 * np.abs(np.diff(line, axis=0)).sum()))
            at = np.linspace(0, len(line) - 1, steps)
            knots = np.arange(len(line))
            curve = np.stack([np.interp(at, knots, line[:, k]) for k in (0, 1)], -1)
            cover = np.linspace(1, 0.15, steps)
            # thicker than the single pixel of a stroke, so that it outlives being halved
            curve, cover = np.concatenate([curve, curve + 0.8]), np.tile(cover, 2)
            ink = cover.astype(np.float32)
            paint.stroke(image, curve.astype(np.float32), ink, self._contrast)
        np.clip(image, HEADROOM, 255 - HEADROOM, out=image)
        picture = image.astype(np.uint8)
        if self.facing == "right":
            picture = np.ascontiguousarray(picture[:, ::-1])
        return picture, self.points(phase)

    def _patch(self, *uv: tuple[float, float]) -> tuple[slice, slice]:
        """Return the rows and columns that hold a box given by two corners in head units."""
        (u0, v0), (u1, v1) = uv
        corners = self._to_px(np.array([[u0, v0], [u0, v1], [u1, v0], [u1, v1]]))
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
        rows = slice(max(0, low[1]), max(0, min(self.height, high[1])))
        return rows, slice(max(0, low[0]), max(0, min(self.width, high[0])))

    @cached_property
    def _muzzle(self) -> tuple[tuple[slice, slice], Float32Array, Float32Array, Float32Array]:
        """The part of the picture that moves: where it is, its px grid and the bumps' weights."""
        where = self._patch((-0.4, -0.4), (0.95, 0.95))
        y, x = np.mgrid[where].astype(np.float32)
        u, v = self._to_head(x, y)
        weights = np.stack([bump_weight(u, v, bump) for bump in BUMPS]) * np.float32(self._px)
        return where, x, y, weights

    def _paint_muzzle(self, image: Float32Array, state: Motion) -> None:
        where, x, y, weights = self._muzzle
        turn = np.array([[self._cos, -self._sin], [self._sin, self._cos]], np.float32)
        moves = state.bumps @ turn  # rows: displacement of each bump along x and y
        dx, dy = np.tensordot(moves.T, weights, 1).astype(np.float32)
        image[where] = paint.sample(self._base, x - dx, y - dy)

    def _paint_eye(self, image: Float32Array, state: Motion) -> None:
        reach = 1.4 * self._eye_width
        where = self._patch(tuple(self._eye - reach), tuple(self._eye + reach))
        part = image[where]
        if not part.size:
            return
        y, x = np.mgrid[where]
        u, v = self._to_head(x, y)
        u, v = (u - self._eye[0]) / self._eye_width, (v - self._eye[1]) / self._eye_width
        c, s = np.cos(self._eye_tilt), np.sin(self._eye_tilt)
        ex, ey = (u * c + v * s).astype(np.float32), (v * c - u * s).astype(np.float32)
        half = np.sqrt(np.maximum(0, 1 - ex * ex))
        edge = 1.2 / (self._px * self._eye_width)  # a little more than a pixel
        fur, levels = self._levels["fur"], self._levels
        socket = np.hypot(ex, ey / np.float32(0.85))
        paint.blend(part, fur * levels["rim"], 0.8 * paint.soft(1.15 - socket, 0.25))
        paint.blend(part, fur * 0.85, paint.soft(1.0 - socket, 0.15))  # the lids' skin
        upper, lower = self._lid_heights(state.open)
        ball = paint.soft(np.minimum(ey + upper * half, lower * half - ey), edge)
        paint.blend(part, fur * levels["eye"], ball)
        radius = np.hypot(ex - state.gaze[0], ey - state.gaze[1])
        hole = ball * paint.soft(state.pupil - radius, edge)
        paint.blend(part, fur * levels["eye"] * levels["pupil"], hole)
        for gx, gy in self._glints:
            glint = np.exp(-((ex - gx) ** 2 + (ey - gy) ** 2) / 0.006).astype(np.float32)
            paint.blend(part, 240.0, ball * glint)

    @cached_property
    def _base(self) -> Float32Array:
        """The picture without what moves: background, head, ear, mouth and nostril."""
        rng = self._base_rng
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        u, v = self._to_head(x, y)
        shape = (self.height, self.width)
        back = rng.choice([18, 30, 60, 150], p=[0.4, 0.3, 0.2, 0.1])
        ground = back * (1 + 0.35 * paint.smooth_noise(rng, shape, 4))
        image: Float32Array = np.asarray(ground, np.float32)
        blobs = paint.smooth_noise(rng, shape, int(rng.integers(2, 7)))  # metal, holders, wheel
        paint.blend(image, rng.uniform(20, 200), paint.soft(blobs - rng.uniform(1.0, 2.2), 0.05))

        tile = paint.streaks(rng, 256, int(rng.integers(8, 24)))
        fine = 260.0 / rng.uniform(0.8, 1.6)  # hairs get finer in larger pictures, as in life
        row = (v + 0.25 * u * u * np.sign(v - 0.1)) * fine
        hair = tile[row.astype(np.int32) % 256, (u * fine).astype(np.int32) % 256]
        upper = np.interp(u, self._top[:, 0], self._top[:, 1]).astype(np.float32)
        lower = np.interp(u, self._bottom[:, 0], self._bottom[:, 1]).astype(np.float32)
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
        dots = np.hypot((u * 14) % 1 - 0.5, (v * 11) % 1 - 0.5) + 4 * _far_from_pad(u, v)
        paint.blend(level, 0.5, 0.5 * paint.soft(0.25 - dots, 0.2))
        edge = 2.5 / self._px + 0.01
        cover = paint.soft(inside + np.float32(0.006) * hair, edge)
        paint.blend(image, self._levels["fur"] * level, cover)
        return image


def _far_from_pad(u: Float32Array, v: Float32Array) -> Float32Array:
    """Return how far outside of the whisker pad's box a place is, head units."""
    inside = np.minimum(0.2 - np.abs(u - 0.38), 0.16 - np.abs(v - 0.17))
    return np.asarray(np.maximum(0, -inside), np.float32)
