"""The rig file: one TOML file that says what runs, checked before anything starts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from rtface.camera_config import KINDS, AnyCamera, CameraSection, Section, VideoSection
from rtface.rules_config import OUTPUT_KINDS, ClosedLoop
from rtface.types import UserError

CAMERA_NAME = re.compile(r"[a-z0-9_]{1,10}")
LOOPBACK = ("127.0.0.1", "localhost")
#: cameras of one run, and letters of a rig's name
MAX_CAMERAS, MAX_NAME = 4, 32

Port = Annotated[int, Field(ge=1, le=65535)]


class EngineSection(Section):
    """Which network runs, and in what."""

    bundle: str = Field("default", description="folder with model.onnx and model.json")
    runtime: Literal["onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "auto", "null"] = Field(
        "onnxruntime",
        description="'auto': the fastest of the CPU's; 'null': no network, the path alone",
    )
    precision: Literal["fp32", "bf16", "fp16", "int8", "int8-bf16"] | None = Field(
        None, description="fp32 if left out; of 'auto' whichever is fastest and agrees"
    )
    gpu: int | None = Field(
        None, ge=0, le=63, description="of TensorRT: which one; left out: one without a display"
    )
    keep_warm_ms: int = Field(
        0, ge=0, le=1000, description="of TensorRT: a GPU without a frame for so long runs the last"
    )
    threads: int = Field(1, ge=1, le=64, description="more only if one core misses the frame")
    fast_cores: bool = Field(
        True, description="camera and tracker keep off cores that are slow to save power"
    )
    priority: int = Field(
        0, ge=0, le=98, description="SCHED_FIFO of camera and tracker; 0: the ordinary scheduler"
    )

    @model_validator(mode="after")
    def _a_gpu_to_keep_warm(self) -> EngineSection:
        if self.keep_warm_ms and not self.runtime.startswith("tensorrt"):
            raise ValueError(
                f"keep_warm_ms is for GPUs, and runtime '{self.runtime}' uses none; leave it out"
            )
        return self


class StreamSection(Section):
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


class RingSection(Section):
    """How much is kept in memory for readers that lag."""

    frames_s: float = Field(2.0, gt=0, le=600, description="frames, s")
    results_s: float = Field(30.0, gt=0, le=3600, description="results, s")


class RecordSection(Section):
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


class Rig(ClosedLoop):
    """Everything one rig file says."""

    name: str = Field(
        "rig", pattern=rf"^[A-Za-z0-9_-]{{1,{MAX_NAME}}}$", description="shown in status"
    )
    camera: dict[str, CameraSection] = Field(min_length=1, max_length=MAX_CAMERAS)
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

    @model_validator(mode="after")
    def _lines_are_told(self) -> Rig:
        first = next(iter(self.camera))
        wanted = [("record.start", first)] if self.record.start == "line" else []
        for name, rule in self.rule.items():
            camera = rule.camera or first
            wanted += [(f"rule.{name}.arm_line", camera)] if rule.arm_line is not None else []
            wanted += [("loop.light_line", camera)] if self.loop.light_line is not None else []
        for key, camera in wanted:
            section = self.camera.get(camera)  # where there is none, that is said elsewhere
            if section and not section.tells_lines:
                raise ValueError(
                    f"{key}: camera.{camera} does not say the state of its input lines, so that "
                    "none would ever be high; with kind = 'genicam' or 'pylon' give it "
                    "chunks = ['LineStatusAll'], or leave the key out"
                )
        return self

    @property
    def busy_threads(self) -> int:
        """How many threads have something to do with every frame: cameras and their trackers."""
        return len(self.camera) * (1 + self.engine.threads)

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
        raise UserError(f"{source}: {explain_faults(error)}") from None
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
    rules = {
        name: rule.model_copy(update={"python": str(folder / rule.python)}) if rule.python else rule
        for name, rule in rig.rule.items()
    }
    return rig.model_copy(
        update={"camera": cameras, "engine": engine, "record": record, "rule": rules}
    )


def _in_folder(camera: AnyCamera, folder: Path) -> AnyCamera:
    """Return a camera whose files are taken from ``folder``."""
    named = {
        key: getattr(camera, key, None)
        for key in ("file", "latency", "sim_light", "producer", "whiskers")
    }
    update: dict[str, Any] = {
        key: str(folder / value) for key, value in named.items() if value is not None
    }
    if camera.motion and camera.motion.masks is not None:
        masks = str(folder / camera.motion.masks)
        update["motion"] = camera.motion.model_copy(update={"masks": masks})
    if camera.neural:
        bundle = str(folder / camera.neural.bundle)
        update["neural"] = camera.neural.model_copy(update={"bundle": bundle})
    return camera.model_copy(update=update)


def explain_faults(error: ValidationError) -> str:
    """Say in one line what is wrong: each key as it stands in the file, and what to do."""
    faults = error.errors()
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(_explain_one(fault) for fault in faults[:3]) + more


def or_list(words: Sequence[str]) -> str:
    """Return words in quotes, with commas and an or."""
    return ", ".join(f'"{word}"' for word in words[:-1]) + f' or "{words[-1]}"'


def _explain_one(fault: ErrorDetails) -> str:
    # pydantic puts the tag of a union into the path: camera.cam1.video.file
    path = [str(part) for part in fault["loc"]]
    if path[:1] in (["camera"], ["output"]) and len(path) > 2 and path[2] in KINDS + OUTPUT_KINDS:
        del path[2]
    key = ".".join(path)
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = "unknown key; remove it or correct its spelling"
    elif fault["type"] == "missing":
        message = "missing; add it"
    elif fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        kinds = or_list(OUTPUT_KINDS) if path[:1] == ["output"] else or_list(KINDS)
        missing = fault["type"] == "union_tag_not_found"
        message = f"has no kind; add kind = {kinds}" if missing else f"unknown kind; use {kinds}"
    elif "input" in fault and not isinstance(fault["input"], dict):
        message = f"{message[0].lower()}{message[1:]}, not {fault['input']!r}; change it"
    return f"{key}: {message}" if key else message
