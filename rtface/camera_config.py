"""What a rig file may say of a camera: one section per kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A table of the rig file: its keys are known, and their types are exact."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Box = Annotated[tuple[int, int, int, int], Field(strict=False)]


class MotionSection(Section):
    """Motion components of a camera: with masks, or from those of its first seconds."""

    masks: str | None = Field(
        None,
        min_length=1,
        pattern=r"^[^\x00]*$",
        description="file of `rtface calibrate motion`; left out: fitted to the first fit_s",
    )
    components: int = Field(500, ge=1, le=2000, description="of each area, at most")
    fast: bool = Field(False, description="round the masks: faster, and stated how much worse")
    check: bool = Field(
        True, description="end the run if the camera no longer sees what the masks were made of"
    )
    bin: int = Field(4, ge=1, le=16, description="without masks: side of a block of pixels, px")
    roi: tuple[Box, ...] = Field(
        (),
        strict=False,
        max_length=8,
        description="without masks: areas beside the whole frame: left, top, width, height, px",
    )
    fit_s: float = Field(
        60.0, ge=1, le=3600, description="without masks: how much of the beginning they are of, s"
    )


class PupilSection(Section):
    """The pupil of a camera, after Facemap's definition and by its outline."""

    box: Box | None = Field(
        None,
        description="around the eye: left, top, width, height, px; left out: placed by keypoints",
    )
    saturation: float | None = Field(
        None, gt=0, le=65535, description="darker than this counts; left out: found, and followed"
    )
    sigma: float = Field(2.0, gt=0, lt=10, description="size of the ellipse, standard deviations")
    polarity: Literal["dark", "bright", "auto"] = Field(
        "dark", description="the pupil against the iris; auto: follows changes (two-photon light)"
    )
    reflections: Annotated[tuple[Box, ...], Field(strict=False)] | Literal["auto"] = Field(
        "auto",
        description="hidden parts of the eye (ellipses in boxes, with box); auto: bright spots",
    )
    adapt_s: float = Field(
        2.0, gt=0, le=3600, description="time constant of what is found and followed, s"
    )


class RunningSection(Section):
    """How far a treadmill moves, by its texture."""

    box: Box = Field(description="where the belt or wheel is seen: left, top, width, height, px")


class NeuralSection(Section):
    """Neural activity that is predicted from a camera's frames."""

    bundle: str = Field(
        min_length=1, pattern=r"^[^\x00]*$", description="folder of `rtface neural fit`"
    )
    units: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), strict=False, max_length=1000, description="predicted as well, each a signal"
    )


class CameraBase(Section):
    """What every kind of camera has."""

    bbox: tuple[int, int, int, int] | None = Field(
        None, strict=False, description="part of the frame to track: left, top, width, height, px"
    )
    face: Literal["follow", "hold", "off"] = Field(
        "follow",
        description="without bbox: find the face, then follow it slowly, hold its place, or off",
    )
    normalise: Literal["per frame", "frozen", "adapting"] = Field(
        "per frame",
        description="percentiles of each frame, of the first ones for good, or slowly adapting",
    )
    normalise_s: float = Field(
        2.0, gt=0, le=3600, description="frozen: how long at first; adapting: time constant, s"
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
    whiskers: str | None = Field(
        None,
        min_length=1,
        description="file of `rtface calibrate whiskers`: azimuth and phase may be used",
    )
    motion: MotionSection | None = Field(None, description="stream motion components, too")
    pupil: PupilSection | None = Field(None, description="stream the pupil, too")
    running: RunningSection | None = Field(None, description="stream a treadmill's shifts, too")
    neural: NeuralSection | None = Field(None, description="predict neural activity, too")

    @model_validator(mode="after")
    def _exposure_is_known(self) -> CameraBase:
        if self.stamp_means != "midpoint" and self.exposure_us is None:
            raise ValueError(
                f"stamp_means = '{self.stamp_means}' needs exposure_us: the exposure time, or "
                "'frame' if the camera says it with every frame; with an unknown one (auto "
                "exposure) no midpoint can be told"
            )
        return self

    @model_validator(mode="after")
    def _bbox_has_room(self) -> CameraBase:
        if self.bbox and (min(self.bbox[:2]) < 0 or min(self.bbox[2:]) < 16):
            raise ValueError("bbox is [left, top, width, height] with both sizes at least 16 px")
        return self

    @property
    def tells_lines(self) -> bool:
        """Whether frames say which input lines were high."""
        return False


class SyntheticSection(CameraBase):
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

    @property
    def tells_lines(self) -> bool:
        """See ``CameraBase``."""
        return self.line0_s is not None


#: fields of embedded image info in the order in which cameras write them, 4 bytes each
EmbeddedField = Literal[
    "timestamp",
    "gain",
    "shutter",
    "brightness",
    "exposure",
    "white_balance",
    "frame_counter",
    "strobe",
    "gpio",
    "roi",
]


class VideoSection(CameraBase):
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
    embedded: tuple[EmbeddedField, ...] = Field(
        (),
        strict=False,
        description="what the camera wrote into the first pixels (Point Grey); lossless video only",
    )

    @model_validator(mode="after")
    def _embedded_once(self) -> VideoSection:
        if len(set(self.embedded)) < len(self.embedded):
            raise ValueError("embedded names a field twice")
        if self.embedded and self.loop:
            raise ValueError("embedded and loop: a counter that begins again cannot be followed")
        return self

    @property
    def tells_lines(self) -> bool:
        """See ``CameraBase``."""
        return "gpio" in self.embedded


class TriggerSection(Section):
    """Each frame is exposed when something else says so."""

    source: str = Field(
        pattern=r"^[A-Za-z0-9]{1,32}$", description="'Line0', 'Line1' ... or 'Software'"
    )
    activation: Literal["RisingEdge", "FallingEdge", "LevelHigh", "LevelLow"] = Field(
        "RisingEdge", description="what of the line starts an exposure"
    )
    overlap: Literal["Off", "ReadOut", "PreviousFrame"] | None = Field(
        None, description="whether a trigger is taken while the frame before is read out"
    )


class DeviceSection(CameraBase):
    """A real camera: what it is asked for, and what happens when it is gone."""

    rate_hz: float = Field(
        gt=0, le=5000, description="frames per second; with a trigger that of the trigger"
    )
    width: int | None = Field(None, ge=16, le=16384, description="px; the camera's if left out")
    height: int | None = Field(None, ge=16, le=16384, description="px; the camera's if left out")
    on_gone: Literal["wait", "stop"] = Field(
        "wait", description="when the camera is unplugged: wait for it to come back, or stop"
    )


class SensorSection(DeviceSection):
    """A camera whose settings have GenICam's names (SFNC)."""

    serial: str | None = Field(None, min_length=1, description="which camera, by serial number")
    user_id: str | None = Field(None, min_length=1, description="which camera, by its user name")
    model: str | None = Field(None, min_length=1, description="which camera, by its model")
    offset_x: int | None = Field(None, ge=0, description="left edge of the part read out, px")
    offset_y: int | None = Field(None, ge=0, description="upper edge of the part read out, px")
    pixel_format: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_]{1,32}$", description="'Mono8', 'Mono12p' ...; as it stands"
    )
    gain_db: float | None = Field(None, ge=-60, le=100, description="dB; as it stands if left out")
    trigger: TriggerSection | None = None
    strobe_line: str | None = Field(
        None, pattern=r"^[A-Za-z0-9]{1,32}$", description="output line, high while it exposes"
    )
    chunks: tuple[Literal["Timestamp", "FrameID", "ExposureTime", "LineStatusAll"], ...] = Field(
        (), strict=False, description="what the camera sends along with every frame"
    )
    settings: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="any other feature by its name, set in this order"
    )

    @model_validator(mode="after")
    def _frame_says_its_exposure(self) -> SensorSection:
        if self.exposure_us == "frame" and "ExposureTime" not in self.chunks:
            raise ValueError(
                "exposure_us = 'frame' needs chunks = ['ExposureTime']; the camera says it there"
            )
        return self

    @property
    def tells_lines(self) -> bool:
        """See ``CameraBase``."""
        return "LineStatusAll" in self.chunks


class GenicamSection(SensorSection):
    """Any GenICam camera through its vendor's GenTL producer and harvesters."""

    kind: Literal["genicam"]
    producer: str | None = Field(
        None,
        min_length=1,
        description="GenTL producer (.cti); looked for in GENICAM_GENTL64_PATH if left out",
    )


class PylonSection(SensorSection):
    """A Basler camera through Basler's own pypylon."""

    kind: Literal["pylon"]


class UvcSection(DeviceSection):
    """A webcam through OpenCV: times of the host alone, and no count of what it lost."""

    kind: Literal["uvc"]
    device: int | str = Field(0, description="number of the camera, or its device file")


AnyCamera = SyntheticSection | VideoSection | GenicamSection | PylonSection | UvcSection
CameraSection = Annotated[AnyCamera, Field(discriminator="kind")]
#: what ``kind`` may be
KINDS = ("synthetic", "video", "genicam", "pylon", "uvc")
