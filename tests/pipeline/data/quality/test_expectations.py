import pandas as pd
import pytest

from pipeline.data.quality.checks import Check
from pipeline.data.quality.expectations import Inspector, build

FRAME = pd.DataFrame(
    {
        "text": ["a1", None, "b2", "c", "a1", "d4", None, "e", "f6", "g"],
        "other": ["a1", "x", "b2", None, "z", "d4", None, "e", "f", "h"],
        "size": [1.0, 2.0, None, 4.0, 5.0, 6.0, 7.0, 80.0, 9.0, 10.0],
    }
)
EXPECTATIONS = {
    "expect_column_values_to_match_regex": {"column": "text", "regex": "[0-9]"},
    "expect_column_values_to_be_in_set": {"column": "text", "value_set": ["a1", "b2", "c"]},
    "expect_column_values_to_not_be_null": {"column": "text"},
    "expect_column_values_to_be_null": {"column": "other"},
    "expect_column_values_to_be_between": {"column": "size", "max_value": 9},
    "expect_column_value_lengths_to_equal": {"column": "other", "value": 2},
    "expect_column_pair_values_to_be_equal": {"column_A": "text", "column_B": "other", "ignore_row_if": "neither"},
    "expect_select_column_values_to_be_unique_within_record": {"column_list": ["text", "other"]},
}


@pytest.fixture(scope="module")
def inspector():
    return Inspector()


def checks(mostly):
    return [
        Check(kind, "warning", kind, {**arguments, "mostly": mostly}, "", own=True)
        for kind, arguments in EXPECTATIONS.items()
    ]


@pytest.mark.parametrize("mostly", [0.2, 0.5, 0.6, 0.625, 0.8, 1.0])
def test_chunks_added_up_say_what_great_expectations_says_of_all_rows(inspector, mostly):
    from great_expectations import ExpectationSuite

    source = inspector.context.data_sources.add_pandas(f"whole {mostly}").add_dataframe_asset("whole")
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": FRAME})
    suite = ExpectationSuite(name=f"whole {mostly}", expectations=[build(check) for check in checks(mostly)])
    whole = {entry.expectation_config.type: entry for entry in batch.validate(suite).results}
    for pieces in ([10], [3, 3, 4], [0, 1, 9]):
        chunked = inspector.suite(f"{mostly}", f"in {pieces}", checks(mostly))
        start = 0
        for rows in pieces:
            chunked.add(FRAME.iloc[start : start + rows].reset_index(drop=True))
            start += rows
        for outcome in chunked.close():
            entry = whole[outcome.check.type]
            assert outcome.success == entry.success, outcome
            assert outcome.observed.startswith(
                f"{entry.result['unexpected_count']} of {entry.result['element_count']} "
            )


def test_offenders_are_told_by_their_place_in_the_chunk(inspector):
    check = Check("no x", "quarantine", "expect_column_values_to_not_match_regex", {"column": "text", "regex": "x"}, "")
    suite = inspector.suite("s", "places", [check])
    assert suite.add(pd.DataFrame({"text": ["x", "a", None, "xx"]})) == [(check, [0, 3])]
    assert suite.add(pd.DataFrame({"text": ["a", "x"]})) == [(check, [1])]
    (outcome,) = suite.close()
    assert (outcome.success, outcome.observed) == (False, "3 of 6 (50.00%) break it")


def test_a_check_that_breaks_down_in_a_later_chunk_is_no_pass(inspector):
    check = Check("small", "warning", "expect_column_values_to_be_between", {"column": "size", "max_value": 9}, "")
    suite = inspector.suite("s", "broken", [check])
    suite.add(pd.DataFrame({"size": [1.0, 2.0]}))
    suite.add(pd.DataFrame({"size": ["one", "two"]}))
    suite.add(pd.DataFrame({"size": [1.0, 2.0]}))
    (outcome,) = suite.close()
    assert outcome.success is None
    assert outcome.error


def test_few_unexpected_values_are_kept_of_many(inspector):
    check = Check("no x", "warning", "expect_column_values_to_not_match_regex", {"column": "text", "regex": "x"}, "")
    suite = inspector.suite("s", "many", [check])
    for number in range(3):
        suite.add(pd.DataFrame({"text": ["x" + "y" * 999] + [f"x{number}-{row}" for row in range(30)]}))
    suite.close()
    page = inspector.pages[-1].html
    assert "x0-18" in page
    assert "y" * 199 in page
    assert "y" * 200 not in page
    assert "x1-0" not in page
