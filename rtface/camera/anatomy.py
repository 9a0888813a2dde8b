"""Where a mouse's face is and how it moves: the geometry of ``rtface.camera.face``, exact.

The face is laid out in *head units*: the origin is the tip of the nose, ``u`` runs towards the
ear, ``v`` runs down, and 1 is the distance from the nose to the eye. Nose, whisker pad and jaw are
moved by fields of displacement that end where the next one begins, so a keypoint and the pixels
under it move by the same field.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from rtface.camera.outline import BOTTOM, TOP
from rtface.camera.script import State
from rtface.types import Float32Array

#: Facemap's names in its order, then the pupil.
KEYPOINTS = (
    "eye(back)",
    "eye(bottom)",
    "eye(front)",
    "eye(top)",
    "lowerlip",
    "mouth",
    "nose(bottom)",
    "nose(r)",
    "nose(tip)",
    "nose(top)",
    "nosebridge",
    "paw",
    "whisker(I)",
    "whisker(III)",
    "whisker(II)",
    "pupil(back)",
    "pupil(bottom)",
    "pupil(front)",
    "pupil(top)",
)


class Field(NamedTuple):
    """A soft part of the face: pixels within ``reach`` of the centre move with it, head units."""

    u: float
    v: float
    reach: float

    def weight(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return how much of the displacement a place takes part in, 1 at the centre, 0 outside."""
        distance = ((u - self.u) ** 2 + (v - self.v) ** 2) / self.reach**2
        return np.asarray(np.maximum(0, 1 - distance) ** 2, np.float32)


#: none reaches into another
NOSE, PAD, JAW = Field(0.03, 0.04, 0.24), Field(0.47, 0.17, 0.22), Field(0.47, 0.61, 0.23)
#: which field carries which keypoints, and where those rest
_NOSE_POINTS = {
    "nose(bottom)": (0.045, 0.165),
    "nose(r)": (0.075, 0.05),
    "nose(tip)": (0.004, 0.0),
    "nose(top)": (0.1, -0.08),
}
_JAW_POINTS = {"lowerlip": (0.47, 0.575), "mouth": (0.37, 0.505)}
_BRIDGE = (0.45, -0.3)

#: whiskers: root (u, v), angle from straight back at rest (rad, down positive), length; I, II, III
#: first. None of them crosses the eye.
WHISKERS = np.array(
    [
        (0.53, 0.05, 0.2, 0.8),
        (0.56, 0.16, 0.35, 0.9),
        (0.5, 0.27, 0.6, 0.8),
        (0.43, 0.04, 0.35, 0.7),
        (0.45, 0.15, 0.55, 0.75),
        (0.4, 0.25, 0.8, 0.7),
        (0.34, 0.06, 0.6, 0.55),
        (0.34, 0.17, 0.9, 0.55),
        (0.31, 0.27, 1.2, 0.5),
    ]
)
N_LABELLED_WHISKERS = 3
#: how far the whiskers swing between drawn back and all the way forward, rad
_SWING = 0.95


class Spout(NamedTuple):
    """A lick spout: a tube that ends at a tip and comes from below, head units and rad."""

    tip_u: float
    tip_v: float
    angle: float
    radius: float

    def place(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far places are along the tube from its tip, and across from its axis."""
        du, dv, c, s = u - self.tip_u, v - self.tip_v, np.cos(self.angle), np.sin(self.angle)
        return du * c + dv * s, dv * c - du * s


class Anatomy:
    """One animal and its place before one camera, without a single pixel.

    The film that ``rtface.camera.film`` makes of it moves in small steps: ``snap`` takes any state
    to the one that is drawn, and the truth is that of the drawn one.

    Parameters
    ----------
    seed : int
        The animal and its rig. 0 to 999 are kept for demonstrations and tests, 1000 and above
        for training.
    height, width : int
        Size of the picture, px.
    facing : "left", "right" or None
        Which way the nose points; None lets the seed decide.
    nuisances : bool
        Whether most rigs have a lick spout before the mouth.
    """

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        facing: Literal["left", "right"] | None = None,
        nuisances: bool = True,
    ) -> None:
        self.height, self.width = height, width
        rng = np.random.default_rng(seed)
        coin = rng.random() < 0.5
        self.facing = facing or ("right" if coin else "left")
        self.px = rng.uniform(0.3, 0.5) * min(width, height * 4 / 3)  # px per head unit
        tilt = rng.uniform(-0.15, 0.5)  # nose down, rad
        # the middle of the muzzle goes near the middle of the left half
        self._cos, self._sin = float(np.cos(tilt)), float(np.sin(tilt))
        self._origin = (0.0, 0.0)
        centre = self.to_px(np.array([0.55, 0.15]))
        self._origin = (
            float(width * rng.uniform(0.36, 0.46) - centre[0]),
            float(height * rng.uniform(0.4, 0.55) - centre[1]),
        )
        self.top = TOP * [1, rng.uniform(0.85, 1.1)]
        self.bottom = BOTTOM * [1, rng.uniform(0.92, 1.08)]
        self.eye = np.array([1.0, -0.1]) + rng.uniform(-0.05, 0.05, 2)
        self.eye_tilt = rng.uniform(0.15, 0.45)
        self.eye_width = rng.uniform(0.13, 0.17)  # half of it, head units
        self._lids = rng.uniform(0.72, 0.9), rng.uniform(0.62, 0.8)  # heights in half eye widths
        rig = np.random.default_rng([seed, 4])
        tip, angle, radius = (
            rig.uniform(-0.04, 0.04, 2),
            rig.uniform(1.9, 2.7),
            rig.uniform(0.02, 0.04),
        )
        has_spout = nuisances and rig.random() < 0.7
        self.spout = Spout(0.2 + tip[0], 0.66 + tip[1], angle, radius) if has_spout else None
        # in large pictures fewer steps, which would fill the memory
        detail = float(np.clip(640 * 480 * 1.5 / (width * height), 0.15, 1.0))
        self.whisk_steps, self.mouth_steps = round(128 * detail), round(64 * detail)
        self.nose_steps = max(9, round(20 * detail)), max(15, round(44 * detail))
        self._points: dict[tuple[str, tuple[float, float]], np.ndarray] = {}

    def snap(self, state: State) -> State:
        """Return the state that is drawn for ``state``: steps of about a third of a pixel."""
        wide, high = 0.06, 0.13  # the nose's range, head units
        across, down = self.nose_steps
        return state._replace(
            whisk=round(state.whisk * (self.whisk_steps - 1)) / (self.whisk_steps - 1),
            mouth=round(state.mouth * (self.mouth_steps - 1)) / (self.mouth_steps - 1),
            nose_x=round(state.nose_x / wide * (across - 1)) * wide / (across - 1),
            nose_y=round(state.nose_y / high * (down - 1)) * high / (down - 1),
            # whole pixels: the picture is not resampled
            shift_x=round(state.shift_x * self.width) / self.width,
            shift_y=round(state.shift_y * self.width) / self.width,
        )

    def points(self, state: State) -> Float32Array:
        """Return the keypoints (K, 2) float32 in px for a snapped state, as ``KEYPOINTS``.

        Those that are hidden behind lids or a paw are where they would be seen without; a paw that
        is not near the face is below the picture.
        """
        upper, lower = self.lid_heights(state.lids)
        eye = self._from_eye(np.array([[1, 0], [0, lower], [-1, 0], [0, -upper]]))
        (x, y), r = (state.gaze_x, state.gaze_y), state.pupil
        pupil = self._from_eye(np.array([[x + r, y], [x, y + r], [x - r, y], [x, y - r]]))
        nose = self._moved("nose", NOSE, (state.nose_x, state.nose_y))
        jaw = self._moved("jaw", JAW, jaw_move(state.mouth))
        roots = self._moved("pad", PAD, pad_move(state.whisk))[:N_LABELLED_WHISKERS]
        fixed = np.array([_BRIDGE, (state.paw_u, state.paw_v)])
        fixed[0, 1] *= self.top[-1, 1] / TOP[-1, 1]
        parts = [eye, jaw, nose, fixed, roots[[0, 2, 1]], pupil]
        xy = self.to_px(np.concatenate(parts))[_ORDER]
        xy += np.array([state.shift_x, state.shift_y]) * self.width
        if self.facing == "right":
            xy[:, 0] = self.width - 1 - xy[:, 0]
        return xy.astype(np.float32)

    def _moved(self, name: str, field: Field, move: tuple[float, float]) -> np.ndarray:
        """Return where the points that ``field`` carries are, head units; remembered per step."""
        if (name, move) not in self._points:
            if name == "pad":
                rest = WHISKERS[:, :2]
            else:
                rest = np.array(list((_NOSE_POINTS if name == "nose" else _JAW_POINTS).values()))
                scale = self.top[-1, 1] / TOP[-1, 1], self.bottom[-1, 1] / BOTTOM[-1, 1]
                rest = rest * np.stack([np.ones(len(rest)), np.where(rest[:, 1] < 0, *scale)], 1)
            self._points[name, move] = _pushed(rest, field, np.array(move))
        return self._points[name, move]

    def whisker_lines(self, whisk: float) -> np.ndarray:
        """Return the knots (n, 15, 2) of all whiskers from their roots outwards, head units."""
        roots = self._moved("pad", PAD, pad_move(whisk))
        along = np.linspace(0, 1, 15)
        # bends back as it leaves the face; forward is towards the nose, over the chin
        direction = (WHISKERS[:, 2] + _SWING * whisk)[:, None] - 0.45 * along
        step = np.stack([np.cos(direction), np.sin(direction)], -1) * WHISKERS[:, 3, None, None]
        return np.asarray(roots[:, None] + np.cumsum(step / 14, axis=1) - step[:, :1] / 14)

    def lid_heights(self, opened: float) -> tuple[float, float]:
        """Return how far the upper lid's edge is above the eye's axis and the lower's below.

        In half eye widths at the middle of the eye; a shut eye's edges meet a little below it.
        """
        meet = 0.3 * self._lids[1]
        return (
            (self._lids[0] + meet) * opened - meet,
            (self._lids[1] - meet) * opened + meet,
        )

    def to_px(self, uv: np.ndarray) -> np.ndarray:
        """Map head units (..., 2) to px of a picture that faces left, before the camera moved."""
        u, v = uv[..., 0] * self.px, uv[..., 1] * self.px
        x = u * self._cos + v * self._sin + self._origin[0]
        y = v * self._cos - u * self._sin + self._origin[1]
        return np.stack([x, y], -1)

    def to_head(self, x: np.ndarray, y: np.ndarray) -> tuple[Float32Array, Float32Array]:
        """Map px to head units; inverse of ``to_px``."""
        u, v = self.turned_back(x - self._origin[0], y - self._origin[1])
        return u.astype(np.float32), v.astype(np.float32)

    def turned_back(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map displacements in px to head units; inverse of ``turned``."""
        return (x * self._cos - y * self._sin) / self.px, (x * self._sin + y * self._cos) / self.px

    def turned(self, move: tuple[float, float]) -> tuple[float, float]:
        """Map a displacement in head units to px along x and y of a picture that faces left."""
        u, v = move[0] * self.px, move[1] * self.px
        return u * self._cos + v * self._sin, v * self._cos - u * self._sin

    def _from_eye(self, xy: np.ndarray) -> np.ndarray:
        """Map half eye widths in the eye's own axes to head units."""
        c, s = np.cos(self.eye_tilt), np.sin(self.eye_tilt)
        turned = np.stack([xy[:, 0] * c - xy[:, 1] * s, xy[:, 0] * s + xy[:, 1] * c], -1)
        return np.asarray(turned * self.eye_width + self.eye)


_PARTS = (
    *KEYPOINTS[:4],
    *_JAW_POINTS,
    *_NOSE_POINTS,
    *("nosebridge", "paw", "whisker(I)", "whisker(III)", "whisker(II)"),
    *KEYPOINTS[15:],
)
_ORDER = [_PARTS.index(name) for name in KEYPOINTS]


def pad_move(whisk: float) -> tuple[float, float]:
    """Return the displacement of the whisker pad, which goes forward with its whiskers."""
    return 0.03 - 0.075 * whisk, 0.005 - 0.03 * whisk


def jaw_move(mouth: float) -> tuple[float, float]:
    """Return the displacement of the lower jaw, open at 0.5 (the rest of the way is the tongue)."""
    opened = min(1.0, 2 * mouth)
    return 0.02 * opened, 0.085 * opened


def _pushed(uv: np.ndarray, field: Field, move: np.ndarray) -> np.ndarray:
    """Return where points (N, 2) of the resting face are when ``field`` has moved, head units.

    The picture is drawn backwards (every pixel asks where it came from), so this solves
    ``p - displacement(p) = uv``; the field is gentle and the iteration contracts.
    """
    p = uv.astype(np.float64)
    for _ in range(40):
        p = uv + field.weight(p[:, 0], p[:, 1])[:, None] * move
    return p
