"""What becomes of cameras during a run, in words: each change once."""

from __future__ import annotations

from typing import Any

#: states that are worth a remark when a camera comes into them
FAULTS = {
    "gone": "gone (unplugged, or its driver failed)",
    "silent": "delivers no frames, though it should expose by itself; see its cable and its rate",
}


class CameraWatch:
    """Turns what acquisition says of its camera into remarks. Not thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

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
