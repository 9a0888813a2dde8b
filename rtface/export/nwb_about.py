"""What NWB asks for beside the session: who and what was recorded, from a TOML file."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rtface.types import UserError


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Subject(_Table):
    """The animal; the session has its name."""

    species: str = Field("Mus musculus", pattern=r"^[A-Z][a-z]+ [a-z]+")
    sex: Literal["M", "F", "O", "U"] = "U"
    age: str | None = Field(None, pattern=r"^P[0-9]", description="ISO 8601: P90D is 90 days")
    date_of_birth: datetime | None = None
    description: str | None = None
    genotype: str | None = None
    strain: str | None = None
    weight: str | None = Field(None, description="as '0.022 kg'")

    @model_validator(mode="after")
    def _birth_has_a_zone(self) -> Subject:
        if self.date_of_birth is not None and self.date_of_birth.tzinfo is None:
            raise ValueError("date_of_birth: add the time zone, as 2026-05-01T00:00:00+02:00")
        return self


class Experiment(_Table):
    """Who did what where."""

    session_description: str | None = None
    experiment_description: str | None = None
    experimenter: tuple[str, ...] = Field((), description="as 'Doe, Jane'")
    institution: str | None = None
    lab: str | None = None
    keywords: tuple[str, ...] = ("face", "pose estimation", "behavior")
    protocol: str | None = None
    notes: str | None = None
    related_publications: tuple[str, ...] = ()


class About(_Table):
    """Both tables of the file."""

    experiment: Experiment = Experiment()
    subject: Subject = Subject()


def load_about(path: Path) -> About:
    """Read a TOML file with the tables ``experiment`` and ``subject``.

    Raises
    ------
    UserError
        Names the file, the key and the remedy in one line.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    try:
        return About.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            inside: dict[str, type[BaseModel]] = {}
            if len(first["loc"]) > 1:
                inside = {"experiment": Experiment, "subject": Subject}
            has = ", ".join(inside.get(str(first["loc"][0]), About).model_fields)
            raise UserError(f"{path}: {key}: unknown key; there is {has}") from None
        raise UserError(f"{path}: {key}: {first['msg']}; change it") from None
