"""Makes docs/neural/: the report of a simulated session of four regions, whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtface.neural.explain import explain
from rtface.neural.fit import Settings, group_masks, prepare
from rtface.neural.oracle import ceiling_of_what_was_seen
from rtface.neural.report import summary, write_report
from rtface.neural.scores import peers
from rtface.neural.simulate import REGIONS, simulate

OUT = Path(__file__).parent / "neural"


def main() -> None:
    made = simulate(seconds=600, per_region=60, drift=0.3, missing=0.1, lost=0.01, seed=7)
    settings = Settings()
    one = prepare(made.behaviour, made.activity, settings)[0]
    found = explain(one.data, group_masks(made.behaviour, len(settings.taus_s)))
    data = one.data
    possible = peers(data.target, data.split)
    title = "What explains a simulated session"
    rows = write_report(OUT, title, found, one, made.behaviour, made.activity, settings, possible)
    for line in summary(rows):
        print("{}: explained {}, shuffled {}; unique: {}".format(*line))
    seen = ceiling_of_what_was_seen(made)
    for region in REGIONS:
        mine = np.array(made.activity.regions) == region
        print(
            f"{region}: ceiling {made.ceiling[mine].mean():.3f}, of what was seen "
            f"{seen[mine].mean():.3f}"
        )
    (OUT / "units.csv").unlink()  # 60 kB that nobody reads here


if __name__ == "__main__":
    main()
