"""Masks of motion components, as ``rtface calibrate motion`` makes them; see its ``--help``."""

import sys

from rtface.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["calibrate", "motion"]
    main()
