"""Which keypoint each one becomes in a mirrored picture, by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OTHER = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
_OTHER |= {other: side for side, other in _OTHER.items()}
#: a letter for a side stands alone (ear_l, L-ear, nose(r)) or ends a word (earL)
_SIDE = re.compile(
    "left|right|Left|Right|LEFT|RIGHT|(?<![A-Za-z])[lrLR](?![A-Za-z])|(?<=[a-z])[LR](?![A-Za-z])"
)
#: a word that begins with a side, so that bright and upright have none
_SIDED = re.compile("(?<![A-Za-z])(left|right)|(?<![A-Z])(Left|Right)|LEFT|RIGHT", re.ASCII)


def mirror_of(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the index of the keypoint that each one becomes; None: pictures must not be mirrored.

    ``left_ear`` and ``right_ear`` change places, and so do ``earL`` and ``earR`` where both are
    there; front and back stay.
    """
    if lonely(names):
        return None
    others = map(_other, names)
    return tuple(names.index(other) if other in names else i for i, other in enumerate(others))


def lonely(names: Sequence[str]) -> list[str]:
    """Return the names with left or right whose partner is not there.

    They have no place in a mirrored picture.
    """
    return [name for name in names if _SIDED.search(name) and _other(name) not in names]


def _other(name: str) -> str:
    return _SIDE.sub(lambda side: _OTHER[side[0]], name)
