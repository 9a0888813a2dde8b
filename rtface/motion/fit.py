"""Masks made of recordings: principal components in memory that does not grow with their length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rtface.motion.areas import LEAST_BATCH, MARGIN, areas_of, batch_of, possible
from rtface.motion.binning import Area, Binner, binned_shape
from rtface.motion.masks import AreaMasks, Basis, Masks
from rtface.types import Float32Array, Image, UserError

#: gives the frames of one recording without gaps, in order; asked twice
Recording = Callable[[], Iterable[Image | Float32Array]]
#: called now and then: which pass (1 averages, 2 masks), frames done in it
Progress = Callable[[int, int], None]

#: of longer recordings, so many frames are used for the masks: CHUNKS stretches of equal length
MOST_FRAMES, CHUNKS = 15_000, 15
#: px that are worked on at once
_BLOCK = 4096
#: a component with a smaller share of the first one's variance is noise of float32 arithmetic
_LEAST = 1e-6


class Unfittable(UserError):
    """Frames that no masks can be made of: too few, or nothing moves."""


class Averages(NamedTuple):
    """What the first pass found: means (h, w) of frames and |differences|, counts, a hash."""

    frame: Float32Array
    motion: Float32Array
    frames: int
    differences: int
    sha256: str


def fit_masks(
    recordings: Sequence[Recording],
    bin_px: int = 4,
    n_components: int = 500,
    rois: Sequence[tuple[int, int, int, int]] = (),
    full: bool = True,
    motion: bool = True,
    movie: bool = False,
    on_progress: Progress = lambda _stage, _frames: None,
    binned_from: tuple[int, int] | None = None,
    on_fewer: Callable[[str], None] | None = None,
) -> Masks:
    """Return masks of recordings of one camera.

    The components are those of Facemap: of |difference| - average motion and of frame - average
    frame, binned, with the spatial mean of every frame removed. Each is of unit length, with its
    largest weight positive. The averages are of all frames; the components of all, or of
    ``MOST_FRAMES`` in ``CHUNKS`` stretches. No difference is taken between recordings.

    Parameters
    ----------
    recordings : sequence of callable
        Each returns the frames (H, W), uint8 or uint16, of one stretch without gaps.
    bin_px : int
        px.
    n_components : int
        At most so many per area; an area of P bins has at most P - 1.
    rois : sequence of tuple of int
        x, y, width, height in px, each an area of its own.
    full : bool
        Whether the whole frame is an area.
    motion, movie : bool
        Which components.
    on_progress : callable
    binned_from : tuple of int, optional
        The recordings give frames that are binned already (h, w), float32; these are the height
        and width of what they were binned from, px.
    on_fewer : callable, optional
        Is told why, where frames or memory allow fewer components; these are made then. Without it
        they are refused.

    Raises
    ------
    Unfittable
        Nothing moves, or there are too few frames.
    UserError
        An area is outside the frame, frames are of different sizes, or the masks do not fit into
        the memory allowed.
    """
    if not (motion or movie) or not (full or rois):
        raise UserError("nothing to do: ask for motion or movie masks, of the whole frame or ROIs")
    first = next((image for image in recordings[0]()), None) if recordings else None
    if first is None:
        raise UserError("no frames to make masks of; name a video")
    height, width = binned_from or first.shape
    shape = binned_shape(height, width, bin_px)
    areas = areas_of(height, width, bin_px, rois, full)
    kinds, wanted_n = motion + movie, n_components
    if on_fewer:
        n_components, _ = possible(areas.values(), kinds, wanted_n, wanted_n)
    batch = _batch(areas.values(), n_components, kinds)
    rows, columns, block = (*shape, 1) if binned_from else (height, width, bin_px)
    binner = Binner(rows, columns, block, first.dtype)

    averages = _averages(recordings, binner, on_progress)
    if on_fewer and averages.differences:
        n_components, why = possible(areas.values(), kinds, wanted_n, averages.differences)
        if why:
            on_fewer(why)
    if averages.differences < n_components:
        raise Unfittable(
            f"components: {averages.frames} frames give at most {averages.differences}, not "
            f"{n_components}; ask for fewer or give a longer video"
        )
    if not averages.motion.any():
        raise Unfittable("every frame is the same: nothing moves that masks could be made of")
    made: dict[tuple[str, bool], _Components] = {
        (name, kind): _Components(area, average, n_components, batch)
        for kind, average, wanted in (
            (False, averages.motion, motion),
            (True, averages.frame, movie),
        )
        if wanted
        for name, area in areas.items()
    }
    for binned, moved in _sampled(recordings, binner, averages.frames, on_progress):
        for (_, kind), components in made.items():
            components.add(binned if kind else moved)
    found = {key: made.pop(key).basis() for key in list(made)}  # each frees its memory
    return Masks(
        height,
        width,
        bin_px,
        averages.frame,
        averages.motion,
        tuple(
            AreaMasks(name, area, found.get((name, False)), found.get((name, True)))
            for name, area in areas.items()
        ),
        averages.sha256,
    )


def chunks(frames: int) -> list[tuple[int, int]]:
    """Return which of so many frames the masks are made of: (first, one after the last) of each."""
    if frames <= MOST_FRAMES:
        return [(0, frames)]
    length = MOST_FRAMES // CHUNKS
    starts = np.linspace(0, frames - length, CHUNKS).astype(int).tolist()
    return [(start, start + length) for start in starts]


def _batch(areas: Collection[Area], n_components: int, kinds: int) -> int:
    """Return how many frames at a time are taken up, from the memory that they need."""
    if n_components < 1:
        raise UserError(f"components: at least 1, not {n_components}")
    batch = batch_of(areas, kinds, n_components)
    if batch < LEAST_BATCH:
        pixels = kinds * sum(area.pixels for area in areas)
        raise UserError(
            f"components: {n_components} of {pixels} bins do not fit into 1 GB; "
            "ask for fewer, or make the bin larger"
        )
    # as many as are carried along: fewer cost more steps, more cost larger ones
    return min(batch, max(n_components, 100))


def _averages(recordings: Sequence[Recording], binner: Binner, on_progress: Progress) -> Averages:
    """Go through everything once."""
    frame, motion = np.zeros(binner.shape), np.zeros(binner.shape)
    now, before, moved = (np.empty(binner.shape, np.float32) for _ in range(3))
    digest = hashlib.sha256()
    frames = differences = 0
    for recording in recordings:
        for i, image in enumerate(recording()):
            _bin(binner, image, now)
            digest.update(now.data)
            frame += now
            if i:
                np.abs(np.subtract(now, before, out=moved), out=moved)
                motion += moved
                differences += 1
            now, before = before, now
            frames += 1
            on_progress(1, frames)
    return Averages(
        (frame / frames).astype(np.float32),
        (motion / max(differences, 1)).astype(np.float32),
        frames,
        differences,
        digest.hexdigest(),
    )


def _sampled(
    recordings: Sequence[Recording], binner: Binner, frames: int, on_progress: Progress
) -> Iterator[tuple[Float32Array, Float32Array]]:
    """Yield binned frame and |difference| (h, w) of the frames that masks are made of.

    Both are overwritten later. As Facemap, leaves out the first frame of each stretch.
    """
    now, before, moved = (np.empty(binner.shape, np.float32) for _ in range(3))
    wanted = iter(chunks(frames))
    start, stop = next(wanted)
    t = -1
    for recording in recordings:
        have_before = False
        for image in recording():
            t += 1
            if t >= stop:
                start, stop = next(wanted, (frames, frames))
                have_before = False
                if start == frames:
                    return
            if t < start:
                continue
            _bin(binner, image, now)
            if have_before:
                np.abs(np.subtract(now, before, out=moved), out=moved)
                yield now, moved
            now, before, have_before = before, now, True
            on_progress(2, t + 1)


def _bin(binner: Binner, image: Image | Float32Array, out: Float32Array) -> None:
    try:
        binner(image, out)
    except ValueError as error:
        raise UserError(f"frames of different kinds: {error}; use videos of one camera") from None


class _Components:
    """The leading principal components of vectors that come one by one.

    Keeps as rows: the components so far, each as long as its singular value, then new vectors.
    When the rows are full, their own leading components take their place, which are those of all
    vectors but for what was cut off before.
    """

    def __init__(self, area: Area, average: Float32Array, n: int, batch: int) -> None:
        self._area = area
        self._average = area.of(average)
        self._n = min(n, area.pixels - 1) or 1
        self._keep = min(n + MARGIN, area.pixels)
        self._rows = np.empty((self._keep + batch, area.pixels), np.float32)
        self._used = 0
        self._total = 0.0

    def add(self, binned: Float32Array) -> None:
        """Take up what a whole binned frame (h, w) has in this area."""
        if self._used == len(self._rows):
            self._shrink(self._keep)
        row = self._rows[self._used]
        np.subtract(self._area.of(binned), self._average, out=row.reshape(self._average.shape))
        row -= row.mean(dtype=np.float64)
        self._total += float(np.dot(row, row))
        self._used += 1

    def basis(self) -> Basis:
        """Return the components of all that was added; forgets it."""
        self._shrink(self._n)
        rows = self._rows[: self._used]
        power = np.array([float(np.dot(row, row)) for row in rows])
        n = int(np.count_nonzero(power > _LEAST * power[0])) if power[0] > 0 else 0
        if not n:
            raise Unfittable(f"{self._area}: every frame is the same there; choose another ROI")
        rows, singular = rows[:n], np.sqrt(power[:n])
        rows /= singular.astype(np.float32)[:, None]
        # what rounding left between weak components goes; the leading ones stay as they are
        gram = np.zeros((n, n))
        for block in self._blocks():
            part = rows[:, block].astype(np.float64)
            gram += part @ part.T
        _turn(rows, np.linalg.inv(np.linalg.cholesky(gram)).astype(np.float32), self._blocks())
        largest = np.abs(rows).argmax(1)
        rows *= np.sign(rows[np.arange(n), largest])[:, None]
        return Basis(
            np.ascontiguousarray(rows.T),
            singular.astype(np.float32),
            (power[:n] / self._total).astype(np.float32),
        )

    def _shrink(self, n: int) -> None:
        """Put the leading ``n`` components of the rows in the place of the rows."""
        rows = self._rows[: self._used]
        gram = np.zeros((len(rows), len(rows)))
        for block in self._blocks():
            gram += rows[:, block] @ rows[:, block].T
        _, vectors = np.linalg.eigh(gram)  # the largest come last
        leading = vectors[:, ::-1][:, :n].T.astype(np.float32)
        _turn(rows, leading, self._blocks())
        self._used = len(leading)

    def _blocks(self) -> list[slice]:
        n = self._rows.shape[1]
        return [slice(i, i + _BLOCK) for i in range(0, n, _BLOCK)]


def _turn(rows: Float32Array, by: Float32Array, blocks: Sequence[slice]) -> None:
    """Put ``by @ rows`` into the first rows, in place."""
    for block in blocks:
        rows[: len(by), block] = by @ rows[:, block]
