"""What belongs to the machine and not to the recipe, and the secrets that recipes only name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import RecipeError

VARIABLE = re.compile(r"\$\{(\w+)\}")


class Settings(BaseSettings):
    """What belongs to the machine and not to the recipe; read from `TRADEWIND_*` environment variables.

    A variable that is set to nothing counts as not set.

    Raises:
        RecipeError: a variable holds what it cannot.
    """

    # Compose files and manifests set a variable to nothing where nobody has named a value.
    model_config = SettingsConfigDict(env_prefix="TRADEWIND_", env_ignore_empty=True)

    workspace: Path = Field(Path("workspace"), description="artifacts, runs, registry and Airflow's files live here")
    recipes: Path = Field(Path("configs"), description="folder of the recipes that become DAGs")
    registry: str | None = Field(None, description="MLflow address; default: a SQLite file in the workspace")
    pool: str | None = Field(None, description="Airflow's pool for what computes on the accelerator, as airflow.pool")
    pool_slots: int = Field(
        1, ge=1, description="whole number: how many of its slots a step takes, as airflow.pool_slots"
    )
    serve_tokens: SecretStr | None = Field(
        None, description="of `tradewind serve`, between blanks; default: none needed"
    )
    signing_key: Path | None = Field(None, description="PEM file of the private key that signs published models")
    signing_key_password: SecretStr | None = Field(None, description="of the private key; default: it has none")
    verify_key: Path | None = Field(
        None, description="PEM file of the public key; when set, models without a signature by its pair are refused"
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            name = str(wrong["loc"][0])
            raise RecipeError(
                f"TRADEWIND_{name.upper()}: received {wrong['input']!r}; expected a "
                f"{type(self).model_fields[name].description}"
            ) from None


def resolve_secrets(value: str, key: str) -> str:
    """Return the value with every `${NAME}` replaced by the environment variable; never log or store the result.

    Raises:
        RecipeError: a variable that the recipe names at `key` is not set.
    """

    def look_up(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise RecipeError(f"{key} names the environment variable {match[1]}, which is not set; export it first")
        return found

    return VARIABLE.sub(look_up, value)
