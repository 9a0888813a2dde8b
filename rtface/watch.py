"""What becomes of cameras during a run, in words: each change once."""

from __future__ import annotations

import time
from typing import Any

#: states that are worth a remark when a camera comes into them
FAULTS = {
    "gone": "gone (unplugged, or its driver failed)",
    "silent": "delivers no frames, though it should expose by itself; see its cable and its rate",
}


#: a search that lasts longer than this is worth a remark, s
NO_FACE_S = 5.0


class CameraWatch:
    """Turns what acquisition says of its camera into remarks. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}
        self._faces: dict[str, bool] = {}

    def look(self, camera: str, counts: dict[str, Any]) -> list[str]:
        """Return what is new since the last counts of this camera, one line each."""
        now = str(counts.get("state", "running")), int(counts.get("segment", 0))
        state, segment = self._seen.get(camera, ("running", 0))
        self._seen[camera] = now
        if now == (state, segment):
            return []
        remarks = []
        if now[0] != state and now[0] in FAULTS:
            remarks.append(f"camera {camera}: {FAULTS[now[0]]}")
        if now[1] != segment:
            remarks.append(
                f"camera {camera}: back after {counts['delivered']} frames, "
                f"segment {now[1]}; its clock is found anew"
            )
        elif state == "silent" and now[0] == "running":
            remarks.append(f"camera {camera}: delivers frames again")
        return remarks

    def look_at_face(self, camera: str, counts: dict[str, Any]) -> list[str]:
        """Return what is new of the face since the tracker's last counts, one line each."""
        face = counts.get("face")
        if not face or face["state"] == "settling":
            return []
        there = face["state"] == "settled"
        if face["state"] == "searching" and face["no_face_s"] < NO_FACE_S:
            return []
        if self._faces.get(camera) == there:
            return []
        self._faces[camera] = there
        if there:
            return [f"camera {camera}: found the face, crop {face['crop']}"]
        return [f"camera {camera}: no face since {_clock(face['no_face_s'])}"]


def _clock(seconds_ago: float) -> str:
    """Return the wall clock's time that long ago."""
    return time.strftime("%H:%M:%S", time.localtime(time.time() - seconds_ago))
