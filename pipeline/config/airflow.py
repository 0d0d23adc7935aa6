"""When and how Airflow runs the recipe, whom it tells, and how it watches what was published."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.dates import check_schedule

AirflowStep = Literal[
    "validate",
    "drift",
    "preprocess",
    "pretrain",
    "trial",
    "finetune",
    "scratch",
    "baseline",
    "evaluate",
    "gate",
    "publish",
]
Event = Literal["failure", "drift", "approval", "published", "success"]
Identifier = Annotated[str, Field(pattern=r"^\S+$", description="text without blanks")]
Hours = Annotated[float, Field(gt=0)]

TIMEOUT_HOURS = {"preprocess": 24.0, "pretrain": 168.0, "trial": 48.0, "finetune": 48.0, "scratch": 48.0}
OTHER_TIMEOUT_HOURS = 12.0


class Scheduled(Section):
    """What runs by a clock."""

    @field_validator("schedule", check_fields=False)
    @classmethod
    def _is_cron(cls, schedule: str | None) -> str | None:
        if schedule is not None:
            check_schedule(schedule)
        return schedule


class Notify(Section):
    """Who is told, and of what."""

    on: list[Event] = Field(
        ["failure", "drift"],
        description="failure: a run has failed; drift: `monitor` found that a model is asked other texts than it "
        "knows; approval: a person is asked (publish.approval); published: a model has become the champion; success: "
        "a run has ended well",
    )
    to: list[Identifier] = Field(
        default_factory=list,
        description="names of Airflow connections of the type apprise, which hold the address (Slack, mail, Teams, a "
        "webhook, ...) and its secret; none: nobody is told",
    )


class Airflow(Scheduled):
    """How Airflow runs the recipe."""

    schedule: str | None = Field(
        None,
        description="cron expression or preset such as @daily, in UTC; a run starts when an interval of it is over, "
        "and has the date of its beginning; null: not by the clock",
    )
    after: list[Identifier] = Field(
        default_factory=list,
        description="assets of Airflow, such as tradewind://models/NAME or tradewind://backbones/RECIPE; whenever one "
        "of them is refreshed, a run starts",
    )
    start_date: date = Field(date(2026, 1, 1), description="where the schedule begins")
    catchup: bool = Field(
        False, description="make up for every interval since start_date; false: only for the newest that was missed"
    )
    retries: Annotated[int, Field(ge=0)] = Field(2, description="tries after the first, each going on where it stopped")
    retry_delay_seconds: Annotated[int, Field(ge=0)] = Field(30, description="before the second try")
    retry_backoff: Annotated[float, Field(ge=1)] = Field(
        2.0, description="how many times longer each further try is waited for, up to an hour"
    )
    timeout_hours: dict[AirflowStep, Hours] = Field(
        default_factory=dict,
        description="after which a try of a step is stopped; default: pretrain 168, trial, finetune and scratch 48, "
        "preprocess 24, any other 12",
    )
    pool: Identifier | None = Field(
        None,
        description="pool of Airflow whose slots the steps that compute on the accelerator take, which has to exist; "
        "default: TRADEWIND_POOL, else Airflow's default_pool",
    )
    pool_slots: PositiveInt | None = Field(
        None, description="slots that such a step takes; default: TRADEWIND_POOL_SLOTS, else 1"
    )
    deadline_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="after which `notify.to` is told that a run, counted from when it was queued, is still going"
    )
    notify: Notify = Field(Notify(), description="who is told, and of what")
    owner: str = Field("tradewind", description="shown in Airflow")
    tags: list[str] = Field(default_factory=list, description="shown in Airflow, and filtered by")

    @model_validator(mode="after")
    def _somebody_is_told(self) -> Airflow:
        if self.deadline_minutes is not None and not self.notify.to:
            raise ValueError("deadline_minutes has nobody to tell; name a connection in notify.to, or remove it")
        return self

    def timeout(self, step: str) -> float:
        """Return the hours after which a try of a step is stopped."""
        given = dict[str, float](self.timeout_hours.items())
        return given.get(step, TIMEOUT_HOURS.get(step, OTHER_TIMEOUT_HOURS))


class Monitor(Scheduled):
    """How the published models of the recipe are watched, by a DAG of its own."""

    schedule: str | None = Field("@daily", description="cron expression or preset, in UTC; null: only by hand")
    hours: Hours | None = Field(24.0, description="how old an answer may be to be looked at; null: any age")
    log: str | None = Field(
        None, description="folder that holds a log of `serve` for each model, by its name; default: served/ in the "
        "workspace",
    )  # fmt: skip
    retrain: bool = Field(
        False, description="start a run of the recipe for a task that has drifted, once for each champion"
    )
