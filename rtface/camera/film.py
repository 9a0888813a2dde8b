"""The film of a synthetic mouse: any moment of its script as a picture, in half a millisecond.

A frame is the canvas that never changes, the eye painted anew, the difference that each moving
part makes at its present step (painted once, then remembered), a paw where there is one, and the
light. All of it is integer arithmetic on one buffer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from rtface.camera import paint
from rtface.camera.anatomy import JAW, NOSE, PAD, Field, jaw_move, pad_move
from rtface.camera.face import HEADROOM, Face, Int16Image, Where, clipped
from rtface.camera.outline import PAW, paw_cover
from rtface.camera.script import PERIOD_S, Script, State
from rtface.types import Float32Array, UInt8Image

Step = tuple[float, ...]
#: two corners, head units
Box = tuple[np.ndarray, np.ndarray]
#: gain of 1 in the units of the integer product that applies it
_UNIT_GAIN = 128
#: 255 times this is the largest product that fits
_MOST_GAIN = 257


class Part:
    """A part of the face that moves in steps; what it changes is remembered for each step.

    Parameters
    ----------
    paint_at : callable
        Returns the part of the canvas ``where`` at a step.
    where : Where
    rest : ndarray
        The same part of the canvas that frames start from.
    """

    def __init__(
        self,
        paint_at: Callable[[Step], Float32Array],
        where: Where,
        rest: Int16Image,
    ) -> None:
        self._paint_at, self._where, self._rest = paint_at, where, rest
        self._changes: dict[Step, Int16Image] = {}

    def add(self, canvas: Int16Image, *step: float) -> None:
        """Add what the part changes at ``step`` to the canvas."""
        part = canvas[self._where]
        np.add(part, self.change(*step), out=part)

    def change(self, *step: float) -> Int16Image:
        """Return the difference to the canvas without motion."""
        if step not in self._changes:
            self._changes[step] = clipped(self._paint_at(step)) - self._rest
        return self._changes[step]


class Film:
    """A mouse that can be drawn at any moment.

    Belongs to one thread: frames share one buffer.

    Parameters
    ----------
    seed : int
        The animal and its rig; see ``Anatomy`` and ``Script``.
    width, height : int
        Size of the frames, px.
    facing : "left", "right" or None
    nuisances : bool
        What rigs do to a face; see ``Script``, and ``Face`` for the spout.
    """

    def __init__(
        self,
        seed: int,
        width: int,
        height: int,
        facing: Literal["left", "right"] | None = None,
        nuisances: bool = True,
    ) -> None:
        self.script = Script(seed, nuisances)
        self.face = face = Face(seed, height, width, facing, nuisances)
        self._canvas = np.empty_like(face.ground)
        self._light = np.empty((height, width), np.uint16)
        self._nose = self._part(NOSE, _box(NOSE), lambda step: (step[0], step[1]))
        self._jaw = self._part(
            JAW,
            (np.array([0.1, 0.36]), np.array([0.75, 0.92])),
            lambda step: jaw_move(step[0]),
            self._add_tongue,
        )
        lines = np.concatenate([face.whisker_lines(w).reshape(-1, 2) for w in (0.0, 0.5, 1.0)])
        low, high = _box(PAD)
        box = np.minimum(lines.min(0) - 0.03, low), np.maximum(lines.max(0) + 0.03, high)
        self._pad = self._part(PAD, box, lambda step: pad_move(step[0]), self._add_whiskers)
        self._paw = _paint_paw(face)

    def prepare(self) -> None:
        """Paint the steps that the script will ask for, so that hardly a frame takes longer."""
        for t_s in np.arange(0, PERIOD_S, 0.004).tolist():
            state = self.face.snap(self.script.at(t_s))
            self._nose.change(state.nose_x, state.nose_y)
            self._jaw.change(state.mouth)
            self._pad.change(state.whisk)

    def draw(self, state: State, out: UInt8Image) -> None:
        """Draw the face in a snapped state into ``out`` (H, W); free of noise."""
        face, canvas = self.face, self._canvas
        np.copyto(canvas, face.ground)
        face.paint_eye(canvas, state)
        self._nose.add(canvas, state.nose_x, state.nose_y)
        self._jaw.add(canvas, state.mouth)
        self._pad.add(canvas, state.whisk)
        self._draw_paw(canvas, state)
        left = face.margin - round(state.shift_x * face.width)
        top = face.margin - round(state.shift_y * face.width)
        seen = canvas[top : top + face.height, left : left + face.width]
        light = self._light
        np.clip(seen, HEADROOM, 255 - HEADROOM, out=light, casting="unsafe")
        gain = min(0xFFFF, round(state.gain * _UNIT_GAIN))  # all is white long before
        if gain != _UNIT_GAIN:
            if gain > _MOST_GAIN:  # white before the product overflows
                np.minimum(light, np.uint16(0xFFFF // gain), out=light)
            np.multiply(light, np.uint16(gain), out=light)
            np.right_shift(light, 7, out=light)
            np.clip(light, HEADROOM, 255 - HEADROOM, out=light)
        np.copyto(out, light[:, ::-1] if face.facing == "right" else light, casting="unsafe")

    def _part(
        self,
        field: Field,
        box: Box,
        move: Callable[[Step], tuple[float, float]],
        add: Callable[[Float32Array, Where, Step], None] = lambda image, where, step: None,
    ) -> Part:
        """Return a part whose fur moves with ``field``; ``add`` paints what else there is."""
        face = self.face
        where = face.patch(*box)
        y, x = np.mgrid[where].astype(np.float32)
        u, v = face.to_head(x - face.margin, y - face.margin)
        weight = field.weight(u, v)
        moving = np.nonzero(weight)
        x, y, weight = x[moving], y[moving], weight[moving]

        def paint_at(step: Step) -> Float32Array:
            dx, dy = (np.float32(distance) for distance in face.turned(move(step)))
            image = face.fur[where].copy()
            image[moving] = paint.sample(face.fur, x - dx * weight, y - dy * weight)
            add(image, where, step)
            face.in_front(image, where)
            return image

        return Part(paint_at, where, face.ground[where])

    def _add_whiskers(self, image: Float32Array, where: Where, step: Step) -> None:
        face = self.face
        corner = np.array([where[1].start, where[0].start]) - face.margin
        at, curves, covers = np.arange(15), [], []
        for line in face.to_px(face.whisker_lines(step[0])) - corner:
            n = max(2, int(2 * np.abs(np.diff(line, axis=0)).sum()))
            along = np.linspace(0, 14, n)
            curve = np.stack([np.interp(along, at, line[:, k]) for k in (0, 1)], -1)
            # thicker than the single pixel of a stroke, so that it outlives being halved
            curves += [curve, curve + 0.8]
            covers += 2 * [np.linspace(1, 0.15, n)]
        curve, cover = np.concatenate(curves), np.concatenate(covers)
        paint.stroke(image, curve.astype(np.float32), cover.astype(np.float32), face.contrast)

    def _add_tongue(self, image: Float32Array, where: Where, step: Step) -> None:
        out = max(0.0, 2 * step[0] - 1)
        if out == 0:
            return
        face = self.face
        y, x = np.mgrid[where].astype(np.float32) - np.float32(face.margin)
        u, v = face.to_head(x, y)
        # from inside of the mouth forwards and down
        angle, length = 2.6, 0.1 + 0.16 * out
        du, dv = u - 0.41, v - 0.525
        along = du * np.cos(angle) + dv * np.sin(angle) - length / 2
        across = dv * np.cos(angle) - du * np.sin(angle)
        inside = 1 - np.hypot(along / (length / 2), across / 0.035)
        cover = paint.soft(inside, 2.0 / (0.035 * face.px))
        paint.blend(image, face.levels["fur"] * (1.5 - 4 * np.abs(across)), cover)

    def _draw_paw(self, canvas: Int16Image, state: State) -> None:
        level, cover = self._paw
        x, y = self.face.to_px(np.array([state.paw_u, state.paw_v])) + self.face.margin
        height, width = cover.shape
        left, top = round(x - width / 2), round(y - height / 2)
        rows = slice(max(0, top), max(0, min(canvas.shape[0], top + height)))
        columns = slice(max(0, left), max(0, min(canvas.shape[1], left + width)))
        part = canvas[rows, columns]
        if part.size:
            inside = (
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            part += (cover[inside] * (level[inside] - part)).astype(np.int16)


def _box(field: Field) -> Box:
    centre = np.array([field.u, field.v])
    return centre - field.reach, centre + field.reach


def _paint_paw(face: Face) -> tuple[Float32Array, Float32Array]:
    """Return level and cover (h, w) float32 of a paw that points at the nose."""
    long, high = PAW
    size = math.ceil(1.3 * long * face.px)
    y, x = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    u, v = face.turned_back(x, y)
    inside = paw_cover(u, v).astype(np.float32)
    level = face.levels["fur"] * (1.15 + 0.5 * np.clip(inside, 0, 1))
    return level.astype(np.float32), paint.soft(inside, 2.0 / (high * face.px))
