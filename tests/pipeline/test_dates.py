"""The date of a run: what a person or Airflow names, and what sources read of it."""

from datetime import UTC, datetime

import pytest

from pipeline.config import Settings
from pipeline.dates import Dates, check_template, dated_keys, last_dates, read_dates, render
from pipeline.errors import RecipeError
from pipeline.flow import Flow
from pipeline.recipes import load_recipe
from pipeline.store import Store


def moment(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


@pytest.fixture
def dated_recipe(tiny_recipe, tmp_path):
    text = tiny_recipe.read_text()
    tiny_recipe.write_text(text.replace(str(tmp_path / "notes.csv"), f"'{tmp_path}/{{{{ ds }}}}/notes.csv'"))
    return tiny_recipe


@pytest.mark.parametrize(
    ("text", "schedule", "expected"),
    [
        ("2026-11-01", None, Dates(moment(1), moment(2))),
        ("2026-11-01", "0 3 * * *", Dates(moment(1, 3), moment(2, 3))),
        ("2026-11-04", "@weekly", Dates(moment(4), moment(8))),
        ("2026-11-01T05:00", "0 3 * * *", Dates(moment(1, 5), moment(2, 3))),
        ("2026-11-01T05:00+02:00", None, Dates(moment(1, 3), moment(2, 3))),
        ("2026-11-01/2026-11-08T06:00", "@daily", Dates(moment(1), moment(8, 6))),
    ],
)
def test_what_a_person_names(text, schedule, expected):
    assert read_dates(text, schedule) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("yesterday", "expected a day such as"), ("2026-11-08/2026-11-01", "ends before it begins"), ("", "received ''")],
)
def test_what_is_no_date(text, complaint):
    with pytest.raises(RecipeError, match=complaint):
        read_dates(text, None)


def test_a_run_without_a_logical_date_reads_the_last_interval_that_is_over():
    assert last_dates(moment(26, 3), "0 3 * * *") == Dates(moment(25, 3), moment(26, 3))
    assert last_dates(moment(26, 2), "0 3 * * *") == Dates(moment(24, 3), moment(25, 3))
    assert last_dates(moment(26, 2), None) == Dates(moment(26), moment(27))


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("data/{{ dss }}.csv", r"reads dss; expected only the variables ds, ds_nodash"),
        ("data/{{ ds", "cannot be rendered: unexpected end of template"),
        ("{{ ds.__class__ }}", "is unsafe"),
        ("{{ ds.day }}", "has no attribute"),
        ("{% for n in range(9) %}{% endfor %}", "reads range"),
    ],
)
def test_a_template_that_no_date_can_fill_is_refused(template, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_template(template)


def test_every_place_of_a_source_that_reads_dates_is_filled(tiny_recipe):
    query = "\"SELECT * FROM notes WHERE day >= '{{ data_interval_start }}' AND day < '{{ data_interval_end }}'\""
    sources = (
        "data.sources.notes={kind: files, path: ['a/{{ ds }}.csv', b.csv], folder: \"{{ logical_date.strftime('%Y/%m') }}\"}",  # noqa: E501
        "data.sources.given={kind: files, splits: {train: ['{{ ds_nodash }}.csv'], test: test.csv}}",
        f"data.sources.table={{kind: sql, url: 'sqlite:///n.db', query: {query}}}",
    )
    recipe = load_recipe(tiny_recipe, sources)
    assert dated_keys(recipe) == [
        "data.sources.notes.path",
        "data.sources.notes.folder",
        "data.sources.given.splits.train",
        "data.sources.table.query",
    ]
    found = render(recipe, Dates(moment(1, 3), moment(2, 3))).data.sources
    assert (found["notes"].path, found["notes"].folder) == (["a/2026-11-01.csv", "b.csv"], "2026/11")
    assert found["given"].splits == {"train": ["20261101.csv"], "test": "test.csv"}
    assert found["table"].query == (
        "SELECT * FROM notes WHERE day >= '2026-11-01 03:00:00+00:00' AND day < '2026-11-02 03:00:00+00:00'"
    )


def test_an_unknown_variable_is_named_with_its_line(dated_recipe):
    dated_recipe.write_text(dated_recipe.read_text().replace("{{ ds }}", "{{ day }}"))
    with pytest.raises(RecipeError, match=r"tiny\.yaml:6: data\.sources\.notes: .*which reads day; expected only"):
        load_recipe(dated_recipe)


def test_a_run_is_recorded_with_its_date_and_needs_one(dated_recipe, tmp_path):
    recipe, settings = load_recipe(dated_recipe), Settings(workspace=tmp_path / "workspace")
    with pytest.raises(RecipeError, match=r"^data\.sources\.notes\.path: it depends on the date .*--date"):
        Flow.create(recipe, dated_recipe, settings)
    assert not (tmp_path / "workspace" / "runs").exists()
    Flow.create(recipe, dated_recipe, settings, run_id="first", dates=Dates(moment(1, 3), moment(2, 3)))
    record = Store(settings.workspace).runs.load("first")
    assert record["recipe"]["data"]["sources"]["notes"]["path"].endswith("/2026-11-01/notes.csv")
    assert record["dates"] == {
        "logical_date": "2026-11-01T03:00:00+00:00",
        "data_interval_start": "2026-11-01T03:00:00+00:00",
        "data_interval_end": "2026-11-02T03:00:00+00:00",
    }


@pytest.mark.parametrize("schedule", ["every now and then", "@once", "61 * * * *"])
def test_a_schedule_that_is_none_is_refused(tiny_recipe, schedule):
    with pytest.raises(RecipeError, match=r"airflow\.schedule: received .*expected a cron expression such as"):
        load_recipe(tiny_recipe, [f"airflow.schedule='{schedule}'"])
