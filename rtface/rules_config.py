"""What a rig file may say of the closed loop: signals, zones, rules, and the lines they fire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from rtface.camera_config import Box, Section

#: names of signals, zones, rules and outputs
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
Text = Annotated[str, Field(min_length=1, max_length=500)]
PathText = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Place = Annotated[tuple[float, float], Field(strict=False)]


class SignalSection(Section):
    """An expression with a name."""

    expr: Text = Field(description="such as 'z(motion_energy.full, 10 s)'; docs/closed-loop.md")


class ZoneSection(Section):
    """A part of the picture, for ``depth(keypoint, zone)``."""

    box: Annotated[tuple[float, float, float, float], Field(strict=False)] | None = Field(
        None, description="left, top, width, height, px"
    )
    polygon: Annotated[tuple[Place, ...], Field(strict=False, max_length=64)] | None = Field(
        None, description="corners [x, y], px"
    )

    @model_validator(mode="after")
    def _one_shape(self) -> ZoneSection:
        if (self.box is None) == (self.polygon is None):
            raise ValueError("a zone is either a box or a polygon; give one of them")
        if self.box and min(self.box[2:]) <= 0:
            raise ValueError("box is [left, top, width, height] with sizes above 0")
        if self.polygon is not None and len(set(self.polygon)) < 3:
            raise ValueError("a polygon has at least 3 different corners")
        return self


class OutputBase(Section):
    """What every line has."""

    light: bool = Field(True, description="the camera may see it: frames meanwhile fire nothing")
    latency_ms: float = Field(
        2.0, ge=0, le=1000, description="from the command to the light, at most, ms"
    )
    max_pulse_ms: float = Field(100.0, gt=0, le=60_000, description="no rule may ask for more, ms")
    seen_box: Box | None = Field(
        None, description="where the camera sees its light: left, top, width, height, px; accept"
    )
    seen_line: int | None = Field(
        None, ge=0, le=31, description="input line of the camera that it is wired to; accept"
    )


class SerialSection(OutputBase):
    """A Teensy or an Arduino with the reference firmware."""

    kind: Literal["serial"]
    port: PathText = Field(description="'/dev/ttyACM0', 'COM3'")
    baud: int = Field(500_000, ge=9600, le=12_000_000, description="as in the firmware")
    keepalive_ms: float = Field(20.0, ge=5, le=1000, description="how often it hears from us, ms")


class OpenEphysSection(OutputBase):
    """The Network Events plugin of the Open Ephys GUI."""

    kind: Literal["open_ephys"]
    address: str = Field("tcp://127.0.0.1:5556", pattern=r"^tcp://[^\s]+:\d{1,5}$")
    line: int = Field(1, ge=1, le=256, description="TTL line")


class LslSection(OutputBase):
    """A stream of markers over Lab Streaming Layer."""

    kind: Literal["lsl"]
    stream: str = Field("rtface-trigger", min_length=1, max_length=64)


class OscSection(OutputBase):
    """A message over UDP."""

    kind: Literal["osc"]
    to: str = Field("127.0.0.1:9000", pattern=r"^[^\s]+:\d{1,5}$", description="host:port")


class NidaqmxSection(OutputBase):
    """A counter of a National Instruments device, as finite pulses of hardware timing."""

    kind: Literal["nidaqmx"]
    counter: str = Field(pattern=r"^[A-Za-z0-9_/ -]{1,64}$", description="'Dev1/ctr0'")
    terminal: str | None = Field(None, pattern=r"^[A-Za-z0-9_/ -]{1,64}$", description="'PFI12'")


class DrySection(OutputBase):
    """Nothing at all; decisions are recorded as ever."""

    kind: Literal["dry"]


AnyOutput = SerialSection | OpenEphysSection | LslSection | OscSection | NidaqmxSection | DrySection
OutputSection = Annotated[AnyOutput, Field(discriminator="kind")]
#: what ``kind`` may be
OUTPUT_KINDS = ("serial", "open_ephys", "lsl", "osc", "nidaqmx", "dry")
#: kinds whose line goes idle by itself when this program or this machine dies
FAIL_SAFE_KINDS = ("serial", "dry")


class BlocksSection(Section):
    """Stretches in which a rule may fire, and others, in turn, since it was armed."""

    on_s: float = Field(gt=0, le=86_400)
    off_s: float = Field(gt=0, le=86_400)
    first: Literal["on", "off"] = "on"


class RuleSection(Section):
    """When a line fires, and what forbids it."""

    output: str = Field(description="which [output.NAME] fires")
    pulse_ms: float = Field(10.0, ge=0.001, le=60_000, description="how long the line is on, ms")
    camera: str | None = Field(None, description="which camera it looks at; left out: the first")
    hazard: bool = Field(False, description="may harm: only lines that go idle by themselves")

    when: Text | None = Field(None, description="'whisk > 3 sd': one signal, < or >, one number")
    until: Text | None = Field(
        None, description="'1 sd': it is over beyond this; left out: at the threshold itself"
    )
    python: PathText | None = Field(
        None, description="instead of when: file with a function 'rule'; relative to the rig"
    )
    budget_us: float = Field(500.0, gt=0, le=100_000, description="of a function, per frame, us")
    only_if: Annotated[tuple[Text, ...], Field(strict=False, max_length=8)] = Field(
        (), description="comparisons that have to hold, too"
    )
    min_score: float = Field(0.3, ge=0, le=1, description="keypoints below it are not known")
    dwell_ms: float = Field(0.0, ge=0, le=60_000, description="has to last so long first, ms")
    repeat: bool = Field(False, description="fire again while it lasts, after refractory_ms")
    forecast_ms: Annotated[float, Field(ge=0, le=100)] | Literal["light"] | None = Field(
        None,
        description="compare what the signal will be so much after the exposure, ms; 'light': "
        "when the light comes on",
    )
    follow_ms: float = Field(
        5.0, ge=1, le=1000, description="time in which the forecast follows a turn, ms"
    )

    max_age_ms: float = Field(
        50.0, gt=0, le=10_000, description="from the exposure to the decision, at most, ms"
    )
    refractory_ms: float = Field(
        100.0, ge=0, le=3_600_000, description="least time between two, start to start, ms"
    )
    max_per_s: int = Field(20, ge=1, le=1000, description="in any 1 s, at most")
    max_duty: float = Field(0.5, gt=0, le=1, description="part of any 10 s that it is on, at most")
    max_fires: int = Field(10_000, ge=1, description="in a run, at most")
    sham: float = Field(0.0, ge=0, le=1, description="probability that only the record is made")
    blocks: BlocksSection | None = None
    arm_line: int | None = Field(
        None, ge=0, le=31, description="armed only while this input line is high, too"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> RuleSection:
        if (self.when is None) == (self.python is None):
            raise ValueError("a rule has either when or python; give one of them")
        if self.python is not None and (self.until is not None or self.forecast_ms is not None):
            raise ValueError("until and forecast_ms go with when, not with python")
        if self.pulse_ms > self.max_duty * 10_000:
            raise ValueError(
                f"pulse_ms = {self.pulse_ms:g} is longer than max_duty = {self.max_duty:g} of "
                "10 s; it could never fire"
            )
        if self.repeat and not self.refractory_ms:
            raise ValueError("repeat needs refractory_ms above 0")
        if self.refractory_ms and self.refractory_ms < self.pulse_ms:
            raise ValueError(
                f"refractory_ms = {self.refractory_ms:g} is shorter than the pulse of "
                f"{self.pulse_ms:g} ms; make it longer"
            )
        return self


class LoopSection(Section):
    """What all rules share."""

    arm_s: float = Field(600.0, gt=0, le=86_400, description="arming ends by itself after, s")
    light_line: int | None = Field(
        None, ge=0, le=31, description="input line of the camera that is high while a light is on"
    )
    light_step: float = Field(
        0.08, gt=0, le=10, description="the whole picture this much brighter or darker: no firing"
    )
    seed: int | None = Field(None, ge=0, description="of sham trials; left out: new for each run")
    silent_frames: int = Field(
        10, ge=2, le=10_000, description="disarmed when no frame came for so many periods"
    )
    clock_err_ms: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="disarmed when exposure times may be wrong by more, ms; left out: when their "
        "clock is lost for 2 s",
    )
    overload_frames: int = Field(
        100, ge=2, le=1_000_000, description="frames over which overload is judged"
    )
    max_skipped: float = Field(
        0.5, gt=0, le=1, description="disarmed when more of overload_frames were passed over"
    )
    rearm: Literal["never", "resume"] = Field(
        "never", description="after a wait for triggers: stays disarmed, or as before it"
    )


class ClosedLoopRig(Protocol):
    """A rig with cameras and rules."""

    @property
    def camera(self) -> Mapping[str, Any]:
        """By name."""

    @property
    def rule(self) -> Mapping[str, RuleSection]:
        """By name."""


class ClosedLoop(Section):
    """The tables of a rig file that make its closed loop."""

    loop: LoopSection = LoopSection()
    signal: dict[str, SignalSection] = Field(default_factory=dict, max_length=64)
    zone: dict[str, ZoneSection] = Field(default_factory=dict, max_length=64)
    output: dict[str, OutputSection] = Field(default_factory=dict, max_length=16)
    rule: dict[str, RuleSection] = Field(default_factory=dict, max_length=32)

    @model_validator(mode="after")
    def _names_fit(self) -> ClosedLoop:
        for table in ("signal", "zone", "output", "rule"):
            for name in getattr(self, table):
                if not NAME.fullmatch(name):
                    raise ValueError(
                        f"{table} name '{name}' must be 1 to 31 of a-z, 0-9 and _, a letter first"
                    )
        owner: dict[str, tuple[str, str | None]] = {}
        for name, rule in self.rule.items():
            output = self.output.get(rule.output)
            if output is None:
                raise ValueError(
                    f"rule.{name}.output: there is no [output.{rule.output}]; add it or correct it"
                )
            if rule.pulse_ms > output.max_pulse_ms:
                raise ValueError(
                    f"rule.{name}.pulse_ms = {rule.pulse_ms:g} is more than max_pulse_ms = "
                    f"{output.max_pulse_ms:g} of output.{rule.output}"
                )
            if rule.hazard and output.kind not in FAIL_SAFE_KINDS:
                raise ValueError(
                    f"rule.{name}: hazard = true needs a line that goes idle by itself, and "
                    f"output.{rule.output} (kind = '{output.kind}') does not; use kind = 'serial'"
                )
            other, camera = owner.setdefault(rule.output, (name, rule.camera))
            if (camera is None) != (rule.camera is None):
                with_camera, without = (name, other) if rule.camera else (other, name)
                raise ValueError(
                    f"rule.{without}.camera: is left out, and rule.{with_camera}, which fires "
                    f"output.{rule.output}, too, names one; name it in both"
                )
            if camera != rule.camera:
                raise ValueError(
                    f"rule.{name}: rules of two cameras fire output.{rule.output}; each camera "
                    "needs a line of its own"
                )
        return self


def rules_of(rig: ClosedLoopRig, camera: str) -> dict[str, RuleSection]:
    """Return the rules that look at a camera; those that name none look at the first."""
    first = next(iter(rig.camera))
    return {name: rule for name, rule in rig.rule.items() if (rule.camera or first) == camera}


#: for the template of ``rtface init``
LOOP_TEMPLATE = """\
# [signal.whisk]              # expressions with names, docs/closed-loop.md
# expr = "z(motion_energy.full, 10 s)"

# [zone.spout]                # parts of the picture: box or polygon = [[x, y], ...]
# box = [120, 300, 60, 40]    # left, top, width, height

# [output.laser]              # a line; "serial", "open_ephys", "lsl", "osc", "nidaqmx", "dry"
# kind = "serial"             # Teensy or Arduino with docs/examples/arduino/rtface_trigger
# port = "/dev/ttyACM0"       # open_ephys: address, line; osc: to; nidaqmx: counter, terminal
# baud = 500000
# keepalive_ms = 20.0         # how often the board hears that we live
# max_pulse_ms = 100.0        # no rule may ask for more
# latency_ms = 2.0            # from the command to the light, at most
# light = true                # the camera may see it: frames meanwhile fire nothing
# seen_box = [4, 4, 32, 32]   # for rtface accept: where its light is seen: left, top, width, height
# seen_line = 1               # for rtface accept: input line of the camera that it is wired to

# [rule.puff]
# when = "whisk > 3 sd"       # one signal, < or >, one number; or python = "my_rule.py"
# until = "1 sd"              # over beyond this (hysteresis)
# only_if = ["pupil.score > 0.5"]   # have to hold, too
# output = "laser"
# pulse_ms = 10.0
# hazard = true               # only lines that go idle by themselves when this machine dies
# camera = "cam1"             # the first if left out
# min_score = 0.3             # keypoints below it are not known
# dwell_ms = 0.0              # has to last so long first
# repeat = false              # true: again while it lasts, after refractory_ms
# forecast_ms = "light"       # compare what will be when the light comes on, or in so many ms
# follow_ms = 5.0             # of the forecast: smaller follows turns sooner, and is noisier
# max_age_ms = 50.0           # from the exposure to the decision
# refractory_ms = 100.0
# max_per_s = 20
# max_duty = 0.5              # part of any 10 s that the line is on
# max_fires = 10000           # in a run
# sham = 0.0                  # probability that only the record is made
# blocks = {on_s = 60.0, off_s = 60.0, first = "on"}
# arm_line = 2                # armed only while this input line of the camera is high, too
# budget_us = 500.0           # of a function, per frame

[loop]                        # shared by all rules
arm_s = 600.0                 # arming ends by itself
# light_line = 0              # input line that is high while a light is on
light_step = 0.08             # the whole picture this much brighter or darker: nothing fires
# seed = 1                    # of sham trials; new for each run if left out
silent_frames = 10            # disarmed when no frame came for so many periods
# clock_err_ms = 5.0          # disarmed when exposure times may be wrong by more
overload_frames = 100         # disarmed when so many frames in a row were too old for a rule,
max_skipped = 0.5             # or more than this part of so many were passed over
rearm = "never"               # after a wait for triggers; "resume": armed as before it
"""
