"""Fitted models: what runs frame by frame, and the same over a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rtface.neural.activity import Ints
from rtface.neural.behaviour import Behaviour
from rtface.neural.columns import Column
from rtface.neural.filters import FilterBank
from rtface.neural.network import Network
from rtface.neural.scaling import Scaler, Scaling
from rtface.types import Float32Array, UserError

#: a network stretches time by so much at most, as a part
MOST_OFF = 0.02


class Stream(Protocol):
    """Predicts with every frame, in order. Belongs to one thread."""

    def __call__(self, t_ns: int, x: Float32Array) -> Float32Array:
        """Return (C,) float32 of a frame's columns (F,); overwritten by the next call.

        A frame that is not later than one before changes nothing and gets the same again: the
        clock of exposures may be set back a little where a camera begins anew.
        """


@dataclass(frozen=True, slots=True)
class Common:
    """What every model says of itself.

    Attributes
    ----------
    columns : tuple of Column
        What it sees, in this order.
    scaling : Scaling
        How they are scaled, and guessed where they are not known.
    outputs : tuple of str
        Names of what it predicts.
    lag_s : float
        A prediction is about the moment so long before the exposure; below 0: after it.
    masks : str or None
        Identity of the masks that motion components have to be of.
    """

    columns: tuple[Column, ...]
    scaling: Scaling
    outputs: tuple[str, ...]
    lag_s: float
    masks: str | None


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear model of leaky averages.

    Attributes
    ----------
    common : Common
    taus_s : tuple of float (L,)
    weights : ndarray (C, L * F)
    bias : ndarray (C,)
    """

    common: Common
    taus_s: tuple[float, ...]
    weights: Float32Array
    bias: Float32Array

    def stream(self) -> Stream:
        """Return what predicts frame by frame."""
        return _LinearStream(self)

    def run(self, behaviour: Behaviour) -> Float32Array:
        """Return (T, C): what ``stream`` says of every frame, to the last bit."""
        return _each(self.stream(), behaviour, len(self.common.outputs))


class _LinearStream:
    def __init__(self, model: Linear) -> None:
        self._scale = Scaler(model.common.scaling)
        self._bank = FilterBank(len(model.common.columns), model.taus_s)
        self._weights, self._bias = np.ascontiguousarray(model.weights), model.bias
        self._out = np.zeros(len(model.bias), np.float32)
        self._before_ns: int | None = None

    def __call__(self, t_ns: int, x: Float32Array) -> Float32Array:
        if self._before_ns is not None and t_ns <= self._before_ns:
            return self._out
        self._before_ns = t_ns
        np.dot(self._weights, self._bank(t_ns, self._scale(t_ns, x)), out=self._out)
        self._out += self._bias
        return self._out


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Facemap's network on samples of an even rate.

    Attributes
    ----------
    common : Common
    network : Network
    period_ns : int
        Of its samples: a frame that was lost is the one before again.
    """

    common: Common
    network: Network
    period_ns: int

    def check_rate(self, period_s: float) -> None:
        """Raise UserError unless frames come at the rate that its kernels are of."""
        if abs(period_s * 1e9 / self.period_ns - 1) > MOST_OFF:
            raise UserError(
                f"the network is of {1e9 / self.period_ns:.1f} frames/s and these are "
                f"{1 / period_s:.1f}; fit one to this rate"
            )

    def stream(self) -> Stream:
        """Return what predicts frame by frame."""
        return _NetworkStream(self)

    def run(self, behaviour: Behaviour) -> Float32Array:
        """Return (T, C): what ``stream`` says of every frame, to rounding."""
        self.check_rate(behaviour.period_s)
        samples, frames = even(behaviour, self.common, self.period_ns)
        return self.network.read(self.network.run(samples)[frames])


class _NetworkStream:
    """Keeps the mixed samples of the last K frames; each new one costs one window of kernels."""

    def __init__(self, model: Keypoints) -> None:
        self._scale = Scaler(model.common.scaling)
        self._network, self._period_ns = model.network, model.period_ns
        taps, width = model.network.taps, model.network.mix.shape[1]
        # every sample stands twice, so that the last K are always in one piece
        self._kept = np.zeros((2 * taps, width), np.float32)
        self._taps, self._at = taps, 0
        self._before_ns: int | None = None
        self._mixed = np.zeros(width, np.float32)
        self._out = np.zeros(len(model.common.outputs), np.float32)

    def __call__(self, t_ns: int, x: Float32Array) -> Float32Array:
        if self._before_ns is not None:
            if t_ns <= self._before_ns:
                return self._out
            for _ in range(1, _steps(t_ns - self._before_ns, self._period_ns, self._taps)):
                self._push()
        self._before_ns = t_ns
        np.dot(self._scale(t_ns, x), self._network.mix, out=self._mixed)
        self._mixed += self._network.mix_bias
        self._push()
        window = self._kept[self._at : self._at + self._taps]
        filtered = (window.T @ self._network.kernels).reshape(-1)
        self._out = self._network.read(self._network.latents(filtered))
        return self._out

    def _push(self) -> None:
        self._kept[self._at] = self._kept[self._at + self._taps] = self._mixed
        self._at = (self._at + 1) % self._taps


def _steps(apart_ns: int, period_ns: int, most: int) -> int:
    """Return how many samples further a frame is, 1 at least."""
    return int(min(max(1, (apart_ns + period_ns // 2) // period_ns), most))


def even(behaviour: Behaviour, common: Common, period_ns: int) -> tuple[Float32Array, Ints]:
    """Return scaled samples (G, F) of an even rate, and which of them each frame (T,) is.

    Lost frames are the frame before again, as many as the network remembers at most.
    """
    scale = Scaler(common.scaling)
    scaled = np.stack(
        [
            scale(t_ns, x).copy()
            for t_ns, x in zip(behaviour.t_ns.tolist(), behaviour.values, strict=True)
        ]
    )
    apart = np.diff(behaviour.t_ns)
    steps = np.clip((apart + period_ns // 2) // period_ns, 1, 10_000)
    frames = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    return np.repeat(scaled, np.append(steps, 1), 0), frames


def _each(stream: Stream, behaviour: Behaviour, n: int) -> Float32Array:
    out = np.empty((len(behaviour.t_ns), n), np.float32)
    for i, (t_ns, x) in enumerate(zip(behaviour.t_ns.tolist(), behaviour.values, strict=True)):
        out[i] = stream(t_ns, x)
    return out


Model = Linear | Keypoints


def lags(model: Model) -> dict[str, Any]:
    """Return what there is to say of a model's time, for people."""
    told: dict[str, Any] = {"lag_s": model.common.lag_s}
    if isinstance(model, Linear):
        return told | {"taus_s": list(model.taus_s)}
    return told | {"taps": model.network.taps, "period_s": model.period_ns * 1e-9}
