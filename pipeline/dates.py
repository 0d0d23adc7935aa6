"""The date that a run is of: Airflow's logical date, read by sources as `{{ ds }}`, and the interval that it opens.

The names are those of Airflow's templates, and Jinja's sandbox renders them, so `{{ logical_date.strftime('%Y/%m') }}`
and `{{ ds | replace('-', '') }}` work too. Everything is UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.config import Recipe

VARIABLES = ("ds", "ds_nodash", "ts", "logical_date", "data_interval_start", "data_interval_end")
TEMPLATED = {"files": ("path", "folder", "splits"), "sql": ("query",)}  # keys of a source, by its kind
HOW = "a day such as 2026-11-01, a moment such as 2026-11-01T03:00, or an interval such as 2026-11-01/2026-11-08"


@dataclass(frozen=True)
class Dates:
    """The logical date of a run, which opens its interval, and the end of that, which it does not hold; in UTC."""

    start: datetime
    end: datetime

    def variables(self) -> dict[str, Any]:
        """Return what a template may read."""
        values = (f"{self.start:%Y-%m-%d}", f"{self.start:%Y%m%d}", self.start.isoformat(), self.start)
        return dict(zip(VARIABLES, (*values, self.start, self.end), strict=True))

    def record(self) -> dict[str, str]:
        """Return what the record of a run keeps."""
        interval = {"data_interval_start": self.start.isoformat(), "data_interval_end": self.end.isoformat()}
        return {"logical_date": self.start.isoformat()} | interval


def dates_of(start: datetime, schedule: str | None) -> Dates:
    """Return the dates of the run whose logical date is `start`: up to the next one of the schedule, else a day."""
    start = _utc(start)
    return Dates(start, _cron(schedule, start, ahead=True) if schedule else start + timedelta(days=1))


def last_dates(moment: datetime, schedule: str | None) -> Dates:
    """Return the dates of a run that has no logical date.

    Args:
        moment: datetime. When it was due.
        schedule: str or None. A cron expression: the last of its intervals that was over by then is meant. None: the
            day of the moment.
    """
    moment = _utc(moment)
    if schedule is None:
        return dates_of(datetime.combine(moment.date(), time(), UTC), None)
    end = _cron(schedule, moment + timedelta(microseconds=1), ahead=False)
    return Dates(_cron(schedule, end, ahead=False), end)


def read_dates(text: str, schedule: str | None) -> Dates:
    """Return the dates that a person names: a day, a moment, or an interval START/END.

    A day means its first date in the schedule, if there is one.

    Raises:
        RecipeError: it is none of them.
    """
    first, interval, last = text.partition("/")
    try:
        start = _utc(datetime.fromisoformat(first))
        end = _utc(datetime.fromisoformat(last)) if interval else None
    except ValueError:
        raise RecipeError(f"the date: received {text!r}, expected {HOW}") from None
    if end is not None:
        if end <= start:
            raise RecipeError(f"the date: received {text!r}, which ends before it begins; expected START/END")
        return Dates(start, end)
    if schedule and _is_day(first):
        due = _cron(schedule, start - timedelta(microseconds=1), ahead=True)
        start = due if due.date() == start.date() else start
    return dates_of(start, schedule)


def dated_keys(recipe: Recipe) -> list[str]:
    """Return the keys of a recipe's sources that read the date of the run."""
    found: list[str] = []

    def note(key: str, text: str) -> str:
        found.extend([key] if "{{" in text or "{%" in text else [])
        return text

    _each(recipe.model_dump(mode="json"), note)
    return found


def render(recipe: Recipe, dates: Dates | None) -> Recipe:
    """Return the recipe with the dates in the place of what its sources read.

    Raises:
        RecipeError: it reads them, and there are none.
    """
    keys = dated_keys(recipe)
    if not keys:
        return recipe
    if dates is None:
        raise RecipeError(
            f"{', '.join(keys)}: it depends on the date of the run, which was not given; give it with --date: {HOW}"
        )
    values = recipe.model_dump(mode="json")
    _each(values, lambda _, text: _rendered(text, dates))
    return type(recipe).model_validate(values)


def check_template(text: str) -> None:
    """Raise ValueError unless the text can be rendered with the dates of any run."""
    if "{{" not in text and "{%" not in text:
        return
    from jinja2 import TemplateError, meta

    expected = f"expected only the variables {', '.join(VARIABLES)}"
    try:
        unknown = meta.find_undeclared_variables(_jinja().parse(text)) - set(VARIABLES)
        if unknown:
            raise ValueError(f"received {text!r}, which reads {', '.join(sorted(unknown))}; {expected}")
        _rendered(text, dates_of(datetime(2026, 1, 1), None))
    except (TemplateError, TypeError) as error:
        raise ValueError(f"received {text!r}, which cannot be rendered: {error}; {expected}") from None


def check_schedule(expression: str) -> None:
    """Raise ValueError unless the text is a cron expression or a preset of one."""
    from croniter import croniter

    if not croniter.is_valid(_plain(expression)):
        raise ValueError(
            f"received {expression!r}, expected a cron expression such as 0 3 * * * or a preset such as @daily"
        )


def _each(values: dict[str, Any], change: Callable[[str, str], str]) -> None:
    """Change every text in a recipe's values that may hold dates, given its dotted key."""
    for name, source in values["data"]["sources"].items():
        for key in TEMPLATED.get(source["kind"], ()):
            if source[key] is not None:
                source[key] = _changed(f"data.sources.{name}.{key}", source[key], change)


def _changed(key: str, value: Any, change: Callable[[str, str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _changed(f"{key}.{name}", below, change) for name, below in value.items()}
    if isinstance(value, list):
        return [_changed(key, item, change) for item in value]
    return change(key, value)


def _rendered(text: str, dates: Dates) -> str:
    rendered: str = _jinja().from_string(text).render(dates.variables())
    return rendered


def _jinja() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    return environment


def _cron(schedule: str, moment: datetime, ahead: bool) -> datetime:
    from croniter import croniter

    dates = croniter(_plain(schedule), moment)
    found: datetime = dates.get_next(datetime) if ahead else dates.get_prev(datetime)
    return found.replace(fold=0)


def _plain(expression: str) -> str:
    """Return the expression without what Airflow knows and croniter does not."""
    return {"@quarterly": "0 0 1 */3 *"}.get(expression, expression)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
