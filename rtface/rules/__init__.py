"""The closed loop's rules: signals of frames in, decisions out. See ``docs/closed-loop.md``."""

from rtface.rules.arming import Notice
from rtface.rules.check import check_rules
from rtface.rules.decide import Rules, decide
from rtface.rules.guard import Guard
from rtface.rules.layout import Stage, layout_of
from rtface.rules.light import brightness
from rtface.rules.rule import Decision

__all__ = [
    "Decision",
    "Guard",
    "Notice",
    "Rules",
    "Stage",
    "brightness",
    "check_rules",
    "decide",
    "layout_of",
]
