"""When a recipe's DAG runs, by Airflow's own timetables, and which dates such a run has."""

from datetime import UTC, datetime

import pytest

from pipeline.dates import Dates, dates_of


@pytest.fixture
def scheduled(tiny_recipe, load_dags):
    """Return a function that gives the DAG of a recipe with further keys, as the scheduler has it."""
    from airflow.serialization.serialized_objects import DagSerialization

    def load(keys):
        with tiny_recipe.open("a") as file:
            file.write(f"  {keys}\n")
        return DagSerialization.from_dict(DagSerialization.to_dict(load_dags(tiny_recipe.parent)["tiny"]))

    return load


def intervals(dag, number):
    """Return the first intervals that the scheduler makes runs for."""
    from airflow.timetables.base import TimeRestriction

    restriction, last, found = TimeRestriction(dag.start_date, None, dag.catchup), None, []
    for _ in range(number):
        info = dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        last = info.data_interval
        found.append(Dates(last.start, last.end))
        assert info.logical_date == last.start
        assert info.run_after == last.end
    return found


def test_each_interval_since_the_start_is_made_up_for_and_its_dates_are_those_of_the_command_line(scheduled):
    dag = scheduled("schedule: 0 3 * * *\n  catchup: true\n  start_date: 2026-11-01")
    assert dag.catchup
    found = intervals(dag, 3)
    assert found == [dates_of(datetime(2026, 11, day, 3, tzinfo=UTC), "0 3 * * *") for day in (1, 2, 3)]


def test_without_catchup_only_the_newest_that_is_over_is_made_up_for(scheduled):
    dag = scheduled("schedule: '@daily'")
    assert not dag.catchup
    (found,) = intervals(dag, 1)
    assert (datetime.now(UTC) - found.end).total_seconds() < 2 * 86_400


def test_assets_alone_and_assets_or_the_clock(scheduled):
    by_asset = scheduled("after: [tradewind://backbones/base, s3://labels/notes.csv]")
    assert type(by_asset.timetable).__name__ == "AssetTriggeredTimetable"
    uris = [asset.uri for _, asset in by_asset.timetable.asset_condition.iter_assets()]
    assert uris == ["tradewind://backbones/base", "s3://labels/notes.csv"]
    assert type(by_asset.timetable.asset_condition).__name__ == "SerializedAssetAny"


def test_both_follow_the_clock_and_the_assets(scheduled):
    both = scheduled("schedule: '@daily'\n  after: [labels]\n  catchup: true\n  start_date: 2026-11-01")
    assert [asset.name for _, asset in both.timetable.asset_condition.iter_assets()] == ["labels"]
    assert intervals(both, 1) == [dates_of(datetime(2026, 11, 1, tzinfo=UTC), "@daily")]
