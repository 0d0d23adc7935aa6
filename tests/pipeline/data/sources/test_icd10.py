import re
import sys

import pytest
from source_frames import frame

from pipeline.config import Icd10Source
from pipeline.data.sources import read_source


@pytest.fixture(scope="module")
def rows():
    return frame(read_source("icd10", Icd10Source(kind="icd10cm")))


@pytest.fixture(scope="module")
def by_code(rows):
    return rows[rows["kind"] == "description"].set_index("code")


def test_counts(rows):
    assert rows["kind"].value_counts().to_dict() == {"description": 46_881, "inclusion_term": 12_574, "note": 12_080}
    assert rows.loc[rows["kind"] == "description", "text"].nunique() == 46_144
    assert rows["row_id"].is_unique
    assert rows.loc[0, "row_id"] == "icd10:1"
    assert (rows["text"] == rows["text"].str.strip()).all()
    assert rows["text"].str.len().min() >= 3


def test_the_slow_package_is_not_imported(rows):
    assert "simple_icd_10_cm" not in sys.modules


def test_22_chapters_that_sort_by_number(rows):
    chapters = sorted(rows["chapter"].unique())
    assert chapters[18] == "19 Injury, poisoning and certain other consequences of external causes"
    assert [chapter[:2] for chapter in chapters] == [f"{number:02d}" for number in range(1, 23)]
    assert not any(re.search(r"\([A-Z]\d", chapter) for chapter in chapters)


def test_description(by_code):
    row = by_code.loc["E08.321"]
    assert row["text"].startswith("Diabetes mellitus due to underlying condition with mild nonproliferative")
    assert row["category"] == row["group"] == "E08"
    assert row["chapter"] == "04 Endocrine, nutritional and metabolic diseases"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("A00", "more_detail"),  # has A00.0, A00.1, A00.9
        ("A00.0", "billable"),
        ("E08.32", "more_detail"),  # defines seventh characters, and is divided further
        ("E08.321", "seventh_character"),  # inherits them
        ("S00.00", "seventh_character"),  # inherits them from S00, two levels up
        ("I10", "billable"),  # a category without subdivisions
    ],
)
def test_completeness(by_code, code, expected):
    assert by_code.loc[code, "completeness"] == expected


def test_completeness_counts(by_code):
    counts = by_code["completeness"].value_counts().to_dict()
    assert counts == {"billable": 23_414, "seventh_character": 12_929, "more_detail": 10_538}


def test_notes_and_terms_belong_to_their_code(rows):
    term = rows[rows["text"] == "Classical cholera"].iloc[0]
    assert (term["kind"], term["code"], term["category"], term["completeness"]) == (
        "inclusion_term",
        "A00.0",
        "A00",
        "billable",
    )


def test_notes_of_sections_and_chapters_have_no_completeness(rows):
    note = rows[rows["text"] == "infections due to Mycobacterium tuberculosis and Mycobacterium bovis"].iloc[0]
    assert (note["kind"], note["code"], note["category"]) == ("note", "A15-A19", "A15-A19")
    assert note["chapter"] == "01 Certain infectious and parasitic diseases"
    above = rows[rows["completeness"].isna()]
    assert (above["category"] == above["code"]).all()
    assert "chapter-1" in set(above["category"])
    assert (above["kind"] != "description").all()
