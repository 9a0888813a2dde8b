"""Wire v1: what goes over ZeroMQ, byte for byte. Pure; see ``docs/wire.md``.

Full messages are Pupil Core's form: topic, msgpack map, raw little-endian arrays. The fast form is
one frame of fixed layout for receivers that keep only the newest (ZMQ_CONFLATE breaks multipart).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from rtface.types import SIGNAL_TOPICS, Float32Array, Result, SignalLengths

VERSION = 1
TOPIC_BYTES = 16
#: version, kind, flags, keypoints, reserved | seq, frame_seq, exposure, its error, host, done
FAST_HEADER = struct.Struct("<HHIIIQQqqqq")
KIND_POSE = 1
#: a connection without a sign of life for this long is dropped, with all that waits in it; a
#: subscriber may pause for less
HEARTBEAT_TIMEOUT_MS = 15_000
FAST_TOPIC = struct.Struct(f"{TOPIC_BYTES}s")
FAST_PAYLOAD = TOPIC_BYTES + FAST_HEADER.size


class WireError(ValueError):
    """These bytes are not a message of wire v1."""


@dataclass(frozen=True, slots=True)
class Message:
    """One received message.

    Attributes
    ----------
    topic : str
    seq : int
        Counts the messages of this topic without gaps.
    fields : dict
        The map: session, timestamp (s), the ledger and ``arrays``. For ``fast.`` only the ledger
        fields its header has.
    keypoints : ndarray (K, 3) float32, or None
        x, y (px of the full frame) and score; None for messages without keypoints.
    signals : dict of str to ndarray float32
        Every other array of the message, by name.
    """

    topic: str
    seq: int
    fields: dict[str, Any]
    keypoints: Float32Array | None = None
    signals: Mapping[str, Float32Array] = field(default_factory=dict)


def pose_topic(camera: str) -> str:
    """Return ``pose.<camera>.``; the final dot keeps cam1 apart from cam10."""
    return f"pose.{camera}."


def signal_topics(camera: str, lengths: SignalLengths) -> dict[str, tuple[str, ...]]:
    """Return the topics of a run's signals, ``motion.<camera>.`` ..., and what leaves on each."""
    carried = {
        f"{kind}.{camera}.": tuple(name for name in names if name in lengths)
        for kind, names in SIGNAL_TOPICS.items()
    }
    return {topic: names for topic, names in carried.items() if names}


def trigger_topic(camera: str) -> str:
    """Return ``trigger.<camera>.``."""
    return f"trigger.{camera}."


def fast_topic(camera: str) -> str:
    """Return ``fast.<camera>.``."""
    return f"fast.{camera}."


def meta_topic(camera: str) -> str:
    """Return ``meta.<camera>.``."""
    return f"meta.{camera}."


def encode_pose(topic: str, session: str, result: Result) -> list[bytes]:
    """Return the frames of a full pose message."""
    keypoints = result.pose.keypoints
    fields = {
        **_told(topic, session, result),
        "crop": result.pose.crop,
        "arrays": [["keypoints", "<f4", keypoints.shape]],
    }
    return [topic.encode(), msgpack.packb(fields), keypoints.tobytes()]


def encode_signals(
    topic: str, session: str, result: Result, names: Sequence[str], told: dict[str, Any]
) -> list[bytes]:
    """Return the frames of a message of ``motion.`` or ``pupil.``: these signals of a result.

    ``told`` are more fields of the map.
    """
    signals = [result.signals[name] for name in names]
    arrays = [[n, "<f4", signal.shape] for n, signal in zip(names, signals, strict=True)]
    fields = {**_told(topic, session, result), **told, "arrays": arrays}
    return [topic.encode(), msgpack.packb(fields), *(signal.tobytes() for signal in signals)]


def _told(topic: str, session: str, result: Result) -> dict[str, Any]:
    """Return the fields that the messages of every topic of a frame have."""
    return {
        "topic": topic,
        "timestamp": result.ledger.exposure_ns * 1e-9,
        "v": VERSION,
        "session": session,
        "seq": result.seq,
        **result.ledger._asdict(),
    }


def encode_fast(topic: str, result: Result) -> bytes:
    """Return the single frame of a fast pose message."""
    ledger, keypoints = result.ledger, result.pose.keypoints
    header = FAST_HEADER.pack(
        VERSION,
        KIND_POSE,
        ledger.flags,
        len(keypoints),
        0,
        result.seq,
        ledger.frame_seq,
        ledger.exposure_ns,
        ledger.exposure_err_ns,
        ledger.t_host_ns,
        ledger.t_done_ns,
    )
    return FAST_TOPIC.pack(topic.encode()) + header + keypoints.tobytes()


def encode_map(topic: str, fields: dict[str, Any], with_json: bool = False) -> list[bytes]:
    """Return the frames of a message that is a map (meta, status), with JSON if asked."""
    whole = {"topic": topic, "v": VERSION, **fields}
    frames = [topic.encode(), msgpack.packb(whole)]
    if with_json:
        frames.append(json.dumps(whole).encode())
    return frames


def decode(frames: Sequence[bytes]) -> Message:
    """Return the message in ``frames``, full or fast.

    Raises
    ------
    WireError
        Truncated, foreign or of another version. Nothing in the bytes is ever executed.
    """
    if len(frames) == 1:
        return _decode_fast(frames[0])
    if len(frames) < 2:
        raise WireError("no frames")
    try:
        fields = msgpack.unpackb(frames[1])
    except ValueError as error:
        raise WireError(f"the map is not msgpack ({error})") from None
    if not isinstance(fields, dict) or fields.get("v") != VERSION:
        raise WireError("not a map of wire version 1")
    arrays = fields.get("arrays", [])
    found = {}
    try:
        topic = str(fields["topic"])
        for (name, dtype, shape), raw in zip(arrays, frames[2:], strict=False):
            if dtype == "<f4":
                found[name] = np.frombuffer(raw, "<f4").reshape(shape)
        if arrays and len(frames) < 2 + len(arrays):
            raise WireError("frames are missing")
        keypoints = found.pop("keypoints", None)
        return Message(topic, int(fields.get("seq", 0)), fields, keypoints, found)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"wrong contents ({error!r})") from None


def _decode_fast(frame: bytes) -> Message:
    if len(frame) < FAST_PAYLOAD:
        raise WireError(f"a fast message has at least {FAST_PAYLOAD} bytes, not {len(frame)}")
    values = FAST_HEADER.unpack_from(frame, TOPIC_BYTES)
    version, kind, flags, n_keypoints, _, seq, frame_seq, exposure, err, host, done = values
    if version != VERSION or kind != KIND_POSE:
        raise WireError(f"fast message of version {version}, kind {kind}")
    if len(frame) != FAST_PAYLOAD + 12 * n_keypoints:
        raise WireError(f"{n_keypoints} keypoints do not fit {len(frame)} bytes")
    try:
        topic = frame[:TOPIC_BYTES].rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        raise WireError("the topic is not ASCII") from None
    fields = {
        "timestamp": exposure * 1e-9,
        "flags": flags,
        "frame_seq": frame_seq,
        "exposure_ns": exposure,
        "exposure_err_ns": err,
        "t_host_ns": host,
        "t_done_ns": done,
    }
    keypoints = np.frombuffer(frame, "<f4", offset=FAST_PAYLOAD).reshape(-1, 3)
    return Message(topic, seq, fields, keypoints)


def json_fields(message: Message, names: Sequence[str]) -> dict[str, Any]:
    """Return a message for people and programs that read JSON: its fields, keypoints by name.

    Nine digits give back every float32 exactly.
    """
    fields = {key: value for key, value in message.fields.items() if key != "arrays"}
    keypoints = [] if message.keypoints is None else message.keypoints.tolist()
    return {
        "topic": message.topic,
        "seq": message.seq,
        **fields,
        "keypoints": {
            name: [float(f"{value:.9g}") for value in row]
            for name, row in zip(names, keypoints, strict=True)
        },
    }


def json_text(fields: dict[str, Any]) -> str:
    """Return one line of JSON; NaN and infinity, which JSON lacks, become null."""
    try:
        return json.dumps(fields, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(fields), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
