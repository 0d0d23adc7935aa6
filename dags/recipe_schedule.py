"""When the runs of a recipe start, and the date that each of them has."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from airflow.sdk import Asset, AssetAny, AssetOrTimeSchedule, CronDataIntervalTimetable, get_current_context

from pipeline.config import Recipe
from pipeline.config.airflow import Scheduled
from pipeline.dates import Dates, dates_of, last_dates


def schedule_of(recipe: Recipe) -> Any:
    """Return the schedule of a recipe's DAG: by the clock, whenever one of some assets is refreshed, or both."""
    clock, assets = clock_of(recipe.airflow), AssetAny(*(Asset(name) for name in recipe.airflow.after))
    if not recipe.airflow.after:
        return clock
    return AssetOrTimeSchedule(timetable=clock, assets=assets) if clock else assets


def clock_of(section: Scheduled) -> CronDataIntervalTimetable | None:
    """Return the timetable of a section; a run starts when an interval is over, and has the date of its beginning.

    Airflow's own default depends on its configuration (`create_cron_data_intervals`).
    """
    schedule: str | None = getattr(section, "schedule", None)
    return CronDataIntervalTimetable(schedule, timezone="UTC") if schedule else None


def first_day(recipe: Recipe) -> datetime:
    """Return where the schedule of a recipe begins."""
    return datetime.combine(recipe.airflow.start_date, time(), UTC)


def dates_of_run(section: Scheduled) -> Dates:
    """Return the dates of this DAG run, the same for every try.

    A run that an asset or a person has started without a logical date has those of the last interval that was over.
    """
    dag_run, schedule = get_current_context()["dag_run"], getattr(section, "schedule", None)
    if dag_run.logical_date is not None:
        return dates_of(dag_run.logical_date, schedule)
    return last_dates(dag_run.run_after, schedule)
