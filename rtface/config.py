"""The rig file: one TOML file that says what runs, checked before anything starts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from rtface.types import UserError

CAMERA_NAME = re.compile(r"[a-z0-9_]{1,10}")
LOOPBACK = ("127.0.0.1", "localhost")

Port = Annotated[int, Field(ge=1, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _CameraSection(_Section):
    bbox: tuple[int, int, int, int] | None = Field(
        None, strict=False, description="part of the frame to track: left, top, width, height, px"
    )
    stamp_means: Literal["midpoint", "start", "end", "trigger", "readout_end"] = Field(
        "midpoint", description="which moment of the exposure the camera's stamp marks"
    )
    exposure_us: Annotated[float, Field(gt=0, le=1e7)] | Literal["frame"] | None = Field(
        None, description="exposure time, us; 'frame': as each frame says"
    )
    trigger_delay_us: float = Field(
        0.0, ge=0, description="from the trigger to the start of the exposure, us"
    )
    readout_us: float = Field(0.0, ge=0, description="from the exposure's end to readout's, us")
    row_us: float = Field(
        0.0, ge=0, le=1e4, description="rolling shutter: from row to row, us; 0: global shutter"
    )
    delay_us: float = Field(
        0.0, ge=0, description="from the stamped moment to the delivery of the fastest frames, us"
    )
    delay_err_us: float | None = Field(
        None, ge=0, description="bound on the error of delay_us, us; one frame period if left out"
    )

    latency: str | None = Field(
        None, min_length=1, description="file of calibration/latency.py, instead of delay_us"
    )

    @model_validator(mode="after")
    def _exposure_is_known(self) -> _CameraSection:
        if self.stamp_means != "midpoint" and self.exposure_us is None:
            raise ValueError(
                f"stamp_means = '{self.stamp_means}' needs exposure_us: the exposure time, or "
                "'frame' if the camera says it with every frame; with an unknown one (auto "
                "exposure) no midpoint can be told"
            )
        return self

    @model_validator(mode="after")
    def _bbox_has_room(self) -> _CameraSection:
        if self.bbox and (min(self.bbox[:2]) < 0 or min(self.bbox[2:]) < 16):
            raise ValueError("bbox is [left, top, width, height] with both sizes at least 16 px")
        return self


class SyntheticSection(_CameraSection):
    """A rendered moving face with exact truth."""

    kind: Literal["synthetic"]
    width: int = Field(640, ge=64, le=4096, description="px")
    height: int = Field(480, ge=64, le=4096, description="px")
    rate_hz: float = Field(100.0, gt=0, le=2000, description="frames per second")
    seed: int = Field(1, ge=0, le=999, description="which mouse; the same seed, the same film")
    nuisances: bool = Field(
        True, description="flashes, scanning light in the pupil, a spout, a knocked camera"
    )
    sim_delay_us: float = Field(
        0.0, ge=0, le=1e5, description="frames come this long after the middle of their exposure"
    )
    sim_clock_ppm: float = Field(
        0.0, ge=-1000, le=1000, description="how much too fast the camera's own clock runs"
    )
    sim_pairs: bool = Field(False, description="its clock is latched with the host's each second")
    sim_light: str | None = Field(
        None, min_length=1, description="file of a simulated light (calibration/latency.py)"
    )
    line0_s: tuple[float, float] | None = Field(
        None, strict=False, description="input line 0 is high from, to: s of the film"
    )


class VideoSection(_CameraSection):
    """A video file played as if it were a camera."""

    kind: Literal["video"]
    file: str = Field(
        min_length=1, pattern=r"^[^\x00]*$", description="any file PyAV reads; relative to the rig"
    )
    rate_hz: float | None = Field(
        None, gt=0, le=2000, description="frames per second; the file's own if left out"
    )
    loop: bool = Field(False, description="start again at the end")
    fast: bool = Field(False, description="as fast as possible instead of at a rate")


CameraSection = Annotated[SyntheticSection | VideoSection, Field(discriminator="kind")]


class EngineSection(_Section):
    """Which network runs, and in what."""

    bundle: str = Field("default", description="folder with model.onnx and model.json")
    runtime: Literal["onnxruntime", "null"] = Field(
        "onnxruntime", description="'null': no network and no input for it, the path alone"
    )
    threads: int = Field(1, ge=1, le=64, description="more only if one core misses the frame")


class StreamSection(_Section):
    """Where results leave. Only this machine can connect in this version."""

    host: str = Field("127.0.0.1", description="address to bind")
    control_port: Port = 5580
    data_port: Port = Field(5581, description="first camera; the next ones 2 further each")
    status_port: Port = 5582

    @model_validator(mode="after")
    def _loopback_only(self) -> StreamSection:
        if self.host not in LOOPBACK:
            raise ValueError(
                f"host '{self.host}' is open to the network, and this version has no keys to "
                "protect it; use 127.0.0.1 and an SSH tunnel"
            )
        return self


class RingSection(_Section):
    """How much is kept in memory for readers that lag."""

    frames_s: float = Field(2.0, gt=0, le=600, description="frames, s")
    results_s: float = Field(30.0, gt=0, le=3600, description="results, s")


class RecordSection(_Section):
    """What is written to disk, and when."""

    folder: str | None = Field(
        None,
        min_length=1,
        pattern=r"^[^\x00]*$",
        description="where sessions go; relative to the rig",
    )
    start: Literal["run", "command", "line"] = Field(
        "run", description="with the run, by the control port, or while an input line is high"
    )
    line: int = Field(0, ge=0, le=31, description="input line of the first camera, for start")
    video: Literal["x264", "ffv1", "nvenc", "none"] = Field(
        "x264", description="ffv1 is lossless; nvenc needs an NVIDIA GPU; none: results alone"
    )
    quality: int = Field(18, ge=0, le=51, description="of x264 and nvenc; smaller is better")
    part_s: float = Field(60.0, ge=1, le=3600, description="length of one video file, s")
    warn_free_mb: int = Field(10_000, ge=1, description="warn below this much room on the disk")
    stop_free_mb: int = Field(1_000, ge=1, description="stop recording below this much")

    @model_validator(mode="after")
    def _warn_first(self) -> RecordSection:
        if self.warn_free_mb < self.stop_free_mb:
            raise ValueError("warn_free_mb is below stop_free_mb; the warning has to come first")
        return self


class Rig(_Section):
    """Everything one rig file says."""

    name: str = Field("rig", pattern=r"^[A-Za-z0-9_-]{1,32}$", description="shown in status")
    camera: dict[str, CameraSection] = Field(min_length=1, max_length=4)
    engine: EngineSection = EngineSection()
    stream: StreamSection = StreamSection()
    ring: RingSection = RingSection()
    record: RecordSection = RecordSection()

    @model_validator(mode="after")
    def _names_and_ports(self) -> Rig:
        for camera in self.camera:
            if not CAMERA_NAME.fullmatch(camera):
                raise ValueError(
                    f"camera name '{camera}' must be 1 to 10 of a-z, 0-9 and _; it becomes a topic"
                )
        stream = self.stream
        ports = [stream.control_port, stream.status_port]
        ports += [self.data_port(camera) for camera in self.camera]
        if len(set(ports)) < len(ports) or max(ports) > 65535:
            raise ValueError(
                f"the ports {ports} collide or pass 65535; "
                "cameras take data_port, data_port + 2, data_port + 4 ..."
            )
        return self

    def data_port(self, camera: str) -> int:
        """Return the TCP port on which ``camera`` is published."""
        return self.stream.data_port + 2 * list(self.camera).index(camera)


def load_rig(path: str | Path) -> Rig:
    """Read and check a rig file.

    Raises
    ------
    UserError
        Names the file, the key and the remedy in one line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # Notepad writes a byte order mark
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; 'rtface init {path}' writes one") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; 'rtface init' writes a rig file") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{path}: not valid TOML: {error}; texts stand in quotes, true and false are lower case"
        ) from None
    rig = parse_rig(data, str(path), path.parent)
    for name, camera in rig.camera.items():
        if isinstance(camera, VideoSection) and not Path(camera.file).is_file():
            raise UserError(
                f"{path}: camera.{name}.file: there is no file {camera.file}; "
                "it is looked for from the rig file's folder"
            )
    return rig


def parse_rig(data: dict[str, Any], source: str, folder: Path | None = None) -> Rig:
    """Check a rig given as a dict; relative files are taken from ``folder``."""
    try:
        rig = Rig.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error)}") from None
    if folder is None:
        return rig
    cameras = {name: _in_folder(camera, folder) for name, camera in rig.camera.items()}
    bundle = rig.engine.bundle
    if bundle != "default":
        bundle = str(folder / bundle)
    engine = rig.engine.model_copy(update={"bundle": bundle})
    record = rig.record
    if record.folder is not None:
        record = record.model_copy(update={"folder": str(folder / record.folder)})
    return rig.model_copy(update={"camera": cameras, "engine": engine, "record": record})


def _in_folder(
    camera: SyntheticSection | VideoSection, folder: Path
) -> SyntheticSection | VideoSection:
    """Return a camera whose files are taken from ``folder``."""
    named = {key: getattr(camera, key, None) for key in ("file", "latency", "sim_light")}
    return camera.model_copy(
        update={key: str(folder / value) for key, value in named.items() if value is not None}
    )


def _explain(error: ValidationError) -> str:
    """Say in one line what is wrong: each key as it stands in the file, and what to do."""
    faults = error.errors()
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(_explain_one(fault) for fault in faults[:3]) + more


def _explain_one(fault: ErrorDetails) -> str:
    # pydantic puts the tag of a union into the path: camera.cam1.video.file
    path = [str(part) for part in fault["loc"]]
    if path[:1] == ["camera"] and len(path) > 2 and path[2] in ("synthetic", "video"):
        del path[2]
    key = ".".join(path)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    elif fault["type"] == "missing":
        message = "missing; add it"
    elif fault["type"] == "union_tag_not_found":
        message = 'has no kind; add kind = "synthetic" or "video"'
    elif fault["type"] == "union_tag_invalid":
        message = 'unknown kind; use "synthetic" or "video"'
    elif "input" in fault and not isinstance(fault["input"], dict):
        message = f"{message[0].lower()}{message[1:]}, not {fault['input']!r}; change it"
    return f"{key}: {message}" if key else message


TEMPLATE = """\
# A rig: what rtface runs and where results leave. Every key is shown, those that are not commented
# out with their defaults; `rtface check FILE` says what would run. Lengths are in px.
name = "rig"                  # shown in status messages

# One table per camera; its name (1-10 of a-z, 0-9, _) becomes part of every topic and ring.
[camera.cam1]
kind = "synthetic"            # a rendered face with known truth, no hardware needed
width = 640
height = 480
rate_hz = 100.0
seed = 1                      # which mouse, 0 to 999
nuisances = true              # flashes, scanning light in the pupil, a spout, a knocked camera
# sim_delay_us = 0.0          # frames come this long after the middle of their exposure
# sim_clock_ppm = 0.0         # how much too fast the camera's own clock runs
# sim_pairs = false           # its clock is latched together with the host's each second
# sim_light = "light.bin"     # a simulated light to look at (calibration/latency.py)
# line0_s = [1.0, 5.0]        # input line 0 is high from, to; to try recording by a TTL
# bbox = [0, 0, 640, 480]     # track only this part: left, top, width, height
# stamp_means = "midpoint"    # or "start", "end", "trigger", "readout_end": what the stamp marks
# exposure_us = 1000.0        # exposure time, or "frame": as each frame says
# trigger_delay_us = 0.0      # stamp_means = "trigger": from there to the exposure's start
# readout_us = 0.0            # stamp_means = "readout_end": from the exposure's end to there
# row_us = 0.0                # rolling shutter: from row to row
# delay_us = 0.0              # from the stamped moment to the delivery of the fastest frames
# delay_err_us = 10000.0      # bound on its error; one frame period if left out
# latency = "latency.json"    # measured (calibration/latency.py), instead of the two above

# [camera.cam2]
# kind = "video"              # a file played as if it were a camera
# file = "mouse.avi"          # relative to this file
# rate_hz = 100.0             # the file's own rate if left out
# loop = true                 # start again at the end
# fast = false                # true: as fast as possible instead of at a rate

[engine]
bundle = "default"            # or a folder with model.onnx and model.json
runtime = "onnxruntime"       # "null" runs no network and measures the path alone
threads = 1                   # more only if one core misses the frame budget

[stream]
host = "127.0.0.1"            # this machine only; use an SSH tunnel from elsewhere
control_port = 5580
data_port = 5581              # first camera; the next ones 2 further each
status_port = 5582

[ring]
frames_s = 2.0                # kept in memory for readers that lag
results_s = 30.0

[record]
# folder = "recordings"       # relative to this file; nothing is recorded without it
start = "run"                 # or "command" (control port), or "line" (while an input line is high)
line = 0                      # which input line of the first camera
video = "x264"                # "ffv1" is lossless, "nvenc" needs an NVIDIA GPU, "none": no video
quality = 18                  # of x264 and nvenc; smaller is better
part_s = 60.0                 # length of one video file, s
warn_free_mb = 10000          # warn below this much room on the disk
stop_free_mb = 1000           # stop recording, not the stream, below this much
"""
