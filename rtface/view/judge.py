"""What is wrong with a run, and what to do about it, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: a wobble of the fitted clock that is worth a word, us
MOST_SCATTER_US = 500.0
#: a search for the face that is worth a word, s
NO_FACE_S = 2.0

#: why frames are lost before acquisition: what it means and what helps
CAUSES = {
    "link": ("on the link", "check cable, port and packet size (docs/cameras.md)"),
    "incomplete": ("damaged on the way", "check cable, port and packet size (docs/cameras.md)"),
    "no_buffer": (
        "for want of a free buffer",
        "close what else runs on this machine; 'rtface doctor' says more",
    ),
    "late": (
        "because the source could not make them in time",
        "this machine is too busy, or the rate too high",
    ),
}
CAMERA_STATES = {
    "silent": (
        "The camera delivers no frames",
        "check its cable, its power and rate_hz; rtface goes on when it does",
    ),
    "gone": ("The camera is gone", "plug it in again; rtface finds it"),
}


class Finding(NamedTuple):
    """One thing to know.

    Attributes
    ----------
    level : str
        ``bad``: something is wrong; ``warn``: not as good as it should be; ``note``.
    about : str
        Which part of the page it belongs to: ``run``, ``rate``, ``age``, ``losses``, ``clock``,
        ``recorder`` or ``loop``.
    text : str
    remedy : str
    """

    level: str
    about: str
    text: str
    remedy: str


def judge(status: Mapping[str, Any], before: Mapping[str, Any], camera: str) -> list[Finding]:
    """Return what there is to know of a camera's run, the worst first.

    Parameters
    ----------
    status : mapping
        The newest ``status.``; empty if none comes.
    before : mapping
        One of a few seconds earlier, of the same run; empty if there is none.
    camera : str
    """
    if not status:
        return [
            Finding(
                "bad",
                "run",
                "No run answers",
                "start one with 'rtface demo' or 'rtface run'; this page finds it",
            )
        ]
    counts = status["cameras"].get(camera, {})
    earlier = before.get("cameras", {}).get(camera, {})
    found = [
        *_of_run(status),
        *_of_camera(counts, earlier),
        *_of_clock(counts),
        *_of_recorder(status.get("recording")),
        *_of_loop(counts.get("loop")),
    ]
    order = ("bad", "warn", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _of_run(status: Mapping[str, Any]) -> Iterator[Finding]:
    lifecycle = status["lifecycle"]
    if lifecycle in ("failed", "ended", "stopping"):
        yield Finding(
            "bad", "run", f"The run has {'failed' if lifecycle == 'failed' else 'ended'}",
            "start it again; this page goes on by itself",
        )  # fmt: skip
    elif lifecycle == "starting":
        yield Finding("note", "run", "The run is starting", "wait for its cameras and network")
    for child in status.get("children", []):
        if child["state"] in ("died", "killed") and not child["name"].startswith(
            ("record", "view")
        ):
            why = child["error"] or "it said nothing"
            yield Finding("bad", "run", f"{child['name']} {child['state']}: {why}", "start again")


def _of_camera(counts: Mapping[str, Any], earlier: Mapping[str, Any]) -> Iterator[Finding]:
    state = counts.get("state", "running")
    if state in CAMERA_STATES:
        yield Finding("bad", "rate", *CAMERA_STATES[state])
    if state == "waiting":
        yield Finding("note", "rate", "Waiting for a trigger", "nothing is wrong")
    face = counts.get("face") or {}
    if face.get("state") not in (None, "settled") and face["no_face_s"] > NO_FACE_S:
        yield Finding(
            "bad",
            "rate",
            f"No face is seen for {face['no_face_s']:.0f} s: keypoints are guesses",
            "look at the picture: light, focus, is the mouse there? Or give bbox (docs/face.md)",
        )
    skipped = counts.get("skipped", 0) - earlier.get("skipped", counts.get("skipped", 0))
    if skipped:
        yield Finding(
            "warn",
            "losses",
            f"{skipped} frames were passed over in the last seconds: tracking takes too long",
            "close what else runs here, lower rate_hz, or take a faster runtime (docs/engines.md)",
        )
    lost_before = earlier.get("lost", {})
    for cause, n in (counts.get("lost") or {}).items():
        new = n - lost_before.get(cause, n)
        if new:
            how, remedy = CAUSES[cause]
            yield Finding(
                "bad", "losses", f"{new} frames were lost in the last seconds, {how}", remedy
            )


def _of_clock(counts: Mapping[str, Any]) -> Iterator[Finding]:
    clock = counts.get("clock") or {}
    scatter_us = clock.get("scatter_us")
    if scatter_us is not None and scatter_us > MOST_SCATTER_US:
        yield Finding(
            "warn",
            "clock",
            f"Frames' times wobble by {scatter_us:.0f} us",
            "the machine is busy, or the camera's clock is coarse (docs/sync.md)",
        )


def _of_recorder(recording: Mapping[str, Any] | None) -> Iterator[Finding]:
    if not recording or "state" not in recording:
        return
    if recording["child"] in ("died", "killed"):
        yield Finding(
            "bad",
            "recorder",
            "The recorder died: this run is no longer recorded",
            "start the run again; 'rtface session repair' mends what there is",
        )
        return
    if recording["fault"]:
        yield Finding("bad", "recorder", "Not recording", str(recording["fault"]))
    missed = sum(
        one.get("behind", 0) + one.get("overwritten", 0) for one in recording["cameras"].values()
    )
    if missed:
        yield Finding(
            "bad",
            "recorder",
            f"{missed} frames could not be recorded in time",
            "a faster disk, fewer programs, or video = 'none'",
        )
    if recording["disk_low"]:
        yield Finding(
            "warn",
            "recorder",
            f"{recording['free_mb'] / 1000:.1f} GB are left on the disk",
            "make room: recording stops before the disk is full",
        )


def _of_loop(loop: Mapping[str, Any] | None) -> Iterator[Finding]:
    if loop and loop["down"]:
        names = ", ".join(loop["down"])
        yield Finding(
            "bad", "loop", f"Line down: {names}", "check the board and its cable: nothing fires"
        )
    if loop and loop["dry"]:
        yield Finding(
            "note", "loop", "Dry: no line is real", "start the run with --armed for real lines"
        )
