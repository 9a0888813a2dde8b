"""A Lab Streaming Layer outlet: one stream of type MoCap, stamped with the times of exposure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rtface.types import UserError
from rtface.wire import Message

#: after the keypoints: what tells which native message a sample was
LEDGER = (
    ("seq", "count"),
    ("frame_seq", "count"),
    ("exposure_err_s", "seconds"),
    ("flags", "bits"),
)
AXES = (("x", "PositionX", "pixels"), ("y", "PositionY", "pixels"))
SCORE = ("score", "Confidence", "normalized")
PROBES = 200


class ClockOffset(NamedTuple):
    """LSL's clock minus ours, and how wrong that may be, ns."""

    offset_ns: int
    err_ns: int

    def stamp_s(self, t_ns: int) -> float:
        """Return one of our times on LSL's clock."""
        return (t_ns + self.offset_ns) * 1e-9


def measure_offset(
    lsl_clock_s: Callable[[], float], clock_ns: Callable[[], int] = time.perf_counter_ns
) -> ClockOffset:
    """Compare the clocks: LSL's is read between two readings of ours, the closest pair counts.

    On Linux both are CLOCK_MONOTONIC. A difference no larger than the measurement's own error is
    none: then the times are handed on unchanged.
    """
    best = ClockOffset(0, 2**63)
    for _ in range(PROBES):
        before_ns = clock_ns()
        lsl_s = lsl_clock_s()
        after_ns = clock_ns()
        err_ns = (after_ns - before_ns + 1) // 2
        if err_ns < best.err_ns:
            best = ClockOffset(round(lsl_s * 1e9) - (before_ns + after_ns) // 2, err_ns)
    return best._replace(offset_ns=0) if abs(best.offset_ns) <= best.err_ns else best


def channels(names: Sequence[str]) -> list[dict[str, str]]:
    """Return label, marker, type and unit of every channel, as XDF describes MoCap streams."""
    rows = [
        {"label": f"{name}_{axis}", "marker": name, "type": kind, "unit": unit}
        for name in names
        for axis, kind, unit in (*AXES, SCORE)
    ]
    return rows + [{"label": label, "type": "Misc", "unit": unit} for label, unit in LEDGER]


def sample(message: Message) -> list[float]:
    """Return the values of every channel; float32 and counters are exact in a double."""
    fields = message.fields
    keypoints = [] if message.keypoints is None else message.keypoints.ravel().tolist()
    err_s = fields["exposure_err_ns"] * 1e-9
    return [*keypoints, message.seq, fields["frame_seq"], err_s, fields["flags"]]


def describe(meta: dict[str, Any], clock: ClockOffset) -> dict[str, Any]:
    """Return what stands under ``desc``: nested dicts, a list for what occurs several times."""
    camera, model = meta["camera"], meta["model"]
    return {
        "channels": {"channel": channels(meta["keypoints"])},
        # a camera loses frames: without this, readers of XDF files move samples to a straight line
        "synchronization": {"can_drop_samples": "true"},
        "setup": {
            "name": meta["rig"],
            "markers": {"marker": [{"label": name} for name in meta["keypoints"]]},
            "cameras": {"camera": {"label": camera["name"], "model": camera["kind"]}},
        },
        "acquisition": {
            "manufacturer": "rtface",
            "version": meta["rtface"],
            "session": meta["session"],
            "camera": camera,
            "model": model,
            "units": meta["units"],
            "clock": meta["clock"],
            "clock_offset_ns": clock.offset_ns,
            "clock_offset_err_ns": clock.err_ns,
        },
    }


def _append(node: Any, fields: dict[str, Any]) -> None:
    """Write nested dicts into the stream's XML."""
    for key, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                _append(node.append_child(key), one)
            else:
                node.append_child_value(key, str(one))


class Lsl:
    """One outlet per run: another run may have other keypoints. A Target."""

    def __init__(self, camera: str, say: Callable[[str], None]) -> None:
        try:
            import pylsl
        except (ImportError, RuntimeError, OSError) as error:  # not there, or without liblsl
            reason = str(error).splitlines()[0]
            raise UserError(
                f"LSL needs pylsl and liblsl ({reason}); install them with: "
                "pip install 'rtface[bridge]'"
            ) from None
        self._pylsl = pylsl
        self._camera = camera
        self._say = say
        self._outlet: Any = None

    def begin(self, meta: dict[str, Any]) -> None:
        """Replace the outlet by one for this run."""
        pylsl = self._pylsl
        self._outlet = None
        self._clock = measure_offset(pylsl.local_clock)
        self._say(
            f"LSL's clock minus rtface's: {self._clock.offset_ns} ns "
            f"(measured to {self._clock.err_ns} ns)"
        )
        info = pylsl.StreamInfo(
            name=f"rtface-{self._camera}",
            type="MoCap",
            channel_count=len(channels(meta["keypoints"])),
            nominal_srate=pylsl.IRREGULAR_RATE,
            channel_format=pylsl.cf_double64,
            source_id=f"rtface-{self._camera}-{meta['session']}",
        )
        _append(info.desc(), describe(meta, self._clock))
        self._outlet = pylsl.StreamOutlet(info)

    def send(self, message: Message) -> None:
        """Push one sample; LSL keeps it for every inlet and drops its oldest for a slow one."""
        exposed_s = self._clock.stamp_s(message.fields["exposure_ns"])
        self._outlet.push_sample(sample(message), exposed_s)

    def tend(self) -> None:
        """LSL looks after its inlets in threads of its own."""

    def state(self) -> str:
        """Return whether anybody receives."""
        listening = self._outlet is not None and self._outlet.have_consumers()
        return f"receivers {'yes' if listening else 'none'}"

    def close(self) -> None:
        """Close the outlet."""
        self._outlet = None
