"""What every part of a recipe is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Literal["critical", "warning"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", description="lower-case letters, digits, - and _")]


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
