"""Coded triggers from an NI counter, and the edges of its lines as a CSV for `rtface sync`.

NEVER RUN ON HARDWARE. Needs nidaqmx (`pip install nidaqmx`), NI-DAQmx, and a device with a counter
and hardware-timed digital inputs::

    python edges_to_csv.py --device Dev1 --rate 200 --seconds 600 --boot 17 --out edges.csv

The counter ctr0 sends the triggers, each as a pair (low, high) of its own, so one in every 5 s can
come a quarter of a period late. port0 is sampled at 50 kHz; each change of a line is a row
`time_s,line,state`; the rows `begin` and `end` say what was seen. `--boot` has to differ from
session to session. Without `--device` nothing is sent, and what would be is printed.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from rtface.sync import code

SAMPLING_HZ = 50_000.0
HIGH_S = 1e-3


def pairs(rate_hz: float, seconds: float, boot: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) how long the counter's output is low before each pulse, and high, s."""
    t = code.triggers(rate_hz, seconds, boot)
    low = np.diff(t, prepend=-1 / rate_hz) - HIGH_S
    return low, np.full(len(t), HIGH_S)


def rows_of(
    words: np.ndarray, n_lines: int, before: int, first: int
) -> list[tuple[float, int, int]]:
    """Return (time_s, line, state) of each change in samples of a port."""
    changed = np.concatenate(([before], words[:-1])) ^ words
    rows = []
    for i in np.flatnonzero(changed).tolist():
        for line in range(n_lines):
            if changed[i] >> line & 1:
                rows.append(((first + i) / SAMPLING_HZ, line, int(words[i] >> line & 1)))
    return rows


def run(device: str, rate_hz: float, seconds: float, boot: int, out: Path) -> None:
    """Send triggers and write edges until all were sent."""
    import nidaqmx
    from nidaqmx.constants import AcquisitionType, LineGrouping

    low, high = pairs(rate_hz, seconds, boot)
    with nidaqmx.Task() as send, nidaqmx.Task() as see, out.open("w", newline="") as file:
        see.di_channels.add_di_chan(
            f"{device}/port0", line_grouping=LineGrouping.CHAN_FOR_ALL_LINES
        )
        see.timing.cfg_samp_clk_timing(
            SAMPLING_HZ,
            sample_mode=AcquisitionType.CONTINUOUS,
            samps_per_chan=int(10 * SAMPLING_HZ),
        )
        send.co_channels.add_co_pulse_chan_time(f"{device}/ctr0")
        send.timing.cfg_implicit_timing(AcquisitionType.FINITE, samps_per_chan=len(low))
        writer = nidaqmx.stream_writers.CounterWriter(send.out_stream)
        writer.write_many_sample_pulse_time(high, low)
        table = csv.writer(file)
        table.writerow(("time_s", "line", "state"))
        table.writerow((0.0, "begin", ""))
        see.start()
        send.start()
        first, before, after = 0, 0, 2.0
        while after > 0:  # two seconds of silence at the end: the last pulse is seen to be the last
            after -= 1.0 if send.is_task_done() else 0.0
            words = np.array(see.read(int(SAMPLING_HZ), timeout=5.0), np.uint32)
            table.writerows(rows_of(words, 8, before, first))
            first, before = first + len(words), int(words[-1])
        table.writerow((first / SAMPLING_HZ, "end", ""))


def main(words: list[str] | None = None) -> None:
    """Send, or say what would be sent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="as NI MAX names it, for example Dev1")
    parser.add_argument("--rate", type=float, default=200.0, help="Hz")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--boot", type=int, required=True, help="another one for each session")
    parser.add_argument("--out", type=Path, default=Path("edges.csv"))
    options = parser.parse_args(words)
    if options.device:
        run(options.device, options.rate, options.seconds, options.boot, options.out)
        return
    low, high = pairs(options.rate, options.seconds, options.boot)
    late = np.flatnonzero(low > 1.1 / options.rate - HIGH_S)
    print(f"{len(low)} triggers, {1e3 * high[0]:.1f} ms each; late: {late[:5].tolist()} ...")


if __name__ == "__main__":
    main()
