"""Whether what a session's ``meta`` says of its signals can be believed."""

from __future__ import annotations

from typing import Any

from rtface.pupil.record import FIELDS

#: signals whose columns have names in ``meta``
_NAMED = ("motion_energy", "running", "pupil", "neural")


def signal_words(meta: dict[str, Any]) -> dict[str, list[str]]:
    """Return what ``meta`` says the columns of signals are; TypeError or KeyError if it cannot."""
    words: dict[str, list[str]] = {}
    if motion := meta.get("motion"):
        words["motion_energy"] = [str(area["name"]) for area in motion["areas"]]
    for name in ("running", "pupil", "neural"):
        if told := meta.get(name):
            words[name] = [str(field) for field in told["fields"]]
    return words


def check_signals(meta: dict[str, Any], lengths: dict[str, int]) -> None:
    """Raise ValueError if ``meta`` is not that of signals of these lengths."""
    try:
        words = signal_words(meta)
        _check_motion(meta.get("motion") or {"areas": []}, lengths)
        if pupil := meta.get("pupil"):
            _check_pupil(pupil)
        rules = meta.get("rules")
        if rules and type(rules["seed"]) is not int:
            raise ValueError("meta.rules.seed is no whole number")
    except (TypeError, KeyError, AttributeError):
        raise ValueError("meta.motion, running, pupil, neural or rules makes no sense") from None
    if any(len(words.get(name, ())) != lengths.get(name, 0) for name in _NAMED):
        raise ValueError("meta.signals: other lengths than meta says of its signals")
    if bool(rules) != ("brightness" in lengths):
        raise ValueError("meta.signals: brightness goes with meta.rules")


def _check_motion(motion: dict[str, Any], lengths: dict[str, int]) -> None:
    for name in ("motion", "movie"):
        counts = [area[name] for area in motion["areas"]]
        if any(type(n) is not int or n < 0 for n in counts):
            raise ValueError(f"meta.motion.areas: {name} is no count")
        if sum(counts) != lengths.get(name, 0):
            raise ValueError(f"meta.signals.{name} is not the sum of the areas")


def _check_pupil(pupil: dict[str, Any]) -> None:
    if [str(field) for field in pupil["fields"]] != list(FIELDS):
        raise ValueError("meta.pupil.fields are not those of this version")
    box = pupil.get("box")
    if box and not (len(box) == 4 and all(type(n) is int and 0 <= n <= 65536 for n in box)):
        raise ValueError("meta.pupil.box is no rectangle")
    if not isinstance(pupil["sigma"], int | float):
        raise ValueError("meta.pupil.sigma is no number")
