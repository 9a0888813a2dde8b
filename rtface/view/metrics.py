"""What Prometheus reads: the run's counts and ages in its text format. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: counters of a camera: key in the status, and what it is
COUNTERS = {
    "produced": "Frames that the camera made, by its own count.",
    "delivered": "Frames that acquisition got.",
    "tracked": "Frames that were tracked.",
    "skipped": "Delivered frames that were passed over for newer ones.",
}
Labels = Mapping[str, str]


def exposition(status: Mapping[str, Any], viewers: int, pictures: int, lost_rows: int) -> str:
    """Return the text of ``/metrics``; without a run, ``rtface_up`` is 0."""
    lines = [
        *_metric("up", "gauge", "Whether a run answers.", [({}, int(bool(status)))]),
        *_metric("view_viewers", "gauge", "Pages that are open.", [({}, viewers)]),
        *_metric("view_pictures_total", "counter", "Pictures sent to pages.", [({}, pictures)]),
        *_metric(
            "view_lost_rows_total",
            "counter",
            "Results that were overwritten before the view process read them.",
            [({}, lost_rows)],
        ),
    ]
    if status:
        lines += _of_run(status)
    return "\n".join(lines) + "\n"


def _of_run(status: Mapping[str, Any]) -> Iterator[str]:
    told = {"rig": str(status["rig"]), "session": str(status["session"])}
    running = int(status["lifecycle"] == "running")
    yield from _metric("running", "gauge", "Whether the run is running.", [(told, running)])
    cameras = {name: (counts, {"camera": name}) for name, counts in status["cameras"].items()}
    for key, text in COUNTERS.items():
        samples = [(labels, one.get(key)) for one, labels in cameras.values()]
        yield from _metric(f"frames_{key}_total", "counter", text, samples)
    lost = [
        ({**labels, "cause": cause}, n)
        for one, labels in cameras.values()
        for cause, n in (one.get("lost") or {}).items()
    ]
    yield from _metric(
        "frames_lost_total", "counter", "Frames lost before acquisition, by cause.", lost
    )
    ages = [
        ({**labels, "quantile": quantile}, _seconds((one.get("age") or {}).get(key)))
        for one, labels in cameras.values()
        for key, quantile in (("p50_ms", "0.5"), ("p99_ms", "0.99"), ("max_ms", "1"))
    ]
    text = "From delivery to the finished result, of the last second."
    yield from _metric("result_age_seconds", "gauge", text, ages)
    cpu = [(labels, one.get("cpu_s")) for one, labels in cameras.values()]
    yield from _metric("tracker_cpu_seconds_total", "counter", "CPU time of the tracker.", cpu)
    clock = [(labels, (one.get("clock") or {}).get("skew_ppm")) for one, labels in cameras.values()]
    yield from _metric("clock_skew_ppm", "gauge", "Camera's clock against the host's.", clock)
    armed = [
        (labels, int(one["loop"]["armed"])) for one, labels in cameras.values() if one.get("loop")
    ]
    yield from _metric("armed", "gauge", "Whether rules may fire.", armed)
    yield from _of_recorder(status.get("recording") or {})


def _of_recorder(recording: Mapping[str, Any]) -> Iterator[str]:
    if "state" not in recording:
        return
    on = int(recording["state"] == "recording")
    yield from _metric("recording", "gauge", "Whether a session is recorded.", [({}, on)])
    free = recording["free_mb"] * (1 << 20)
    yield from _metric("disk_free_bytes", "gauge", "Where sessions go.", [({}, free)])
    fault = int(bool(recording["fault"]))
    yield from _metric("recorder_fault", "gauge", "Whether recording cannot go on.", [({}, fault)])


def _metric(
    name: str, kind: str, text: str, samples: Sequence[tuple[Labels, float | None]]
) -> Iterator[str]:
    known = [(labels, value) for labels, value in samples if value is not None]
    if not known:
        return
    yield f"# HELP rtface_{name} {text}"
    yield f"# TYPE rtface_{name} {kind}"
    for labels, value in known:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"rtface_{name}{{{inside}}} {value}" if inside else f"rtface_{name} {value}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000
