"""What a terminal shows, as text: the line of a camera while running, the summary at the end."""

from __future__ import annotations

from typing import Any

#: what the status line says of a camera that delivers nothing
STATES = {
    "waiting": "armed, waiting for a trigger",
    "silent": "NO FRAMES: the camera should expose by itself; see its cable and its rate",
    "gone": "GONE: unplugged, or its driver failed; looking for it",
}


def camera_line(name: str, counts: dict[str, Any], seconds: float = 1.0) -> str:
    """Return one line about one camera from its latest counts."""
    if "tracked" not in counts:
        return f"{name}  starting: opening the camera, loading the network"
    if state := STATES.get(counts.get("state", "")):
        lost = f"lost {counts['lost_camera']}  skipped {counts['skipped']}"
        return f"{name}  {state}  {lost}{loop_words(counts)}"
    age = counts.get("age") or {}
    return (
        f"{name}  {counts.get('n', 0) / seconds:6.1f} Hz  age p50 {_ms(age.get('p50_ms'))} "
        f"p99 {_ms(age.get('p99_ms'))} ms  lost {counts.get('lost_camera', 0)}  "
        f"skipped {counts['skipped']}  subscribers {counts['subscribers']}"
        f"{face_words(counts)}{loop_words(counts)}"
    )


def loop_words(counts: dict[str, Any]) -> str:
    """Return what is said of the rules in a camera's line; empty without any."""
    loop = counts.get("loop")
    if not loop:
        return ""
    fired = sum(rule.get("fired", 0) for rule in loop["rules"].values())
    state = "ARMED" if loop["armed"] else "disarmed"
    down = f"  LINE DOWN: {', '.join(loop['down'])}" if loop["down"] else ""
    return f"  {state}{', dry' if loop['dry'] else ''}, fired {fired}{down}"


def face_words(counts: dict[str, Any]) -> str:
    """Return what is said of the face in a camera's line; empty while all is well."""
    face = counts.get("face") or {}
    if face.get("state") in (None, "settled"):
        return ""
    if face["state"] == "settling" or face["no_face_s"] < 1:
        return "  looking for the face"
    return f"  NO FACE for {face['no_face_s']:.0f} s"


def _ms(value: float | None) -> str:
    return "  -  " if value is None else f"{value:5.2f}"


def recording_line(recording: dict[str, Any] | None) -> str:
    """Return one line about the recorder, empty if there is none or it has said nothing."""
    if not recording or "state" not in recording:
        return ""
    if recording["child"] not in ("running", "done", "ended"):
        return f"RECORDER {recording['child'].upper()}: this run is no longer recorded"
    if recording["fault"]:
        return f"NOT RECORDING: {recording['fault']}"
    if recording["state"] == "waiting":
        return "ready to record"
    counts = recording["cameras"].values()
    missed = sum(c.get("behind", 0) + c.get("overwritten", 0) for c in counts)
    low = "  DISK LOW" if recording["disk_low"] else ""
    return (
        f"rec   {recording['seconds']:6.0f} s   frames {sum(c['frames'] for c in counts)}  "
        f"without pixels {missed}  disk {recording['free_mb'] / 1000:.0f} GB free{low}  "
        f"{recording['folder']}"
    )


def recording_summary(recording: dict[str, Any] | None) -> str:
    """Return the account of what was recorded last: every frame by what became of it."""
    if not recording or not recording.get("folder"):
        return ""
    lines = [f"recorded in {recording['folder']}"]
    for name, counts in recording["cameras"].items():
        kinds = [
            f"{counts[key]} {text}"
            for key, text in (
                ("in_video", "in the video"),
                ("no_video", "without video, as asked"),
                ("behind", "without pixels (the recorder was late)"),
                ("overwritten", "lost to the recorder"),
            )
            if counts.get(key)
        ]
        results = f"{counts['results']} results"
        if counts["results_lost"]:
            results += f", {counts['results_lost']} results lost"
        lines.append(f"{name}: {counts['frames']} frames = {' + '.join(kinds) or 0}; {results}")
    return "\n".join(lines)


def summary(status: dict[str, Any], unclean: int) -> str:
    """Return the final account: every frame, and how old results were."""
    lines = []
    for name, counts in status["cameras"].items():
        if "produced" not in counts and "tracked" not in counts:
            lines.append(f"{name}: stopped before its first frame")
            continue
        age = counts.get("total_age") or {}
        number = {
            key: counts.get(key, "?")
            for key in ("produced", "delivered", "lost_camera", "tracked", "skipped")
        }
        lines += [
            f"{name}: {number['produced']} produced = {number['delivered']} delivered "
            f"+ {number['lost_camera']} lost",
            f"{' ' * len(name)}  {number['delivered']} delivered = {number['tracked']} tracked "
            f"+ {number['skipped']} skipped",
            f"{' ' * len(name)}  every frame accounted for: "
            f"{'yes' if counts_agree(counts) else 'NO'}",
            f"{' ' * len(name)}  age of results: p50 {_ms(age.get('p50_ms')).strip()}, "
            f"p99 {_ms(age.get('p99_ms')).strip()}, max {_ms(age.get('max_ms')).strip()} ms",
        ]
    if unclean:
        lines.append(f"{unclean} process(es) did not end in time and were killed")
    return "\n".join(lines)


def counts_agree(counts: dict[str, Any]) -> bool:
    """Whether the camera's, acquisition's and the tracker's counts add up, taken separately."""
    try:
        produced = counts["produced"] == counts["delivered"] + counts["lost_camera"]
        delivered = counts["delivered"] == counts["tracked"] + counts["skipped"]
    except KeyError:
        return False
    return bool(produced and delivered)
