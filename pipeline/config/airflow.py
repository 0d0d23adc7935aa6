"""How Airflow runs the recipe: when, how often, and by whom."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Section


class Airflow(Section):
    """How Airflow runs the recipe."""

    schedule: str | None = Field(None, description="cron expression or preset such as @daily; null: only by hand")
    retries: Annotated[int, Field(ge=0)] = Field(2, description="tries after the first, each going on where it stopped")
    retry_delay_seconds: Annotated[int, Field(ge=0)] = Field(30, description="between two tries")
    owner: str = Field("tradewind", description="shown in Airflow")
    tags: list[str] = Field(default_factory=list, description="shown in Airflow, and filtered by")
