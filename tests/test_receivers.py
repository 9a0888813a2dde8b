"""What subscribers get is fresh, in order, and complete or counted, however they are stopped.

Soaks against real processes, on the loopback interface.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from disturbers import Helper, RecordingSubscriber, ending
from programs import running, wait_until

pytestmark = pytest.mark.soak


def stop_for(subscriber: Helper, seconds: float) -> int:
    """Stop a process for a while; return when it was continued, ns."""
    subscriber.signal(signal.SIGSTOP)
    time.sleep(seconds)
    continued_ns = time.perf_counter_ns()
    subscriber.signal(signal.SIGCONT)
    return continued_ns


@pytest.mark.timeout(120)
def test_latest_hands_out_nothing_old_after_any_of_20_stops(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(20)
    # the last two leave seconds of messages in the queues, all of them stale
    stops_s = [*random.uniform(0.5, 1.5, 18), 4.5, 4.5]
    random.shuffle(stops_s)
    waits_ms = []
    with running(tmp_path, tiny_bundle, runtime="null") as program:
        subscriber = RecordingSubscriber(tmp_path, program.data, "latest")
        with ending(subscriber):
            wait_until(lambda: subscriber.newest() is not None, 10)
            for stop_s in stops_s:
                continued_ns = stop_for(subscriber, stop_s)
                wait_until(lambda t=continued_ns: subscriber.newest()["out_ns"] > t, 5)
                time.sleep(0.3)
                rows = subscriber.records()
                first = rows[rows["out_ns"] > continued_ns][0]
                waits_ms.append((first["out_ns"] - continued_ns) / 1e6)
            rows = subscriber.records()
        program.stop()
    age_ms = (rows["out_ns"] - rows["t_done_ns"]) / 1e6
    # Our reading of the clock comes after the client's own. Where the process was stopped (or
    # merely lost its core) between the two, the message was fresh when it was handed out and old
    # when we looked, and no client can prevent that. Such a case shows in the two readings: the
    # client's was within the bound. It is rare (some us of every 5 ms), so more than two of them
    # in 20 stops would mean that the client's reading is wrong.
    old = age_ms > 50
    excused = old & (rows["judged_ns"] >= 0) & (rows["judged_ns"] <= 50e6)
    with capsys.disabled():
        print(
            f"\nlatest: {len(rows)} messages over 20 stops, oldest {age_ms[~excused].max():.1f} ms "
            f"({excused.sum()} stopped in the act); first fresh one after "
            f"{np.median(waits_ms):.1f} ms (worst {max(waits_ms):.1f})"
        )
    assert not (old & ~excused).any(), age_ms[old]
    assert excused.sum() <= 2
    assert max(waits_ms) < 1000
    assert (np.diff(rows["seq"]) > 0).all()
    assert rows["received"][-1] == len(rows)


@pytest.mark.timeout(120)
def test_a_subscriber_to_every_message_gets_all_or_counts_what_it_lost(
    tmp_path: Path, wide_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, wide_bundle, runtime="null") as program:
        short, long, deaf = (
            RecordingSubscriber(tmp_path, program.data, mode) for mode in ("all", "all", "deaf")
        )
        with ending(short, long, deaf):
            wait_until(lambda: short.newest() is not None and long.newest() is not None, 10)
            for _ in range(3):
                stop_for(short, 1.0)
                time.sleep(0.5)
            # Shorter than a silent connection is kept, and than the queue holds (10 s). The deaf
            # one is deaf for 12 s in all and takes every topic, so that its queue overflows.
            stop_for(long, 6.0)
            time.sleep(2.0)
            deaf.tell("receive")
            wait_until(lambda: deaf.newest() is not None, 5)
            time.sleep(2.0)
            program.stop()
            time.sleep(1.0)
            rows = {"1 s": short.records(), "6 s": long.records(), "deaf": deaf.records()}
    for name, row in rows.items():
        seq, last = row["seq"], row[-1]
        steps = np.diff(seq)
        with capsys.disabled():
            at = int(np.argmax(steps))
            print(
                f"\n{name}: {last['received']} received, {last['lost']} lost, largest gap "
                f"{steps[at] - 1} after message {at + 1}"
            )
        assert (steps > 0).all(), "out of order"
        assert last["received"] == len(row)
        assert last["received"] + last["lost"] == seq[-1] - seq[0] + 1
        assert last["lost"] == (steps - 1).sum()
        assert (last["lost"] > 0) == (name == "deaf"), f"{name}: {last['lost']} lost"
    # all of them heard the very end
    assert len({int(row[-1]["seq"]) for row in rows.values()}) == 1
