"""Where the face is: which part of each frame the network gets. Poses in, boxes out; no I/O.

One inference per frame, always: searching is spread over frames. A finder says which box the next
frame is looked at in, and is then told what the network saw there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from rtface.types import BBox, Pose

#: scores above this are believed, of networks that say nothing else; of 18 pictures without a mouse
#: none was taken for a face, of 111 mice with their faces painted over one
SURE = 0.25


class Crop(NamedTuple):
    """How a network's crop lies about a face; stands in its ``model.json`` as ``crop``.

    With E the middle of the eye, N the tip of the nose and m = |E - N|, the crop is centred at
    E + along * (N - E) + down * m * (0, 1), down the picture, and m is ``muzzle_px`` of the input.
    Scores above ``sure`` are believed.
    """

    muzzle_px: float
    along: float
    down: float
    sure: float = SURE

    @classmethod
    def parse(cls, told: Any) -> Crop:
        """Return what ``crop`` of a ``model.json`` says; ValueError if it makes no sense."""
        if not isinstance(told, dict) or {"sure", *told} != set(cls._fields):
            raise ValueError(f"crop: must have {', '.join(cls._fields)}")
        crop = cls(**{name: float(value) for name, value in told.items()})
        if not (4 <= crop.muzzle_px <= 4096 and abs(crop.along) <= 2 and abs(crop.down) <= 2):
            raise ValueError(f"crop: {crop} lies beside any face")
        if not 0 < crop.sure < 1:
            raise ValueError(f"crop: sure: {crop.sure} is no score between 0 and 1")
        return crop


#: what networks are trained with: half of a 256x192 input from eye to nose, the chin in the picture
CROP = Crop(muzzle_px=128.0, along=0.42, down=0.20)

#: without these no crop can be told; the lids help where the network has them
CORNERS, NOSE, LIDS = ("eye(front)", "eye(back)"), "nose(tip)", ("eye(top)", "eye(bottom)")
#: beside an eye whose four points all score above this part of ``sure``, a nose may score less: a
#: bright nose before something bright is anywhere along its edge
CERTAIN, FAINT = 2.0, 0.2
#: from eye to nose in widths of the eye, in any face
MUZZLE_IN_EYES = (2.0, 6.0)
#: smaller parts of the frame than the whole: (frame / part, parts along each side)
FINER = ((1.6, 3), (2.5, 4))
#: settled once so many faces in a row differ by no more than this, in widths of the crop
SETTLE_FRAMES, SETTLE_SIZE, SETTLE_PLACE = 5, 0.05, 0.03
#: a face that restless is not waited for longer than this, s
SETTLE_S = 1.0
#: frames without a face after which one that was not yet settled on was none
FALSE_ALARM = 3
#: time constant of following, s, and how far a crop may be off without being moved, in its width
FOLLOW_S, DEAD_BAND = 2.0, 0.02
#: no face for this long is said; after the second time it is looked for elsewhere, s
LOST_S, KEEP_S = 1.0, 5.0
#: every how many frames another place is looked at then; a mouse behind its paw is not lost
SEARCH_EVERY = 4
#: smallest crop, px
SMALLEST = 16


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if a network with these keypoints cannot tell where a face is."""
    if missing := [name for name in (*CORNERS, NOSE) if name not in names]:
        raise ValueError(f"crop: no face can be found without {', '.join(missing)}")


class State(StrEnum):
    """What a finder is doing."""

    SEARCHING = "searching"  # no face was found yet
    SETTLING = "settling"  # there is one; its crop is still being adjusted
    SETTLED = "settled"
    LOST = "lost"  # the face is gone, its place is kept


class _Face(NamedTuple):
    """The crop that a face asks for: centre and width, px of the frame."""

    x: float
    y: float
    width: float


class FaceFinder:
    """Finds a face and keeps its crop; told what the network saw, frame by frame.

    Parameters
    ----------
    frame_shape : (height, width) of the frame, px
    names : sequence of str
        The network's keypoints; those of ``CORNERS`` and ``NOSE`` have to be among them.
    input_shape : (height, width) of the network's input, px
    crop : Crop
    follow : bool
        Whether the crop moves once it is settled; its size never changes then.
    box : BBox, optional
        Look here and nowhere else; only whether there is a face is told.
    rate_hz : float
        Of the frames; turns the times above into frames.

    Attributes
    ----------
    box : BBox
        Where the next frame is to be looked at; may reach beyond the frame.
    state : State
    face : bool
        Whether a face is believed to be there, as of the last frame.
    missing : int
        Frames since a face was last seen.

    Raises
    ------
    ValueError
        The network lacks keypoints that are needed.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int],
        names: Sequence[str],
        input_shape: tuple[int, int],
        crop: Crop = CROP,
        follow: bool = True,
        box: BBox | None = None,
        rate_hz: float = 100.0,
    ) -> None:
        check_names(names)
        self._rows = [names.index(name) for name in (*CORNERS, NOSE, *LIDS) if name in names]
        self._frame_shape, self._input_shape, self._crop = frame_shape, input_shape, crop
        self.moves, self._fixed = follow, box
        self._tiles = [box] if box else list(_tiles(*frame_shape))
        self._recent: deque[_Face] = deque(maxlen=SETTLE_FRAMES)
        self.restart(rate_hz)

    def restart(self, rate_hz: float | None = None) -> None:
        """Forget everything and search from the beginning."""
        if rate_hz is not None:
            self.rate_hz = rate_hz
            self._second = max(SETTLE_FRAMES, round(rate_hz))
        self.state, self.face, self.missing = State.SEARCHING, False, 0
        self._kept: BBox | None = None  # the crop that was settled on
        self._next_tile = self._turn = self._doubts = 0
        self._search_on()

    @property
    def patience(self) -> int:
        """How many times a still picture is worth looking at until its face is settled on."""
        return 1 if self._fixed else len(self._tiles) + 2 * SETTLE_FRAMES

    def update(self, pose: Pose, frames: int = 1) -> None:
        """Take in what the network saw in ``box``.

        Parameters
        ----------
        pose : Pose
            px of the full frame.
        frames : int
            Frame periods since the pose before; more than 1 if frames were passed over.
        """
        frames = min(frames, max(1, self._second // 4))  # a stall is no absence
        points = pose.keypoints[self._rows].tolist()
        seen = 2 * sum(score > self._crop.sure for _, _, score in points) >= len(points)
        face = self._face(points) if seen else None
        seen_at_all = face or (seen and self.state is State.SETTLED)
        self.missing = 0 if seen_at_all else self.missing + frames
        if self._fixed:
            self._watch(face)
        elif self.state is State.SETTLED:
            self._keep(face, frames)
        elif face and self.state is State.LOST and self.box == self._kept:
            self.state = State.SETTLED  # it was only hidden
        elif face:
            self._settle(face)
        elif self.state is State.SETTLING:
            self._doubt()
        else:
            self._search_on()
        self.face = self.state is State.SETTLED or (self.state is State.SETTLING and bool(face))

    def _face(self, points: list[list[float]]) -> _Face | None:
        """Return the crop that these anchors ask for; None if they are no face."""
        front, back, nose, *lids = points
        sure = self._crop.sure
        eye = [front, back]
        if len(lids) == 2 and all(lid[2] > sure for lid in lids):
            eye += lids
        certain = len(eye) == 4 and min(point[2] for point in eye) > CERTAIN * sure
        # a settled crop does not follow a nose that may be anywhere
        enough = FAINT * sure if certain and self.state is not State.SETTLED else sure
        if not (front[2] > sure and back[2] > sure and nose[2] > enough):
            return None
        x, y = (sum(point[axis] for point in eye) / len(eye) for axis in (0, 1))
        to_x, to_y = nose[0] - x, nose[1] - y
        muzzle = math.hypot(to_x, to_y)
        eye_width = math.hypot(front[0] - back[0], front[1] - back[1])
        least, most = MUZZLE_IN_EYES
        if not (eye_width > 0 and least * eye_width <= muzzle <= most * eye_width < math.inf):
            return None
        (frame_height, frame_width), crop = self._frame_shape, self._crop
        width = self._input_shape[1] * muzzle / crop.muzzle_px
        centre_x, centre_y = x + crop.along * to_x, y + crop.along * to_y + crop.down * muzzle
        # it may reach beyond the frame, but not lie beside it
        return _Face(
            min(max(centre_x, 0.0), frame_width - 1.0),
            min(max(centre_y, 0.0), frame_height - 1.0),
            min(max(width, SMALLEST), 2.0 * max(self._frame_shape)),
        )

    def _box_of(self, face: _Face) -> BBox:
        """Return a crop in whole px; its shape is the input's wherever that is 4:3."""
        width = 4 * round(face.width / 4)
        height = max(1, round(width * self._input_shape[0] / self._input_shape[1]))
        x, y = round(face.x - (width - 1) / 2), round(face.y - (height - 1) / 2)
        return BBox(x, y, width, height)

    def _settle(self, face: _Face) -> None:
        """Adjust the crop; once it is steady, freeze its size."""
        if self.state is not State.SETTLING:
            self.state, self._turn = State.SETTLING, 0
            self._recent.clear()
        self._doubts = 0
        self._turn += 1
        self._recent.append(face)
        recent = list(zip(*self._recent, strict=True))
        x, y, width = (max(v) - min(v) for v in recent)
        size = self._middle().width
        steady = width <= SETTLE_SIZE * size and max(x, y) <= SETTLE_PLACE * size
        enough = len(self._recent) == SETTLE_FRAMES
        if enough and (steady or self._turn >= SETTLE_S * self._second):
            self._freeze()
        else:  # in between, or it might go to and fro between crops
            some = list(self._recent)[-2 if self._turn <= SETTLE_FRAMES else 0 :]
            self.box = self._box_of(_Face(*(sum(v) / len(some) for v in zip(*some, strict=True))))

    def settle_now(self) -> None:
        """Settle on a face that is still seen and was often enough, if never twice in one place.

        For those who look at one picture again and again: their time will not come. Does nothing
        without such a face.
        """
        if self.face and self.state is State.SETTLING and len(self._recent) == SETTLE_FRAMES:
            self._freeze()

    def _freeze(self) -> None:
        middle = self._middle()
        self.state, self.box = State.SETTLED, self._box_of(middle)
        self._kept, self._centre = self.box, (middle.x, middle.y)

    def _middle(self) -> _Face:
        recent = zip(*self._recent, strict=True)
        return _Face(*(sorted(values)[len(values) // 2] for values in recent))

    def _doubt(self) -> None:
        """Give up a face that was not settled on and is not seen again."""
        self._doubts += 1
        if self._doubts >= FALSE_ALARM:
            self.state = State.LOST if self._kept else State.SEARCHING
            self._search_on()

    def _keep(self, face: _Face | None, frames: int) -> None:
        """Move the crop after its face, slowly; give up when none was seen for long."""
        if self.missing > LOST_S * self._second:
            self.state, self._turn, self._next_tile = State.LOST, 0, 0
            return
        if face is None or not self.moves:
            return
        part = 1 - math.exp(-frames / (FOLLOW_S * self._second))
        x, y = self._centre
        x, y = self._centre = x + part * (face.x - x), y + part * (face.y - y)
        box, band = self.box, DEAD_BAND * self.box.width
        off_x, off_y = x - (box.x + (box.width - 1) / 2), y - (box.y + (box.height - 1) / 2)
        move_x, move_y = (
            int(off - math.copysign(min(band, abs(off)), off)) for off in (off_x, off_y)
        )
        if move_x or move_y:
            self.box = self._kept = box._replace(x=box.x + move_x, y=box.y + move_y)

    def _search_on(self) -> None:
        """Look at the next place; while a crop is kept, only now and then and after a while."""
        if self._kept:
            self.box = self._kept
            self._turn += 1
            waited = self.missing > (LOST_S + KEEP_S) * self._second
            if not (self.moves and waited) or self._turn % SEARCH_EVERY:
                return
        self.box = self._tiles[self._next_tile]
        self._next_tile = (self._next_tile + 1) % len(self._tiles)

    def _watch(self, face: _Face | None) -> None:
        """Say whether there is a face in a box that was given."""
        if face:
            self.state = State.SETTLED
        elif self.state is State.SETTLED and self.missing > LOST_S * self._second:
            self.state = State.LOST

    def about(self) -> dict[str, Any]:
        """Return what a status says: state, crop, and for how long no face was seen, s."""
        seconds = 0.0 if self.face else self.missing / self.rate_hz
        return {"state": self.state.value, "crop": list(self.box), "no_face_s": seconds}


def _tiles(height: int, width: int) -> Iterator[BBox]:
    """Yield where to look for a face, coarse to fine, at each scale from the middle outward."""
    yield BBox(0, 0, width, height)
    for finer, n in FINER:
        w, h = max(1, round(width / finer)), max(1, round(height / finer))
        steps = [(x, y) for y in range(n) for x in range(n)]
        steps.sort(key=lambda at: abs(2 * at[0] - n + 1) + abs(2 * at[1] - n + 1))
        for x, y in steps:
            yield BBox(round(x * (width - w) / (n - 1)), round(y * (height - h) / (n - 1)), w, h)
