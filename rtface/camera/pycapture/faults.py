"""The one exception of PyCapture2, and how every other fault becomes one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rtface.camera.device import LinkLost
from rtface.camera.sfnc import NodeRefused
from rtface.types import UserError


class Fc2error(Exception):
    """The camera or its driver did not do what was asked; the message is one line."""


@contextlib.contextmanager
def as_fc2error(*more: type[Exception]) -> Iterator[None]:
    """Turn faults of rtface's cameras, and the types named, into an ``Fc2error`` of one line."""
    faults: tuple[type[Exception], ...] = (LinkLost, NodeRefused, UserError, *more)
    try:
        yield
    except faults as error:
        raise Fc2error(" ".join(str(error).split()) or type(error).__name__) from None
