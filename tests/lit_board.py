"""A simulated board whose line switches a simulated light: ``lit_board.py LIGHT key=value ...``."""

from __future__ import annotations

import sys
from pathlib import Path

from rtface.camera.light import LightSwitch
from rtface.outputs.twin import options_of, serve


def main(light: str, words: list[str]) -> None:
    now = [0]
    switch = LightSwitch(Path(light), clock=lambda: now[0])

    def on_change(level: int, t_ns: int) -> None:
        now[0] = t_ns
        switch.set(bool(level))

    serve(options_of(words), on_change)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
