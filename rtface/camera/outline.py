"""The shapes of a mouse's head and paw from the side, in head units; the nose comes first."""

from __future__ import annotations

import numpy as np

#: forehead, then the chin and throat
TOP = np.array(
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
BOTTOM = np.array(
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
#: half length and half height of a paw, head units
PAW = (0.2, 0.12)


def paw_cover(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return how far inside of a paw places are, above 0 inside; head units from its middle."""
    long, high = PAW
    palm = 1 - np.hypot((u - 0.25 * long) / (0.75 * long), v / high)
    fingers = [
        1 - np.hypot((u + 0.55 * long) / (0.45 * long), (v - at * high) / (0.24 * high))
        for at in (-0.72, -0.24, 0.24, 0.72)
    ]
    return np.asarray(np.maximum.reduce([palm, *fingers]))
