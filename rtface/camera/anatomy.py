"""Where a mouse's face is and how it moves: the geometry of ``rtface.camera.face``, exact.

The face is laid out in *head units*: the origin is the tip of the nose, ``u`` runs towards the
ear, ``v`` runs down, and 1 is the distance from the nose to the eye. The soft parts are moved by
Gaussian bumps of displacement, so a keypoint and the pixels under it move by the same field.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from rtface.types import Float32Array

#: Facemap's names in its order without the three that are never labelled, then the pupil.
KEYPOINTS = (
    "eye(back)",
    "eye(bottom)",
    "eye(front)",
    "eye(top)",
    "lowerlip",
    "mouth",
    "nose(bottom)",
    "nose(tip)",
    "nose(top)",
    "whisker(I)",
    "whisker(III)",
    "whisker(II)",
    "pupil(back)",
    "pupil(bottom)",
    "pupil(front)",
    "pupil(top)",
)

_TOP = np.array(
    [
        [0, 0.0],
        [0.006, -0.03],
        [0.04, -0.065],
        [0.1, -0.09],
        [0.25, -0.17],
        [0.45, -0.3],
        [0.7, -0.43],
        [1.0, -0.53],
        [1.4, -0.62],
        [2.0, -0.66],
        [5.0, -0.7],
    ]
)
_BOTTOM = np.array(
    [
        [0, 0.0],
        [0.006, 0.05],
        [0.03, 0.14],
        [0.05, 0.18],
        [0.1, 0.31],
        [0.2, 0.43],
        [0.37, 0.515],
        [0.47, 0.585],
        [0.7, 0.66],
        [1.0, 0.75],
        [1.3, 0.95],
        [2.0, 1.45],
        [5.0, 2.3],
    ]
)
#: centre (u, v) and reach of the bumps that carry nose, whisker pad and lower lip
BUMPS = np.array([[0.05, 0.05, 0.16], [0.45, 0.17, 0.17], [0.5, 0.61, 0.12]])
_STILL = {
    "nose(tip)": (0.004, 0.0),
    "nose(top)": (0.1, -0.08),
    "nose(bottom)": (0.045, 0.165),
    "mouth": (0.37, 0.505),
    "lowerlip": (0.47, 0.575),
}
#: whiskers: root (u, v), angle from straight back in rad (down positive), length; I, II, III first
_WHISKERS = (
    (0.52, 0.06, -0.25, 0.75),
    (0.54, 0.17, 0.1, 0.85),
    (0.48, 0.26, 0.5, 0.8),
    (0.4, 0.04, 0.1, 0.6),
    (0.4, 0.15, 0.5, 0.65),
    (0.34, 0.27, 1.0, 0.6),
    (0.27, 0.1, 0.9, 0.45),
    (0.22, 0.25, 1.5, 0.4),
)

N_WHISKERS = len(_WHISKERS)


class Motion(NamedTuple):
    """Where the moving parts are at one phase of the loop."""

    gaze: tuple[float, float]  # centre of the pupil, half eye widths from the eye's centre
    pupil: float  # radius of the pupil, half eye widths
    open: float  # 1 open lids, 0 shut
    bumps: Float32Array  # (3, 2) displacement of nose, pad and lip, head units
    whisk: float  # angle added to every whisker, rad


class Anatomy:
    """One animal and its place before one camera, without a single pixel.

    Parameters
    ----------
    seed : int
        The animal and its rig. 0 to 999 are kept for demonstrations and tests, 1000 and above
        for training.
    height, width : int
        Size of the picture, px.
    facing : "left", "right" or None
        Which way the nose points; None lets the seed decide.
    loop_s : float
        Natural time that one loop of phase 0 to 1 stands for, s; sets how often things repeat.
    """

    def __init__(
        self,
        seed: int,
        height: int,
        width: int,
        facing: Literal["left", "right"] | None = None,
        loop_s: float = 3.0,
    ) -> None:
        self.height, self.width, self.loop_s = height, width, loop_s
        rng = np.random.default_rng(seed)
        coin = rng.random() < 0.5
        self.facing = facing or ("right" if coin else "left")
        self._px = rng.uniform(0.24, 0.5) * min(width, height * 4 / 3)  # px per head unit
        self._tilt = rng.uniform(-0.15, 0.5)  # nose down, rad
        # the middle of the muzzle goes near the middle of the left half
        self._cos, self._sin = float(np.cos(self._tilt)), float(np.sin(self._tilt))
        self._origin = (0.0, 0.0)
        centre = self._to_px(np.array([0.55, 0.15]))
        self._origin = (
            float(width * rng.uniform(0.36, 0.5) - centre[0]),
            float(height * rng.uniform(0.4, 0.55) - centre[1]),
        )
        self._top = _TOP * [1, rng.uniform(0.85, 1.1)]
        self._bottom = _BOTTOM * [1, rng.uniform(0.92, 1.08)]
        self._still = np.array([_STILL[name] for name in KEYPOINTS[4:9]], np.float32)
        self._still[:, 1] *= np.where(
            self._still[:, 1] < 0, self._top[-1, 1] / _TOP[-1, 1], self._bottom[-1, 1] / 2.3
        )
        self._eye = np.array([1.0, -0.1]) + rng.uniform(-0.05, 0.05, 2)
        self._eye_tilt = rng.uniform(0.15, 0.45)
        self._eye_width = rng.uniform(0.13, 0.17)  # half of it, head units
        self._lids = rng.uniform(0.72, 0.9), rng.uniform(0.62, 0.8)  # heights in half eye widths
        self._phases = rng.random(12)
        self._pupil = rng.uniform(0.25, 0.6)
        self._blink = rng.random()

    def motion(self, phase: float) -> Motion:
        """Return the state of the face at ``phase``; periodic with period 1."""
        p = self._phases

        def wave(k: int, hz: float) -> float:
            cycles = max(1, round(hz * self.loop_s))
            return float(np.sin(2 * np.pi * (cycles * phase + p[k])))

        from_blink = abs((phase - self._blink + 0.5) % 1.0 - 0.5) * self.loop_s
        lids = 1.0 - 0.97 * float(np.exp(-((from_blink / 0.12) ** 2)))
        bout = 0.6 + 0.4 * wave(0, 0.3)  # whisking and sniffing wax and wane together
        whisk = wave(1, 3.6)
        bumps = np.array(
            [
                [0.01 * wave(2, 2.6), 0.022 * bout * wave(3, 3.6) + 0.03 * wave(4, 0.3)],
                [0.035 * bout * whisk, 0.02 * bout * wave(5, 3.6)],
                [0.03 * wave(6, 0.6), 0.02 + 0.03 * wave(7, 1.3)],
            ],
            np.float32,
        )
        return Motion(
            gaze=(0.15 * wave(8, 0.6) + 0.05 * wave(9, 1.3), 0.09 * wave(10, 0.6)),
            pupil=self._pupil * (1 + 0.3 * wave(11, 0.3)),
            open=lids * (0.95 + 0.05 * wave(4, 0.6)),
            bumps=bumps,
            whisk=0.35 * bout * whisk,
        )

    def points(self, phase: float) -> Float32Array:
        """Return the keypoints (K, 2) float32 in px, in the order of ``KEYPOINTS``."""
        state = self.motion(phase)
        muzzle = _pushed(self._still, state.bumps)
        # a whisker's label sits where it leaves the fur
        whiskers = np.array([self._whisker(i, state)[1] for i in (0, 2, 1)])
        upper, lower = self._lid_heights(state.open)
        eye = self._from_eye(np.array([[1, 0], [0, lower], [-1, 0], [0, -upper]]))
        (x, y), r = state.gaze, state.pupil
        pupil = self._from_eye(np.array([[x + r, y], [x, y + r], [x - r, y], [x, y - r]]))
        xy = self._to_px(np.concatenate([eye, muzzle, whiskers, pupil]))
        if self.facing == "right":
            xy[:, 0] = self.width - 1 - xy[:, 0]
        return xy.astype(np.float32)

    def _to_px(self, uv: np.ndarray) -> np.ndarray:
        """Map head units (..., 2) to px of a picture that faces left."""
        u, v = uv[..., 0] * self._px, uv[..., 1] * self._px
        x = u * self._cos + v * self._sin + self._origin[0]
        y = v * self._cos - u * self._sin + self._origin[1]
        return np.stack([x, y], -1)

    def _to_head(self, x: np.ndarray, y: np.ndarray) -> tuple[Float32Array, Float32Array]:
        """Map px to head units; inverse of ``_to_px``."""
        x, y = (x - self._origin[0]) / self._px, (y - self._origin[1]) / self._px
        u, v = x * self._cos - y * self._sin, x * self._sin + y * self._cos
        return u.astype(np.float32), v.astype(np.float32)

    def _from_eye(self, xy: np.ndarray) -> np.ndarray:
        """Map half eye widths in the eye's own axes to head units."""
        c, s = np.cos(self._eye_tilt), np.sin(self._eye_tilt)
        turned = np.stack([xy[:, 0] * c - xy[:, 1] * s, xy[:, 0] * s + xy[:, 1] * c], -1)
        return np.asarray(turned * self._eye_width + self._eye)

    def _lid_heights(self, opened: float) -> tuple[float, float]:
        return self._lids[0] * (1.15 * opened - 0.15), self._lids[1] * (0.6 + 0.4 * opened)

    def _whisker(self, i: int, state: Motion) -> np.ndarray:
        """Return the knots (N, 2) of a whisker from its root outwards, head units."""
        u, v, angle, length = _WHISKERS[i]
        root = _pushed(np.array([[u, v]], np.float32), state.bumps)[0]
        along = np.linspace(0, 1, 15)
        # bends down as it leaves the face
        direction = angle - state.whisk + 0.35 * along
        step = np.stack([np.cos(direction), np.sin(direction)], -1) * length / 14
        return np.asarray(root + np.cumsum(step, axis=0) - step[0])


def bump_weight(u: np.ndarray, v: np.ndarray, bump: np.ndarray) -> np.ndarray:
    """Return the weight of one bump of displacement, 1 at its centre."""
    distance = ((u - bump[0]) ** 2 + (v - bump[1]) ** 2) / bump[2] ** 2
    return np.asarray(np.exp(-0.5 * distance), np.float32)


def _pushed(uv: Float32Array, moves: Float32Array) -> np.ndarray:
    """Return where points (N, 2) of the resting face are when the bumps have moved, head units.

    The picture is drawn backwards (every pixel asks where it came from), so this solves
    ``p - displacement(p) = uv``; the field is gentle and the iteration contracts.
    """
    p = uv.astype(np.float64)
    for _ in range(12):
        weights = np.stack([bump_weight(p[:, 0], p[:, 1], bump) for bump in BUMPS], -1)
        p = uv + weights @ moves
    return p
