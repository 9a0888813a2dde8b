"""INT8 networks from your own frames, as `rtface model quantize` makes them; see its `--help`."""

import sys

from rtface.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["model", "quantize"]
    main()
