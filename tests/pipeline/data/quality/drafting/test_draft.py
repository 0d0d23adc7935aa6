import json
import random
import sqlite3

import pytest
import yaml

from pipeline.config import FilesSource, SqlSource
from pipeline.data.quality.drafting.draft import draft
from pipeline.data.quality.drafting.recipe_text import describe, slug, to_yaml
from pipeline.errors import SourceError
from pipeline.progress import SilentProgress
from pipeline.recipes import load_recipe
from pipeline.validate import validate

WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "boil",
    "tea",
)


def rows(number=120):
    draw = random.Random(4)
    for index in range(number):
        yield {
            "nr": str(100 + index),
            "review": " ".join(draw.choice(WORDS) for _ in range(draw.randint(4, 20))) + f" {index}",
            "mood": ["good", "bad", "no", "1e-4"][index % 4],
            "stars": str(index % 5 + 1),
            "price": ["2.5", "-3", ""][index % 3],
            "day": f"2026-0{index % 9 + 1}-11",
            "my note": f"remark {index}" if index % 2 else "",
            "kind of it": "" if index == 7 else "abc"[index % 3],
        }


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows()) + "\n")
    return path


def make(path, tmp_path, text=None, **settings):
    return draft("reviews", FilesSource(path=str(path), **settings), text, tmp_path / "work")


def test_the_draft_is_a_recipe_that_its_own_rows_satisfy(reviews, tmp_path):
    found = make(reviews, tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml("reviews", found))
    recipe = load_recipe(file)
    assert recipe.tasks["mood"].data.labels == ["1e-4", "bad", "good", "no"]
    (tmp_path / "out").mkdir()
    result = validate(recipe, tmp_path / "out", SilentProgress())
    assert (result.kept, result.quarantined, result.warnings) == (119, 1, [])


def test_the_bounds_are_those_of_the_data(reviews, tmp_path):
    found = make(reviews, tmp_path)
    assert found.checks["columns"]["reviews"] == {
        "nr": {"type": "integer", "required": True, "min": 100, "max": 219, "unique": True},
        "mood": {"required": True, "values": ["1e-4", "bad", "good", "no"]},
        "stars": {"type": "integer", "required": True, "min": 1, "max": 5},
        "price": {"type": "number", "min": -3, "max": 3},
        "day": {"type": "date", "required": True},
        "kind of it": {"values": ["a", "b", "c"]},
    }
    assert found.checks["min_rows"] == 60
    longest = max(len(row["review"]) for row in rows())
    assert 2 * longest <= found.checks["max_characters"] < 4 * longest


def test_the_longest_column_is_taken_for_the_text_and_that_is_said(reviews, tmp_path):
    found = make(reviews, tmp_path)
    assert (found.text, found.guessed) == ("review", True)
    assert "column 'review', which has the longest values; another: --text COLUMN" in describe(found)
    assert found.source == {"kind": "files", "text": "review", "path": str(reviews)}


def test_a_named_text_column_is_not_guessed(reviews, tmp_path):
    found = make(reviews, tmp_path, text="my note")
    assert (found.text, found.guessed) == ("my note", False)
    with pytest.raises(SourceError, match=r"there is no such column; it has: nr, review"):
        make(reviews, tmp_path, text="revue")


def test_candidate_labels_have_few_values_and_the_likely_names_first(reviews, tmp_path):
    found = make(reviews, tmp_path)
    assert list(found.labels) == ["kind of it", "mood", "stars"]
    assert found.columns["price"] == ("number", 2, 40)
    tasks = yaml.safe_load(to_yaml("reviews", found))["tasks"]
    assert [task["data"]["label"] for task in tasks.values()] == ["kind of it", "mood", "stars"]
    assert "kind-of-it:  # rows without a value, which would be quarantined: 1" in to_yaml("reviews", found)


def test_plain_text_has_no_label_and_the_draft_says_so(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(f"line {number} of a text" for number in range(30)))
    text = to_yaml("lines", make(path, tmp_path))
    assert "# No column could be a label" in text
    assert "columns" not in yaml.safe_load(text)["data"]["checks"]


def test_rows_that_cannot_be_read_are_counted(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "fine text,a\nother text,b\n" * 20 + "too,many,fields\n")
    found = make(path, tmp_path)
    assert (found.rows, found.unreadable) == (40, 1)
    assert "1 of the rows cannot be read, such as: " in describe(found)


def test_a_header_that_looks_like_a_row_is_asked_about(tmp_path):
    path = tmp_path / "reviews.tsv"
    path.write_text("".join(f"{number}.5\t{number % 2}\ta text that is number {number}\n" for number in range(40)))
    assert "a column is called '0.5': is that its name, or a file without a header?" in describe(make(path, tmp_path))


def test_a_database_is_profiled_like_a_file(tmp_path):
    database = sqlite3.connect(tmp_path / "reviews.db")
    database.execute("CREATE TABLE reviews (review TEXT, mood TEXT)")
    database.executemany("INSERT INTO reviews VALUES (?, ?)", [(row["review"], row["mood"]) for row in rows()])
    database.commit()
    database.close()
    source = SqlSource(kind="sql", url=f"sqlite:///{tmp_path}/reviews.db", query="SELECT * FROM reviews")
    found = draft("reviews", source, None, tmp_path / "work")
    assert (found.rows, found.text, list(found.labels)) == (120, "review", ["mood"])


def test_names_are_fit_for_a_recipe_and_differ():
    taken: set[str] = set()
    assert [slug(name, taken) for name in ("My Label!", "my label", "2024", "Größe")] == [
        "my-label",
        "my-label-2",
        "data-2024",
        "gr-e",
    ]


def test_columns_that_tag_each_word_become_tagging_tasks(tmp_path):
    sentences = [f"Ada NNP B-PER\nruns VBZ O\n{number} CD O\n\n" for number in range(40)]
    (tmp_path / "words.conll").write_text("".join(sentences))
    source = FilesSource(path=str(tmp_path / "words.conll"), format="conll")
    (tmp_path / "work").mkdir()
    found = draft("words", source, None, tmp_path / "work")
    assert found.tags == {"tags": ["B-PER", "O"], "column_2": ["CD", "NNP", "VBZ"]}
    file = tmp_path / "words.yaml"
    file.write_text(to_yaml("words", found))
    recipe = load_recipe(file)
    assert {name: task.data.kind for name, task in recipe.tasks.items()} == {"tags": "tagging", "column_2": "tagging"}
    (tmp_path / "out").mkdir()
    assert validate(recipe, tmp_path / "out", SilentProgress()).warnings == []


def test_a_column_of_several_labels_becomes_a_multi_label_task(tmp_path):
    sets = ["billing;delivery", "billing", "delivery; account", "", "account;billing", "Größe"]
    lines = [f'"a message, number {number}";"{sets[number % 6]}";"{{""a"": {number % 9}}}"' for number in range(120)]
    path = tmp_path / "tickets.csv"
    path.write_text("\n".join(["text;topics;extra", *lines]), encoding="utf-8")
    found = make(path, tmp_path, delimiter=";")
    assert found.labels == {}, "an object with keys of its own is no label"
    assert found.sets == {"topics": (";", ["Größe", "account", "billing", "delivery"])}
    assert "columns that could be sets of labels: topics (with ';' between them)" in describe(found)
    text = to_yaml("reviews", found)
    assert "topics:  # rows without a value, answered with no label at all: 20" in text
    assert '["Größe", account' in text, "as people write it"
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    data = load_recipe(file).tasks["topics"].data
    assert (data.kind, data.separator, data.labels) == ("multi_label", ";", ["Größe", "account", "billing", "delivery"])


def test_prose_with_commas_is_no_set_of_labels(tmp_path):
    path = tmp_path / "notes.jsonl"
    rows = [
        {"text": f"a note {n}", "place": f"street {n % 12}, town {n % 12}", "size": str(n % 12)} for n in range(120)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = make(path, tmp_path)
    assert found.sets == {}
    assert found.labels["size"] == [str(number) for number in range(12)], "10 comes after 9"
